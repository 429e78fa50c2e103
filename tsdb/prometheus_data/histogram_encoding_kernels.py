# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""Chunks of native histograms: encoding from the bytes in a payload (`tsdb.model.native_histograms`).

All histograms of a chunk have one layout, and within a chunk no counter begins anew: that is how Prometheus tells
resets, so that they are looked for here, and a chunk that begins with one says so. The last reset hints of a source
become those: NOT_RESET within a chunk, and UNKNOWN where one begins otherwise. Gauges have chunks of their own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.byte_kernels import equal_bytes
from tsdb.kernels.intrinsics import bits_float, float_bits, load_u64
from tsdb.kernels.registry import device
from tsdb.kernels.varint_kernels import take_varint, unzigzag
from tsdb.model.native_histograms import CUSTOM_SCHEMA, FLOAT_FLAG, HEADER_BYTES, HINT_SHIFT, OFFSET_MASK
from tsdb.prometheus_data.bit_kernels import (
    NO_BORDERS,
    PADDING,
    put_bits,
    put_signed,
    put_unsigned,
    put_xor,
)
from tsdb.prometheus_data.float_chunk_kernels import put_count
from tsdb.prometheus_data.histogram_chunk_kernels import GAUGE_HINT, LAYOUT_GAUGE, LAYOUT_RESET, RESET_HINT

OTHER_LAYOUT, CONTINUES, RESET = range(3)
LAYOUT_NOT_RESET = 1
MOST_SAMPLES, FULL_BYTES, FEW_SAMPLES = 120, 1024, 10
"""Of a chunk; it ends at FULL_BYTES where it has FEW_SAMPLES, as Prometheus'."""
SHORT_SCRATCH, SHORT_WORK = -1, -2
PLACE_MASK = np.uint64(OFFSET_MASK)
WORK_ROWS = 3


@device
def place_of(value: int) -> int:
    """Where in the payload a boxed value (u64) leads."""
    return np.int64(value & PLACE_MASK)


@device
def layout_of(payload: NDArray[np.uint8], at: int) -> tuple[int, int, int]:
    """(positive buckets, negative buckets, place of the first) of the histogram at a place."""
    place = at + HEADER_BYTES
    positive, negative = np.int64(0), np.int64(0)
    for side in range(2):
        number, place = take_varint(payload, place)
        for _ in range(np.int64(number)):
            number, place = take_varint(payload, place)
            number, place = take_varint(payload, place)
            if side == 0:
                positive += np.int64(number)
            else:
                negative += np.int64(number)
    number, place = take_varint(payload, place)
    return positive, negative, place + 8 * np.int64(number)


@device
def follows(payload: NDArray[np.uint8], before: int, at: int) -> int:
    """CONTINUES where the histogram at `at` can stand behind the one at `before` in a chunk; RESET where its counter
    began anew, OTHER_LAYOUT where it is not known."""
    floats = payload[at + 4] & np.uint8(FLOAT_FLAG) != 0
    hint, hint_before = np.int64(payload[at + 4]) >> HINT_SHIFT & 3, np.int64(payload[before + 4]) >> HINT_SHIFT & 3
    if (hint == GAUGE_HINT) != (hint_before == GAUGE_HINT):
        return np.int64(OTHER_LAYOUT)
    if hint == RESET_HINT:
        return np.int64(RESET)
    if ((payload[at + 4] ^ payload[before + 4]) & np.uint8(FLOAT_FLAG) != 0 or payload[at + 5] != payload[before + 5]
            or load_u64(payload, at + 8) != load_u64(payload, before + 8)):
        return np.int64(OTHER_LAYOUT)
    positive, negative, place = layout_of(payload, at)
    positive_before, negative_before, place_before = layout_of(payload, before)
    if (positive != positive_before or negative != negative_before or place - at != place_before - before
            or not equal_bytes(payload, at + HEADER_BYTES, payload, before + HEADER_BYTES, place - at - HEADER_BYTES)):
        return np.int64(OTHER_LAYOUT)
    if hint == GAUGE_HINT:
        return np.int64(CONTINUES)
    for field in range(24, 40, 8):  # count, zero count
        number, number_before = load_u64(payload, at + field), load_u64(payload, before + field)
        if (bits_float(number) < bits_float(number_before)) if floats else number < number_before:
            return np.int64(RESET)
    total, total_before = np.int64(0), np.int64(0)
    for k in range(positive + negative):
        if floats:
            if bits_float(load_u64(payload, place + 8 * k)) < bits_float(load_u64(payload, place_before + 8 * k)):
                return np.int64(RESET)
            continue
        if k == positive:
            total, total_before = np.int64(0), np.int64(0)
        code, place = take_varint(payload, place)
        total += unzigzag(code)
        code, place_before = take_varint(payload, place_before)
        total_before += unzigzag(code)
        if total < total_before:
            return np.int64(RESET)
    return np.int64(CONTINUES)


