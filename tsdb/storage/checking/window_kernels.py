# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""Checking the sealed chunks of a window: checksums, contents, and that each series' chunks are one chain; and files of
histograms."""

from __future__ import annotations

import numpy as np
from numba import int64, types, uint8, uint64
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import bytes_at, load_u32, load_u64
from tsdb.kernels.registry import kernel
from tsdb.storage.codecs.gorilla_kernels import decode_chunk
from tsdb.storage.head.layout import CHUNK_BITS, HISTOGRAMS
from tsdb.storage.head.payload_kernels import BOXED, CRC_BYTES, OFFSET_BITS, payload_at
from tsdb.storage.head.sealed_kernels import DAMAGED, END, FULL, HEADER_BYTES, size_at

BYTES = types.Array(uint8, 1, "C", readonly=True)
U64, I64 = uint64[::1], int64[::1]

CHUNKS, SAMPLES, BROKEN, UNREADABLE, UNKNOWN, LEAST, GREATEST, WITHOUT = range(8)
"""Totals: chunks, samples, chunks that do not follow the one before, chunks that decode to something else than their
header says, chunks of unknown series; first and last time; chunks some of whose histograms are gone or damaged."""
TOTALS = 8
SCRATCH_WORDS = (CHUNK_BITS + 64 + 2 * 65536) // 64
LOW40 = np.uint64(0xFFFFFFFFFF)
EARLIEST, LATEST = np.int64(-0x7FFFFFFFFFFFFFFF), np.int64(0x7FFFFFFFFFFFFFFF)


@kernel(types.UniTuple(int64, 2)(BYTES, int64, int64, U64, U64, U64, I64, U64, U64, I64), stage="later")
def check_chunks(data: NDArray[np.uint8], start: int, most: int, keys: NDArray[np.uint64], newest: NDArray[np.uint64],
                 words: NDArray[np.uint64], ts: NDArray[np.int64], values: NDArray[np.uint64],
                 table: NDArray[np.uint64], totals: NDArray[np.int64]) -> tuple[int, int]:
    """Checks at most so many chunks of a window's file u8[] from byte `start` on. `keys` u64[refs]: 0 where the series
    is unknown; `newest` u64[refs] where each series' last chunk was, kept from call to call. `words`
    u64[SCRATCH_WORDS], `ts` and `values` [65536] are scratch. `table` is that of a `PayloadView`. Adds to `totals`
    i64[TOTALS].

    Returns (where it stopped, END or FULL or DAMAGED).
    """
    at = start
    for _ in range(most):
        if at + 16 > data.size or (load_u64(data, at) == 0 and load_u64(data, at + 8) == 0):
            return at, END
        size = size_at(data, at)
        if size == 0:
            return at, DAMAGED
        ref = load_u64(data, at + 8)
        first = np.int64(load_u64(data, at + 16))
        last = first + np.int64(load_u32(data, at + 24))
        count = np.int64(data[at + 6]) | np.int64(data[at + 7]) << 8
        if ref >= np.uint64(keys.size) or keys[ref] == 0:
            totals[UNKNOWN] += 1
        if ref < np.uint64(newest.size):
            previous = load_u64(data, at + 32) & LOW40
            before = newest[ref]
            while before > previous:  # an opening left those between out
                further = load_u64(data, np.int64(before) + 32) & LOW40
                before = further if further < before else np.uint64(0)
            if before != previous:
                totals[BROKEN] += 1
            newest[ref] = np.uint64(at)
        for k in range(words.size):
            words[k] = np.uint64(0)
        for k in range((size - HEADER_BYTES) // 8):
            words[k] = load_u64(data, at + HEADER_BYTES + 8 * k)
        end = decode_chunk(words, count, first, EARLIEST, LATEST, ts, values, 0)
        sound = count > 0 and end == count and ts[count - 1] == last
        for k in range(1, end):
            sound = sound and ts[k] > ts[k - 1]
        if not sound:
            totals[UNREADABLE] += 1
        if np.int64(data[at + 4]) == HISTOGRAMS:
            for k in range(end):
                if values[k] >= BOXED and payload_at(table, values[k]) == 0:
                    totals[WITHOUT] += 1
                    break
        totals[CHUNKS] += 1
        totals[SAMPLES] += count
        totals[LEAST] = min(totals[LEAST], first)
        totals[GREATEST] = max(totals[GREATEST], last)
        at += size
    return at, FULL


@kernel(types.UniTuple(int64, 2)(U64, int64, int64, int64), stage="later")
def check_records(table: NDArray[np.uint64], number: int, start: int, used: int) -> tuple[int, int]:
    """Reads the histograms of the file `number`, one after the other from byte `start` up to `used`; `table` is that of
    a `PayloadView`. Returns (histograms, the byte where no sound one is, or -1)."""
    at = start
    count = 0
    while at < used:
        address = payload_at(table, BOXED | np.uint64(number) << np.uint64(OFFSET_BITS) | np.uint64(at))
        if address == 0:
            return count, at
        at += CRC_BYTES + np.int64(load_u32(bytes_at(address, 4), 0))
        count += 1
    return count, np.int64(-1)
