# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return,no-untyped-def"
"""Hash tables of series keys, symbols and label pairs, and the making of new series.

A table is u64[power of two], open addressing with linear probing: ``tag << 32 | id + 1``, 0 is empty; the tag is the
upper half of the keyed hash, and its low bits choose the place, so that a table grows without its keys.
"""

from __future__ import annotations

import numpy as np
from numba import int32, int64, types, uint8, uint16, uint32, uint64
from numpy.typing import NDArray

from tsdb.kernels.hash_kernels import hash_bytes, hash_pair
from tsdb.kernels.intrinsics import load_u64, prefetch
from tsdb.kernels.registry import device, kernel
from tsdb.storage.head.layout import HEAD_TYPE, NO_TS, READONLY_BYTES

DONE, GROW_SERIES, GROW_SYMBOLS, GROW_PAIRS, FULL, MALFORMED = range(6)
"""What `create` stopped for."""

SLOTS, KEY_BYTES, SYMBOLS, SYMBOL_BYTES, PAIRS, LABELS, NEXT_REF = range(7)
"""Places in the array of counters i64[7]."""

LOW32 = np.uint64(0xFFFFFFFF)
THIRTY_TWO = np.uint64(32)


@device
def equal_bytes(a: NDArray[np.uint8], at_a: int, b: NDArray[np.uint8], at_b: int, length: int) -> bool:
    i = 0
    while i + 8 <= length:
        if load_u64(a, at_a + i) != load_u64(b, at_b + i):
            return False
        i += 8
    while i < length:
        if a[at_a + i] != b[at_b + i]:
            return False
        i += 1
    return True


@device
def find_bytes(table: NDArray[np.uint64], hashed: int, texts: NDArray[np.uint8], offsets: NDArray[np.uint64],
               lengths: NDArray[np.uint32], data: NDArray[np.uint8], start: int, length: int) -> int:
    """The id of data[start : start + length], or -1."""
    mask = np.uint64(table.size - 1)
    tag = hashed >> THIRTY_TWO
    at = tag & mask
    while True:
        entry = table[np.int64(at)]
        if entry == 0:
            return np.int64(-1)
        if entry >> THIRTY_TWO == tag:
            found = np.int64(entry & LOW32) - 1
            if np.int64(lengths[found]) == length and equal_bytes(
                    texts, np.int64(offsets[found]), data, start, length):
                return found
        at = (at + np.uint64(1)) & mask


@device
def put(table: NDArray[np.uint64], hashed: int, number: int) -> None:
    """Adds an id that is not in the table."""
    mask = np.uint64(table.size - 1)
    tag = hashed >> THIRTY_TWO
    at = tag & mask
    while table[np.int64(at)] != 0:
        at = (at + np.uint64(1)) & mask
    table[np.int64(at)] = tag << THIRTY_TWO | np.uint64(number + 1)


@device
def find_pair(table: NDArray[np.uint64], hashed: int, names: NDArray[np.uint32], values: NDArray[np.uint32],
              name: int, value: int) -> int:
    mask = np.uint64(table.size - 1)
    tag = hashed >> THIRTY_TWO
    at = tag & mask
    while True:
        entry = table[np.int64(at)]
        if entry == 0:
            return np.int64(-1)
        if entry >> THIRTY_TWO == tag:
            found = np.int64(entry & LOW32) - 1
            if np.int64(names[found]) == name and np.int64(values[found]) == value:
                return found
        at = (at + np.uint64(1)) & mask


@kernel("void(uint64[::1], uint64[::1])")
def rehash(old: NDArray[np.uint64], new: NDArray[np.uint64]) -> None:
    """Moves the entries of a table to an empty larger one."""
    mask = np.uint64(new.size - 1)
    for i in range(old.size):
        entry = old[i]
        if entry != 0:
            at = (entry >> THIRTY_TWO) & mask
            while new[np.int64(at)] != 0:
                at = (at + np.uint64(1)) & mask
            new[np.int64(at)] = entry


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
            if entry != 0:
                prefetch(key_offset, np.int64(entry & LOW32) - 1)
        if i + 7 < rows:
            entry = table[np.int64((hashes[i + 7] >> THIRTY_TWO) & mask)]
            if entry != 0:
                at = np.int64(key_offset[np.int64(entry & LOW32) - 1])
                prefetch(key_bytes, at)
                prefetch(key_bytes, at + 64)
        found = find_bytes(table, hashes[i], key_bytes, key_offset, key_length, keys, np.int64(offsets[i]),
                           np.int64(lengths[i]))
        out[i] = np.int32(found)
        missing += found < 0
    return missing