@device
def put_layout(payload: NDArray[np.uint8], at: int, out: NDArray[np.uint8]) -> int:
    """Writes the layout of a histogram to out[3:]; the next bit."""
    bit = np.int64(24)
    threshold = load_u64(payload, at + 8)
    exponent = np.int64(threshold >> np.uint64(52)) - 779
    if threshold << np.uint64(1) == 0:
        bit = put_bits(out, bit, np.uint64(0), 8)
    elif threshold << np.uint64(12) == 0 and 1 <= exponent <= 254:
        bit = put_bits(out, bit, np.uint64(exponent), 8)
    else:
        bit = put_bits(out, put_bits(out, bit, np.uint64(255), 8), threshold, 64)
    schema = np.int64(payload[at + 5])
    if schema > 127:
        schema -= 256
    bit = put_signed(out, bit, schema)
    place = at + HEADER_BYTES
    for _ in range(2):
        number, place = take_varint(payload, place)
        bit = put_unsigned(out, bit, number)
        for _ in range(np.int64(number)):
            offset, place = take_varint(payload, place)
            number, place = take_varint(payload, place)
            bit = put_unsigned(out, bit, number)
            bit = put_signed(out, bit, unzigzag(offset))
    if schema == CUSTOM_SCHEMA:
        number, place = take_varint(payload, place)
        bit = put_unsigned(out, bit, number)
        for _ in range(np.int64(number)):
            bound = load_u64(payload, place)
            place += 8
            scaled = bits_float(bound) * 1000.0
            if scaled >= 0.0 and scaled <= 33554430.0 and float_bits(np.floor(scaled + 0.5) / 1000.0) == bound:
                bit = put_unsigned(out, bit, np.uint64(np.floor(scaled + 0.5)) + np.uint64(1))
            else:
                bit = put_bits(out, put_bits(out, bit, np.uint64(0), 1), bound, 64)
    return bit


