# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return,no-untyped-def"
"""Labels of the series of a block. Rows are their numbers in the block."""

from __future__ import annotations

import numpy as np
from numba import boolean, int32, int64, types, uint8, uint32
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import load_u32
from tsdb.kernels.registry import device, kernel

BYTES = types.Array(uint8, 1, "C", readonly=True)
NUMBERS = types.Array(uint32, 1, "C", readonly=True)
U8, U32, I32, I64 = uint8[::1], uint32[::1], int32[::1], int64[::1]


@device
def item(data: NDArray[np.uint8], width: int, index: int) -> int:
    """A number of a column of u16 or u32, which comes as its bytes and the width of a number, as i64."""
    if width == 2:
        return np.int64(data[2 * index]) | np.int64(data[2 * index + 1]) << 8
    return np.int64(load_u32(data, 4 * index))


@kernel(boolean(I64, NUMBERS, BYTES, int64, U8), stage="query")
def mark_rows(pairs: NDArray[np.int64], posting_offset: NDArray[np.uint32], posting: NDArray[np.uint8], width: int,
              marks: NDArray[np.uint8]) -> bool:
    """Sets `marks` u8[rows] for the rows that have any of `pairs` (i64). False: a row is out of bounds."""
    for i in range(pairs.size):
        for k in range(np.int64(posting_offset[pairs[i]]), np.int64(posting_offset[pairs[i] + 1])):
            row = item(posting, width, k)
            if row >= marks.size:
                return False
            marks[row] = 1
    return True


@kernel(int64(I32, int64, U8, boolean, NUMBERS, BYTES, int64), stage="query")
def keep_labelled(rows: NDArray[np.int32], low: int, wanted: NDArray[np.uint8], absent: bool,
                  label_offset: NDArray[np.uint32], label_pair: NDArray[np.uint8], width: int) -> int:
    """Keeps those of `rows` (i32, in place) that have a pair p from `low` on with `wanted`[p - low] (u8[pairs of a
    name]); a row with no pair of that name is kept if `absent`. How many are left."""
    kept = 0
    for i in range(rows.size):
        row = np.int64(rows[i])
        keep = absent
        for k in range(np.int64(label_offset[row]), np.int64(label_offset[row + 1])):
            place = item(label_pair, width, k) - low
            if place >= 0:
                if place < wanted.size:
                    keep = wanted[place] != 0
                break
        if keep:
            rows[kept] = np.int32(row)
            kept += 1
    return kept


@kernel(types.void(I32, NUMBERS, BYTES, int64, I64, U32), stage="query")
def gather_pairs(rows: NDArray[np.int32], label_offset: NDArray[np.uint32], label_pair: NDArray[np.uint8], width: int,
                 offsets: NDArray[np.int64], out: NDArray[np.uint32]) -> None:
    """The pairs of n rows, one row after the other: `offsets` i64[n + 1] is given, `out` u32 is filled."""
    for i in range(rows.size):
        source = np.int64(label_offset[rows[i]])
        at = offsets[i]
        for k in range(offsets[i + 1] - at):
            out[at + k] = np.uint32(item(label_pair, width, source + k))
