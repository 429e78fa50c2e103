"""Native histograms of Prometheus' protobuf exposition, for kernels: read, compacted, made coarser where that is asked
for, and written as `tsdb.ingest.histogram_kernels` does, which says what `fields`, `spans` and `lists` are.
"""
# mypy: disable-error-code="operator,assignment,return-value,arg-type,no-any-return"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.histogram_kernels import (
    COUNT,
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
    START,
    SUM,
    TOO_LONG,
    VALID_HISTOGRAM,
    WRITTEN_MORE,
    ZERO_COUNT,
    ZERO_THRESHOLD,
    check_histogram,
    read_deltas,
    read_floats,
    read_span,
    write_histogram,
)
from tsdb.ingest.protobuf_kernels import (
    BAD_WIRE_TYPE,
    FIXED64,
    LENGTH,
    VARINT,
    read_field,
    read_timestamp,
    read_varint,
)
from tsdb.kernels.intrinsics import bits_float, float_bits, load_u64
from tsdb.kernels.registry import device
from tsdb.kernels.varint_kernels import unzigzag
from tsdb.model.batch import STALE_NAN
from tsdb.model.native_histograms import BOX, CUSTOM_SCHEMA, MAX_BYTES, ResetHint

# `options`, i64[OPTIONS].
NATIVE, CLASSIC, MAX_SCHEMA, MAX_BUCKETS, OPTIONS = range(5)
"""Whether native histograms are taken; whether classic ones are, beside them; the finest schema; most buckets (0: any
number)."""
FINEST_SCHEMA, COARSEST_SCHEMA = 8, -4
OVER_LIMIT = -1
"""Too many buckets, whatever the schema."""

_GAUGE = int(ResetHint.GAUGE)
_WIRE_TYPES = np.array([0, VARINT, FIXED64, LENGTH, FIXED64, VARINT, FIXED64, VARINT, FIXED64, LENGTH, VARINT, FIXED64,
                        LENGTH, VARINT, FIXED64, LENGTH, LENGTH])
"""Of the fields of a Histogram by number; repeated numbers may be packed."""

MOST_BYTES = MAX_BYTES // 4
"""Of a Histogram message: `room_of` it is at most MAX_BYTES."""


@device
def read_native(body: NDArray[np.uint8], at: int, end: int, gauge: bool, fields: NDArray[np.int64],
                spans: NDArray[np.int64], lists: NDArray[np.int64]) -> int:
    """Takes the Histogram message body[at:end] apart, if there is room for as many spans and buckets as bytes, as there
    is unless it is too long. Returns 1, 0 where it is no native one, or an error of `protobuf_kernels`."""
    for i in range(FIELDS):
        fields[i] = 0
    begin = at
    too_long = end - begin > lists.shape[1]
    float_count = zero_float = np.uint64(0)
    while at < end:
        number, wire, start, at = read_field(body, at, end)
        if at < 0:
            return at
        if number > 16:
            continue
        repeated = number == 10 or number == 11 or number == 13 or number == 14
        if wire != _WIRE_TYPES[number] and not (repeated and wire == LENGTH):
            return np.int64(BAD_WIRE_TYPE)
        if number == 9 or number == 12:
            side = POSITIVE if number == 12 else NEGATIVE
            if not too_long:
                status = read_span(body, start, at, spans, side, fields[POSITIVE_SPANS + side])
                if status < 0:
                    return status
            fields[POSITIVE_SPANS + side] += 1
        elif number == 15:
            fields[START], status = read_timestamp(body, start, at)
            if status < 0:
                return status
        elif not repeated and wire != LENGTH:
            value = load_u64(body, start) if wire == FIXED64 else np.uint64(0)
            if wire == VARINT:
                value, _ = read_varint(body, start, at)
            if number == 1:
                fields[COUNT] = np.int64(value)
            elif number == 2:
                fields[SUM] = np.int64(value)
            elif number == 4:
                float_count = value
            elif number == 5:
                fields[SCHEMA] = unzigzag(value & np.uint64(0xFFFFFFFF))
            elif number == 6:
                fields[ZERO_THRESHOLD] = np.int64(value)
            elif number == 7:
                fields[ZERO_COUNT] = np.int64(value)
            elif number == 8:
                zero_float = value
    if not (fields[POSITIVE_SPANS] or fields[NEGATIVE_SPANS] or fields[ZERO_COUNT]
            or bits_float(np.uint64(fields[ZERO_THRESHOLD])) > 0.0):
        return np.int64(0)
    if too_long:
        return np.int64(1)
    fields[HINT] = _GAUGE if gauge else 0
    if bits_float(float_count) > 0.0 or bits_float(zero_float) > 0.0:
        fields[FLOATS] = 1
        fields[COUNT] = np.int64(float_count)
        fields[ZERO_COUNT] = np.int64(zero_float)
    at = begin
    while at < end:
        number, wire, start, at = read_field(body, at, end)
        status = at
        if fields[FLOATS]:
            if number == 11 or number == 14:
                status = read_floats(body, start, at, wire, fields, lists, POSITIVE if number == 14 else NEGATIVE)
        elif number == 10 or number == 13:
            status = read_deltas(body, start, at, fields, lists, POSITIVE if number == 13 else NEGATIVE)
        if status < 0:
            return status
    return np.int64(1)


