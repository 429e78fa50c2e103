"""Native histograms: from messages to payloads (`tsdb.model.native_histograms`), in three steps for kernels.

`read_histogram` takes a message of remote_write 1.0 or 2.0 apart, `check_histogram` judges what it found as Prometheus
does, and `write_histogram` makes it a histogram in a payload. The steps pass on

- ``fields`` i64[FIELDS]: what there is once; floats as their bits;
- ``spans`` i64[2, capacity, 2]: offset and length of the positive and the negative ones;
- ``lists`` i64[3, capacity]: buckets of the positive and the negative side, differences from the bucket before where
  counts are integers, bits of absolute counts where they are floats; bits of the custom values.

A message of so many bytes needs a capacity of as many, and `WRITTEN_MORE` bytes more in the payload.
"""
# mypy: disable-error-code="operator,assignment,return-value,arg-type,no-any-return"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.protobuf_kernels import BAD_WIRE_TYPE, FIXED64, LENGTH, TRUNCATED, VARINT, read_field, read_varint
from tsdb.kernels.intrinsics import bits_float, load_u64, store_u64
from tsdb.kernels.registry import device, kernel
from tsdb.kernels.varint_kernels import put_varint, unzigzag, zigzag
from tsdb.model.batch import STALE_NAN
from tsdb.model.native_histograms import BOX, CUSTOM_SCHEMA, HEADER_BYTES, HINT_SHIFT, MAX_BYTES

TS, SCHEMA, FLOATS, HINT, SUM, COUNT, ZERO_COUNT, ZERO_THRESHOLD, POSITIVE_SPANS, NEGATIVE_SPANS, POSITIVE_BUCKETS, \
    NEGATIVE_BUCKETS, CUSTOM_VALUES, START, FIELDS = range(15)
"""`fields`: ms; 1 where counts are floats; …; numbers of spans, buckets and custom values; ms of the start, or 0."""
POSITIVE, NEGATIVE, CUSTOM = range(3)
"""Rows of `lists`, the first two of `spans`."""
WRITTEN_MORE = 64

VALID_HISTOGRAM, SPANS_AND_BUCKETS, NEGATIVE_OFFSET, NEGATIVE_BUCKET, COUNT_MISMATCH, COUNT_TOO_SMALL, NEGATIVE_COUNT, \
    NEGATIVE_ZERO_COUNT, FEW_BOUNDS, BOUNDS_NOT_INCREASING, INFINITE_BOUND, NAN_BOUND, CUSTOM_ZERO_COUNT, \
    CUSTOM_ZERO_THRESHOLD, CUSTOM_NEGATIVE_SPANS, CUSTOM_NEGATIVE_BUCKETS, BOUNDS_OF_EXPONENTIAL, INVALID_SCHEMA, \
    TOO_LONG, HISTOGRAM_PROBLEMS = range(20)
"""What is wrong with a histogram."""
SIDE, KIND, FOUND, WANTED, DETAILS = range(5)
"""`details` i64[DETAILS] of what is wrong: POSITIVE, NEGATIVE or CUSTOM; 1 where counts are floats; two numbers."""

_WIRE_TYPES = np.array([0, VARINT, FIXED64, FIXED64, VARINT, FIXED64, VARINT, FIXED64, LENGTH, VARINT, FIXED64, LENGTH,
                        VARINT, FIXED64, VARINT, VARINT, FIXED64, VARINT])
"""Of the fields of a message by number; repeated numbers may be packed."""


