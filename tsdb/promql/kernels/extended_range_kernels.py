# mypy: disable-error-code="no-any-return,assignment,arg-type,call-overload"
"""Kernels of ranges that are ``anchored`` or ``smoothed``: they see samples outside of the range, too, and do not
extrapolate.

An anchored window (start, end] takes the newest sample at or before its start, at most `lookback` ms older, as the
value at its start. A smoothed one takes the straight line between the samples around each of its borders, at most
`lookback` ms away. Arguments as in `tsdb.promql.kernels.range_kernels`; the arithmetic is that of Prometheus'
promql/functions.go (extendedRate, pickFirstSampleIndices) and promql/engine.go (smoothSeries), in the same order.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.registry import device, kernel
from tsdb.promql.kernels.range_kernels import stale_markers, without_stale

RATE, INCREASE, DELTA, CHANGES, RESETS = range(5)
"""Operations of `extended`. The last two know anchored ranges only."""


@device
def between(ts: NDArray[np.int64], values: NDArray[np.float64], i: int, at: int, counter: bool) -> float:
    """The value at `at` on the line from sample i to i + 1; a counter that is reset between them begins at 0."""
    before = values[i]
    if counter and values[i + 1] < before:
        before = 0.0
    return before + (values[i + 1] - before) * np.float64(at - ts[i]) / np.float64(ts[i + 1] - ts[i])


@device
def find_events(op: int, values: NDArray[np.float64], begin: int, end: int, places: NDArray[np.int64]) -> int:
    """Writes the places of samples before which a counter is reset, or the value changes; how many they are."""
    count = 0
    for i in range(begin + 1, end):
        if op == CHANGES:
            event = values[i] != values[i - 1] and not (math.isnan(values[i]) and math.isnan(values[i - 1]))
        else:
            event = values[i] < values[i - 1]
        if event:
            places[count] = i
            count += 1
    return count


@kernel("int64(int64, boolean, int64[::1], int64[::1], int64[::1], float64[::1], int64, int64, int64, "
        "int64[::1], float64[::1], int64, int64[::1], float64[:, ::1], boolean[:, ::1])", stage="later")
def extended(op: int, smoothed: bool, begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64],
             values: NDArray[np.float64], first: int, step: int, width: int, live_ts: NDArray[np.int64],
             live: NDArray[np.float64], lookback: int, places: NDArray[np.int64], out: NDArray[np.float64],
             present: NDArray[np.bool_]) -> int:
    """rate, increase, delta, changes, resets by `op`. Returns the number of cells present."""
    cells = 0
    after = lookback if smoothed else 0
    for row in range(begin.size):
        t, v, b, e = ts, values, begin[row], end[row]
        if stale_markers(values, b, e) > 0:
            e = without_stale(ts, values, b, e, live_ts, live)
            t, v, b = live_ts, live, 0
        events = find_events(op, v, b, e, places) if op != DELTA else 0
        gone = past = 0  # events at or before the window's left sample, and before its end
        low = high = inside = at_end = b
        for j in range(out.shape[1]):
            stop = first + j * step
            start = stop - width
            while low < e and t[low] <= start - lookback:
                low += 1
            while high < e and t[high] <= stop + after:
                high += 1
            while inside < e and t[inside] <= start:
                inside += 1
            while at_end < e and t[at_end] < stop:
                at_end += 1
            left = max(low, min(inside, high - 1) - 1)
            right = min(at_end, high - 1) if smoothed else high - 1
            there = low < high and t[right] > start and not (smoothed and t[left] > stop)
            present[row, j] = there
            if not there:
                out[row, j] = math.nan
                continue
            cells += 1
            if op >= CHANGES:
                while past < events and places[past] < high:
                    past += 1
                while gone < events and places[gone] <= left:
                    gone += 1
                out[row, j] = past - gone
                continue
            counter = op != DELTA
            at_left, at_right = v[left], v[right]
            if smoothed and t[left] < start:
                at_left = between(t, v, left, start, counter)
            if smoothed and right > low and t[right] > stop:
                at_right = between(t, v, right - 1, stop, counter)
            change = at_right - at_left
            if counter:
                # Only samples within the range: the borders know of the resets next to them.
                oldest = left + 1 if t[left] <= start else left
                newest = right - 1 if t[right] >= stop else right
                lost, before = 0.0, at_left
                if oldest <= newest:
                    if v[oldest] < at_left:
                        lost += at_left
                    while gone < events and places[gone] <= oldest:
                        gone += 1
                    k = gone
                    while k < events and places[k] <= newest:
                        lost += v[places[k] - 1]
                        k += 1
                    before = v[newest]
                if at_right < before:
                    lost += before
                change += lost
            out[row, j] = change / (width / 1000.0) if op == RATE else change
    return cells


@kernel("int64(int64[::1], int64[::1], int64[::1], float64[::1], int64, int64, int64, "
        "int64[::1], float64[::1], float64[:, ::1], boolean[:, ::1])", stage="later")
def smoothed_instant(begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64],
                     values: NDArray[np.float64], first: int, step: int, lookback: int, live_ts: NDArray[np.int64],
                     live: NDArray[np.float64], out: NDArray[np.float64], present: NDArray[np.bool_]) -> int:
    """The value of each step on the line between the samples around it, or that of the newest one where there is none
    after it. Returns the number of cells present."""
    cells = 0
    for row in range(begin.size):
        t, v, b, e = ts, values, begin[row], end[row]
        if stale_markers(values, b, e) > 0:
            e = without_stale(ts, values, b, e, live_ts, live)
            t, v, b = live_ts, live, 0
        low = high = next = b
        for j in range(out.shape[1]):
            at = first + j * step
            while low < e and t[low] <= at - lookback:
                low += 1
            while high < e and t[high] <= at + lookback:
                high += 1
            while next < e and t[next] < at:
                next += 1
            present[row, j] = True
            if next < high and t[next] == at:
                out[row, j] = v[next]
            elif low < next < high:
                out[row, j] = between(t, v, next - 1, at, False)
            elif low < next:
                out[row, j] = v[next - 1]
            else:
                out[row, j] = math.nan
                present[row, j] = False
            cells += present[row, j]
    return cells
