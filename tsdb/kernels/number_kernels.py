# mypy: disable-error-code="call-overload,arg-type,return-value,assignment,operator,no-any-return"
"""Numbers as text, as Go prints them: the fewest digits that give back the same bits, plain for 1e-6 <= abs < 1e21,
otherwise with an exponent of at least two digits.

The digits come from R. Giulietti's algorithm ("The Schubfach way to render doubles", 2020): three products with a
128-bit power of ten, no loop and no big numbers. Bytes are stored eight at a time: what follows a text is spoilt.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.extending import intrinsic
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import leading_zeros, load_u64, store_u64
from tsdb.kernels.registry import device, kernel

_MIN_POWER, _MAX_POWER = -292, 324

def _powers_of_ten() -> NDArray[np.uint64]:
    """u64[617, 2]: high and low half of 10**k * 2**(127 - floor(log2(10**k))), rounded up, from k = -292."""
    table = np.zeros((_MAX_POWER - _MIN_POWER + 1, 2), np.uint64)
    for row, k in enumerate(range(_MIN_POWER, _MAX_POWER + 1)):
        shift = 127 - ((k * 1741647) >> 19)
        numerator = 10 ** max(k, 0) << max(shift, 0)
        denominator = 10 ** max(-k, 0) << max(-shift, 0)
        scaled = -(-numerator // denominator)
        table[row] = scaled >> 64, scaled & (2**64 - 1)
    return table


POWERS = _powers_of_ten()
DECIMALS = np.array([10**k for k in range(20)], np.uint64)


@intrinsic  # type: ignore[untyped-decorator]
def multiply_high(typingctx: Any, a: Any, b: Any) -> Any:
    """High half of the 128-bit product of two u64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), codegen


@device
def digit_count(number: int) -> int:
    """Decimal digits of a u64, at least 1."""
    guess = ((64 - leading_zeros(number | np.uint64(1))) * 1233) >> 12
    return guess + (1 if number >= DECIMALS[np.uint64(guess)] else 0) if guess else np.int64(1)


@device
def eight_digits(number: int) -> int:
    """A u64 below 10**8 as eight characters, the first in the lowest byte: three rounds of halving, side by side."""
    fours = number // np.uint64(10000)
    x = fours | (number - fours * np.uint64(10000)) << np.uint64(32)
    pairs = (x * np.uint64(5243)) >> np.uint64(19) & np.uint64(0x7F0000007F)
    x = pairs | (x - pairs * np.uint64(100)) << np.uint64(16)
    tens = (x * np.uint64(103)) >> np.uint64(10) & np.uint64(0x000F000F000F000F)
    return (tens | (x - tens * np.uint64(10)) << np.uint64(8)) + np.uint64(0x3030303030303030)


@device
def write_digits(out: NDArray[np.uint8], at: int, number: int, count: int) -> int:
    """u64 `number` with `count` decimal digits (1 to 20), zeros in front. Returns the position behind."""
    if count <= 8:
        store_u64(out, at, eight_digits(number) >> np.uint64(8 * (8 - count)))
        return at + count
    upper = number // np.uint64(100000000)
    lower = number - upper * np.uint64(100000000)
    if count <= 16:
        store_u64(out, at, eight_digits(upper) >> np.uint64(8 * (16 - count)))
    else:
        top = upper // np.uint64(100000000)
        store_u64(out, at, eight_digits(top) >> np.uint64(8 * (24 - count)))
        store_u64(out, at + count - 16, eight_digits(upper - top * np.uint64(100000000)))
    store_u64(out, at + count - 8, eight_digits(lower))
    return at + count


@device
def write_time(out: NDArray[np.uint8], at: int, ms: int) -> int:
    """Milliseconds as seconds, with three decimals unless they are zero. Returns the position behind."""
    number = np.uint64(ms)
    if ms < 0:
        out[at] = 45
        at += 1
        number = np.uint64(0) - number
    seconds = number // np.uint64(1000)
    fraction = number - seconds * np.uint64(1000)
    at = write_digits(out, at, seconds, digit_count(seconds))
    if fraction:
        out[at] = 46
        at = write_digits(out, at + 1, fraction, 3)
    return at


@device
def round_to_odd(high: int, low: int, factor: int) -> int:
    upper = multiply_high(high, factor)
    lower = high * factor
    carried = lower + multiply_high(low, factor)
    if carried < lower:
        upper += np.uint64(1)
    if carried > np.uint64(1):
        upper |= np.uint64(1)
    return upper


