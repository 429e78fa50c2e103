# mypy: disable-error-code="no-any-return,assignment,arg-type,call-overload"
"""The rarer range functions, with parameters. Shapes, units and windows as in `tsdb.promql.kernels.range_kernels`."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.registry import device, kernel
from tsdb.kernels.sum_kernels import add_compensated
from tsdb.promql.kernels.aggregate_kernels import quantile_of
from tsdb.promql.kernels.range_kernels import apart, stale_markers, without_stale

QUANTILE, MAD, DERIV, PREDICT, TS_FIRST, TS_LAST, TS_MIN, TS_MAX, SMOOTH = range(9)
"""Operations of `over_time_rare`."""


@device
def sort(values: NDArray[np.float64], size: int) -> None:
    """Sorts the numbers values[:size], which has no NaN, ascending and in place (Shell's)."""
    gap = 1
    while gap * 9 // 4 < size:
        gap = gap * 9 // 4 + 1
    while gap > 0:
        for i in range(gap, size):
            value = values[i]
            at = i
            while at >= gap and values[at - gap] > value:
                values[at] = values[at - gap]
                at -= gap
            values[at] = value
        gap = 0 if gap == 1 else max(1, gap * 4 // 9)


@device
def place(values: NDArray[np.float64], size: int, value: float) -> int:
    """Where in the sorted values[:size] `value` is, or belongs."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        if values[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@device
def numbers(values: NDArray[np.float64], lo: int, hi: int, out: NDArray[np.float64]) -> int:
    """Copies what is not NaN of values[lo:hi] to `out`, sorted; how many."""
    size = 0
    for i in range(lo, hi):
        if not math.isnan(values[i]):
            out[size] = values[i]
            size += 1
    sort(out, size)
    return size


@device
def slide(values: NDArray[np.float64], old_lo: int, old_hi: int, lo: int, hi: int, ordered: NDArray[np.float64],
          size: int) -> int:
    """Makes of the sorted numbers ordered[:size] of the window old_lo:old_hi those of lo:hi; how many these are."""
    if lo >= old_hi or (lo - old_lo) + (hi - old_hi) > 8 + size // 8:
        return numbers(values, lo, hi, ordered)
    for i in range(old_lo, lo):
        if not math.isnan(values[i]):
            size -= 1
            for k in range(place(ordered, size + 1, values[i]), size):
                ordered[k] = ordered[k + 1]
    for i in range(old_hi, hi):
        if not math.isnan(values[i]):
            at = place(ordered, size, values[i])
            for k in range(size, at, -1):
                ordered[k] = ordered[k - 1]
            ordered[at] = values[i]
            size += 1
    return size


@device
def quantile(q: float, ordered: NDArray[np.float64], size: int, nans: int) -> float:
    """The q-quantile, linearly interpolated, of the sorted numbers ordered[:size] and `nans` NaN before them."""
    if math.isnan(q):
        return math.nan
    if q < 0:
        return -math.inf
    if q > 1:
        return math.inf
    rank = q * (nans + size - 1)
    lower = int(rank)
    upper = min(nans + size - 1, lower + 1)
    weight = rank - math.floor(rank)
    if lower < nans:
        return math.nan
    return ordered[lower - nans] * (1 - weight) + ordered[upper - nans] * weight


@device
def deviation(values: NDArray[np.float64], lo: int, hi: int, ordered: NDArray[np.float64], size: int,
              scratch: NDArray[np.float64]) -> float:
    """The median absolute deviation from the median of values[lo:hi]; NaN where one of them is. ordered[:size] are its
    sorted numbers."""
    if size < hi - lo:
        return math.nan
    median = quantile(0.5, ordered, size, 0)
    for i in range(size):
        scratch[i] = abs(ordered[i] - median)
    sort(scratch, size)
    return quantile(0.5, scratch, size, 0)


@device
def regression(ts: NDArray[np.int64], values: NDArray[np.float64], lo: int, hi: int,
               origin: int) -> tuple[float, float]:
    """Least squares over samples lo:hi: slope per second, and the value at time `origin` (ms)."""
    sum_x = lost_x = sum_y = lost_y = 0.0
    sum_xy = lost_xy = sum_xx = lost_xx = 0.0
    constant = True
    for i in range(lo, hi):
        if values[i] != values[lo]:
            constant = False
        x = (ts[i] - origin) / 1000.0
        sum_x, lost_x = add_compensated(x, sum_x, lost_x)
        sum_y, lost_y = add_compensated(values[i], sum_y, lost_y)
        sum_xy, lost_xy = add_compensated(x * values[i], sum_xy, lost_xy)
        sum_xx, lost_xx = add_compensated(x * x, sum_xx, lost_xx)
    if constant:
        if math.isinf(values[lo]):
            return math.nan, math.nan
        return 0.0, values[lo]
    n = np.float64(hi - lo)
    sum_x += lost_x
    sum_y += lost_y
    slope = (sum_xy + lost_xy - sum_x * sum_y / n) / (sum_xx + lost_xx - sum_x * sum_x / n)
    return slope, sum_y / n - slope * sum_x / n


@device
def smoothed(values: NDArray[np.float64], lo: int, hi: int, smoothing: float, trend: float) -> float:
    """Double exponential (Holt's linear) smoothing: the last smoothed value."""
    before, now = 0.0, values[lo]
    slope = values[lo + 1] - values[lo]
    for i in range(lo + 1, hi):
        if i > lo + 1:
            slope = trend * (now - before) + (1 - trend) * slope
        before, now = now, smoothing * values[i] + (1 - smoothing) * (now + slope)
    return now


@kernel("int64(int64, int64[::1], int64[::1], int64[::1], float64[::1], int64, int64, int64, int64, int64, "
        "float64[::1], float64[::1], int64[::1], float64[::1], float64[::1], float64[::1], float64[:, ::1], "
        "boolean[:, ::1])", stage="later")
def over_time_rare(op: int, begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64],
                   values: NDArray[np.float64], first: int, step: int, width: int, clock: int, clock_step: int,
                   parameter: NDArray[np.float64], second: NDArray[np.float64], live_ts: NDArray[np.int64],
                   live: NDArray[np.float64], ordered: NDArray[np.float64], scratch: NDArray[np.float64],
                   out: NDArray[np.float64], present: NDArray[np.bool_]) -> int:
    """Functions with parameters f64[steps] (quantile; seconds ahead; smoothing and trend factor), by `op`. The
    evaluation time of step j is clock + j * clock_step, ms, whatever offset and @ make of the window. Returns the
    number of cells present. More scratch: `ordered` and `scratch`, with room for the longest row."""
    cells = 0
    alone = apart(step, out.shape[1], width)
    for row in range(begin.size):
        t, v, b, e = ts, values, begin[row], end[row]
        if stale_markers(values, b, e) > 0:
            e = without_stale(ts, values, b, e, live_ts, live)
            t, v, b = live_ts, live, 0
        lo = hi = b
        old_lo = old_hi = b
        sorted_size = 0
        for j in range(out.shape[1]):
            stop = first + j * step
            while hi < e and t[hi] <= stop:
                hi += 1
            while lo < hi and t[lo] <= stop - width:
                lo += 1
            size = hi - lo
            there = size >= (2 if op == DERIV or op == PREDICT or op == SMOOTH else 1)
            present[row, j] = there
            if not there:
                out[row, j] = math.nan
                continue
            cells += 1
            if op == QUANTILE and alone:
                for i in range(size):
                    ordered[i] = v[lo + i]
                out[row, j] = quantile_of(ordered, 0, size, parameter[j])
            elif op == QUANTILE or op == MAD:
                sorted_size = slide(v, old_lo, old_hi, lo, hi, ordered, sorted_size)
                old_lo, old_hi = lo, hi
                if op == QUANTILE:
                    out[row, j] = quantile(parameter[j], ordered, sorted_size, size - sorted_size)
                else:
                    out[row, j] = deviation(v, lo, hi, ordered, sorted_size, scratch)
            elif op == DERIV:
                out[row, j] = regression(t, v, lo, hi, t[lo])[0]
            elif op == PREDICT:
                slope, intercept = regression(t, v, lo, hi, clock + j * clock_step)
                out[row, j] = slope * parameter[j] + intercept
            elif op == TS_FIRST:
                out[row, j] = t[lo] / 1000.0
            elif op == TS_LAST:
                out[row, j] = t[hi - 1] / 1000.0
            elif op == SMOOTH:
                out[row, j] = smoothed(v, lo, hi, parameter[j], second[j])
            else:
                at = lo
                for i in range(lo, hi):
                    if math.isnan(v[at]) or (v[i] >= v[at] if op == TS_MAX else v[i] <= v[at]):
                        at = i
                out[row, j] = t[at] / 1000.0
    return cells
