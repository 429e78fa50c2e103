# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""Streams of bits as Prometheus writes them, from the most significant one on: numbers of any width, the variable
widths of signed and unsigned integers, and floats as what differs from the one before (Pelkonen et al., "Gorilla",
VLDB 2015).

tsdb/chunkenc/bstream.go, varbit.go and xor.go of Prometheus. Nothing here checks bounds: readers may look PADDING bytes
beyond the end, writers PADDING bytes ahead; callers see to both, and compare the place behind with the end.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import leading_zeros, load_u64, store_u64, trailing_zeros
from tsdb.kernels.registry import device

PADDING = 64
"""Bytes: more than a sample of a float and its times take."""
ONE = np.uint64(1)
BYTES, PAIRS, HALVES = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF), np.uint64(32)
WIDTHS = np.array([0, 3, 6, 9, 12, 18, 25, 56, 64])
"""Of an integer of variable width, by the ones before it."""
NO_BORDERS = 0xFF
"""Leading zeros before a float has had any."""


@device
def swapped(word: int) -> int:
    """The bytes of a u64 in reverse order."""
    word = (word >> np.uint64(8)) & BYTES | (word & BYTES) << np.uint64(8)
    word = (word >> np.uint64(16)) & PAIRS | (word & PAIRS) << np.uint64(16)
    return word >> HALVES | word << HALVES


@device
def load_big(data: NDArray[np.uint8], at: int) -> int:
    """Eight bytes as a big-endian u64."""
    return swapped(load_u64(data, at))


@device
def load_big_u32(data: NDArray[np.uint8], at: int) -> int:
    """Four bytes as a big-endian number, i64."""
    return (np.int64(data[at]) << 24 | np.int64(data[at + 1]) << 16 | np.int64(data[at + 2]) << 8
            | np.int64(data[at + 3]))


@device
def store_big_u32(out: NDArray[np.uint8], at: int, number: int) -> None:
    """The low four bytes of an i64."""
    for k in range(4):
        out[at + k] = np.uint8(number >> (24 - 8 * k) & 0xFF)


@device
def window(data: NDArray[np.uint8], bit: int) -> int:
    """The 57 or more bits from `bit` on, at the top of a u64."""
    return load_big(data, bit >> 3) << np.uint64(bit & 7)


@device
def take_bits(data: NDArray[np.uint8], bit: int, count: int) -> int:
    """`count` (1 … 64) bits from `bit` on, as u64."""
    word = window(data, bit)
    if count > 57:
        word |= load_big(data, (bit >> 3) + 8) >> ONE >> np.uint64(63 - (bit & 7))
    return word >> np.uint64(64 - count)


@device
def put_bits(out: NDArray[np.uint8], bit: int, number: int, count: int) -> int:
    """Writes `count` (1 … 64) bits of a u64, in which those above are 0, at `bit`; the bit behind. What follows within
    16 bytes is overwritten."""
    at, used = bit >> 3, bit & 7
    kept = np.uint64(out[at]) >> np.uint64(8 - used) << np.uint64(64 - used) if used else np.uint64(0)
    top = number << np.uint64(64 - count)
    store_u64(out, at, swapped(kept | top >> np.uint64(used)))
    if used + count > 64:
        store_u64(out, at + 8, swapped(top << np.uint64(64 - used)))
    return bit + count


@device
def signed(bits: int, width: int) -> int:
    """An i64 from its low `width` bits (u64): of the two numbers that it may be, half the range is the positive one."""
    number = np.int64(bits)
    return number - (np.int64(1) << width) if number > np.int64(1) << (width - 1) else number


@device
def fits(number: int, width: int) -> bool:
    """Whether `signed` gives an i64 back."""
    return -((np.int64(1) << (width - 1)) - 1) <= number <= np.int64(1) << (width - 1)