@device
def encode_histograms(ts: NDArray[np.int64], values: NDArray[np.uint64], payload: NDArray[np.uint8], begin: int,
                      first: int, past: int, out: NDArray[np.uint8], work: NDArray[np.int64]) -> tuple[int, int]:
    """Writes a chunk with the histogram `first` and those behind it, up to `past`, that can stand in it, to `out`; the
    samples of its series begin at `begin`. (Samples, bytes); the former SHORT_SCRATCH or SHORT_WORK where `out`, or
    `work` i64[WORK_ROWS, buckets], is too short for one."""
    at = place_of(values[first])
    floats = payload[at + 4] & np.uint8(FLOAT_FLAG) != 0
    hint = np.int64(payload[at + 4]) >> HINT_SHIFT & 3
    positive, negative, place = layout_of(payload, at)
    buckets = positive + negative
    if buckets > work.shape[1]:
        return np.int64(SHORT_WORK), np.int64(0)
    most = 11 * (buckets + 8) + PADDING
    if 4 * (place - at) * 8 + most > out.size:
        return np.int64(SHORT_SCRATCH), np.int64(0)
    kind = np.int64(0)
    if hint == GAUGE_HINT:
        kind = np.int64(LAYOUT_GAUGE)
    elif hint == RESET_HINT:
        kind = np.int64(LAYOUT_RESET)
    elif first > begin and values[first - 1] >> np.uint64(50) == np.uint64(0x3FFF):
        found = follows(payload, place_of(values[first - 1]), at)
        kind = np.int64(LAYOUT_RESET if found == RESET else LAYOUT_NOT_RESET if found == CONTINUES else 0)
    out[2] = np.uint8(kind << 6)
    bit = put_layout(payload, at, out)
    step, count_step, zero_step = np.int64(0), np.int64(0), np.int64(0)
    total, count, zero = np.uint64(0), np.uint64(0), np.uint64(0)
    lead, trail = np.int64(NO_BORDERS), np.int64(0)
    count_lead, count_trail, zero_lead, zero_trail = np.int64(NO_BORDERS), np.int64(0), np.int64(NO_BORDERS), \
        np.int64(0)
    done = 0
    for i in range(first, min(past, first + MOST_SAMPLES)):
        next_at = place_of(values[i])
        if i > first:
            if (bit >> 3) + most > out.size or (bit >> 3 > FULL_BYTES and done >= FEW_SAMPLES):
                break
            if values[i] >> np.uint64(50) != np.uint64(0x3FFF) or follows(payload, at, next_at) != CONTINUES:
                break
        at = next_at
        _, _, place = layout_of(payload, at)
        next_total, next_count = load_u64(payload, at + 16), load_u64(payload, at + 24)
        next_zero = load_u64(payload, at + 32)
        if i == first:
            bit = put_signed(out, bit, ts[i])
            if floats:
                bit = put_bits(out, put_bits(out, bit, next_count, 64), next_zero, 64)
            else:
                bit = put_unsigned(out, put_unsigned(out, bit, next_count), next_zero)
            bit = put_bits(out, bit, next_total, 64)
        else:
            next_step = np.int64(np.uint64(ts[i]) - np.uint64(ts[i - 1]))
            bit = put_signed(out, bit, np.int64(np.uint64(next_step) - np.uint64(step)))
            step = next_step
            if floats:
                bit, count_lead, count_trail = put_xor(out, bit, next_count, count, count_lead, count_trail)
                bit, zero_lead, zero_trail = put_xor(out, bit, next_zero, zero, zero_lead, zero_trail)
            else:
                next_step = np.int64(next_count - count)
                bit = put_signed(out, bit, np.int64(np.uint64(next_step) - np.uint64(count_step)))
                count_step = next_step
                next_step = np.int64(next_zero - zero)
                bit = put_signed(out, bit, np.int64(np.uint64(next_step) - np.uint64(zero_step)))
                zero_step = next_step
            bit, lead, trail = put_xor(out, bit, next_total, total, lead, trail)
        total, count, zero = next_total, next_count, next_zero
        for k in range(buckets):
            if floats:
                number = load_u64(payload, place + 8 * k)
                if i == first:
                    work[1, k], work[2, k] = NO_BORDERS, 0
                    bit = put_bits(out, bit, number, 64)
                else:
                    bit, work[1, k], work[2, k] = put_xor(out, bit, number, np.uint64(work[0, k]), work[1, k],
                                                          work[2, k])
                work[0, k] = np.int64(number)
            else:
                code, place = take_varint(payload, place)
                change = unzigzag(code)
                if i == first:
                    work[1, k] = 0
                    bit = put_signed(out, bit, change)
                else:
                    next_change = np.int64(np.uint64(change) - np.uint64(work[0, k]))
                    bit = put_signed(out, bit, np.int64(np.uint64(next_change) - np.uint64(work[1, k])))
                    work[1, k] = next_change
                work[0, k] = change
        done += 1
    put_count(out, 0, done)
    return np.int64(done), (bit + 7) >> 3
