# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return,no-untyped-def"
"""Chunks of a block: checking and decoding them.

Columns that are u32 or u64, as the block needs, come as their bytes and the width of a number.
"""

from __future__ import annotations

import numpy as np
from numba import int32, int64, types, uint8, uint16, uint32, uint64
from numpy.typing import NDArray

from tsdb.kernels.crc32c_kernels import crc32c
from tsdb.kernels.intrinsics import bytes_at, load_u32, load_u64, store_u64
from tsdb.kernels.long_crc32c_kernels import long_crc32c
from tsdb.kernels.registry import device, kernel
from tsdb.kernels.varint_kernels import get_varint, take_varint
from tsdb.storage.block.layout import CHUNKS_HEADER_BYTES, DENSE_FLOATS, FLOATS, MAX_CHUNK_BYTES, RELATIVE_FLOATS
from tsdb.storage.codecs.dense_kernels import BOXED, NONE, NOT_BOXED, VALUE_WORDS, decode_values
from tsdb.storage.codecs.gorilla_kernels import decode_chunk
from tsdb.storage.codecs.integer_kernels import BAD
from tsdb.storage.codecs.relative_kernels import add
from tsdb.storage.codecs.times_kernels import EVEN, LONGEST, SOME, THREE, TWO, WHOLE, take_times

BYTES = types.Array(uint8, 1, "C", readonly=True)
SHORTS = types.Array(uint16, 1, "C", readonly=True)
NUMBERS = types.Array(uint32, 1, "C", readonly=True)
U8, U32, U64, I32, I64 = uint8[::1], uint32[::1], uint64[::1], int32[::1], int64[::1]

SOUND, DAMAGED, UNKNOWN_FORM, TOO_MANY = range(4)
"""What was found: all is well; a checksum or place is wrong; the chunk is of a kind or codec that this version does not
read; more samples than there is room for."""
COLUMN_FORM = 0xFFFF
"""In a column's checksum, where a chunk has its form."""
ONE, EIGHT, LOW32 = np.uint64(1), np.uint64(8), np.uint64((1 << 32) - 1)
ZERO_WORDS = 24
"""Behind the bytes of dense chunks and of columns in the scratch: so far their decoding may read."""


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
    return long_crc32c(crc32c(np.uint32(0), header, 0, 24), data, start, end)


@kernel(types.void(I32, NUMBERS, BYTES, BYTES, int64, int64, int64, int64, SHORTS, I64, I64, I64, I64), stage="query")
def chunk_ranges(rows: NDArray[np.int32], series_chunk: NDArray[np.uint32], mints: NDArray[np.uint8],
                 maxts: NDArray[np.uint8], width: int, base: int, mint: int, maxt: int, samples: NDArray[np.uint16],
                 begin: NDArray[np.int64], end: NDArray[np.int64], most: NDArray[np.int64],
                 likely: NDArray[np.int64]) -> None:
    """Chunks begin:end (i64[n]) of each of n rows that touch mint..maxt (ms, both inclusive), how many samples they
    hold (`most` i64[n]), and about how many of these are within the times (`likely` i64[n]). `mints` and `maxts` are
    columns of `width` with times since `base`."""
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
        total, within = np.int64(0), np.int64(0)
        while low < past and base + number(mints, width, low) <= maxt:
            count = np.int64(samples[low])
            total += count
            first_ts, last_ts = base + number(mints, width, low), base + number(maxts, width, low)
            if mint <= first_ts and last_ts <= maxt:
                within += count
            else:
                part = np.float64(min(last_ts, maxt) - max(first_ts, mint) + 1) / np.float64(last_ts - first_ts + 1)
                within += np.int64(part * np.float64(count)) + 1
            low += 1
        end[i] = low
        most[i] = total
        likely[i] = within


@device
def is_sound(chunks: NDArray[np.uint8], start: int, end: int, mint: int, maxt: int, samples: int, form: int,
             header: NDArray[np.uint8]) -> bool:
    """Whether chunks[start:end] are a checksum and what it is of."""
    if start < CHUNKS_HEADER_BYTES or end - start < 5 or end - start - 4 > MAX_CHUNK_BYTES or end > chunks.size:
        return False
    crc = chunk_crc(header, mint, maxt, samples, form, chunks, start + 4, end)
    return np.uint32(crc) == np.uint32(load_u32(chunks, start))


