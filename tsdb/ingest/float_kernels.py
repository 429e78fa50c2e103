"""Decimal numbers in text to floats, correctly rounded; the few with more than 19 digits that need all of them are for
Python."""
# mypy: disable-error-code="operator,assignment,return-value,arg-type,no-any-return"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.hash_kernels import multiply_fold
from tsdb.kernels.intrinsics import float_bits, leading_zeros, load_u64, trailing_zeros
from tsdb.kernels.registry import device

FLOAT_DONE, FLOAT_SLOW, FLOAT_WRONG = range(3)

POWERS = np.array([10.0**i for i in range(23)])
"""f64: the powers of ten that a float holds exactly."""

TENS = np.array([10**i for i in range(9)], np.uint64)

SMALLEST, LARGEST = -342, 308
"""Powers of ten beyond which 19 digits give 0 or infinity."""


def _powers_of_five() -> NDArray[np.uint64]:
    """u64[SMALLEST..LARGEST, 2]: high and low half of 5^q, scaled to 128 bits; rounded up where q < 0, else cut."""
    table = np.empty((LARGEST - SMALLEST + 1, 2), np.uint64)
    for q in range(SMALLEST, LARGEST + 1):
        power = 5 ** abs(q)
        bits = power.bit_length()
        if q >= 0:
            scaled = power << 128 - bits if bits <= 128 else power >> bits - 128
        elif q >= -27:
            scaled = (1 << bits + 127) // power + 1
        else:
            scaled = (1 << 2 * bits + 128) // power + 1
            scaled >>= scaled.bit_length() - 128
        table[q - SMALLEST] = scaled >> 64, scaled & (1 << 64) - 1
    return table


FIVES = _powers_of_five()

NORMAL_NAN = np.uint64(0x7FF8000000000001)
"""Prometheus' NaN that is not a stale marker."""
INFINITY = np.uint64(0x7FF0000000000000)
SIGN = np.uint64(1 << 63)


@device
def is_word(data: NDArray[np.uint8], at: int, end: int, word: bytes) -> bool:
    """Whether data[at:end] is a lower-case word, in letters of any case."""
    if end - at != len(word):
        return False
    for i in range(len(word)):
        if data[at + i] | 0x20 != word[i]:
            return False
    return True


@device
def scaled_bits(mantissa: int, power: int) -> int:
    """u64 bits of mantissa * 10^power, rounded to even; the mantissa is a u64 above 0. Infinity where it is too large.

    Lemire, "Number parsing at a gigabyte per second" (2021), with Mushtak's proof that 128 bits always suffice.
    """
    if power < SMALLEST:
        return np.uint64(0)
    if power > LARGEST:
        return INFINITY
    zeros = leading_zeros(mantissa)
    word = mantissa << np.uint64(zeros)
    five = FIVES[power - SMALLEST, 0]
    low = word * five
    high = multiply_fold(word, five) ^ low
    if high & np.uint64(0x1FF) == np.uint64(0x1FF):
        five = FIVES[power - SMALLEST, 1]
        more = multiply_fold(word, five) ^ word * five
        low += more
        if more > low:
            high += np.uint64(1)
    upper = np.int64(high >> np.uint64(63))
    bits = high >> np.uint64(upper + 9)
    exponent = (217706 * power >> 16) + 63 + upper - zeros + 1023
    if exponent <= 0:  # subnormal, or 0
        if 1 - exponent >= 64:
            return np.uint64(0)
        bits >>= np.uint64(1 - exponent)
        bits = (bits + (bits & np.uint64(1))) >> np.uint64(1)
        return bits  # a carry into the exponent is the smallest normal number
    if low <= np.uint64(1) and -4 <= power <= 23 and bits & np.uint64(3) == np.uint64(1) \
            and bits << np.uint64(upper + 9) == high:
        bits &= ~np.uint64(1)  # exactly between two floats
    bits = (bits + (bits & np.uint64(1))) >> np.uint64(1)
    if bits >= np.uint64(1 << 53):
        bits = np.uint64(1 << 52)
        exponent += 1
    if exponent >= 0x7FF:
        return INFINITY
    return bits & np.uint64((1 << 52) - 1) | np.uint64(exponent) << np.uint64(52)


