# mypy: disable-error-code="no-any-return,assignment,arg-type,operator,return-value,call-overload,index"
"""The operators ``</`` and ``>/`` on native histograms in rows (`tsdb.histograms.row`): what is left of the
observations below or above a value, as Prometheus' FloatHistogram.TrimBuckets estimates it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tsdb.histograms.row import (
    COUNT,
    COUNT_LOST,
    POSITIVE,
    SCHEMA,
    SUM,
    SUM_LOST,
    WIDTH,
    ZERO_COUNT,
    ZERO_LOST,
    ZERO_THRESHOLD,
)
from tsdb.histograms.row_kernels import capacity, compact, upper_bound
from tsdb.kernels.registry import device
from tsdb.model.native_histograms import CUSTOM_SCHEMA


@device
def trim_upper(h: NDArray[np.float64], value: float) -> None:
    """Keeps observations up to `value`. What `h` has lost in summation is forgotten."""
    _trim(h, value, True)


@device
def trim_lower(h: NDArray[np.float64], value: float) -> None:
    """Keeps observations above `value`. What `h` has lost in summation is forgotten."""
    _trim(h, value, False)


@device
def _trim(h: NDArray[np.float64], value: float, below: bool) -> None:
    custom = h[SCHEMA] == CUSTOM_SCHEMA
    counts, lost = WIDTH + capacity(h), WIDTH + 2 * capacity(h)
    count, total, changed = 0.0, 0.0, False
    seen_positive = seen_negative = False
    end = np.int64(0)
    for side in range(2):
        first, end = end, end + np.int64(h[POSITIVE + side])
        for i in range(first, end):
            here = h[counts + i]
            h[lost + i] = 0.0
            if here == 0.0:
                continue
            index = np.int64(h[WIDTH + i])
            if side == 0:
                seen_positive = True
                lower, upper = upper_bound(h, index - 1), upper_bound(h, index)
            else:
                seen_negative = True
                lower, upper = -upper_bound(h, index), -upper_bound(h, index - 1)
            if upper <= value if below else lower >= value:
                kept, middle = here, _middle(lower, upper, side == 0, custom)
            elif lower < value if below else upper > value:
                kept, middle = _part_of_bucket(here, lower, upper, value, below, side == 0, custom)
            else:
                kept, middle = 0.0, 0.0
            count += kept
            total += middle * kept
            if kept != here:
                h[counts + i] = kept
                changed = True
    if h[ZERO_COUNT] > 0.0:
        lower = 0.0 if seen_positive and not seen_negative else -h[ZERO_THRESHOLD]
        upper = 0.0 if seen_negative and not seen_positive else h[ZERO_THRESHOLD]
        kept, middle = _part_of_zero_bucket(h[ZERO_COUNT], lower, upper, value, below)
        if kept != h[ZERO_COUNT]:
            h[ZERO_COUNT] = kept
            changed = True
        count += kept
        total += middle * kept
    h[SUM_LOST] = h[COUNT_LOST] = h[ZERO_LOST] = 0.0
    if changed:
        h[COUNT], h[SUM] = count, total
        compact(h)


@device
def _part_of_zero_bucket(count: float, lower: float, upper: float, value: float, below: bool) -> tuple[float, float]:
    """(observations, their mean)"""
    if value <= lower:
        return (0.0, 0.0) if below else (count, (lower + upper) / 2)
    if value >= upper:
        return (count, (lower + upper) / 2) if below else (0.0, 0.0)
    if below:
        return count * ((value - lower) / (upper - lower)), (lower + value) / 2
    return count * ((upper - value) / (upper - lower)), (value + upper) / 2


@device
def _part_of_bucket(count: float, lower: float, upper: float, value: float, below: bool, positive: bool,
                    linear: bool) -> tuple[float, float]:
    """(observations, their mean) of a bucket that `value` may be within."""
    if lower == -math.inf:
        return _part_from_minus_infinity(count, upper, value, below)
    if upper == math.inf:
        if below or value < lower:
            return 0.0, 0.0  # nobody knows where in the bucket they are
        return count, value
    if value <= lower:
        under = 0.0
    elif value >= upper:
        under = count
    elif linear:
        under = count * ((value - lower) / (upper - lower))
    else:
        low, high, at = math.log2(abs(lower)), math.log2(abs(upper)), math.log2(abs(value))
        under = count * ((at - low) / (high - low) if value > 0.0 else 1.0 - (at - high) / (low - high))
    if below:
        return under, _middle(lower, value, positive, linear)
    return count - under, _middle(value, upper, positive, linear)


@device
def _part_from_minus_infinity(count: float, upper: float, value: float, below: bool) -> tuple[float, float]:
    """The bucket begins at 0 if it ends above it."""
    if below:
        if value >= upper:
            return count, 0.0
        if value > 0.0 and upper > 0.0 and upper != math.inf:
            return count * value / upper, value / 2
        return (count, value) if upper <= 0.0 else (0.0, 0.0)
    if value == -math.inf:
        return count, 0.0
    if value >= 0.0 and value < upper and upper != math.inf:
        return count * (1.0 - value / upper), (value + upper) / 2
    return 0.0, 0.0


@device
def _middle(lower: float, upper: float, positive: bool, linear: bool) -> float:
    """The mean of observations between the bounds, as it is estimated."""
    if math.isinf(lower):
        if math.isinf(upper):
            return 0.0
        return upper / 2 if upper > 0.0 else upper
    if math.isinf(upper):
        return lower
    if linear:
        return (lower + upper) / 2
    middle = math.sqrt(abs(lower * upper))
    return middle if positive else -middle