(CHUNKS, CHUNKS_SIZE, MINTS, MAXTS, OFFSETS, TIME_WIDTH, OFFSET_WIDTH, BASE, SAMPLES, FORMS, TIMES, TIME_OFFSETS,
 TIME_OFFSET_WIDTH, TIME_SAMPLES, COLUMNS) = range(15)
"""Places in what `Block.columns` gives: addresses of the file of chunks and of columns of the index, the file's size,
widths, the time (ms) that `MINTS` and `MAXTS` are since, and how many columns of times there are."""
CHUNK_WORDS = (MAX_CHUNK_BYTES + (1 << 15)) // 8
KNOWN_AT, KNOWN = 2 * CHUNK_WORDS, 2048
KEPT_AT, KEPT = KNOWN_AT + KNOWN * 4 + 1, 1 << 18
LONG_AT = KEPT_AT + KEPT
VALUES_AT = LONG_AT + LONGEST + 1
RECENT_AT, RECENT = VALUES_AT + VALUE_WORDS, 256
SCRATCH_WORDS = RECENT_AT + RECENT * 4
"""Of the scratch of who decodes: bytes of a chunk; those of a column of times; which columns have been read, KNOWN at
the most: block, column, where its times between mint and maxt are, and which of the column they are; how many are kept,
and these; a column that is being read, or differences; what decoding values takes; and where the samples of RECENT
dense chunks are: block, chunk, place, and how many of which."""


@device
def number_at(address: int, width: int, index: int) -> int:
    """A number of a column, as i64."""
    if width == np.uint64(4):
        return np.int64(load_u32(bytes_at(address + np.uint64(index) * np.uint64(4), 4), 0))
    return np.int64(load_u64(bytes_at(address + np.uint64(index) * np.uint64(8), 8), 0))


@device
def short_at(address: int, index: int) -> int:
    data = bytes_at(address + np.uint64(index) * np.uint64(2), 2)
    return np.int64(data[0]) | np.int64(data[1]) << 8


@device
def chunk_place(columns: NDArray[np.uint64], chunk: int, header: NDArray[np.uint8],
                ) -> tuple[int, int, int, int, int, int]:
    """(where a chunk's bytes begin in the file, how many there are, samples, form, first and last time); nowhere (0)
    where its checksum is wrong."""
    base = np.int64(columns[BASE])
    count = short_at(columns[SAMPLES], chunk)
    form = np.int64(bytes_at(columns[FORMS] + np.uint64(chunk), 1)[0])
    first_ts = base + number_at(columns[MINTS], columns[TIME_WIDTH], chunk)
    last_ts = base + number_at(columns[MAXTS], columns[TIME_WIDTH], chunk)
    start = number_at(columns[OFFSETS], columns[OFFSET_WIDTH], chunk)
    past = number_at(columns[OFFSETS], columns[OFFSET_WIDTH], chunk + 1)
    chunks = bytes_at(columns[CHUNKS], np.int64(columns[CHUNKS_SIZE]))
    if not is_sound(chunks, start, past, first_ts, last_ts, count, form, header):
        return 0, 0, count, form, first_ts, last_ts
    return start + 4, past - start - 4, count, form, first_ts, last_ts


@device
def column_place(columns: NDArray[np.uint64], column: int, header: NDArray[np.uint8]) -> tuple[int, int, int]:
    """(where the bytes of a column of times begin in the file, how many there are, times); nowhere (0) where there is
    none, or its checksum is wrong."""
    if not 0 <= column < np.int64(columns[TIMES]):
        return 0, 0, 0
    count = short_at(columns[TIME_SAMPLES], column)
    start = number_at(columns[TIME_OFFSETS], columns[TIME_OFFSET_WIDTH], column)
    past = number_at(columns[TIME_OFFSETS], columns[TIME_OFFSET_WIDTH], column + 1)
    chunks = bytes_at(columns[CHUNKS], np.int64(columns[CHUNKS_SIZE]))
    if count == 0 or not is_sound(chunks, start, past, column, 0, count, COLUMN_FORM, header):
        return 0, 0, 0
    return start + 4, past - start - 4, count


