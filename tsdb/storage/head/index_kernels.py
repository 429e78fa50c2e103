# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return,no-untyped-def"
"""Postings: which series have a label pair, as flat arrays."""

from __future__ import annotations

import numpy as np
from numba import boolean, int32, int64, types, uint8, uint16, uint32, uint64
from numpy.typing import NDArray

from tsdb.kernels.registry import kernel

U8, U16, U32, U64, I32, I64 = uint8[::1], uint16[::1], uint32[::1], uint64[::1], int32[::1], int64[::1]
NUMBERS = types.Array(uint32, 1, "C", readonly=True)


@kernel(types.void(I32, U32, U64, U16, I64, I32))
def build_postings(slots: NDArray[np.int32], labels: NDArray[np.uint32], label_offset: NDArray[np.uint64],
                   label_count: NDArray[np.uint16], offsets: NDArray[np.int64], postings: NDArray[np.int32]) -> None:
    """Postings of `slots` (i32, sorted), sorted within each pair: slots of pair p stand at offsets[p]:offsets[p + 1]
    of `postings` (i32, as many as labels). `offsets` i64[pairs + 2] must be zero; a counting sort."""
    for i in range(slots.size):
        at = np.int64(label_offset[slots[i]])
        for k in range(np.int64(label_count[slots[i]])):
            offsets[np.int64(labels[at + k]) + 2] += 1
    for p in range(2, offsets.size):
        offsets[p] += offsets[p - 1]
    for i in range(slots.size):
        slot = slots[i]
        at = np.int64(label_offset[slot])
        for k in range(np.int64(label_count[slot])):
            pair = np.int64(labels[at + k])
            postings[offsets[pair + 1]] = slot
            offsets[pair + 1] += 1


@kernel(int64(I32, NUMBERS, boolean), stage="query")
def keep_listed(rows: NDArray[np.int32], listed: NDArray[np.uint32], wanted: bool) -> int:
    """Keeps those of `rows` (i32, sorted, in place) that are in `listed` (u32, sorted), or not where `wanted` is false.
    How many are left. Skips ahead in steps that double."""
    kept = 0
    at = 0
    for i in range(rows.size):
        row = np.int64(rows[i])
        step = 1
        while at + step < listed.size and np.int64(listed[at + step]) < row:
            at += step
            step *= 2
        high = min(at + step, listed.size)
        while at < high:
            middle = (at + high) // 2
            if np.int64(listed[middle]) < row:
                at = middle + 1
            else:
                high = middle
        if (at < listed.size and np.int64(listed[at]) == row) == wanted:
            rows[kept] = np.int32(row)
            kept += 1
    return kept


@kernel(boolean(I64, NUMBERS, NUMBERS, U8), stage="query")
def mark_listed(pairs: NDArray[np.int64], posting_offset: NDArray[np.uint32], posting: NDArray[np.uint32],
                marks: NDArray[np.uint8]) -> bool:
    """Sets `marks` u8[rows] for the rows that have any of `pairs` (i64). False: a row is out of bounds."""
    for i in range(pairs.size):
        for k in range(np.int64(posting_offset[pairs[i]]), np.int64(posting_offset[pairs[i] + 1])):
            row = np.int64(posting[k])
            if row >= marks.size:
                return False
            marks[row] = 1
    return True


@kernel(int64(I32, int64, U8, boolean, U32, U64, U16))
def keep_matching(slots: NDArray[np.int32], only: int, listed: NDArray[np.uint8], wanted: bool,
                  labels: NDArray[np.uint32], label_offset: NDArray[np.uint64], label_count: NDArray[np.uint16]) -> int:
    """Keeps those of `slots` (i32, in place) that have the pair `only`, or, where `only` is -1, a pair whose `listed`
    u8[pairs] is set; those that do not, where `wanted` is false. How many are left."""
    kept = 0
    for i in range(slots.size):
        slot = slots[i]
        at = np.int64(label_offset[slot])
        found = False
        for k in range(np.int64(label_count[slot])):
            pair = np.int64(labels[at + k])
            if pair == only or (only < 0 and pair < listed.size and listed[pair] != 0):
                found = True
                break
        if found == wanted:
            slots[kept] = slot
            kept += 1
    return kept


@kernel(types.void(I32, U32, U64, U16, U32, U32, I64, U32, U32))
def gather_labels(slots: NDArray[np.int32], labels: NDArray[np.uint32], label_offset: NDArray[np.uint64],
                  label_count: NDArray[np.uint16], pair_name: NDArray[np.uint32], pair_value: NDArray[np.uint32],
                  offsets: NDArray[np.int64], names: NDArray[np.uint32], values: NDArray[np.uint32]) -> None:
    """Label sets of slots as symbols: `offsets` i64[n + 1] is given, `names` and `values` u32 are filled."""
    for i in range(slots.size):
        source = np.int64(label_offset[slots[i]])
        at = offsets[i]
        for k in range(offsets[i + 1] - at):
            pair = labels[source + k]
            names[at + k] = pair_name[pair]
            values[at + k] = pair_value[pair]


@kernel(types.void(I32, U32, U64, U16, U8))
def mark_pairs(slots: NDArray[np.int32], labels: NDArray[np.uint32], label_offset: NDArray[np.uint64],
               label_count: NDArray[np.uint16], used: NDArray[np.uint8]) -> None:
    """Sets `used` u8[pairs] for every label pair of the slots."""
    for i in range(slots.size):
        at = np.int64(label_offset[slots[i]])
        for k in range(np.int64(label_count[slots[i]])):
            used[labels[at + k]] = 1


@kernel(types.void(I32, U32, U64, U16, U32), stage="later")
def count_pairs(slots: NDArray[np.int32], labels: NDArray[np.uint32], label_offset: NDArray[np.uint64],
                label_count: NDArray[np.uint16], counts: NDArray[np.uint32]) -> None:
    """Adds to `counts` u32[pairs] how many of the slots have each label pair. One that was made since the array was is
    left out."""
    for i in range(slots.size):
        at = np.int64(label_offset[slots[i]])
        for k in range(np.int64(label_count[slots[i]])):
            pair = np.int64(labels[at + k])
            if pair < counts.size:
                counts[pair] += np.uint32(1)
