# mypy: disable-error-code="no-any-return,assignment,arg-type,operator,return-value,call-overload,index"
"""Rows of native histograms (`tsdb.histograms.row`), for kernels: from and to payloads, scaled, at a lower
resolution, compared. `sum_kernels` adds rows up, `trim_kernels` cuts them off.

Rows `h` and the like are f64[WIDTH + 4 * capacity]. What is in a payload has been checked when it came in.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.histograms.payload_kernels import exponential_bound, read_signed
from tsdb.histograms.row import (
    COUNT,
    COUNT_LOST,
    CUSTOM,
    HINT,
    NEGATIVE,
    POSITIVE,
    SCHEMA,
    SUM,
    SUM_LOST,
    WIDTH,
    ZERO_COUNT,
    ZERO_LOST,
    ZERO_THRESHOLD,
)
from tsdb.kernels.intrinsics import bits_float, float_bits, load_u64, store_u64
from tsdb.kernels.registry import device
from tsdb.kernels.varint_kernels import put_varint, take_varint, zigzag
from tsdb.model.native_histograms import CUSTOM_SCHEMA, FLOAT_FLAG, HEADER_BYTES, HINT_SHIFT

GAUGE = 3
"""ResetHint.GAUGE"""


@device
def capacity(h: NDArray[np.float64]) -> int:
    """How many buckets, and how many custom values, the row has room for."""
    return (h.size - WIDTH) // 4


@device
def buckets(h: NDArray[np.float64]) -> int:
    """Of both sides."""
    return np.int64(h[POSITIVE]) + np.int64(h[NEGATIVE])


@device
def upper_bound(h: NDArray[np.float64], index: int) -> float:
    """That of bucket `index` of the positive side (for -1 of a custom schema: the lower one of bucket 0); the negative
    side mirrors it."""
    if h[SCHEMA] != CUSTOM_SCHEMA:
        return exponential_bound(index, np.int64(h[SCHEMA]))
    if index < 0:
        return -np.inf
    return np.inf if index >= h[CUSTOM] else h[WIDTH + 3 * capacity(h) + index]


@device
def load(payload: NDArray[np.uint8], begin: int, h: NDArray[np.float64]) -> bool:
    """Reads the histogram at `begin` of a payload u8[], its empty buckets, too. False: the row has too little room, and
    then means nothing. Counts that are integers are added up as floats, as Prometheus does."""
    parts = capacity(h)
    flags = payload[begin + 4]
    h[SCHEMA] = np.int8(payload[begin + 5])
    h[HINT] = flags >> HINT_SHIFT & 3
    h[ZERO_THRESHOLD] = bits_float(load_u64(payload, begin + 8))
    h[SUM] = bits_float(load_u64(payload, begin + 16))
    floats = (flags & FLOAT_FLAG) != 0
    count, zero_count = load_u64(payload, begin + 24), load_u64(payload, begin + 32)
    h[COUNT] = bits_float(count) if floats else np.float64(count)
    h[ZERO_COUNT] = bits_float(zero_count) if floats else np.float64(zero_count)
    h[SUM_LOST] = h[COUNT_LOST] = h[ZERO_LOST] = 0.0
    at = begin + HEADER_BYTES
    found = np.int64(0)
    for side in range(2):
        first = found
        spans, at = take_varint(payload, at)
        index = np.int64(0)
        for _ in range(np.int64(spans)):
            offset, at = read_signed(payload, at)
            length, at = take_varint(payload, at)
            index += offset
            if found + np.int64(length) > parts:
                return False
            for _ in range(np.int64(length)):
                h[WIDTH + found] = index
                index += 1
                found += 1
        h[POSITIVE + side] = found - first
    custom, at = take_varint(payload, at)
    if np.int64(custom) > parts:
        return False
    h[CUSTOM] = custom
    for i in range(np.int64(custom)):
        h[WIDTH + 3 * parts + i] = bits_float(load_u64(payload, at))
        at += 8
    before = 0.0
    for i in range(found):
        if floats:
            h[WIDTH + parts + i] = bits_float(load_u64(payload, at))
            at += 8
        else:
            change, at = read_signed(payload, at)
            before = np.float64(change) + (0.0 if i == 0 or i == h[POSITIVE] else before)
            h[WIDTH + parts + i] = before
        h[WIDTH + 2 * parts + i] = 0.0
    return True


@device
def room(h: NDArray[np.float64]) -> int:
    """The most bytes that `store` writes."""
    return HEADER_BYTES + 30 + 28 * buckets(h) + 8 * np.int64(h[CUSTOM])


@device
def store(h: NDArray[np.float64], payload: NDArray[np.uint8], at: int) -> int:
    """Writes the row at byte `at` of a payload, as a histogram whose counts are floats, without empty buckets (those
    with a count of 0, whatever it has lost); the position behind it. There must be `room`."""
    begin = at
    parts = capacity(h)
    payload[at + 4] = FLOAT_FLAG | np.int64(h[HINT]) << HINT_SHIFT
    payload[at + 5] = np.uint8(np.int64(h[SCHEMA]))
    payload[at + 6] = payload[at + 7] = 0
    store_u64(payload, at + 8, float_bits(h[ZERO_THRESHOLD]))
    store_u64(payload, at + 16, float_bits(h[SUM]))
    store_u64(payload, at + 24, float_bits(h[COUNT]))
    store_u64(payload, at + 32, float_bits(h[ZERO_COUNT]))
    at += HEADER_BYTES
    end = np.int64(0)
    for side in range(2):
        first, end = end, end + np.int64(h[POSITIVE + side])
        spans, following = np.uint64(0), np.int64(0)
        for i in range(first, end):
            if h[WIDTH + parts + i] != 0.0:
                if spans == 0 or np.int64(h[WIDTH + i]) != following:
                    spans += np.uint64(1)
                following = np.int64(h[WIDTH + i]) + 1
        at = put_varint(payload, at, spans)
        length, following = np.int64(0), np.int64(0)
        for i in range(first, end):
            if h[WIDTH + parts + i] == 0.0:
                continue
            index = np.int64(h[WIDTH + i])
            if length == 0 or index != following:
                if length > 0:
                    at = put_varint(payload, at, np.uint64(length))
                at = put_varint(payload, at, zigzag(index - following))
                length = 0
            length += 1
            following = index + 1
        if length > 0:
            at = put_varint(payload, at, np.uint64(length))
    at = put_varint(payload, at, np.uint64(h[CUSTOM]))
    for i in range(np.int64(h[CUSTOM])):
        store_u64(payload, at, float_bits(h[WIDTH + 3 * parts + i]))
        at += 8
    for i in range(end):
        if h[WIDTH + parts + i] != 0.0:
            store_u64(payload, at, float_bits(h[WIDTH + parts + i]))
            at += 8
    length = at - begin
    for i in range(4):
        payload[begin + i] = np.uint8(length >> (8 * i) & 0xFF)
    return at


@device
def copy(source: NDArray[np.float64], target: NDArray[np.float64]) -> bool:
    """False: the target has too little room; then it is as it was."""
    number, custom = buckets(source), np.int64(source[CUSTOM])
    here, there = capacity(source), capacity(target)
    if number > there or custom > there:
        return False
    for i in range(WIDTH):
        target[i] = source[i]
    for part in range(3):
        begin, to = WIDTH + part * here, WIDTH + part * there
        for i in range(number):
            target[to + i] = source[begin + i]
    for i in range(custom):
        target[WIDTH + 3 * there + i] = source[WIDTH + 3 * here + i]
    return True


@device
def scale(h: NDArray[np.float64], factor: float) -> None:
    """Prometheus' FloatHistogram.Mul: a negative factor makes a gauge."""
    for field in (SUM, COUNT, ZERO_COUNT):
        h[field] *= factor
    for field in (SUM_LOST, COUNT_LOST, ZERO_LOST):
        if h[field] != 0.0:
            h[field] *= factor
    parts = capacity(h)
    for i in range(buckets(h)):
        h[WIDTH + parts + i] *= factor
        if h[WIDTH + 2 * parts + i] != 0.0:
            h[WIDTH + 2 * parts + i] *= factor
    if factor < 0.0:
        h[HINT] = GAUGE