@device
def read_histogram(data: NDArray[np.uint8], at: int, end: int, fields: NDArray[np.int64], spans: NDArray[np.int64],
                   lists: NDArray[np.int64]) -> int:
    """Takes the Histogram message data[at:end] apart. Returns `end` or an error of `protobuf_kernels`.

    A message says by its count whether counts are integers: those of the other kind are ignored, but must be whole.
    """
    for i in range(FIELDS):
        fields[i] = 0
    begin = at
    zero_floats = np.int64(0)
    while at < end:
        number, wire_type, content, at = read_field(data, at, end)
        if at < 0:
            return at
        if number > 17:
            continue
        repeated = number == 9 or number == 10 or number == 12 or number == 13 or number == 16
        if wire_type != _WIRE_TYPES[number] and not (repeated and wire_type == LENGTH):
            return np.int64(BAD_WIRE_TYPE)
        if number == 8 or number == 11:
            side = POSITIVE if number == 11 else NEGATIVE
            count = fields[POSITIVE_SPANS + side]
            status = read_span(data, content, at, spans, side, count)
            if status < 0:
                return status
            fields[POSITIVE_SPANS + side] = count + 1
        elif number == 16:
            status = read_floats(data, content, at, wire_type, fields, lists, CUSTOM)
            if status < 0:
                return status
        elif not repeated:
            value = np.uint64(0)
            if wire_type == VARINT:
                value, _ = read_varint(data, content, at)
            else:
                value = load_u64(data, content)
            if number <= 2:
                fields[COUNT] = np.int64(value)
                fields[FLOATS] = 1 if number == 2 else 0
            elif number == 3:
                fields[SUM] = np.int64(value)
            elif number == 4:
                fields[SCHEMA] = unzigzag(value & np.uint64(0xFFFFFFFF))
            elif number == 5:
                fields[ZERO_THRESHOLD] = np.int64(value)
            elif number <= 7:
                fields[ZERO_COUNT] = np.int64(value)
                zero_floats = np.int64(1) if number == 7 else np.int64(0)
            elif number == 14:
                fields[HINT] = np.int64(value) if value <= np.uint64(3) else np.int64(0)
            elif number == 15:
                fields[TS] = np.int64(value)
            elif number == 17:
                fields[START] = np.int64(value)
    floats = fields[FLOATS]
    if zero_floats != floats:
        fields[ZERO_COUNT] = 0
    at = begin
    while at < end:
        number, wire_type, content, at = read_field(data, at, end)
        status = at
        if number == 10 or number == 13:
            if floats:
                side = POSITIVE if number == 13 else NEGATIVE
                status = read_floats(data, content, at, wire_type, fields, lists, side)
            elif (at - content) & 7:
                status = np.int64(TRUNCATED)
        elif number == 9 or number == 12:
            if floats:
                status = skip_varints(data, content, at)
            else:
                status = read_deltas(data, content, at, fields, lists, POSITIVE if number == 12 else NEGATIVE)
        if status < 0:
            return status
    return end


@device
def read_span(data: NDArray[np.uint8], at: int, end: int, spans: NDArray[np.int64], side: int, index: int) -> int:
    spans[side, index, 0] = 0
    spans[side, index, 1] = 0
    while at < end:
        number, wire_type, content, at = read_field(data, at, end)
        if at < 0:
            return at
        if number <= 2:
            if wire_type != VARINT:
                return np.int64(BAD_WIRE_TYPE)
            value, _ = read_varint(data, content, at)
            value &= np.uint64(0xFFFFFFFF)
            spans[side, index, number - 1] = unzigzag(value) if number == 1 else np.int64(value)
    return at


@device
def read_floats(data: NDArray[np.uint8], at: int, end: int, wire_type: int, fields: NDArray[np.int64],
                 lists: NDArray[np.int64], row: int) -> int:
    """Packed or a single one."""
    if (end - at) & 7:
        return np.int64(TRUNCATED)
    count = fields[POSITIVE_BUCKETS + row]
    while at < end:
        lists[row, count] = np.int64(load_u64(data, at))
        count += 1
        at += 8
    fields[POSITIVE_BUCKETS + row] = count
    return at


@device
def skip_varints(data: NDArray[np.uint8], at: int, end: int) -> int:
    """`end`, or an error of `protobuf_kernels`."""
    while at < end:
        _, at = read_varint(data, at, end)
        if at < 0:
            return at
    return at


@device
def read_deltas(data: NDArray[np.uint8], at: int, end: int, fields: NDArray[np.int64], lists: NDArray[np.int64],
                 row: int) -> int:
    """Packed or a single one."""
    count = fields[POSITIVE_BUCKETS + row]
    while at < end:
        value, at = read_varint(data, at, end)
        if at < 0:
            return at
        lists[row, count] = unzigzag(value)
        count += 1
    fields[POSITIVE_BUCKETS + row] = count
    return at


