# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return,no-untyped-def"
"""The head: judging samples, appending them to open chunks, sealing chunks into their window's file."""

from __future__ import annotations

import numpy as np
from numba import int32, int64, types, uint8, uint64
from numpy.typing import NDArray

from tsdb.kernels.crc32c_kernels import crc32c
from tsdb.kernels.intrinsics import bytes_at, prefetch, words_at
from tsdb.kernels.registry import device, kernel
from tsdb.model.native_histograms import BOX
from tsdb.storage.codecs.gorilla_kernels import append, decode_chunk
from tsdb.storage.head.layout import (
    CHUNK_BITS,
    CHUNK_WORDS,
    FLOATS,
    HEAD_TYPE,
    HISTOGRAMS,
    NO_TS,
    SEALED_HEADER_WORDS,
    SEALED_MAX_BYTES,
    SEALED_VERSION,
    VALUE_UNKNOWN,
    WINDOW_MS,
)
from tsdb.storage.head.payload_kernels import BYTES, MASK, equal, file_of, is_same, payload_at
from tsdb.storage.head.ref_kernels import slot_of

ACCEPTED, OUT_OF_ORDER, DUPLICATE, TOO_OLD, TOO_NEW, TOO_LATE = range(6)
"""As in `tsdb.model.batch`."""

LOW32 = np.uint64(0xFFFFFFFF)
THIRTY_TWO = np.uint64(32)
EIGHT = np.uint64(8)
BOXED = np.uint64(BOX)

U8, U64, I32, I64 = uint8[::1], uint64[::1], int32[::1], int64[::1]


@device
def is_repeated(value: int, payload: NDArray[np.uint8], last: int, same_commit: bool,
                table: NDArray[np.uint64]) -> bool:
    """Whether a value (u64) is the series' last one, which came in the same commit or is the head's."""
    if value < BOXED:
        return value == last
    if not same_commit:
        return is_same(value, payload, last, table)
    return last >= BOXED and equal(payload, np.int64(value & MASK), payload, np.int64(last & MASK))


@kernel(types.UniTuple(int64, 4)(
    I32, I64, U64, int64, int64, HEAD_TYPE, I64, int64, int64, int64, U8, U64, I32, I64, U64, I32, BYTES, U64))
def validate(slots: NDArray[np.int32], ts: NDArray[np.int64], values: NDArray[np.uint64], start: int, end: int, records,
             bounds: NDArray[np.int64], commit: int, written: int, late: int, codes: NDArray[np.uint8],
             out_refs: NDArray[np.uint64], out_slots: NDArray[np.int32], out_ts: NDArray[np.int64],
             out_values: NDArray[np.uint64], out_late: NDArray[np.int32], payload: NDArray[np.uint8],
             table: NDArray[np.uint64]) -> tuple[int, int, int, int]:
    """Judges the samples start:end of one commit (i32, i64 ms, u64 bits [n]); they see each other. A slot of -1 is a
    new series that was not made, since no sample of it is within the bounds. Boxed values lead to histograms in
    `payload` u8[], those of the head to what `payload_at` finds with `table`.

    Writes `codes` u8[n]; ref, slot, time and value of the samples to log and apply in order to the outputs [n], from
    place `written` on; and the numbers of late samples to `out_late` i32[n], from place `late` on. A sample that is
    there already is accepted and not written. `bounds` i64[6] as `head.Bounds` says; `commit` is this commit's number,
    32 bits. Returns (written, late, least, greatest time in order).
    """
    newest, oldest, border, late_from, new_late_from = bounds[0], bounds[1], bounds[2], bounds[3], bounds[4]
    windowed = bounds[5] != 0
    in_order_from = max(oldest, border)
    least = np.int64(0x7FFFFFFFFFFFFFFF)
    greatest = np.int64(NO_TS)
    for i in range(start, end):
        if i + 16 < end:
            prefetch(records, np.int64(slots[i + 16]))
        slot = np.int64(slots[i])
        t = ts[i]
        value = values[i]
        if slot < 0:
            codes[i] = TOO_NEW if t > newest else TOO_LATE if windowed else TOO_OLD
            continue
        record = records[slot]
        mark = record.mark
        same_commit = np.int64(mark >> THIRTY_TWO) == commit
        if same_commit:
            before = np.int64(mark & LOW32)
            last = out_ts[before]
            last_value = out_values[before]
        else:
            last = record.last_ts
            last_value = record.last_value
        code = ACCEPTED
        if t > last:
            if t > newest:
                code = TOO_NEW
            elif t >= in_order_from:
                record.mark = np.uint64(commit) << THIRTY_TWO | np.uint64(written)
                out_refs[written] = record.ref
                out_slots[written] = np.int32(slot)
                out_ts[written] = t
                out_values[written] = value
                least = min(least, t)
                greatest = max(greatest, t)
                written += 1
            elif t >= new_late_from:
                out_late[late] = np.int32(i)
                late += 1
            else:
                code = TOO_LATE if windowed else TOO_OLD if t < oldest else OUT_OF_ORDER
        elif t == last and (t >= oldest or t >= late_from):
            # out of the times in order, the sample in order stays and nobody is told, as by Prometheus
            repeated = is_repeated(value, payload, last_value, same_commit, table)
            code = ACCEPTED if repeated or (windowed and t < oldest) else DUPLICATE
        elif t >= late_from:
            out_late[late] = np.int32(i)
            late += 1
        else:
            code = TOO_LATE if windowed else TOO_OLD if t < oldest else OUT_OF_ORDER
        codes[i] = code
    return written, late, least, greatest


