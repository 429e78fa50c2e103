# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return,no-untyped-def"
"""Series that are gone: taken out of the tables, and what they used put on the lists of what is free.

The arrays are those of the series table (`tsdb.storage.head.series_kernels.create`)."""

from __future__ import annotations

import numpy as np
from numba import int32, int64, types, uint8, uint16, uint32, uint64
from numpy.typing import NDArray

from tsdb.kernels.hash_kernels import hash_bytes, hash_pair
from tsdb.kernels.intrinsics import prefetch, words_at
from tsdb.kernels.registry import kernel
from tsdb.storage.head.layout import HEAD_TYPE
from tsdb.storage.head.series_kernels import (
    DEATHS,
    FREE_PAIR,
    FREE_PAIRS,
    FREE_SLOT,
    FREE_SYMBOL,
    FREE_SYMBOLS,
)
from tsdb.storage.head.table_kernels import KEYS, LISTS, TEXTS, give_bytes, size_class, take_out

U8, U16, U32, U64, I32, I64 = uint8[::1], uint16[::1], uint32[::1], uint64[::1], int32[::1], int64[::1]


@kernel(types.UniTuple(int64, 3)(
    int64, int64, int64, U8, HEAD_TYPE, U64, U64, I64, U64, U8, U64, U32, U32, U64, U16, U32, U32, U32, I32, I32),
    stage="later")
def bury(start: int, end: int, before: int, late: NDArray[np.uint8], records, chains: NDArray[np.uint64],
         secret: NDArray[np.uint64], counters: NDArray[np.int64], table: NDArray[np.uint64],
         key_bytes: NDArray[np.uint8], key_offset: NDArray[np.uint64], key_length: NDArray[np.uint32],
         labels: NDArray[np.uint32], label_offset: NDArray[np.uint64], label_count: NDArray[np.uint16],
         pair_uses: NDArray[np.uint32], pair_name: NDArray[np.uint32], name_values: NDArray[np.uint32],
         out_slots: NDArray[np.int32], out_pairs: NDArray[np.int32],
         ) -> tuple[int, int, int]:
    """Takes the series of start:end out of the table that have no sample since `before` (ms) and none in the head: no
    open chunk, no chunk in a window (`chains` u64[w], addresses of u64[slots]), and `late` u8[slots] not set.

    Their slots, and pairs that no series has now, go to the outputs (`out_pairs`: more than a series has labels).
    Returns (slot it stopped at, slots, pairs); it stops early where an output is full.
    """
    found = 0
    pairs = 0
    for slot in range(start, end):
        if slot + 16 < end:
            prefetch(records, slot + 16)
        record = records[slot]
        if record.ref == 0 or record.count > 0 or record.last_ts >= before or late[slot] != 0:
            continue
        w = 0
        while w < chains.size and words_at(chains[w] + np.uint64(slot) * np.uint64(8), 1)[0] == 0:
            w += 1
        if w < chains.size:
            continue
        first = np.int64(label_offset[slot])
        count = np.int64(label_count[slot])
        if found == out_slots.size or pairs + count > out_pairs.size:
            return slot, found, pairs
        offset = np.int64(key_offset[slot])
        take_out(table, hash_bytes(secret[0], secret[1], key_bytes, offset, offset + np.int64(key_length[slot])), slot)
        record.ref = np.uint64(0)
        counters[DEATHS] += 1
        for k in range(first, first + count):
            pair = np.int64(labels[k])
            pair_uses[pair] -= np.uint32(1)
            if pair_uses[pair] == 0:
                name_values[pair_name[pair]] -= np.uint32(1)
                out_pairs[pairs] = np.int32(pair)
                pairs += 1
        out_slots[found] = np.int32(slot)
        found += 1
    return end, found, pairs


