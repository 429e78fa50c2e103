# mypy: disable-error-code="call-overload,arg-type,return-value,assignment,operator,no-any-return"
"""Native histograms as JSON text, as Prometheus' util/jsonutil writes them::

    {"count":"42","sum":"3.5","buckets":[[0,"0.25","0.5","12"],…]}

A bucket is a number that says which bounds are inclusive, the lower and the upper bound, and the count; empty ones are
left out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.histograms.payload_kernels import NEGATIVE, POSITIVE, bucket_bound, count_value, read_buckets
from tsdb.kernels.intrinsics import bits_float, float_bits, load_u64, store_u64
from tsdb.kernels.number_kernels import write_text, write_value
from tsdb.kernels.registry import device
from tsdb.model.native_histograms import CUSTOM_SCHEMA

HISTOGRAM_BYTES = 192
"""Most bytes of a histogram with its time, besides its buckets."""
BUCKET_BYTES = 96
"""Most bytes of a bucket."""

UPPER, LOWER, NEITHER, BOTH = range(4)
"""Which bounds of a bucket are inclusive."""

_WORDS = np.frombuffer(b'{"count":"","sum":"","buckets":[' + bytes(8), np.uint8)


@device
def write_histogram(out: NDArray[np.uint8], at: int, payload: NDArray[np.uint8], begin: int, parts: NDArray[np.int64],
                    indices: NDArray[np.int64], counts: NDArray[np.float64]) -> int:
    """The histogram at payload[begin:]; `parts`, `indices` and `counts` are scratch, with room for all its buckets.
    Returns the position behind."""
    schema = np.int64(payload[begin + 5])
    if schema > 127:
        schema -= 256
    threshold = bits_float(load_u64(payload, begin + 8))
    at = write_text(out, at, _WORDS, 0, 10)
    at = write_value(out, at, float_bits(count_value(payload, begin, 24)))
    at = write_text(out, at, _WORDS, 10, 19)
    at = write_value(out, at, load_u64(payload, begin + 16))
    head = at
    at = write_text(out, at, _WORDS, 19, 32)
    buckets = at
    read_buckets(payload, begin, parts, indices, counts)
    positive = parts[POSITIVE]
    for i in range(positive + parts[NEGATIVE] - 1, positive - 1, -1):
        if counts[i] == 0.0:
            continue
        lower = -bucket_bound(payload, indices[i], schema, parts)
        upper = -bucket_bound(payload, indices[i] - 1, schema, parts)
        inclusive = LOWER if lower < 0.0 else NEITHER
        if upper < 0.0 and upper > -threshold:
            upper = -threshold
        at = write_bucket(out, at, inclusive, lower, upper, counts[i])
    zero = count_value(payload, begin, 32)
    if zero > 0.0:
        at = write_bucket(out, at, BOTH, -threshold, threshold, zero)
    started = schema == CUSTOM_SCHEMA
    for i in range(positive):
        lower = bucket_bound(payload, indices[i] - 1, schema, parts)
        upper = bucket_bound(payload, indices[i], schema, parts)
        started = started or upper > 0.0  # bounds that are too small for a float
        if counts[i] == 0.0 or not started:
            continue
        if schema == CUSTOM_SCHEMA:
            inclusive = BOTH if indices[i] == 0 else UPPER
        else:
            inclusive = UPPER
            if lower > 0.0 and lower < threshold:
                lower = threshold
        at = write_bucket(out, at, inclusive, lower, upper, counts[i])
    if at == buckets:
        out[head] = 34
        at = head + 1
    else:
        out[at - 1] = 93
    out[at] = 125
    return at + 1


@device
def write_bucket(out: NDArray[np.uint8], at: int, inclusive: int, lower: float, upper: float, count: float) -> int:
    """``[i,"l","u","c"],``"""
    store_u64(out, at, np.uint64(0x222C305B) + (np.uint64(inclusive) << np.uint64(8)))  # [0,"
    at = write_value(out, at + 4, float_bits(lower))
    store_u64(out, at, np.uint64(0x222C22))  # ","
    at = write_value(out, at + 3, float_bits(upper))
    store_u64(out, at, np.uint64(0x222C22))
    at = write_value(out, at + 3, float_bits(count))
    store_u64(out, at, np.uint64(0x2C5D22))  # "],
    return at + 3