@device
def base_of(columns: NDArray[np.uint64], chunk: int, start: int, size: int) -> tuple[int, int, bool]:
    """(the base of a relative chunk, -1: none; how many bytes say so; whether differences follow)."""
    coded, at = get_varint(bytes_at(columns[CHUNKS] + np.uint64(start), size), 0, size)
    distance = coded >> np.uint64(1)
    if at < 0 or distance == np.uint64(0) or distance > np.uint64(chunk):
        return np.int64(-1), 0, False
    return chunk - np.int64(distance), at, coded & np.uint64(1) != np.uint64(0)


@device
def base_place(columns: NDArray[np.uint64], base: int, count: int, first_ts: int, last_ts: int,
               header: NDArray[np.uint8]) -> tuple[int, int]:
    """(where the bytes of a base begin in the file, how many there are); nowhere (0) where it is no dense chunk of
    `count` samples between these times (ms), or its checksum is wrong."""
    if base < 0:
        return np.int64(0), np.int64(0)
    start, size, samples, form, first, last = chunk_place(columns, base, header)
    if start == 0 or form != DENSE_FLOATS or samples != count or first != first_ts or last != last_ts:
        return np.int64(0), np.int64(0)
    return start, size


@kernel(int64(int64, int64, U64, U8), stage="later")
def check_chunks(first: int, past: int, columns: NDArray[np.uint64], header: NDArray[np.uint8]) -> int:
    """The first chunk among first:past that is damaged, or its base or the column of its times; else `past`. `columns`
    u64[COLUMNS] are the block's, `header` u8[24] is scratch."""
    for chunk in range(first, past):
        start, size, count, form, first_ts, last_ts = chunk_place(columns, chunk, header)
        if start == 0:
            return chunk
        if form == RELATIVE_FLOATS:
            start, size = base_place(columns, base_of(columns, chunk, start, size)[0], count, first_ts, last_ts, header)
            if start == 0:
                return chunk
            form = DENSE_FLOATS
        if form == DENSE_FLOATS:
            named, _ = get_varint(bytes_at(columns[CHUNKS] + np.uint64(start), size), 0, size)
            if named & THREE != EVEN and column_place(columns, np.int64(named >> TWO), header)[0] == 0:
                return chunk
    return past


@device
def copy_bytes(columns: NDArray[np.uint64], start: int, size: int, words: NDArray[np.uint64], at: int,
               zeros: int) -> None:
    """Bytes of the file of chunks to the scratch, from word `at` on, and so many words of zeros behind them."""
    data = bytes_at(columns[CHUNKS] + np.uint64(start), size)
    whole, first = size // 8, np.uint64(at)
    for k in range(np.uint64(whole)):
        words[first + k] = load_u64(data, np.int64(EIGHT * k))
    last = np.uint64(0)
    for k in range(size - 8 * whole):
        last |= np.uint64(data[8 * whole + k]) << np.uint64(8 * k)
    words[at + whole] = last
    first += np.uint64(whole + 1)
    for k in range(np.uint64(zeros)):
        words[first + k] = NONE


def new_scratch() -> NDArray[np.uint64]:
    """Scratch in which nothing is known."""
    words = np.empty(SCRATCH_WORDS, np.uint64)
    words[KNOWN_AT:KEPT_AT] = 0
    return words


@device
def forget_times(words: NDArray[np.uint64]) -> None:
    """Before the scratch is used for the first time, and for other times than before."""
    for k in range(KNOWN):
        words[KNOWN_AT + k * 4] = NONE
    words[KEPT_AT - 1] = NONE


@device
def forget_samples(words: NDArray[np.uint64]) -> None:
    """Before the scratch is used with other columns of samples than before."""
    for k in range(RECENT):
        words[RECENT_AT + k * 4] = NONE


@device
def not_before(times: NDArray[np.int64], count: int, ts: int) -> int:
    """The first of times[:count], which ascend, that is not before `ts`; else `count`."""
    low, high = NONE, np.uint64(count)
    while low < high:
        half = (low + high) >> ONE
        if times[half] < ts:
            low = half + ONE
        else:
            high = half
    return np.int64(low)