@device
def read_digits(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """(u64 value of the first digits from `at` on, up to 8 of them; how many)."""
    if end - at < 8:
        value = np.uint64(0)
        begin = at
        while at < end and 0x30 <= data[at] <= 0x39:
            value = value * np.uint64(10) + np.uint64(data[at] - np.uint8(0x30))
            at += 1
        return value, at - begin
    word = load_u64(data, at) ^ np.uint64(0x3030303030303030)
    other = (word + np.uint64(0x7676767676767676) | word) & np.uint64(0x8080808080808080)
    count = trailing_zeros(other) >> 3 if other != np.uint64(0) else np.int64(8)
    if count == 0:
        return np.uint64(0), count
    word <<= np.uint64(64 - 8 * count)  # leading zeros
    word = (word * np.uint64(10) + (word >> np.uint64(8))) & np.uint64(0x00FF00FF00FF00FF)
    word = (word * np.uint64(100) + (word >> np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    return word * np.uint64(10_000) + (word >> np.uint64(32)) & np.uint64(0xFFFFFFFF), count


@device
def read_number(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, int, int]:
    """(u64 bits, position behind, FLOAT_DONE) of the decimal that begins at `at`, or FLOAT_SLOW where it is not a usual
    one: for `read_float`. Nothing is said of what stands behind it."""
    negative = at < end and data[at] == 0x2D
    at += 1 if negative else 0
    mantissa, digits = read_digits(data, at, end)
    at += digits
    exponent = np.int64(0)
    if digits == 8:
        more, count = read_digits(data, at, end)
        if count == 8:
            return mantissa, at, np.int64(FLOAT_SLOW)
        mantissa = mantissa * TENS[count] + more
        digits += count
        at += count
    if at < end and data[at] == 0x2E:
        more, count = read_digits(data, at + 1, end)
        mantissa = mantissa * TENS[count] + more
        digits += count
        exponent = -count
        at += 1 + count
        if count == 8:
            more, count = read_digits(data, at, end)
            mantissa = mantissa * TENS[count] + more
            digits += count
            exponent -= count
            at += count
            if count == 8:
                return mantissa, at, np.int64(FLOAT_SLOW)
    if digits == 0 or digits > 19:
        return mantissa, at, np.int64(FLOAT_SLOW)
    if at < end and data[at] | 0x20 == 0x65:
        at += 1
        down = at < end and data[at] == 0x2D
        at += 1 if down or (at < end and data[at] == 0x2B) else 0
        more, count = read_digits(data, at, end)
        if count == 0 or count > 3:
            return mantissa, at, np.int64(FLOAT_SLOW)
        exponent += -np.int64(more) if down else np.int64(more)
        at += count
    sign = SIGN if negative else np.uint64(0)
    if mantissa == np.uint64(0):
        return sign, at, np.int64(FLOAT_DONE)
    if mantissa <= np.uint64(1 << 53) and -22 <= exponent <= 22:
        value = np.float64(np.int64(mantissa))
        if exponent != 0:
            value = value / POWERS[-exponent] if exponent < 0 else value * POWERS[exponent]
        return float_bits(value) | sign, at, np.int64(FLOAT_DONE)
    bits = scaled_bits(mantissa, exponent)
    return bits | sign, at, np.int64(FLOAT_SLOW if bits == INFINITY else FLOAT_DONE)


@device
def read_float(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """(u64 bits, FLOAT_DONE), or FLOAT_SLOW: a good number, but not one for here, or FLOAT_WRONG. What Go's ParseFloat
    takes: decimals, ``inf``, ``infinity``, ``nan`` in any case; no hexadecimals, no underscores.

    An integer below 2^53, times or over a power of ten up to 10^22: both are exact, so is the rounding of their product
    (Clinger 1990). Else by `scaled_bits`. FLOAT_SLOW: the digits behind the 19th decide, or out of range.
    """
    sign = np.uint64(0)
    signed = data[at] == 0x2B or data[at] == 0x2D
    if signed:
        sign = SIGN if data[at] == 0x2D else np.uint64(0)
        at += 1
    mantissa = np.uint64(0)
    digits = np.int64(0)  # that count: from the first that is not 0
    seen = np.int64(0)
    exponent = np.int64(0)
    point = False
    while at < end:
        c = data[at]
        if c == 0x2E and not point:
            point = True
        elif 0x30 <= c <= 0x39:
            seen += 1
            if digits > 0 or c != 0x30:
                digits += 1
            if digits <= 19:
                mantissa = mantissa * np.uint64(10) + np.uint64(c - np.uint8(0x30))
            exponent -= 1 if point else 0
        else:
            break
        at += 1
    if seen == 0:
        if not point and (is_word(data, at, end, b"inf") or is_word(data, at, end, b"infinity")):
            return INFINITY | sign, FLOAT_DONE
        if not point and not signed and is_word(data, at, end, b"nan"):
            return NORMAL_NAN, FLOAT_DONE
        return sign, FLOAT_WRONG
    if at < end:
        if data[at] | 0x20 != 0x65:
            return sign, FLOAT_WRONG
        at += 1
        negative = at < end and data[at] == 0x2D
        if at < end and (negative or data[at] == 0x2B):
            at += 1
        if at == end:
            return sign, FLOAT_WRONG
        power = np.int64(0)
        while at < end:
            if data[at] < 0x30 or data[at] > 0x39:
                return sign, FLOAT_WRONG
            if power < 100_000:
                power = 10 * power + np.int64(data[at] - np.uint8(0x30))
            at += 1
        exponent += -power if negative else power
    if digits == 0:
        return sign, FLOAT_DONE
    if digits <= 19 and mantissa <= np.uint64(1 << 53) and -22 <= exponent <= 22:
        value = np.float64(mantissa)
        value = value / POWERS[-exponent] if exponent < 0 else value * POWERS[exponent]
        return float_bits(value) | sign, FLOAT_DONE
    more = max(digits - 19, 0)
    bits = scaled_bits(mantissa, exponent + more)
    if more > 0 and scaled_bits(mantissa + np.uint64(1), exponent + more) != bits:
        return sign, FLOAT_SLOW
    return bits | sign, FLOAT_SLOW if bits == INFINITY else FLOAT_DONE
