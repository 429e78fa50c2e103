"""Columns of samples to the chunks of a block."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.storage.block.encoding_kernels import encode_rows
from tsdb.storage.block.layout import FLOATS
from tsdb.storage.block.source import Chunks
from tsdb.storage.codecs.gorilla_kernels import MOST_BITS

CHUNK_SAMPLES = 360
"""Most samples of a chunk. On scraped metrics 120, 240, 360, 480 samples take 3.00, 2.89, 2.85, 2.83 bytes each, index
included, and reading 5 minutes of a series 1.2, 1.3, 1.6, 3.0 us."""


def encode(begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64], values: NDArray[np.uint64], *,
           most: int = CHUNK_SAMPLES) -> Chunks:
    """The chunks of the next n series: series i has the samples begin[i]:end[i] (i64[n]) of `ts` (i64[] ms, ascending
    within a series) and `values` (u64[] bits of floats). A series may have none.

    A chunk has at most `most` samples (1 to 32,768), those of a series about the same. About 20 bytes of address space
    are taken for each sample, and as much memory as the chunks have bytes: give tiles of a few 100,000 samples.
    """
    totals = end - begin
    chunks = int(((totals + most - 1) // most).sum())
    words = np.empty(int(totals.sum()) * MOST_BITS // 64 + 3 * chunks + 2, np.uint64)
    series = np.empty(begin.size, np.int64)
    mint, maxt, samples, word, length = (np.empty(chunks, np.int64) for _ in range(5))
    made = encode_rows(begin, end, ts, values, most, words, series, mint, maxt, samples, word, length)
    if made != chunks:
        raise AssertionError(f"{chunks} chunks were expected, {made} were made")
    address = np.uint64(words.__array_interface__["data"][0]) + word.astype(np.uint64) * np.uint64(8)
    return Chunks(series, mint, maxt, samples, np.full(chunks, FLOATS, np.uint8), address, length, words)