@device
def load_times(columns: NDArray[np.uint64], column: int, likely: int, mint: int, maxt: int, header: NDArray[np.uint8],
               words: NDArray[np.uint64]) -> tuple[int, int, int]:
    """The times of a column that are in mint..maxt (ms), in the scratch: (where they are, which is the first of them,
    which is behind the last); (BAD, 0, 0) where the column is damaged. The last is one of the
    first `likely`, as a rule."""
    at = KNOWN_AT + (column ^ np.int64(columns[CHUNKS] >> np.uint64(12))) % KNOWN * 4
    if words[at] == columns[CHUNKS] and words[at + 1] == np.uint64(column):
        return (np.int64(words[at + 2]), np.int64(words[at + 3] >> np.uint64(32)), np.int64(words[at + 3] & LOW32))
    start, size, count = column_place(columns, column, header)
    if start == 0:
        return BAD, 0, 0
    copy_bytes(columns, start, size, words, CHUNK_WORDS, ZERO_WORDS)
    times = words[LONG_AT:].view(np.int64)
    there = min(likely, count)
    for _ in range(2):
        if take_times(words[CHUNK_WORDS:].view(np.uint8), 0, size, count, there, times,
                      words[VALUES_AT:].view(np.int64)) == BAD:
            return BAD, 0, 0
        if there == count or times[np.uint64(there - 1)] > maxt:
            break
        there = count
    low = not_before(times, there, mint)
    high = there if times[np.uint64(there - 1)] <= maxt else not_before(times, there, maxt + 1)
    if words[KEPT_AT - 1] + np.uint64(max(high - low, 0)) > np.uint64(KEPT):
        forget_times(words)
    place = np.uint64(KEPT_AT) + words[KEPT_AT - 1]
    for k in range(np.uint64(max(high - low, 0))):
        words[place + k] = np.uint64(times[np.uint64(low) + k])
    words[KEPT_AT - 1] += np.uint64(max(high - low, 0))
    words[at], words[at + 1], words[at + 2] = columns[CHUNKS], np.uint64(column), place
    words[at + 3] = np.uint64(low) << np.uint64(32) | np.uint64(high)
    return np.int64(place), low, high


@device
def even_times(count: int, first_ts: int, last_ts: int, mint: int, maxt: int, out: NDArray[np.int64], position: int,
               ) -> tuple[int, int]:
    """Those of `count` times, as far from each other, that are in mint..maxt, from out[position] on: (which is the
    first of them, which is behind the last)."""
    step = (last_ts - first_ts) // (count - 1) if count > 1 else 0
    low, high = 0, count
    if step > 0:
        if first_ts < mint <= last_ts:
            low = (mint - first_ts + step - 1) // step
        if first_ts <= maxt < last_ts:
            high = (maxt - first_ts) // step + 1
    ts = first_ts + step * low
    for i in range(np.uint64(max(high - low, 0))):
        out[np.uint64(position) + i] = ts
        ts += step
    return low, high


