# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""Columns of samples to chunks."""

from __future__ import annotations

import numpy as np
from numba import int64, uint8, uint64, void
from numpy.typing import NDArray

from tsdb.kernels.registry import device, kernel
from tsdb.storage.codecs.dense_kernels import encode_values
from tsdb.storage.codecs.gorilla_kernels import MOST_BITS, encode_chunk
from tsdb.storage.codecs.times_kernels import FULL, name_times, place_of

U8, U64, I64 = uint8[::1], uint64[::1], int64[::1]


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


@device
def usual_gap(ts: NDArray[np.int64], first: int, past: int) -> int:
    """The middle one of three gaps between ts[first:past], ms; 0 where there is none."""
    count = past - first
    if count < 2:
        return 0
    a, b, c = first + count // 4, first + count // 2, first + 3 * count // 4
    gap_a = ts[min(a + 1, past - 1)] - ts[min(a, past - 2)]
    gap_b = ts[min(b + 1, past - 1)] - ts[min(b, past - 2)]
    gap_c = ts[min(c + 1, past - 1)] - ts[min(c, past - 2)]
    return max(min(gap_a, gap_b), min(max(gap_a, gap_b), gap_c))


@device
def piece_length(length: int, gap: int, most: int) -> int:
    """How long the pieces of a range of `length` are (ms) in which there are at most `most` samples: the range through
    1, 2, 3, 4, 6, 8, 12, 16 …, so that series that are scraped alike are divided alike."""
    pieces = np.int64(1)
    while gap > 0 and length // gap >= most * pieces and pieces < 1 << 20:
        pieces = pieces + pieces // 2 if pieces & (pieces - 1) == 0 and pieces > 1 else max(pieces * 4 // 3, 2)
    return max(-(-length // pieces), 1)


@kernel(int64(I64, I64, I64, U64, int64, int64, int64, U64, I64, I64, I64, U8, I64, I64, I64, I64, I64, I64, I64, U8,
              I64, I64, I64, I64, I64, I64, I64), stage="later")
def encode_dense_rows(
    begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64], values: NDArray[np.uint64], origin: int,
    length: int, most: int, keys: NDArray[np.uint64], found: NDArray[np.int64], column_samples: NDArray[np.int64],
    column_start: NDArray[np.int64], arena: NDArray[np.uint8], state: NDArray[np.int64], times: NDArray[np.int64],
    numbers: NDArray[np.int64], other: NDArray[np.int64], exceptions: NDArray[np.int64], left: NDArray[np.int64],
    sample: NDArray[np.int64], out: NDArray[np.uint8], progress: NDArray[np.int64], series: NDArray[np.int64],
    mint: NDArray[np.int64], maxt: NDArray[np.int64], samples: NDArray[np.int64], place: NDArray[np.int64],
    size: NDArray[np.int64],
) -> int:
    """Dense chunks of n rows as for `encode_rows`, divided where the range `origin` … `origin` + `length` (ms) is.

    `progress` i64[3] says how many rows, chunks and bytes there are; it goes on from there. Columns of times come to
    `keys` … `times`, and scratch is `numbers` … `sample`, as for `times_kernels.name_times` and
    `dense_kernels.encode_values`. Writes the bytes to `out` u8[], and of each chunk times, samples, where in `out` it
    begins and its bytes to the others, i64[chunks]. Returns 0, or FULL before a row for whose columns there is no room.
    """
    row, chunk, at = progress[0], progress[1], progress[2]
    while row < begin.size:
        first = begin[row]
        part = piece_length(length, usual_gap(ts, first, end[row]), most)
        before, before_at = chunk, at
        while first < end[row]:
            border = origin + ((ts[first] - origin) // part + 1) * part
            low, high = first + 1, end[row]
            while low < high:
                half = (low + high) // 2
                if ts[half] < border:
                    low = half + 1
                else:
                    high = half
            total = low - first
            parts = (total + most - 1) // most if total > 2 * most else 1
            start = first
            for k in range(parts):
                past = start + total * (k + 1) // parts
                after = name_times(ts, first, past, out, at, keys, found, column_samples, column_start, arena, state,
                                   times, numbers, left, sample)
                if after == FULL:
                    progress[0], progress[1], progress[2] = row, before, before_at
                    return FULL
                after = encode_values(values, first, past, out, after, numbers, other, exceptions, left, sample)
                mint[chunk], maxt[chunk], samples[chunk] = ts[first], ts[past - 1], past - first
                place[chunk], size[chunk] = at, after - at
                at = after
                chunk += 1
                first = past
        series[row] = chunk - before
        row += 1
    progress[0], progress[1], progress[2] = row, chunk, at
    return 0


@kernel(void(U64, I64, U64, I64), stage="later")
def move_keys(keys: NDArray[np.uint64], found: NDArray[np.int64], to_keys: NDArray[np.uint64],
              to_found: NDArray[np.int64]) -> None:
    """A table of columns, as for `times_kernels.name_times`, to a larger one that is empty."""
    for i in range(keys.size):
        if keys[i] != 0:
            place = place_of(to_keys, keys[i])
            to_keys[place], to_found[place] = keys[i], found[i]
