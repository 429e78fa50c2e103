"""The embedded API as a Python developer uses it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

import tsdb
from tsdb.model.errors import (
    BadData,
    BadRequest,
    DirectoryLocked,
    ExecutionError,
    OutOfBounds,
    ParseError,
    QueryTimeout,
    ReadOnly,
)

NOW = float(int(time.time()) - 600)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[tsdb.Database]:
    with tsdb.open(tmp_path / "data") as opened:
        opened.append({"__name__": "temperature", "room": "lab"}, NOW + 15.0 * np.arange(20), 20 + 0.5 * np.arange(20))
        opened.append({"__name__": "temperature", "room": "attic"}, NOW + 15.0 * np.arange(10), np.arange(10.0))
        yield opened


def test_instant_and_range(db: tsdb.Database) -> None:
    instant = db.query('temperature{room="lab"}', NOW + 31)
    assert instant.type == "vector"
    assert instant.labels == [{"__name__": "temperature", "room": "lab"}]
    assert instant.timestamps.dtype == np.int64 and instant.timestamps.tolist() == [int(NOW * 1000) + 31_000]
    assert instant.values.shape == (1, 1) and instant.values[0, 0] == 21.0
    matrix = db.query_range("sum by (room) (temperature)", NOW, NOW + 600, "1m")
    assert matrix.type == "matrix" and [labels["room"] for labels in matrix.labels] == ["attic", "lab"]
    assert matrix.values.shape == (2, 11) and matrix.values.dtype == np.float64
    assert matrix.present[0].tolist() == [True] * 8 + [False] * 3
    assert np.isnan(matrix.values[0, 8])
    assert db.query("1 + 1").values.tolist() == [[2.0]]
    assert db.query('"text"').text == "text"
    assert len(db.query("nothing")) == 0


def test_raw_samples_of_a_range_vector(db: tsdb.Database) -> None:
    result = db.query('temperature{room="lab"}[1m]', NOW + 60)
    ((times, values),) = result.samples
    assert times.tolist() == [int(NOW * 1000) + 15_000 * i for i in range(1, 5)]
    assert values.tolist() == [20.5, 21.0, 21.5, 22.0]


@pytest.mark.parametrize(
    "at",
    [NOW + 31, datetime.fromtimestamp(NOW + 31, UTC), datetime.fromtimestamp(NOW + 31, UTC).isoformat(),
     datetime.fromtimestamp(NOW + 31, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
     datetime.fromtimestamp(NOW + 31, UTC).replace(tzinfo=None)],
    ids=["seconds", "datetime", "rfc3339", "rfc3339 Z", "datetime without zone"],
)
def test_times(db: tsdb.Database, at: float | str | datetime) -> None:
    assert db.query('temperature{room="lab"}', at).values[0, 0] == 21.0


@pytest.mark.parametrize("form", ["seconds", "integers", "datetimes", "texts", "datetime64", "unsorted"])
def test_columns_of_times(tmp_path: Path, form: str) -> None:
    start = datetime.fromtimestamp(NOW, UTC)
    datetimes = [start + timedelta(seconds=i) for i in range(5)]
    columns = {
        "seconds": NOW + np.arange(5.0),
        "integers": int(NOW) + np.arange(5),
        "datetimes": datetimes,
        "texts": [each.isoformat() for each in datetimes],
        "datetime64": np.array([each.replace(tzinfo=None) for each in datetimes], "datetime64[ns]"),
        "unsorted": (NOW + np.arange(5.0))[::-1],
    }
    values = [4.0, 3, 2, 1, 0] if form == "unsorted" else [0.0, 1, 2, 3, 4]
    with tsdb.open(tmp_path) as db:
        db.append("x", columns[form], values)  # type: ignore[arg-type]
        ((times, found),) = db.query("x[1m]", NOW + 10).samples
    assert times.tolist() == [round((NOW + i) * 1000) for i in range(5)]
    assert found.tolist() == [0.0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("labels", "times", "values", "error", "message"),
    [
        ({"room": "lab"}, [NOW], [1.0], BadRequest, "no metric name"),
        ({"__name__": "x", "": "y"}, [NOW], [1.0], BadRequest, "name is empty"),
        ({"__name__": "x", "a": "\udc80"}, [NOW], [1.0], BadRequest, "UTF-8"),
        ({"__name__": "x", "a": 1}, [NOW], [1.0], BadRequest, "are texts"),
        ("x", [NOW, NOW + 1], [1.0], BadRequest, "two columns of one length"),
        ("x", ["yesterday"], [1.0], BadRequest, "RFC 3339"),
        ("x", [float("nan")], [1.0], BadRequest, "no time"),
        ("x", [[NOW]], [1.0], BadRequest, "one column"),
        ("x", [NOW * 1000], [1.0], OutOfBounds, "times are in seconds"),
        ({"__name__": "temperature", "room": "lab"}, [NOW + 285], [1.0], BadRequest, "duplicate"),
    ],
)
def test_what_cannot_be_appended(db: tsdb.Database, labels: dict[str, str], times: list[float], values: list[float],
                                 error: type[Exception], message: str) -> None:
    before = db.query("count_over_time({__name__=~'.+'}[1h])", NOW + 600).values.sum()
    with pytest.raises(error, match=message):
        db.append(labels, times, values)
    assert db.query("count_over_time({__name__=~'.+'}[1h])", NOW + 600).values.sum() == before


def test_the_part_that_can_be_taken_is_kept(db: tsdb.Database) -> None:
    with pytest.raises(BadRequest, match="1 of 3 samples"):
        db.append({"__name__": "temperature", "room": "lab"}, [NOW, NOW + 285, NOW + 300], [20.0, 0.0, 99.0])
    assert db.query('temperature{room="lab"}', NOW + 285).values[0, 0] == 29.5
    assert db.query('temperature{room="lab"}', NOW + 301).values[0, 0] == 99.0


@pytest.mark.parametrize(
    ("expr", "error", "message"),
    [("rate(temperature)", ParseError, "expected type range vector"), ("foo{", ParseError, "unexpected end"),
     ("deriv(temperature[1m] smoothed)", ExecutionError, "smoothed modifier can only be used with")],
)
def test_queries_that_fail(db: tsdb.Database, expr: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        db.query(expr)


def test_parameters_that_make_no_sense(db: tsdb.Database) -> None:
    with pytest.raises(BadData, match="not positive"):
        db.query_range("x", NOW, NOW + 1, 0)
    with pytest.raises(BadData, match="before the start"):
        db.query_range("x", NOW, NOW - 1, 1)
    with pytest.raises(BadData, match="duration"):
        db.query_range("x", NOW, NOW + 1, "often")
    with pytest.raises(QueryTimeout, match="timed out"):
        db.query("temperature", timeout=-1)


def test_frames(db: tsdb.Database) -> None:
    pandas = pytest.importorskip("pandas")
    polars = pytest.importorskip("polars")
    pyarrow = pytest.importorskip("pyarrow")
    result = db.query_range("temperature", NOW, NOW + 300, 60)
    frame = result.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.shape == (6, 2) and frame.columns.names == ["__name__", "room"]
    assert str(frame.index.tz) == "UTC" and frame[("temperature", "lab")].iloc[1] == 22.0
    long = result.to_polars()
    assert isinstance(long, polars.DataFrame)
    assert long.columns == ["__name__", "room", "time", "value"] and long.height == int(result.present.sum())
    assert pyarrow.table(result).num_rows == long.height
    raw = db.query("temperature[1m]", NOW + 60)
    assert raw.to_pandas().shape == (4, 2) and raw.to_polars().height == 8
    assert db.query("nothing").to_pandas().empty and db.query("nothing").to_polars().height == 0


def test_a_reader_beside_the_writer(db: tsdb.Database) -> None:
    folder = db.storage.path
    with pytest.raises(DirectoryLocked):
        tsdb.open(folder)
    with tsdb.open(folder, read_only=True) as reader:
        assert len(reader.query("temperature", NOW + 31)) == 2
        with pytest.raises(ReadOnly):
            reader.append("x", [NOW], [1.0])


def test_two_databases_in_one_process(tmp_path: Path) -> None:
    with tsdb.open(tmp_path / "a") as a, tsdb.open(tmp_path / "b") as b:
        a.append("x", [NOW], [1.0])
        b.append("x", [NOW], [2.0])
        assert (a.query("x", NOW).values[0, 0], b.query("x", NOW).values[0, 0]) == (1.0, 2.0)


def test_many_samples_over_several_windows(tmp_path: Path) -> None:
    """A day given to an empty database."""
    with tsdb.open(tmp_path) as db:
        times = NOW - 86_400 + 10.0 * np.arange(8640)
        values = np.random.default_rng(1).normal(size=8640)
        db.append("x", times, values)
        result = db.query_range("x", times[0], times[-1], 10)
        assert np.array_equal(result.values[0], values)
    with tsdb.open(tmp_path) as db:
        assert np.array_equal(db.query_range("x", times[0], times[-1], 10).values[0], values)