@device
def seal(records, slot: int, chunks: NDArray[np.uint64], windows: NDArray[np.int64], addresses: NDArray[np.uint64],
         chains: NDArray[np.uint64], used: NDArray[np.int64], limit: NDArray[np.int64], sealed: NDArray[np.int64],
         opened: NDArray[np.int64]) -> bool:
    """Moves the open chunk of a slot to the file of its window. False, with nothing done, where the file is not among
    `windows` or has no room."""
    record = records[slot]
    window = np.int64(record.window)
    k = windows.size - 1
    while k >= 0 and windows[k] != window:
        k -= 1
    if k < 0 or used[k] + SEALED_MAX_BYTES > limit[k]:
        return False
    offset = used[k]
    chain = words_at(chains[k] + np.uint64(slot) * EIGHT, 1)
    base = addresses[k]
    previous = chain[0]
    sequence = np.uint64(0)
    samples = np.uint64(record.count)
    if previous != 0:
        old = words_at(base + previous, SEALED_HEADER_WORDS)
        sequence = (old[3] >> np.uint64(48)) + np.uint64(1)
        samples += old[4] >> np.uint64(40)
    payload = (np.int64(record.bits) + 63) >> 6
    out = words_at(base + np.uint64(offset), SEALED_HEADER_WORDS + payload)
    first_word = np.int64(slot) * CHUNK_WORDS
    out[1] = record.ref
    out[2] = np.uint64(record.first_ts)
    out[3] = (np.uint64(record.last_ts - record.first_ts) | np.uint64(record.bits) << THIRTY_TWO
              | sequence << np.uint64(48))
    out[4] = previous | samples << np.uint64(40)
    out[5] = np.uint64(record.sealed_ts)
    for j in range(payload):
        out[SEALED_HEADER_WORDS + j] = chunks[first_word + j]
        chunks[first_word + j] = np.uint64(0)
    meta = np.uint64(record.kind) | np.uint64(SEALED_VERSION) << EIGHT | np.uint64(record.count) << np.uint64(16)
    out[0] = meta << THIRTY_TWO
    size = (SEALED_HEADER_WORDS + payload) * 8
    out[0] |= np.uint64(crc32c(np.uint32(0), bytes_at(base + np.uint64(offset), size), 4, size))
    chain[0] = np.uint64(offset)
    used[k] = offset + size
    sealed[k] += 1
    opened[0] -= 1
    record.count = np.uint16(0)
    record.bits = np.uint16(0)
    record.sealed_ts = record.last_ts
    return True


