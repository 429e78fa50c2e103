# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return,no-untyped-def"
"""Chunks of a block: writing, checking and decoding them; and checksums of pages.

Columns that are u32 or u64, as the block needs, come as their bytes and the width of a number.
"""

from __future__ import annotations

import numpy as np
from numba import int32, int64, types, uint8, uint16, uint32, uint64
from numpy.typing import NDArray

from tsdb.kernels.crc32c_kernels import crc32c
from tsdb.kernels.intrinsics import bytes_at, load_u32, load_u64, store_u64
from tsdb.kernels.registry import device, kernel
from tsdb.storage.block.layout import CHUNKS_HEADER_BYTES, FLOATS, MAX_CHUNK_BYTES
from tsdb.storage.codecs.gorilla_kernels import decode_chunk

BYTES = types.Array(uint8, 1, "C", readonly=True)
SHORTS = types.Array(uint16, 1, "C", readonly=True)
NUMBERS = types.Array(uint32, 1, "C", readonly=True)
U8, U32, U64, I32, I64 = uint8[::1], uint32[::1], uint64[::1], int32[::1], int64[::1]

SOUND, DAMAGED, UNKNOWN_FORM, TOO_MANY = range(4)
"""What was found: all is well; a checksum or place is wrong; the chunk is of a kind or codec that this version does not
read; more samples than there is room for."""


@device
def number(column: NDArray[np.uint8], width: int, index: int) -> int:
    """A number of a column, as i64."""
    if width == 4:
        return np.int64(load_u32(column, index * 4))
    return np.int64(load_u64(column, index * 8))


@device
def chunk_crc(header: NDArray[np.uint8], mint: int, maxt: int, samples: int, form: int, data: NDArray[np.uint8],
              start: int, end: int) -> int:
    """The checksum of a chunk: of its row in the index, with absolute times, and its bytes. `header` u8[24]."""
    store_u64(header, 0, np.uint64(mint))
    store_u64(header, 8, np.uint64(maxt))
    store_u64(header, 16, np.uint64(samples) | np.uint64(form) << np.uint64(32))
    return crc32c(crc32c(np.uint32(0), header, 0, 24), data, start, end)


@kernel(types.UniTuple(int64, 2)(int64, U64, I64, I64, I64, I64, BYTES, U8, U8), stage="later")
def copy_chunks(start: int, address: NDArray[np.uint64], length: NDArray[np.int64], mint: NDArray[np.int64],
                maxt: NDArray[np.int64], samples: NDArray[np.int64], form: NDArray[np.uint8],
                header: NDArray[np.uint8], out: NDArray[np.uint8]) -> tuple[int, int]:
    """Copies chunks (columns [k], as in `source.Chunks`) from number `start` on to `out` u8[], each behind its
    checksum, as many as there is room for. Returns (next number, bytes written)."""
    at = 0
    i = start
    while i < address.size and at + 4 + length[i] <= out.size:
        size = length[i]
        data = bytes_at(address[i], size)
        crc = np.uint64(chunk_crc(header, mint[i], maxt[i], samples[i], np.int64(form[i]), data, 0, size))
        for k in range(4):
            out[at + k] = np.uint8((crc >> np.uint64(8 * k)) & np.uint64(0xFF))
        for k in range(size):
            out[at + 4 + k] = data[k]
        at += 4 + size
        i += 1
    return i, at


@kernel(types.void(BYTES, int64, I64, U32), stage="query")
def page_checksums(data: NDArray[np.uint8], size: int, pages: NDArray[np.int64], out: NDArray[np.uint32]) -> None:
    """crc32c of the given `pages` (i64[k]) of `size` bytes of the data to `out` u32[k]; the last may be shorter."""
    for i in range(pages.size):
        start = pages[i] * size
        out[i] = crc32c(np.uint32(0), data, start, min(start + size, data.size))


@kernel(types.void(I32, NUMBERS, BYTES, BYTES, int64, int64, int64, int64, SHORTS, I64, I64, I64), stage="query")
def chunk_ranges(rows: NDArray[np.int32], series_chunk: NDArray[np.uint32], mints: NDArray[np.uint8],
                 maxts: NDArray[np.uint8], width: int, base: int, mint: int, maxt: int, samples: NDArray[np.uint16],
                 begin: NDArray[np.int64], end: NDArray[np.int64], most: NDArray[np.int64]) -> None:
    """Chunks begin:end (i64[n]) of each of n rows that touch mint..maxt (ms, both inclusive), and how many samples they
    hold (`most` i64[n]). `mints` and `maxts` are columns of `width` with times since `base`."""
    for i in range(rows.size):
        row = np.int64(rows[i])
        first = np.int64(series_chunk[row])
        past = min(np.int64(series_chunk[row + 1]), samples.size)
        low, high = first, max(first, past)
        while low < high:
            middle = (low + high) // 2
            if base + number(maxts, width, middle) < mint:
                low = middle + 1
            else:
                high = middle
        begin[i] = low
        total = 0
        while low < past and base + number(mints, width, low) <= maxt:
            total += np.int64(samples[low])
            low += 1
        end[i] = low
        most[i] = total


