# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return,no-untyped-def"
"""Labels of the series of a block. Rows are their numbers in the block."""

from __future__ import annotations

import numpy as np
from numba import boolean, int32, int64, types, uint8, uint32
from numpy.typing import NDArray

from tsdb.kernels.registry import kernel

NUMBERS = types.Array(uint32, 1, "C", readonly=True)
U8, U32, I32, I64 = uint8[::1], uint32[::1], int32[::1], int64[::1]


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