@device
def dense_times(columns: NDArray[np.uint64], size: int, count: int, first_ts: int, last_ts: int, mint: int, maxt: int,
                header: NDArray[np.uint8], words: NDArray[np.uint64], out: NDArray[np.int64], position: int,
                ) -> tuple[int, int, int]:
    """The times in mint..maxt of a dense chunk, whose `size` bytes are in the scratch, from out[position] on: (where
    the times end in these bytes, which is the first of those, which is behind the last); (BAD, 0, 0)."""
    data = words[:CHUNK_WORDS].view(np.uint8)
    named, at = take_varint(data, 0)
    way = np.int64(named & THREE)
    if way == EVEN:
        low, high = even_times(count, first_ts, last_ts, mint, maxt, out, position)
        return (at if named == NONE else BAD), low, high
    column = named >> TWO
    if column >= columns[TIMES]:
        return BAD, 0, 0
    before, span = NONE, np.uint64(count)
    if way != WHOLE:
        before, at = take_varint(data, at)
        if way == SOME:
            span, at = take_varint(data, at)
        if before > np.uint64(LONGEST) or span > np.uint64(LONGEST):
            return BAD, 0, 0
    first, past = np.int64(before), np.int64(before + span)
    total, likely = short_at(columns[TIME_SAMPLES], np.int64(column)), past
    if past > total or (way == WHOLE and past != total):
        return BAD, 0, 0
    if way != SOME and first_ts <= maxt < last_ts:  # about as many as there are until then
        part = np.float64(maxt - first_ts) / np.float64(last_ts - first_ts)
        likely = min(first + max(np.int64(part * np.float64(count)), 0) + 32, past)
    place, low, high = load_times(columns, np.int64(column), likely, mint, maxt, header, words)
    if place == BAD:
        return BAD, 0, 0
    to, source = np.uint64(position), np.uint64(place)
    if way != SOME:
        source += np.uint64(max(first - low, 0))
        low, high = max(low, first), min(high, past)
        for i in range(np.uint64(max(high - low, 0))):
            out[to + i] = np.int64(words[source + i])
        return at, low - first, high - first
    if at + (past - first + 7) // 8 > size:
        return BAD, 0, 0
    found, before_low, within = 0, 0, 0
    for i in range(past - first):
        if (data[at + i // 8] >> (i % 8)) & 1 != 0:
            found += 1
            if found > count:
                return BAD, 0, 0
            if first + i < low:
                before_low += 1
            elif first + i < high:
                out[position + within] = np.int64(words[place + first + i - low])
                within += 1
    if found != count:
        return BAD, 0, 0
    return at + (past - first + 7) // 8, before_low, before_low + within


@device
def decode_dense(columns: NDArray[np.uint64], size: int, count: int, first_ts: int, last_ts: int, mint: int, maxt: int,
                 header: NDArray[np.uint8], words: NDArray[np.uint64], out_ts: NDArray[np.int64],
                 out_values: NDArray[np.uint64], position: int) -> tuple[int, int, int]:
    """As `decode_one`, of a dense chunk whose bytes are in the scratch; and how many samples are before `mint`."""
    at, low, high = dense_times(columns, size, count, first_ts, last_ts, mint, maxt, header, words, out_ts, position)
    if at == BAD:
        return DAMAGED, position, 0
    if low >= high:
        return SOUND, position, low
    values = out_values.view(np.int64)
    if decode_values(words[:CHUNK_WORDS].view(np.uint8), at, size, count, low, high, values, position,
                     words[VALUES_AT:]) == BAD:
        return DAMAGED, position, 0
    if low > 0:
        for i in range(position, position + high - low):
            values[i] = values[i + low]
    return SOUND, position + high - low, low


@device
def decode_relative(columns: NDArray[np.uint64], chunk: int, start: int, size: int, count: int, first_ts: int,
                    last_ts: int, mint: int, maxt: int, header: NDArray[np.uint8], words: NDArray[np.uint64],
                    out_ts: NDArray[np.int64], out_values: NDArray[np.uint64], position: int) -> tuple[int, int]:
    """As `decode_one`, of a relative chunk: its base's samples, from where they are or decoded, and what is added."""
    base, at, different = base_of(columns, chunk, start, size)
    if base < 0:
        return DAMAGED, position
    recent = RECENT_AT + base % RECENT * 4
    if words[recent] == columns[CHUNKS] and words[recent + 1] == np.uint64(base):
        place = np.int64(words[recent + 2])
        low, past = np.int64(words[recent + 3] >> np.uint64(32)), position + np.int64(words[recent + 3] & LOW32)
        if low + past - position > count:
            return DAMAGED, position
        to, source = np.uint64(position), np.uint64(place)
        for i in range(np.uint64(past - position)):
            out_ts[to + i] = out_ts[source + i]
        for i in range(np.uint64(past - position)):
            out_values[to + i] = out_values[source + i]
    else:
        base_start, base_size = base_place(columns, base, count, first_ts, last_ts, header)
        if base_start == 0:
            return DAMAGED, position
        copy_bytes(columns, base_start, base_size, words, 0, ZERO_WORDS)
        state, past, low = decode_dense(columns, base_size, count, first_ts, last_ts, mint, maxt, header, words, out_ts,
                                        out_values, position)
        if state != SOUND:
            return state, position
    if different and past > position:
        copy_bytes(columns, start, size, words, 0, ZERO_WORDS)
        if decode_values(words[:CHUNK_WORDS].view(np.uint8), at, size, count, low, low + past - position,
                         words[LONG_AT:].view(np.int64), 0, words[VALUES_AT:]) == BAD:
            return DAMAGED, position
        add(words, LONG_AT + low, out_values, position, past - position)
        keep_floats(out_values, position, past)
    return SOUND, past


@device
def keep_floats(values: NDArray[np.uint64], first: int, past: int) -> None:
    """Makes the usual NaN of each of values[first:past] that would lead to a histogram, in place."""
    greatest = NONE
    for k in range(np.uint64(first), np.uint64(past)):
        greatest = max(greatest, values[k])
    if greatest >= BOXED:
        for k in range(first, past):
            if values[k] >= BOXED:
                values[k] = NOT_BOXED


@device
def decode_one(columns: NDArray[np.uint64], chunk: int, mint: int, maxt: int, header: NDArray[np.uint8],
               words: NDArray[np.uint64], out_ts: NDArray[np.int64], out_values: NDArray[np.uint64],
               position: int) -> tuple[int, int]:
    """Checks and decodes a chunk of floats of the block with these `columns`, as `decode_rows` does: (SOUND or what is
    wrong, the next position)."""
    start, size, count, form, first_ts, last_ts = chunk_place(columns, chunk, header)
    if start == 0:
        return DAMAGED, position
    if form != FLOATS and form != DENSE_FLOATS and form != RELATIVE_FLOATS:
        return UNKNOWN_FORM, position
    if position + count > out_ts.size:
        return TOO_MANY, position
    if form == DENSE_FLOATS:
        copy_bytes(columns, start, size, words, 0, ZERO_WORDS)
        state, past, low = decode_dense(columns, size, count, first_ts, last_ts, mint, maxt, header, words, out_ts,
                                        out_values, position)
        recent = RECENT_AT + chunk % RECENT * 4
        words[recent], words[recent + 1], words[recent + 2] = columns[CHUNKS], np.uint64(chunk), np.uint64(position)
        words[recent + 3] = np.uint64(low) << np.uint64(32) | np.uint64(past - position)
    elif form == RELATIVE_FLOATS:
        state, past = decode_relative(columns, chunk, start, size, count, first_ts, last_ts, mint, maxt, header, words,
                                      out_ts, out_values, position)
    else:
        copy_bytes(columns, start, size, words, 0, 3 + count // 32)
        state, past = SOUND, decode_chunk(words, count, first_ts, mint, maxt, out_ts, out_values, position)
        keep_floats(out_values, position, past)
    return state, past


@kernel(types.UniTuple(int64, 2)(U64, I64, I64, int64, int64, U8, U64, I64, I64, I64, U64), stage="query")
def decode_rows(columns: NDArray[np.uint64], begin: NDArray[np.int64], end: NDArray[np.int64], mint: int, maxt: int,
                header: NDArray[np.uint8], words: NDArray[np.uint64], out_begin: NDArray[np.int64],
                out_end: NDArray[np.int64], out_ts: NDArray[np.int64], out_values: NDArray[np.uint64],
                ) -> tuple[int, int]:
    """Decodes n rows, of which row i has the chunks begin[i]:end[i]: samples with mint <= ts <= maxt (ms).

    `columns` u64[COLUMNS] are the block's. Each chunk is checked, and copied to `words` (scratch, u64[SCRATCH_WORDS])
    before it is decoded: behind it are zeros, which read as two bits for each sample of Gorilla chunks, so that no
    chunk leads out of the scratch. `header` u8[24] is scratch, too. Writes `out_begin`, `out_end` i64[n], `out_ts` and
    `out_values`, which have room for what `chunk_ranges` counted. Returns (SOUND, -1), or what is wrong and the chunk.
    """
    position = 0
    forget_times(words)
    forget_samples(words)
    for row in range(begin.size):
        out_begin[row] = position
        for chunk in range(begin[row], end[row]):
            state, position = decode_one(columns, chunk, mint, maxt, header, words, out_ts, out_values, position)
            if state != SOUND:
                return state, chunk
        out_end[row] = position
    return SOUND, -1
