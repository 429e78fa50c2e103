# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""A block's index: its symbols, and its series with their labels and chunks (tsdb/docs/format/index.md)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.canonical_kernels import MAX_LABELS, TOO_MANY_LABELS, VALID, check_labels, sort_labels, write_key
from tsdb.kernels.crc32c_kernels import crc32c
from tsdb.kernels.registry import kernel
from tsdb.kernels.varint_kernels import get_varint, unzigzag
from tsdb.prometheus_data.bit_kernels import load_big_u32
from tsdb.prometheus_data.chunk_kernels import MAXT, MINT, PLACE, ROW

SERIES_ALIGNMENT = 16
SERIES_AT, SERIES_ROWS, SERIES_CHUNKS, SERIES_KEYS, SERIES_REFUSED, SERIES_REASON, SERIES_NEEDS, SERIES_STATE = range(8)
"""`state` of `read_series`: offset of the next series, rows, chunks and bytes of keys so far; series with labels that
cannot be taken, what is wrong with the last of them; chunks of the series there is no room for, or the place behind one
that is damaged."""
SERIES_DONE, SERIES_ROOM, NEED_CHUNKS, BEYOND_SERIES, WRONG_SERIES_CHECKSUM, WRONG_SERIES, WRONG_SYMBOL = range(7)


@kernel("int64(Array(uint8, 1, 'C', readonly=True), int64, int64, int64[:, ::1])", stage="later")
def read_symbols(data: NDArray[np.uint8], at: int, end: int, symbols: NDArray[np.int64]) -> int:
    """Where the symbols data[at:end] are: begin and length of each, into i64[n, 2]. The place behind the last, or -1
    where they do not all lie within."""
    for i in range(len(symbols)):
        number, begin = get_varint(data, at, end)
        if begin < 0 or number > np.uint64(end - begin):
            return np.int64(-1)
        symbols[i, 0] = begin
        symbols[i, 1] = np.int64(number)
        at = begin + np.int64(number)
    return at


@kernel("int64(Array(uint8, 1, 'C', readonly=True), int64, int64[:, ::1], int64, int64[:, ::1], uint8[::1],"
        " uint32[::1], uint32[::1], int64[::1], int64[:, ::1], int64[::1])", stage="later")
def read_series(data: NDArray[np.uint8], end: int, symbols: NDArray[np.int64], max_key: int,
                labels: NDArray[np.int64], keys: NDArray[np.uint8], row_offset: NDArray[np.uint32],
                row_length: NDArray[np.uint32], row_ref: NDArray[np.int64], chunks: NDArray[np.int64],
                state: NDArray[np.int64]) -> int:
    """Reads the series of data[state[SERIES_AT] : end] while there is room: their canonical keys, at most max_key bytes
    each, references (offset / 16), and chunks i64[m, CHUNK_COLUMNS]. `labels` i64[MAX_LABELS, 4] is scratch. What has
    no valid labels is left out and counted.

    Returns SERIES_DONE, SERIES_ROOM where the arrays are full, NEED_CHUNKS where not even one series fits, or what is
    wrong at state[SERIES_AT].
    """
    while True:
        at = (state[SERIES_AT] + SERIES_ALIGNMENT - 1) // SERIES_ALIGNMENT * SERIES_ALIGNMENT
        state[SERIES_AT] = at
        if at >= end:
            return np.int64(SERIES_DONE)
        number, begin = get_varint(data, at, end)
        if begin < 0 or number > np.uint64(end - begin):
            return np.int64(BEYOND_SERIES)
        past = begin + np.int64(number)
        if past + 4 > end:
            return np.int64(BEYOND_SERIES)
        if number == 0:  # padding behind the last
            return np.int64(SERIES_DONE)
        state[SERIES_NEEDS] = past + 4
        if np.int64(crc32c(np.uint32(0), data, begin, past)) != load_big_u32(data, past):
            return np.int64(WRONG_SERIES_CHECKSUM)
        row, used = state[SERIES_ROWS], state[SERIES_KEYS]
        if row == row_ref.size or keys.size - used < max_key:
            return np.int64(SERIES_ROOM)
        number, at = get_varint(data, begin, past)
        if at < 0 or number > np.uint64(past - at):
            return np.int64(WRONG_SERIES)
        count = np.int64(number)
        wrong = np.int64(VALID)
        for k in range(count):
            for half in range(2):
                number, at = get_varint(data, at, past)
                if at < 0:
                    return np.int64(WRONG_SERIES)
                if number >= np.uint64(len(symbols)):
                    return np.int64(WRONG_SYMBOL)
                if k < MAX_LABELS:
                    labels[k, 2 * half] = symbols[np.int64(number), 0]
                    labels[k, 2 * half + 1] = symbols[np.int64(number), 1]
        number, at = get_varint(data, at, past)
        if at < 0 or number > np.uint64(past - at):
            return np.int64(WRONG_SERIES)
        found = np.int64(number)
        if state[SERIES_CHUNKS] + found > len(chunks):
            state[SERIES_NEEDS] = found
            return np.int64(NEED_CHUNKS if state[SERIES_CHUNKS] == 0 else SERIES_ROOM)
        if count > MAX_LABELS:
            wrong = np.int64(TOO_MANY_LABELS)
        else:
            sort_labels(data, labels, count)
            wrong, _ = check_labels(data, labels, count, max_key)
        if wrong != VALID:
            state[SERIES_REFUSED] += 1
            state[SERIES_REASON] = wrong
            state[SERIES_AT] = past + 4
            continue
        place, before = np.int64(0), np.int64(0)
        first = state[SERIES_CHUNKS]
        for k in range(found):
            number, at = get_varint(data, at, past)
            if at < 0:
                return np.int64(WRONG_SERIES)
            mint = unzigzag(number) if k == 0 else np.int64(np.uint64(before) + number)
            number, at = get_varint(data, at, past)
            if at < 0:
                return np.int64(WRONG_SERIES)
            before = np.int64(np.uint64(mint) + number)
            number, at = get_varint(data, at, past)
            if at < 0:
                return np.int64(WRONG_SERIES)
            place = np.int64(number) if k == 0 else np.int64(np.uint64(place) + np.uint64(unzigzag(number)))
            chunks[first + k, PLACE] = place
            chunks[first + k, ROW] = row
            chunks[first + k, MINT] = mint
            chunks[first + k, MAXT] = before
        row_offset[row] = np.uint32(used)
        state[SERIES_KEYS] = write_key(data, labels, count, keys, used)
        row_length[row] = np.uint32(state[SERIES_KEYS] - used)
        row_ref[row] = state[SERIES_AT] // SERIES_ALIGNMENT
        state[SERIES_ROWS] += 1
        state[SERIES_CHUNKS] += found
        state[SERIES_AT] = past + 4
