"""Windows of native histograms in queries: what can be computed of them, and what needs samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import cast

import numpy as np
import pytest

from tests.promql.tiers.stored import HOUR, MINUTE, differs
from tsdb.model.context import RequestContext
from tsdb.model.native_histograms import NativeHistogram, boxed, decode, offsets
from tsdb.model.tiers import Field, Tier, Tiers
from tsdb.model.tiles import Selection, SeriesSet, Tile
from tsdb.promql import Engine
from tsdb.promql.result import QueryResult
from tsdb.testing.memory_storage import MemoryCapture, MemorySelected, MemoryStorage

START = 1000 * HOUR
HOURS = 12
COUNTS = [float(k if k < 40 else k - 39) for k in range(1, 6 * HOURS + 1)]
"""One each ten minutes; the counter is reset once."""


def histogram(count: float) -> NativeHistogram:
    return NativeHistogram(0, 3.0 * count, 2 * count, positive_spans=((0, 2),), positive=(count, count), floats=True)


@dataclass
class Windows:
    """Those of the one series."""

    series: SeriesSet
    selection: Selection
    sources: Sequence[str] = ("tier 1h",)
    tile_rows = np.array([0, 1], np.int64)

    def tile(self, index: int) -> Tile:
        assert self.selection.tier is not None
        payload, columns = bytearray(), []
        mint, maxt = self.selection.mint, self.selection.maxt
        hours = [hour for hour in range(1, HOURS + 1) if mint <= START + hour * HOUR <= maxt]
        for hour in hours:
            own = COUNTS[6 * (hour - 1) : 6 * hour]
            drops = [before for before, after in pairwise(own) if after < before]
            found: dict[str, float | NativeHistogram] = {
                Field.COUNT: 6, Field.HISTOGRAMS: 6, Field.STALE: 0, Field.FIRST_TS: 10 * MINUTE, Field.LAST_TS: HOUR,
                Field.MIN: np.nan, Field.MAX: np.nan,
                Field.RESETS: len(drops), Field.LOST: histogram(sum(drops)) if drops else 0,
                Field.SUM: histogram(sum(own)), Field.FIRST: histogram(own[0]), Field.LAST: histogram(own[-1])}
            column = []
            for field in self.selection.tier.fields:
                value = found[field]
                if isinstance(value, NativeHistogram):
                    column.append(boxed(len(payload)))
                    payload += value.encode()
                else:
                    column.append(int(np.float64(value).view(np.uint64)))
            columns.append(column)
        fields = np.array(columns, np.uint64).reshape(len(hours), -1).T.copy().view(np.float64)
        ts = START + HOUR * np.array(hours, np.int64)
        return Tile(0, np.zeros(1, np.int64), np.array([ts.size]), ts, fields[0],
                    np.frombuffer(bytes(payload), np.uint8), None, fields)


class Stored(MemoryStorage):
    def tiers(self) -> Tiers:
        return Tiers((Tier(HOUR, ((START - 9 * HOUR, START + self.hours * HOUR),)),), self.raw_from)

    raw_from = -(1 << 63)
    hours = HOURS

    def capture(self, selections: Sequence[Selection], context: RequestContext) -> MemoryCapture:
        made = super().capture([replace(selection, tier=None) for selection in selections], context)
        made.selected = [raw if selection.tier is None else cast(MemorySelected, Windows(raw.series, selection))
                         for raw, selection in zip(made.selected, selections, strict=True)]
        return made


@pytest.fixture(scope="module")
def storage() -> Stored:
    made = Stored()
    for number, count in enumerate(COUNTS, 1):
        made.add_histogram({"__name__": "h"}, START + number * 10 * MINUTE, histogram(count))
    return made


@pytest.mark.parametrize(("function", "used"), [
    ("avg_over_time", HOUR), ("sum_over_time", HOUR), ("last_over_time", HOUR), ("first_over_time", HOUR),
    ("count_over_time", HOUR), ("present_over_time", HOUR), ("min_over_time", HOUR), ("max_over_time", HOUR),
    ("rate", HOUR), ("increase", HOUR), ("delta", HOUR), ("resets", 0), ("stddev_over_time", 0),
])
def test_functions(storage: Stored, function: str, used: int) -> None:
    for form in ("{}(h[6h])", "histogram_sum({}(h[6h]))", "histogram_quantile(0.7, {}(h[6h]))"):
        expr = form.format(function)
        with Engine(storage) as engine:
            found = engine.query_range(expr, START, START + HOURS * HOUR, HOUR)
            plain = engine.query_range(expr, START, START + HOURS * HOUR, HOUR, max_source_resolution_ms=0)
        assert found.tiers_used == (used,) and not [info for info in found.infos if "downsampling" in info]
        if found.payload is None:
            assert differs(found, plain) == "", expr
        else:
            assert histograms(found) == histograms(plain)


def test_the_newest_windows_are_made_of_samples(storage: Stored) -> None:
    short = Stored(storage.rows_per_tile, storage.columns, payload=storage.payload)
    short.hours = 8
    for function in ("rate", "sum_over_time", "avg_over_time", "last_over_time"):
        with Engine(short) as engine:
            found, plain = (engine.query(f"{function}(h[10h])", START + 11 * HOUR, max_source_resolution_ms=most)
                            for most in (None, 0))
        assert found.tiers_used == (0, HOUR) and histograms(found) == histograms(plain)


def histograms(result: QueryResult) -> list[object]:
    """Of the one series, in the order of the steps; what is no number of samples is rounded."""
    assert result.payload is not None
    found: list[object] = []
    for at in offsets(result.values[result.present].view(np.uint64)).tolist():
        each = decode(result.payload, at)
        numbers = (each.sum, each.count, *each.positive)
        found.append((each.schema, each.positive_spans, *(f"{number:.9g}" for number in numbers)))
    return [*np.flatnonzero(result.present[0]).tolist(), *found]


def test_selectors_and_expired_samples(storage: Stored) -> None:
    expr = "histogram_count(h)"
    with Engine(storage) as engine:
        found, plain = (engine.query_range(expr, START, START + HOURS * HOUR, HOUR, None, HOUR,
                                           max_source_resolution_ms=most) for most in (None, 0))
        assert found.tiers_used == (HOUR,) and differs(found, plain) == ""
    expired = Stored(storage.rows_per_tile, storage.columns, payload=storage.payload)
    expired.raw_from = START + 10 * HOUR
    with Engine(expired) as engine:
        rate = engine.query("histogram_count(increase(h[3h]))", START + 5 * HOUR)
        assert rate.tiers_used == (HOUR,) and rate.values[0, 0] == 2 * 6 * 3 and rate.infos == []
        told = engine.query("resets(h[9h])", START + 9 * HOUR)
        assert told.tiers_used == (HOUR,) and "resets needs samples" in told.infos[0] and told.values[0, 0] == 1
