"""Series of OpenMetrics and the lines that say since when they count: of a counter, histogram or summary, the line with
its family's name and ``_created``, and the same labels but for the bound of a bucket or quantile. For kernels.

https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md#counter
"""
# mypy: disable-error-code="operator,assignment,return-value,arg-type,no-any-return"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.exposition.label_kernels import is_bound
from tsdb.ingest.exposition.series_cache_kernels import (
    COUNTER,
    FLAGS,
    HISTOGRAM,
    METADATA,
    OFFSET,
    SUMMARY,
    TYPE_MASK,
    TYPE_SHIFT,
)
from tsdb.kernels.hash_kernels import hash_bytes
from tsdb.kernels.registry import device, kernel

CREATED, TOTAL, BUCKET, COUNT, SUM = range(5)
"""Endings of names, in"""
_ENDINGS = np.zeros((5, 8), np.uint8)
_LENGTHS = np.zeros(5, np.int64)
for _row, _ending in enumerate((b"_created", b"_total", b"_bucket", b"_count", b"_sum")):
    _ENDINGS[_row, : len(_ending)] = np.frombuffer(_ending, np.uint8)
    _LENGTHS[_row] = len(_ending)


@device
def without_ending(texts: NDArray[np.uint8], at: int, end: int, ending: int) -> int:
    """Where the name texts[at:end] ends without an ending, or -1 where it has not that one."""
    begin = end - _LENGTHS[ending]
    if begin <= at:
        return np.int64(-1)
    for i in range(_LENGTHS[ending]):
        if texts[begin + i] != _ENDINGS[ending, i]:
            return np.int64(-1)
    return begin


@device
def family_end(texts: NDArray[np.uint8], at: int, end: int, type_: int) -> int:
    """Where the family's name ends in the name texts[at:end] of a series that has a start, or -1."""
    if type_ == COUNTER:
        return without_ending(texts, at, end, np.int64(TOTAL))
    for ending in range(BUCKET if type_ == HISTOGRAM else COUNT, SUM + 1):
        stop = without_ending(texts, at, end, np.int64(ending))
        if stop > 0:
            return stop
    return end if type_ == SUMMARY else np.int64(-1)


@device
def skip_quoted(texts: NDArray[np.uint8], at: int, end: int) -> int:
    """Behind the quote that closes the text that begins at `at`, or the end."""
    while at < end and texts[at] != 0x22:
        at += 2 if texts[at] == 0x5C else 1
    return min(at + 1, end)


@device
def hash_labels(secret: NDArray[np.uint64], texts: NDArray[np.uint8], at: int, end: int,
                type_: int) -> tuple[int, int, int]:
    """(u64 sum of the hashes of the labels but for the bound; begin and end of the name) of the series
    texts[at:end], ``name{name="value", …}``."""
    name = at
    while at < end and texts[at] != 0x7B:
        at += 1
    name_end = at
    total = np.uint64(0)
    at += 1
    while at < end and texts[at] != 0x7D:
        begin = at
        quoted = texts[at] == 0x22
        if quoted:
            at = skip_quoted(texts, at + 1, end)
        while at < end and texts[at] != 0x3D and texts[at] != 0x2C and texts[at] != 0x7D:
            at += 1
        if at < end and texts[at] == 0x3D:
            bound = is_bound(texts, begin, at - begin, type_)
            at = skip_quoted(texts, at + 2, end)
            if not bound:
                total += hash_bytes(secret[0], secret[1], texts, begin, at)
        elif quoted:
            name, name_end = begin + 1, at - 1
        if at < end and texts[at] == 0x2C:
            at += 1
    return total, name, name_end


@kernel("int64(uint64[::1], uint8[::1], int32[:, ::1], int64, uint64[::1], int32[::1], int32[::1])", stage="query")
def link_created(secret: NDArray[np.uint64], texts: NDArray[np.uint8], fields: NDArray[np.int32], count: int,
                 hashes: NDArray[np.uint64], table: NDArray[np.int32], created: NDArray[np.int32]) -> int:
    """Of each of the `count` entries of `series_cache_kernels` the one that says since when it counts, or 0, into
    created i32[count]; that one's own is itself. Returns how many of these there are.

    hashes u64[count] is scratch, table i32[a power of two above `count`] zeros.
    """
    mask = np.uint64(table.size - 1)
    found = np.int64(0)
    created[0] = 0
    for step in range(2):  # first what says it, then what it is said of
        for entry in range(1, count):
            if step == 0:
                created[entry] = 0
                flags = np.int64(fields[entry, FLAGS])
                type_ = flags >> TYPE_SHIFT & TYPE_MASK
                hashes[entry] = np.uint64(0)
                if flags & METADATA or not (type_ == COUNTER or type_ == HISTOGRAM or type_ == SUMMARY):
                    continue
                total, name, name_end = hash_labels(secret, texts, np.int64(fields[entry, OFFSET]),
                                                    np.int64(fields[entry + 1, OFFSET]), type_)
                stop = without_ending(texts, name, name_end, np.int64(CREATED))
                says = stop > 0
                if not says:
                    stop = family_end(texts, name, name_end, type_)
                    if stop < 0:
                        continue
                hashes[entry] = total ^ hash_bytes(secret[1], secret[0], texts, name, stop)
                if not says:
                    continue
            elif hashes[entry] == np.uint64(0) or created[entry] > 0:
                continue
            place = np.int64(hashes[entry] & mask)
            while table[place] > 0 and hashes[table[place]] != hashes[entry]:
                place = (place + 1) & np.int64(mask)
            if step == 1:
                created[entry] = table[place]
                continue
            created[entry] = entry
            found += 1
            if table[place] == 0:
                table[place] = np.int32(entry)
    return found
