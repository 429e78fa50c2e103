# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""The Gorilla codec (Pelkonen et al., VLDB 2015), one sample at a time into a chunk of u64 words.

docs/formats.md has the bits, under "Sealed chunks".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import leading_zeros, load_u64, trailing_zeros
from tsdb.kernels.registry import device

ONE = np.uint64(1)
SIX = np.uint64(6)
LOW6 = np.uint64(63)
THREE = np.uint64(3)
SEVEN = np.uint64(7)
THIRTY_TWO = np.uint64(32)
LOW32 = np.uint64(0xFFFFFFFF)

MOST_BITS = 68 + 13 + 64
"""That a sample can take."""


@device
def put_bits(words: NDArray[np.uint64], at: int, value: int, count: int) -> int:
    """Writes the low `count` (1..64) bits of u64 `value` at bit `at` (u64); bits above must be 0. Next bit (u64).

    The words must be zero above `at`."""
    index = np.int64(at >> SIX)
    offset = at & LOW6
    words[index] |= value << offset
    if offset + count > np.uint64(64):
        words[index + 1] = value >> (np.uint64(64) - offset)
    return at + count


@device
def window_at(words: NDArray[np.uint64], at: int) -> int:
    """The 57 or more bits from bit `at` on, as u64: one load, wherever it falls."""
    return load_u64(words, np.int64(at >> THREE)) >> (at & SEVEN)


@device
def time_code(change: int) -> tuple[int, int]:
    """(bits, their number) of a delta of delta (i64) of up to 20 bits; (0, 0) for a larger one."""
    if change == 0:
        return np.uint64(0), np.int64(1)
    bits = np.uint64(change)
    if -64 <= change <= 63:
        return np.uint64(1) | (bits & np.uint64(0x7F)) << np.uint64(2), np.int64(9)
    if -8192 <= change <= 8191:
        return np.uint64(3) | (bits & np.uint64(0x3FFF)) << THREE, np.int64(17)
    if -524288 <= change <= 524287:
        return np.uint64(7) | (bits & np.uint64(0xFFFFF)) << np.uint64(4), np.int64(24)
    return np.uint64(0), np.int64(0)


@device
def decode_chunk(words: NDArray[np.uint64], count: int, first_ts: int, mint: int, maxt: int,
                 out_ts: NDArray[np.int64], out_values: NDArray[np.uint64], position: int) -> int:
    """Writes the samples with mint <= ts <= maxt (i64 ms) from `position` on; the next position. `words` u64[] holds
    one readable word beyond the used bits."""
    ts = first_ts
    delta = np.int64(0)
    value = words[0]
    at = np.uint64(64)
    unused = np.uint64(0)  # bits beside the significant ones
    unread = np.uint64(0)  # those of them that are below
    if ts > maxt:
        return position
    if ts >= mint:
        out_ts[position] = ts
        out_values[position] = value
        position += 1
    for _ in range(1, count):
        # A time's code has at most 24 bits, but for 68, and the control bits of a value 13: one window holds both.
        window = window_at(words, at)
        if window & ONE == 0:
            at += ONE
            window >>= ONE
        elif window & np.uint64(2) == 0:
            delta += np.int64(window << np.uint64(55)) >> 57
            at += np.uint64(9)
            window >>= np.uint64(9)
        elif window & np.uint64(4) == 0:
            delta += np.int64(window << np.uint64(47)) >> 50
            at += np.uint64(17)
            window >>= np.uint64(17)
        elif window & np.uint64(8) == 0:
            delta += np.int64(window << np.uint64(40)) >> 44
            at += np.uint64(24)
            window >>= np.uint64(24)
        else:
            low = window_at(words, at + np.uint64(4)) & LOW32
            delta += np.int64(low | window_at(words, at + np.uint64(36)) << THIRTY_TWO)
            at += np.uint64(68)
            window = window_at(words, at)
        ts += delta
        if ts > maxt:
            return position
        if window & ONE == 0:
            at += ONE
        else:
            if window & np.uint64(2) == 0:
                at += np.uint64(2)
            else:
                significant = ((window >> np.uint64(7)) & LOW6) + ONE
                unused = np.uint64(64) - significant
                unread = unused - ((window >> np.uint64(2)) & np.uint64(31))
                at += np.uint64(13)
            if unused >= np.uint64(7):
                value ^= (window_at(words, at) << unused) >> unused << unread
            else:
                low = window_at(words, at) & LOW32
                high = window_at(words, at + THIRTY_TWO) << (unused + THIRTY_TWO) >> unused
                value ^= (low | high) << unread
            at += np.uint64(64) - unused
        if ts >= mint:
            out_ts[position] = ts
            out_values[position] = value
            position += 1
    return position


