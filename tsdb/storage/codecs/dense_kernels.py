# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""The dense codec: floats as integers where that gives back the very bits, and these as a column of integers.

A float is a decimal (an integer through a power of ten, as in ALP, Afroozeh et al., SIGMOD 2023), an integer times a
power of two, or its own bits. The few that are neither stand beside, as exceptions. docs/formats.md has the bytes,
under "Dense chunks".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import bits_float, float_bits, trailing_zeros
from tsdb.kernels.registry import device
from tsdb.kernels.varint_kernels import put_varint, take_varint, unzigzag, zigzag
from tsdb.storage.codecs.bit_kernels import minus, plus, product
from tsdb.storage.codecs.integer_kernels import BAD, CONSTANT, LINE, choose, put_column, take_column

DECIMAL, BINARY, BITS = range(3)
"""What the integers are: m / 10^e; m * 2^s; the bits of the float, rotated to the left by one."""
EXCEPTIONS, DIVISOR = 0x20, 0x40
"""Flags of a chunk's first byte, beside its prediction (bits 0 to 2) and what its integers are (3 and 4)."""
MOST_DIGITS = 18
POWERS = np.array([10.0**e for e in range(MOST_DIGITS + 1)])
MOST_DECIMAL = 9007199254740992.0  # 2^53
SMALLEST_SCALE, GREATEST_SCALE = -1020, 960
STALE = np.uint64(0x7FF0000000000002)
ONE, LOW63 = np.uint64(1), np.uint64((1 << 63) - 1)
EXPONENT = np.uint64(0x7FF)
FIFTY_TWO = np.uint64(52)
MANTISSA = np.uint64((1 << 52) - 1)


@device
def decimal(bits: int, digits: int) -> tuple[bool, int]:
    """(whether the float with these bits is m / 10^digits, m)."""
    scaled = bits_float(bits) * POWERS[digits]
    if not abs(scaled) <= MOST_DECIMAL:
        return False, np.int64(0)
    whole = np.rint(scaled)
    return float_bits(whole / POWERS[digits]) == bits, np.int64(whole)


@device
def ordinary(bits: int) -> bool:
    """Whether it is a finite number other than -0."""
    return (bits >> FIFTY_TWO) & EXPONENT != EXPONENT and bits != np.uint64(1 << 63)


@device
def as_decimals(values: NDArray[np.uint64], first: int, past: int, numbers: NDArray[np.int64],
                exceptions: NDArray[np.int64]) -> tuple[int, int]:
    """Decimals of values[first:past] to `numbers`, and which are none to `exceptions`: (digits, how many are none);
    (BAD, 0) where these are too many."""
    few = (past - first) // 50 + 1
    digits = -1
    while True:
        strange, odd = np.int64(0), np.int64(0)
        higher = MOST_DIGITS + 1
        again = False
        for i in range(first, past):
            bits = values[i]
            fits = False
            if ordinary(bits):
                if digits >= 0:
                    fits, number = decimal(bits, digits)
                if not fits:
                    for e in range(digits + 1, min(higher, MOST_DIGITS + 1)):
                        also, _ = decimal(bits, e)
                        if also:
                            higher = e
                            break
                    odd += 1
                    if digits < 0 or odd > few:
                        if higher > MOST_DIGITS:
                            if odd > few:
                                return BAD, 0
                        else:
                            again = True
                            break
            else:
                strange += 1
            if fits:
                numbers[i - first - strange - odd] = number
            else:
                exceptions[strange + odd - 1] = i - first
        if not again:
            if digits < 0 or strange * 2 > past - first:
                return BAD, 0
            return digits, strange + odd
        digits = higher


@device
def scale(exponent: int) -> float:
    """2^exponent, of a normal float."""
    return bits_float(np.uint64(exponent + 1023) << FIFTY_TWO)


