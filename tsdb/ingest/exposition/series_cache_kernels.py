"""What is remembered of one target's lines: a table from the text of a line to an entry, for kernels.

Entry 0 stands before the first line and is no line itself. The text of entry i is ``texts[OFFSET of i : OFFSET of
i + 1]``, so that there is one row more than entries. ``table`` i32[a power of two] holds entries, or 0, by hash of the
text.
"""
# mypy: disable-error-code="operator,assignment,return-value,arg-type,no-any-return"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.hash_kernels import hash_bytes
from tsdb.kernels.intrinsics import load_u64
from tsdb.kernels.registry import device, kernel

# Columns of `fields`, i32[capacity, FIELDS].
OFFSET, SLOT, SEEN, NEXT, FLAGS, FIELDS = range(6)
"""Where the text begins; the series' slot in the head, UNKNOWN_SLOT, or the row of a series new in this scrape, as
FIRST_ROW less the row; number of the scrape it was last seen in; the entry that followed it then, or 0; what it is."""
UNKNOWN_SLOT, FIRST_ROW = -1, -2

# Bits of FLAGS.
METADATA, DROPPED, BRACED = 1, 2, 4
"""A line with metadata, not a series; relabeling drops the series; the text ends with a brace."""
TYPE_SHIFT, TYPE_MASK = 3, 7
"""Of a series: the type under which it was first seen. Of a TYPE line: the type of what follows."""
NO_TYPE, SUMMARY, HISTOGRAM, COUNTER, OTHER_TYPE = range(5)
FORMAT_SHIFT, FORMAT_MASK = 6, 3
"""The format (`tsdb.ingest.exposition.formats.Format`) that the text is in."""


@device
def same_bytes(a: NDArray[np.uint8], at: int, b: NDArray[np.uint8], begin: int, length: int) -> bool:
    """Whether a[at : at + length] and b[begin : begin + length], both within their arrays, are equal."""
    if length < 8:
        for i in range(length):
            if a[at + i] != b[begin + i]:
                return False
        return True
    last = length - 8
    i = 0
    while True:  # 64 bytes without a branch, which would be guessed wrongly once for each text
        differ = load_u64(a, at + min(i, last)) ^ load_u64(b, begin + min(i, last))
        for k in range(1, 8):
            differ |= load_u64(a, at + min(i + 8 * k, last)) ^ load_u64(b, begin + min(i + 8 * k, last))
        if differ != np.uint64(0):
            return False
        i += 64
        if i >= length:
            return True


@device
def find_entry(secret: NDArray[np.uint64], data: NDArray[np.uint8], begin: int, end: int, texts: NDArray[np.uint8],
               fields: NDArray[np.int32], table: NDArray[np.int32]) -> tuple[int, int]:
    """(entry with the text data[begin:end], or 0; its place in the table, or a free one)."""
    mask = np.uint64(table.size - 1)
    place = np.int64(hash_bytes(secret[0], secret[1], data, begin, end) & mask)
    while True:
        entry = np.int64(table[place])
        if entry == 0:
            return entry, place
        offset = np.int64(fields[entry, OFFSET])
        if np.int64(fields[entry + 1, OFFSET]) - offset == end - begin \
                and same_bytes(data, begin, texts, offset, end - begin):
            return entry, place
        place = (place + 1) & np.int64(mask)


@device
def add_entry(data: NDArray[np.uint8], begin: int, end: int, entry: int, flags: int, following: int,
              texts: NDArray[np.uint8], fields: NDArray[np.int32], refs: NDArray[np.uint64],
              tracked: NDArray[np.uint8]) -> None:
    """Remembers the text data[begin:end] as `entry`, behind all others, before `following`. There is room."""
    offset = np.int64(fields[entry, OFFSET])
    for i in range(end - begin):
        texts[offset + i] = data[begin + i]
    fields[entry + 1, OFFSET] = np.int32(offset + end - begin)
    fields[entry, SLOT] = np.int32(UNKNOWN_SLOT)
    fields[entry, SEEN] = np.int32(-1)
    fields[entry, NEXT] = np.int32(following)
    fields[entry, FLAGS] = np.int32(flags)
    refs[entry] = np.uint64(0)
    tracked[entry] = np.uint8(0)


@kernel("int64(uint64[::1], uint8[::1], uint8[::1], int32[:, ::1], uint64[::1], uint8[::1], int32[::1], int32[::1],"
        " int64)", stage="query")
def rebuild_cache(secret: NDArray[np.uint64], keep: NDArray[np.uint8], texts: NDArray[np.uint8],
                  fields: NDArray[np.int32], refs: NDArray[np.uint64], tracked: NDArray[np.uint8],
                  table: NDArray[np.int32], moved: NDArray[np.int32], count: int) -> int:
    """Drops entries in place and fills the table, which is zeros, anew. Returns how many entries are left.

    keep u8[count] (entry 0 is kept in any case); `count` rows of fields, refs and tracked are in use, entry 0 among
    them. moved i32[count]: scratch.
    """
    kept = np.int64(1)
    size = np.int64(fields[1, OFFSET])
    moved[0] = 0
    for i in range(1, count):
        if not keep[i]:
            moved[i] = 0
            continue
        moved[i] = np.int32(kept)
        begin = np.int64(fields[i, OFFSET])
        end = np.int64(fields[i + 1, OFFSET])
        if kept < i:
            for column in range(1, FIELDS):
                fields[kept, column] = fields[i, column]
            refs[kept] = refs[i]
            tracked[kept] = tracked[i]
            for at in range(begin, end):
                texts[size + at - begin] = texts[at]
        fields[kept, OFFSET] = np.int32(size)
        size += end - begin
        kept += 1
    fields[kept, OFFSET] = np.int32(size)
    for i in range(kept):
        fields[i, NEXT] = moved[fields[i, NEXT]]
        if i > 0:
            _, place = find_entry(secret, texts, np.int64(fields[i, OFFSET]), np.int64(fields[i + 1, OFFSET]), texts,
                                  fields, table)
            table[place] = np.int32(i)
    return kept