@device
def append(records, slot: int, words: NDArray[np.uint64], capacity: int, ts: int, value: int) -> bool:  # type: ignore[no-untyped-def]
    """Adds a sample to the open chunk of a slot: `records` HEAD[], `words` its chunk u64[capacity // 64], zero above
    the used bits. False, with nothing changed, where it does not fit."""
    record = records[slot]
    if record.count == 0:
        words[0] = value
        record.bits = np.uint16(64)
        record.first_ts = ts
        record.delta = np.int32(0)
        record.significant = np.uint8(0)
        record.leading = np.uint8(0)
    else:
        delta = ts - record.last_ts
        change = delta - np.int64(record.delta)
        code, length = time_code(change)
        difference = value ^ record.last_value
        control = np.int64(1)
        lead = np.int64(0)
        significant = np.int64(0)
        fresh = False
        if difference != 0:
            lead = min(leading_zeros(difference), np.int64(31))
            trail = trailing_zeros(difference)
            old_lead = np.int64(record.leading)
            significant = np.int64(record.significant)
            if significant > 0 and lead >= old_lead and trail >= 64 - old_lead - significant:
                lead = old_lead
                control = 2
            else:
                fresh = True
                significant = 64 - lead - trail
                control = 13
        at = np.uint64(record.bits)
        if np.int64(at) + (length if length > 0 else 68) + control + significant > capacity:
            return False
        if length == 0:
            at = put_bits(words, at, np.uint64(15), np.uint64(4))
            at = put_bits(words, at, np.uint64(change), np.uint64(64))
        if difference != 0:
            kind = ONE
            if fresh:
                kind = np.uint64(3) | np.uint64(lead) << np.uint64(2) | np.uint64(significant - 1) << np.uint64(7)
                record.leading = np.uint8(lead)
                record.significant = np.uint8(significant)
            code |= kind << np.uint64(length)
            length += control
            payload = difference >> np.uint64(64 - lead - significant)
            if length + significant <= 64:
                at = put_bits(words, at, code | payload << np.uint64(length), np.uint64(length + significant))
            else:
                at = put_bits(words, at, code, np.uint64(length))
                at = put_bits(words, at, payload, np.uint64(significant))
        else:
            at = put_bits(words, at, code, np.uint64(length + 1))
        record.bits = np.uint16(at)
        record.delta = np.int32(delta)
    record.count += np.uint16(1)
    record.last_ts = ts
    record.last_value = value
    return True


@device
def put_ahead(words: NDArray[np.uint64], at: int, value: int, count: int) -> int:
    """As `put_bits`, where the words above `at` may hold anything: it always writes the next one, too."""
    index = np.int64(at >> SIX)
    offset = at & LOW6
    words[index] |= value << offset
    words[index + 1] = (value >> ONE) >> (LOW6 - offset)
    return at + count


@device
def encode_chunk(ts: NDArray[np.int64], values: NDArray[np.uint64], first: int, past: int,
                 words: NDArray[np.uint64]) -> int:
    """Encodes the samples first:past into `words` u64[], which has room for MOST_BITS each and two words more. Returns
    the used bits.

    Unlike `append`, it writes new borders of significant bits wherever these take fewer bits than the last ones."""
    value = values[first]
    before = ts[first]
    delta = np.int64(0)
    borders_lead = np.int64(0)
    borders = np.int64(0)
    words[0] = value
    words[1] = np.uint64(0)
    at = np.uint64(64)
    for i in range(first + 1, past):
        next_delta = ts[i] - before
        change = next_delta - delta
        delta = next_delta
        before = ts[i]
        code, length = time_code(change)
        if length == 0:
            at = put_ahead(words, at, np.uint64(15), np.uint64(4))
            at = put_ahead(words, at, np.uint64(change), np.uint64(64))
        difference = value ^ values[i]
        value = values[i]
        if difference == 0:
            at = put_ahead(words, at, code, np.uint64(length + 1))
            continue
        lead = min(leading_zeros(difference), np.int64(31))
        significant = 64 - lead - trailing_zeros(difference)
        if (borders > 0 and lead >= borders_lead and lead + significant <= borders_lead + borders
                and borders <= significant + 11):
            code |= ONE << np.uint64(length)
            length += 2
        else:
            borders_lead, borders = lead, significant
            kind = np.uint64(3) | np.uint64(lead) << np.uint64(2) | np.uint64(significant - 1) << np.uint64(7)
            code |= kind << np.uint64(length)
            length += 13
        payload = difference >> np.uint64(64 - borders_lead - borders)
        if length + borders <= 64:
            at = put_ahead(words, at, code | payload << np.uint64(length), np.uint64(length + borders))
        else:
            at = put_ahead(words, at, code, np.uint64(length))
            at = put_ahead(words, at, payload, np.uint64(borders))
    return np.int64(at)
