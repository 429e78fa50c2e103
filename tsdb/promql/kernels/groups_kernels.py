"""Rows with equal label sets, found by hashing symbol ids."""
# mypy: disable-error-code="return-value,assignment,operator"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.hash_kernels import multiply_fold
from tsdb.kernels.registry import kernel

_I64 = "Array(int64, 1, 'C', readonly=True)"
_U32 = "Array(uint32, 1, 'C', readonly=True)"


@kernel(f"int64(uint64[::1], {_I64}, {_U32}, {_U32}, int64[::1], uint64[::1], int64[::1], int64[::1])", stage="query")
def group_equal_rows(secret: NDArray[np.uint64], offsets: NDArray[np.int64], names: NDArray[np.uint32],
                     values: NDArray[np.uint32], table: NDArray[np.int64], hashes: NDArray[np.uint64],
                     group: NDArray[np.int64], first: NDArray[np.int64]) -> int:
    """Numbers the distinct label sets of n rows in order of appearance, and returns how many there are.

    secret u64[2]; offsets i64[n + 1], names and values u32[] as in `SeriesSet`; scratch: table i64[power of two > n] of
    -1, hashes u64[n]. Out: group i64[n], and first i64[n]: the first row of each group.
    """
    rows = offsets.size - 1
    mask = np.uint64(table.size - 1)
    groups = np.int64(0)
    for row in range(rows):
        begin, end = offsets[row], offsets[row + 1]
        h = secret[0]
        for at in range(begin, end):
            h = multiply_fold(h ^ (np.uint64(names[at]) << np.uint64(32) | np.uint64(values[at])), secret[1])
        h = multiply_fold(h ^ np.uint64(end - begin), secret[0] ^ secret[1])
        slot = h & mask
        while True:
            found = table[np.int64(slot)]
            if found < 0:
                table[np.int64(slot)] = groups
                hashes[groups] = h
                first[groups] = row
                group[row] = groups
                groups += 1
                break
            if hashes[found] == h:
                other = offsets[first[found]]
                same = offsets[first[found] + 1] - other == end - begin
                at = begin
                while same and at < end:
                    same = names[at] == names[other + at - begin] and values[at] == values[other + at - begin]
                    at += 1
                if same:
                    group[row] = found
                    break
            slot = (slot + np.uint64(1)) & mask
    return groups


@kernel(f"int64({_I64}, {_U32}, {_U32}, boolean[::1], int64[::1], uint32[::1], uint32[::1])", stage="query")
def select_labels(offsets: NDArray[np.int64], names: NDArray[np.uint32], values: NDArray[np.uint32],
                  kept: NDArray[np.bool_], out_offsets: NDArray[np.int64], out_names: NDArray[np.uint32],
                  out_values: NDArray[np.uint32]) -> int:
    """Copies the labels where `kept` bool[labels] is set, and returns how many those are.

    offsets i64[n + 1], names and values u32[labels] as in `SeriesSet`. Out: the same, label arrays of the same length.
    """
    filled = np.int64(0)
    out_offsets[0] = 0
    for row in range(offsets.size - 1):
        for at in range(offsets[row], offsets[row + 1]):
            out_names[filled] = names[at]
            out_values[filled] = values[at]
            filled += np.int64(kept[at])
        out_offsets[row + 1] = filled
    return filled
