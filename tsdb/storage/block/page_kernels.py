# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return,no-untyped-def"
"""Checksums of the pages of an index's sections."""

from __future__ import annotations

import numpy as np
from numba import int64, types, uint8, uint32
from numpy.typing import NDArray

from tsdb.kernels.long_crc32c_kernels import long_crc32c
from tsdb.kernels.registry import kernel

BYTES = types.Array(uint8, 1, "C", readonly=True)
NUMBERS = types.Array(uint32, 1, "C", readonly=True)
U32, I64 = uint32[::1], int64[::1]


@kernel(types.void(BYTES, int64, I64, U32), stage="query")
def page_checksums(data: NDArray[np.uint8], size: int, pages: NDArray[np.int64], out: NDArray[np.uint32]) -> None:
    """crc32c of the given `pages` (i64[k]) of `size` bytes of the data to `out` u32[k]; the last may be shorter."""
    for i in range(pages.size):
        start = pages[i] * size
        out[i] = long_crc32c(np.uint32(0), data, start, min(start + size, data.size))


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
                if long_crc32c(np.uint32(0), data, k * page, min((k + 1) * page, data.size)) != crcs[k]:
                    return k, checked
                unchecked[k] = False
                checked += 1
        known_from, known_to = first * page, past * page
    return -1, checked
