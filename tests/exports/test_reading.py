"""Captures are bounded, let go in time, and together have every sample once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.exports.stored import joined, samples_of
from tests.exports.test_jsonl import parsed
from tsdb.exports import jsonl, openmetrics, reading
from tsdb.exports.losses import Losses
from tsdb.exports.reading import DAY, GROUP, SLICE_MS, metrics, read
from tsdb.model.context import Limits, RequestContext
from tsdb.model.errors import QueryCanceled
from tsdb.model.matchers import Matcher, MatchType
from tsdb.model.tiles import Selection
from tsdb.testing.memory_storage import MemoryCapture, MemoryStorage


@dataclass
class Watched(MemoryStorage):
    """Remembers what was asked, and takes memory for it."""

    asked: list[Sequence[Selection]] = field(default_factory=list)

    def capture(self, selections: Sequence[Selection], context: RequestContext) -> MemoryCapture:
        assert all(capture.closed for capture in self.captures), "one at a time"
        self.asked.append(selections)
        context.reserve(1000)
        context.select(10)
        return super().capture(selections, context)


def year() -> Watched:
    storage = Watched()
    times = np.arange(0, 366 * DAY, DAY)
    for n in range(GROUP + 10):
        storage.add({"__name__": f"m{n:03d}"}, times, np.arange(times.size))
    return storage


def test_captures_are_of_a_month_and_some_metrics() -> None:
    storage = year()
    done: list[tuple[int, int]] = []
    context = RequestContext(limits=Limits(max_bytes=1500, max_series=15))
    lines = joined(jsonl.export(storage, [()], 5, 366 * DAY, Losses(), context=context,
                                progress=lambda *at: done.append(at)))
    assert all(len(selections) <= GROUP for selections in storage.asked)
    assert all(each.maxt - each.mint < SLICE_MS for selections in storage.asked for each in selections)
    assert context.bytes_reserved == 0
    assert done == sorted(done) and done[-1][0] == done[-1][1]
    assert parsed(lines) == {labels: {ts: sample for ts, sample in column.items() if ts >= 5}
                             for labels, column in samples_of(storage).items()}
    storage.asked.clear()
    joined(openmetrics.export(storage, [()], 0, 400 * DAY, Losses()))
    assert {len(selections) for selections in storage.asked} == {1}, "metric by metric where there are several slices"


def test_who_closes_an_export_lets_go() -> None:
    storage = year()
    parts = read(storage, [()], ["m000"], 0, DAY, Losses(), reading.nobody, RequestContext())
    next(parts)
    assert not storage.captures[-1].closed
    parts.close()  # type: ignore[attr-defined]
    assert storage.captures[-1].closed


def test_an_export_can_be_canceled() -> None:
    context = RequestContext()
    parts = jsonl.export(year(), [()], 0, 366 * DAY, Losses(), context=context, max_rows_per_line=1)
    context.cancelled.set()
    with pytest.raises(QueryCanceled):
        list(parts)


LABELS = st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"), max_size=2)
MATCHERS = st.builds(Matcher, st.sampled_from(MatchType), st.sampled_from(["__name__", "a", "b"]),
                     st.sampled_from(["m", "n", "x", "y", ""]))


@given(st.lists(st.tuples(st.sampled_from(["m", "n", ""]), LABELS), min_size=1),
       st.lists(st.lists(MATCHERS, max_size=2), min_size=1, max_size=3))
def test_several_selectors_give_a_series_once(series: list[tuple[str, dict[str, str]]], sets: list[list[Matcher]],
                                              ) -> None:
    storage = MemoryStorage()
    for name, labels in series:
        whole = {**labels, **({"__name__": name} if name else {})}
        if whole:
            storage.add(whole, [1, 2], [1, 2])
    wanted = {}
    for matchers in sets:
        wanted.update(samples_of(storage, matchers=tuple(matchers)))
    assert parsed(joined(jsonl.export(storage, sets, 0, 10, Losses()))) == wanted


def test_series_without_a_name_are_among_the_metrics() -> None:
    assert metrics(year(), [()], 0, 5, RequestContext())[-2:] == ["m073", ""]
