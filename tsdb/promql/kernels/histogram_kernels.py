"""Quantiles and fractions of classic histograms."""
# mypy: disable-error-code="call-overload,operator,assignment,arg-type,no-any-return"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.registry import device, kernel

QUANTILE, FRACTION = range(2)

FORCED_SAMPLES, FORCED_FIRST, FORCED_LAST = range(3)
FORCED_LOWEST, FORCED_HIGHEST, FORCED_MOST = range(3)
"""Columns of what is reported of counts that had to be raised to make a histogram monotonic."""

_TOLERANCE = 1e-12
_SMALLEST_NORMAL = 2.2250738585072014e-308
_LARGEST = 1.7976931348623157e308

_F64 = "Array(float64, 1, 'C', readonly=True)"
_I64 = "Array(int64, 1, 'C', readonly=True)"


@kernel(f"void(int64, {_F64}, {_F64}, Array(float64, 2, 'C', readonly=True), Array(boolean, 2, 'C', readonly=True), "
        f"{_I64}, {_F64}, {_I64}, float64[:, ::1], int64, int64, float64[:, ::1], boolean[:, ::1], int64[:, ::1], "
        "float64[:, ::1])", stage="later")
def evaluate_buckets(op: int, first: NDArray[np.float64], second: NDArray[np.float64], values: NDArray[np.float64],
                     present: NDArray[np.bool_], order: NDArray[np.int64], bounds: NDArray[np.float64],
                     begin: NDArray[np.int64], scratch: NDArray[np.float64], first_step: int, end_step: int,
                     out_values: NDArray[np.float64], out_present: NDArray[np.bool_], forced_steps: NDArray[np.int64],
                     forced_buckets: NDArray[np.float64]) -> None:
    """The quantile `first`, or the fraction between `first` and `second` (f64[steps] each), of histograms, at the steps
    first_step <= step < end_step.

    values f64 and present bool[n, steps] are cumulative counts; the buckets of histogram h are the rows
    order[begin[h]:begin[h + 1]] with upper bounds `bounds` f64[buckets] at the same places, in ascending order; scratch
    f64[2, most buckets of a histogram]. Out: f64 and bool[histograms, steps]; of counts that were not monotonic
    forced_steps i64[histograms, 3] (how many samples, first and last step) and forced_buckets f64[histograms, 3]
    (lowest and highest bound concerned, largest difference), both only where there were any.
    """
    upper, count = scratch[0], scratch[1]
    for h in range(begin.size - 1):
        for step in range(first_step, end_step):
            size = np.int64(0)
            for at in range(begin[h], begin[h + 1]):
                if not present[order[at], step]:
                    continue
                if size > 0 and upper[size - 1] == bounds[at]:
                    count[size - 1] += values[order[at], step]
                else:
                    upper[size], count[size] = bounds[at], values[order[at], step]
                    size += 1
            if size == 0:
                continue
            out_present[h, step] = True
            if op == FRACTION:
                out_values[h, step] = _fraction(first[step], second[step], upper, count, size)
                continue
            q = first[step]
            if q != q or q < 0.0 or q > 1.0:
                out_values[h, step] = np.nan if q != q else -np.inf if q < 0.0 else np.inf
                continue
            if upper[size - 1] != np.inf:
                out_values[h, step] = np.nan
                continue
            if _make_monotonic(upper, count, size, forced_buckets[h]):
                if forced_steps[h, FORCED_SAMPLES] == 0:
                    forced_steps[h, FORCED_FIRST] = step
                forced_steps[h, FORCED_SAMPLES] += 1
                forced_steps[h, FORCED_LAST] = step
            out_values[h, step] = _quantile(q, upper, count, size)


@device
def _almost_equal(a: float, b: float) -> bool:
    if a != a and b != b:
        return True
    total, difference = abs(a) + abs(b), abs(a - b)
    if a == 0.0 or b == 0.0 or total < _SMALLEST_NORMAL:
        return difference < _TOLERANCE * _SMALLEST_NORMAL
    return difference / min(total, _LARGEST) < _TOLERANCE


@device
def _make_monotonic(upper: NDArray[np.float64], count: NDArray[np.float64], size: int,
                    forced: NDArray[np.float64]) -> bool:
    """Evens out differences too small to be real, silently, and raises counts that are lower than the one before."""
    raised = False
    before = count[0]
    for i in range(1, size):
        now = count[i]
        if now == before:
            continue
        if _almost_equal(before, now):
            count[i] = before
        elif now < before:
            count[i] = before
            raised = True
            forced[FORCED_LOWEST] = min(forced[FORCED_LOWEST], upper[i])
            forced[FORCED_HIGHEST] = max(forced[FORCED_HIGHEST], upper[i])
            forced[FORCED_MOST] = max(forced[FORCED_MOST], before - now)
        else:
            before = now
    return raised


@device
def _quantile(q: float, upper: NDArray[np.float64], count: NDArray[np.float64], size: int) -> float:
    """Linear within the bucket, the lowest one beginning at 0; the highest bound but one in the bucket to +Inf."""
    if size < 2 or count[size - 1] == 0.0:
        return np.nan
    rank = q * count[size - 1]
    low, high = np.int64(0), size - 1
    while low < high:
        middle = (low + high) >> 1
        if count[middle] >= rank:
            high = middle
        else:
            low = middle + 1
    if low == size - 1:
        return upper[size - 2]
    if low == 0:
        return upper[0] if upper[0] <= 0.0 else 0.0 + upper[0] * (rank / count[0])
    below = count[low - 1]
    return upper[low - 1] + (upper[low] - upper[low - 1]) * ((rank - below) / (count[low] - below))


@device
def _fraction(lower: float, higher: float, upper: NDArray[np.float64], count: NDArray[np.float64],
              size: int) -> float:
    total = count[size - 1]
    if upper[size - 1] != np.inf or total == 0.0 or lower != lower or higher != higher:
        return np.nan
    if lower >= higher:
        return 0.0
    below = _rank(lower, upper, count, size)
    return (_rank(higher, upper, count, size) - below) / total


@device
def _rank(value: float, upper: NDArray[np.float64], count: NDArray[np.float64], size: int) -> float:
    """How many observations are not above `value`."""
    total = count[size - 1]
    start = -np.inf if upper[0] <= 0.0 else 0.0
    before = 0.0
    for i in range(size):
        if i > 0:
            start = upper[i - 1]
        if start >= value:
            return total if before > total else before
        if upper[i] > value:
            inside = count[i]
            if start != -np.inf:
                inside = before + (count[i] - before) * (value - start) / (upper[i] - start)
            return total if inside > total else inside
        before = count[i]
    return total