@device
def divide(h: NDArray[np.float64], by: float) -> None:
    """Prometheus' FloatHistogram.Div: division by zero removes all buckets; a negative number makes a gauge."""
    for field in (SUM, COUNT, ZERO_COUNT):
        h[field] /= by
    for field in (SUM_LOST, COUNT_LOST, ZERO_LOST):
        if h[field] != 0.0:
            h[field] /= by
    if by == 0.0:
        h[POSITIVE] = h[NEGATIVE] = 0.0
    parts = capacity(h)
    for i in range(buckets(h)):
        h[WIDTH + parts + i] /= by
        if h[WIDTH + 2 * parts + i] != 0.0:
            h[WIDTH + 2 * parts + i] /= by
    if by < 0.0:
        h[HINT] = GAUGE


@device
def settle(h: NDArray[np.float64]) -> None:
    """Adds to all numbers what Kahan's summation has lost of them; nothing is lost any more."""
    h[SUM] += h[SUM_LOST]
    h[COUNT] += h[COUNT_LOST]
    h[ZERO_COUNT] += h[ZERO_LOST]
    h[SUM_LOST] = h[COUNT_LOST] = h[ZERO_LOST] = 0.0
    parts = capacity(h)
    for i in range(buckets(h)):
        h[WIDTH + parts + i] += h[WIDTH + 2 * parts + i]
        h[WIDTH + 2 * parts + i] = 0.0


