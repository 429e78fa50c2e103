# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""Reading frames of integers and the columns they make: see `integer_kernels`.

Several numbers are cut out of each word that is read, and the quotients of Rice codes that end in a byte come from a
table at once, so that little depends on what was read before. The steps are loops that LLVM makes vectors of: indices
are unsigned, because a signed one could be counted from the end.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.extending import intrinsic
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import float_bits, leading_zeros, load_u64, ones, store_u64, trailing_zeros
from tsdb.kernels.registry import device
from tsdb.kernels.varint_kernels import take_varint, unzigzag
from tsdb.storage.codecs.bit_kernels import ESCAPE, ONE, take, take_code
from tsdb.storage.codecs.integer_kernels import (
    BAD,
    CONSTANT,
    DELTA,
    DELTA_OF_DELTA,
    FRAME,
    LINE,
    MOST_LOW,
    PACKED,
    RICE,
    SPARSE,
)

LEFT_WORDS = FRAME + 8
ESCAPED_AT = LEFT_WORDS
QUOTIENTS_AT = ESCAPED_AT + 2 * FRAME
FRAME_WORDS = QUOTIENTS_AT + FRAME // 8 + 16
"""Of the scratch for a frame: what is left of its numbers; places, and numbers, of escaped ones; quotients, a byte
each."""

LOW56, LOW48 = np.uint64((1 << 56) - 1), np.uint64((1 << 48) - 1)
LOW_BITS, HIGH_BITS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
BYTE, THREE, FOUR, SEVEN, EIGHT = np.uint64(255), np.uint64(3), np.uint64(4), np.uint64(7), np.uint64(8)
NONE = np.uint64(0)


def _quotients() -> NDArray[np.uint64]:
    """u64[256]: for each byte the zeros before each of its ones, from the least significant on, a byte each."""
    table = np.zeros(256, np.uint64)
    for byte in range(256):
        found, zeros = 0, 0
        for bit in range(8):
            if byte >> bit & 1:
                table[byte] |= np.uint64(zeros << 8 * found)
                found, zeros = found + 1, 0
            else:
                zeros += 1
    return table


QUOTIENTS = _quotients()


