# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return,no-untyped-def"
"""Chunks of a block that has histograms: encoding them, and decoding rows with chunks of any kind."""

from __future__ import annotations

import numpy as np
from numba import int32, int64, types, uint8, uint64
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import bytes_at
from tsdb.kernels.registry import device, kernel
from tsdb.storage.block.chunk_kernels import (
    CHUNKS,
    CHUNKS_SIZE,
    DAMAGED,
    FORMS,
    SOUND,
    TOO_MANY,
    chunk_place,
    decode_one,
    forget_samples,
    forget_times,
)
from tsdb.storage.block.layout import HISTOGRAMS
from tsdb.storage.codecs.histogram_encoding_kernels import encode_histograms
from tsdb.storage.codecs.histogram_kernels import PADDING, chunk_needs, decode_histograms

BYTES = types.Array(uint8, 1, "C", readonly=True)
U8, U64, I32, I64 = uint8[::1], uint64[::1], int32[::1], int64[::1]
TABLE, LONGS = uint64[:, ::1], int64[:, ::1]

PAYLOAD, SCRATCH = range(2)
"""Places in what `histogram_needs` writes."""


@kernel(types.UniTuple(int64, 4)(I64, I64, I64, U64, BYTES, int64, int64, int64, int64, LONGS, LONGS, LONGS, LONGS,
                                 LONGS, U64, U64, U8, I64, I64, I64, I64, I64, I64), stage="later")
def encode_histogram_rows(begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64],
                          values: NDArray[np.uint64], payload: NDArray[np.uint8], row: int, first: int, most: int,
                          enough: int, samples: NDArray[np.int64], layouts: NDArray[np.int64],
                          keys: NDArray[np.int64], places: NDArray[np.int64], codes: NDArray[np.int64],
                          matrix: NDArray[np.uint64], deltas: NDArray[np.uint64], out: NDArray[np.uint8],
                          series: NDArray[np.int64], mint: NDArray[np.int64], maxt: NDArray[np.int64],
                          counts: NDArray[np.int64], where: NDArray[np.int64], length: NDArray[np.int64],
                          ) -> tuple[int, int, int, int]:
    """Chunks of histograms of n rows, from sample `first` (-1: the first one) of `row` on; row i has the samples
    begin[i]:end[i] of `ts` (i64 ms) and `values` (u64, boxed), which lead to `payload` u8[]. A chunk has at most `most`
    samples.

    Writes chunks to `out` u8[], until all are done or `enough` bytes are written; adds to `series` i64[n] how many each
    row has; times, samples, place and bytes of each chunk to the others, i64[samples]. Scratch as in
    `encode_histograms`. Returns (row and sample to go on with, chunks, bytes); the sample is -2 where a value of the
    row leads to no histogram.
    """
    chunk = np.int64(0)
    at = np.int64(0)
    while row < begin.size:
        if first < 0:
            first = begin[row]
        while first < end[row]:
            if at >= enough:
                return row, first, chunk, at
            taken, past = encode_histograms(payload, ts, values, first, min(end[row], first + most), samples, layouts,
                                            keys, places, codes, matrix, deltas, out, at)
            if taken < 0 and chunk > 0:
                return row, first, chunk, at
            if taken <= 0:
                return row, np.int64(-2), chunk, at
            series[row] += 1
            mint[chunk] = ts[first]
            maxt[chunk] = ts[first + taken - 1]
            counts[chunk] = taken
            where[chunk] = at
            length[chunk] = past - at
            at = past
            first += taken
            chunk += 1
        first = np.int64(-1)
        row += 1
    return row, first, chunk, at


@device
def form_of(columns: NDArray[np.uint64], chunk: int) -> int:
    """As i64."""
    return np.int64(bytes_at(columns[FORMS] + np.uint64(chunk), 1)[0])


@kernel(types.void(TABLE, I64, I32, I64, I64, types.boolean[::1]), stage="query")
def find_histograms(columns: NDArray[np.uint64], offsets: NDArray[np.int64], block: NDArray[np.int32],
                    begin: NDArray[np.int64], end: NDArray[np.int64], out: NDArray[np.bool_]) -> None:
    """Which rows have chunks of histograms, `out` bool[rows]. Blocks and ranges of chunks as for `decode_kinds`."""
    for row in range(out.size):
        found = False
        for i in range(offsets[row], offsets[row + 1]):
            for chunk in range(begin[i], end[i]):
                found = found or form_of(columns[np.int64(block[i])], chunk) == HISTOGRAMS
        out[row] = found


