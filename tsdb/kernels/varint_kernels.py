# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""Varints (unsigned LEB128) of u64, and zigzag numbers, which make small ones of small signed ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.registry import device

ONE, SEVEN = np.uint64(1), np.uint64(7)
LOW, MORE = np.uint64(0x7F), np.uint64(0x80)


@device
def put_varint(out: NDArray[np.uint8], at: int, number: int) -> int:
    """Writes a u64 in as few bytes as it takes; the position behind it."""
    while number >= MORE:
        out[at] = np.uint8(number & LOW | MORE)
        number >>= SEVEN
        at += 1
    out[at] = np.uint8(number)
    return at + 1


@device
def get_varint(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """(u64, position behind it); position -1 where it does not end before `end` or is longer than ten bytes."""
    number = np.uint64(0)
    shift = np.uint64(0)
    while at < end and shift < np.uint64(70):
        byte = np.uint64(data[at])
        number |= (byte & LOW) << shift
        at += 1
        if byte < MORE:
            return number, at
        shift += SEVEN
    return np.uint64(0), np.int64(-1)


@device
def take_varint(data: NDArray[np.uint8], at: int) -> tuple[int, int]:
    """(u64, position behind it), where it is known that there is one. At most ten bytes are read."""
    number = np.uint64(0)
    for k in range(10):
        byte = np.uint64(data[at + k])
        number |= (byte & LOW) << np.uint64(7 * k)
        if byte < MORE:
            return number, at + k + 1
    return number, at + 10


@device
def zigzag(number: int) -> int:
    """i64 to u64: 0, -1, 1, -2 … to 0, 1, 2, 3 …"""
    return np.uint64(number) << ONE ^ np.uint64(number >> 63)


@device
def unzigzag(number: int) -> int:
    """u64 to i64."""
    return np.int64(number >> ONE) ^ -np.int64(number & ONE)
