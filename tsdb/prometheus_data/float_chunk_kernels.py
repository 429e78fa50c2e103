# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""Chunks of floats: XOR, and XOR2 of newer versions, which has start times as well.

tsdb/docs/format/chunks.md, tsdb/chunkenc/xor.go and xor2.go of Prometheus. A chunk's data begin at `start` of an array
in which bit_kernels.PADDING bytes can be read behind `end`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import leading_zeros
from tsdb.kernels.registry import device
from tsdb.kernels.varint_kernels import get_varint, put_varint, unzigzag, zigzag
from tsdb.model.batch import STALE_NAN
from tsdb.model.native_histograms import BOX, NORMAL_NAN
from tsdb.prometheus_data.bit_kernels import (
    NO_BORDERS,
    fits,
    load_big,
    put_bits,
    put_xor,
    signed,
    take_bits,
    take_signed,
    take_xor,
    window,
)

BOX_BITS, NAN_BITS, STALE_BITS = np.uint64(BOX), np.uint64(NORMAL_NAN), np.uint64(STALE_NAN)
CHANGES = np.array([0, 14, 17, 20, 64])
"""Bits of a change of the step between two times, by the ones before it."""
XOR2_CHANGES = np.array([0, 0, 13, 20, 64, 0])
LATEST_START = 0x7F


@device
def count_of(data: NDArray[np.uint8], start: int) -> int:
    """The number of samples of a chunk, where there are two bytes."""
    return np.int64(data[start]) << 8 | np.int64(data[start + 1])


@device
def put_count(out: NDArray[np.uint8], start: int, count: int) -> None:
    out[start] = np.uint8(count >> 8)
    out[start + 1] = np.uint8(count & 0xFF)


@device
def decode_xor(data: NDArray[np.uint8], start: int, end: int, out_ts: NDArray[np.int64],
               out_values: NDArray[np.uint64], position: int) -> int:
    """Writes all samples from `position` on, where there is room; the next position, or -1 where it is no chunk."""
    count = count_of(data, start)
    ts, step = np.int64(0), np.uint64(0)
    value, leading, trailing = np.uint64(0), np.int64(NO_BORDERS), np.int64(0)
    bit, limit = np.int64(start + 2) * 8, np.int64(end) * 8
    for i in range(count):
        if i < 2:
            number, at = get_varint(data, bit >> 3, end)
            if at < 0:
                return np.int64(-1)
            bit = at * 8
            if i == 0:
                ts = unzigzag(number)
                value = load_big(data, at)
                bit += 64
            else:
                step = number
        else:
            ones = min(leading_zeros(~window(data, bit)), np.int64(4))
            bit += min(ones + 1, np.int64(4))
            width = CHANGES[ones]
            if width > 0:
                bits = take_bits(data, bit, width)
                step += bits if width == 64 else np.uint64(signed(bits, width))
                bit += width
        if i > 0:
            ts = np.int64(np.uint64(ts) + step)
            value, leading, trailing, bit = take_xor(data, bit, value, leading, trailing)
        if bit < 0 or bit > limit:
            return np.int64(-1)
        out_ts[position] = ts
        out_values[position] = value if value < BOX_BITS else NAN_BITS
        position += 1
    return position


@device
def encode_xor(ts: NDArray[np.int64], values: NDArray[np.uint64], first: int, past: int, out: NDArray[np.uint8],
               start: int) -> int:
    """Writes the samples first:past to out[start:], where there is room; the place behind."""
    put_count(out, start, past - first)
    at = put_varint(out, start + 2, zigzag(ts[first]))
    bit = put_bits(out, at * 8, values[first], 64)
    leading, trailing = np.int64(NO_BORDERS), np.int64(0)
    step = np.uint64(0)
    for i in range(first + 1, past):
        next_step = np.uint64(ts[i]) - np.uint64(ts[i - 1])
        change = np.int64(next_step - step)
        step = next_step
        if i == first + 1:
            bit = put_varint(out, bit >> 3, step) * 8
        elif change == 0:
            bit = put_bits(out, bit, np.uint64(0), 1)
        else:
            ones = 1
            while ones < 4 and not fits(change, CHANGES[ones]):
                ones += 1
            if ones == 4:
                bit = put_bits(out, put_bits(out, bit, np.uint64(15), 4), np.uint64(change), 64)
            else:
                width = CHANGES[ones]
                bit = put_bits(out, bit, (np.uint64(2) << np.uint64(ones)) - np.uint64(2), ones + 1)
                bit = put_bits(out, bit, np.uint64(change) & ((np.uint64(1) << np.uint64(width)) - np.uint64(1)), width)
        bit, leading, trailing = put_xor(out, bit, values[i], values[i - 1], leading, trailing)
    return (bit + 7) >> 3


