# mypy: disable-error-code="no-any-return,return-value,assignment,arg-type,call-overload,operator"
"""Prometheus' hash of a label set: xxHash64 of its labels as they lie in memory there. What limit_ratio keeps depends
on it, so that the same series are kept everywhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import load_u32, load_u64
from tsdb.kernels.registry import device, kernel

_PRIME1, _PRIME2, _PRIME3 = np.uint64(0x9E3779B185EBCA87), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9)
_PRIME4, _PRIME5 = np.uint64(0x85EBCA77C2B2AE63), np.uint64(0x27D4EB2F165667C5)
_SEED1, _SEED4 = np.uint64(0x60EA27EEADC0B5D6), np.uint64(0x61C8864E7A143579)  # of seed 0: PRIME1 + PRIME2, -PRIME1

LONG = 255
"""A text of so many bytes or more has its length in four bytes, shorter ones in one."""

_I64 = "Array(int64, 1, 'C', readonly=True)"


@device
def _rotated(x: int, bits: int) -> int:
    return x << np.uint64(bits) | x >> np.uint64(64 - bits)


@device
def _round(lane: int, word: int) -> int:
    return _rotated(lane + word * _PRIME2, 31) * _PRIME1


@device
def xxhash64(data: NDArray[np.uint8], end: int) -> int:
    """u64 xxHash64, seed 0, of data[:end]."""
    at = np.int64(0)
    if end >= 32:
        v1, v2, v3, v4 = _SEED1, _PRIME2, np.uint64(0), _SEED4
        while at + 32 <= end:
            v1 = _round(v1, load_u64(data, at))
            v2 = _round(v2, load_u64(data, at + 8))
            v3 = _round(v3, load_u64(data, at + 16))
            v4 = _round(v4, load_u64(data, at + 24))
            at += 32
        h = _rotated(v1, 1) + _rotated(v2, 7) + _rotated(v3, 12) + _rotated(v4, 18)
        h = (h ^ _round(np.uint64(0), v1)) * _PRIME1 + _PRIME4
        h = (h ^ _round(np.uint64(0), v2)) * _PRIME1 + _PRIME4
        h = (h ^ _round(np.uint64(0), v3)) * _PRIME1 + _PRIME4
        h = (h ^ _round(np.uint64(0), v4)) * _PRIME1 + _PRIME4
    else:
        h = _PRIME5
    h += np.uint64(end)
    while at + 8 <= end:
        h = _rotated(h ^ _round(np.uint64(0), load_u64(data, at)), 27) * _PRIME1 + _PRIME4
        at += 8
    if at + 4 <= end:
        h = _rotated(h ^ np.uint64(load_u32(data, at)) * _PRIME1, 23) * _PRIME2 + _PRIME3
        at += 4
    while at < end:
        h = _rotated(h ^ np.uint64(data[at]) * _PRIME5, 11) * _PRIME1
        at += 1
    h = (h ^ h >> np.uint64(33)) * _PRIME2
    h = (h ^ h >> np.uint64(29)) * _PRIME3
    return h ^ h >> np.uint64(32)


@device
def _put(text: int, texts: NDArray[np.int64], data: NDArray[np.uint8], out: NDArray[np.uint8], at: int) -> int:
    """Writes a text behind its length; where that ends."""
    begin, end = texts[text], texts[text + 1]
    size = end - begin
    if size < LONG:
        out[at] = np.uint8(size)
        at += 1
    else:
        out[at] = np.uint8(LONG)
        out[at + 1] = np.uint8(size & 255)
        out[at + 2] = np.uint8(size >> 8 & 255)
        out[at + 3] = np.uint8(size >> 16 & 255)
        at += 4
    for i in range(begin, end):
        out[at] = data[i]
        at += 1
    return at


@kernel(f"void({_I64}, {_I64}, {_I64}, {_I64}, Array(uint8, 1, 'C', readonly=True), uint8[::1], uint64[::1])",
        stage="later")
def hash_label_sets(offsets: NDArray[np.int64], names: NDArray[np.int64], values: NDArray[np.int64],
                    texts: NDArray[np.int64], data: NDArray[np.uint8], scratch: NDArray[np.uint8],
                    out: NDArray[np.uint64]) -> None:
    """The hash u64[n] of each row.

    offsets i64[n + 1] as in `SeriesSet`; names and values i64[labels] are numbers of texts: text i is the bytes
    data[texts[i]:texts[i + 1]]. scratch u8[] has room for the longest row, each text with up to four bytes more.
    """
    for row in range(offsets.size - 1):
        end = np.int64(0)
        for at in range(offsets[row], offsets[row + 1]):
            end = _put(names[at], texts, data, scratch, end)
            end = _put(values[at], texts, data, scratch, end)
        out[row] = xxhash64(scratch, end)
