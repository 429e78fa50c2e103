# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""The write-ahead log's pages and its records (tsdb/docs/format/wal.md, tsdb/wlog, tsdb/record of Prometheus)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.canonical_kernels import MAX_LABELS, TOO_MANY_LABELS, VALID, check_labels, sort_labels, write_key
from tsdb.ingest.histogram_kernels import (
    COUNT,
    CUSTOM,
    CUSTOM_VALUES,
    FIELDS,
    FLOATS,
    HINT,
    POSITIVE_BUCKETS,
    POSITIVE_SPANS,
    SCHEMA,
    SUM,
    VALID_HISTOGRAM,
    ZERO_COUNT,
    ZERO_THRESHOLD,
)
from tsdb.kernels.byte_kernels import copy_bytes, equal_bytes
from tsdb.kernels.long_crc32c_kernels import long_crc32c
from tsdb.kernels.registry import device, kernel
from tsdb.kernels.varint_kernels import get_varint, unzigzag
from tsdb.model.native_histograms import BOX, CUSTOM_SCHEMA, NORMAL_NAN
from tsdb.prometheus_data.bit_kernels import load_big, load_big_u32
from tsdb.prometheus_data.float_chunk_kernels import STALE_BITS
from tsdb.prometheus_data.histogram_chunk_kernels import put_checked

PAGE = 32 << 10
FRAGMENT_HEADER = 7
FULL, FIRST, MIDDLE, LAST = range(1, 5)
TYPE_MASK, SNAPPY, ZSTD = 7, 8, 16
"""Of a fragment's first byte: its kind, and how its record is compressed."""
LOG_AT, LOG_BEGIN, LOG_WRITTEN, LOG_RECORDS, LOG_OPEN, LOG_STATE = range(6)
"""`state` of `split_log`: offset of the next fragment; where in `out` the record under way began, and what is written;
complete records; 1 within a record."""
LOG_END, LOG_ROOM, LOG_TORN, LOG_CHECKSUM, LOG_ORDER, LOG_LENGTH = range(6)

SERIES, SAMPLES, TOMBSTONES, EXEMPLARS, MARKERS, METADATA, HISTOGRAMS, FLOAT_HISTOGRAMS, CUSTOM_HISTOGRAMS, \
    CUSTOM_FLOAT_HISTOGRAMS, SAMPLES_2, HISTOGRAMS_2, FLOAT_HISTOGRAMS_2, MIN_VALID_TIME = range(1, 15)
"""Types of records, their first byte."""
NEXT_RECORD, ROWS, KEYS_USED, SAMPLES_USED, PAYLOAD_USED, STONES_USED, MIN_TIME, IN_ORDER, STARTS, REBUILD, \
    REFUSED_SERIES, REFUSED_REASON, EXEMPLARS_SEEN, ORPHANS, WANT_SAMPLES, RECORD_NEEDS, RECORD_STATE = range(17)
"""`state` of `read_records`."""
RECORDS_DONE, ROOM_FOR_ROWS, ROOM_FOR_KEYS, ROOM_FOR_SAMPLES, ROOM_FOR_PAYLOAD, ROOM_FOR_LISTS, ROOM_FOR_STONES, \
    WRONG_RECORD = range(8)
OLDEST = -(1 << 63)


