# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""Bits and bytes: numbers of any width, varints, Rice codes (Rice and Plaunt, 1971); and arithmetic modulo 2^64.

Bits fill bytes from the least significant end. Nothing here checks bounds: each function says how far it goes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import leading_zeros, load_u64, store_u64, trailing_zeros
from tsdb.kernels.registry import device

ESCAPE = 20
"""A quotient that says that the whole number follows."""
ONE, SEVEN = np.uint64(1), np.uint64(7)


@device
def plus(number: int, other: int) -> int:
    """The sum of two i64 modulo 2^64. (Signed arithmetic may not overflow: LLVM takes it that it does not.)"""
    return np.int64(np.uint64(number) + np.uint64(other))


@device
def minus(number: int, other: int) -> int:
    return np.int64(np.uint64(number) - np.uint64(other))


@device
def product(number: int, other: int) -> int:
    return np.int64(np.uint64(number) * np.uint64(other))


@device
def bit_length(number: int) -> int:
    return 64 - leading_zeros(number)


@device
def put(out: NDArray[np.uint8], at: int, number: int, count: int) -> int:
    """Writes the low `count` (0 … 64) bits of a u64, in which those above are 0, at bit `at`; the next bit. Up to 16
    bytes from there on are written."""
    byte, shift = at >> 3, np.uint64(at & 7)
    kept = load_u64(out, byte) & ((ONE << shift) - ONE)
    store_u64(out, byte, kept | number << shift)
    if count + np.int64(shift) > 64:
        store_u64(out, byte + 8, number >> (np.uint64(64) - shift))
    return at + count


@device
def take(data: NDArray[np.uint8], at: int, count: int) -> int:
    """`count` (0 … 64) bits from bit `at` on, as u64."""
    low = load_u64(data, at >> 3) >> np.uint64(at & 7)
    if count <= 57:
        return low & ((ONE << np.uint64(count)) - ONE)
    high = load_u64(data, (at + 32) >> 3) >> np.uint64((at + 32) & 7)
    return (low & np.uint64(0xFFFFFFFF)) | (high & ((ONE << np.uint64(count - 32)) - ONE)) << np.uint64(32)


@device
def varint_bits(number: int) -> int:
    return max((bit_length(number) + 6) // 7, 1) * 8


@device
def code_bits(number: int, low: int) -> int:
    quotient = number >> np.uint64(low)
    if quotient < np.uint64(ESCAPE):
        return np.int64(quotient) + 1 + low
    return ESCAPE + 7 + bit_length(number)


@device
def put_code(out: NDArray[np.uint8], at: int, number: int, low: int) -> int:
    """A Rice code with its low bits behind the quotient."""
    quotient = number >> np.uint64(low)
    if quotient < np.uint64(ESCAPE):
        at = put(out, at, ONE << quotient, np.int64(quotient) + 1)
        return put(out, at, number & ((ONE << np.uint64(low)) - ONE), low)
    at = put(out, at, ONE << np.uint64(ESCAPE), ESCAPE + 1)
    length = max(bit_length(number), 1)
    at = put(out, at, np.uint64(length - 1), 6)
    return put(out, at, number, length)


@device
def take_code(data: NDArray[np.uint8], at: int, low: int) -> tuple[int, int]:
    """(number, next bit); at most 112 bits further."""
    quotient = min(trailing_zeros(load_u64(data, at >> 3) >> np.uint64(at & 7)), ESCAPE)
    at += quotient + 1
    if quotient < ESCAPE:
        return np.uint64(quotient) << np.uint64(low) | take(data, at, low), at + low
    length = np.int64(take(data, at, 6)) + 1
    return take(data, at + 6, length), at + 6 + length
