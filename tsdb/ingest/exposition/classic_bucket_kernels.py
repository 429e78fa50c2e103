"""Buckets of a classic histogram to a native one with custom buckets, as Prometheus' util/convertnhcb, for kernels."""
# mypy: disable-error-code="operator,assignment,return-value,arg-type,no-any-return"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.exposition.exposition_kernels import METADATA_RECORD, SAMPLE_RECORD
from tsdb.ingest.exposition.line_kernels import EXEMPLAR_COLUMNS
from tsdb.ingest.exposition.native_histogram_kernels import MAX_BUCKETS
from tsdb.ingest.exposition.record_kernels import MOST_EXEMPLARS, copy, write_u32
from tsdb.ingest.histogram_kernels import (
    COUNT,
    CUSTOM,
    CUSTOM_VALUES,
    FIELDS,
    FLOATS,
    POSITIVE,
    POSITIVE_BUCKETS,
    POSITIVE_SPANS,
    SCHEMA,
    SUM,
    write_histogram,
)
from tsdb.kernels.intrinsics import bits_float, float_bits, store_u64
from tsdb.kernels.registry import device
from tsdb.model.batch import STALE_NAN
from tsdb.model.native_histograms import BOX, CUSTOM_SCHEMA, MAX_BYTES

# `state`, i64[STATE].
KEPT, KEPT_RUNS, RECORDS, RECORD_RUNS, PAYLOAD, REFUSED, ODD, RESOLVED, STATE = range(9)
"""Bytes of what is kept, and its runs of lines; bytes of records, and their number; bytes of the payload; histograms
with more buckets than are allowed; numbers that need Python. Given: the PAYLOAD that there is, and whether `odd` is
resolved."""

# `group`, i64[GROUP]: the histogram that is being read.
TEXT_SIZE, BOUNDS, SORTED, FAILED, HAS_COUNT, COUNT_BITS, SUM_BITS, TIME, OWN_TIME, EXAMPLES, ORIGIN, GROUP = range(12)
"""Of what names it in `work`, -1: there is none; buckets; whether they came in order; whether it is refused; …; of the
last series that was read; exemplars; where it begins."""

MOST_BOUNDS = (MAX_BYTES - 128) // 18
"""Of a histogram: a bucket takes a bound and up to ten bytes."""
_EMPTY_INTEGERS, _EMPTY_FLOATS = 2, 0
"""So many empty buckets stand between others, if there are no more."""


@device
def sort_bounds(buckets: NDArray[np.float64], count: int) -> int:
    """Sorts rows of (bound, count, order of coming) and leaves out those whose bound came before; returns how many are
    left."""
    gap = 1
    while gap < count // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, count):
            bound, number, order = buckets[i, 0], buckets[i, 1], buckets[i, 2]
            j = i
            while j >= gap and (buckets[j - gap, 0] > bound
                                or (buckets[j - gap, 0] == bound and buckets[j - gap, 2] > order)):
                for k in range(3):
                    buckets[j, k] = buckets[j - gap, k]
                j -= gap
            buckets[j, 0], buckets[j, 1], buckets[j, 2] = bound, number, order
        gap //= 3
    put = np.int64(0)
    for i in range(count):
        if put == 0 or buckets[i, 0] > buckets[put - 1, 0]:
            for k in range(3):
                buckets[put, k] = buckets[i, k]
            put += 1
    return put


