# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return,no-untyped-def"
"""Rows of a result that have chunks in several blocks, one after the other in time."""

from __future__ import annotations

import numpy as np
from numba import int32, int64, types, uint8, uint64
from numpy.typing import NDArray

from tsdb.kernels.registry import kernel
from tsdb.storage.block.chunk_kernels import SOUND, TOO_MANY, decode_one, forget_samples

U8, U64, I32, I64 = uint8[::1], uint64[::1], int32[::1], int64[::1]
TABLE = uint64[:, ::1]

OVERLAP = -1
"""Samples of the later source begin before the blocks' end."""


@kernel(types.void(I64, I64, I64, I64, I64, I32, I64, I64), stage="query")
def by_row(rows: NDArray[np.int64], ends: NDArray[np.int64], begin: NDArray[np.int64], end: NDArray[np.int64],
           offsets: NDArray[np.int64], block: NDArray[np.int32], out_begin: NDArray[np.int64],
           out_end: NDArray[np.int64]) -> None:
    """Sorts the ranges of chunks of k blocks by row, keeping the order of the blocks within a row.

    Those of block b are the numbers ends[b - 1]:ends[b] (i64[k]) of `rows`, `begin` and `end` (i64[n]). Those of row r
    come to offsets[r]:offsets[r + 1] of `block`, `out_begin` and `out_end`; `offsets` i64[rows + 2] must be zero.
    """
    for i in range(rows.size):
        offsets[rows[i] + 2] += 1
    for r in range(2, offsets.size):
        offsets[r] += offsets[r - 1]
    b = 0
    for i in range(rows.size):
        while i >= ends[b]:
            b += 1
        at = offsets[rows[i] + 1]
        block[at] = b
        out_begin[at] = begin[i]
        out_end[at] = end[i]
        offsets[rows[i] + 1] = at + 1


@kernel(types.UniTuple(int64, 3)(TABLE, I64, I32, I64, I64, int64, I64, int64, int64, I64, I64, I64, U64, U8, U64,
                                 I64, I64, I64, U64), stage="query")
def decode_blocks(columns: NDArray[np.uint64], offsets: NDArray[np.int64], block: NDArray[np.int32],
                  begin: NDArray[np.int64], end: NDArray[np.int64], first: int, order: NDArray[np.int64], mint: int,
                  maxt: int, later_begin: NDArray[np.int64], later_end: NDArray[np.int64], later_ts: NDArray[np.int64],
                  later_values: NDArray[np.uint64], header: NDArray[np.uint8], words: NDArray[np.uint64],
                  out_begin: NDArray[np.int64], out_end: NDArray[np.int64], out_ts: NDArray[np.int64],
                  out_values: NDArray[np.uint64]) -> tuple[int, int, int]:
    """Decodes n rows from `first` on, samples with mint <= ts <= maxt (ms): of each row its chunks in the blocks, as
    from `by_row`, then its samples from a later source, later_begin[i]:later_end[i] (i64[n]) of its columns. `order`
    i64[n], a permutation, says in which order: neighbours in a block are read quicker one after the other.

    `columns` u64[blocks, COLUMNS] are those of the blocks, which do not overlap. `header` and `words` are scratch, and
    `out_…` are written, as in `block.chunk_kernels.decode_rows`, but rows stand in that order; in `words` are the times
    that were read before, for the same mint and maxt, if any. Returns (SOUND, -1, -1); (OVERLAP, -1, -1); or what is
    wrong, the block and the chunk: TOO_MANY where `out_…` have no room for all samples of each chunk.
    """
    position = 0
    forget_samples(words)
    for k in range(order.size):
        at = order[k]
        row = first + at
        out_begin[at] = position
        for i in range(offsets[row], offsets[row + 1]):
            b = np.int64(block[i])
            for chunk in range(begin[i], end[i]):
                state, position = decode_one(columns[b], chunk, mint, maxt, header, words, out_ts, out_values, position)
                if state != SOUND:
                    return state, b, chunk
        low = later_begin[at]
        more = later_end[at] - low
        if more > 0:
            if position + more > out_ts.size:
                return TOO_MANY, -1, -1
            if position > out_begin[at] and out_ts[position - 1] >= later_ts[low]:
                return OVERLAP, -1, -1
            for i in range(more):
                out_ts[position + i] = later_ts[low + i]
                out_values[position + i] = later_values[low + i]
            position += more
        out_end[at] = position
    return SOUND, -1, -1
