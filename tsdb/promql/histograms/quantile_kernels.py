# mypy: disable-error-code="call-overload,no-any-return,assignment,arg-type,operator,return-value"
"""Quantiles and fractions of native histograms, as Prometheus' promql/quantile.go estimates them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tsdb.histograms.payload_kernels import NEGATIVE, PARTS, POSITIVE, count_buckets
from tsdb.kernels.registry import device, kernel
from tsdb.promql.histograms.buckets_kernels import (
    COUNT,
    NUMBERS,
    SUM,
    count_of,
    histogram_begin,
    leads_to_histogram,
    ordered_bucket,
    ordered_count,
    read_ordered,
    schema_of,
    uses_custom_buckets,
)

QUANTILE, FRACTION = range(2)

NAN_RESULT, SKEWED, EXCLUDED = 1, 2, 4
"""Notes: observations that are NaN made the quantile NaN, or move it up; fractions leave them out."""

_F64 = "Array(float64, 1, 'C', readonly=True)"


@kernel(f"int64(int64, {_F64}, {_F64}, Array(uint64, 2, 'C', readonly=True), Array(boolean, 2, 'C', readonly=True), "
        "Array(uint8, 1, 'C', readonly=True), int64, int64, int64[::1], float64[::1], float64[:, ::1], uint8[::1])",
        stage="later")
def estimate_native(op: int, first: NDArray[np.float64], second: NDArray[np.float64], values: NDArray[np.uint64],
                    present: NDArray[np.bool_], payload: NDArray[np.uint8], first_row: int, end_row: int,
                    whole: NDArray[np.int64], real: NDArray[np.float64], out: NDArray[np.float64],
                    notes: NDArray[np.uint8]) -> int:
    """The quantile `first`, or the fraction between `first` and `second` (f64[steps] each), of the native histograms
    among the rows first_row <= row < end_row of cells, values u64 and present bool[rows, steps].

    Scratch: whole i64 and real f64, PARTS and as many more as a histogram has buckets. Out: f64[rows, steps] where
    there are histograms, and notes u8[rows]. Returns `end_row`, or the row where it stopped for a larger scratch.
    """
    parts, indices = whole[:PARTS], whole[PARTS:]
    numbers, counts = real[:NUMBERS], real[NUMBERS:]
    room = min(indices.size, counts.size)
    for row in range(first_row, end_row):
        for step in range(values.shape[1]):
            if not (present[row, step] and leads_to_histogram(values[row, step])):
                continue
            begin = histogram_begin(values[row, step])
            if count_buckets(payload, begin) > room:
                return row
            if op == QUANTILE:
                made, note = _quantile(first[step], payload, begin, parts, indices, counts, numbers)
            else:
                made, note = _fraction(first[step], second[step], payload, begin, parts, indices, counts, numbers)
            out[row, step] = made
            notes[row] |= np.uint8(note)
    return end_row


@device
def _quantile(q: float, payload: NDArray[np.uint8], begin: int, parts: NDArray[np.int64], indices: NDArray[np.int64],
              counts: NDArray[np.float64], numbers: NDArray[np.float64]) -> tuple[float, int]:
    """In buckets that grow exponentially the observations are taken to lie so that buckets half as wide would have
    equal numbers of them; in custom ones, and in the zero bucket, evenly."""
    if q < 0.0:
        return -math.inf, 0
    if q > 1.0:
        return math.inf, 0
    if q != q or count_of(payload, begin) == 0.0:
        return math.nan, 0
    schema = schema_of(payload, begin)
    custom = uses_custom_buckets(schema)
    size = read_ordered(payload, begin, parts, indices, counts, numbers)
    unsure = numbers[SUM] != numbers[SUM]
    forward = unsure or q < 0.5
    rank = (q if forward else 1.0 - q) * numbers[COUNT]
    lower = upper = inside = seen = 0.0
    reached = size
    for turn in range(size):
        inside = ordered_count(turn if forward else size - 1 - turn, parts, counts, numbers)
        if inside == 0.0:
            continue
        seen += inside
        if seen >= rank:
            reached = turn + 1
            break
    if size > 0:
        place = reached - 1 if forward else size - reached
        lower, upper, inside = ordered_bucket(payload, schema, place, parts, indices, counts, numbers)
    if custom:
        if lower == -math.inf:
            if upper <= 0.0:
                return upper, 0
            lower = 0.0
        elif upper == math.inf:
            return lower, 0
    elif lower < 0.0 and upper > 0.0:
        if parts[NEGATIVE] == 0 and parts[POSITIVE] > 0:
            lower = 0.0
        elif parts[POSITIVE] == 0 and parts[NEGATIVE] > 0:
            upper = 0.0
    seen = min(seen, numbers[COUNT])
    if seen < rank:
        return (math.nan, NAN_RESULT) if unsure else (upper, 0)
    rank = rank - (seen - inside) if forward else seen - rank
    note = 0
    if unsure:
        for turn in range(reached, size):
            seen += ordered_count(turn, parts, counts, numbers)
        note = SKEWED if seen < numbers[COUNT] else 0
    share = rank / inside
    if custom or (lower <= 0.0 and upper >= 0.0):
        return lower + (upper - lower) * share, note
    low, high = np.log2(abs(lower)), np.log2(abs(upper))
    if lower > 0.0:
        return np.exp2(low + (high - low) * share), note
    return -np.exp2(high + (low - high) * (1.0 - share)), note


@device
def _fraction(low: float, high: float, payload: NDArray[np.uint8], begin: int, parts: NDArray[np.int64],
              indices: NDArray[np.int64], counts: NDArray[np.float64], numbers: NDArray[np.float64],
              ) -> tuple[float, int]:
    if low != low or high != high or count_of(payload, begin) == 0.0:
        return math.nan, 0
    if low >= high:
        return 0.0, 0
    schema = schema_of(payload, begin)
    size = read_ordered(payload, begin, parts, indices, counts, numbers)
    seen = rank = below_low = below_high = 0.0
    low_found = high_found = False
    place = np.int64(0)
    while place < size and not (low_found and high_found):
        lower, upper, inside = ordered_bucket(payload, schema, place, parts, indices, counts, numbers)
        place += 1
        seen += inside
        evenly = uses_custom_buckets(schema)
        if lower <= 0.0 and upper >= 0.0:
            evenly = True
            if parts[NEGATIVE] == 0 and parts[POSITIVE] > 0:
                lower = 0.0
            elif parts[POSITIVE] == 0 and parts[NEGATIVE] > 0:
                upper = 0.0
        if not low_found and lower >= low:
            below_low, low_found = rank, True
        if not high_found and lower >= high:
            below_high, high_found = rank, True
        if low_found and high_found:
            break
        if not low_found and lower < low and upper > low:
            below_low, low_found = _below(low, lower, upper, inside, rank, evenly), True
        if not high_found and lower < high and upper > high:
            below_high, high_found = _below(high, lower, upper, inside, rank, evenly), True
        rank += inside
    total = numbers[COUNT]
    note = 0
    if numbers[SUM] != numbers[SUM]:
        for rest in range(place, size):
            seen += ordered_count(rest, parts, counts, numbers)
        note = EXCLUDED if seen < total else 0
        total = seen
    if not low_found or below_low > total:
        below_low = total
    if not high_found or below_high > total:
        below_high = total
    return (below_high - below_low) / numbers[COUNT], note


@device
def _below(value: float, lower: float, upper: float, inside: float, rank: float, evenly: bool) -> float:
    """How many observations are below a value that is within a bucket, `rank` of them below the bucket."""
    if evenly:
        return inside if lower == -math.inf else rank + inside * (value - lower) / (upper - lower)
    low, high, at = np.log2(abs(lower)), np.log2(abs(upper)), np.log2(abs(value))
    if value > 0.0:
        return rank + inside * ((at - low) / (high - low))
    return rank + inside * (1.0 - (at - high) / (low - high))
