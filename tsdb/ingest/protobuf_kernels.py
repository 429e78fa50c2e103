"""Reading protobuf's wire format, for kernels. Nothing is read at or beyond `end`.

Readers return the position behind what they read, or a negative error code; the caller knows where it began.
"""
# mypy: disable-error-code="operator,assignment,return-value,arg-type"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.registry import device

TRUNCATED = -1
VARINT_OVERFLOW = -2
LENGTH_TOO_LARGE = -3
BAD_FIELD_NUMBER = -4
BAD_WIRE_TYPE = -5
GROUP = -6

VARINT, FIXED64, LENGTH, START_GROUP, END_GROUP, FIXED32 = range(6)
"""Wire types."""


@device
def read_varint(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """(u64 value, next position or error)."""
    value = np.uint64(0)
    shift = np.uint64(0)
    while at < end:
        byte = np.uint64(data[at])
        at += 1
        if shift == np.uint64(63) and byte > np.uint64(1):
            return value, np.int64(VARINT_OVERFLOW)
        value |= (byte & np.uint64(0x7F)) << shift
        if byte < np.uint64(0x80):
            return value, at
        shift += np.uint64(7)
    return value, np.int64(TRUNCATED)


@device
def read_field(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, int, int, int]:
    """One field: (i64 number, i64 wire type, begin and end of its content). The end is an error code if negative."""
    tag, at = read_varint(data, at, end)
    number = np.int64(tag >> np.uint64(3))
    wire_type = np.int64(tag & np.uint64(7))
    begin = at
    if at < 0:
        return number, wire_type, begin, at
    if number < 1 or number >= 1 << 29:
        return number, wire_type, begin, np.int64(BAD_FIELD_NUMBER)
    if wire_type == VARINT or wire_type == LENGTH:
        value, at = read_varint(data, at, end)
        if at >= 0 and wire_type == LENGTH:
            begin = at
            at = at + np.int64(value) if value <= np.uint64(end - at) else np.int64(LENGTH_TOO_LARGE)
    elif wire_type == FIXED64 or wire_type == FIXED32:
        at += 8 if wire_type == FIXED64 else 4
        if at > end:
            at = np.int64(TRUNCATED)
    elif wire_type == START_GROUP or wire_type == END_GROUP:
        at = np.int64(GROUP)
    else:
        at = np.int64(BAD_WIRE_TYPE)
    return number, wire_type, begin, at


@device
def read_timestamp(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """The google.protobuf.Timestamp data[at:end]: (i64 ms, 0 where it is none between the years 1 and 9999; next
    position or error)."""
    seconds = nanos = np.int64(0)
    while at < end:
        number, wire_type, begin, at = read_field(data, at, end)
        if at >= 0 and number <= 2 and wire_type != VARINT:
            at = np.int64(BAD_WIRE_TYPE)
        if at < 0:
            break
        if number <= 2:
            value, _ = read_varint(data, begin, at)
            if number == 1:
                seconds = np.int64(value)
            else:
                nanos = np.int64(value)
    if seconds < -62_135_596_800 or seconds >= 253_402_300_800 or nanos < 0 or nanos >= 1_000_000_000:
        return np.int64(0), at
    return seconds * 1000 + nanos // 1_000_000, at