@kernel(types.UniTuple(int64, 2)(I32, I64, U64, int64, HEAD_TYPE, U64, I64, U64, U64, I64, I64, I64, I64))
def apply(slots: NDArray[np.int32], ts: NDArray[np.int64], values: NDArray[np.uint64], start: int, records,
          chunks: NDArray[np.uint64], windows: NDArray[np.int64], addresses: NDArray[np.uint64],
          chains: NDArray[np.uint64], used: NDArray[np.int64], limit: NDArray[np.int64], sealed: NDArray[np.int64],
          opened: NDArray[np.int64]) -> tuple[int, int]:
    """Appends judged samples from index `start` to the open chunks (`chunks` u64[slots * CHUNK_WORDS]), sealing full
    ones and those of an earlier window.

    `windows` i64[w] are the numbers of the windows with a file, `addresses` and `chains` u64[w] the addresses of the
    files' bytes and of their u64[slots] of newest chunks, `used` and `limit` i64[w] bytes, `sealed` i64[w] how many
    chunks they hold. `opened` i64[2] counts chunks: that are open, that ever were. Returns (index reached, window that
    lacks a file or room); the index is n when all is done.
    """
    count = slots.size
    for i in range(start, count):
        if i + 16 < count:
            prefetch(records, np.int64(slots[i + 16]))
        if i + 6 < count:
            ahead = np.int64(slots[i + 6])
            prefetch(chunks, ahead * CHUNK_WORDS + (np.int64(records[ahead].bits) >> 6))
        slot = np.int64(slots[i])
        t = ts[i]
        record = records[slot]
        into = t - np.int64(record.window) * WINDOW_MS
        if record.count > 0 and (into < 0 or into >= WINDOW_MS):
            if not seal(records, slot, chunks, windows, addresses, chains, used, limit, sealed, opened):
                return i, np.int64(record.window)
        words = chunks[slot * CHUNK_WORDS : (slot + 1) * CHUNK_WORDS]
        if record.count == 0 and (into < 0 or into >= WINDOW_MS):
            record.window = np.int32(t // WINDOW_MS)
        if not append(records, slot, words, CHUNK_BITS, t, values[i]):
            if not seal(records, slot, chunks, windows, addresses, chains, used, limit, sealed, opened):
                return i, np.int64(record.window)
            append(records, slot, words, CHUNK_BITS, t, values[i])
        if record.count == 1:
            opened[0] += 1
            opened[1] += 1
            record.kind = np.uint8(FLOATS)
        if values[i] >= BOXED:
            record.kind = np.uint8(HISTOGRAMS)
    return count, 0


@kernel(types.UniTuple(int64, 2)(int64, int64, int64, HEAD_TYPE, U64, I64, U64, U64, I64, I64, I64, I64))
def seal_before(start: int, end: int, border: int, records, chunks: NDArray[np.uint64], windows: NDArray[np.int64],
                addresses: NDArray[np.uint64], chains: NDArray[np.uint64], used: NDArray[np.int64],
                limit: NDArray[np.int64], sealed: NDArray[np.int64], opened: NDArray[np.int64]) -> tuple[int, int]:
    """Seals the open chunks of windows below `border` among slots start:end. Returns as `apply`."""
    for slot in range(start, end):
        record = records[slot]
        if record.count > 0 and np.int64(record.window) < border:
            if not seal(records, slot, chunks, windows, addresses, chains, used, limit, sealed, opened):
                return slot, np.int64(record.window)
    return end, 0


@device
def read_histograms(address: int, header: NDArray[np.uint64], table: NDArray[np.uint64], newest: NDArray[np.int64],
                    totals: NDArray[np.int64], ts: NDArray[np.int64], values: NDArray[np.uint64]) -> bool:
    """Whether all histograms of a sealed chunk are whole. Keeps the greatest number of a file in totals[5], and if they
    are, the newest time (ms) for each file, by place in `table`, in `newest` i64[files]. `ts` and `values` [CHUNK_BITS]
    are scratch."""
    count = np.int64(header[0] >> np.uint64(48))
    if count > CHUNK_BITS:
        return False
    words = words_at(address + np.uint64(SEALED_HEADER_WORDS * 8), CHUNK_WORDS + 1)
    end = decode_chunk(words, count, np.int64(header[2]), NO_TS, np.int64(0x7FFFFFFFFFFFFFFF), ts, values, 0)
    whole = True
    for i in range(end):
        if values[i] >= BOXED:
            totals[5] = max(totals[5], file_of(values[i]))
            whole = whole and payload_at(table, values[i]) != 0
    if whole:
        for i in range(end):
            if values[i] >= BOXED:
                place = file_of(values[i]) - np.int64(table[0])
                newest[place] = max(newest[place], ts[i])
    return whole


@kernel(types.UniTuple(int64, 2)(
    uint64, int64, int64, int64, U64, I32, I32, HEAD_TYPE, uint64, I64, U64, I64, I64, U64))
def scan(address: int, start: int, end: int, border: int, blocks: NDArray[np.uint64], lines: NDArray[np.int32],
         slots: NDArray[np.int32], records, chain: int, totals: NDArray[np.int64], table: NDArray[np.uint64],
         newest_in: NDArray[np.int64], ts: NDArray[np.int64], values: NDArray[np.uint64]) -> tuple[int, int]:
    """Reads the sealed chunks of a window's file from byte `start` (multiple of 8): checks them, links them into the
    chain (address of u64[slots]) and moves their series' records forward.

    A chunk is left out, and its samples are left to the WAL, where it does not follow the last one of its series: a
    power cut may keep a later page and lose an earlier one. What an earlier opening left out may seem to follow by now,
    since what was lost was written again; a chunk that was written after that opening follows the one before it, and
    takes its place. Before `border` (ms) all is known to be durable. A chunk is left out, too, where not all of its
    histograms are whole. `totals` i64[7] += chunks, samples, chunks left out; = greatest time, ref, number of a file of
    histograms; += chunks without their histograms. `table`, `newest_in`, `ts`, `values` as for `read_histograms`.
    Returns (bytes that are good, reason it stopped): 0 end of what was written, 1 damaged.
    """
    at = start
    while at + SEALED_HEADER_WORDS * 8 <= end:
        header = words_at(address + np.uint64(at), SEALED_HEADER_WORDS)
        bits = np.int64((header[3] >> THIRTY_TWO) & np.uint64(0xFFFF))
        size = (SEALED_HEADER_WORDS + ((bits + 63) >> 6)) * 8
        if header[0] == 0 and header[1] == 0:
            return at, 0
        if bits < 64 or bits > CHUNK_BITS or at + size > end:
            return at, 1
        if np.uint64(crc32c(np.uint32(0), bytes_at(address + np.uint64(at), size), 4, size)) != header[0] & LOW32:
            return at, 1
        ref = np.int64(header[1])
        totals[4] = max(totals[4], ref)
        slot = slot_of(np.uint64(ref), blocks, lines, slots)
        if slot < 0:
            totals[2] += 1
            at += size
            continue
        if ((header[0] >> THIRTY_TWO) & np.uint64(0xFF)) == np.uint64(HISTOGRAMS):
            if not read_histograms(address + np.uint64(at), header, table, newest_in, totals, ts, values):
                totals[2] += 1
                totals[6] += 1
                at += size
                continue
        record = records[slot]
        link = words_at(chain + np.uint64(slot) * EIGHT, 1)
        previous = header[4] & np.uint64(0xFFFFFFFFFF)
        before = np.int64(header[5])
        newest, expected, chunks, samples = link[0], record.last_ts, 0, 0
        while newest != previous and newest != 0:  # whoever wrote this chunk had left those out
            dropped = words_at(address + newest, SEALED_HEADER_WORDS)
            newest, expected = dropped[4] & np.uint64(0xFFFFFFFFFF), np.int64(dropped[5])
            chunks, samples = chunks + 1, samples + np.int64(dropped[0] >> np.uint64(48))
        if newest != previous or (before != expected and before >= border):
            totals[2] += 1
            at += size
            continue
        count = np.int64(header[0] >> np.uint64(48))
        last = np.int64(header[2]) + np.int64(header[3] & LOW32)
        link[0] = np.uint64(at)
        record.last_ts = last
        record.sealed_ts = last
        record.flags |= np.uint8(VALUE_UNKNOWN)
        totals[0] += 1 - chunks
        totals[1] += count - samples
        totals[3] = max(totals[3], last)
        at += size
    return at, 0


@kernel(types.void(int64, HEAD_TYPE, U64, U64, I64, U64))
def restore_values(slots: int, records, addresses: NDArray[np.uint64], chains: NDArray[np.uint64],
                   ts: NDArray[np.int64], values: NDArray[np.uint64]) -> None:
    """Reads `last_value` of the slots below `slots` that have VALUE_UNKNOWN out of their newest sealed chunk, after a
    scan; windows (`addresses`, `chains` u64[w], as for `apply`) are in time order. `ts`, `values` [CHUNK_BITS] are
    scratch."""
    for slot in range(slots):
        record = records[slot]
        if record.flags & np.uint8(VALUE_UNKNOWN):
            w = addresses.size - 1
            while w >= 0 and words_at(chains[w] + np.uint64(slot) * EIGHT, 1)[0] == 0:
                w -= 1
            if w >= 0 and record.count == 0:
                at = words_at(chains[w] + np.uint64(slot) * EIGHT, 1)[0]
                chunk = words_at(addresses[w] + at, SEALED_HEADER_WORDS + CHUNK_WORDS + 1)
                end = decode_chunk(chunk[SEALED_HEADER_WORDS:], np.int64(chunk[0] >> np.uint64(48)),
                                   np.int64(chunk[2]), NO_TS, record.last_ts, ts, values, 0)
                record.last_value = values[end - 1]
            record.flags &= np.uint8(255 - VALUE_UNKNOWN)
