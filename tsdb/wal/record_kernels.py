"""Columns of WAL records to bytes and back. The layout: docs/formats.md, "WAL records"."""

# mypy: disable-error-code="arg-type,assignment,operator,no-any-return,call-overload,return-value"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import bits_float, float_bits, leading_zeros, load_u32, load_u64, store_u64, trailing_zeros
from tsdb.kernels.registry import device, kernel
from tsdb.kernels.varint_kernels import get_varint, put_varint
from tsdb.model.native_histograms import BOX, HEADER_BYTES, OFFSET_MASK

MAX_VARINT = 10
RUN_BYTES = 2 * MAX_VARINT
"""The longest a run can be: two varints."""

POWERS = np.array([1.0, 1e2, 1e3, 1e9])
"""Decimal places that values have: counters have none, CPU seconds two, durations three or, from Go, nine."""
BITS = 4
STALE = np.uint64(0x7FF0000000000002)
STALE_CONTROL = np.uint8(0xFF)
BOXED = np.uint64(BOX)
MASK = np.uint64(OFFSET_MASK)
HISTOGRAM_CONTROL = np.uint8(0xFE)
SIZE_BYTES = 4
"""Before the histograms of a record: how many bytes they have."""
EXACT = 9007199254740992.0  # 2 ** 53
NEGATIVE_ZERO = np.uint64(1 << 63)


@device
def put_runs(values: NDArray[np.uint64], step: int, out: NDArray[np.uint8], at: int) -> int:
    """Writes u64[n] as runs (varint length, zigzag varint of the difference from what `step` foretells)."""
    n = values.size
    expected = np.uint64(0)
    i = 0
    while i < n:
        start = i
        value = values[i]
        delta = np.int64(value - expected)
        expected = value + step
        i += 1
        while i < n and values[i] == expected:
            expected += step
            i += 1
        at = put_varint(out, at, np.uint64(i - start))
        at = put_varint(out, at, np.uint64((delta << np.int64(1)) ^ (delta >> np.int64(63))))
    return at


@device
def get_runs(data: NDArray[np.uint8], at: int, end: int, step: int, values: NDArray[np.uint64]) -> int:
    """Reads exactly values.size u64 back from data[at:end]. Returns the position behind them, -1 if malformed."""
    n = values.size
    expected = np.uint64(0)
    i = 0
    while i < n:
        run, at = get_varint(data, at, end)
        if at < 0 or run == np.uint64(0) or run > np.uint64(n - i):
            return -1
        zigzag, at = get_varint(data, at, end)
        if at < 0:
            return -1
        value = expected + ((zigzag >> np.uint64(1)) ^ (np.uint64(0) - (zigzag & np.uint64(1))))
        stop = i + np.int64(run)
        while i < stop:
            values[i] = value
            value += step
            i += 1
        expected = value
    return at


@device
def put_values(values: NDArray[np.uint64], histograms: bool, out: NDArray[np.uint8], at: int) -> int:
    """Writes u64[n] float bits: n control bytes (form << 4 | length), then `length` bytes of each value.

    Forms 0 to 3: an integer m (zigzag, leading zero bytes left out) that stands for m / POWERS[form], to the bit. Form
    4: the bits, trailing zero bytes left out. Boxed values have a control byte only, if there are `histograms`. Writes
    up to 7 bytes beyond what it returns.
    """
    n = values.size
    end = at + n
    for i in range(n):
        bits = values[i]
        value = bits_float(bits)
        word = bits
        form = BITS
        if abs(value) <= EXACT:
            rounded = np.rint(value)
            if rounded == value:
                if bits != NEGATIVE_ZERO:
                    form = 0
            else:
                for k in range(1, POWERS.size):
                    rounded = np.rint(value * POWERS[k])
                    if rounded / POWERS[k] == value and abs(rounded) <= EXACT and rounded != 0.0:
                        form = k
                        break
            if form != BITS:
                m = np.int64(rounded)
                word = np.uint64((m << np.int64(1)) ^ (m >> np.int64(63)))
        if form != BITS:
            length = (np.int64(71) - leading_zeros(word)) >> np.int64(3)
        elif bits == STALE:
            out[at + i] = STALE_CONTROL
            continue
        elif histograms and bits >= BOXED:
            out[at + i] = HISTOGRAM_CONTROL
            continue
        else:
            zeros = trailing_zeros(bits) >> np.int64(3)
            length = np.int64(8) - zeros
            word = bits >> np.uint64(8 * zeros)
        out[at + i] = np.uint8(form << 4 | length)
        store_u64(out, end, word)
        end += length
    return end


