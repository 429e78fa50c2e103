# mypy: disable-error-code="no-any-return,assignment,arg-type,call-overload"
"""Counters in windows of a downsampling tier: rate, increase, delta and resets, as of the samples themselves."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.registry import device, kernel
from tsdb.promql.kernels.range_kernels import AHEAD, BEHIND, CHANGE, DIVISOR, OLDEST, SAMPLED, extrapolate, widen

RATE, INCREASE, DELTA, RESETS = range(4)
"""Operations."""

COUNT, FIRST, FIRST_TS, LAST, LAST_TS, MORE = range(6)
"""Rows of `fields`; MORE is LOST, and for resets RESETS."""


@device
def repeat(windows: NDArray[np.float64]) -> None:
    """Makes the first four rows the last four: `widen` works in place."""
    for row in range(4):
        for j in range(windows.shape[1]):
            windows[row, j] = windows[6 + row, j]


@kernel("int64(int64, int64[::1], int64[::1], int64[::1], float64[:, ::1], int64, int64, int64, int64, float64, "
        "int64[::1], float64[:, ::1], int64[::1], float64[::1], float64[:, ::1], float64[:, ::1], boolean[:, ::1])",
        stage="later")
def changes_of_windows(op: int, begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64],
                       fields: NDArray[np.float64], first: int, step: int, width: int, resolution: int, divisor: float,
                       live: NDArray[np.int64], sums: NDArray[np.float64], places: NDArray[np.int64],
                       losses: NDArray[np.float64], windows: NDArray[np.float64], out: NDArray[np.float64],
                       present: NDArray[np.bool_]) -> int:
    """Windows of the rows begin:end (i64[rows]) have their ends in ts i64[] (ms) and f64[6, windows] in `fields`.

    Step j looks at the windows with ends in (at - width, at], where `at` is first + j * step (ms), rounded down to a
    multiple of `resolution`; so is `width`. Windows without samples are as if they were not there. A change is divided
    by `divisor`. Fills out f64[rows, steps] and present bool[rows, steps]; returns how many are present. Scratch for
    the longest row of n windows: live i64[n], sums f64[2, n + 1], places i64[2 * n], losses f64[2 * n]; and windows
    f64[10, steps], of which the first six are those of `range_kernels.rates`.
    """
    steps = out.shape[1]
    cells = 0
    for row in range(begin.size):
        n = 0
        for i in range(begin[row], end[row]):
            if fields[COUNT, i] > 0:
                live[n] = i
                n += 1
        # What is lost between windows and within them, in order: 2 k is between the windows k - 1 and k, 2 k + 1 in k.
        lost = 0
        sums[0, 0] = sums[1, 0] = 0.0
        for k in range(n):
            i = live[k]
            between = 0.0
            if k > 0 and fields[FIRST, i] < fields[LAST, live[k - 1]]:
                places[lost], losses[lost] = 2 * k, fields[LAST, live[k - 1]]
                lost += 1
                between = 1.0
            if op < DELTA and fields[MORE, i] != 0:
                places[lost], losses[lost] = 2 * k + 1, fields[MORE, i]
                lost += 1
            sums[0, k + 1] = sums[0, k] + fields[COUNT, i]
            sums[1, k + 1] = sums[1, k] + fields[MORE, i] + between
        lo = hi = oldest = 0
        for j in range(steps):
            stop = (first + j * step) // resolution * resolution
            while hi < n and ts[live[hi]] <= stop:
                hi += 1
            while lo < hi and ts[live[lo]] <= stop - width:
                lo += 1
            count = sums[0, hi] - sums[0, lo]
            there = count >= (1 if op == RESETS else 2)
            present[row, j] = there
            cells += there
            if op == RESETS:
                # A fall into the oldest window is from a value before the range.
                before = 0.0
                if there and lo > 0 and fields[FIRST, live[lo]] < fields[LAST, live[lo - 1]]:
                    before = 1.0
                out[row, j] = sums[1, hi] - sums[1, lo] - before if there else math.nan
                continue
            if not there:
                for i in range(4, 10):
                    windows[i, j] = 0.0
                continue
            low, high = live[lo], live[hi - 1]
            start_ts = ts[low] - resolution + np.int64(fields[FIRST_TS, low])
            end_ts = ts[high] - resolution + np.int64(fields[LAST_TS, high])
            windows[6 + AHEAD, j] = start_ts - (stop - width)
            windows[6 + BEHIND, j] = stop - end_ts
            windows[6 + SAMPLED, j] = end_ts - start_ts
            windows[6 + DIVISOR, j] = count - 1
            change = fields[LAST, high] - fields[FIRST, low]
            if op < DELTA:
                while oldest < lost and places[oldest] <= 2 * lo:
                    oldest += 1
                k = oldest
                while k < lost and places[k] < 2 * hi:
                    change += losses[k]
                    k += 1
            windows[CHANGE, j] = change
            windows[OLDEST, j] = fields[FIRST, low]
        if op == RESETS:
            continue
        repeat(windows)
        if widen(1.0, divisor, windows) > 0:
            repeat(windows)
            widen(1000.0, divisor, windows)
        extrapolate(op != DELTA, windows, out[row])
    return cells