@device
def read_varint(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """(number, next position) of a varint below 2^28, or (-1, at)."""
    number = np.int64(0)
    shift = np.int64(0)
    while at < end and shift <= 21:
        byte = np.int64(data[at])
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number, at
        shift += 7
    return np.int64(-1), at


BYTES, U16, U32, U64, I32, I64 = uint8[::1], uint16[::1], uint32[::1], uint64[::1], int32[::1], int64[::1]


@kernel(types.UniTuple(int64, 2)(
    U64, READONLY_BYTES, U32, U32, I32, U64, U64, int64, int64, I64, U64, BYTES, U64, U32, U64, BYTES, U64, U32,
    U64, U32, U32, U32, U64, U16, HEAD_TYPE, U32))
def create(
    hashes: NDArray[np.uint64], keys: NDArray[np.uint8], offsets: NDArray[np.uint32], lengths: NDArray[np.uint32],
    out: NDArray[np.int32], given: NDArray[np.uint64], secret: NDArray[np.uint64], start: int, at_most: int,
    counters: NDArray[np.int64],
    table: NDArray[np.uint64], key_bytes: NDArray[np.uint8], key_offset: NDArray[np.uint64],
    key_length: NDArray[np.uint32],
    symbol_table: NDArray[np.uint64], symbol_bytes: NDArray[np.uint8], symbol_offset: NDArray[np.uint64],
    symbol_length: NDArray[np.uint32],
    pair_table: NDArray[np.uint64], pair_name: NDArray[np.uint32], pair_value: NDArray[np.uint32],
    labels: NDArray[np.uint32], label_offset: NDArray[np.uint64], label_count: NDArray[np.uint16],
    records, slot_of_ref: NDArray[np.uint32],
) -> tuple[int, int]:
    """Makes series for the rows from `start` whose `out` is -1, at most `at_most` of them.

    Keys are canonical (`tsdb.model.labels`). Fills `out`, the new slot's record (HEAD[]) and `slot_of_ref` (slot + 1).
    `given` u64[rows] are the refs on replay; 0: the next one. Returns (why it stopped, row it stopped at); a row that
    GROW_… or FULL is returned for has not been begun.
    """
    made = 0
    for row in range(start, hashes.size):
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
        slot = counters[SLOTS]
        if (slot + 1) * 2 > table.size:
            return GROW_SERIES, row
        # A label takes at least 6 bytes of the key: so many new symbols and pairs at the most.
        most = length // 6 + 1
        if (counters[SYMBOLS] + 2 * most) * 2 > symbol_table.size:
            return GROW_SYMBOLS, row
        if (counters[PAIRS] + most) * 2 > pair_table.size:
            return GROW_PAIRS, row
        if (slot + 1 >= key_offset.size or counters[KEY_BYTES] + length + 64 > key_bytes.size
                or counters[SYMBOLS] + 2 * most > symbol_offset.size
                or counters[SYMBOL_BYTES] + length + 64 > symbol_bytes.size
                or max(counters[NEXT_REF], np.int64(given[row])) + 1 > slot_of_ref.size
                or counters[PAIRS] + most > pair_name.size or counters[LABELS] + most > labels.size):
            return FULL, row
        first_label = counters[LABELS]
        at = begin
        end = begin + length
        count = 0
        while at < end:
            at += 1
            size, at = read_varint(keys, at, end)
            pair_ids = (np.int64(-1), np.int64(-1))
            for _ in range(2):
                at += 1
                size, at = read_varint(keys, at, end)
                if size < 0 or at + size > end:
                    return MALFORMED, row
                hashed = hash_bytes(secret[0], secret[1], keys, at, at + size)
                symbol = find_bytes(symbol_table, hashed, symbol_bytes, symbol_offset, symbol_length, keys, at, size)
                if symbol < 0:
                    symbol = counters[SYMBOLS]
                    where = counters[SYMBOL_BYTES]
                    for k in range(size):
                        symbol_bytes[where + k] = keys[at + k]
                    symbol_offset[symbol] = np.uint64(where)
                    symbol_length[symbol] = np.uint32(size)
                    counters[SYMBOL_BYTES] = where + size
                    put(symbol_table, hashed, symbol)
                    counters[SYMBOLS] = symbol + 1  # after it can be found: who counts it may keep what is missing
                pair_ids = (pair_ids[1], symbol)
                at += size
            name, value = pair_ids
            hashed = hash_pair(secret[0], secret[1], np.uint64(name), np.uint64(value))
            pair = find_pair(pair_table, hashed, pair_name, pair_value, name, value)
            if pair < 0:
                pair = counters[PAIRS]
                pair_name[pair] = np.uint32(name)
                pair_value[pair] = np.uint32(value)
                put(pair_table, hashed, pair)
                counters[PAIRS] = pair + 1
            labels[first_label + count] = np.uint32(pair)
            count += 1
        where = counters[KEY_BYTES]
        for k in range(length):
            key_bytes[where + k] = keys[begin + k]
        key_offset[slot] = np.uint64(where)
        key_length[slot] = np.uint32(length)
        counters[KEY_BYTES] = where + length
        label_offset[slot] = np.uint64(first_label)
        label_count[slot] = np.uint16(count)
        counters[LABELS] = first_label + count
        ref = np.int64(given[row])
        if ref == 0:
            ref = counters[NEXT_REF]
        counters[NEXT_REF] = max(counters[NEXT_REF], ref + 1)
        records[slot].ref = np.uint64(ref)
        records[slot].last_ts = NO_TS
        records[slot].sealed_ts = NO_TS
        slot_of_ref[ref] = np.uint32(slot + 1)
        put(table, hashes[row], slot)
        out[row] = np.int32(slot)
        counters[SLOTS] = slot + 1
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
