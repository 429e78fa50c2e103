# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""Columns of samples to chunks."""

from __future__ import annotations

import numpy as np
from numba import int64, uint64
from numpy.typing import NDArray

from tsdb.kernels.registry import kernel
from tsdb.storage.codecs.gorilla_kernels import MOST_BITS, encode_chunk

U64, I64 = uint64[::1], int64[::1]


@kernel(int64(I64, I64, I64, U64, int64, U64, I64, I64, I64, I64, I64, I64), stage="later")
def encode_rows(begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64], values: NDArray[np.uint64],
                most: int, words: NDArray[np.uint64], series: NDArray[np.int64], mint: NDArray[np.int64],
                maxt: NDArray[np.int64], samples: NDArray[np.int64], word: NDArray[np.int64],
                length: NDArray[np.int64]) -> int:
    """Gorilla chunks of n rows; row i has the samples begin[i]:end[i] of `ts` (i64 ms) and `values` (u64 bits).

    The samples of a row are spread evenly over as few chunks of at most `most` samples as there can be. Writes `words`
    u64[], with room for MOST_BITS for each sample and two words more for each chunk; how many chunks each row has to
    `series` i64[n]; times, samples, first word and bytes of each chunk to the others, i64[chunks]. Returns the chunks.
    """
    chunk = 0
    at = 0
    for row in range(begin.size):
        total = end[row] - begin[row]
        count = (total + most - 1) // most
        series[row] = count
        first = begin[row]
        for k in range(count):
            past = begin[row] + total * (k + 1) // count
            if at + (past - first) * MOST_BITS // 64 + 2 > words.size:
                return -1
            bits = encode_chunk(ts, values, first, past, words[at:])
            mint[chunk] = ts[first]
            maxt[chunk] = ts[past - 1]
            samples[chunk] = past - first
            word[chunk] = at
            length[chunk] = (bits + 7) // 8
            at += (bits + 63) // 64
            chunk += 1
            first = past
    return chunk