@device
def as_binaries(values: NDArray[np.uint64], first: int, past: int, numbers: NDArray[np.int64],
                exceptions: NDArray[np.int64]) -> tuple[int, int, int]:
    """As `as_decimals`: (0, power of two, how many are none); (BAD, 0, 0)."""
    least, most = np.int64(1 << 20), np.int64(-(1 << 20))
    for i in range(first, past):
        bits = values[i]
        power = np.int64((bits >> FIFTY_TWO) & EXPONENT)
        if power != 0 and power != 2047:
            lowest = trailing_zeros((bits & MANTISSA) | ONE << FIFTY_TWO)
            least = min(least, power - 1075 + lowest)
            most = max(most, power - 1022)
    if most < least:
        return BAD, 0, 0
    power = max(least, most - 62)
    if power < SMALLEST_SCALE or power > GREATEST_SCALE:
        return BAD, 0, 0
    up, down = scale(power), scale(-power)
    strange = np.int64(0)
    few = (past - first) // 16 + 1
    for i in range(first, past):
        bits = values[i]
        fits = False
        if ordinary(bits):
            scaled = bits_float(bits) * down
            if abs(scaled) < 4611686018427387904.0:
                number = np.int64(scaled)
                fits = float_bits(np.float64(number) * up) == bits
        if fits:
            numbers[i - first - strange] = number
        else:
            exceptions[strange] = i - first
            strange += 1
            if strange > few:
                return BAD, 0, 0
    return 0, power, strange


@device
def divide(numbers: NDArray[np.int64], count: int) -> tuple[int, int]:
    """(first number, greatest common divisor of all distances from it); the numbers become these, divided by it."""
    base = numbers[0]
    every = np.uint64(0)
    odd = np.uint64(0)
    for i in range(1, count):
        distance = minus(numbers[i], base)
        numbers[i] = distance
        size = np.uint64(distance)
        if distance < 0:
            size = np.uint64(0) - size
        every |= size
        if odd != ONE and size != np.uint64(0):
            size >>= np.uint64(trailing_zeros(size))
            if odd == np.uint64(0):
                odd = size
            else:
                while size != np.uint64(0):
                    odd, size = size, odd % size
    numbers[0] = 0
    if every == np.uint64(0):
        return base, np.int64(1)
    shift = np.int64(trailing_zeros(every))
    if shift > 0:
        for i in range(1, count):
            numbers[i] >>= shift
    if odd > ONE:
        for i in range(1, count):
            numbers[i] //= np.int64(odd)
    return base, np.int64(odd << np.uint64(shift))


@device
def encode_values(values: NDArray[np.uint64], first: int, past: int, out: NDArray[np.uint8], at: int,
                  numbers: NDArray[np.int64], other: NDArray[np.int64], exceptions: NDArray[np.int64],
                  left: NDArray[np.int64], sample: NDArray[np.int64]) -> int:
    """Writes values[first:past] (bits of floats) at byte `at`; the next byte. Scratch: `numbers`, `other` and
    `exceptions` i64[past - first], `left` i64[FRAME], `sample` i64[SAMPLED]. Of `out`, MOST_BYTES for each value and
    FRAME_BYTES for each frame must be free."""
    count = past - first
    kind = DECIMAL
    digits, strange = as_decimals(values, first, past, numbers, exceptions)
    base, divisor = np.int64(0), np.int64(1)
    prediction = CONSTANT
    power = digits
    if digits == BAD:
        kind = BITS
        strange = 0
        for i in range(count):
            bits = values[first + i]
            numbers[i] = np.int64(bits << ONE | bits >> np.uint64(63))
        base, divisor = divide(numbers, count)
        prediction, own = choose(numbers, count, left, sample)
        state, power, odd = as_binaries(values, first, past, other, exceptions)
        if state != BAD:
            other_base, other_divisor = divide(other, count - odd)
            other_prediction, bits_needed = choose(other, count - odd, left, sample)
            if bits_needed + 80 * odd < own:
                kind, strange = BINARY, odd
                base, divisor, prediction = other_base, other_divisor, other_prediction
                for i in range(count - odd):
                    numbers[i] = other[i]
    elif count > strange:
        base, divisor = divide(numbers, count - strange)
        prediction, _ = choose(numbers, count - strange, left, sample)
    out[at] = np.uint8(prediction | kind << 3 | (EXCEPTIONS if strange > 0 else 0) | (DIVISOR if divisor != 1 else 0))
    at += 1
    if kind == DECIMAL:
        out[at] = np.uint8(power)
        at += 1
    elif kind == BINARY:
        out[at] = np.uint8((power + 1024) & 255)
        out[at + 1] = np.uint8((power + 1024) >> 8)
        at += 2
    if strange > 0:
        at = put_varint(out, at, np.uint64(strange))
        before = np.int64(-1)
        for i in range(strange):
            place = exceptions[i]
            bits = values[first + place]
            stale = bits == STALE
            at = put_varint(out, at, np.uint64(place - before - 1) << ONE | (np.uint64(0) if stale else ONE))
            before = place
            if not stale:
                for k in range(8):
                    out[at + k] = np.uint8((bits >> np.uint64(8 * k)) & np.uint64(255))
                at += 8
    if count == strange:
        return at
    at = put_varint(out, at, zigzag(base))
    if divisor != 1:
        at = put_varint(out, at, np.uint64(divisor))
    return put_column(numbers, count - strange, prediction, out, at, left, sample)