@device
def decode_xor2(data: NDArray[np.uint8], start: int, end: int, out_ts: NDArray[np.int64],
                out_values: NDArray[np.uint64], out_starts: NDArray[np.int64], position: int) -> int:
    """As `decode_xor`, with start times (ms, 0: not known)."""
    count = count_of(data, start)
    starts = np.int64(data[start + 2])
    first_change = starts & LATEST_START
    ts, step, began, since = np.int64(0), np.uint64(0), np.int64(0), np.int64(0)
    value, leading, trailing = np.uint64(0), np.int64(NO_BORDERS), np.int64(0)
    bit, limit = np.int64(start + 3) * 8, np.int64(end) * 8
    for i in range(count):
        stale = False
        before = ts
        if i == 0:
            number, at = get_varint(data, bit >> 3, end)
            if at < 0 or at + 8 > end:
                return np.int64(-1)
            ts = unzigzag(number)
            value = load_big(data, at)
            stale = value == STALE_BITS
            if stale:
                value = np.uint64(0)
            bit = (at + 8) * 8
            if starts > LATEST_START:
                number, at = get_varint(data, at + 8, end)
                if at < 0:
                    return np.int64(-1)
                began = np.int64(np.uint64(ts) - np.uint64(unzigzag(number)))
                bit = at * 8
        else:
            changed, known_step = True, False
            if i == 1:
                step, at = get_varint(data, bit >> 3, end)
                if at < 0:
                    return np.int64(-1)
                bit = at * 8
            else:
                ones = min(leading_zeros(~window(data, bit)), np.int64(5))
                bit += min(ones + 1, np.int64(5))
                width = XOR2_CHANGES[ones]
                stale = ones == 5
                changed = ones > 0 and not stale
                known_step = ones == 1
                if width > 0:
                    bits = take_bits(data, bit, width)
                    bit += width
                    other = np.int64(bits)
                    if width < 64 and other >= np.int64(1) << (width - 1):
                        other -= np.int64(1) << width
                    step += np.uint64(other)
            ts = np.int64(np.uint64(ts) + step)
            if changed and not known_step and take_bits(data, bit, 3) == np.uint64(7):
                stale = True
                bit += 3
            elif changed:
                # The code of XOR, but for a zero within that of new borders, or without the one that says "changed"
                value, leading, trailing, bit = _take_changed(data, bit, value, leading, trailing, known_step)
        if bit >= 0 and 0 < first_change <= i:
            change, bit = take_signed(data, bit)
            since = change if i == first_change else np.int64(np.uint64(since) + np.uint64(change))
            began = np.int64(np.uint64(before) - np.uint64(since))
        if bit < 0 or bit > limit:
            return np.int64(-1)
        out_ts[position] = ts
        out_values[position] = STALE_BITS if stale else value if value < BOX_BITS else NAN_BITS
        out_starts[position] = began
        position += 1
    return position


@device
def _take_changed(data: NDArray[np.uint8], bit: int, value: int, leading: int, trailing: int, known: bool,
                  ) -> tuple[int, int, int, int]:
    """As `take_xor`, in XOR2's codes: 0 unchanged, 10 within the last borders, 110 new ones; where it is `known` that
    it has changed, 0 and 1."""
    if not known:
        if take_bits(data, bit, 1) == 0:
            return value, leading, trailing, bit + 1
        bit += 1
    fresh = take_bits(data, bit, 1) == 1
    bit += 1
    if fresh:
        bit += 0 if known else 1
        leading = np.int64(take_bits(data, bit, 5))
        width = np.int64(take_bits(data, bit + 5, 6))
        trailing = 64 - leading - (width if width else 64)
        if trailing < 0:
            return value, leading, trailing, np.int64(-1)
        bit += 11
    elif leading == NO_BORDERS:
        leading, trailing = np.int64(0), np.int64(0)
    width = 64 - leading - trailing
    return value ^ take_bits(data, bit, width) << np.uint64(trailing), leading, trailing, bit + width