@kernel("int64(Array(uint8, 1, 'C', readonly=True), uint8[::1], int64[:, ::1], int64[::1])", stage="later")
def split_log(data: NDArray[np.uint8], out: NDArray[np.uint8], records: NDArray[np.int64],
              state: NDArray[np.int64]) -> int:
    """Puts the records of a segment together, from state[LOG_AT] on, while there is room: their bytes in `out`, and
    begin, end and compression (SNAPPY, ZSTD) of each in records i64[n, 3].

    Returns LOG_END, LOG_ROOM, LOG_TORN where the segment ends within a record, or what is wrong at state[LOG_AT].
    """
    while True:
        at = state[LOG_AT]
        if at >= data.size:
            return np.int64(LOG_TORN if state[LOG_OPEN] else LOG_END)
        if state[LOG_RECORDS] == len(records):
            return np.int64(LOG_ROOM)
        kind = np.int64(data[at]) & TYPE_MASK
        if kind == 0:
            state[LOG_AT] = (at // PAGE + 1) * PAGE
            continue
        if at + FRAGMENT_HEADER > data.size:
            return np.int64(LOG_TORN)
        length = np.int64(data[at + 1]) << 8 | np.int64(data[at + 2])
        begin = at + FRAGMENT_HEADER
        if length > PAGE - FRAGMENT_HEADER or at % PAGE + FRAGMENT_HEADER + length > PAGE:
            return np.int64(LOG_LENGTH)
        if begin + length > data.size:
            return np.int64(LOG_TORN)
        if np.int64(long_crc32c(np.uint32(0), data, begin, begin + length)) != load_big_u32(data, at + 3):
            return np.int64(LOG_CHECKSUM)
        opens = kind == FULL or kind == FIRST
        if kind > LAST or opens == (state[LOG_OPEN] == 1):
            return np.int64(LOG_ORDER)
        if state[LOG_WRITTEN] + length > out.size:
            return np.int64(LOG_ROOM)
        if opens:
            state[LOG_BEGIN] = state[LOG_WRITTEN]
        copy_bytes(data, begin, length, out, state[LOG_WRITTEN])
        state[LOG_WRITTEN] += length
        state[LOG_OPEN] = 1
        state[LOG_AT] = begin + length
        if kind == FULL or kind == LAST:
            found = state[LOG_RECORDS]
            records[found, 0] = state[LOG_BEGIN]
            records[found, 1] = state[LOG_WRITTEN]
            records[found, 2] = np.int64(data[at]) & (SNAPPY | ZSTD)
            state[LOG_RECORDS] = found + 1
            state[LOG_OPEN] = 0


@device
def find_row(table: NDArray[np.int64], row_ref: NDArray[np.int64], ref: int) -> int:
    """The place of a series' reference in an open hash table of rows + 1, or of the gap where it belongs."""
    mask = np.uint64(table.size - 1)
    place = np.uint64(ref) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(20) & mask
    while table[np.int64(place)] != 0 and row_ref[table[np.int64(place)] - 1] != ref:
        place = (place + np.uint64(1)) & mask
    return np.int64(place)


@device
def get_signed(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """A zigzag varint as i64, and the place behind it, -1 where there is none."""
    number, at = get_varint(data, at, end)
    return unzigzag(number), at


@device
def read_histogram_record(data: NDArray[np.uint8], at: int, end: int, floats: bool, fields: NDArray[np.int64],
                          spans: NDArray[np.int64], lists: NDArray[np.int64]) -> int:
    """One histogram of a record. The place behind it; -1 where it is not whole, -2 where `lists` are too short."""
    wrong = np.int64(-1)
    room = lists.shape[1]
    for k in range(FIELDS):
        fields[k] = 0
    fields[FLOATS] = 1 if floats else 0
    if at >= end:
        return wrong
    fields[HINT] = np.int64(data[at]) & 3
    schema, at = get_signed(data, at + 1, end)
    if at < 0 or at + 8 > end:
        return wrong
    fields[SCHEMA] = schema
    fields[ZERO_THRESHOLD] = np.int64(load_big(data, at))
    at += 8
    if floats:
        if at + 16 > end:
            return wrong
        fields[ZERO_COUNT] = np.int64(load_big(data, at))
        fields[COUNT] = np.int64(load_big(data, at + 8))
        at += 16
    else:
        number, at = get_varint(data, at, end)
        if at < 0:
            return wrong
        fields[ZERO_COUNT] = np.int64(number)
        number, at = get_varint(data, at, end)
        if at < 0:
            return wrong
        fields[COUNT] = np.int64(number)
    if at + 8 > end:
        return wrong
    fields[SUM] = np.int64(load_big(data, at))
    at += 8
    for side in range(2):
        number, at = get_varint(data, at, end)
        if at < 0 or number > np.uint64(end - at):
            return wrong
        if np.int64(number) > room:
            return np.int64(-2)
        fields[POSITIVE_SPANS + side] = np.int64(number)
        for k in range(fields[POSITIVE_SPANS + side]):
            offset, at = get_signed(data, at, end)
            if at < 0:
                return wrong
            length, at = get_varint(data, at, end)
            if at < 0 or length > np.uint64(0xFFFFFFFF):
                return wrong
            spans[side, k, 0] = offset
            spans[side, k, 1] = np.int64(length)
    for side in range(3 if schema == CUSTOM_SCHEMA else 2):
        number, at = get_varint(data, at, end)
        if at < 0 or number > np.uint64(end - at):
            return wrong
        count = np.int64(number)
        if count > room:
            return np.int64(-2)
        if side == CUSTOM:
            fields[CUSTOM_VALUES] = count
        else:
            fields[POSITIVE_BUCKETS + side] = count
        for k in range(count):
            if floats or side == CUSTOM:
                if at + 8 > end:
                    return wrong
                lists[side, k] = np.int64(load_big(data, at))
                at += 8
            else:
                lists[side, k], at = get_signed(data, at, end)
                if at < 0:
                    return wrong
    return at


@kernel("int64(uint8[::1], int64[:, ::1], int64[:, ::1], int64, uint8[::1], uint32[::1], uint32[::1], int64[::1],"
        " int64[::1], int64[::1], uint32[::1], int64[::1], uint64[::1], int64[::1], int64[:, ::1], uint8[::1],"
        " int64[::1], int64[:, :, ::1], int64[:, ::1], int64[::1], int64[:, ::1], int64[::1])", stage="later")
def read_records(data: NDArray[np.uint8], records: NDArray[np.int64], labels: NDArray[np.int64], max_key: int,
                 keys: NDArray[np.uint8], row_offset: NDArray[np.uint32], row_length: NDArray[np.uint32],
                 row_ref: NDArray[np.int64], row_last: NDArray[np.int64], table: NDArray[np.int64],
                 out_row: NDArray[np.uint32], out_ts: NDArray[np.int64], out_values: NDArray[np.uint64],
                 out_starts: NDArray[np.int64], stones: NDArray[np.int64], payload: NDArray[np.uint8],
                 fields: NDArray[np.int64], spans: NDArray[np.int64], lists: NDArray[np.int64],
                 details: NDArray[np.int64], refused: NDArray[np.int64], state: NDArray[np.int64]) -> int:
    """Reads records i64[n, 2], begin and end in `data`, behind which 16 bytes can be read, from state[NEXT_RECORD] on.

    Series become rows: canonical key, reference, and the time of the newest sample (OLDEST: none yet), found by `table`
    i64[a power of two, twice the rows]. Of samples, where state[WANT_SAMPLES], row, time, value and start time are
    taken, but not those before state[MIN_TIME] and, if state[IN_ORDER], those that are not newer than the series'
    newest one: as Prometheus reads its log. Else tombstones are, i64[m, 3]: row and the first and last time.

    Returns RECORDS_DONE, ROOM_FOR_… where a record does not fit any more, or WRONG_RECORD.
    """
    if state[REBUILD]:
        for row in range(state[ROWS]):
            table[find_row(table, row_ref, row_ref[row])] = row + 1
        state[REBUILD] = 0
    while state[NEXT_RECORD] < len(records):
        at, end = records[state[NEXT_RECORD], 0], records[state[NEXT_RECORD], 1]
        if at == end:
            state[NEXT_RECORD] += 1
            continue
        kind = np.int64(data[at])
        at += 1
        if kind == SERIES:
            while at < end:
                if at + 8 > end:
                    return np.int64(WRONG_RECORD)
                if state[ROWS] == row_ref.size:
                    return np.int64(ROOM_FOR_ROWS)
                if keys.size - state[KEYS_USED] < max_key:
                    return np.int64(ROOM_FOR_KEYS)
                ref = np.int64(load_big(data, at))
                number, at = get_varint(data, at + 8, end)
                if at < 0 or number > np.uint64(end - at):
                    return np.int64(WRONG_RECORD)
                count = np.int64(number)
                for k in range(2 * count):
                    number, at = get_varint(data, at, end)
                    if at < 0 or number > np.uint64(end - at):
                        return np.int64(WRONG_RECORD)
                    if k < 2 * MAX_LABELS:
                        labels[k // 2, 2 * (k % 2)] = at
                        labels[k // 2, 2 * (k % 2) + 1] = np.int64(number)
                    at += np.int64(number)
                wrong = np.int64(TOO_MANY_LABELS)
                if count <= MAX_LABELS:
                    sort_labels(data, labels, count)
                    wrong, _ = check_labels(data, labels, count, max_key)
                if wrong != VALID:
                    state[REFUSED_SERIES] += 1
                    state[REFUSED_REASON] = wrong
                    continue
                row, used = state[ROWS], state[KEYS_USED]
                past = write_key(data, labels, count, keys, used)
                place = find_row(table, row_ref, ref)
                if table[place] != 0:
                    known = table[place] - 1
                    if np.int64(row_length[known]) == past - used and equal_bytes(
                            keys, np.int64(row_offset[known]), keys, used, past - used):
                        continue
                row_offset[row], row_length[row] = np.uint32(used), np.uint32(past - used)
                row_ref[row], row_last[row] = ref, np.int64(OLDEST)
                table[place] = row + 1
                state[ROWS] = row + 1
                state[KEYS_USED] = past
        elif kind == MIN_VALID_TIME:
            if at + 8 > end:
                return np.int64(WRONG_RECORD)
            state[MIN_TIME] = max(state[MIN_TIME], np.int64(load_big(data, at)))
        elif kind == TOMBSTONES and not state[WANT_SAMPLES]:
            if state[STONES_USED] + (end - at) // 10 + 1 > len(stones):
                return np.int64(ROOM_FOR_STONES)
            while at < end:
                if at + 8 > end:
                    return np.int64(WRONG_RECORD)
                place = find_row(table, row_ref, np.int64(load_big(data, at)))
                first, at = get_signed(data, at + 8, end)
                if at < 0:
                    return np.int64(WRONG_RECORD)
                last, at = get_signed(data, at, end)
                if at < 0:
                    return np.int64(WRONG_RECORD)
                if table[place] != 0:
                    stone = state[STONES_USED]
                    stones[stone, 0], stones[stone, 1], stones[stone, 2] = table[place] - 1, first, last
                    state[STONES_USED] = stone + 1
        elif kind == EXEMPLARS and state[WANT_SAMPLES] and end - at >= 16:
            at += 16
            while at < end:
                number, at = get_varint(data, at, end)
                if at < 0:
                    return np.int64(WRONG_RECORD)
                number, at = get_varint(data, at, end)
                if at < 0:
                    return np.int64(WRONG_RECORD)
                number, at = get_varint(data, at + 8, end)
                if at < 0 or number > np.uint64(end - at):
                    return np.int64(WRONG_RECORD)
                for _ in range(2 * np.int64(number)):
                    number, at = get_varint(data, at, end)
                    if at < 0 or number > np.uint64(end - at):
                        return np.int64(WRONG_RECORD)
                    at += np.int64(number)
                state[EXEMPLARS_SEEN] += 1
        elif state[WANT_SAMPLES] and at < end and (
                kind == SAMPLES or kind == SAMPLES_2 or (HISTOGRAMS <= kind <= CUSTOM_FLOAT_HISTOGRAMS)
                or kind == HISTOGRAMS_2 or kind == FLOAT_HISTOGRAMS_2):
            size = end - at
            needs = size // 10 + 1
            if state[SAMPLES_USED] + needs > out_ts.size:
                state[RECORD_NEEDS] = needs
                return np.int64(ROOM_FOR_SAMPLES)
            histograms = kind != SAMPLES and kind != SAMPLES_2
            if histograms and state[PAYLOAD_USED] + 10 * size + 65536 > payload.size:
                state[RECORD_NEEDS] = 10 * size + 65536
                return np.int64(ROOM_FOR_PAYLOAD)
            code = read_samples(data, at, end, kind, row_ref, row_last, table, out_row, out_ts, out_values, out_starts,
                                payload, fields, spans, lists, details, refused, state)
            if code != RECORDS_DONE:
                return code
        state[NEXT_RECORD] += 1
    return np.int64(RECORDS_DONE)


@device
def read_samples(data: NDArray[np.uint8], at: int, end: int, kind: int, row_ref: NDArray[np.int64],
                 row_last: NDArray[np.int64], table: NDArray[np.int64], out_row: NDArray[np.uint32],
                 out_ts: NDArray[np.int64], out_values: NDArray[np.uint64], out_starts: NDArray[np.int64],
                 payload: NDArray[np.uint8], fields: NDArray[np.int64], spans: NDArray[np.int64],
                 lists: NDArray[np.int64], details: NDArray[np.int64], refused: NDArray[np.int64],
                 state: NDArray[np.int64]) -> int:
    """One record of samples, for which there is room but perhaps in `lists`; nothing is taken where it is wrong."""
    second = kind == SAMPLES_2 or kind == HISTOGRAMS_2 or kind == FLOAT_HISTOGRAMS_2
    floats = kind == FLOAT_HISTOGRAMS or kind == CUSTOM_FLOAT_HISTOGRAMS or kind == FLOAT_HISTOGRAMS_2
    plain = kind == SAMPLES or kind == SAMPLES_2
    position, used = state[SAMPLES_USED], state[PAYLOAD_USED]
    base_ref, base_ts, base_start = np.int64(0), np.int64(0), np.int64(0)
    ref, start = np.int64(0), np.int64(0)
    if not second:
        if at + 16 > end:
            return np.int64(WRONG_RECORD)
        base_ref, base_ts = np.int64(load_big(data, at)), np.int64(load_big(data, at + 8))
        at += 16
    for k in range(refused.shape[1]):
        refused[1, k] = 0
    orphans = np.int64(0)
    first = True
    while at < end:
        change, at = get_signed(data, at, end)
        if at < 0:
            return np.int64(WRONG_RECORD)
        ref = np.int64(np.uint64(ref if second else base_ref) + np.uint64(change))
        change, at = get_signed(data, at, end)
        if at < 0:
            return np.int64(WRONG_RECORD)
        ts = np.int64(np.uint64(base_ts) + np.uint64(change))
        if second and first:
            base_ts = ts
            start, at = get_signed(data, at, end)
            base_start = start
        elif second:
            if at >= end:
                return np.int64(WRONG_RECORD)
            marker = data[at]
            at += 1
            if marker == 0:
                start = np.int64(0)
            elif marker != 1:
                change, at = get_signed(data, at, end)
                start = np.int64(np.uint64(base_start) + np.uint64(change))
        if at < 0:
            return np.int64(WRONG_RECORD)
        first = False
        value = np.uint64(0)
        if plain:
            if at + 8 > end:
                return np.int64(WRONG_RECORD)
            value = load_big(data, at)
            at += 8
            if value >= np.uint64(BOX):
                value = np.uint64(NORMAL_NAN)
        else:
            at = read_histogram_record(data, at, end, floats, fields, spans, lists)
            if at == -2:
                return np.int64(ROOM_FOR_LISTS)
            if at < 0:
                return np.int64(WRONG_RECORD)
        place = find_row(table, row_ref, ref)
        if table[place] == 0:
            orphans += 1
            continue
        row = table[place] - 1
        if ts < state[MIN_TIME] or (state[IN_ORDER] and ts <= row_last[row]):
            continue
        if not plain:
            if np.uint64(fields[SUM]) == STALE_BITS:
                value = STALE_BITS
            else:
                code, past = put_checked(fields, spans, lists, details, payload, used)
                if code != VALID_HISTOGRAM:
                    refused[1, code] += 1
                    continue
                if past < 0:
                    return np.int64(ROOM_FOR_PAYLOAD)
                value = np.uint64(BOX) | np.uint64(used)
                used = past
        out_row[position] = np.uint32(row)
        out_ts[position] = ts
        out_values[position] = value
        out_starts[position] = start
        if start != 0:
            state[STARTS] = 1
        position += 1
    if state[IN_ORDER]:
        for k in range(state[SAMPLES_USED], position):
            row = np.int64(out_row[k])
            row_last[row] = max(row_last[row], out_ts[k])
    for k in range(refused.shape[1]):
        refused[0, k] += refused[1, k]
    state[ORPHANS] += orphans
    state[SAMPLES_USED], state[PAYLOAD_USED] = position, used
    return np.int64(RECORDS_DONE)
