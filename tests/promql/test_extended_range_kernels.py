"""The kernels of anchored and smoothed ranges, and of start timestamps, against slow, obvious twins."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.promql.test_range_kernels import MARKS, WINDOWS, Sample, Samples, Shape, is_stale, rows, tile
from tsdb.promql.kernels import extended_range_kernels as kernels
from tsdb.promql.kernels import start_time_kernels as starts

LOOKBACKS = st.sampled_from([1, 10, 25, 60]).map(lambda seconds: seconds * 1000)


def is_change(before: float, now: float) -> bool:
    return before != now and not (math.isnan(before) and math.isnan(now))


def line(before: Sample, after: Sample, at: int, counter: bool) -> float:
    low = 0.0 if counter and after[1] < before[1] else before[1]
    return low + (after[1] - low) * (at - before[0]) / (after[0] - before[0])


def twin_anchored(op: int, samples: Samples, stop: int, width: int, lookback: int) -> float | None:
    start = stop - width
    older = [sample for sample in samples if start - lookback < sample[0] <= start]
    within = [sample for sample in samples if start < sample[0] <= stop]
    if not within:
        return None
    values = [value for _, value in [*older[-1:], *within]]
    pairs = list(itertools.pairwise(values))
    if op == kernels.CHANGES:
        return sum(is_change(before, now) for before, now in pairs)
    if op == kernels.RESETS:
        return sum(now < before for before, now in pairs)
    change = values[-1] - values[0]
    if op != kernels.DELTA:
        change += sum(before for before, now in pairs if now < before)
    return change / (width / 1000) if op == kernels.RATE else change


def twin_smoothed(op: int, samples: Samples, stop: int, width: int, lookback: int) -> float | None:
    start, counter = stop - width, op != kernels.DELTA
    near = [sample for sample in samples if start - lookback < sample[0] <= stop + lookback]
    if all(at <= start for at, _ in near) or all(at > stop for at, _ in near):
        return None

    def value(border: int) -> float:
        before, after = [s for s in near if s[0] <= border], [s for s in near if s[0] >= border]
        if not before:
            return after[0][1]
        return before[-1][1] if not after or before[-1][0] == border else line(before[-1], after[0], border, counter)

    inside = [value for at, value in near if start < at < stop]
    values = [value(start), *inside, value(stop)]
    change = values[-1] - values[0]
    if counter:
        change += sum(before for before, now in itertools.pairwise(values) if now < before)
    return change / (width / 1000) if op == kernels.RATE else change


def compare(out: NDArray[np.float64], present: NDArray[np.bool_], cells: int, samples: list[Samples], shape: Shape,
            expect: Any) -> None:
    """`expect(row's samples, end)` of each cell."""
    assert cells == present.sum()
    for row, j in np.ndindex(out.shape):
        expected = expect(samples[row], (shape[0] + j * shape[1]) * 1000)
        assert present[row, j] == (expected is not None), (row, j)
        if expected is not None:
            np.testing.assert_allclose(out[row, j], expected, rtol=1e-9, atol=1e-6, err_msg=f"row {row}, step {j}")


def live_rows(begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64], values: NDArray[np.float64],
              ) -> list[Samples]:
    return [[(at, value) for at, value in zip(ts[b:e].tolist(), values[b:e], strict=True) if not is_stale(value)]
            for b, e in zip(begin.tolist(), end.tolist(), strict=True)]


def longest(begin: NDArray[np.int64], end: NDArray[np.int64]) -> int:
    return int((end - begin).max(initial=0))


SMALL = st.one_of(st.integers(-5, 5).map(float), st.integers(0, 30).map(float), st.just(math.nan))


@settings(max_examples=60, deadline=None)
@given(rows(SMALL), MARKS, WINDOWS, LOOKBACKS, st.integers(0, 4), st.booleans())
def test_extended(samples: list[Samples], stale: set[tuple[int, int]], shape: Shape, lookback: int, op: int,
                  smoothed: bool) -> None:
    smoothed &= op < kernels.CHANGES
    begin, end, ts, values = tile(samples, stale)
    out, present = np.full((begin.size, shape[3]), -77.0), np.zeros((begin.size, shape[3]), np.bool_)
    size, width = longest(begin, end), shape[2] * 1000
    cells = kernels.extended(op, smoothed, begin, end, ts, values, shape[0] * 1000, shape[1] * 1000, width,
                             np.empty(size, np.int64), np.empty(size), lookback, np.empty(size, np.int64), out, present)
    twin = twin_smoothed if smoothed else twin_anchored
    compare(out, present, cells, live_rows(begin, end, ts, values), shape,
            lambda row, stop: twin(op, row, stop, width, lookback))


@settings(max_examples=40, deadline=None)
@given(rows(SMALL), MARKS, WINDOWS, LOOKBACKS)
def test_smoothed_selectors(samples: list[Samples], stale: set[tuple[int, int]], shape: Shape, lookback: int) -> None:
    begin, end, ts, values = tile(samples, stale)
    out, present = np.full((begin.size, shape[3]), -77.0), np.zeros((begin.size, shape[3]), np.bool_)
    size = longest(begin, end)
    cells = kernels.smoothed_instant(begin, end, ts, values, shape[0] * 1000, shape[1] * 1000, lookback,
                                     np.empty(size, np.int64), np.empty(size), out, present)

    def twin(row: Samples, at: int) -> float | None:
        before = [sample for sample in row if at - lookback < sample[0] <= at]
        after = [sample for sample in row if at < sample[0] <= at + lookback]
        if not before:
            return None
        exact = before[-1][0] == at or not after
        return before[-1][1] if exact else line(before[-1], after[0], at, counter=False)

    compare(out, present, cells, live_rows(begin, end, ts, values), shape, twin)


Counted = list[tuple[int, float, int]]
"""Time, value, start time."""


def counts_anew(before: tuple[int, float, int], now: tuple[int, float, int]) -> bool:
    if now[1] < before[1]:
        return True
    if now[2] == 0 or now[2] >= now[0]:
        return False
    if now[2] == before[0]:
        return before[2] != 0 and before[2] < before[0]
    return now[2] > before[0]


def twin_counted_since(op: int, samples: Counted, stop: int, width: int) -> float | None:
    start = stop - width
    within = [sample for sample in samples if start < sample[0] <= stop]
    pairs = list(itertools.pairwise(within))
    if op == starts.RESETS:
        return sum(counts_anew(*pair) for pair in pairs) if within else None
    if op == starts.IRATE:
        if not pairs:
            return None
        before, now = pairs[-1]
        return (now[1] - (0.0 if counts_anew(before, now) else before[1])) / ((now[0] - before[0]) / 1000)
    if not within:
        return None
    (first, value, since), (last, newest, _) = within[0], within[-1]
    change = newest - value + sum(before[1] for before, now in pairs if counts_anew(before, now))
    average = (last - first) / len(pairs) if pairs else 0.0
    ahead, behind = float(first - start), float(stop - last)
    sampled = last - first
    if since != 0 and start < since < first:
        change, ahead, sampled = change + value, 0.0, last - since
    elif not pairs:
        return None
    else:
        if ahead >= average * 1.1:
            ahead = average / 2
        if change > 0 and value >= 0:
            ahead = min(ahead, sampled * (value / change))
    if behind >= average * 1.1:
        behind = average / 2
    change *= (sampled + ahead + behind) / sampled
    return change / (width / 1000) if op == starts.RATE else change


@settings(max_examples=60, deadline=None)
@given(rows(st.integers(0, 30).map(float)), MARKS, WINDOWS, st.integers(0, 3), st.data())
def test_counted_since(samples: list[Samples], stale: set[tuple[int, int]], shape: Shape, op: int, data: Any) -> None:
    begin, end, ts, values = tile(samples, stale)
    ages = st.sampled_from([None, 0, -1, 1, 5, 10, 11, 20, 60])
    since = np.array([0 if age is None else at - age * 1000 for at, age in zip(
        ts.tolist(), data.draw(st.lists(ages, min_size=ts.size, max_size=ts.size)), strict=True)], np.int64)
    out, present = np.full((begin.size, shape[3]), -77.0), np.zeros((begin.size, shape[3]), np.bool_)
    size, width, overlapping = longest(begin, end), shape[2] * 1000, np.zeros(begin.size, np.bool_)
    cells = starts.counted_since(op, begin, end, ts, values, shape[0] * 1000, shape[1] * 1000, width,
                                 np.empty(size, np.int64), np.empty(size), since, np.empty(size, np.int64),
                                 np.empty(size, np.int64), overlapping, out, present)
    known: dict[int, Counted] = {row: [(int(ts[i]), values[i], int(since[i])) for i in range(begin[row], end[row])
                                       if not is_stale(values[i])] for row in range(begin.size)}
    whole = live_rows(begin, end, ts, values)
    for row in range(begin.size):
        compare(out[row : row + 1], present[row : row + 1], int(present[row].sum()), [whole[row]], shape,
                lambda _, stop, row=row: twin_counted_since(op, known[row], stop, width))
        stops = {(shape[0] + j * shape[1]) * 1000 for j in range(shape[3])}
        assert overlapping[row] == (op <= starts.INCREASE and any(
            now[2] != 0 and now[2] < before[0] and now[2] != before[2] and stop - width < before[0] and now[0] <= stop
            for before, now in itertools.pairwise(known[row]) for stop in stops))
    assert cells == present.sum()
