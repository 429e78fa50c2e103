"""Exemplars, metadata and limits on series in the embedded API."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import tsdb
from tsdb.model.errors import BadRequest, ParseError, ReadOnly

NOW = float(int(time.time())) - 60


def test_exemplars_go_in_and_come_out(tmp_path: Path) -> None:
    labels = {"__name__": "requests_total", "job": "web"}
    with tsdb.open(tmp_path / "data") as db:
        db.append(labels, [NOW, NOW + 1], [1.0, 2.0])
        db.append_exemplars(labels, [(NOW + 1, 0.5, {"trace_id": "b"}), (NOW, 0.25, {"trace_id": "a"})])
        (series,) = db.exemplars('requests_total{job="web"}')
        assert dict(series.labels) == labels
        assert [(dict(each.labels), each.value, each.ts) for each in series.exemplars] == [
            ({"trace_id": "a"}, 0.25, NOW * 1000), ({"trace_id": "b"}, 0.5, NOW * 1000 + 1000)]
        assert len(db.exemplars("requests_total", NOW + 0.5, NOW + 9)[0].exemplars) == 1
        assert db.exemplars("other") == []
        with pytest.raises(BadRequest, match=r"1 of 2 exemplars .* kept; the first: out of order exemplar"):
            db.append_exemplars(labels, [(NOW - 5, 1.0, {}), (NOW + 2, 1.0, {"trace_id": "c"})])
        with pytest.raises(BadRequest, match="unknown series"):
            db.append_exemplars("nowhere", [(NOW, 1.0, {})])
        with pytest.raises(ParseError):
            db.exemplars("rate(")
    with tsdb.open(tmp_path / "data", read_only=True) as db:
        assert len(db.exemplars("requests_total")[0].exemplars) == 3
        with pytest.raises(ReadOnly):
            db.append_exemplars(labels, [(NOW, 1.0, {})])


def test_how_many_exemplars_are_kept(tmp_path: Path) -> None:
    with tsdb.open(tmp_path / "data", max_exemplars=2) as db:
        db.append("a", [NOW], [1.0])
        db.append_exemplars("a", [(NOW + i, float(i), {}) for i in range(5)])
        assert [each.value for each in db.exemplars("a")[0].exemplars] == [3.0, 4.0]


def test_metadata(tmp_path: Path) -> None:
    with tsdb.open(tmp_path / "data") as db:
        db.set_metadata("requests_total", "counter", help="Of all.")
        db.set_metadata("size_bytes", "gauge", unit="bytes")
        assert db.metadata("requests_total") == {
            "requests_total": tsdb.Metadata("requests_total", "counter", "Of all.", "")}
        assert sorted(db.metadata()) == ["requests_total", "size_bytes"] and db.metadata("other") == {}
        with pytest.raises(BadRequest, match="it is one of counter, gauge"):
            db.set_metadata("a", "counters")


def test_limits_on_series(tmp_path: Path) -> None:
    limits = tsdb.SeriesLimits(max_series_per_metric=2, max_label_values={"user": 1})
    with tsdb.open(tmp_path / "data", limits=limits) as db:
        for number in range(2):
            db.append({"__name__": "a", "n": str(number)}, [NOW], [1.0])
        with pytest.raises(BadRequest, match=r"per-metric series limit exceeded.*the metric \"a\" has as many series "
                                             r"as may be, and storage.limits.max_series_per_metric is 2"):
            db.append({"__name__": "a", "n": "2"}, [NOW], [1.0])
        db.append({"__name__": "b", "user": "x"}, [NOW], [1.0])
        with pytest.raises(BadRequest, match="label value limit exceeded"):
            db.append({"__name__": "b", "user": "y"}, [NOW], [1.0])
        db.append({"__name__": "a", "n": "1"}, [NOW + 1], [2.0])
        assert db.query("count({__name__=~'.+'})", NOW + 1).values.tolist() == [[3.0]]
