# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return,no-untyped-def"
"""Joining series of the head and of blocks: by fingerprints, and by the texts of their labels."""

from __future__ import annotations

import numpy as np
from numba import int32, int64, types, uint8, uint32, uint64
from numpy.typing import NDArray

from tsdb.kernels.hash_kernels import hash_bytes, multiply_fold
from tsdb.kernels.intrinsics import load_u32, load_u64, prefetch
from tsdb.kernels.registry import kernel
from tsdb.storage.block.text_kernels import blake2b_128
from tsdb.storage.head.layout import HEAD_TYPE
from tsdb.storage.head.table_kernels import find_bytes, put

BYTES = types.Array(uint8, 1, "C", readonly=True)
U8, U32, U64, I32, I64 = uint8[::1], uint32[::1], uint64[::1], int32[::1], int64[::1]
PAIRS = uint64[:, ::1]

SYMBOLS, SYMBOL_BYTES = range(2)
"""Places in the array of counters of `map_symbols`."""


@kernel(types.void(I32, HEAD_TYPE, U8, U64, U32, U64, PAIRS, U8, U64, PAIRS), stage="query")
def fingerprint_slots(slots: NDArray[np.int32], records, key_bytes: NDArray[np.uint8], key_offset: NDArray[np.uint64],
                      key_length: NDArray[np.uint32], known_ref: NDArray[np.uint64], known: NDArray[np.uint64],
                      key: NDArray[np.uint8], state: NDArray[np.uint64], out: NDArray[np.uint64]) -> None:
    """Fingerprints (BLAKE2b-128 of the canonical key) of n slots, to `out` u64[n, 2].

    `known` u64[slots, 2] has them for series whose ref stands in `known_ref` u64[slots]; others are computed and
    added. `key` u8[] is scratch: the longest key and 256 bytes; `state` u64[8] too.
    """
    for i in range(slots.size):
        slot = np.int64(slots[i])
        if i + 8 < slots.size:
            prefetch(known_ref, np.int64(slots[i + 8]))
            prefetch(records, np.int64(slots[i + 8]))
        ref = records[slot].ref
        if ref == 0 or known_ref[slot] != ref:
            offset = np.int64(key_offset[slot])
            size = np.int64(key_length[slot])
            for k in range(size):
                key[k] = key_bytes[offset + k]
            for k in range(size, max((size + 127) // 128 * 128, 128)):
                key[k] = np.uint8(0)
            blake2b_128(key, size, state)
            known[slot, 0] = state[0]
            known[slot, 1] = state[1]
            known_ref[slot] = ref
        out[i, 0] = known[slot, 0]
        out[i, 1] = known[slot, 1]


@kernel(int64(U64, PAIRS, I32, PAIRS, int64, I64), stage="query")
def join(secret: NDArray[np.uint64], fingerprints: NDArray[np.uint64], table: NDArray[np.int32],
         known: NDArray[np.uint64], count: int, rows: NDArray[np.int64]) -> int:
    """Finds the rows of n fingerprints (u64[n, 2]) among the `count` first of `known` (u64[room, 2]), which takes in
    those that are new, in their order. `rows` i64[n] is filled. Returns the new count.

    `table` i32[power of two] has rows, -1 where it is free, by a keyed hash; it is at least twice as large as the
    count can become.
    """
    mask = np.uint64(table.size - 1)
    n = rows.size
    for i in range(n):
        if i + 8 < n:
            prefetch(table, np.int64(multiply_fold(fingerprints[i + 8, 0] ^ secret[0], secret[1]) & mask))
        at = multiply_fold(fingerprints[i, 0] ^ secret[0], secret[1]) & mask
        while True:
            row = np.int64(table[np.int64(at)])
            if row < 0:
                known[count, 0] = fingerprints[i, 0]
                known[count, 1] = fingerprints[i, 1]
                table[np.int64(at)] = np.int32(count)
                rows[i] = count
                count += 1
                break
            if known[row, 0] == fingerprints[i, 0] and known[row, 1] == fingerprints[i, 1]:
                rows[i] = row
                break
            at = (at + np.uint64(1)) & mask
    return count


@kernel(int64(I64, int64, BYTES, BYTES, int64, U64, U64, U8, U64, U32, int64, U64, U8, U64, U32, I64, U32),
        stage="query")
def map_symbols(symbols: NDArray[np.int64], start: int, texts: NDArray[np.uint8], offsets: NDArray[np.uint8],
                width: int, secret: NDArray[np.uint64], table: NDArray[np.uint64], symbol_bytes: NDArray[np.uint8],
                symbol_offset: NDArray[np.uint64], symbol_length: NDArray[np.uint32], limit: int,
                own_table: NDArray[np.uint64], own_bytes: NDArray[np.uint8], own_offset: NDArray[np.uint64],
                own_length: NDArray[np.uint32], counters: NDArray[np.int64], out: NDArray[np.uint32]) -> int:
    """What the symbols of a block (i64[n]) are in a query, from number `start` on: the ids of their texts in the head's
    table, as far as they are below `limit`, else `limit` + their ids in the query's own table, which takes in what is
    new. `out` u32[n] is filled.

    `offsets` are the bytes of the column of offsets, numbers of `width`, into `texts`. `counters` i64[2] of the own
    table. Returns the number reached: n, or that of a text for which the own table lacks room.
    """
    for i in range(start, symbols.size):
        if width == 4:
            begin = np.int64(load_u32(offsets, symbols[i] * 4))
            end = np.int64(load_u32(offsets, symbols[i] * 4 + 4))
        else:
            begin = np.int64(load_u64(offsets, symbols[i] * 8))
            end = np.int64(load_u64(offsets, symbols[i] * 8 + 8))
        hashed = hash_bytes(secret[0], secret[1], texts, begin, end)
        own = find_bytes(own_table, hashed, own_bytes, own_offset, own_length, texts, begin, end - begin)
        if own < 0:
            found = find_bytes(table, hashed, symbol_bytes, symbol_offset, symbol_length, texts, begin, end - begin)
            if 0 <= found and found < limit:
                out[i] = np.uint32(found)
                continue
            own = counters[SYMBOLS]
            at = counters[SYMBOL_BYTES]
            if (own + 1) * 2 > own_table.size or own == own_offset.size or at + end - begin + 8 > own_bytes.size:
                return i
            for k in range(end - begin):
                own_bytes[at + k] = texts[begin + k]
            own_offset[own] = np.uint64(at)
            own_length[own] = np.uint32(end - begin)
            put(own_table, hashed, own)
            counters[SYMBOLS] = own + 1
            counters[SYMBOL_BYTES] = at + end - begin
        out[i] = np.uint32(limit + own)
    return symbols.size
