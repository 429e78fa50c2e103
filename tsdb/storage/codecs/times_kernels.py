# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""Columns of times, which the chunks of many series share, and how a chunk names its own.

What is scraped together has the same times. They stand once; a chunk says which column its times are, or which part of
one, or which of its times. docs/formats.md has the bytes, under "Dense chunks".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.registry import device
from tsdb.kernels.varint_kernels import put_varint, take_varint, unzigzag, zigzag
from tsdb.storage.codecs.bit_kernels import minus
from tsdb.storage.codecs.dense_kernels import DIVISOR, divide
from tsdb.storage.codecs.frame_kernels import take_column
from tsdb.storage.codecs.integer_kernels import BAD, FRAME, FRAME_BYTES, LINE, choose, put_column

EVEN, WHOLE, PART, SOME = range(4)
"""How a chunk's times are told: as far from each other; those of a column; some next to each other; marked by bits."""
LONGEST = (1 << 16) - 1
"""Times of a column."""
FULL = -2
"""There is no room for another column."""
COLUMNS, CACHED, STATE = range(3)
"""Of the encoder's state, i64[STATE]: how many columns there are, and which one is in the scratch (-1: none)."""
ALL, FIRST, LAST = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
"""Seeds of the keys under which a column is found: by all its times, by its first, by its last."""
TWO, THREE = np.uint64(2), np.uint64(3)


@device
def put_times(ts: NDArray[np.int64], first: int, past: int, out: NDArray[np.uint8], at: int,
              numbers: NDArray[np.int64], left: NDArray[np.int64], sample: NDArray[np.int64]) -> int:
    """Writes the column ts[first:past] (ms) at byte `at`; the next byte. Scratch as for `encode_values`."""
    count = past - first
    at = put_varint(out, at, zigzag(ts[first]))
    for i in range(count):
        numbers[i] = minus(ts[first + i], ts[first])
    _, divisor = divide(numbers, count)
    prediction, _ = choose(numbers, count, left, sample)
    out[at] = np.uint8(prediction | (DIVISOR if divisor != 1 else 0))
    at += 1
    if divisor != 1:
        at = put_varint(out, at, np.uint64(divisor))
    return put_column(numbers, count, prediction, out, at, left, sample)


@device
def take_times(data: NDArray[np.uint8], at: int, end: int, count: int, needed: int, out: NDArray[np.int64],
               left: NDArray[np.int64]) -> int:
    """Reads the first `needed` (at least 1) of a column of `count` times to `out`. Returns the next byte, if these are
    all, or BAD. Behind `end`, data[] has 64 bytes more. `left` i64[FRAME_WORDS] is scratch."""
    if at >= end:
        return BAD
    number, at = take_varint(data, at)
    base = unzigzag(number)
    head = np.int64(data[at])
    at += 1
    if head & 7 > LINE or head & ~(7 | DIVISOR) != 0:
        return BAD
    divisor = np.int64(1)
    if head & DIVISOR != 0:
        number, at = take_varint(data, at)
        divisor = np.int64(number)
    if at > end:
        return BAD
    return take_column(data, at, end, head & 7, count, needed, base, divisor, False, out, 0, 0, left)


