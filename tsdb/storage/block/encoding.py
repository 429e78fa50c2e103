"""Columns of samples to the chunks of a block."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.storage.block.encoding_kernels import encode_dense_rows, encode_rows, move_keys
from tsdb.storage.block.layout import DENSE_FLOATS, FLOATS, RELATIVE_FLOATS
from tsdb.storage.block.relative_encoding_kernels import FIELDS, relate_chunks
from tsdb.storage.block.source import Chunks, TimeColumns
from tsdb.storage.codecs.frame_kernels import FRAME_WORDS
from tsdb.storage.codecs.gorilla_kernels import MOST_BITS
from tsdb.storage.codecs.integer_kernels import FRAME_BYTES, SAMPLED
from tsdb.storage.codecs.times_kernels import CACHED, COLUMNS, FULL, LONGEST, STATE

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


DENSE_SAMPLES = 960
"""Most samples of a dense chunk, but for bursts."""
MOST_BYTES = 40
"""That a dense chunk can take for each of its samples."""
BASES, KEPT = 1 << 16, 1 << 20
"""Chunks of histograms, and values of them, that are remembered as bases of relative chunks: 11 MB."""


class DenseEncoder:
    """Columns of samples to dense chunks, and the columns of times that these share.

    It keeps the columns, encoded: of 100,000 series on 2,000 targets, scraped every 15 seconds, 10 MB a day; and, if
    there are families, the chunks of some that others may stand relative to.
    """

    def __init__(self, mint: int, maxt: int, most: int = DENSE_SAMPLES) -> None:
        """All chunks are divided where the range mint <= ts < maxt (ms) is; `most` samples are in one, as a rule."""
        self._mint, self._length, self._most = mint, max(maxt - mint, 1), most
        self._samples = np.empty(256, np.int64)
        self._start = np.zeros(257, np.int64)
        self._arena = np.empty(1 << 18, np.uint8)
        self._keys, self._found = np.zeros(1024, np.uint64), np.zeros(1024, np.int64)
        self._state = np.zeros(STATE, np.int64)
        self._state[CACHED] = -1
        self._times, self._numbers, self._other, self._exceptions = (np.empty(LONGEST, np.int64) for _ in range(4))
        self._left, self._sample = np.empty(FRAME_WORDS, np.int64), np.empty(SAMPLED, np.int64)
        self._bases: NDArray[np.uint64] | None = None
        self._kept, self._state_of_bases = np.zeros(0, np.uint64), np.zeros(1, np.int64)

    def encode(self, begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64],
               values: NDArray[np.uint64], *, families: NDArray[np.uint64] | None = None, number: int = 0) -> Chunks:
        """The chunks of the next n series, as in `encode`. `families` u64[n]: what `families.families` says of them;
        then `number` is how many chunks stand before these in the block."""
        total = int((end - begin).sum())
        out = np.empty(total * MOST_BYTES + FRAME_BYTES + 64, np.uint8)
        series = np.empty(begin.size, np.int64)
        mint, maxt, samples, place, size = (np.empty(total, np.int64) for _ in range(5))
        progress = np.zeros(3, np.int64)
        while encode_dense_rows(
            begin, end, ts, values, self._mint, self._length, self._most, self._keys, self._found, self._samples,
            self._start, self._arena, self._state, self._times, self._numbers, self._other, self._exceptions,
            self._left, self._sample, out, progress, series, mint, maxt, samples, place, size,
        ) == FULL:
            self._grow()
        made, used = int(progress[1]), int(progress[2])
        out = out[:used].copy()
        mint, maxt, samples, place, size = (each[:made].copy() for each in (mint, maxt, samples, place, size))
        form, address = np.full(made, DENSE_FLOATS, np.uint8), np.full(made, _address(out), np.uint64)
        relative = np.zeros(0, np.uint8)
        if families is not None and families.any():
            relative = self._relate(begin, values, families, number, series, mint, maxt, samples, place, size, out,
                                    form)
            address[form == RELATIVE_FLOATS] = _address(relative)
        return Chunks(series, mint, maxt, samples, form, address + place.astype(np.uint64), size, (out, relative))

    def _relate(self, begin: NDArray[np.int64], values: NDArray[np.uint64], families: NDArray[np.uint64], number: int,
                series: NDArray[np.int64], mint: NDArray[np.int64], maxt: NDArray[np.int64], samples: NDArray[np.int64],
                place: NDArray[np.int64], size: NDArray[np.int64], data: NDArray[np.uint8], form: NDArray[np.uint8],
                ) -> NDArray[np.uint8]:
        """The bytes of relative chunks, which `place`, `size` and `form` are about."""
        if self._bases is None:
            self._bases, self._kept = np.zeros((BASES, FIELDS), np.uint64), np.zeros(KEPT, np.uint64)
        out = np.empty(data.size + LONGEST * MOST_BYTES + FRAME_BYTES, np.uint8)
        used = relate_chunks(
            begin, values, families, number, series, mint, maxt, samples, place, size, data, form, out, self._kept,
            self._bases, self._state_of_bases, self._times.view(np.uint64), self._numbers, self._other,
            self._exceptions, self._left, self._sample)
        self._state[CACHED] = -1  # the differences stood where the times of this column did
        return out[:used].copy()

    def columns(self) -> TimeColumns:
        """Those that the chunks name which were made until now."""
        count = int(self._state[COLUMNS])
        start = self._start[: count + 1]
        return TimeColumns(self._samples[:count], np.uint64(_address(self._arena)) + start[:-1].astype(np.uint64),
                           np.diff(start), self._arena)

    def _grow(self) -> None:
        count = int(self._state[COLUMNS])
        if 2 * count + 2 >= self._start.size:
            self._samples = np.concatenate((self._samples, np.empty_like(self._samples)))
            self._start = np.concatenate((self._start, np.zeros_like(self._start[1:])))
            keys, found = self._keys, self._found
            self._keys, self._found = np.zeros(2 * keys.size, np.uint64), np.zeros(2 * found.size, np.int64)
            move_keys(keys, found, self._keys, self._found)
        if 2 * int(self._start[count]) >= self._arena.size - LONGEST * 13:
            self._arena = np.concatenate((self._arena, np.empty(self._arena.size + LONGEST * 13, np.uint8)))


def _address(array: NDArray[np.uint8]) -> int:
    return int(array.__array_interface__["data"][0])
