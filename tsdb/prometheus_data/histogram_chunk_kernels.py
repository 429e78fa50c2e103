# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""Chunks of native histograms with integer or float counts: decoding.

tsdb/docs/format/chunks.md, tsdb/chunkenc/histogram.go, histogram_meta.go and float_histogram.go of Prometheus. A
histogram on its way stands in `fields`, `spans` and `lists`, as those of messages (`tsdb.ingest.histogram_kernels`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.histogram_kernels import (
    COUNT,
    CUSTOM,
    CUSTOM_VALUES,
    FIELDS,
    FLOATS,
    FOUND,
    HINT,
    NEGATIVE,
    NEGATIVE_BUCKETS,
    NEGATIVE_SPANS,
    POSITIVE,
    POSITIVE_BUCKETS,
    POSITIVE_SPANS,
    SCHEMA,
    SUM,
    TOO_LONG,
    VALID_HISTOGRAM,
    WRITTEN_MORE,
    ZERO_COUNT,
    ZERO_THRESHOLD,
    check_histogram,
    write_histogram,
)
from tsdb.kernels.intrinsics import float_bits
from tsdb.kernels.registry import device
from tsdb.model.native_histograms import BOX, CUSTOM_SCHEMA, MAX_BYTES, ResetHint
from tsdb.prometheus_data.bit_kernels import (
    NO_BORDERS,
    take_bits,
    take_signed,
    take_unsigned,
    take_xor,
)
from tsdb.prometheus_data.float_chunk_kernels import STALE_BITS, count_of

BOX_BITS = np.uint64(BOX)
FULL_SCRATCH, FULL_PAYLOAD, NO_CHUNK = -2, -3, -1
"""Instead of a position: `lists` are too short, `payload` is, the bytes are wrong."""
LAYOUT_RESET, LAYOUT_GAUGE = 2, 3
"""The two bits in front of a chunk: it began for a reset; it has gauges."""
UNKNOWN_HINT, RESET_HINT, NOT_RESET_HINT, GAUGE_HINT = (
    int(ResetHint.UNKNOWN), int(ResetHint.RESET), int(ResetHint.NOT_RESET), int(ResetHint.GAUGE))


@device
def read_layout(data: NDArray[np.uint8], start: int, end: int, fields: NDArray[np.int64], spans: NDArray[np.int64],
                lists: NDArray[np.int64]) -> int:
    """The schema, zero threshold, spans and custom values behind a chunk's three first bytes; the next bit, NO_CHUNK or
    FULL_SCRATCH."""
    room = lists.shape[1]
    bit, limit = np.int64(start + 3) * 8, np.int64(end) * 8
    exponent = np.int64(data[start + 3])
    bit += 8
    if exponent == 255:
        fields[ZERO_THRESHOLD] = np.int64(take_bits(data, bit, 64))
        bit += 64
    elif exponent > 0:  # 0.5 times two to the power of exponent - 243
        fields[ZERO_THRESHOLD] = (exponent - 244 + 1023) << 52
    schema, bit = take_signed(data, bit)
    fields[SCHEMA] = schema
    for side in range(2):
        number, bit = take_unsigned(data, bit)
        if bit > limit or number > np.uint64(limit - bit):
            return np.int64(NO_CHUNK)
        count = np.int64(number)
        if count > room:
            return np.int64(FULL_SCRATCH)
        buckets = np.int64(0)
        for k in range(count):
            length, bit = take_unsigned(data, bit)
            offset, bit = take_signed(data, bit)
            if bit > limit or length > np.uint64(limit - bit):  # a bucket takes a bit
                return np.int64(NO_CHUNK)
            spans[side, k, 0] = offset
            spans[side, k, 1] = np.int64(length)
            buckets += np.int64(length)
        if buckets > limit - bit:
            return np.int64(NO_CHUNK)
        if buckets > room:
            return np.int64(FULL_SCRATCH)
        fields[POSITIVE_SPANS + side] = count
        fields[POSITIVE_BUCKETS + side] = buckets
    if schema != CUSTOM_SCHEMA:
        return bit
    number, bit = take_unsigned(data, bit)
    if bit > limit or number > np.uint64(limit - bit):
        return np.int64(NO_CHUNK)
    count = np.int64(number)
    if count > room:
        return np.int64(FULL_SCRATCH)
    for k in range(count):
        code, bit = take_unsigned(data, bit)
        if code == 0:
            lists[CUSTOM, k] = np.int64(take_bits(data, bit, 64))
            bit += 64
        else:
            lists[CUSTOM, k] = np.int64(float_bits(np.float64(code - np.uint64(1)) / 1000.0))
        if bit > limit:
            return np.int64(NO_CHUNK)
    fields[CUSTOM_VALUES] = count
    return bit


@device
def put_checked(fields: NDArray[np.int64], spans: NDArray[np.int64], lists: NDArray[np.int64],
                details: NDArray[np.int64], payload: NDArray[np.uint8], used: int) -> tuple[int, int]:
    """Writes a histogram to payload[used:] where it is valid: (what is wrong with it, the next place), the latter
    FULL_PAYLOAD where there is no room."""
    most = WRITTEN_MORE + 20 * (fields[POSITIVE_SPANS] + fields[NEGATIVE_SPANS]) + 10 * (
        fields[POSITIVE_BUCKETS] + fields[NEGATIVE_BUCKETS] + fields[CUSTOM_VALUES])
    code = check_histogram(fields, spans, lists, details)
    if code != VALID_HISTOGRAM:
        return code, used
    if used + most > payload.size:
        return code, np.int64(FULL_PAYLOAD)
    past = write_histogram(fields, spans, lists, payload, used)
    if past - used > MAX_BYTES:
        details[FOUND] = past - used
        return np.int64(TOO_LONG), used
    return code, past


@device
def decode_histogram_chunk(data: NDArray[np.uint8], start: int, end: int, floats: bool, out_ts: NDArray[np.int64],
                           out_values: NDArray[np.uint64], position: int, payload: NDArray[np.uint8], used: int,
                           fields: NDArray[np.int64], spans: NDArray[np.int64], lists: NDArray[np.int64],
                           changes: NDArray[np.int64], details: NDArray[np.int64], refused: NDArray[np.int64],
                           ) -> tuple[int, int]:
    """Writes all samples from `position` on and their histograms to payload[used:]: (next position or FULL_SCRATCH,
    FULL_PAYLOAD, NO_CHUNK; next place). A histogram that is not valid is left out and counted in refused
    i64[HISTOGRAM_PROBLEMS]. `changes` i64[2, 2, capacity] is scratch: of integers how each bucket changed last, of
    floats the zeros on both sides."""
    count = count_of(data, start)
    for k in range(FIELDS):
        fields[k] = 0
    kind = np.int64(data[start + 2]) >> 6
    bit, limit = read_layout(data, start, end, fields, spans, lists), np.int64(end) * 8
    if bit < 0:
        return bit, used
    fields[FLOATS] = 1 if floats else 0
    for side in range(2):
        for k in range(fields[POSITIVE_BUCKETS + side]):
            lists[side, k] = 0
            changes[0, side, k] = NO_BORDERS if floats else 0
            changes[1, side, k] = 0
    ts, step = np.int64(0), np.int64(0)
    count_step, zero_step = np.int64(0), np.int64(0)
    total, leading, trailing = np.uint64(0), np.int64(NO_BORDERS), np.int64(0)
    count_lead, count_trail, zero_lead, zero_trail = np.int64(NO_BORDERS), np.int64(0), np.int64(NO_BORDERS), \
        np.int64(0)
    for i in range(count):
        change, bit = take_signed(data, bit)
        if bit > limit:
            return np.int64(NO_CHUNK), used
        if i == 0:
            ts = change
            if floats:
                fields[COUNT] = np.int64(take_bits(data, bit, 64))
                fields[ZERO_COUNT] = np.int64(take_bits(data, bit + 64, 64))
                bit += 128
            else:
                number, bit = take_unsigned(data, bit)
                fields[COUNT] = np.int64(number)
                number, bit = take_unsigned(data, bit)
                fields[ZERO_COUNT] = np.int64(number)
            if bit > limit:
                return np.int64(NO_CHUNK), used
            total = take_bits(data, bit, 64)
            bit += 64
        else:
            step = np.int64(np.uint64(step) + np.uint64(change))
            ts = np.int64(np.uint64(ts) + np.uint64(step))
            if floats:
                number, count_lead, count_trail, bit = take_xor(
                    data, bit, np.uint64(fields[COUNT]), count_lead, count_trail)
                fields[COUNT] = np.int64(number)
                if bit < 0 or bit > limit:
                    return np.int64(NO_CHUNK), used
                number, zero_lead, zero_trail, bit = take_xor(
                    data, bit, np.uint64(fields[ZERO_COUNT]), zero_lead, zero_trail)
                fields[ZERO_COUNT] = np.int64(number)
            else:
                change, bit = take_signed(data, bit)
                count_step = np.int64(np.uint64(count_step) + np.uint64(change))
                fields[COUNT] = np.int64(np.uint64(fields[COUNT]) + np.uint64(count_step))
                if bit > limit:
                    return np.int64(NO_CHUNK), used
                change, bit = take_signed(data, bit)
                zero_step = np.int64(np.uint64(zero_step) + np.uint64(change))
                fields[ZERO_COUNT] = np.int64(np.uint64(fields[ZERO_COUNT]) + np.uint64(zero_step))
            if bit < 0 or bit > limit:
                return np.int64(NO_CHUNK), used
            total, leading, trailing, bit = take_xor(data, bit, total, leading, trailing)
        if bit < 0 or bit > limit:
            return np.int64(NO_CHUNK), used
        stale = total == STALE_BITS
        if not stale or i == 0:
            bit = read_buckets(data, bit, limit, floats, i == 0, fields, lists, changes)
            if bit < 0:
                return np.int64(NO_CHUNK), used
        out_ts[position] = ts
        if stale:
            out_values[position] = STALE_BITS
            position += 1
            continue
        fields[SUM] = np.int64(total)
        fields[HINT] = (GAUGE_HINT if kind == LAYOUT_GAUGE else NOT_RESET_HINT if i > 0
                        else RESET_HINT if kind == LAYOUT_RESET else UNKNOWN_HINT)
        code, past = put_checked(fields, spans, lists, details, payload, used)
        if past < 0:
            return past, used
        if code == VALID_HISTOGRAM:
            out_values[position] = BOX_BITS | np.uint64(used)
            used = past
            position += 1
        else:
            refused[code] += 1
    return position, used


@device
def read_buckets(data: NDArray[np.uint8], bit: int, limit: int, floats: bool, first: bool, fields: NDArray[np.int64],
                 lists: NDArray[np.int64], changes: NDArray[np.int64]) -> int:
    """The buckets of a histogram, into `lists`; the next bit, or NO_CHUNK."""
    for side in range(POSITIVE, NEGATIVE + 1):
        for k in range(fields[POSITIVE_BUCKETS + side]):
            if floats and first:
                lists[side, k] = np.int64(take_bits(data, bit, 64))
                bit += 64
            elif floats:
                number, changes[0, side, k], changes[1, side, k], bit = take_xor(
                    data, bit, np.uint64(lists[side, k]), changes[0, side, k], changes[1, side, k])
                lists[side, k] = np.int64(number)
            else:
                change, bit = take_signed(data, bit)
                if not first:
                    change = np.int64(np.uint64(changes[0, side, k]) + np.uint64(change))
                    changes[0, side, k] = change
                lists[side, k] = np.int64(np.uint64(lists[side, k]) + np.uint64(change))
            if bit < 0 or bit > limit:
                return np.int64(NO_CHUNK)
    return bit
