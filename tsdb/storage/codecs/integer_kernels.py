# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""Columns of integers in few bits: a prediction, and what it misses by, in frames of 256.

What is left of each number beside its prediction stands bit-packed from the frame's least number on; or as Rice codes
(Rice and Plaunt, 1971) of its distance from a middle one, low bits and quotients apart, so that they are read without
branches; or, where most are alike, as the places and distances of the others. All arithmetic is modulo 2^64, so that
every column can be written. docs/formats.md has the bytes, under "Dense chunks".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.registry import device
from tsdb.kernels.varint_kernels import put_varint, zigzag
from tsdb.storage.codecs.bit_kernels import (
    ESCAPE,
    ONE,
    bit_length,
    code_bits,
    minus,
    plus,
    product,
    put,
    put_code,
    varint_bits,
)

CONSTANT, PLAIN, DELTA, DELTA_OF_DELTA, LINE = range(5)
"""Predictions: the first number; 0; the number before; as much more again; a step further each time."""
PACKED, RICE, SPARSE = range(3)
"""Forms of a frame."""
FRAME = 256
"""Numbers of a frame."""
FRAME_BYTES = FRAME * 12 + 64
"""That a frame can take, and what is written ahead."""
SAMPLED = 15
BAD = -1
"""Instead of a place: the bytes are no such column."""

MOST_LOW = 57
"""Low bits of a Rice code: as many as one unaligned load has at least."""