@kernel(types.void(I32, I64, int64[:, ::1], U8, U64, U32, U32, U64, U16), stage="later")
def free_slots(slots: NDArray[np.int32], counters: NDArray[np.int64], free: NDArray[np.int64],
               key_bytes: NDArray[np.uint8], key_offset: NDArray[np.uint64], key_length: NDArray[np.uint32],
               labels: NDArray[np.uint32], label_offset: NDArray[np.uint64], label_count: NDArray[np.uint16]) -> None:
    """Slots of series that were buried, and the room of their keys and labels, are free."""
    for i in range(slots.size):
        slot = np.int64(slots[i])
        give_bytes(np.int64(key_offset[slot]), np.int64(key_length[slot]), KEYS, free, key_bytes)
        count = np.int64(label_count[slot])
        if count > 0:
            number, _ = size_class(count)
            place = np.int64(label_offset[slot])
            labels[place] = np.uint32(free[LISTS, number])
            free[LISTS, number] = place + 1
        key_length[slot] = np.uint32(0)
        label_count[slot] = np.uint16(0)
        key_offset[slot] = np.uint64(counters[FREE_SLOT])
        counters[FREE_SLOT] = slot + 1


@kernel(types.UniTuple(int64, 2)(I32, U64, U64, U32, U32, U32, U64, U8, U64, U32, U32, I32), stage="later")
def remove_pairs(pairs: NDArray[np.int32], secret: NDArray[np.uint64], pair_table: NDArray[np.uint64],
                 pair_name: NDArray[np.uint32], pair_value: NDArray[np.uint32], pair_uses: NDArray[np.uint32],
                 symbol_table: NDArray[np.uint64], symbol_bytes: NDArray[np.uint8], symbol_offset: NDArray[np.uint64],
                 symbol_length: NDArray[np.uint32], symbol_uses: NDArray[np.uint32], out_symbols: NDArray[np.int32],
                 ) -> tuple[int, int]:
    """Takes those of `pairs` out of their table that no series has, and symbols that no pair has then. Removed pairs
    are moved to the front; the symbols go to `out_symbols` i32[2 * pairs]. Returns (pairs, symbols)."""
    removed = 0
    symbols = 0
    for i in range(pairs.size):
        pair = np.int64(pairs[i])
        if pair_uses[pair] != 0:
            continue
        if not take_out(pair_table, hash_pair(secret[0], secret[1], np.uint64(pair_name[pair]),
                                              np.uint64(pair_value[pair])), pair):
            continue
        pairs[removed] = pairs[i]
        removed += 1
        for k in range(2):
            symbol = np.int64(pair_name[pair] if k == 0 else pair_value[pair])
            symbol_uses[symbol] -= np.uint32(1)
            if symbol_uses[symbol] == 0:
                offset = np.int64(symbol_offset[symbol])
                length = np.int64(symbol_length[symbol])
                take_out(symbol_table, hash_bytes(secret[0], secret[1], symbol_bytes, offset, offset + length), symbol)
                out_symbols[symbols] = np.int32(symbol)
                symbols += 1
    return removed, symbols


@kernel(types.void(I32, I32, I64, int64[:, ::1], U32, U8, U64, U32), stage="later")
def free_names(pairs: NDArray[np.int32], symbols: NDArray[np.int32], counters: NDArray[np.int64],
               free: NDArray[np.int64], pair_value: NDArray[np.uint32], symbol_bytes: NDArray[np.uint8],
               symbol_offset: NDArray[np.uint64], symbol_length: NDArray[np.uint32]) -> None:
    """Pairs and symbols that were removed, and the room of their texts, are free."""
    for i in range(pairs.size):
        pair_value[pairs[i]] = np.uint32(counters[FREE_PAIR])
        counters[FREE_PAIR] = np.int64(pairs[i]) + 1
    for i in range(symbols.size):
        symbol = np.int64(symbols[i])
        give_bytes(np.int64(symbol_offset[symbol]), np.int64(symbol_length[symbol]), TEXTS, free, symbol_bytes)
        symbol_offset[symbol] = np.uint64(counters[FREE_SYMBOL])
        counters[FREE_SYMBOL] = symbol + 1
    counters[FREE_PAIRS] += pairs.size
    counters[FREE_SYMBOLS] += symbols.size
