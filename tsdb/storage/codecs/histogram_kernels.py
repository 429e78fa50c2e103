# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""The histogram codec: native histograms of one series, column by column. Decoding.

docs/formats.md has the bits, under "Chunks of histograms"; `histogram_encoding_kernels` writes them. A column is one
number of each histogram: a bucket's count, the sum … `tsdb.model.native_histograms` says how a histogram stands in a
payload.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import float_bits, load_u64, store_u64
from tsdb.kernels.registry import device
from tsdb.kernels.varint_kernels import get_varint, unzigzag, zigzag
from tsdb.model.native_histograms import BOX, HEADER_BYTES, MAX_BYTES
from tsdb.storage.codecs.histogram_columns_kernels import ONE, PACKED, RICE, SPARSE, UNCHANGED, get_bits, get_rice
from tsdb.storage.codecs.histogram_layout_kernels import (
    LAYOUT_AT,
    LAYOUT_BUCKETS,
    LAYOUT_COLUMNS,
    LAYOUT_POSITIVE,
    LAYOUT_SIZE,
    MOST_BUCKETS,
    layout_buckets,
)

BOX_BITS = np.uint64(BOX)
COUNTS_INTEGER, COUNTS_WHOLE, COUNTS_FLOAT = range(3)
"""Counts are integers; floats that are integers; any floats, as their bits."""
COUNTS_MASK = 3
REPEATS = 4
"""Flag: some histograms are equal to the one before."""
SUM_SHIFT = 4
SUM_BITS = 15
"""Instead of a power of ten: sums stand as the bits of the floats."""

LAYOUT, HINT, SUM, ZERO, COUNT, BUCKETS = range(6)
"""Columns; the buckets' are the last."""
MOST_LAYOUTS = 16
MOST_SHARED = 8192
"""Buckets of a chunk with several layouts."""
STATES = 7
"""Numbers of the scratch for each column."""
MOST_NUMBERS = 1 << 21
"""Columns times different histograms of a chunk."""
PADDING = 16
"""Bytes behind a chunk that can be read."""


@device
def chunk_needs(data: NDArray[np.uint8], start: int, end: int, count: int) -> tuple[int, int]:
    """(bytes of payload, words of scratch) that decoding the chunk data[start:end] of `count` samples takes at the
    most; the first is -1 where there is no chunk."""
    payload, at = get_varint(data, start + 1, end)
    if at < 0 or payload > np.uint64(count) * np.uint64(MAX_BYTES):
        return np.int64(-1), np.int64(0)
    distinct, at = get_varint(data, at, end)
    if at < 0 or distinct < ONE or distinct > np.uint64(count):
        return np.int64(-1), np.int64(0)
    layouts, at = get_varint(data, at, end)
    if at < 0 or layouts < ONE or layouts > np.uint64(MOST_LAYOUTS):
        return np.int64(-1), np.int64(0)
    buckets, at = get_varint(data, at, end)
    if at < 0 or buckets > np.uint64(MOST_BUCKETS) or (layouts > ONE and buckets > np.uint64(MOST_SHARED)):
        return np.int64(-1), np.int64(0)
    if (buckets + np.uint64(BUCKETS)) * distinct > np.uint64(MOST_NUMBERS):
        return np.int64(-1), np.int64(0)
    shared = np.int64(buckets) * np.int64(layouts) if layouts > ONE else 0
    return np.int64(payload), (np.int64(buckets) + BUCKETS) * STATES + shared + LAYOUT_COLUMNS * MOST_LAYOUTS


