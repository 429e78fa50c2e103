# mypy: disable-error-code="no-any-return,assignment,arg-type,call-overload"
"""Kernels of range functions that use start timestamps: since when each sample has been counting.

They tell resets that values do not show, as those of deltas, and what came before the first sample of a range.
Arguments as in `tsdb.promql.kernels.range_kernels`; beside `ts`, ``starts`` i64[] has start timestamps (ms; 0: not
known). The arithmetic is that of Prometheus' promql/functions.go (extrapolatedRate, instantValue,
isStartTimestampReset).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import float_bits
from tsdb.kernels.registry import device, kernel
from tsdb.promql.kernels.range_kernels import STALE

RATE, INCREASE, IRATE, RESETS = range(4)
"""Operations of `counted_since`."""

OVERLAPPING = 1 << 32
"""Noted of rows beside what is noted of native histograms (`tsdb.promql.operators.range_notes`)."""


@device
def is_reset(values: NDArray[np.float64], ts: NDArray[np.int64], starts: NDArray[np.int64], i: int) -> bool:
    """Whether a counter was reset between the samples i - 1 and i, by its values or its start."""
    if values[i] < values[i - 1]:
        return True
    start, earlier_start, earlier = starts[i], starts[i - 1], ts[i - 1]
    if start == 0 or start >= ts[i]:  # not known, or wrong
        return False
    if start != earlier:
        return start > earlier
    # It counts since the sample before: a delta, unless that one did not know its start.
    return earlier_start != 0 and earlier_start < earlier


@kernel("int64(int64, int64[::1], int64[::1], int64[::1], float64[::1], int64, int64, int64, "
        "int64[::1], float64[::1], int64[::1], int64[::1], int64[::1], boolean[::1], float64[:, ::1], boolean[:, ::1])",
        stage="later")
def counted_since(op: int, begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64],
                  values: NDArray[np.float64], first: int, step: int, width: int, t: NDArray[np.int64],
                  v: NDArray[np.float64], starts: NDArray[np.int64], s: NDArray[np.int64], places: NDArray[np.int64],
                  overlapping: NDArray[np.bool_], out: NDArray[np.float64], present: NDArray[np.bool_]) -> int:
    """rate, increase, irate, resets by `op`. Returns the number of cells present. `overlapping` bool[rows] becomes
    True where a sample counts since before an earlier one, and that one does not. Scratch for the longest row: t, v, s
    (its samples without stale markers) and places."""
    cells = 0
    for row in range(begin.size):
        n = resets = 0
        for i in range(begin[row], end[row]):
            if float_bits(values[i]) != np.uint64(STALE):
                t[n], v[n], s[n] = ts[i], values[i], starts[i]
                if n > 0 and is_reset(v, t, s, n):
                    places[resets] = n
                    resets += 1
                n += 1
        lo = hi = overlap = 0
        gone = past = 0  # resets up to the oldest sample of the window, and before its end
        overlapping[row] = False
        for j in range(out.shape[1]):
            stop = first + j * step
            start = stop - width
            while hi < n and t[hi] <= stop:
                if hi > 0 and s[hi] != 0 and s[hi] < t[hi - 1] and s[hi] != s[hi - 1]:
                    overlap = hi
                hi += 1
            while lo < hi and t[lo] <= start:
                lo += 1
            while gone < resets and places[gone] <= lo:
                gone += 1
            past = max(past, gone)
            while past < resets and places[past] < hi:
                past += 1
            began_within = lo < hi and s[lo] != 0 and start < s[lo] < t[lo]
            there = hi - lo > 1 or (hi - lo == 1 and (op == RESETS or (op != IRATE and began_within)))
            present[row, j] = there
            if op <= INCREASE and overlap > lo and hi - lo > 1:
                overlapping[row] = True
            if not there:
                out[row, j] = math.nan
                continue
            cells += 1
            last = hi - 1
            if op == RESETS:
                out[row, j] = past - gone
                continue
            if op == IRATE:
                gain = v[last] if is_reset(v, t, s, last) else v[last] - v[last - 1]
                out[row, j] = gain / ((t[last] - t[last - 1]) / 1000.0)
                continue
            change = v[last] - v[lo]
            for k in range(gone, past):
                change += v[places[k] - 1]
            to_start, to_end = (t[lo] - start) / 1000.0, (stop - t[last]) / 1000.0
            sampled = (t[last] - t[lo]) / 1000.0
            average = sampled / (last - lo) if last > lo else 0.0
            near = average * 1.1
            if began_within:
                # It was 0 then, which no extrapolation knows better.
                to_start, sampled = 0.0, (t[last] - s[lo]) / 1000.0
                change += v[lo]
            else:
                if to_start >= near:
                    to_start = average / 2
                if change > 0 and v[lo] >= 0:
                    to_zero = sampled * (v[lo] / change)
                    if to_zero < to_start:
                        to_start = to_zero
            if to_end >= near:
                to_end = average / 2
            factor = (sampled + to_start + to_end) / sampled if sampled != 0 else 1.0
            out[row, j] = change * (factor / (width / 1000.0) if op == RATE else factor)
    return cells