@device
def take_unsigned(data: NDArray[np.uint8], bit: int) -> tuple[int, int]:
    """A variable width integer as u64, and the bit behind it."""
    ones = min(leading_zeros(~window(data, bit)), np.int64(8))
    bit += min(ones + 1, np.int64(8))
    if ones == 0:
        return np.uint64(0), bit
    width = WIDTHS[ones]
    return take_bits(data, bit, width), bit + width


@device
def take_signed(data: NDArray[np.uint8], bit: int) -> tuple[int, int]:
    """The same as i64."""
    ones = min(leading_zeros(~window(data, bit)), np.int64(8))
    bit += min(ones + 1, np.int64(8))
    if ones == 0:
        return np.int64(0), bit
    width = WIDTHS[ones]
    bits = take_bits(data, bit, width)
    return (np.int64(bits) if width == 64 else signed(bits, width)), bit + width


@device
def put_code(out: NDArray[np.uint8], bit: int, number: int, ones: int) -> int:
    """A number (u64) of the width that so many ones, and a zero where they are fewer than 8, announce."""
    if ones == 8:
        return put_bits(out, put_bits(out, bit, np.uint64(0xFF), 8), number, 64)
    width = WIDTHS[ones]
    bit = put_bits(out, bit, (np.uint64(2) << np.uint64(ones)) - np.uint64(2), ones + 1)
    return put_bits(out, bit, number & ((ONE << np.uint64(width)) - ONE), width) if ones else bit


@device
def put_signed(out: NDArray[np.uint8], bit: int, number: int) -> int:
    """Writes an i64 as `take_signed` reads it."""
    ones = 0 if number == 0 else 1
    while 0 < ones < 8 and not fits(number, WIDTHS[ones]):
        ones += 1
    return put_code(out, bit, np.uint64(number), ones)


@device
def put_unsigned(out: NDArray[np.uint8], bit: int, number: int) -> int:
    """Writes a u64 as `take_unsigned` reads it."""
    length = 64 - leading_zeros(number)
    ones = 0
    while WIDTHS[ones] < length:
        ones += 1
    return put_code(out, bit, number, ones)


@device
def take_xor(data: NDArray[np.uint8], bit: int, value: int, leading: int, trailing: int) -> tuple[int, int, int, int]:
    """(value u64, zeros on both sides of what differs from the value before, the bit behind or -1)."""
    word = window(data, bit)
    if word >> np.uint64(63) == 0:
        return value, leading, trailing, bit + 1
    if word >> np.uint64(62) == np.uint64(2):
        bit += 2
        if leading == NO_BORDERS:
            leading, trailing = np.int64(0), np.int64(0)
    else:
        leading = np.int64(word >> np.uint64(57) & np.uint64(31))
        width = np.int64(word >> np.uint64(51) & np.uint64(63))
        trailing = 64 - leading - (width if width else 64)
        if trailing < 0:
            return value, leading, trailing, np.int64(-1)
        bit += 13
    width = 64 - leading - trailing
    return value ^ take_bits(data, bit, width) << np.uint64(trailing), leading, trailing, bit + width


@device
def put_xor(out: NDArray[np.uint8], bit: int, value: int, before: int, leading: int, trailing: int,
            ) -> tuple[int, int, int]:
    """Writes what differs between two u64 as `take_xor` reads it: (bit behind, zeros on both sides)."""
    change = value ^ before
    if change == 0:
        return put_bits(out, bit, np.uint64(0), 1), leading, trailing
    lead, trail = min(leading_zeros(change), np.int64(31)), trailing_zeros(change)
    if leading != NO_BORDERS and lead >= leading and trail >= trailing:
        bit = put_bits(out, bit, np.uint64(2), 2)
    else:
        leading, trailing = lead, trail
        width = np.uint64(64 - lead - trail) & np.uint64(63)
        bit = put_bits(out, bit, np.uint64(3) << np.uint64(11) | np.uint64(lead) << np.uint64(6) | width, 13)
    return put_bits(out, bit, change >> np.uint64(trailing), 64 - leading - trailing), leading, trailing