@device
def shortest(fraction: int, biased: int) -> tuple[int, int]:
    """(digits u64, exponent): the shortest digits * 10**exponent nearest to a finite, positive f64, given as its
    fraction bits (u64) and biased exponent (int64)."""
    if biased != 0:
        c = fraction | np.uint64(1 << 52)
        q = biased - 1075
    else:
        c = fraction
        q = np.int64(-1074)
    closer = fraction == 0 and biased > 1
    odd = np.uint64(c & np.uint64(1))
    k = (q * 1262611 - (524031 if closer else 0)) >> 22
    h = np.uint64(q + ((-k * 1741647) >> 19) + 1)
    high = POWERS[-k - _MIN_POWER, 0]
    low = POWERS[-k - _MIN_POWER, 1]
    four = c * np.uint64(4)
    below = round_to_odd(high, low, (four - (np.uint64(1) if closer else np.uint64(2))) << h)
    value = round_to_odd(high, low, four << h)
    above = round_to_odd(high, low, (four + np.uint64(2)) << h)
    lower = below + odd
    upper = above - odd
    s = value // np.uint64(4)
    if s >= np.uint64(10):
        ten = s // np.uint64(10)
        down = lower <= np.uint64(40) * ten
        up = np.uint64(40) * ten + np.uint64(40) <= upper
        if down != up:
            return ten + (np.uint64(1) if up else np.uint64(0)), k + 1
    down = lower <= np.uint64(4) * s
    up = np.uint64(4) * s + np.uint64(4) <= upper
    if down != up:
        return s + (np.uint64(1) if up else np.uint64(0)), k
    middle = np.uint64(4) * s + np.uint64(2)
    if value > middle or (value == middle and s & np.uint64(1)):
        return s + np.uint64(1), k
    return s, k


@device
def write_value(out: NDArray[np.uint8], at: int, bits: int) -> int:
    """An f64, given as its bits, as Go's strconv prints it for Prometheus. Returns the position behind."""
    fraction = bits & np.uint64((1 << 52) - 1)
    biased = np.int64((bits >> np.uint64(52)) & np.uint64(0x7FF))
    negative = bits >> np.uint64(63) != 0
    if biased == 0x7FF:
        if fraction:
            store_u64(out, at, np.uint64(0x4E614E))  # NaN
            return at + 3
        store_u64(out, at, np.uint64(0x666E492D) if negative else np.uint64(0x666E492B))  # -Inf, +Inf
        return at + 4
    if negative:
        out[at] = 45
        at += 1
    if biased == 0 and fraction == 0:
        out[at] = 48
        return at + 1
    # whole numbers below 2**53 need no search: most counters
    if 1023 <= biased < 1076:
        down = np.uint64(1075 - biased)
        mantissa = fraction | np.uint64(1 << 52)
        whole = mantissa >> down
        if whole << down == mantissa:
            return write_digits(out, at, whole, digit_count(whole))
    digits, exponent = shortest(fraction, biased)
    if digits % np.uint64(100000000) == 0:
        digits //= np.uint64(100000000)
        exponent += 8
    if digits % np.uint64(10000) == 0:
        digits //= np.uint64(10000)
        exponent += 4
    if digits % np.uint64(100) == 0:
        digits //= np.uint64(100)
        exponent += 2
    if digits % np.uint64(10) == 0:
        digits //= np.uint64(10)
        exponent += 1
    count = digit_count(digits)
    scale = count - 1 + exponent
    if scale < -6 or scale >= 21:
        write_digits(out, at + 1, digits, count)
        out[at] = out[at + 1]
        at += 1
        if count > 1:
            out[at] = 46
            at += count
        out[at] = 101
        out[at + 1] = 45 if scale < 0 else 43
        power = np.uint64(abs(scale))
        return write_digits(out, at + 2, power, max(np.int64(2), digit_count(power)))
    if exponent >= 0:
        at = write_digits(out, at, digits, count)
        for _ in range(exponent):
            out[at] = 48
            at += 1
        return at
    if scale >= 0:
        write_digits(out, at + 1, digits, count)
        for i in range(at, at + scale + 1):
            out[i] = out[i + 1]
        out[at + scale + 1] = 46
        return at + count + 1
    store_u64(out, at, np.uint64(0x3030303030302E30))  # 0.000000
    return write_digits(out, at + 1 - scale, digits, count)


@device
def write_text(out: NDArray[np.uint8], at: int, text: NDArray[np.uint8], begin: int, end: int) -> int:
    """text[begin:end]; `text` has eight bytes to spare behind it."""
    for i in range(begin, end, 8):
        store_u64(out, at + i - begin, load_u64(text, i))
    return at + end - begin


@kernel("int64(uint64, uint8[::1])", stage="later")
def format_value(bits: int, out: NDArray[np.uint8]) -> int:
    """One f64, given as its bits, into u8[64]; returns the length."""
    return write_value(out, 0, bits)
