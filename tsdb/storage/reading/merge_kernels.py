# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return,no-untyped-def"
"""Tiles of several sources: what was deleted is left out of each, then they are merged."""

from __future__ import annotations

import numpy as np
from numba import int64, types, uint8, uint32, uint64
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import words_at
from tsdb.kernels.registry import kernel
from tsdb.storage.block.chunk_kernels import number

BYTES = types.Array(uint8, 1, "C", readonly=True)
U8, U32, U64, I64 = uint8[::1], uint32[::1], uint64[::1], int64[::1]
TABLE = int64[:, ::1]


@kernel(types.void(TABLE, TABLE, U64, U64, I64, I64, I64, I64, I64, U64), stage="query")
def merge(begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.uint64], values: NDArray[np.uint64],
          at: NDArray[np.int64], source: NDArray[np.int64], out_begin: NDArray[np.int64],
          out_end: NDArray[np.int64], out_ts: NDArray[np.int64], out_values: NDArray[np.uint64]) -> None:
    """Merges the samples of k sources, row by row, in time order; of equal times that of the first source stays.

    Samples of row r in source s are at begin[s, r]:end[s, r] (i64[k, rows]) of its columns, whose addresses are in `ts`
    and `values` (u64[k]), in time order, each time once. `at` and `source` i64[k] are scratch. `out_begin` and
    `out_end` i64[rows]; `out_ts` i64[] and `out_values` u64[] have room for all.
    """
    k, rows = begin.shape
    position = 0
    for row in range(rows):
        out_begin[row] = position
        active = 0
        for s in range(k):
            if begin[s, row] < end[s, row]:
                source[active] = s
                at[active] = begin[s, row]
                active += 1
        while active > 0:
            # the source with the earliest sample goes on up to the earliest of the others
            best = 0
            earliest = np.int64(0x7FFFFFFFFFFFFFFF)
            others = np.int64(0x7FFFFFFFFFFFFFFF)
            for j in range(active):
                first = np.int64(words_at(ts[source[j]] + np.uint64(at[j]) * np.uint64(8), 1)[0])
                if j == 0:
                    earliest = first
                elif first < earliest:
                    others = earliest
                    earliest = first
                    best = j
                elif first < others:
                    others = first
            s = source[best]
            left = end[s, row] - at[best]
            from_ts = words_at(ts[s] + np.uint64(at[best]) * np.uint64(8), left)
            from_values = words_at(values[s] + np.uint64(at[best]) * np.uint64(8), left)
            taken = 0
            if active == 1 or np.int64(from_ts[left - 1]) < others:
                taken = left
            elif others == earliest:
                taken = 1
            else:
                while np.int64(from_ts[taken]) < others:
                    taken += 1
            for i in range(taken):
                out_ts[position + i] = np.int64(from_ts[i])
                out_values[position + i] = from_values[i]
            position += taken
            at[best] += taken
            if others == earliest:  # the same time elsewhere
                for j in range(active):
                    if j != best and words_at(ts[source[j]] + np.uint64(at[j]) * np.uint64(8), 1)[0] == from_ts[0]:
                        at[j] += 1
            kept = 0
            for j in range(active):
                if at[j] < end[source[j], row]:
                    source[kept] = source[j]
                    at[kept] = at[j]
                    kept += 1
            active = kept
        out_end[row] = position


@kernel(types.void(I64, I64, I64, U64, I64, I64, I64, I64), stage="later")
def drop_deleted(begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64], values: NDArray[np.uint64],
                 first: NDArray[np.int64], past: NDArray[np.int64], mint: NDArray[np.int64],
                 maxt: NDArray[np.int64]) -> None:
    """Takes the samples within the row's tombstones out of a tile, in place: those of row r are at first[r]:past[r] of
    `mint` and `maxt` (ms, inclusive), in time order."""
    for row in range(begin.size):
        k = first[row]
        if k == past[row]:
            continue
        kept = begin[row]
        for i in range(begin[row], end[row]):
            while k < past[row] and maxt[k] < ts[i]:
                k += 1
            if k == past[row] or ts[i] < mint[k]:
                ts[kept] = ts[i]
                values[kept] = values[i]
                kept += 1
        end[row] = kept


@kernel(int64(I64, I64, BYTES, BYTES, int64, int64, I64, I64, I64, I64, I64), stage="later")
def keep_undeleted(begin: NDArray[np.int64], end: NDArray[np.int64], mints: NDArray[np.uint8],
                   maxts: NDArray[np.uint8], width: int, base: int, first: NDArray[np.int64],
                   past: NDArray[np.int64], mint: NDArray[np.int64], maxt: NDArray[np.int64],
                   kept: NDArray[np.int64]) -> int:
    """Writes the numbers of those of n rows to `kept` i64[n] that have a chunk among begin:end of the block that none
    of the row's tombstones, as for `drop_deleted`, covers. How many they are. Columns of chunks as for a block."""
    found = 0
    for row in range(begin.size):
        k = first[row]
        for chunk in range(begin[row], end[row]):
            from_ts = base + number(mints, width, chunk)
            while k < past[row] and maxt[k] < from_ts:
                k += 1
            if k == past[row] or from_ts < mint[k] or maxt[k] < base + number(maxts, width, chunk):
                kept[found] = row
                found += 1
                break
    return found