@device
def middle(left: NDArray[np.int64], count: int, sample: NDArray[np.int64]) -> int:
    """About the median of left[:count]: that of SAMPLED of them, or of all. `sample` i64[SAMPLED] is scratch."""
    size = min(count, SAMPLED)
    for i in range(size):
        number = left[i * count // size]
        k = i
        while k > 0 and sample[k - 1] > number:
            sample[k] = sample[k - 1]
            k -= 1
        sample[k] = number
    return sample[size // 2]


@device
def rice_bits(left: NDArray[np.int64], count: int, center: int) -> tuple[int, int]:
    """(bits of low parts and quotients, low bits of each) that left[:count] take around `center`, the best of them."""
    total = np.int64(0)
    for i in range(count):
        total += bit_length(zigzag(minus(left[i], center)))
    first = max(min(np.int64(total // count), MOST_LOW) - 2, 0)
    best, low = np.int64(1) << 60, np.int64(0)
    a, b, c = np.int64(0), np.int64(0), np.int64(0)
    shift = np.uint64(first)
    escape = np.uint64(ESCAPE)
    for i in range(count):
        number = zigzag(minus(left[i], center))
        quotient = number >> shift
        if quotient < escape:
            a += np.int64(quotient)
            b += np.int64(quotient >> ONE)
            c += np.int64(quotient >> np.uint64(2))
        else:
            whole = ESCAPE + 6 + bit_length(number)
            a += whole
            quotient >>= ONE
            b += np.int64(quotient) if quotient < escape else whole
            quotient >>= ONE
            c += np.int64(quotient) if quotient < escape else whole
    for k in range(3):
        bits = (a if k == 0 else b if k == 1 else c) + count * (first + k + 1)
        if bits < best:
            best, low = bits, first + k
    return best, low


@device
def rice_low(total: int, count: int) -> int:
    """Low bits for numbers with this sum of bit lengths."""
    return max(min(np.int64(total // max(count, 1)), MOST_LOW) - 1, 0)


@device
def sparse_bits(left: NDArray[np.int64], count: int, center: int) -> tuple[int, int, int, int]:
    """(bits, how many differ from `center`, low bits of the gaps before them and of their distances)."""
    many, gaps, sizes = np.int64(0), np.int64(0), np.int64(0)
    gap = np.int64(0)
    for i in range(count):
        if left[i] == center:
            gap += 1
        else:
            many += 1
            gaps += bit_length(np.uint64(gap))
            sizes += bit_length(zigzag(minus(left[i], center)) - ONE)
            gap = 0
    gap_low, size_low = rice_low(gaps, many), rice_low(sizes, many)
    bits = np.int64(8) + varint_bits(np.uint64(many))
    gap = 0
    for i in range(count):
        if left[i] == center:
            gap += 1
        else:
            bits += code_bits(np.uint64(gap), gap_low) + code_bits(zigzag(minus(left[i], center)) - ONE, size_low)
            gap = 0
    return bits, many, gap_low, size_low


@device
def put_frame(left: NDArray[np.int64], count: int, out: NDArray[np.uint8], at: int, sample: NDArray[np.int64]) -> int:
    """Writes a frame of left[:count] (1 … FRAME) at byte `at`, in the form that takes least; the next byte. Up to
    FRAME_BYTES are written."""
    least, most = left[0], left[0]
    for i in range(1, count):
        least = min(least, left[i])
        most = max(most, left[i])
    width = bit_length(np.uint64(most) - np.uint64(least))
    if width == 63:
        width = 64
    reference = least
    bits = varint_bits(zigzag(least)) + width * count
    form, low = PACKED, min(width, 63)
    many, size_low = np.int64(0), np.int64(0)
    if width > 0:
        center = middle(left, count, sample)
        distance = np.int64(0)
        for i in range(count):
            many += left[i] != center
            distance += bit_length(zigzag(minus(left[i], center)))
        # The mean of those that are not far away.
        far = ONE << np.uint64(min(distance // count + 3, 61))
        sum_near, near = np.int64(0), np.int64(0)
        for i in range(count):
            beside = minus(left[i], center)
            if np.uint64(beside) + far <= far + far:
                sum_near += beside
                near += 1
        mean = center
        if near > 0:
            mean = plus(mean, np.int64(np.floor(np.float64(sum_near) / np.float64(near) + 0.5)))
        for k in range(2):
            around = center if k == 0 else mean
            if k == 0 or mean != center:
                rice, rice_k = rice_bits(left, count, around)
                rice += varint_bits(zigzag(around))
                if rice < bits:
                    form, bits, low, reference = RICE, rice, rice_k, around
        if many * 2 < count:
            sparse, found, gap_low, sparse_low = sparse_bits(left, count, center)
            sparse += varint_bits(zigzag(center))
            if sparse < bits:
                form, bits, low, reference = SPARSE, sparse, gap_low, center
                many = found
                size_low = sparse_low
    out[at] = np.uint8(form << 6 | low)
    at = put_varint(out, at + 1, zigzag(reference))
    if form == SPARSE:
        at = put_varint(out, at, np.uint64(many))
        out[at] = np.uint8(size_low)
        bit = (at + 1) * 8
        gap = np.int64(0)
        for i in range(count):
            if left[i] == reference:
                gap += 1
            else:
                bit = put_code(out, bit, np.uint64(gap), low)
                bit = put_code(out, bit, zigzag(minus(left[i], reference)) - ONE, size_low)
                gap = 0
        return (bit + 7) >> 3
    bit = at * 8
    if form == PACKED:
        if width > 0:
            for i in range(count):
                bit = put(out, bit, np.uint64(left[i]) - np.uint64(reference), width)
        return (bit + 7) >> 3
    if low > 0:
        mask = (ONE << np.uint64(low)) - ONE
        for i in range(count):
            bit = put(out, bit, zigzag(minus(left[i], reference)) & mask, low)
    for i in range(count):
        number = zigzag(minus(left[i], reference))
        quotient = number >> np.uint64(low)
        if quotient < np.uint64(ESCAPE):
            bit = put(out, bit, ONE << quotient, np.int64(quotient) + 1)
        else:
            bit = put(out, bit, ONE << np.uint64(ESCAPE), ESCAPE + 1)
            length = bit_length(number)
            bit = put(out, bit, np.uint64(length - 1), 6)
            bit = put(out, bit, number, length)
    return (bit + 7) >> 3


@device
def slope_of(numbers: NDArray[np.int64], count: int) -> int:
    """The step of the line from the first to the last of numbers[:count]."""
    return np.int64(np.floor(np.float64(numbers[count - 1] - numbers[0]) / np.float64(count - 1) + 0.5))


@device
def residues(numbers: NDArray[np.int64], first: int, count: int, prediction: int, slope: int,
             left: NDArray[np.int64]) -> None:
    """What `prediction` leaves of numbers[first : first + count] to left[:count]. `first` is at least 1, and numbers[0]
    is 0."""
    if prediction == DELTA:
        for i in range(count):
            left[i] = minus(numbers[first + i], numbers[first + i - 1])
    elif prediction == DELTA_OF_DELTA:
        before = minus(numbers[first - 1], numbers[first - 2]) if first > 1 else np.int64(0)
        for i in range(count):
            delta = minus(numbers[first + i], numbers[first + i - 1])
            left[i] = minus(delta, before)
            before = delta
    elif prediction == LINE:
        for i in range(count):
            left[i] = minus(numbers[first + i], product(slope, first + i))
    else:
        for i in range(count):
            left[i] = numbers[first + i]


@device
def choose(numbers: NDArray[np.int64], count: int, left: NDArray[np.int64], sample: NDArray[np.int64],
           ) -> tuple[int, int]:
    """(the best prediction for numbers[:count], of which the first is 0; about how many bits they take)."""
    best, least = CONSTANT, np.int64(0)
    changes = False
    for i in range(1, count):
        if numbers[i] != 0:
            changes = True
            break
    if not changes:
        return best, least
    slope = slope_of(numbers, count)
    least = np.int64(1) << 62
    for prediction in range(PLAIN, LINE + 1):
        if prediction == LINE and slope == 0:
            continue
        bits = np.int64(0)
        first = 1
        while first < count and bits < least:
            size = min(count - first, FRAME)
            residues(numbers, first, size, prediction, slope, left)
            center = middle(left, size, sample)
            for i in range(size):
                bits += bit_length(zigzag(minus(left[i], center)))
            first += size
        if bits < least:
            best, least = prediction, bits
    return best, least


@device
def put_column(numbers: NDArray[np.int64], count: int, prediction: int, out: NDArray[np.uint8], at: int,
               left: NDArray[np.int64], sample: NDArray[np.int64]) -> int:
    """Writes numbers[1:count], of which the first is 0, by `prediction` at byte `at`; the next byte. For each frame
    FRAME_BYTES must be free, and 16 more. `left` i64[FRAME] and `sample` i64[SAMPLED] are scratch."""
    if prediction == CONSTANT:
        return at
    slope = np.int64(0)
    if prediction == LINE:
        slope = slope_of(numbers, count)
        at = put_varint(out, at, zigzag(slope))
    first = 1
    while first < count:
        size = min(count - first, FRAME)
        residues(numbers, first, size, prediction, slope, left)
        at = put_frame(left, size, out, at, sample)
        first += size
    return at
