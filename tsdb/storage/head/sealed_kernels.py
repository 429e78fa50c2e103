# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""Sealed chunks as they stand in a window's file, read without a head: for files that are damaged, and for tools."""

from __future__ import annotations

import numpy as np
from numba import int64, types, uint8
from numpy.typing import NDArray

from tsdb.kernels.crc32c_kernels import crc32c
from tsdb.kernels.intrinsics import bytes_at, load_u32, load_u64, words_at
from tsdb.kernels.registry import device, kernel
from tsdb.storage.head.layout import CHUNK_BITS, SEALED_HEADER_WORDS, SEALED_VERSION

BYTES = types.Array(uint8, 1, "C", readonly=True)
HEADER_BYTES = SEALED_HEADER_WORDS * 8
END, FULL, DAMAGED = range(3)
"""Why a listing stopped: 16 zero bytes or the end of the data; no room; bytes that are no sound chunk."""


@device
def is_sound(address: int) -> bool:
    """Whether the sealed chunk at an address (u64) has its checksum; as many bytes as a chunk can have are readable."""
    header = words_at(address, SEALED_HEADER_WORDS)
    bits = np.int64((header[3] >> np.uint64(32)) & np.uint64(0xFFFF))
    size = HEADER_BYTES + ((bits + 63) >> 6) * 8
    if bits < 64 or bits > CHUNK_BITS:
        return False
    return np.uint64(crc32c(np.uint32(0), bytes_at(address, size), 4, size)) == header[0] & np.uint64(0xFFFFFFFF)


@device
def before(header: NDArray[np.uint64], at: int) -> int:
    """Where the series' chunk before the one at byte `at` (u64) begins, 0: there is none. Whatever damage says, it is
    in the file, and a chain has an end."""
    found = header[4] & np.uint64(0xFFFFFFFFFF)
    return found if found < at else np.uint64(0)


@device
def size_at(data: NDArray[np.uint8], at: int) -> int:
    """Bytes of the chunk at `at`; 0: there is no sound one."""
    if at + HEADER_BYTES > data.size:
        return 0
    bits = np.int64((load_u64(data, at + 24) >> np.uint64(32)) & np.uint64(0xFFFF))
    size = HEADER_BYTES + ((bits + 63) >> 6) * 8
    if bits < 64 or bits > CHUNK_BITS or at + size > data.size or np.int64(data[at + 5]) != SEALED_VERSION:
        return 0
    if np.uint32(crc32c(np.uint32(0), data, at + 4, at + size)) != np.uint32(load_u32(data, at)):
        return 0
    return size


@kernel(int64(BYTES, int64), stage="later")
def next_sealed(data: NDArray[np.uint8], start: int) -> int:
    """Where the first sound chunk at or behind byte `start` (a multiple of 8) of a window's file u8[] begins, or -1."""
    at = start
    while at + HEADER_BYTES <= data.size:
        if size_at(data, at) > 0:
            return at
        at += 8
    return -1


@kernel(types.UniTuple(int64, 3)(BYTES, int64, int64[::1]), stage="later")
def list_sealed(data: NDArray[np.uint8], start: int, offsets: NDArray[np.int64]) -> tuple[int, int, int]:
    """Writes where sound chunks of a window's file u8[] begin, one behind the other from byte `start` on, to `offsets`
    i64[]. Returns (how many, the byte behind the last one, END or FULL or DAMAGED)."""
    count = 0
    at = start
    while at + 16 <= data.size and (load_u64(data, at) != 0 or load_u64(data, at + 8) != 0):
        if count == offsets.size:
            return count, at, FULL
        size = size_at(data, at)
        if size == 0:
            return count, at, DAMAGED
        offsets[count] = at
        count += 1
        at += size
    return count, at, END
