# mypy: disable-error-code="call-overload,no-any-return,assignment,arg-type,operator,return-value"
"""What is known of a native histogram's observations without asking where they are: count, sum, average; and with the
middle of each bucket for those in it, their variance (Prometheus: promql/functions.go)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tsdb.histograms.payload_kernels import PARTS, count_buckets
from tsdb.kernels.registry import device, kernel
from tsdb.promql.histograms.buckets_kernels import (
    COUNT,
    NUMBERS,
    SUM,
    count_of,
    histogram_begin,
    leads_to_histogram,
    ordered_bucket,
    read_ordered,
    schema_of,
    sum_of,
    uses_custom_buckets,
)

OF_COUNT, OF_SUM, OF_AVERAGE, OF_VARIANCE, OF_DEVIATION = range(5)


@kernel("int64(int64, Array(uint64, 2, 'C', readonly=True), Array(boolean, 2, 'C', readonly=True), "
        "Array(uint8, 1, 'C', readonly=True), int64, int64, int64[::1], float64[::1], float64[:, ::1])", stage="later")
def describe_native(op: int, values: NDArray[np.uint64], present: NDArray[np.bool_], payload: NDArray[np.uint8],
                    first_row: int, end_row: int, whole: NDArray[np.int64], real: NDArray[np.float64],
                    out: NDArray[np.float64]) -> int:
    """One of the numbers OF_… of the native histograms among the rows first_row <= row < end_row of cells, values u64
    and present bool[rows, steps].

    Scratch: whole i64 and real f64, PARTS and as many more as a histogram has buckets. Out: f64[rows, steps] where
    there are histograms. Returns `end_row`, or the row where it stopped for a larger scratch.
    """
    parts, indices = whole[:PARTS], whole[PARTS:]
    numbers, counts = real[:NUMBERS], real[NUMBERS:]
    room = min(indices.size, counts.size)
    for row in range(first_row, end_row):
        for step in range(values.shape[1]):
            if not (present[row, step] and leads_to_histogram(values[row, step])):
                continue
            begin = histogram_begin(values[row, step])
            if op == OF_COUNT:
                out[row, step] = count_of(payload, begin)
            elif op == OF_SUM:
                out[row, step] = sum_of(payload, begin)
            elif op == OF_AVERAGE:
                out[row, step] = sum_of(payload, begin) / count_of(payload, begin)
            elif count_buckets(payload, begin) > room:
                return row
            else:
                variance = _variance(payload, begin, parts, indices, counts, numbers)
                out[row, step] = math.sqrt(variance) if op == OF_DEVIATION else variance
    return end_row


@device
def _variance(payload: NDArray[np.uint8], begin: int, parts: NDArray[np.int64], indices: NDArray[np.int64],
              counts: NDArray[np.float64], numbers: NDArray[np.float64]) -> float:
    """The observations of a bucket are taken to be at its middle: the arithmetic one of custom buckets, zero of the
    zero bucket, the geometric one of all others."""
    schema = schema_of(payload, begin)
    size = read_ordered(payload, begin, parts, indices, counts, numbers)
    mean = numbers[SUM] / numbers[COUNT]
    total = lost = 0.0
    for place in range(size):
        lower, upper, inside = ordered_bucket(payload, schema, place, parts, indices, counts, numbers)
        if inside == 0.0:
            continue
        if uses_custom_buckets(schema):
            middle = (upper + lower) / 2.0
        elif lower <= 0.0 and upper >= 0.0:
            middle = 0.0
        else:
            middle = math.copysign(math.sqrt(upper * lower), lower)
        more = inside * (middle - mean) * (middle - mean)
        new = total + more
        if abs(new) == math.inf:
            lost = 0.0
        elif abs(total) >= abs(more):
            lost += (total - new) + more
        else:
            lost += (more - new) + total
        total = new
    return (total + lost) / numbers[COUNT]