@device
def check_histogram(fields: NDArray[np.int64], spans: NDArray[np.int64], lists: NDArray[np.int64],
                    details: NDArray[np.int64]) -> int:
    """VALID_HISTOGRAM, or the first thing that is wrong in the order of Prometheus (model/histogram, `Validate`).

    Schemas that there are not, negative counts and NaN as a bound are refused as by its newer versions: 3.5 takes them,
    and fails to answer queries.
    """
    schema = fields[SCHEMA]
    floats = fields[FLOATS]
    custom = schema == CUSTOM_SCHEMA
    details[KIND] = floats
    details[SIDE] = POSITIVE
    if not custom and (schema < -4 or schema > 8):
        details[FOUND] = schema
        return np.int64(INVALID_SCHEMA)
    if custom:
        before = -np.inf
        for i in range(fields[CUSTOM_VALUES]):
            bound = bits_float(np.uint64(lists[CUSTOM, i]))
            if np.isnan(bound):
                return np.int64(NAN_BOUND)
            if i > 0 and bound <= before:
                details[FOUND] = lists[CUSTOM, i - 1]
                details[WANTED] = lists[CUSTOM, i]
                return np.int64(BOUNDS_NOT_INCREASING)
            before = bound
        if before == np.inf:
            return np.int64(INFINITE_BOUND)
    for side in range(1 if custom else 2):
        details[SIDE] = CUSTOM if custom else side
        buckets = np.int64(0)
        total = np.int64(0)
        for i in range(fields[POSITIVE_SPANS + side]):
            offset = spans[side, i, 0]
            if offset < 0 and (i > 0 or custom):
                details[FOUND] = i + 1
                details[WANTED] = offset
                return np.int64(NEGATIVE_OFFSET)
            buckets += spans[side, i, 1]
            total += spans[side, i, 1] + offset
        if buckets != fields[POSITIVE_BUCKETS + side]:
            details[FOUND] = fields[POSITIVE_BUCKETS + side]
            details[WANTED] = buckets
            return np.int64(SPANS_AND_BUCKETS)
        if custom and fields[CUSTOM_VALUES] + 1 < total:
            details[FOUND] = fields[CUSTOM_VALUES]
            details[WANTED] = total
            return np.int64(FEW_BOUNDS)
    zero_count = fields[ZERO_COUNT]
    if custom:
        if (bits_float(np.uint64(zero_count)) != 0.0) if floats else zero_count != 0:
            return np.int64(CUSTOM_ZERO_COUNT)
        if bits_float(np.uint64(fields[ZERO_THRESHOLD])) != 0.0:
            return np.int64(CUSTOM_ZERO_THRESHOLD)
        if fields[NEGATIVE_SPANS] > 0:
            return np.int64(CUSTOM_NEGATIVE_SPANS)
        if fields[NEGATIVE_BUCKETS] > 0:
            return np.int64(CUSTOM_NEGATIVE_BUCKETS)
    observed = np.uint64(0)
    for side in range(1, -1, -1):
        details[SIDE] = side
        last = np.int64(0)
        for i in range(fields[POSITIVE_BUCKETS + side]):
            if floats:
                last = lists[side, i]
                negative = bits_float(np.uint64(last)) < 0.0
            else:
                last += lists[side, i]
                negative = last < 0
            if negative:
                details[FOUND] = i + 1
                details[WANTED] = last
                return np.int64(NEGATIVE_BUCKET)
            observed += np.uint64(last)
        if side == NEGATIVE and not custom and fields[CUSTOM_VALUES] > 0:
            return np.int64(BOUNDS_OF_EXPONENTIAL)
    count = fields[COUNT]
    details[FOUND] = count
    if floats:
        if bits_float(np.uint64(count)) < 0.0:
            return np.int64(NEGATIVE_COUNT)
        if bits_float(np.uint64(zero_count)) < 0.0:
            details[FOUND] = zero_count
            return np.int64(NEGATIVE_ZERO_COUNT)
        return np.int64(VALID_HISTOGRAM)
    observed += np.uint64(zero_count)
    details[WANTED] = np.int64(observed)
    if np.isnan(bits_float(np.uint64(fields[SUM]))):
        return np.int64(COUNT_TOO_SMALL if observed > np.uint64(count) else VALID_HISTOGRAM)
    return np.int64(COUNT_MISMATCH if observed != np.uint64(count) else VALID_HISTOGRAM)