@device
def key_of(seed: int, number: int) -> int:
    """A key of the table, never 0: as splitmix64 mixes."""
    key = np.uint64(seed) ^ np.uint64(number)
    key = (key ^ key >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ key >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return (key ^ key >> np.uint64(31)) | np.uint64(1)


@device
def key_of_all(ts: NDArray[np.int64], first: int, past: int) -> int:
    key = np.uint64(past - first)
    for i in range(first, past):
        key = (key ^ np.uint64(ts[i])) * np.uint64(0x9FB21C651E98DF25)
        key ^= key >> np.uint64(32)
    return key_of(ALL, key)


@device
def place_of(keys: NDArray[np.uint64], key: int) -> int:
    """Where a key stands in the table u64[2^n], or the empty place where it would."""
    mask = np.uint64(keys.size - 1)
    at = key >> np.uint64(8) & mask
    while keys[np.int64(at)] != 0 and keys[np.int64(at)] != key:
        at = (at + np.uint64(1)) & mask
    return np.int64(at)


@device
def load(column: int, samples: NDArray[np.int64], start: NDArray[np.int64], arena: NDArray[np.uint8],
         state: NDArray[np.int64], times: NDArray[np.int64], left: NDArray[np.int64]) -> int:
    """Reads a column that was written to `times`, unless it is there; how many times it has."""
    if state[CACHED] != column:
        take_times(arena, start[column], start[column + 1], samples[column], samples[column], times, left)
        state[CACHED] = column
    return samples[column]


@device
def part_of(ts: NDArray[np.int64], first: int, past: int, times: NDArray[np.int64], count: int) -> tuple[int, int]:
    """(where in times[:count] the first of ts[first:past] stands, how far it is to the last, both included); (BAD, 0)
    where they are not all there."""
    low, high = 0, count
    while low < high:
        half = (low + high) // 2
        if times[half] < ts[first]:
            low = half + 1
        else:
            high = half
    at = low
    for i in range(first, past):
        while at < count and times[at] < ts[i]:
            at += 1
        if at == count or times[at] != ts[i]:
            return BAD, 0
        at += 1
    return low, at - low


@device
def is_even(ts: NDArray[np.int64], first: int, past: int) -> bool:
    if past - first > 2:
        step = ts[first + 1] - ts[first]
        for i in range(first + 2, past):
            if ts[i] - ts[i - 1] != step:
                return False
    return True


@device
def name_times(ts: NDArray[np.int64], first: int, past: int, out: NDArray[np.uint8], at: int,
               keys: NDArray[np.uint64], found: NDArray[np.int64], samples: NDArray[np.int64],
               start: NDArray[np.int64], arena: NDArray[np.uint8], state: NDArray[np.int64],
               times: NDArray[np.int64], numbers: NDArray[np.int64], left: NDArray[np.int64],
               sample: NDArray[np.int64]) -> int:
    """Writes at byte `at` which column the times ts[first:past] (ms) are, and the column too where it is new. Returns
    the next byte, or FULL.

    Columns: `samples` i64[n], `start` i64[n + 1] (in `arena` u8[]), found by `keys` u64[2^k] and `found` i64[2^k], of
    which a quarter or less is in use for each column. `times` i64[LONGEST] has the one that was used last. Scratch as
    for `put_times`, but `left` i64[FRAME_WORDS].
    """
    if is_even(ts, first, past):
        out[at] = EVEN
        return at + 1
    count = past - first
    key = key_of_all(ts, first, past)
    place = place_of(keys, key)
    if keys[place] != 0:
        column = found[place]
        if samples[column] == count:
            load(column, samples, start, arena, state, times, left)
            same = True
            for i in range(count):
                same &= times[i] == ts[first + i]
            if same:
                return put_varint(out, at, np.uint64(column) << TWO | np.uint64(WHOLE))
    marked, marked_at, marked_span = np.int64(-1), np.int64(0), np.int64(0)
    for end in range(2):
        own = key_of(FIRST, ts[first]) if end == 0 else key_of(LAST, ts[past - 1])
        place = place_of(keys, own)
        if keys[place] != 0:
            column = found[place]
            if samples[column] > count:
                total = load(column, samples, start, arena, state, times, left)
                where, span = part_of(ts, first, past, times, total)
                if where != BAD and span == count:
                    at = put_varint(out, at, np.uint64(column) << TWO | np.uint64(PART))
                    return put_varint(out, at, np.uint64(where))
                if where != BAD and span <= 64 * count:
                    marked, marked_at, marked_span = column, where, span
    column = state[COLUMNS]
    if column + 1 >= start.size or 4 * (column + 1) >= keys.size or (
            start[column] + count * 12 + FRAME_BYTES * (count // FRAME + 1) + 64 > arena.size):
        return FULL
    after = put_times(ts, first, past, arena, start[column], numbers, left, sample)
    if marked >= 0 and marked_span // 8 <= after - start[column] + 10:
        load(marked, samples, start, arena, state, times, left)
        at = put_varint(out, at, np.uint64(marked) << TWO | np.uint64(SOME))
        at = put_varint(out, at, np.uint64(marked_at))
        at = put_varint(out, at, np.uint64(marked_span))
        size = (marked_span + 7) // 8
        for k in range(size):
            out[at + k] = 0
        k = first
        for i in range(marked_span):
            if times[marked_at + i] == ts[k]:
                out[at + i // 8] |= np.uint8(1 << (i % 8))
                k += 1
        return at + size
    state[COLUMNS] = column + 1
    samples[column] = count
    start[column + 1] = after
    place = place_of(keys, key)
    keys[place], found[place] = key, column
    for end in range(2):
        own = key_of(FIRST, ts[first]) if end == 0 else key_of(LAST, ts[past - 1])
        place = place_of(keys, own)
        if keys[place] == 0 or samples[found[place]] < count:
            keys[place], found[place] = own, column
    return put_varint(out, at, np.uint64(column) << TWO | np.uint64(WHOLE))
