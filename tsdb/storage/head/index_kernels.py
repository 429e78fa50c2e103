# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return,no-untyped-def"
"""Postings: which series have a label pair, as flat arrays."""

from __future__ import annotations

import numpy as np
from numba import boolean, int32, int64, types, uint8, uint16, uint32, uint64
from numpy.typing import NDArray

from tsdb.kernels.registry import kernel

U8, U16, U32, U64, I32, I64 = uint8[::1], uint16[::1], uint32[::1], uint64[::1], int32[::1], int64[::1]


@kernel(types.void(int64, U32, U64, U16, I64, I32))
def build_postings(slots: int, labels: NDArray[np.uint32], label_offset: NDArray[np.uint64],
                   label_count: NDArray[np.uint16], offsets: NDArray[np.int64], postings: NDArray[np.int32]) -> None:
    """Postings of the slots below `slots`, sorted within each pair: slots of pair p stand at offsets[p]:offsets[p + 1]
    of `postings` (i32, as many as labels). `offsets` i64[pairs + 2] must be zero; a counting sort."""
    for slot in range(slots):
        at = np.int64(label_offset[slot])
        for k in range(np.int64(label_count[slot])):
            offsets[np.int64(labels[at + k]) + 2] += 1
    for p in range(2, offsets.size):
        offsets[p] += offsets[p - 1]
    for slot in range(slots):
        at = np.int64(label_offset[slot])
        for k in range(np.int64(label_count[slot])):
            pair = np.int64(labels[at + k])
            postings[offsets[pair + 1]] = slot
            offsets[pair + 1] += 1


@kernel(int64(int64, int64, U8, U32, U64, U16, I32))
def scan_labels(start: int, end: int, wanted: NDArray[np.uint8], labels: NDArray[np.uint32],
                label_offset: NDArray[np.uint64], label_count: NDArray[np.uint16], out: NDArray[np.int32]) -> int:
    """Slots of start:end with a label pair p whose `wanted` u8[pairs] is set, into `out` i32[end - start]; how many."""
    found = 0
    for slot in range(start, end):
        at = np.int64(label_offset[slot])
        for k in range(np.int64(label_count[slot])):
            pair = np.int64(labels[at + k])
            if pair < wanted.size and wanted[pair]:
                out[found] = slot
                found += 1
                break
    return found


@kernel(int64(I32, int64, int64, U8, boolean, U32, U32, U64, U16))
def keep_matching(slots: NDArray[np.int32], name: int, only: int, wanted: NDArray[np.uint8], absent: bool,
                  pair_name: NDArray[np.uint32], labels: NDArray[np.uint32], label_offset: NDArray[np.uint64],
                  label_count: NDArray[np.uint16]) -> int:
    """Keeps those of `slots` (i32, in place) whose label `name` (symbol) is the pair `only`, or, where `only` is -1,
    a pair whose `wanted` u8[pairs] is set; a slot without the label is kept if `absent`. How many are left."""
    kept = 0
    for i in range(slots.size):
        slot = slots[i]
        at = np.int64(label_offset[slot])
        keep = absent
        for k in range(np.int64(label_count[slot])):
            pair = np.int64(labels[at + k])
            if np.int64(pair_name[pair]) == name:
                keep = pair == only if only >= 0 else (pair < wanted.size and wanted[pair] != 0)
                break
        if keep:
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