@device
def histogram_chunk(columns: NDArray[np.uint64], chunk: int, header: NDArray[np.uint8], copy: NDArray[np.uint8],
                    ) -> tuple[int, int, int, int]:
    """Where a chunk of histograms is: (address of its bytes, which PADDING others follow; 0: it is damaged; how many
    there are; samples; first time in ms). The last chunk of a file is copied to `copy` u8[]."""
    start, size, count, _, first_ts, _ = chunk_place(columns, chunk, header)
    if start == 0:
        return np.uint64(0), size, count, first_ts
    if start + size + PADDING <= np.int64(columns[CHUNKS_SIZE]):
        return columns[CHUNKS] + np.uint64(start), size, count, first_ts
    data = bytes_at(columns[CHUNKS] + np.uint64(start), size)
    for k in range(size):
        copy[k] = data[k]
    return np.uint64(copy.ctypes.data), size, count, first_ts


@kernel(types.UniTuple(int64, 3)(TABLE, I64, I32, I64, I64, int64, int64, U8, U8, I64), stage="query")
def histogram_needs(columns: NDArray[np.uint64], offsets: NDArray[np.int64], block: NDArray[np.int32],
                    begin: NDArray[np.int64], end: NDArray[np.int64], first: int, past: int, header: NDArray[np.uint8],
                    copy: NDArray[np.uint8], needs: NDArray[np.int64]) -> tuple[int, int, int]:
    """What decoding the rows first:past takes, of blocks and ranges of chunks as for `decode_kinds`: bytes of payload
    and words of scratch to `needs` i64[2]; no bytes: they have no histograms. Returns as `decode_kinds`."""
    needs[PAYLOAD] = 0
    needs[SCRATCH] = 0
    for row in range(first, past):
        for i in range(offsets[row], offsets[row + 1]):
            b = np.int64(block[i])
            for chunk in range(begin[i], end[i]):
                if form_of(columns[b], chunk) != HISTOGRAMS:
                    continue
                address, size, count, _ = histogram_chunk(columns[b], chunk, header, copy)
                if address == 0:
                    return np.int64(DAMAGED), b, chunk
                payload, scratch = chunk_needs(bytes_at(address, size), 0, size, count)
                if payload < 0:
                    return np.int64(DAMAGED), b, chunk
                needs[PAYLOAD] += payload
                needs[SCRATCH] = max(needs[SCRATCH], scratch)
    return np.int64(SOUND), np.int64(-1), np.int64(-1)


@kernel(types.UniTuple(int64, 3)(TABLE, I64, I32, I64, I64, int64, int64, int64, int64, U8, U64, U8, U64, U8,
                                 uint64, I64, I64, I64, U64), stage="query")
def decode_kinds(columns: NDArray[np.uint64], offsets: NDArray[np.int64], block: NDArray[np.int32],
                 begin: NDArray[np.int64], end: NDArray[np.int64], first: int, past: int, mint: int, maxt: int,
                 header: NDArray[np.uint8], words: NDArray[np.uint64], copy: NDArray[np.uint8],
                 state: NDArray[np.uint64], payload: NDArray[np.uint8], base: int, out_begin: NDArray[np.int64],
                 out_end: NDArray[np.int64], out_ts: NDArray[np.int64], out_values: NDArray[np.uint64],
                 ) -> tuple[int, int, int]:
    """Decodes the rows first:past of blocks with chunks of any kind, samples with mint <= ts <= maxt (ms). Row r has
    the ranges of chunks offsets[r]:offsets[r + 1]: begin[i]:end[i] (i64[]) of the block number block[i].

    `columns` u64[blocks, COLUMNS] are those of the blocks. Histograms are written to `payload` u8[], which with `state`
    u64[] (scratch) is as large as `histogram_needs` says; boxed values are their places in it and `base`. `header`
    u8[24], `words` and `copy` (u8[] of MAX_CHUNK_BYTES and PADDING) are scratch, and `out_…` are written, as in
    `chunk_kernels.decode_rows`. Returns (SOUND, -1, -1), or what is wrong, the block and the chunk.
    """
    position = np.int64(0)
    used = np.int64(0)
    forget_times(words)
    forget_samples(words)
    for row in range(first, past):
        out_begin[row - first] = position
        for i in range(offsets[row], offsets[row + 1]):
            b = np.int64(block[i])
            for chunk in range(begin[i], end[i]):
                if form_of(columns[b], chunk) != HISTOGRAMS:
                    state_of, position = decode_one(columns[b], chunk, mint, maxt, header, words, out_ts, out_values,
                                                    position)
                    if state_of != SOUND:
                        return np.int64(state_of), b, chunk
                    continue
                address, size, count, first_ts = histogram_chunk(columns[b], chunk, header, copy)
                if address == 0:
                    return np.int64(DAMAGED), b, chunk
                if position + count > out_ts.size:
                    return np.int64(TOO_MANY), b, chunk
                position, used = decode_histograms(bytes_at(address, size + PADDING), 0, size, count, first_ts, mint,
                                                   maxt, state, out_ts, out_values, position, payload, used, base)
                if position < 0:
                    return np.int64(DAMAGED), b, chunk
        out_end[row - first] = position
    return np.int64(SOUND), np.int64(-1), np.int64(-1)
