"""Native histograms from outside in the form of a payload (`tsdb.model.native_histograms`): taken apart, judged, and
written anew, so that what goes on is one whatever came."""
# mypy: disable-error-code="operator,assignment,return-value,arg-type,no-any-return"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.histogram_kernels import (
    COUNT,
    CUSTOM,
    CUSTOM_VALUES,
    DETAILS,
    FIELDS,
    FLOATS,
    FOUND,
    HINT,
    POSITIVE_BUCKETS,
    POSITIVE_SPANS,
    SCHEMA,
    SUM,
    TOO_LONG,
    VALID_HISTOGRAM,
    ZERO_COUNT,
    ZERO_THRESHOLD,
    check_histogram,
    write_histogram,
)
from tsdb.kernels.intrinsics import load_u32, load_u64
from tsdb.kernels.registry import device, kernel
from tsdb.kernels.varint_kernels import get_varint, unzigzag
from tsdb.model.native_histograms import FLOAT_FLAG, HEADER_BYTES, HINT_SHIFT, MAX_BYTES

MALFORMED = -1


@device
def read_payload(data: NDArray[np.uint8], begin: int, end: int, fields: NDArray[np.int64], spans: NDArray[np.int64],
                 lists: NDArray[np.int64]) -> int:
    """Takes the histogram data[begin:end] apart, as `histogram_kernels` has it. Returns 0 or MALFORMED."""
    for i in range(FIELDS):
        fields[i] = 0
    if end - begin < HEADER_BYTES + 3 or np.int64(load_u32(data, begin)) != end - begin:
        return np.int64(MALFORMED)
    flags = np.int64(data[begin + 4])
    floats = flags & FLOAT_FLAG
    if flags >> HINT_SHIFT > 3 or data[begin + 6] != 0 or data[begin + 7] != 0:
        return np.int64(MALFORMED)
    schema = np.int64(data[begin + 5])
    fields[SCHEMA] = schema - 256 if schema > 127 else schema
    fields[FLOATS] = floats
    fields[HINT] = flags >> HINT_SHIFT
    fields[ZERO_THRESHOLD] = np.int64(load_u64(data, begin + 8))
    fields[SUM] = np.int64(load_u64(data, begin + 16))
    fields[COUNT] = np.int64(load_u64(data, begin + 24))
    fields[ZERO_COUNT] = np.int64(load_u64(data, begin + 32))
    at = begin + HEADER_BYTES
    for side in range(2):
        number, at = get_varint(data, at, end)
        if at < 0 or number > np.uint64(end - at):
            return np.int64(MALFORMED)
        fields[POSITIVE_SPANS + side] = np.int64(number)
        buckets = np.int64(0)
        for i in range(np.int64(number)):
            offset, at = get_varint(data, at, end)
            if at < 0:
                return np.int64(MALFORMED)
            length, at = get_varint(data, at, end)
            if at < 0 or length > np.uint64(end - begin):
                return np.int64(MALFORMED)
            spans[side, i, 0] = unzigzag(offset)
            spans[side, i, 1] = np.int64(length)
            buckets += np.int64(length)
            if buckets > end - begin or not -(1 << 31) <= spans[side, i, 0] < 1 << 31:
                return np.int64(MALFORMED)
        fields[POSITIVE_BUCKETS + side] = buckets
    number, at = get_varint(data, at, end)
    if at < 0 or number > np.uint64((end - at) >> 3):
        return np.int64(MALFORMED)
    fields[CUSTOM_VALUES] = np.int64(number)
    for i in range(np.int64(number)):
        lists[CUSTOM, i] = np.int64(load_u64(data, at))
        at += 8
    for side in range(2):
        for i in range(fields[POSITIVE_BUCKETS + side]):
            if floats != 0:
                if end - at < 8:
                    return np.int64(MALFORMED)
                lists[side, i] = np.int64(load_u64(data, at))
                at += 8
            else:
                delta, at = get_varint(data, at, end)
                if at < 0:
                    return np.int64(MALFORMED)
                lists[side, i] = unzigzag(delta)
    return np.int64(0 if at == end else MALFORMED)


@kernel("int64(Array(uint8, 1, 'C', readonly=True), int64[::1], int64[::1], int64[:, :, ::1], int64[:, ::1],"
        " int64[::1], uint8[::1], int64[::1])", stage="later")
def take_histograms(data: NDArray[np.uint8], ends: NDArray[np.int64], fields: NDArray[np.int64],
                    spans: NDArray[np.int64], lists: NDArray[np.int64], details: NDArray[np.int64],
                    payload: NDArray[np.uint8], offsets: NDArray[np.int64]) -> int:
    """Writes the histograms that end at ends i64[n] of `data`, each where the last one ended, to `payload`, and where
    each begins there to offsets i64[n + 1]. `fields`, `spans`, `lists` and `details` are scratch (`histogram_kernels`)
    of a capacity of the longest, `payload` has room for all of `data`.

    Returns n; or the number of the first that is wrong, and in details[DETAILS] why: MALFORMED, or what
    `check_histogram` says. `data` has eight bytes more.
    """
    begin = np.int64(0)
    at = np.int64(0)
    for i in range(ends.size):
        offsets[i] = at
        end = ends[i]
        code = np.int64(TOO_LONG)
        details[FOUND] = end - begin
        if end - begin <= MAX_BYTES:
            code = read_payload(data, begin, end, fields, spans, lists)
            if code == 0:
                code = check_histogram(fields, spans, lists, details)
        if code != VALID_HISTOGRAM:
            details[DETAILS] = code
            return np.int64(i)
        at = write_histogram(fields, spans, lists, payload, at)
        begin = end
    offsets[ends.size] = at
    return np.int64(ends.size)
