# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""Chunks in a block's segment files: framing, checksum and kind; many decoded at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.byte_kernels import copy_bytes
from tsdb.kernels.long_crc32c_kernels import long_crc32c
from tsdb.kernels.registry import device, kernel
from tsdb.kernels.varint_kernels import get_varint
from tsdb.prometheus_data.bit_kernels import PADDING, load_big_u32
from tsdb.prometheus_data.float_chunk_kernels import count_of, decode_xor, decode_xor2
from tsdb.prometheus_data.histogram_chunk_kernels import FULL_PAYLOAD, FULL_SCRATCH, decode_histogram_chunk

XOR, HISTOGRAM, FLOAT_HISTOGRAM, XOR2 = range(1, 5)
"""Kinds of chunks, a byte on disk."""
SEGMENT_HEADER = 8
MAX_CHUNK_BYTES = 64 << 20
CHUNKS_DONE, CHUNK_SAMPLES, CHUNK_PAYLOAD, CHUNK_NEEDS, CHUNK_STARTS, CHUNK_STATE = range(6)
"""`state` of `decode_chunks`: chunks, samples and bytes of payload so far; bytes of scratch that the next chunk takes;
1 where a sample has a start time."""
CHUNKS_READ, NEED_SAMPLES, NEED_PAYLOAD, NEED_SCRATCH, NEED_LISTS, BEYOND_SEGMENT, WRONG_CHECKSUM, UNKNOWN_KIND, \
    WRONG_CHUNK = range(9)
PLACE, ROW, MINT, MAXT, CHUNK_COLUMNS = range(5)
"""Columns of `chunks`: segment << 32 | offset, row, ms, ms."""


@device
def frame(data: NDArray[np.uint8], at: int) -> tuple[int, int]:
    """(begin, size) of a chunk's data, behind its kind, in data[at:]; begin -1 where it reaches beyond the end."""
    if at < SEGMENT_HEADER or at >= data.size:
        return np.int64(-1), np.int64(0)
    number, begin = get_varint(data, at, data.size)
    if begin < 0 or begin - at > 5 or number > np.uint64(MAX_CHUNK_BYTES):
        return np.int64(-1), np.int64(0)
    size = np.int64(number)
    if begin + 1 + size + 4 > data.size:
        return np.int64(-1), np.int64(0)
    return begin + 1, size


@kernel("int64(Array(uint8, 1, 'C', readonly=True), int64[:, ::1], uint32[::1], int64[::1], uint64[::1], int64[::1],"
        " uint8[::1], uint8[::1], int64[::1], int64[:, :, ::1], int64[:, ::1], int64[:, :, ::1], int64[::1],"
        " int64[:, ::1], int64[::1])", stage="later")
def decode_chunks(data: NDArray[np.uint8], chunks: NDArray[np.int64], out_row: NDArray[np.uint32],
                  out_ts: NDArray[np.int64], out_values: NDArray[np.uint64], out_starts: NDArray[np.int64],
                  payload: NDArray[np.uint8], scratch: NDArray[np.uint8], fields: NDArray[np.int64],
                  spans: NDArray[np.int64], lists: NDArray[np.int64], changes: NDArray[np.int64],
                  details: NDArray[np.int64], refused: NDArray[np.int64], state: NDArray[np.int64]) -> int:
    """Decodes chunks i64[n, CHUNK_COLUMNS] of one segment file, `data`, from state[CHUNKS_DONE] on, into row, ts,
    value and start time (zeros before) of their samples and into `payload`, while there is room. `scratch` u8[],
    `fields`, `spans` i64[2, m, 2], `lists` i64[3, m], `changes` i64[2, 2, m] and `details` are scratch; refused
    i64[2, HISTOGRAM_PROBLEMS] counts in its first row histograms that are not valid.

    Returns CHUNKS_READ, or why the chunk of state[CHUNKS_DONE] is not: NEED_… for more room, or what is wrong with it.
    """
    position, used = state[CHUNK_SAMPLES], state[CHUNK_PAYLOAD]
    while state[CHUNKS_DONE] < len(chunks):
        chunk = chunks[state[CHUNKS_DONE]]
        start, size = frame(data, chunk[PLACE] & 0xFFFFFFFF)
        if start < 0:
            return np.int64(BEYOND_SEGMENT)
        if np.int64(long_crc32c(np.uint32(0), data, start - 1, start + size)) != load_big_u32(data, start + size):
            return np.int64(WRONG_CHECKSUM)
        kind = data[start - 1]
        if kind < XOR or kind > XOR2:
            return np.int64(UNKNOWN_KIND)
        if size < (2 if kind == XOR else 3 if kind == XOR2 else 4):
            return np.int64(WRONG_CHUNK)
        count = count_of(data, start)
        if position + count > out_ts.size:
            state[CHUNK_NEEDS] = count
            return np.int64(NEED_SAMPLES)
        if size + PADDING > scratch.size:
            state[CHUNK_NEEDS] = size + PADDING
            return np.int64(NEED_SCRATCH)
        copy_bytes(data, start, size, scratch, 0)
        for k in range(PADDING):
            scratch[size + k] = 0
        past, past_used = np.int64(0), used
        refused[1] = 0
        if kind == XOR:
            past = decode_xor(scratch, 0, size, out_ts, out_values, position)
        elif kind == XOR2:
            past = decode_xor2(scratch, 0, size, out_ts, out_values, out_starts, position)
            for k in range(position, past):
                if out_starts[k] != 0:
                    state[CHUNK_STARTS] = 1
        else:
            past, past_used = decode_histogram_chunk(
                scratch, 0, size, kind == FLOAT_HISTOGRAM, out_ts, out_values, position, payload, used, fields, spans,
                lists, changes, details, refused[1])
        if past == FULL_PAYLOAD:
            return np.int64(NEED_PAYLOAD)
        if past == FULL_SCRATCH:
            return np.int64(NEED_LISTS)
        if past < 0:
            return np.int64(WRONG_CHUNK)
        for k in range(position, past):
            out_row[k] = np.uint32(chunk[ROW])
        position, used = past, past_used
        for k in range(refused.shape[1]):
            refused[0, k] += refused[1, k]
        state[CHUNKS_DONE] += 1
        state[CHUNK_SAMPLES], state[CHUNK_PAYLOAD] = position, used
    return np.int64(CHUNKS_READ)
