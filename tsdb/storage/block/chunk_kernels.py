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


BEYOND = -2
"""An item that there is not."""


@kernel(types.UniTuple(int64, 2)(I64, I64, int64, int64, BYTES, int64, NUMBERS, types.boolean[::1]), stage="query")
def check_spans(begin: NDArray[np.int64], end: NDArray[np.int64], items: int, width: int, data: NDArray[np.uint8],
                page: int, crcs: NDArray[np.uint32], unchecked: NDArray[np.bool_]) -> tuple[int, int]:
    """Checks the pages of `page` bytes in which the items begin[i]:end[i] (i64[n]) of `width` bytes stand, where that
    was not done before: `unchecked` bool[pages]. The data are `items` items, and `crcs` u32[pages] are those of the
    pages. Returns (-1, BEYOND where an item is not there, or a page that is damaged; how many pages were checked)."""
    checked = 0
    known_from, known_to = np.int64(0), np.int64(0)  # bytes of the last span's pages: the next one is near as a rule
    for i in range(begin.size):
        if begin[i] < 0 or end[i] < begin[i] or end[i] > items:
            return BEYOND, checked
        from_byte, to_byte = begin[i] * width, end[i] * width
        if from_byte == to_byte or (from_byte >= known_from and to_byte <= known_to):
            continue
        first, past = from_byte // page, (to_byte - 1) // page + 1
        for k in range(first, past):
            if k < unchecked.size and unchecked[k]:
                if crc32c(np.uint32(0), data, k * page, min((k + 1) * page, data.size)) != crcs[k]:
                    return k, checked
                unchecked[k] = False
                checked += 1
        known_from, known_to = first * page, past * page
    return -1, checked


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
def is_sound(chunks: NDArray[np.uint8], start: int, end: int, mint: int, maxt: int, samples: int, form: int,
             header: NDArray[np.uint8]) -> bool:
    """Whether chunks[start:end] are a checksum and what it is of."""
    if start < CHUNKS_HEADER_BYTES or end - start < 5 or end - start - 4 > MAX_CHUNK_BYTES or end > chunks.size:
        return False
    crc = chunk_crc(header, mint, maxt, samples, form, chunks, start + 4, end)
    return np.uint32(crc) == np.uint32(load_u32(chunks, start))


@kernel(int64(int64, int64, BYTES, BYTES, BYTES, BYTES, int64, int64, int64, SHORTS, BYTES, U8), stage="later")
def check_chunks(first: int, past: int, chunks: NDArray[np.uint8], mints: NDArray[np.uint8],
                 maxts: NDArray[np.uint8], offsets: NDArray[np.uint8], time_width: int, offset_width: int, base: int,
                 samples: NDArray[np.uint16], forms: NDArray[np.uint8], header: NDArray[np.uint8]) -> int:
    """The first damaged chunk among first:past, else `past`. `chunks` is the file; `mints`, `maxts` and `offsets` are
    columns of the widths given, times since `base` (ms); `samples` and `forms` are of all chunks; `header` u8[24]."""
    for chunk in range(first, past):
        if not is_sound(chunks, number(offsets, offset_width, chunk), number(offsets, offset_width, chunk + 1),
                        base + number(mints, time_width, chunk), base + number(maxts, time_width, chunk),
                        np.int64(samples[chunk]), np.int64(forms[chunk]), header):
            return chunk
    return past


CHUNKS, CHUNKS_SIZE, MINTS, MAXTS, OFFSETS, TIME_WIDTH, OFFSET_WIDTH, BASE, SAMPLES, FORMS, COLUMNS = range(11)
"""Places in what `Block.columns` gives: addresses of the file of chunks and of columns of the index, the file's size,
widths, and the time (ms) that `MINTS` and `MAXTS` are since."""


@device
def number_at(address: int, width: int, index: int) -> int:
    """A number of a column, as i64."""
    if width == np.uint64(4):
        return np.int64(load_u32(bytes_at(address + np.uint64(index) * np.uint64(4), 4), 0))
    return np.int64(load_u64(bytes_at(address + np.uint64(index) * np.uint64(8), 8), 0))


@device
def decode_one(columns: NDArray[np.uint64], chunk: int, mint: int, maxt: int, header: NDArray[np.uint8],
               words: NDArray[np.uint64], out_ts: NDArray[np.int64], out_values: NDArray[np.uint64],
               position: int) -> tuple[int, int]:
    """Checks and decodes a chunk of the block with these `columns`, as `decode_rows` does: (SOUND or what is wrong, the
    next position)."""
    base = np.int64(columns[BASE])
    data = bytes_at(columns[SAMPLES] + np.uint64(chunk) * np.uint64(2), 2)
    count = np.int64(data[0]) | np.int64(data[1]) << 8
    form = np.int64(bytes_at(columns[FORMS] + np.uint64(chunk), 1)[0])
    first_ts = base + number_at(columns[MINTS], columns[TIME_WIDTH], chunk)
    last_ts = base + number_at(columns[MAXTS], columns[TIME_WIDTH], chunk)
    start = number_at(columns[OFFSETS], columns[OFFSET_WIDTH], chunk)
    past = number_at(columns[OFFSETS], columns[OFFSET_WIDTH], chunk + 1)
    chunks = bytes_at(columns[CHUNKS], np.int64(columns[CHUNKS_SIZE]))
    if not is_sound(chunks, start, past, first_ts, last_ts, count, form, header):
        return DAMAGED, position
    if form != FLOATS:
        return UNKNOWN_FORM, position
    if position + count > out_ts.size:
        return TOO_MANY, position
    start += 4
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
    return SOUND, decode_chunk(words, count, first_ts, mint, maxt, out_ts, out_values, position)


@kernel(types.UniTuple(int64, 2)(U64, I64, I64, int64, int64, U8, U64, I64, I64, I64, U64), stage="query")
def decode_rows(columns: NDArray[np.uint64], begin: NDArray[np.int64], end: NDArray[np.int64], mint: int, maxt: int,
                header: NDArray[np.uint8], words: NDArray[np.uint64], out_begin: NDArray[np.int64],
                out_end: NDArray[np.int64], out_ts: NDArray[np.int64], out_values: NDArray[np.uint64],
                ) -> tuple[int, int]:
    """Decodes n rows, of which row i has the chunks begin[i]:end[i]: samples with mint <= ts <= maxt (ms).

    `columns` u64[COLUMNS] are the block's. Each chunk is checked, and copied to `words` (scratch, u64[] of
    MAX_CHUNK_BYTES and 32 KiB) before it is decoded: behind it are zeros, which read as two bits for each sample, so
    that no chunk leads out of the scratch. `header` u8[24] is scratch, too. Writes `out_begin`, `out_end` i64[n],
    `out_ts` and `out_values`, which have room for what `chunk_ranges` counted. Returns (SOUND, -1), or what is wrong
    and the chunk.
    """
    position = 0
    for row in range(begin.size):
        out_begin[row] = position
        for chunk in range(begin[row], end[row]):
            state, position = decode_one(columns, chunk, mint, maxt, header, words, out_ts, out_values, position)
            if state != SOUND:
                return state, chunk
        out_end[row] = position
    return SOUND, -1
