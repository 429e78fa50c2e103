"""Protobuf's wire format, slow and obvious."""

from __future__ import annotations

from collections.abc import Iterator


class WireError(Exception):
    """The bytes are not such a message."""


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for i in range(10):
        if at + i >= len(data):
            raise WireError("truncated")
        value |= (data[at + i] & 0x7F) << 7 * i
        if value >> 64:
            raise WireError("overflow")
        if data[at + i] < 0x80:
            return value, at + i + 1
    raise WireError("overflow")


def read_fields(data: bytes) -> Iterator[tuple[int, int, int, bytes, int]]:
    """(number, wire type, bytes of the tag, content, value if varint)"""
    at = 0
    while at < len(data):
        tag, begin = read_varint(data, at)
        tag_size = begin - at
        number, wire_type, value = tag >> 3, tag & 7, 0
        if not 1 <= number < 2**29:
            raise WireError("field number")
        if wire_type == 0:
            value, at = read_varint(data, begin)
        elif wire_type == 1:
            at = begin + 8
        elif wire_type == 2:
            length, begin = read_varint(data, begin)
            at = begin + length
        elif wire_type == 5:
            at = begin + 4
        else:
            raise WireError("wire type")
        if at > len(data):
            raise WireError("truncated")
        yield number, wire_type, tag_size, data[begin:at], value


def expect(wire_type: int, expected: int) -> None:
    if wire_type != expected:
        raise WireError("wire type")


def signed(value: int) -> int:
    """The i64 of the lower 64 bits."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value
