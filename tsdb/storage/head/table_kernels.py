# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return,no-untyped-def"
"""Hash tables of texts and of label pairs, and room for texts that is used again.

A table is u64[power of two], open addressing with linear probing: ``tag << 32 | id + 1``, 0 is empty, `REMOVED` an
entry that was taken out; the tag is the upper half of the keyed hash, and its low bits choose the place, so that a
table grows without its keys.

Free room is kept in linked lists through its own first bytes, one list for each size class.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.byte_kernels import equal_bytes
from tsdb.kernels.intrinsics import leading_zeros, load_u64, store_u64
from tsdb.kernels.registry import device, kernel

CLASSES = 512
"""Size classes of room: one for each size up to 32 units, then sixteen for each doubling."""
KEYS, TEXTS, LISTS = range(3)
"""Rows of the heads of free room, i64[3, CLASSES]: place + 1, 0 none. Units are 8 bytes, of lists one label."""

LOW32 = np.uint64(0xFFFFFFFF)
THIRTY_TWO = np.uint64(32)
REMOVED = np.uint64(1 << 32)
"""Entry of a table: go on looking."""


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
        if entry >> THIRTY_TWO == tag and entry != REMOVED:
            found = np.int64(entry & LOW32) - 1
            if np.int64(lengths[found]) == length and equal_bytes(
                    texts, np.int64(offsets[found]), data, start, length):
                return found
        at = (at + np.uint64(1)) & mask


@device
def put(table: NDArray[np.uint64], hashed: int, number: int) -> int:
    """Adds an id that is not in the table. Returns how many entries the table has more."""
    mask = np.uint64(table.size - 1)
    tag = hashed >> THIRTY_TWO
    at = tag & mask
    while table[np.int64(at)] != 0 and table[np.int64(at)] != REMOVED:
        at = (at + np.uint64(1)) & mask
    more = np.int64(table[np.int64(at)] == 0)
    table[np.int64(at)] = tag << THIRTY_TWO | np.uint64(number + 1)
    return more


@device
def take_out(table: NDArray[np.uint64], hashed: int, number: int) -> bool:
    """Removes an id. False: it is not in the table."""
    mask = np.uint64(table.size - 1)
    tag = hashed >> THIRTY_TWO
    wanted = tag << THIRTY_TWO | np.uint64(number + 1)
    at = tag & mask
    while table[np.int64(at)] != 0:
        if table[np.int64(at)] == wanted:
            table[np.int64(at)] = REMOVED
            return True
        at = (at + np.uint64(1)) & mask
    return False


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
        if entry >> THIRTY_TWO == tag and entry != REMOVED:
            found = np.int64(entry & LOW32) - 1
            if np.int64(names[found]) == name and np.int64(values[found]) == value:
                return found
        at = (at + np.uint64(1)) & mask


@kernel("int64(uint64[::1], uint64[::1])")
def rehash(old: NDArray[np.uint64], new: NDArray[np.uint64]) -> int:
    """Moves the entries of a table to an empty one, but for those that were removed. Returns how many."""
    mask = np.uint64(new.size - 1)
    count = 0
    for i in range(old.size):
        entry = old[i]
        if entry != 0 and entry != REMOVED:
            at = (entry >> THIRTY_TWO) & mask
            while new[np.int64(at)] != 0:
                at = (at + np.uint64(1)) & mask
            new[np.int64(at)] = entry
            count += 1
    return count


@device
def size_class(units: int) -> tuple[int, int]:
    """(class, units that room of the class has) for at least `units`: at most a sixteenth more."""
    if units <= 32:
        return units, units
    shift = 59 - leading_zeros(np.uint64(units - 1))
    steps = ((units - 1) >> shift) + 1  # 17 … 32
    return 16 + shift * 16 + steps - 16, steps << shift


@device
def take_bytes(length: int, kind: int, free: NDArray[np.int64], data: NDArray[np.uint8], counters: NDArray[np.int64],
               used: int) -> int:
    """Where in `data` there is room for `length` bytes: some that was freed, or behind `counters[used]`."""
    number, units = size_class((length + 7) >> 3)
    link = free[kind, number]
    if link > 0:
        free[kind, number] = np.int64(load_u64(data, link - 1))
        return link - 1
    place = counters[used]
    counters[used] = place + units * 8
    return place


@device
def give_bytes(place: int, length: int, kind: int, free: NDArray[np.int64], data: NDArray[np.uint8]) -> None:
    """Frees what `take_bytes` gave."""
    if length > 0:
        number, _ = size_class((length + 7) >> 3)
        store_u64(data, place, np.uint64(free[kind, number]))
        free[kind, number] = place + 1


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