@device
def convert_buckets(group: NDArray[np.int64], buckets: NDArray[np.float64], fields: NDArray[np.int64],
                    spans: NDArray[np.int64], lists: NDArray[np.int64]) -> bool:
    """The histogram, for `write_histogram`; False: there is none."""
    size = group[BOUNDS]
    if group[FAILED]:
        return False
    if not group[SORTED]:
        size = sort_bounds(buckets, size)
    for i in range(1, size):
        if buckets[i, 1] < buckets[i - 1, 1]:
            return False
    count = buckets[size - 1, 1] if size > 0 else 0.0
    if group[HAS_COUNT]:
        count = bits_float(np.uint64(group[COUNT_BITS]))
    if size == 0 or buckets[size - 1, 0] != np.inf:
        if size > 0 and buckets[size - 1, 1] > count:
            return False
        buckets[size, 0], buckets[size, 1] = np.inf, count
        size += 1
    if not count == buckets[size - 1, 1] or (size > 1 and buckets[0, 0] == -np.inf):
        return False
    floats = False
    for i in range(size):
        number = buckets[i, 1]
        floats = floats or not (number < 9223372036854775808.0 and number == np.floor(number))
    for i in range(FIELDS):
        fields[i] = 0
    fields[SCHEMA] = CUSTOM_SCHEMA
    fields[FLOATS] = 1 if floats else 0
    fields[SUM] = group[SUM_BITS]
    fields[COUNT] = np.int64(float_bits(count)) if floats else np.int64(count)
    fields[CUSTOM_VALUES] = size - 1
    gap = np.int64(_EMPTY_FLOATS if floats else _EMPTY_INTEGERS)
    runs = put = np.int64(0)
    last = np.int64(-1)
    written = np.int64(0)
    below = 0.0
    for i in range(size):
        number = buckets[i, 1]
        if i < size - 1:
            lists[CUSTOM, i] = np.int64(float_bits(buckets[i, 0]))
        whole = np.int64(0)
        if not floats:
            whole = np.int64(number) - np.int64(below)
        if (number - below == 0.0) if floats else whole == 0:
            below = number
            continue
        if put > 0 and i - last - 1 <= gap:
            spans[POSITIVE, runs - 1, 1] += i - last
            for _ in range(i - last - 1):
                lists[POSITIVE, put] = -written
                written = np.int64(0)
                put += 1
        else:
            spans[POSITIVE, runs, 0], spans[POSITIVE, runs, 1] = i - last - 1, 1
            runs += 1
        if floats:
            lists[POSITIVE, put] = np.int64(float_bits(number - below))
        else:
            lists[POSITIVE, put] = whole - written
            written = whole
        put += 1
        below = number
        last = i
    fields[POSITIVE_SPANS], fields[POSITIVE_BUCKETS] = runs, put
    return True


@device
def end_group(group: NDArray[np.int64], options: NDArray[np.int64], work: NDArray[np.uint8],
              buckets: NDArray[np.float64], fields: NDArray[np.int64], spans: NDArray[np.int64],
              lists: NDArray[np.int64], exemplars: NDArray[np.int64], records: NDArray[np.uint8],
              records_at: NDArray[np.int64], payload: NDArray[np.uint8], state: NDArray[np.int64]) -> None:
    """Writes the record of a histogram, if there is one. There is room."""
    size = group[TEXT_SIZE]
    group[TEXT_SIZE] = -1
    if size < 0 or not convert_buckets(group, buckets, fields, spans, lists):
        return
    bits = np.uint64(STALE_NAN)
    if options[MAX_BUCKETS] and fields[POSITIVE_BUCKETS] > options[MAX_BUCKETS]:
        state[REFUSED] += 1
    elif np.uint64(group[SUM_BITS]) != np.uint64(STALE_NAN):
        bits = np.uint64(BOX) | np.uint64(state[PAYLOAD])
        state[PAYLOAD] = write_histogram(fields, spans, lists, payload, state[PAYLOAD])
    at = state[RECORDS]
    if records_at.shape[0] > 0:
        records_at[state[RECORD_RUNS], 0], records_at[state[RECORD_RUNS], 1] = at, group[ORIGIN]
    state[RECORD_RUNS] += 1
    examples = min(group[EXAMPLES], np.int64(MOST_EXEMPLARS))
    records[at] = SAMPLE_RECORD if examples == 0 else METADATA_RECORD + examples
    write_u32(records, at + 1, size)
    at = copy(work, np.int64(0), size, records, at + 5)
    store_u64(records, at, bits)
    store_u64(records, at + 8, np.uint64(group[TIME]))
    records[at + 16] = group[OWN_TIME]
    at += 17
    for i in range(examples):
        for column in range(1, EXEMPLAR_COLUMNS):
            store_u64(records, at, np.uint64(exemplars[i, column]))
            at += 8
    state[RECORDS] = at
