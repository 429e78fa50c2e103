# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""Columns of the histogram codec: how the changes from one histogram to the next are coded, in bits.

docs/formats.md has them, under "Chunks of histograms".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import leading_zeros, load_u64, store_u64, trailing_zeros
from tsdb.kernels.registry import device
from tsdb.kernels.varint_kernels import put_varint, zigzag

ONE = np.uint64(1)

UNCHANGED, PACKED, RICE, SPARSE = range(4)
"""Forms of a column: no change; all of one width; by the code of Rice; only those that are not 0."""
ESCAPE = 24
"""Zeros in place of a Rice quotient: 64 bits follow."""

FORM, PARAMETER, MINIMUM, GAP, ORDER, CODES = range(6)
"""Rows of `codes`, which says how columns are coded: form; bits of a number (sparse: and from 8 on of a gap); the least
change; row of the first change; columns by form."""


@device
def get_bits(data: NDArray[np.uint8], at: int, count: int, last: int) -> int:
    """`count` (0 … 64) bits from bit `at` on, as u64. Nothing behind byte `last` + 8 is read."""
    value = load_u64(data, min(at >> 3, last)) >> np.uint64(at & 7)
    if count > 57:
        low = value & np.uint64(0xFFFFFFFF)
        at += 32
        value = low | (load_u64(data, min(at >> 3, last)) >> np.uint64(at & 7)) << np.uint64(32)
        if count == 64:
            return value
    return value & ((ONE << np.uint64(count)) - ONE)


@device
def get_rice(data: NDArray[np.uint8], at: int, parameter: int, last: int) -> tuple[int, int]:
    """(u64, next bit) of a Rice code."""
    window = load_u64(data, min(at >> 3, last)) >> np.uint64(at & 7)
    quotient = trailing_zeros(window)
    if quotient >= ESCAPE:
        return get_bits(data, at + ESCAPE, 64, last), at + ESCAPE + 64
    at += quotient + 1
    if parameter <= 32:
        rest = (window >> np.uint64(quotient + 1)) & ((ONE << np.uint64(parameter)) - ONE)
    else:
        rest = get_bits(data, at, parameter, last)
    return np.uint64(quotient) << np.uint64(parameter) | rest, at + parameter


@device
def varint_bytes(number: int) -> int:
    """Of a u64."""
    return (70 - leading_zeros(number | ONE)) // 7


@device
def width(number: int) -> int:
    """Significant bits of a u64."""
    return 64 - leading_zeros(number)


@device
def put_bits(out: NDArray[np.uint8], at: int, value: int, count: int) -> int:
    """Writes `count` (0 … 64) bits of u64 `value`, above which it has none, at bit `at`, and zeros behind them, within
    the next 16 bytes. The next bit."""
    shift = np.uint64(at & 7)
    low = np.uint64(out[at >> 3]) & ((ONE << shift) - ONE)
    store_u64(out, at >> 3, low | value << shift)
    if count > 56:
        store_u64(out, (at >> 3) + 8, (value >> ONE) >> (np.uint64(63) - shift))
    return at + count


@device
def put_rice(out: NDArray[np.uint8], at: int, value: int, parameter: int) -> int:
    quotient = value >> np.uint64(parameter)
    zeros, length = np.int64(ESCAPE), np.int64(64)
    if quotient < np.uint64(ESCAPE):
        # the one behind the zeros is the first of the bits
        zeros, length = np.int64(quotient), parameter + 1
        value = (value & ((ONE << np.uint64(parameter)) - ONE)) << ONE | ONE
    return put_bits(out, put_bits(out, at, np.uint64(0), zeros), value, length)


@device
def rice_bits(value: int, parameter: int) -> int:
    quotient = value >> np.uint64(parameter)
    if quotient >= np.uint64(ESCAPE):
        return np.int64(ESCAPE + 64)
    return np.int64(quotient) + 1 + parameter


@device
def choose(changes: NDArray[np.uint64], first: int, count: int, c: int, codes: NDArray[np.int64]) -> int:
    """Chooses how the changes (i64, as u64) changes[first : first + count] of a column are coded, into codes[:, c]. The
    bits that these take, without those of the column's head."""
    least, greatest = np.int64(0x7FFFFFFFFFFFFFFF), np.int64(-0x7FFFFFFFFFFFFFFF) - 1
    some_least, some_greatest = least, greatest
    some, last, longest = np.int64(0), np.int64(-1), np.int64(0)
    for k in range(count):
        change = np.int64(changes[first + k])
        least, greatest = min(least, change), max(greatest, change)
        if change != 0:
            some_least, some_greatest = min(some_least, change), max(some_greatest, change)
            if some > 0:
                longest = max(longest, k - last - 1)
            else:
                codes[GAP, c] = k + 1
            last = k
            some += 1
    if some == 0:
        codes[FORM, c] = UNCHANGED
        return np.int64(0)
    longest = max(longest, count - last - 1)
    codes[FORM, c] = PACKED
    codes[MINIMUM, c] = least
    codes[PARAMETER, c] = width(np.uint64(greatest) - np.uint64(least))
    if codes[PARAMETER, c] == 63:
        codes[PARAMETER, c] = 64
    best = codes[PARAMETER, c] * count

    mean = 0.0
    for k in range(count):
        mean += np.float64(changes[first + k] - np.uint64(least))
    parameter = min(width(np.uint64(min(mean / count, 1e18))), np.int64(56))
    before = np.int64(0x7FFFFFFFFFFFFFFF)
    while parameter >= 0:
        bits = np.int64(0)
        for k in range(count):
            bits += rice_bits(changes[first + k] - np.uint64(least), parameter)
        if bits < best:
            codes[FORM, c] = RICE
            codes[PARAMETER, c] = parameter
            best = bits
        if bits > before:
            break
        before = bits
        parameter -= 1

    value_bits, gap_bits = width(np.uint64(some_greatest) - np.uint64(some_least)), width(np.uint64(longest))
    if value_bits <= 57 and some * (value_bits + gap_bits) + 16 < best:
        best = some * (value_bits + gap_bits)
        codes[FORM, c] = SPARSE
        codes[MINIMUM, c] = some_least
        codes[PARAMETER, c] = value_bits | gap_bits << 8
    return best


@device
def head_bytes(c: int, codes: NDArray[np.int64]) -> int:
    """Of what stands before the changes of a column."""
    if codes[FORM, c] == UNCHANGED:
        return np.int64(1)
    size = 1 + varint_bytes(zigzag(codes[MINIMUM, c]))
    return size + 1 + varint_bytes(np.uint64(codes[GAP, c])) if codes[FORM, c] == SPARSE else size


@device
def put_head(out: NDArray[np.uint8], at: int, c: int, codes: NDArray[np.int64]) -> int:
    form, parameter = codes[FORM, c], codes[PARAMETER, c]
    if form == UNCHANGED:
        out[at] = np.uint8(UNCHANGED)
        return at + 1
    out[at] = np.uint8(form | min(parameter & 0xFF, 63) << 2)
    at += 1
    if form == SPARSE:
        out[at] = np.uint8(parameter >> 8)
        at = put_varint(out, at + 1, np.uint64(codes[GAP, c]))
    return put_varint(out, at, zigzag(codes[MINIMUM, c]))