@device
def get_values(data: NDArray[np.uint8], at: int, histograms: int, values: NDArray[np.uint64]) -> int:
    """Reads values.size values back from data[at:]. Returns the position behind them, -1 if malformed.

    `histograms`: bytes of those that stand in `data` behind SIZE_BYTES, one after the other, -1: there are none."""
    next_histogram = 0
    n = values.size
    size = data.size
    end = at + n
    if end > size:
        return -1
    for i in range(n):
        control = data[at + i]
        if control == STALE_CONTROL:
            values[i] = STALE
            continue
        if control == HISTOGRAM_CONTROL and next_histogram + HEADER_BYTES <= histograms:
            values[i] = BOXED | np.uint64(next_histogram)
            length = np.int64(load_u32(data, SIZE_BYTES + next_histogram))
            next_histogram += length
            if length < HEADER_BYTES or next_histogram > histograms:
                return -1
            continue
        form = np.int64(control >> np.uint8(4))
        length = np.int64(control & np.uint8(15))
        if form > BITS or length > 8 or end + length > size:
            return -1
        word = np.uint64(0)
        if end + 8 <= size:
            word = load_u64(data, end)
            if length < 8:
                word &= (np.uint64(1) << np.uint64(8 * length)) - np.uint64(1)
        else:
            for k in range(length):
                word |= np.uint64(data[end + k]) << np.uint64(8 * k)
        end += length
        if form == BITS:
            values[i] = word << np.uint64(8 * (8 - length)) if length > 0 else np.uint64(0)
            if histograms >= 0 and values[i] >= BOXED:
                return -1
        else:
            m = np.float64(np.int64((word >> np.uint64(1)) ^ (np.uint64(0) - (word & np.uint64(1)))))
            values[i] = float_bits(m / POWERS[form] if form > 0 else m)
    return end if next_histogram == max(histograms, 0) else -1


@kernel("int64(Array(uint64, 1, 'C', readonly=True), Array(uint8, 1, 'C', readonly=True), int64[::1])", stage="query")
def histogram_lengths(values: NDArray[np.uint64], payload: NDArray[np.uint8], out: NDArray[np.int64]) -> int:
    """How many bytes each value (u64[n]) has in `payload` u8[], floats none, to `out` i64[n]; and all of them."""
    total = 0
    for i in range(values.size):
        out[i] = 0
        if values[i] >= BOXED:
            out[i] = np.int64(load_u32(payload, np.int64(values[i] & MASK)))
            total += out[i]
    return total


@device
def put_histograms(values: NDArray[np.uint64], payload: NDArray[np.uint8], out: NDArray[np.uint8]) -> int:
    """Writes the histograms to which boxed values lead, behind their size; the position behind them."""
    at = SIZE_BYTES
    for i in range(values.size):
        if values[i] >= BOXED:
            begin = np.int64(values[i] & MASK)
            length = np.int64(load_u32(payload, begin))
            k = 0
            while k + 8 <= length:
                store_u64(out, at + k, load_u64(payload, begin + k))
                k += 8
            while k < length:
                out[at + k] = payload[begin + k]
                k += 1
            at += length
    size = at - SIZE_BYTES
    for k in range(SIZE_BYTES):
        out[k] = np.uint8((size >> (8 * k)) & 0xFF)
    return at


@kernel("int64(Array(uint64, 1, 'C', readonly=True), Array(uint64, 1, 'C', readonly=True), "
        "Array(uint64, 1, 'C', readonly=True), Array(uint8, 1, 'C', readonly=True), uint8[::1])")
