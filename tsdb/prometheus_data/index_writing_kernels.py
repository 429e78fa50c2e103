# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""The series and postings of an index as they stand on disk (tsdb/docs/format/index.md)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.byte_kernels import copy_bytes
from tsdb.kernels.crc32c_kernels import crc32c
from tsdb.kernels.long_crc32c_kernels import long_crc32c
from tsdb.kernels.registry import kernel
from tsdb.kernels.varint_kernels import put_varint, zigzag
from tsdb.prometheus_data.bit_kernels import store_big_u32
from tsdb.prometheus_data.chunk_kernels import MAXT, MINT, PLACE
from tsdb.prometheus_data.index_kernels import SERIES_ALIGNMENT

POSTINGS_FRAME = 12


@kernel("int64(int64, int64, int64[::1], int64[::1], int64[::1], uint32[::1], uint32[::1], int64[::1], int64[:, ::1],"
        " uint8[::1], uint8[::1], int64[::1])", stage="later")
def write_series(first: int, at: int, order: NDArray[np.int64], label_begin: NDArray[np.int64],
                 label_end: NDArray[np.int64], names: NDArray[np.uint32], values: NDArray[np.uint32],
                 chunk_offset: NDArray[np.int64], chunks: NDArray[np.int64], scratch: NDArray[np.uint8],
                 out: NDArray[np.uint8], places: NDArray[np.int64]) -> int:
    """Writes the series order[first:], rows of the other arrays, to `out`, whose first byte is byte `at` of the file, a
    multiple of SERIES_ALIGNMENT, while there is room. names and values are numbers of symbols; the chunks of a row are
    chunk_offset[row]:chunk_offset[row + 1] of chunks i64[m, CHUNK_COLUMNS]. `scratch` holds the largest series.
    places i64[series + 1] takes where in the file each begins, and the last one ends. The next series."""
    used = np.int64(0)
    for i in range(first, order.size):
        row = order[i]
        size = put_varint(scratch, 0, np.uint64(label_end[row] - label_begin[row]))
        for k in range(label_begin[row], label_end[row]):
            size = put_varint(scratch, size, np.uint64(names[k]))
            size = put_varint(scratch, size, np.uint64(values[k]))
        begin, end = chunk_offset[row], chunk_offset[row + 1]
        size = put_varint(scratch, size, np.uint64(end - begin))
        for k in range(begin, end):
            if k == begin:
                size = put_varint(scratch, size, zigzag(chunks[k, MINT]))
            else:
                size = put_varint(scratch, size, np.uint64(chunks[k, MINT] - chunks[k - 1, MAXT]))
            size = put_varint(scratch, size, np.uint64(chunks[k, MAXT]) - np.uint64(chunks[k, MINT]))
            if k == begin:
                size = put_varint(scratch, size, np.uint64(chunks[k, PLACE]))
            else:
                size = put_varint(scratch, size, zigzag(chunks[k, PLACE] - chunks[k - 1, PLACE]))
        used = (used + SERIES_ALIGNMENT - 1) // SERIES_ALIGNMENT * SERIES_ALIGNMENT
        if used + size + 32 > out.size:
            places[i] = at + used
            return i
        places[i] = at + used
        used = put_varint(out, used, np.uint64(size))
        copy_bytes(scratch, 0, size, out, used)
        store_big_u32(out, used + size, np.int64(crc32c(np.uint32(0), scratch, 0, size)))
        used += size + 4
        places[i + 1] = at + used
        for k in range(used, min(used + SERIES_ALIGNMENT, out.size)):
            out[k] = 0
    return np.int64(order.size)


@kernel("void(uint32[::1], int64[::1], uint8[::1])", stage="later")
def write_postings(refs: NDArray[np.uint32], offsets: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
    """Writes the lists refs[offsets[i] : offsets[i + 1]] of series, one behind the other, to `out`
    u8[POSTINGS_FRAME * lists + 4 * refs]."""
    at = np.int64(0)
    for i in range(offsets.size - 1):
        count = offsets[i + 1] - offsets[i]
        store_big_u32(out, at, 4 + 4 * count)
        store_big_u32(out, at + 4, count)
        begin = at + 4
        at += 8
        for k in range(offsets[i], offsets[i + 1]):
            store_big_u32(out, at, np.int64(refs[k]))
            at += 4
        store_big_u32(out, at, np.int64(long_crc32c(np.uint32(0), out, begin, at)))
        at += 4
