# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""The dense codec: floats as integers where that gives back the very bits, and these as a column of integers.

A float is a decimal (an integer through a power of ten, as in ALP, Afroozeh et al., SIGMOD 2023), an integer times a
power of two, or its own bits. The few that are neither stand beside, as exceptions. docs/formats.md has the bytes,
under "Dense chunks".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import bits_float, float_bits, load_u64, trailing_zeros
from tsdb.kernels.registry import device
from tsdb.kernels.varint_kernels import put_varint, take_varint, unzigzag, zigzag
from tsdb.model.native_histograms import BOX, NORMAL_NAN
from tsdb.storage.codecs.bit_kernels import minus
from tsdb.storage.codecs.frame_kernels import FRAME_WORDS, take_column
from tsdb.storage.codecs.integer_kernels import BAD, CONSTANT, DELTA, DELTA_OF_DELTA, LINE, choose, put_column

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
NONE, EIGHT = np.uint64(0), np.uint64(8)
BOXED, NOT_BOXED = np.uint64(BOX), np.uint64(NORMAL_NAN)
SHORT_STALE, LOW_BITS = np.uint64(0xC1C1C1C1C1C1C1C1), np.uint64(0x0101010101010101)
UPPER, LOWER, LOW32 = np.uint64(0x4530000080000000), np.uint64(0x4330000000000000), np.uint64(0xFFFFFFFF)
UPPER_AND_LOWER = 2.0**84 + 2.0**63 + 2.0**52
MOST_VALUES = (1 << 16) - 1
"""Of a chunk."""
MARKED_AT = FRAME_WORDS
EXCEPTIONS_AT = MARKED_AT + MOST_VALUES // 8 + 1
VALUE_WORDS = EXCEPTIONS_AT + MOST_VALUES + 1
"""Of the scratch for values: for a frame; whether each is an exception, a byte; bits of exceptions."""


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
def skip_exceptions(data: NDArray[np.uint8], at: int, end: int, count: int, high: int, words: NDArray[np.uint64],
                    ) -> tuple[int, int, int]:
    """Reads the list of exceptions at byte `at`: (the byte behind it, how many there are, how many of them are among
    the first `high` of `count` samples); (BAD, 0, 0). Marks the latter in the bytes of `words` from MARKED_AT on, one
    for each of `high` samples, and writes their bits from EXCEPTIONS_AT on."""
    marked = words[MARKED_AT:].view(np.uint8)
    for i in range(np.uint64(high)):
        marked[i] = 0
    number, at = take_varint(data, at)
    if number == NONE or number > np.uint64(count):
        return BAD, 0, 0
    place, early = np.uint64(0), np.uint64(0)
    left = number
    while left > NONE:
        if at >= end:
            return BAD, 0, 0
        if left >= EIGHT and place >= np.uint64(high):  # it does not matter where they are
            eight = load_u64(data, at)
            if eight & SHORT_STALE == NONE:
                place += ((eight >> ONE) * LOW_BITS >> np.uint64(56)) + EIGHT
                at += 8
                left -= EIGHT
                if place > np.uint64(count):
                    return BAD, 0, 0
                continue
        coded, at = take_varint(data, at)
        gap = coded >> ONE
        if gap >= np.uint64(count) - place:
            return BAD, 0, 0
        place += gap
        bits = STALE
        if coded & ONE != NONE:
            bits = load_u64(data, at)
            if bits >= BOXED:
                bits = NOT_BOXED
            at += 8
        if place < np.uint64(high):
            marked[place] = 1
            words[np.uint64(EXCEPTIONS_AT) + early] = bits
            early += ONE
        place += ONE
        left -= ONE
    if at > end:
        return BAD, 0, 0
    return at, np.int64(number), np.int64(early)


@device
def expand(high: int, early: int, out: NDArray[np.int64], first: int, words: NDArray[np.uint64]) -> None:
    """Puts the exceptions that `skip_exceptions` found between the other values, which stand at the beginning of
    out[first : first + high]."""
    marked = words[MARKED_AT:].view(np.uint8)
    place, exception = np.uint64(first), np.uint64(EXCEPTIONS_AT)
    source, last = place + np.uint64(early), place + np.uint64(high) - ONE
    for i in range(np.uint64(high - early)):
        out[last - i] = out[last - np.uint64(early) - i]
    for i in range(np.uint64(high)):
        is_one = np.uint64(marked[i])
        plain = out[min(source, last)]  # behind the last of them, it is not wanted
        out[place] = np.int64(words[exception]) if is_one != NONE else plain
        exception += is_one
        source += ONE - is_one
        place += ONE


@device
def float_of(number: int) -> int:
    """Bits of the float next to an i64, in steps that there are for vectors: its upper and its lower half are floats
    that differ from 2^84 and 2^52 by as much, so that only the sum is rounded."""
    upper = bits_float((np.uint64(number) >> np.uint64(32)) ^ UPPER)
    lower = bits_float((np.uint64(number) & LOW32) | LOWER)
    return (upper - UPPER_AND_LOWER) + lower


@device
def convert(kind: int, power: int, out: NDArray[np.int64], first: int, past: int) -> None:
    """Numbers out[first:past] to the bits of the floats that they stand for."""
    low, high = np.uint64(first), np.uint64(past)
    if kind == DECIMAL and power == 0:
        for i in range(low, high):
            out[i] = np.int64(float_bits(float_of(out[i])))
    elif kind == DECIMAL:
        unit = POWERS[power]
        for i in range(low, high):
            out[i] = np.int64(float_bits(float_of(out[i]) / unit))
    elif kind == BINARY:
        unit = scale(power)
        for i in range(low, high):
            out[i] = np.int64(float_bits(float_of(out[i]) * unit))
    else:
        for i in range(low, high):
            bits = np.uint64(out[i]) >> ONE | np.uint64(out[i]) << np.uint64(63)
            out[i] = np.int64(bits if bits < BOXED else NOT_BOXED)


@device
def decode_values(data: NDArray[np.uint8], at: int, end: int, count: int, low: int, high: int, out: NDArray[np.int64],
                  first: int, words: NDArray[np.uint64]) -> int:
    """Reads the values low:high of `count` to out[first + low : first + high], as bits, of which there are room for
    `count`; those before may be overwritten. None leads to a histogram. Returns the next byte, if these are all, or
    BAD. Behind `end`, data[] has 64 bytes more, zeros. `words` u64[VALUE_WORDS] is scratch."""
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
    strange, early = 0, 0
    if head & EXCEPTIONS != 0:
        at, strange, early = skip_exceptions(data, at, end, count, high, words)
        if at == BAD:
            return BAD
        low = 0
    if at > end:
        return BAD
    if count > strange:
        number, at = take_varint(data, at)
        base = unzigzag(number)
        divisor = np.int64(1)
        if head & DIVISOR != 0:
            number, at = take_varint(data, at)
            divisor = np.int64(number)
        if at > end:
            return BAD
        wanted = high - early
        if wanted > 0:
            floats = (prediction == DELTA or prediction == DELTA_OF_DELTA) and kind == DECIMAL and power == 0
            at = take_column(data, at, end, prediction, count - strange, wanted, base, divisor, floats, out, first, low,
                             words[:FRAME_WORDS].view(np.int64))
            if at == BAD:
                return BAD
            if not floats:
                convert(kind, power, out, first + low, first + wanted)
    if strange > 0:
        expand(high, early, out, first, words)
    return at