@device
def write_histogram(fields: NDArray[np.int64], spans: NDArray[np.int64], lists: NDArray[np.int64],
                    payload: NDArray[np.uint8], begin: int) -> int:
    """Writes a valid histogram at payload[begin:], where there is room; returns the position behind it."""
    floats = fields[FLOATS]
    at = begin + HEADER_BYTES
    for side in range(2):
        count = fields[POSITIVE_SPANS + side]
        at = put_varint(payload, at, np.uint64(count))
        for i in range(count):
            at = put_varint(payload, at, zigzag(spans[side, i, 0]))
            at = put_varint(payload, at, np.uint64(spans[side, i, 1]))
    count = fields[CUSTOM_VALUES]
    at = put_varint(payload, at, np.uint64(count))
    for i in range(count):
        store_u64(payload, at, np.uint64(lists[CUSTOM, i]))
        at += 8
    for side in range(2):
        for i in range(fields[POSITIVE_BUCKETS + side]):
            if floats:
                store_u64(payload, at, np.uint64(lists[side, i]))
                at += 8
            else:
                at = put_varint(payload, at, zigzag(lists[side, i]))
    schema = np.uint64(fields[SCHEMA]) & np.uint64(0xFF)
    flags = np.uint64(fields[FLOATS] | fields[HINT] << HINT_SHIFT)
    store_u64(payload, begin, np.uint64(at - begin) | flags << np.uint64(32) | schema << np.uint64(40))
    store_u64(payload, begin + 8, np.uint64(fields[ZERO_THRESHOLD]))
    store_u64(payload, begin + 16, np.uint64(fields[SUM]))
    store_u64(payload, begin + 24, np.uint64(fields[COUNT]))
    store_u64(payload, begin + 32, np.uint64(fields[ZERO_COUNT]))
    return at


PAYLOAD_END, MALFORMED_AT, HISTOGRAM_STATE = range(3)
"""`state` of `decode_histograms`."""


@kernel("int64(uint8[::1], int64[:, ::1], int64[::1], uint64[::1], uint8[::1], int64[::1], uint8[::1], int64[::1],"
        " int64[:, :, ::1], int64[:, ::1], int64[::1], int64[:, ::1], int64[::1])", stage="later")
def decode_histograms(data: NDArray[np.uint8], histograms: NDArray[np.int64], ts: NDArray[np.int64],
                      values: NDArray[np.uint64], wrong: NDArray[np.uint8], starts: NDArray[np.int64],
                      payload: NDArray[np.uint8],
                      fields: NDArray[np.int64], spans: NDArray[np.int64], lists: NDArray[np.int64],
                      details: NDArray[np.int64], problems: NDArray[np.int64], state: NDArray[np.int64]) -> int:
    """Decodes histograms i64[n, 3], begin and end of each message in `data` and its sample, into ts and values of the
    samples and into `payload`, where there is room. `fields`, `spans`, `lists` and `details` are scratch, of a capacity
    of the longest message up to MAX_BYTES. A stale marker, the histogram whose sum is one, becomes that of floats.

    wrong u8[n] takes what is wrong with each, starts i64[n], zeros, since when it has been counting (ms),
    problems i64[HISTOGRAM_PROBLEMS, 1 + DETAILS] of each problem the first histogram's number, -1 before, and details.
    Call with state i64[HISTOGRAM_STATE] zeros.

    Returns 0, or an error of `protobuf_kernels` with the position in state[MALFORMED_AT].
    """
    for i in range(len(histograms)):
        begin, end, sample = histograms[i, 0], histograms[i, 1], histograms[i, 2]
        code = np.int64(TOO_LONG)
        details[FOUND] = end - begin
        if end - begin <= MAX_BYTES - WRITTEN_MORE:
            status = read_histogram(data, begin, end, fields, spans, lists)
            if status < 0:
                state[MALFORMED_AT] = begin
                return status
            ts[sample] = fields[TS]
            starts[i] = fields[START]
            code = check_histogram(fields, spans, lists, details)
        if code == VALID_HISTOGRAM and np.uint64(fields[SUM]) == np.uint64(STALE_NAN):
            values[sample] = np.uint64(STALE_NAN)
        elif code == VALID_HISTOGRAM:
            values[sample] = np.uint64(BOX) | np.uint64(state[PAYLOAD_END])
            state[PAYLOAD_END] = write_histogram(fields, spans, lists, payload, state[PAYLOAD_END])
        elif problems[code, 0] < 0:
            problems[code, 0] = i
            for k in range(DETAILS):
                problems[code, 1 + k] = details[k]
        wrong[i] = np.uint8(code)
    return np.int64(0)
