# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""Samples of many series into chunks, framed as they stand in a block's segment files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.byte_kernels import copy_bytes
from tsdb.kernels.long_crc32c_kernels import long_crc32c
from tsdb.kernels.registry import kernel
from tsdb.kernels.varint_kernels import put_varint
from tsdb.model.native_histograms import BOX, FLOAT_FLAG
from tsdb.prometheus_data.bit_kernels import store_big_u32
from tsdb.prometheus_data.chunk_kernels import FLOAT_HISTOGRAM, HISTOGRAM, XOR
from tsdb.prometheus_data.float_chunk_kernels import encode_xor
from tsdb.prometheus_data.histogram_encoding_kernels import (
    MOST_SAMPLES,
    SHORT_SCRATCH,
    SHORT_WORK,
    encode_histograms,
    place_of,
)

WRITE_ROW, WRITE_SAMPLE, WRITE_BYTES, WRITE_CHUNKS, WRITE_HISTOGRAMS, WRITE_STATE = range(6)
"""`state` of `encode_chunks`: where it goes on (row, and its next sample, -1: the first); bytes, chunks and samples
that are histograms, so far."""
TILE_WRITTEN, OUT_FULL, METAS_FULL, MORE_SCRATCH, MORE_WORK = range(5)
META_ROW, META_MINT, META_MAXT, META_PLACE, META_SAMPLES, META_COLUMNS = range(6)
FRAME_BYTES = 10
FLOAT_SCRATCH = 4096
"""Bytes that MOST_SAMPLES floats fit into."""


@kernel("int64(int64[::1], int64[::1], int64[::1], uint64[::1], uint8[::1], uint8[::1], uint8[::1], int64[:, ::1],"
        " int64[:, ::1], int64[::1])", stage="later")
def encode_chunks(begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64],
                  values: NDArray[np.uint64], payload: NDArray[np.uint8], out: NDArray[np.uint8],
                  scratch: NDArray[np.uint8], work: NDArray[np.int64], metas: NDArray[np.int64],
                  state: NDArray[np.int64]) -> int:
    """Encodes the samples begin[row]:end[row] of each row of a tile, from state[WRITE_ROW] on, into `out` while there
    is room; `payload` has the histograms. metas i64[n, META_COLUMNS] takes row, first and last time (ms), place in
    `out` and number of samples of each chunk. `scratch` u8[FLOAT_SCRATCH …] and `work` i64[3, buckets] are scratch.

    Returns TILE_WRITTEN, or what there must be more of."""
    while state[WRITE_ROW] < begin.size:
        row = state[WRITE_ROW]
        first = state[WRITE_SAMPLE] if state[WRITE_SAMPLE] >= 0 else begin[row]
        past = end[row]
        if first >= past:
            state[WRITE_ROW], state[WRITE_SAMPLE] = row + 1, -1
            continue
        if state[WRITE_CHUNKS] == len(metas):
            return np.int64(METAS_FULL)
        kind, size = np.int64(XOR), np.int64(0)
        histogram = values[first] >= np.uint64(BOX)
        if histogram:
            floats = payload[place_of(values[first]) + 4] & np.uint8(FLOAT_FLAG) != 0
            kind = np.int64(FLOAT_HISTOGRAM if floats else HISTOGRAM)
            done, size = encode_histograms(ts, values, payload, begin[row], first, past, scratch, work)
            if done == SHORT_SCRATCH:
                return np.int64(MORE_SCRATCH)
            if done == SHORT_WORK:
                return np.int64(MORE_WORK)
        else:
            done = np.int64(1)
            while first + done < past and done < MOST_SAMPLES and values[first + done] < np.uint64(BOX):
                done += 1
            size = encode_xor(ts, values, first, first + done, scratch, 0)
        at = state[WRITE_BYTES]
        if at + size + FRAME_BYTES > out.size:
            return np.int64(OUT_FULL)
        data = put_varint(out, at, np.uint64(size))
        out[data] = np.uint8(kind)
        copy_bytes(scratch, 0, size, out, data + 1)
        behind = data + 1 + size
        store_big_u32(out, behind, np.int64(long_crc32c(np.uint32(0), out, data, behind)))
        chunk = state[WRITE_CHUNKS]
        metas[chunk, META_ROW], metas[chunk, META_PLACE], metas[chunk, META_SAMPLES] = row, at, done
        metas[chunk, META_MINT], metas[chunk, META_MAXT] = ts[first], ts[first + done - 1]
        state[WRITE_BYTES] = behind + 4
        state[WRITE_CHUNKS] = chunk + 1
        state[WRITE_SAMPLE] = first + done
        if histogram:
            state[WRITE_HISTOGRAMS] += done
    return np.int64(TILE_WRITTEN)