@device
def decode_values(data: NDArray[np.uint8], at: int, end: int, count: int, needed: int, out: NDArray[np.int64],
                  first: int) -> int:
    """Reads at least the first `needed` of `count` values to out[first : first + count], as bits. Returns how many
    bytes were read, or BAD. Behind `end`, data[] has 64 bytes more, zeros."""
    if at >= end:
        return BAD
    head = np.int64(data[at])
    prediction, kind = head & 7, (head >> 3) & 3
    if prediction > LINE or kind > BITS or head & 0x80 != 0:
        return BAD
    at += 1
    power = np.int64(0)
    if kind == DECIMAL:
        power = np.int64(data[at])
        at += 1
        if power > MOST_DIGITS:
            return BAD
    elif kind == BINARY:
        power = (np.int64(data[at]) | np.int64(data[at + 1]) << 8) - 1024
        at += 2
        if power < SMALLEST_SCALE or power > GREATEST_SCALE:
            return BAD
    strange = np.int64(0)
    listed = at
    if head & EXCEPTIONS != 0:
        number, listed = take_varint(data, at)
        if number == np.uint64(0) or number > np.uint64(count):
            return BAD
        strange = np.int64(number)
        at = listed
        place = np.int64(-1)
        for _ in range(strange):
            if at >= end:
                return BAD
            number, at = take_varint(data, at)
            if number >> ONE >= np.uint64(count - 1 - place):
                return BAD
            place += np.int64(number >> ONE) + 1
            if number & ONE != np.uint64(0):
                at += 8
    if at > end:
        return BAD
    plain = count - strange
    if plain > 0:
        number, at = take_varint(data, at)
        base = unzigzag(number)
        divisor = np.int64(1)
        if head & DIVISOR != 0:
            number, at = take_varint(data, at)
            divisor = np.int64(number)
        if at > end:
            return BAD
        wanted = plain if strange > 0 else needed
        at = take_column(data, at, end, prediction, plain, wanted, out, first)
        if at == BAD:
            return BAD
        if kind == DECIMAL and power == 0:
            if divisor == 1:
                for i in range(first, first + wanted):
                    out[i] = np.int64(float_bits(np.float64(plus(out[i], base))))
            else:
                for i in range(first, first + wanted):
                    out[i] = np.int64(float_bits(np.float64(plus(product(out[i], divisor), base))))
        elif kind == DECIMAL:
            unit = POWERS[power]
            for i in range(first, first + wanted):
                out[i] = np.int64(float_bits(np.float64(plus(product(out[i], divisor), base)) / unit))
        elif kind == BINARY:
            unit = scale(power)
            for i in range(first, first + wanted):
                out[i] = np.int64(float_bits(np.float64(plus(product(out[i], divisor), base)) * unit))
        else:
            for i in range(first, first + wanted):
                bits = np.uint64(plus(product(out[i], divisor), base))
                out[i] = np.int64(bits >> ONE | bits << np.uint64(63))
    if strange > 0:
        expand(data, listed, count, strange, out, first)
    return at


@device
def expand(data: NDArray[np.uint8], at: int, count: int, strange: int, out: NDArray[np.int64], first: int) -> None:
    """Puts exceptions, whose list begins at byte `at` and was checked, between the other values, which stand at the
    beginning of out[first : first + count]."""
    for i in range(count - strange - 1, -1, -1):
        out[first + strange + i] = out[first + i]
    source, place = first + strange, first
    for _ in range(strange):
        number, at = take_varint(data, at)
        for _ in range(np.int64(number >> ONE)):
            out[place] = out[source]
            place += 1
            source += 1
        bits = STALE
        if number & ONE != np.uint64(0):
            bits = np.uint64(0)
            for k in range(8):
                bits |= np.uint64(data[at + k]) << np.uint64(8 * k)
            at += 8
        out[place] = np.int64(bits)
        place += 1
