# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""Histograms of the head: where a stored value leads to, storing them, and handing them on.

A boxed value (`tsdb.model.native_histograms`) is at first an offset in a batch's payload; in the head's columns it is
*stored*: number of the file and offset in it; in decoded columns it is an *address* in memory, and in a tile an offset
in the tile's payload. docs/formats.md draws the file.
"""

from __future__ import annotations

import numpy as np
from numba import int64, types, uint8, uint64
from numpy.typing import NDArray

from tsdb.kernels.byte_kernels import copy_bytes, equal_bytes
from tsdb.kernels.crc32c_kernels import crc32c
from tsdb.kernels.intrinsics import bytes_at, load_u32
from tsdb.kernels.registry import device, kernel
from tsdb.model.native_histograms import BOX, FLOAT_FLAG, HEADER_BYTES, MAX_BYTES, OFFSET_MASK

FILE_BITS = 22
OFFSET_BITS = 28
"""Of the 50 bits of a stored value."""
CRC_BYTES = 4
"""Before the bytes of each histogram."""

BYTES = types.Array(uint8, 1, "C", readonly=True)
U64, I64 = uint64[::1], int64[::1]

BOXED = np.uint64(BOX)
MASK = np.uint64(OFFSET_MASK)
IN_FILE = np.uint64((1 << OFFSET_BITS) - 1)
SPREAD = np.uint64(0x9E3779B1)
LOW32 = np.uint64(0xFFFFFFFF)


@device
def place_crc(value: int) -> np.uint32:
    """What the checksum of a histogram begins with: it is valid only where it was written."""
    stored = value & MASK
    return np.uint32(((stored >> np.uint64(OFFSET_BITS)) * SPREAD + (stored & IN_FILE)) & LOW32)


@device
def file_of(value: int) -> int:
    """The number (i64) of the file that a stored value (u64) names."""
    return np.int64((value & MASK) >> np.uint64(OFFSET_BITS))


@device
def payload_at(table: NDArray[np.uint64], value: int) -> int:
    """The address (u64) of the histogram's bytes that a stored value (u64) leads to, whose length is the u32 there; 0
    where they are gone or damaged.

    `table` is that of a `PayloadView`: the number of the first file, then address and bytes of it and of each that
    follows."""
    stored = value & MASK
    place = file_of(value) - np.int64(table[0])
    if place < 0 or 2 * place + 2 >= table.size:
        return np.uint64(0)
    begin = np.int64(stored & IN_FILE)
    size = np.int64(table[2 * place + 2])
    if begin + CRC_BYTES + HEADER_BYTES > size:
        return np.uint64(0)
    address = table[2 * place + 1] + np.uint64(begin)
    length = np.int64(load_u32(bytes_at(address, 8), CRC_BYTES))
    if length < HEADER_BYTES or length > MAX_BYTES or begin + CRC_BYTES + length > size:
        return np.uint64(0)
    data = bytes_at(address, CRC_BYTES + length)
    if crc32c(place_crc(value), data, CRC_BYTES, CRC_BYTES + length) != np.uint32(load_u32(data, 0)):
        return np.uint64(0)
    return address + np.uint64(CRC_BYTES)


@device
def equal(a: NDArray[np.uint8], a_at: int, b: NDArray[np.uint8], b_at: int) -> bool:
    """Whether two histograms are the same but for the reset hint, as Prometheus compares them."""
    length = np.int64(load_u32(a, a_at))
    if length != np.int64(load_u32(b, b_at)):
        return False
    if (a[a_at + 4] ^ b[b_at + 4]) & np.uint8(FLOAT_FLAG):
        return False
    return equal_bytes(a, a_at + 5, b, b_at + 5, length - 5)


@device
def is_same(value: int, payload: NDArray[np.uint8], other: int, table: NDArray[np.uint64]) -> bool:
    """Whether the boxed value (u64) of a batch leads to the same histogram as a value of the head does (u64). What is
    not there any more to be compared counts as the same."""
    if other < BOXED:
        return False
    address = payload_at(table, other)
    return address == 0 or equal(payload, np.int64(value & MASK), bytes_at(address, MAX_BYTES), 0)


@kernel(types.void(U64, BYTES, U64, U64, types.boolean[::1]), stage="later")
def are_same(values: NDArray[np.uint64], payload: NDArray[np.uint8], others: NDArray[np.uint64],
             table: NDArray[np.uint64], out: NDArray[np.bool_]) -> None:
    """What `is_same` says of the boxed ones of n values, to `out` bool[n]; others are left alone."""
    for i in range(values.size):
        if values[i] >= BOXED:
            out[i] = is_same(values[i], payload, others[i], table)


@kernel(int64(U64, BYTES), stage="query")
def check(values: NDArray[np.uint64], payload: NDArray[np.uint8]) -> int:
    """The index of the first boxed value (u64[n]) that leads to no whole histogram in `payload` u8[], or -1."""
    for i in range(values.size):
        if values[i] >= BOXED:
            at = np.int64(values[i] & MASK)
            if at + HEADER_BYTES > payload.size:
                return i
            length = np.int64(load_u32(payload, at))
            if length < HEADER_BYTES or length > MAX_BYTES or at + length > payload.size:
                return i
    return -1


@kernel(types.UniTuple(int64, 2)(U64, BYTES, int64, uint64, int64, int64, int64, U64), stage="query")
def store(values: NDArray[np.uint64], payload: NDArray[np.uint8], start: int, address: int, at: int, limit: int,
          number: int, out: NDArray[np.uint64]) -> tuple[int, int]:
    """Copies the histograms that boxed values from index `start` on lead to, in `payload` u8[], to the file `number`,
    which is mapped at `address`, from byte `at` up to `limit`. `out` u64[n] gets the values, stored ones for boxed
    ones. Returns (index reached, byte reached)."""
    for i in range(start, values.size):
        value = values[i]
        if value < BOXED:
            out[i] = value
            continue
        begin = np.int64(value & MASK)
        length = np.int64(load_u32(payload, begin))
        if at + CRC_BYTES + length > limit:
            return i, at
        stored = BOXED | np.uint64(number) << np.uint64(OFFSET_BITS) | np.uint64(at)
        target = bytes_at(address + np.uint64(at), CRC_BYTES + length)
        copy_bytes(payload, begin, length, target, CRC_BYTES)
        crc = np.uint32(crc32c(place_crc(stored), target, CRC_BYTES, CRC_BYTES + length))
        for k in range(CRC_BYTES):
            target[k] = np.uint8((crc >> np.uint32(8 * k)) & np.uint32(0xFF))
        out[i] = stored
        at += CRC_BYTES + length
    return values.size, at


LOST_MIN, LOST_MAX, LOST_FILE, LOST = range(4)
"""Columns of `lost`, i64[LOST]: earliest and latest time (ms) of samples that are left out, and the file of one."""


@kernel(int64(I64, I64, I64, U64, I64, U64, I64), stage="query")
def resolve(begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64], values: NDArray[np.uint64],
            starts: NDArray[np.int64], table: NDArray[np.uint64], lost: NDArray[np.int64]) -> int:
    """Makes addresses of the stored values among begin[r]:end[r] of `values`, in place, for all rows r. A sample whose
    histogram is gone or damaged is left out: those behind it move up, in `starts`, too, unless it is empty, and end[r]
    is less. Returns how many."""
    left_out = np.int64(0)
    for row in range(begin.size):
        put = begin[row]
        for i in range(begin[row], end[row]):
            value = values[i]
            if value >= BOXED:
                address = payload_at(table, value)
                if address == 0:
                    lost[LOST_MIN] = min(lost[LOST_MIN], ts[i]) if left_out else ts[i]
                    lost[LOST_MAX] = max(lost[LOST_MAX], ts[i]) if left_out else ts[i]
                    lost[LOST_FILE] = file_of(value)
                    left_out += 1
                    continue
                values[i] = BOXED | address
            if put < i:
                ts[put], values[put] = ts[i], values[i]
                if starts.size:
                    starts[put] = starts[i]
            put += 1
        end[row] = put
    return left_out


@kernel(int64(I64, I64, U64, uint8[::1]), stage="query")
def gather(begin: NDArray[np.int64], end: NDArray[np.int64], values: NDArray[np.uint64],
           out: NDArray[np.uint8]) -> int:
    """How many bytes the histograms have to which the addresses among begin[r]:end[r] of `values` lead. Where `out`
    u8[] has that size, it gets them, and the values become offsets in it, in place."""
    at = 0
    for row in range(begin.size):
        for i in range(begin[row], end[row]):
            if values[i] >= BOXED:
                address = values[i] & MASK
                length = np.int64(load_u32(bytes_at(address, 4), 0))
                if at + length <= out.size:
                    copy_bytes(bytes_at(address, length), 0, length, out, at)
                    values[i] = BOXED | np.uint64(at)
                at += length
    return at