@intrinsic  # type: ignore[untyped-decorator]
def _put_four(typingctx: Any, array: Any, index: Any, window: Any, width: Any, mask: Any) -> Any:
    """_put_four(array, index, window, width, mask): (window >> j * width) & mask, all u64, to array[index + j] for j
    from 0 to 3, as a vector. (Numba asks LLVM to make vectors of loops only.)"""
    if not isinstance(array, types.Array):
        return None
    u64 = types.uint64

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        four = ir.VectorType(ir.IntType(64), 4)
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), 4), [0] * 4)

        def each(value: Any) -> Any:
            one = builder.insert_element(ir.Constant(four, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
            return builder.shuffle_vector(one, ir.Constant(four, ir.Undefined), zeros)

        made = context.make_array(signature.args[0])(context, builder, args[0])
        pointer = builder.bitcast(builder.gep(made.data, [args[1]]), four.as_pointer())
        shifts = builder.mul(each(args[3]), ir.Constant(four, [0, 1, 2, 3]))
        builder.store(builder.and_(builder.lshr(each(args[2]), shifts), each(args[4])), pointer).align = 8
        return context.get_dummy_value()

    return types.void(array, u64, u64, u64, u64), codegen


@device
def take_bits(data: NDArray[np.uint8], bit: int, width: int, count: int, left: NDArray[np.int64]) -> None:
    """`count` numbers of `width` (0 to 64) bits from bit `bit` on to left[:count]; up to seven more are written."""
    at, shift, mask = np.uint64(bit), np.uint64(width), (ONE << np.uint64(width)) - ONE
    if width <= 7:
        for i in range(NONE, np.uint64(count), EIGHT):
            window = load_u64(data, np.int64(at >> THREE)) >> (at & SEVEN)
            _put_four(left, i, window, shift, mask)
            _put_four(left, i + FOUR, window >> FOUR * shift, shift, mask)
            at += EIGHT * shift
    elif width <= 14:
        for i in range(NONE, np.uint64(count), FOUR):
            window = load_u64(data, np.int64(at >> THREE)) >> (at & SEVEN)
            _put_four(left, i, window, shift, mask)
            at += FOUR * shift
    elif width <= 57:
        for i in range(np.uint64(count)):
            left[i] = np.int64(load_u64(data, np.int64(at >> THREE)) >> (at & SEVEN) & mask)
            at += shift
    else:
        for i in range(count):
            left[np.uint64(i)] = np.int64(take(data, bit + i * width, width))


@device
def take_quotients(data: NDArray[np.uint8], base: int, limit: int, count: int, whole: bool, left: NDArray[np.int64],
                   ) -> tuple[int, int]:
    """Reads `count` quotients from bit `base` on to the scratch: (the next bit, if the frame is read `whole`, else one
    further on or before; how many are escaped); (BAD, 0)."""
    quotients = left[QUOTIENTS_AT:].view(np.uint8)
    done, wanted, escaped = NONE, np.uint64(count), NONE
    while done < wanted:
        if base > limit:
            return BAD, 0
        window = load_u64(data, base >> 3) >> np.uint64(base & 7) & LOW56
        empty = ((window | ~LOW48) - LOW_BITS) & ~window & HIGH_BITS & LOW48  # the lowest one: a byte of zeros
        if empty == NONE:
            before, at = done, base
            carry = NONE
            for k in range(7):
                byte = window >> np.uint64(8 * k) & BYTE
                store_u64(quotients, np.int64(done), QUOTIENTS[byte] + carry)
                done += np.uint64(ones(byte))
                carry = np.uint64(leading_zeros(byte)) - np.uint64(56)
            base += 64 - leading_zeros(window)
            if done > wanted and whole:
                for _ in range(wanted - before - ONE):
                    window &= window - ONE
                base = at + trailing_zeros(window) + 1
            continue
        good = np.uint64(trailing_zeros(empty)) >> THREE
        if good > NONE:
            carry = NONE
            window &= (ONE << (good << THREE)) - ONE
            if np.uint64(ones(window)) <= wanted - done:
                for k in range(good):
                    byte = window >> (np.uint64(k) << THREE) & BYTE
                    store_u64(quotients, np.int64(done), QUOTIENTS[byte] + carry)
                    done += np.uint64(ones(byte))
                    carry = np.uint64(leading_zeros(byte)) - np.uint64(56)
                base += 64 - leading_zeros(window)
                continue
        if window == NONE:
            return BAD, 0
        zeros = trailing_zeros(window)
        base += zeros + 1
        quotients[done] = np.uint8(zeros)
        if zeros >= ESCAPE:
            if base > limit:
                return BAD, 0
            length = np.int64(take(data, base, 6)) + 1
            left[np.uint64(ESCAPED_AT) + escaped] = np.int64(done)
            left[np.uint64(ESCAPED_AT + FRAME) + escaped] = np.int64(take(data, base + 6, length))
            base += 6 + length
            escaped += ONE
        done += ONE
    return (base, np.int64(escaped)) if base <= limit or not whole else (BAD, 0)


@device
def take_rice(data: NDArray[np.uint8], bit: int, low: int, reference: int, count: int, escaped: int,
              left: NDArray[np.int64]) -> None:
    """Numbers of which the low bits stand from bit `bit` on, and the quotients are in the scratch, to left[:count]."""
    quotients = left[QUOTIENTS_AT:].view(np.uint8)
    shift, around = np.uint64(low), np.uint64(reference)
    if low > 0:
        take_bits(data, bit, low, count, left)
        for i in range(np.uint64(count)):
            number = np.uint64(left[i]) | np.uint64(quotients[i]) << shift
            left[i] = np.int64(((number >> ONE) ^ (NONE - (number & ONE))) + around)
    else:
        for i in range(np.uint64(count)):
            number = np.uint64(quotients[i])
            left[i] = np.int64(((number >> ONE) ^ (NONE - (number & ONE))) + around)
    for k in range(np.uint64(escaped)):
        number = np.uint64(left[np.uint64(ESCAPED_AT + FRAME) + k])
        left[np.uint64(left[np.uint64(ESCAPED_AT) + k])] = np.int64(np.uint64(unzigzag(number)) + around)


@device
def take_sparse(data: NDArray[np.uint8], at: int, end: int, low: int, reference: int, count: int,
                left: NDArray[np.int64]) -> int:
    """A frame in which most are `reference`, behind that, to left[:count]; the next byte, or BAD."""
    if at > end:
        return BAD
    found, at = take_varint(data, at)
    if found > np.uint64(count) or at >= end:
        return BAD
    size_low = np.int64(data[at]) & 63
    bit, limit = (at + 1) * 8, end * 8
    for i in range(np.uint64(count)):
        left[i] = reference
    place, past = NONE, np.uint64(count)
    gap_shift, size_shift = np.uint64(low), np.uint64(size_low)
    gap_mask, size_mask = (ONE << gap_shift) - ONE, (ONE << size_shift) - ONE
    for _ in range(np.int64(found)):
        if bit > limit:
            return BAD
        window = load_u64(data, bit >> 3) >> np.uint64(bit & 7)
        zeros = trailing_zeros(window)
        behind = zeros + 1 + low
        rest = window >> np.uint64(behind & 63)
        more = trailing_zeros(rest)
        length = behind + more + 1 + size_low
        if length <= 57 and zeros < ESCAPE and more < ESCAPE:  # both codes are in the window
            gap = np.uint64(zeros) << gap_shift | window >> np.uint64(zeros + 1) & gap_mask
            number = np.uint64(more) << size_shift | rest >> np.uint64(more + 1) & size_mask
            bit += length
        else:
            gap, bit = take_code(data, bit, low)
            if bit > limit:
                return BAD
            number, bit = take_code(data, bit, size_low)
        if gap >= past - place:
            return BAD
        place += gap
        left[place] = np.int64(np.uint64(reference) + np.uint64(unzigzag(number + ONE)))
        place += ONE
    return (bit + 7) >> 3 if bit <= limit else BAD


@device
def take_frame(data: NDArray[np.uint8], at: int, end: int, count: int, wanted: int, left: NDArray[np.int64]) -> int:
    """Reads at least the first `wanted` of the `count` numbers of a frame at byte `at` to left[:wanted]. Returns the
    next byte, if these are all, or BAD. Nothing is read further than 64 bytes behind `end`, which is at least `at`."""
    form, low = np.int64(data[at]) >> 6, np.int64(data[at]) & 63
    coded, at = take_varint(data, at + 1)
    reference = unzigzag(coded)
    bit, limit = at * 8, end * 8
    if form == RICE:
        quotients_at = bit + count * low
        if quotients_at > limit or low > MOST_LOW:
            return BAD
        base, escaped = take_quotients(data, quotients_at, limit, wanted, wanted == count, left)
        if base == BAD:
            return BAD
        take_rice(data, bit, low, reference, wanted, escaped, left)
        return (base + 7) >> 3
    if form == PACKED:
        width = np.int64(64) if low == 63 else low
        if bit + count * width > limit:
            return BAD
        take_bits(data, bit, width, wanted, left)
        for i in range(np.uint64(wanted)):
            left[i] = np.int64(np.uint64(left[i]) + np.uint64(reference))
        return (bit + count * width + 7) >> 3
    if form != SPARSE:
        return BAD
    return take_sparse(data, at, end, low, reference, count, left)


@device
def take_column(data: NDArray[np.uint8], at: int, end: int, prediction: int, count: int, needed: int, base: int,
                divisor: int, floats: bool, out: NDArray[np.int64], first: int, low: int, left: NDArray[np.int64],
                ) -> int:
    """Reads the first `needed` (at least 1) of `count` numbers, of which the first is 0: base + divisor * number to
    `out` from `first` on; the first `low` of these may be left unwritten. The next byte, if these are all, or BAD. Of
    `data` there are 64 bytes more behind `end`.
    `floats`: as the bits of floats, where they are sums (DELTA, DELTA_OF_DELTA). `left` i64[FRAME_WORDS] is scratch."""
    number, factor = np.uint64(base), np.uint64(divisor)
    place, past = np.uint64(first), np.uint64(first + needed)
    if prediction == CONSTANT:
        for i in range(place, past):
            out[i] = base
        return at
    out[place] = as_float(number) if floats else base
    place += ONE
    slope = NONE
    if prediction == LINE:
        coded, at = take_varint(data, at)
        slope = np.uint64(unzigzag(coded)) * factor
    delta = NONE
    done = 1
    while done < needed:
        size = min(count - done, FRAME)
        wanted = min(needed - done, size)
        if at > end:
            return BAD
        at = take_frame(data, at, end, size, wanted, left)
        if at == BAD:
            return BAD
        n = np.uint64(wanted)
        skipped = np.uint64(min(max(low - done, 0), wanted))
        if prediction == DELTA:
            total = NONE
            for i in range(skipped):
                total += np.uint64(left[i])
            number += total * factor
            for i in range(skipped, n):
                number += np.uint64(left[i]) * factor
                out[place + i] = as_float(number) if floats else np.int64(number)
        elif prediction == DELTA_OF_DELTA:
            for i in range(skipped):
                delta += np.uint64(left[i]) * factor
                number += delta
            for i in range(skipped, n):
                delta += np.uint64(left[i]) * factor
                number += delta
                out[place + i] = as_float(number) if floats else np.int64(number)
        else:
            number += slope * skipped
            for i in range(skipped, n):
                number += slope
                out[place + i] = np.int64(number + np.uint64(left[i]) * factor)
        place += n
        done += wanted
    return at


@device
def as_float(number: int) -> int:
    """Bits of the float next to a u64 that stands for an i64."""
    return np.int64(float_bits(np.float64(np.int64(number))))