def encode_samples(refs: NDArray[np.uint64], ts: NDArray[np.uint64], values: NDArray[np.uint64],
                   payload: NDArray[np.uint8], out: NDArray[np.uint8]) -> int:
    """Writes the body of a SAMPLES record of n samples into `out` (at least 49 n + 20 bytes, and the histograms);
    returns its length.

    refs u64[n], ts u64[n] (the bits of i64 ms), values u64[n] (float bits; if `payload` u8[] is not empty, also boxed).
    """
    at = put_histograms(values, payload, out) if payload.size > 0 else 0
    at = put_runs(refs, np.uint64(1), out, at)
    at = put_runs(ts, np.uint64(0), out, at)
    return put_values(values, payload.size > 0, out, at)


@kernel("int64(Array(uint8, 1, 'C', readonly=True), int64, uint64[::1], uint64[::1], uint64[::1])")
def decode_samples(body: NDArray[np.uint8], histograms: int, refs: NDArray[np.uint64], ts: NDArray[np.uint64],
                   values: NDArray[np.uint64]) -> int:
    """Fills refs, ts and values, u64[n] each, from the body of a SAMPLES record, which begins with so many bytes of
    `histograms` behind their size (-1: with none, nor a size). Returns 0, or -1 if malformed."""
    at = SIZE_BYTES + histograms if histograms >= 0 else 0
    if at > body.size:
        return -1
    at = get_runs(body, at, body.size, np.uint64(1), refs)
    if at < 0:
        return -1
    at = get_runs(body, at, body.size, np.uint64(0), ts)
    if at < 0:
        return -1
    return 0 if get_values(body, at, histograms, values) == body.size else -1


@kernel("int64(Array(uint64, 1, 'C', readonly=True), Array(uint8, 1, 'C', readonly=True), "
        "Array(uint64, 1, 'C', readonly=True), Array(uint64, 1, 'C', readonly=True), uint8[::1])")
def encode_series(refs: NDArray[np.uint64], keys: NDArray[np.uint8], offsets: NDArray[np.uint64],
                  lengths: NDArray[np.uint64], out: NDArray[np.uint8]) -> int:
    """Writes the body of a SERIES record of n series into `out` (at least 40 n + sum(lengths) + 16 bytes).

    refs, offsets, lengths u64[n]: keys[offset : offset + length] is the canonical key. Returns the length, or -1 - row
    for a row whose key lies outside of `keys`.
    """
    at = put_runs(refs, np.uint64(1), out, 0)
    at = put_runs(lengths, np.uint64(0), out, at)
    size = np.uint64(keys.size)
    for i in range(refs.size):
        if offsets[i] > size or lengths[i] > size - offsets[i]:
            return -1 - i
        start = np.int64(offsets[i])
        length = np.int64(lengths[i])
        j = 0
        while j + 8 <= length:
            store_u64(out, at + j, load_u64(keys, start + j))
            j += 8
        while j < length:
            out[at + j] = keys[start + j]
            j += 1
        at += length
    return at


@kernel("int64(Array(uint8, 1, 'C', readonly=True), uint64[::1], uint64[::1], uint64[::1])")
def decode_series(body: NDArray[np.uint8], refs: NDArray[np.uint64], offsets: NDArray[np.uint64],
                  lengths: NDArray[np.uint64]) -> int:
    """Fills refs, offsets and lengths, u64[n] each, from the body of a SERIES record; offsets are into `body`.

    Returns 0, or -1 if malformed: every key lies within `body` then.
    """
    at = get_runs(body, 0, body.size, np.uint64(1), refs)
    if at < 0:
        return -1
    at = get_runs(body, at, body.size, np.uint64(0), lengths)
    if at < 0:
        return -1
    for i in range(refs.size):
        if lengths[i] > np.uint64(body.size - at):
            return -1
        offsets[i] = np.uint64(at)
        at += np.int64(lengths[i])
    return 0 if at == body.size else -1
