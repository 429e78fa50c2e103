# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return,no-untyped-def"
"""Algebra of posting lists, and labels of series. Rows are numbers of series in their block."""

from __future__ import annotations

import numpy as np
from numba import boolean, int32, int64, types, uint8, uint32
from numpy.typing import NDArray

from tsdb.kernels.registry import kernel

NUMBERS = types.Array(uint32, 1, "C", readonly=True)
U8, U32, I32, I64 = uint8[::1], uint32[::1], int32[::1], int64[::1]


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
    """Sets `marks` u8[series] for the rows that have any of `pairs` (i64). False: a row is out of bounds."""
    for i in range(pairs.size):
        for k in range(np.int64(posting_offset[pairs[i]]), np.int64(posting_offset[pairs[i] + 1])):
            row = np.int64(posting[k])
            if row >= marks.size:
                return False
            marks[row] = 1
    return True


@kernel(int64(I32, int64, U8, boolean, NUMBERS, NUMBERS), stage="query")
def keep_labelled(rows: NDArray[np.int32], low: int, wanted: NDArray[np.uint8], absent: bool,
                  label_offset: NDArray[np.uint32], label_pair: NDArray[np.uint32]) -> int:
    """Keeps those of `rows` (i32, in place) that have a pair p from `low` on with `wanted`[p - low] (u8[pairs of a
    name]); a row with no pair of that name is kept if `absent`. How many are left."""
    kept = 0
    for i in range(rows.size):
        row = np.int64(rows[i])
        keep = absent
        for k in range(np.int64(label_offset[row]), np.int64(label_offset[row + 1])):
            place = np.int64(label_pair[k]) - low
            if place >= 0:
                if place < wanted.size:
                    keep = wanted[place] != 0
                break
        if keep:
            rows[kept] = np.int32(row)
            kept += 1
    return kept


@kernel(types.void(I32, NUMBERS, NUMBERS, I64, U32), stage="query")
def gather_pairs(rows: NDArray[np.int32], label_offset: NDArray[np.uint32], label_pair: NDArray[np.uint32],
                 offsets: NDArray[np.int64], out: NDArray[np.uint32]) -> None:
    """The pairs of n rows, one row after the other: `offsets` i64[n + 1] is given, `out` u32 is filled."""
    for i in range(rows.size):
        source = np.int64(label_offset[rows[i]])
        at = offsets[i]
        for k in range(offsets[i + 1] - at):
            out[at + k] = label_pair[source + k]
