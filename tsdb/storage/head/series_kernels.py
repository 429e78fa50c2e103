# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return,no-untyped-def"
"""Series by their keys, and the making of new ones.

What the collector has freed is used again first. Free slots, pairs and symbols are linked lists through `key_offset`,
`pair_value` and `symbol_offset` (id + 1 of the next one, 0 ends); free room for keys, texts and label lists as in
`tsdb.storage.head.table_kernels`.
"""

from __future__ import annotations

import numpy as np
from numba import int32, int64, types, uint8, uint16, uint32, uint64
from numpy.typing import NDArray

from tsdb.kernels.byte_kernels import equal_bytes
from tsdb.kernels.hash_kernels import hash_bytes, hash_pair
from tsdb.kernels.intrinsics import prefetch
from tsdb.kernels.registry import kernel
from tsdb.storage.head.layout import HEAD_TYPE, MAX_REF, NO_TS, READONLY_BYTES
from tsdb.storage.head.limit_kernels import refused_by
from tsdb.storage.head.table_kernels import (
    KEYS,
    LISTS,
    LOW32,
    TEXTS,
    THIRTY_TWO,
    find_bytes,
    find_pair,
    put,
    read_varint,
    size_class,
    take_bytes,
)

DONE, GROW_SERIES, GROW_SYMBOLS, GROW_PAIRS, GROW_BIRTHS, GROW_PAIR_BIRTHS, FULL, MALFORMED = range(8)
"""What `create` stopped for."""
REFUSED = -2
"""Slots of series that a limit does not allow are this, or less."""

(SLOTS, KEY_BYTES, SYMBOLS, SYMBOL_BYTES, PAIRS, LABELS, NEXT_REF,
 BIRTHS, DEATHS, PAIR_BIRTHS, LOGGED, INDEXED, INDEXED_PAIRS,
 FREE_SLOT, FREE_PAIR, FREE_SYMBOL, FREE_PAIRS, FREE_SYMBOLS,
 TABLE_USED, SYMBOL_TABLE_USED, PAIR_TABLE_USED) = range(21)
"""Places in the array of counters i64[21].

The first seven: how far each array has been used; the next ref. Then what has happened: series made and removed,
pairs that got their first series; births that are logged, and that the base of the index has. Heads of the lists of
free ids (id + 1), and how many pairs and symbols are on them. Entries of the tables, removed ones included."""

COUNTERS = 21


@kernel(
    "int64(uint64[::1], Array(uint8, 1, 'C', readonly=True), uint32[::1], uint32[::1],"
    " uint64[::1], uint8[::1], uint64[::1], uint32[::1], int32[::1])"
)
def lookup(hashes: NDArray[np.uint64], keys: NDArray[np.uint8], offsets: NDArray[np.uint32],
           lengths: NDArray[np.uint32], table: NDArray[np.uint64], key_bytes: NDArray[np.uint8],
           key_offset: NDArray[np.uint64], key_length: NDArray[np.uint32], out: NDArray[np.int32]) -> int:
    """Slots of the rows of a batch into `out` i32[rows], -1 where the series is new; returns how many are new."""
    mask = np.uint64(table.size - 1)
    rows = hashes.size
    missing = 0
    for i in range(rows):
        if i + 24 < rows:
            prefetch(table, np.int64((hashes[i + 24] >> THIRTY_TWO) & mask))
        if i + 14 < rows:
            entry = table[np.int64((hashes[i + 14] >> THIRTY_TWO) & mask)]
            if entry & LOW32 != 0:
                prefetch(key_offset, np.int64(entry & LOW32) - 1)
        if i + 7 < rows:
            entry = table[np.int64((hashes[i + 7] >> THIRTY_TWO) & mask)]
            if entry & LOW32 != 0:
                at = np.int64(key_offset[np.int64(entry & LOW32) - 1])
                prefetch(key_bytes, at)
                prefetch(key_bytes, at + 64)
        found = find_bytes(table, hashes[i], key_bytes, key_offset, key_length, keys, np.int64(offsets[i]),
                           np.int64(lengths[i]))
        out[i] = np.int32(found)
        missing += found < 0
    return missing