@device
def compact(fields: NDArray[np.int64], spans: NDArray[np.int64], lists: NDArray[np.int64], side: int, shift: int,
            runs: NDArray[np.int64]) -> None:
    """Leaves out the empty buckets of a side, makes each 2**shift neighbours one, and spans of what is left as long as
    they can be. runs i64[capacity, 2]: scratch."""
    floats = fields[FLOATS]
    index = at = put = count = absolute = written = last = np.int64(0)
    for i in range(fields[POSITIVE_SPANS + side]):
        index += spans[side, i, 0]
        for _ in range(spans[side, i, 1]):
            target = ((index - 1) >> shift) + 1
            number = lists[side, at]
            absolute += number
            index += 1
            at += 1
            if (np.uint64(number) << np.uint64(1) == np.uint64(0)) if floats else absolute == 0:
                continue
            if put > 0 and target == last:
                if floats:
                    total = bits_float(np.uint64(lists[side, put - 1])) + bits_float(np.uint64(number))
                    lists[side, put - 1] = np.int64(float_bits(total))
                else:
                    lists[side, put - 1] += absolute
                    written += absolute
                continue
            if put == 0 or target != last + 1:
                runs[count, 0] = target - last - 1 if put > 0 else target
                runs[count, 1] = 0
                count += 1
            runs[count - 1, 1] += 1
            last = target
            lists[side, put] = number if floats else absolute - written
            written = absolute
            put += 1
    for i in range(count):
        spans[side, i, 0], spans[side, i, 1] = runs[i, 0], runs[i, 1]
    fields[POSITIVE_SPANS + side], fields[POSITIVE_BUCKETS + side] = count, put


@device
def coarsen(fields: NDArray[np.int64], spans: NDArray[np.int64], lists: NDArray[np.int64], options: NDArray[np.int64],
            runs: NDArray[np.int64]) -> bool:
    """Makes a valid histogram compact, and as coarse as the options want it; False where no schema is enough."""
    for side in range(2):
        compact(fields, spans, lists, side, np.int64(0), runs)
    shift = fields[SCHEMA] - options[MAX_SCHEMA]
    limit = options[MAX_BUCKETS]
    custom = fields[SCHEMA] == CUSTOM_SCHEMA
    while True:
        if shift > 0 and not custom:
            for side in range(2):
                compact(fields, spans, lists, side, shift, runs)
            fields[SCHEMA] -= shift
        if limit == 0 or fields[POSITIVE_BUCKETS] + fields[NEGATIVE_BUCKETS] <= limit:
            return True
        if custom or fields[SCHEMA] <= COARSEST_SCHEMA:
            return False
        shift = np.int64(1)


@device
def add_histogram(fields: NDArray[np.int64], spans: NDArray[np.int64], lists: NDArray[np.int64], size: int,
                  options: NDArray[np.int64], payload: NDArray[np.uint8], begin: int, runs: NDArray[np.int64],
                  details: NDArray[np.int64]) -> tuple[int, int, int]:
    """(VALID_HISTOGRAM, OVER_LIMIT or what is wrong; the sample's value, u64; end of the payload) of a histogram that
    `read_native` took from `size` bytes, written at payload[begin:], where there is room (`room_of`)."""
    details[FOUND] = size
    if size > lists.shape[1]:
        return np.int64(TOO_LONG), np.uint64(0), begin
    if np.uint64(fields[SUM]) == np.uint64(STALE_NAN):
        return np.int64(VALID_HISTOGRAM), np.uint64(STALE_NAN), begin
    problem = check_histogram(fields, spans, lists, details)
    if problem != VALID_HISTOGRAM:
        return problem, np.uint64(0), begin
    if not coarsen(fields, spans, lists, options, runs):
        return np.int64(OVER_LIMIT), np.uint64(STALE_NAN), begin
    end = write_histogram(fields, spans, lists, payload, begin)
    return np.int64(VALID_HISTOGRAM), np.uint64(BOX) | np.uint64(begin), end


@device
def room_of(size: int) -> int:
    """Bytes of the payload that suffice for a histogram of so many bytes: compact, a side of isolated buckets has more
    spans."""
    return 4 * size + WRITTEN_MORE