@device
def put_histogram(payload: NDArray[np.uint8], at: int, mode: int, sum_power: int, data: NDArray[np.uint8], layout: int,
                  size: int, positive: int, buckets: int, shared: bool, first: int, state: NDArray[np.uint64]) -> int:
    """Writes a histogram to payload[at:]: its columns are in `state` u64[], its layout (schema, zero threshold, spans,
    custom values) is data[layout : layout + size], with so many buckets, the first `positive` of them positive. Where
    columns are `shared` by several layouts, state[first + k] is the column of bucket k. The place behind it; -1 where
    there is no room."""
    room = payload.size
    start = at
    at += HEADER_BYTES
    size -= 9
    if at + size > room:
        return np.int64(-1)
    for k in range(size):
        payload[at + k] = data[layout + 9 + k]
    at += size
    total = np.uint64(0)
    before = np.uint64(0)
    if mode != COUNTS_INTEGER and at + 8 * buckets > room:
        return np.int64(-1)
    for k in range(buckets):
        value = state[BUCKETS + k]
        if shared:
            value = state[np.int64(state[first + k])]
        total += value
        if mode == COUNTS_INTEGER:
            if k == positive:
                before = np.uint64(0)
            change = np.int64(value - before)
            before = value
            code = zigzag(change)
            while code >= np.uint64(0x80):
                if at >= room:
                    return np.int64(-1)
                payload[at] = np.uint8(code & np.uint64(0x7F)) | np.uint8(0x80)
                code >>= np.uint64(7)
                at += 1
            if at >= room:
                return np.int64(-1)
            payload[at] = np.uint8(code)
            at += 1
        else:
            if mode == COUNTS_WHOLE:
                value = float_bits(np.float64(np.int64(value)))
            store_u64(payload, at, value)
            at += 8
    zero = state[ZERO]
    count = state[COUNT]
    if mode != COUNTS_FLOAT:
        count += zero + total
    if mode == COUNTS_WHOLE:
        zero = float_bits(np.float64(np.int64(zero)))
        count = float_bits(np.float64(np.int64(count)))
    sums = state[SUM]
    if sum_power != SUM_BITS:
        divisor = 1.0
        for _ in range(sum_power):
            divisor *= 10.0
        sums = float_bits(np.float64(np.int64(sums)) / divisor)
    flags = (state[HINT] & np.uint64(0x7F)) << ONE
    if mode != COUNTS_INTEGER:
        flags |= ONE
    store_u64(payload, start, np.uint64(at - start) | flags << np.uint64(32) | np.uint64(data[layout]) << np.uint64(40))
    store_u64(payload, start + 8, load_u64(data, layout + 1))
    store_u64(payload, start + 16, sums)
    store_u64(payload, start + 24, count)
    store_u64(payload, start + 32, zero)
    return at


