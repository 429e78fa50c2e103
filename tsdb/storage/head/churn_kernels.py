# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return,no-untyped-def"
"""How many series of each metric came and went, in buckets of time."""

from __future__ import annotations

import numpy as np
from numba import int32, int64, types, uint8, uint16, uint32, uint64
from numpy.typing import NDArray

from tsdb.kernels.hash_kernels import hash_bytes
from tsdb.kernels.registry import device, kernel

OTHERS = 0
"""The row of series without a name, and of metrics that there was no row for."""

U8, U16, U32, U64, I32 = uint8[::1], uint16[::1], uint32[::1], uint64[::1], int32[::1]


@device
def row_of(hashed: int, places: NDArray[np.int32], hashes: NDArray[np.uint64]) -> int:
    """The place in the hash table where the metric's row is, or would be: open addressing, linear probing."""
    mask = np.int64(places.size - 1)
    at = np.int64(hashed) & mask
    while places[at] != 0 and hashes[places[at]] != hashed:
        at = (at + 1) & mask
    return at


@kernel(
    int64(I32, int64, int64, int64, U64, U32, U64, U16, U32, U32, U8, U64, U32, I32, U64, uint8[:, ::1], U16, int64,
          uint32[:, :, ::1]))
def count_churn(
    slots: NDArray[np.int32], kind: int, bucket: int, name: int, secret: NDArray[np.uint64],
    labels: NDArray[np.uint32], label_offset: NDArray[np.uint64], label_count: NDArray[np.uint16],
    pair_name: NDArray[np.uint32], pair_value: NDArray[np.uint32], symbol_bytes: NDArray[np.uint8],
    symbol_offset: NDArray[np.uint64], symbol_length: NDArray[np.uint32], places: NDArray[np.int32],
    hashes: NDArray[np.uint64], texts: NDArray[np.uint8], lengths: NDArray[np.uint16], used: int,
    counts: NDArray[np.uint32],
) -> int:
    """Counts series (i32[n], in the series table) to `counts` u32[rows, kinds, buckets], at the row of their metric.
    `name` is the symbol of ``__name__``.

    Rows below `used` are taken: `hashes` u64[rows] of names, beginnings of these in `texts` u8[rows, longest], their
    `lengths` u16[rows]; `places` i32[power of two, 0: empty] finds them. Returns how many are taken then.
    """
    last = np.int64(-1)
    row = np.int64(OTHERS)
    for i in range(slots.size):
        at = np.int64(label_offset[slots[i]])
        metric = np.int64(-1)
        for k in range(np.int64(label_count[slots[i]])):
            if np.int64(pair_name[labels[at + k]]) == name:
                metric = np.int64(pair_value[labels[at + k]])
                break
        if metric < 0:
            row = np.int64(OTHERS)
        elif metric != last:
            begin = np.int64(symbol_offset[metric])
            size = np.int64(symbol_length[metric])
            hashed = hash_bytes(secret[0], secret[1], symbol_bytes, begin, begin + size)
            place = row_of(hashed, places, hashes)
            row = np.int64(places[place])
            if row == 0 and used < hashes.size:
                row = used
                used += 1
                places[place] = np.int32(row)
                hashes[row] = hashed
                shown = min(size, texts.shape[1])
                lengths[row] = np.uint16(min(size, np.int64(0xFFFF)))
                for k in range(shown):
                    texts[row, k] = symbol_bytes[begin + k]
        last = metric
        counts[row, kind, bucket] += np.uint32(1)
    return used


@kernel(types.void(U64, I32, int64), stage="later")
def place_rows(hashes: NDArray[np.uint64], places: NDArray[np.int32], used: int) -> None:
    """Fills `places`, which is empty, for the rows below `used`."""
    for row in range(1, used):
        places[row_of(hashes[row], places, hashes)] = np.int32(row)