@device
def check_chunk(chunk: int, chunks: NDArray[np.uint8], offsets: NDArray[np.uint8], offset_width: int, mint: int,
                maxt: int, samples: int, form: int, header: NDArray[np.uint8]) -> tuple[int, int, int]:
    """(SOUND or DAMAGED, where its bytes begin, where they end)."""
    start = number(offsets, offset_width, chunk)
    end = number(offsets, offset_width, chunk + 1)
    if start < CHUNKS_HEADER_BYTES or end - start < 5 or end - start - 4 > MAX_CHUNK_BYTES or end > chunks.size:
        return DAMAGED, 0, 0
    crc = chunk_crc(header, mint, maxt, samples, form, chunks, start + 4, end)
    if np.uint32(crc) != np.uint32(load_u32(chunks, start)):
        return DAMAGED, 0, 0
    return SOUND, start + 4, end


@kernel(int64(int64, int64, BYTES, BYTES, BYTES, BYTES, int64, int64, int64, SHORTS, BYTES, U8), stage="later")
def check_chunks(first: int, past: int, chunks: NDArray[np.uint8], mints: NDArray[np.uint8],
                 maxts: NDArray[np.uint8], offsets: NDArray[np.uint8], time_width: int, offset_width: int, base: int,
                 samples: NDArray[np.uint16], forms: NDArray[np.uint8], header: NDArray[np.uint8]) -> int:
    """The first damaged chunk among first:past, else `past`. Columns as for `decode_rows`."""
    for chunk in range(first, past):
        state, _, _ = check_chunk(chunk, chunks, offsets, offset_width, base + number(mints, time_width, chunk),
                                  base + number(maxts, time_width, chunk), np.int64(samples[chunk]),
                                  np.int64(forms[chunk]), header)
        if state != SOUND:
            return chunk
    return past


@kernel(types.UniTuple(int64, 2)(I64, I64, int64, int64, BYTES, BYTES, BYTES, BYTES, int64, int64, int64, SHORTS, BYTES,
                                 U8, U64, I64, I64, I64, U64), stage="query")
def decode_rows(begin: NDArray[np.int64], end: NDArray[np.int64], mint: int, maxt: int, chunks: NDArray[np.uint8],
                mints: NDArray[np.uint8], maxts: NDArray[np.uint8], offsets: NDArray[np.uint8], time_width: int,
                offset_width: int, base: int, samples: NDArray[np.uint16], forms: NDArray[np.uint8],
                header: NDArray[np.uint8], words: NDArray[np.uint64], out_begin: NDArray[np.int64],
                out_end: NDArray[np.int64], out_ts: NDArray[np.int64], out_values: NDArray[np.uint64],
                ) -> tuple[int, int]:
    """Decodes n rows, of which row i has the chunks begin[i]:end[i]: samples with mint <= ts <= maxt (ms).

    `chunks` is the file; `mints`, `maxts` and `offsets` are columns of the widths given, times since `base` (ms);
    `samples` and `forms` are of all chunks. Each chunk is checked, and copied to `words` (scratch, u64[] of
    MAX_CHUNK_BYTES and 32 KiB) before it is decoded: behind it are zeros, which read as two bits for each sample, so
    that no chunk leads out of the scratch. Writes `out_begin`, `out_end` i64[n], `out_ts` and `out_values`, which have
    room for what `chunk_ranges` counted. Returns (SOUND, -1), or what is wrong and the chunk.
    """
    position = 0
    for row in range(begin.size):
        out_begin[row] = position
        for chunk in range(begin[row], end[row]):
            count = np.int64(samples[chunk])
            first_ts = base + number(mints, time_width, chunk)
            form = np.int64(forms[chunk])
            state, start, past = check_chunk(chunk, chunks, offsets, offset_width, first_ts,
                                             base + number(maxts, time_width, chunk), count, form, header)
            if state != SOUND:
                return state, chunk
            if form != FLOATS:
                return UNKNOWN_FORM, chunk
            if position + count > out_ts.size:
                return TOO_MANY, chunk
            size = past - start
            whole = size // 8
            for k in range(whole):
                words[k] = load_u64(chunks, start + 8 * k)
            last = np.uint64(0)
            for k in range(size - 8 * whole):
                last |= np.uint64(chunks[start + 8 * whole + k]) << np.uint64(8 * k)
            words[whole] = last
            for k in range(whole + 1, whole + 4 + count // 32):
                words[k] = np.uint64(0)
            position = decode_chunk(words, count, first_ts, mint, maxt, out_ts, out_values, position)
        out_end[row] = position
    return SOUND, -1