@device
def decode_histograms(data: NDArray[np.uint8], start: int, end: int, count: int, first_ts: int, mint: int, maxt: int,
                      state: NDArray[np.uint64], out_ts: NDArray[np.int64], out_values: NDArray[np.uint64],
                      position: int, payload: NDArray[np.uint8], used: int, base: int) -> tuple[int, int]:
    """Decodes the chunk data[start:end] of `count` samples, behind which PADDING bytes can be read, whatever they are.

    Writes the samples with mint <= ts <= maxt (i64 ms) from `position` on, where there is room for all, and their
    histograms to payload[used:]; to their places in it `base` u64 is added. `state` u64[] is scratch; `chunk_needs`
    says how much it takes, and `payload`. Returns (next position, next place in the payload); the first is -1 where the
    bytes are no chunk, or there is no room.
    """
    wrong = np.int64(-1), used
    needs, scratch = chunk_needs(data, start, end, count)
    if needs < 0 or scratch > state.size:
        return wrong
    last = end + PADDING - 8
    mode = np.int64(data[start]) & COUNTS_MASK
    repeats = data[start] & np.uint8(REPEATS) != 0
    sum_power = np.int64(data[start]) >> SUM_SHIFT
    if mode > COUNTS_FLOAT or (sum_power > 9 and sum_power != SUM_BITS):
        return wrong
    _, at = get_varint(data, start + 1, end)
    number, at = get_varint(data, at, end)
    distinct = np.int64(number)
    number, at = get_varint(data, at, end)
    layouts = np.int64(number)
    number, at = get_varint(data, at, end)
    buckets = np.int64(number)
    columns = buckets + BUCKETS
    shared = layouts > 1

    # Scratch: values, smallest changes, next rows of sparse columns, forms, the columns of each form, layouts, theirs
    minimum = columns
    following = 2 * columns
    forms = 3 * columns
    packed_at, rice_at, sparse_at = 4 * columns, 5 * columns, 6 * columns
    table = STATES * columns
    places = table + LAYOUT_COLUMNS * MOST_LAYOUTS
    for j in range(layouts):
        number, at = get_varint(data, at, end)
        if at < 0 or number < np.uint64(12) or number > np.uint64(end - at):
            return wrong
        size = np.int64(number)
        positive, own, past = layout_buckets(data, at + 9, at + size)
        if past != at + size or own > buckets or (not shared and own != buckets):
            return wrong
        entry = table + LAYOUT_COLUMNS * j
        state[entry + LAYOUT_AT] = np.uint64(at)
        state[entry + LAYOUT_SIZE] = np.uint64(size)
        state[entry + LAYOUT_BUCKETS] = np.uint64(own)
        state[entry + LAYOUT_POSITIVE] = np.uint64(positive)
        at = past
    if shared:
        size = (buckets + 7) // 8
        if at + size * layouts > end:
            return wrong
        for j in range(layouts):
            found = 0
            for k in range(buckets):
                if data[at + k // 8] >> np.uint8(k % 8) & np.uint8(1):
                    state[places + j * buckets + found] = np.uint64(BUCKETS + k)
                    found += 1
            if found != np.int64(state[table + LAYOUT_COLUMNS * j + LAYOUT_BUCKETS]):
                return wrong
            at += size

    # The time's column, then the first histogram
    ts_form, ts_parameter, ts_minimum = np.int64(UNCHANGED), np.int64(0), np.int64(0)
    if count > 1:
        if at + 1 > end:
            return wrong
        ts_form, ts_parameter = np.int64(data[at]) & 3, np.int64(data[at]) >> 2
        if ts_form == PACKED and ts_parameter == 63:
            ts_parameter = 64
        number, at = get_varint(data, at + 1, end)
        if at < 0 or (ts_form != PACKED and ts_form != RICE):
            return wrong
        ts_minimum = unzigzag(number)
    if at + 9 > end:
        return wrong
    state[LAYOUT] = np.uint64(0)
    state[HINT] = np.uint64(data[at])
    state[SUM] = load_u64(data, at + 1)
    at += 9
    before = np.uint64(0)
    for c in range(ZERO, columns):
        if mode == COUNTS_FLOAT:
            if at + 8 > end:
                return wrong
            state[c] = load_u64(data, at)
            at += 8
            continue
        number, at = get_varint(data, at, end)
        if at < 0:
            return wrong
        if c <= COUNT:
            state[c] = np.uint64(unzigzag(number))
        else:
            before += np.uint64(unzigzag(number))
            state[c] = before

    # What follows says how columns change: the packed ones first, then the Rice coded, then the sparse
    packed, rice, sparse = 0, 0, 0
    if distinct > 1:
        for c in range(0 if shared else 1, columns):
            if at >= end:
                return wrong
            form, parameter = np.int64(data[at]) & 3, np.int64(data[at]) >> 2
            at += 1
            if form == UNCHANGED:
                continue
            if form == PACKED and parameter == 63:
                parameter = 64
            if form == SPARSE:
                if at >= end or data[at] > np.uint8(57) or parameter > 57:
                    return wrong
                parameter |= np.int64(data[at]) << 8
                at += 1
                number, at = get_varint(data, at, end)
                if at < 0 or number < ONE or number > np.uint64(distinct):
                    return wrong
                state[following + c] = number
                state[sparse_at + sparse] = np.uint64(c)
                sparse += 1
            elif form == PACKED:
                state[packed_at + packed] = np.uint64(c)
                packed += 1
            else:
                state[rice_at + rice] = np.uint64(c)
                rice += 1
            number, at = get_varint(data, at, end)
            if at < 0:
                return wrong
            state[minimum + c] = np.uint64(unzigzag(number))
            state[forms + c] = np.uint64(parameter)

    ts = first_ts
    row = 0
    written = np.int64(-1)  # where the histogram stands
    bit = at * 8
    limit = end * 8
    for i in range(count):
        fresh = i > 0
        if i > 0:
            if ts_form == PACKED:
                change = get_bits(data, bit, ts_parameter, last)
                bit += ts_parameter
            else:
                change, bit = get_rice(data, bit, ts_parameter, last)
            ts += ts_minimum + np.int64(change)
            if repeats:
                fresh = get_bits(data, bit, 1, last) == 0
                bit += 1
        if ts > maxt:
            return position, used
        if fresh:
            row += 1
            if row >= distinct:
                return wrong
            written = np.int64(-1)
            for k in range(packed_at, packed_at + packed):
                c = np.int64(state[k])
                parameter = np.int64(state[forms + c])
                state[c] += state[minimum + c] + get_bits(data, bit, parameter, last)
                bit += parameter
            for k in range(rice_at, rice_at + rice):
                c = np.int64(state[k])
                change, bit = get_rice(data, bit, np.int64(state[forms + c]), last)
                state[c] += state[minimum + c] + change
            for k in range(sparse_at, sparse_at + sparse):
                c = np.int64(state[k])
                if state[following + c] == np.uint64(row):
                    parameter = np.int64(state[forms + c]) & 0xFF
                    gap = np.int64(state[forms + c]) >> 8
                    state[c] += state[minimum + c] + get_bits(data, bit, parameter, last)
                    state[following + c] = np.uint64(row + 1) + get_bits(data, bit + parameter, gap, last)
                    bit += parameter + gap
            if state[LAYOUT] >= np.uint64(layouts):
                return wrong
        if bit > limit:
            return wrong
        if ts < mint:
            continue
        if written < 0:
            entry = table + LAYOUT_COLUMNS * np.int64(state[LAYOUT])
            past = put_histogram(
                payload, used, mode, sum_power, data, np.int64(state[entry + LAYOUT_AT]),
                np.int64(state[entry + LAYOUT_SIZE]), np.int64(state[entry + LAYOUT_POSITIVE]),
                np.int64(state[entry + LAYOUT_BUCKETS]), shared, places + np.int64(state[LAYOUT]) * buckets, state)
            if past < 0:
                return wrong
            written = used
            used = past
        out_ts[position] = ts
        out_values[position] = BOX_BITS | (base + np.uint64(written))
        position += 1
    return position, used

