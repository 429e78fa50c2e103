# mypy: disable-error-code="no-any-return,assignment,arg-type,operator,return-value"
"""A native histogram's buckets from the lowest to the highest, as those estimate who look at each: the negative side
from its last one, the zero bucket, the positive side (Prometheus: FloatHistogram.AllBucketIterator)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.histograms.payload_kernels import (
    NEGATIVE,
    POSITIVE,
    bucket_bound,
    count_value,
    read_buckets,
)
from tsdb.kernels.intrinsics import bits_float, load_u64
from tsdb.kernels.registry import device
from tsdb.model.native_histograms import BOX, CUSTOM_SCHEMA, OFFSET_MASK

ZERO_THRESHOLD, SUM, COUNT, ZERO_COUNT = range(4)
"""`numbers` f64[NUMBERS] of a histogram."""
NUMBERS = 4

_SCHEMA_AT = 5
_THRESHOLD_AT, _SUM_AT, _COUNT_AT, _ZERO_COUNT_AT = 8, 16, 24, 32
_LOWEST_BOX, _OFFSET = np.uint64(BOX), np.uint64(OFFSET_MASK)


@device
def leads_to_histogram(bits: int) -> bool:
    return bits >= _LOWEST_BOX


@device
def histogram_begin(bits: int) -> int:
    """Where in the payload the histogram of a boxed value begins."""
    return np.int64(bits & _OFFSET)


@device
def schema_of(payload: NDArray[np.uint8], begin: int) -> int:
    return np.int64(np.int8(payload[begin + _SCHEMA_AT]))


@device
def sum_of(payload: NDArray[np.uint8], begin: int) -> float:
    return bits_float(load_u64(payload, begin + _SUM_AT))


@device
def count_of(payload: NDArray[np.uint8], begin: int) -> float:
    return count_value(payload, begin, _COUNT_AT)


@device
def read_numbers(payload: NDArray[np.uint8], begin: int, numbers: NDArray[np.float64]) -> None:
    numbers[ZERO_THRESHOLD] = bits_float(load_u64(payload, begin + _THRESHOLD_AT))
    numbers[SUM] = sum_of(payload, begin)
    numbers[COUNT] = count_of(payload, begin)
    numbers[ZERO_COUNT] = count_value(payload, begin, _ZERO_COUNT_AT)


@device
def read_ordered(payload: NDArray[np.uint8], begin: int, parts: NDArray[np.int64], indices: NDArray[np.int64],
                 counts: NDArray[np.float64], numbers: NDArray[np.float64]) -> int:
    """Reads a histogram for `ordered_bucket`, and says how many buckets there are. The scratch as of `read_buckets`."""
    read_numbers(payload, begin, numbers)
    read_buckets(payload, begin, parts, indices, counts)
    return parts[POSITIVE] + parts[NEGATIVE] + np.int64(numbers[ZERO_COUNT] > 0.0)


@device
def ordered_bucket(payload: NDArray[np.uint8], schema: int, place: int, parts: NDArray[np.int64],
                   indices: NDArray[np.int64], counts: NDArray[np.float64], numbers: NDArray[np.float64],
                   ) -> tuple[float, float, float]:
    """Lower bound, upper bound and count of the bucket at a place, from the lowest. Those beside the zero bucket end
    where it begins."""
    threshold = numbers[ZERO_THRESHOLD]
    slot = ordered_slot(place, parts, numbers)
    if slot < 0:
        return -threshold, threshold, numbers[ZERO_COUNT]
    lower = bucket_bound(payload, indices[slot] - 1, schema, parts)
    upper = bucket_bound(payload, indices[slot], schema, parts)
    if slot >= parts[POSITIVE]:
        lower, upper = -upper, -lower
    if upper < 0.0 and upper > -threshold:
        upper = -threshold
    elif lower > 0.0 and lower < threshold:
        lower = threshold
    return lower, upper, counts[slot]


@device
def ordered_slot(place: int, parts: NDArray[np.int64], numbers: NDArray[np.float64]) -> int:
    """Where in `indices` and `counts` the bucket at a place is, from the lowest; -1: it is the zero bucket."""
    negative = parts[NEGATIVE]
    if place < negative:
        return parts[POSITIVE] + negative - 1 - place
    if numbers[ZERO_COUNT] > 0.0:
        return place - negative - 1
    return place - negative


@device
def ordered_count(place: int, parts: NDArray[np.int64], counts: NDArray[np.float64], numbers: NDArray[np.float64],
                  ) -> float:
    """The count of the bucket at a place, from the lowest."""
    slot = ordered_slot(place, parts, numbers)
    return numbers[ZERO_COUNT] if slot < 0 else counts[slot]


@device
def uses_custom_buckets(schema: int) -> bool:
    return schema == CUSTOM_SCHEMA