BYTES, U16, U32, U64, I32, I64 = uint8[::1], uint16[::1], uint32[::1], uint64[::1], int32[::1], int64[::1]


@kernel(types.UniTuple(int64, 2)(
    U64, READONLY_BYTES, U32, U32, I32, U64, U64, int64, int64, I64, int64[:, ::1], U64, BYTES, U64, U32, U64, BYTES,
    U64, U32, U32, U64, U32, U32, U32, U32, U32, U64, U16, HEAD_TYPE, I32, I32, int64[:, ::1], BYTES))
def create(
    hashes: NDArray[np.uint64], keys: NDArray[np.uint8], offsets: NDArray[np.uint32], lengths: NDArray[np.uint32],
    out: NDArray[np.int32], given: NDArray[np.uint64], secret: NDArray[np.uint64], start: int, at_most: int,
    counters: NDArray[np.int64], free: NDArray[np.int64],
    table: NDArray[np.uint64], key_bytes: NDArray[np.uint8], key_offset: NDArray[np.uint64],
    key_length: NDArray[np.uint32],
    symbol_table: NDArray[np.uint64], symbol_bytes: NDArray[np.uint8], symbol_offset: NDArray[np.uint64],
    symbol_length: NDArray[np.uint32], symbol_uses: NDArray[np.uint32],
    pair_table: NDArray[np.uint64], pair_name: NDArray[np.uint32], pair_value: NDArray[np.uint32],
    pair_uses: NDArray[np.uint32], name_values: NDArray[np.uint32],
    labels: NDArray[np.uint32], label_offset: NDArray[np.uint64], label_count: NDArray[np.uint16],
    records, births: NDArray[np.int32], pair_births: NDArray[np.int32],
    rules: NDArray[np.int64], rule_names: NDArray[np.uint8],
) -> tuple[int, int]:
    """Makes series for the rows from `start` whose `out` is -1, at most `at_most` of them. One that a rule
    (`tsdb.storage.head.limit_kernels`; i64[0, 3]: there are none) does not allow is not made: its `out` becomes
    REFUSED - number of the rule.

    Keys are canonical (`tsdb.model.labels`). Fills `out` and the new slot's record (HEAD[]), and writes down the birth
    in `births`, and in `pair_births` those of pairs that get their first series (rings i32[power of two]). `given`
    u64[rows] are the refs on replay; 0: the next one. Returns (why it stopped, row it stopped at); a row that GROW_…
    or FULL is returned for has not been begun.

    Series come in the order of their targets: a label that stands in the same place of the row before is not looked up.
    """
    made = 0
    mask = np.uint64(table.size - 1)
    for row in range(start, hashes.size):
        if row + 8 < hashes.size:
            prefetch(table, np.int64((hashes[row + 8] >> THIRTY_TWO) & mask))
        if out[row] >= 0:
            continue
        begin = np.int64(offsets[row])
        length = np.int64(lengths[row])
        found = find_bytes(table, hashes[row], key_bytes, key_offset, key_length, keys, begin, length)
        if found >= 0:
            out[row] = np.int32(found)
            continue
        if made == at_most:
            return DONE, row
        if rules.shape[0] > 0:
            rule = refused_by(
                keys, begin, begin + length, counters[BIRTHS] - counters[DEATHS], rules, rule_names, name_values,
                secret, symbol_table, symbol_bytes, symbol_offset, symbol_length, pair_table, pair_name, pair_value,
                pair_uses)
            if rule >= 0:
                out[row] = np.int32(REFUSED - rule)
                made += 1
                continue
        if (counters[TABLE_USED] + 1) * 2 > table.size:
            return GROW_SERIES, row
        # A label takes at least 6 bytes of the key: so many new symbols and pairs at the most.
        most = length // 6 + 1
        if (counters[SYMBOL_TABLE_USED] + 2 * most) * 2 > symbol_table.size:
            return GROW_SYMBOLS, row
        if (counters[PAIR_TABLE_USED] + most) * 2 > pair_table.size:
            return GROW_PAIRS, row
        if counters[BIRTHS] + 1 - min(counters[LOGGED], counters[INDEXED]) > births.size:
            return GROW_BIRTHS, row
        if counters[PAIR_BIRTHS] + most - counters[INDEXED_PAIRS] > pair_births.size:
            return GROW_PAIR_BIRTHS, row
        if ((counters[FREE_SLOT] == 0 and counters[SLOTS] + 1 >= key_offset.size)
                or counters[KEY_BYTES] + length * 2 + 64 > key_bytes.size
                or counters[SYMBOLS] + 2 * most > symbol_offset.size
                or counters[SYMBOL_BYTES] + length * 4 + 64 > symbol_bytes.size
                or max(counters[NEXT_REF], np.int64(given[row])) + 1 > MAX_REF
                or counters[PAIRS] + most > pair_name.size or counters[LABELS] + most * 2 > labels.size):
            return FULL, row
        # The label list is written behind all others, and then moved to room that was freed, if there is any.
        first_label = counters[LABELS]
        at = begin
        end = begin + length
        count = 0
        before_at, before_end, before_labels, before_count = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
        if row > 0 and out[row - 1] >= 0:
            before_at = np.int64(offsets[row - 1])
            before_end = before_at + np.int64(lengths[row - 1])
            before_labels = np.int64(label_offset[out[row - 1]])
            before_count = np.int64(label_count[out[row - 1]])
        while at < end:
            at += 1
            size, at = read_varint(keys, at, end)
            if before_at < before_end:
                before_size, before_at = read_varint(keys, before_at + 1, before_end)
                if (size == before_size and size >= 0 and at + size <= end and before_at + size <= before_end
                        and count < before_count and equal_bytes(keys, before_at, keys, at, size)):
                    pair = np.int64(labels[before_labels + count])
                    pair_uses[pair] += np.uint32(1)
                    labels[first_label + count] = np.uint32(pair)
                    count += 1
                    before_at += size
                    at += size
                    continue
                before_at = before_at + before_size if before_size >= 0 else before_end
            pair_ids = (np.int64(-1), np.int64(-1))
            for _ in range(2):
                at += 1
                size, at = read_varint(keys, at, end)
                if size < 0 or at + size > end:
                    return MALFORMED, row
                hashed = hash_bytes(secret[0], secret[1], keys, at, at + size)
                symbol = find_bytes(symbol_table, hashed, symbol_bytes, symbol_offset, symbol_length, keys, at, size)
                if symbol < 0:
                    symbol = counters[FREE_SYMBOL] - 1
                    if symbol >= 0:
                        counters[FREE_SYMBOL] = np.int64(symbol_offset[symbol])
                        counters[FREE_SYMBOLS] -= 1
                    else:
                        symbol = counters[SYMBOLS]
                    where = take_bytes(size, TEXTS, free, symbol_bytes, counters, SYMBOL_BYTES)
                    for k in range(size):
                        symbol_bytes[where + k] = keys[at + k]
                    symbol_offset[symbol] = np.uint64(where)
                    symbol_length[symbol] = np.uint32(size)
                    symbol_uses[symbol] = np.uint32(0)
                    counters[SYMBOL_TABLE_USED] += put(symbol_table, hashed, symbol)
                    if symbol == counters[SYMBOLS]:  # after it can be found: who counts it may keep what is missing
                        counters[SYMBOLS] = symbol + 1
                pair_ids = (pair_ids[1], symbol)
                at += size
            name, value = pair_ids
            hashed = hash_pair(secret[0], secret[1], np.uint64(name), np.uint64(value))
            pair = find_pair(pair_table, hashed, pair_name, pair_value, name, value)
            if pair < 0:
                pair = counters[FREE_PAIR] - 1
                if pair >= 0:
                    counters[FREE_PAIR] = np.int64(pair_value[pair])
                    counters[FREE_PAIRS] -= 1
                else:
                    pair = counters[PAIRS]
                pair_name[pair] = np.uint32(name)
                pair_value[pair] = np.uint32(value)
                pair_uses[pair] = np.uint32(0)
                symbol_uses[name] += np.uint32(1)
                symbol_uses[value] += np.uint32(1)
                counters[PAIR_TABLE_USED] += put(pair_table, hashed, pair)
                if pair == counters[PAIRS]:
                    counters[PAIRS] = pair + 1
            if pair_uses[pair] == 0:
                pair_births[counters[PAIR_BIRTHS] & (pair_births.size - 1)] = np.int32(pair)
                counters[PAIR_BIRTHS] += 1
                name_values[name] += np.uint32(1)
            pair_uses[pair] += np.uint32(1)
            labels[first_label + count] = np.uint32(pair)
            count += 1
        slot = counters[FREE_SLOT] - 1
        if slot >= 0:
            counters[FREE_SLOT] = np.int64(key_offset[slot])
        else:
            slot = counters[SLOTS]
        where = take_bytes(length, KEYS, free, key_bytes, counters, KEY_BYTES)
        for k in range(length):
            key_bytes[where + k] = keys[begin + k]
        key_offset[slot] = np.uint64(where)
        key_length[slot] = np.uint32(length)
        number, units = size_class(count)
        place = free[LISTS, number] - 1
        if place >= 0:
            free[LISTS, number] = np.int64(labels[place])
            for k in range(count):
                labels[place + k] = labels[first_label + k]
        else:
            place = first_label
            counters[LABELS] = first_label + units
        label_offset[slot] = np.uint64(place)
        label_count[slot] = np.uint16(count)
        ref = np.int64(given[row])
        if ref == 0:
            ref = counters[NEXT_REF]
        counters[NEXT_REF] = max(counters[NEXT_REF], ref + 1)
        record = records[slot]
        record.last_ts = NO_TS
        record.last_value = np.uint64(0)
        record.first_ts = np.int64(0)
        record.sealed_ts = NO_TS
        record.mark = np.uint64(0)
        record.window = np.int32(0)
        record.delta = np.int32(0)
        record.bits = np.uint16(0)
        record.leading = np.uint8(0)
        record.significant = np.uint8(0)
        record.kind = np.uint8(0)
        record.flags = np.uint8(0)
        record.ref = np.uint64(ref)
        counters[TABLE_USED] += put(table, hashes[row], slot)
        out[row] = np.int32(slot)
        births[counters[BIRTHS] & (births.size - 1)] = np.int32(slot)
        if slot == counters[SLOTS]:
            counters[SLOTS] = slot + 1
        counters[BIRTHS] += 1
        made += 1
    return DONE, hashes.size


@kernel(int64(U64, U64, BYTES, U64, U32, READONLY_BYTES))
def find_symbol(secret: NDArray[np.uint64], table: NDArray[np.uint64], symbol_bytes: NDArray[np.uint8],
                symbol_offset: NDArray[np.uint64], symbol_length: NDArray[np.uint32], text: NDArray[np.uint8]) -> int:
    """The symbol of a UTF-8 text u8[], or -1."""
    hashed = hash_bytes(secret[0], secret[1], text, 0, text.size)
    return find_bytes(table, hashed, symbol_bytes, symbol_offset, symbol_length, text, 0, text.size)


@kernel("int64(uint64[::1], uint64[::1], uint32[::1], uint32[::1], int64, int64)")
def find_label(secret: NDArray[np.uint64], table: NDArray[np.uint64], pair_name: NDArray[np.uint32],
               pair_value: NDArray[np.uint32], name: int, value: int) -> int:
    """The pair of a name's and a value's symbol, or -1."""
    hashed = hash_pair(secret[0], secret[1], np.uint64(name), np.uint64(value))
    return find_pair(table, hashed, pair_name, pair_value, name, value)