@device
def compact(h: NDArray[np.float64]) -> None:
    """Removes empty buckets."""
    parts = capacity(h)
    kept, end = np.int64(0), np.int64(0)
    for side in range(2):
        before = kept
        first, end = end, end + np.int64(h[POSITIVE + side])
        for i in range(first, end):
            if h[WIDTH + parts + i] != 0.0 or h[WIDTH + 2 * parts + i] != 0.0:
                for part in range(3):
                    h[WIDTH + part * parts + kept] = h[WIDTH + part * parts + i]
                kept += 1
        h[POSITIVE + side] = kept - before


@device
def is_overflowing(h: NDArray[np.float64]) -> bool:
    """Whether a number is infinite (Prometheus' FloatHistogram.HasOverflow)."""
    if np.isinf(h[SUM]) or np.isinf(h[COUNT]) or np.isinf(h[ZERO_COUNT]):
        return True
    counts = WIDTH + capacity(h)
    for i in range(buckets(h)):
        if np.isinf(h[counts + i]):
            return True
    return False


@device
def add_lossless(h: NDArray[np.float64], at: int, lost: int, number: float) -> None:
    """h[at] += number, by Kahan's summation as Neumaier improved it: what is lost is added to h[lost]."""
    before = h[at]
    total = before + number
    if np.isinf(total):
        h[lost] = 0.0
    elif abs(before) >= abs(number):
        h[lost] += (before - total) + number
    else:
        h[lost] += (number - total) + before
    h[at] = total


@device
def reduce_resolution(h: NDArray[np.float64], schema: int) -> None:
    """To a lower schema; nothing happens to custom buckets, or if it is none. A bucket goes into the one it lies in."""
    shift = np.int64(h[SCHEMA]) - schema
    if h[SCHEMA] == CUSTOM_SCHEMA or shift <= 0:
        return
    h[SCHEMA] = schema
    parts = capacity(h)
    kept, end = np.int64(0), np.int64(0)
    for side in range(2):
        before = kept
        first, end = end, end + np.int64(h[POSITIVE + side])
        for i in range(first, end):
            index = reduced(np.int64(h[WIDTH + i]), shift)
            count, lost = h[WIDTH + parts + i], h[WIDTH + 2 * parts + i]
            if kept > before and h[WIDTH + kept - 1] == index:
                at = WIDTH + parts + kept - 1
                add_lossless(h, at, at + parts, count)
                if lost != 0.0:
                    add_lossless(h, at, at + parts, lost)
            else:
                h[WIDTH + kept], h[WIDTH + parts + kept], h[WIDTH + 2 * parts + kept] = index, count, lost
                kept += 1
        h[POSITIVE + side] = kept - before


@device
def reduced(index: int, shift: int) -> int:
    """Where bucket `index` lies in the schema lower by `shift`."""
    return ((index - 1) >> shift) + 1


@device
def equal_custom_values(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    if a[CUSTOM] != b[CUSTOM]:
        return False
    of_a, of_b = WIDTH + 3 * capacity(a), WIDTH + 3 * capacity(b)
    for i in range(np.int64(a[CUSTOM])):
        if a[of_a + i] != b[of_b + i]:
            return False
    return True


@device
def equal(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Prometheus' FloatHistogram.Equals: the same data, bit for bit, so that an empty bucket and one that is not there
    differ, and a NaN equals itself. Hints do not matter."""
    for field in (SCHEMA, ZERO_THRESHOLD, POSITIVE, NEGATIVE):
        if a[field] != b[field]:
            return False
    for field in (SUM, COUNT, ZERO_COUNT):
        if float_bits(a[field]) != float_bits(b[field]):
            return False
    if not equal_custom_values(a, b):
        return False
    of_a, of_b = capacity(a), capacity(b)
    for i in range(buckets(a)):
        if a[WIDTH + i] != b[WIDTH + i] or float_bits(a[WIDTH + of_a + i]) != float_bits(b[WIDTH + of_b + i]):
            return False
    return True
