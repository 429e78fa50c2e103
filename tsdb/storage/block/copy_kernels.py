# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return,no-untyped-def"
"""Chunks and columns of times to a block's file, behind their checksums."""

from __future__ import annotations

import numpy as np
from numba import int64, types, uint8, uint64
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import bytes_at
from tsdb.kernels.registry import kernel
from tsdb.storage.block.chunk_kernels import COLUMN_FORM, chunk_crc

BYTES = types.Array(uint8, 1, "C", readonly=True)
U8, U64, I64 = uint8[::1], uint64[::1], int64[::1]


@kernel(types.UniTuple(int64, 2)(int64, U64, I64, I64, I64, I64, BYTES, U8, U8), stage="later")
def copy_chunks(start: int, address: NDArray[np.uint64], length: NDArray[np.int64], mint: NDArray[np.int64],
                maxt: NDArray[np.int64], samples: NDArray[np.int64], form: NDArray[np.uint8],
                header: NDArray[np.uint8], out: NDArray[np.uint8]) -> tuple[int, int]:
    """Copies chunks (columns [k], as in `source.Chunks`) from number `start` on to `out` u8[], each behind its
    checksum, as many as there is room for. Returns (next number, bytes written)."""
    at = 0
    i = start
    while i < address.size and at + 4 + length[i] <= out.size:
        size = length[i]
        data = bytes_at(address[i], size)
        crc = np.uint64(chunk_crc(header, mint[i], maxt[i], samples[i], np.int64(form[i]), data, 0, size))
        for k in range(4):
            out[at + k] = np.uint8((crc >> np.uint64(8 * k)) & np.uint64(0xFF))
        for k in range(size):
            out[at + 4 + k] = data[k]
        at += 4 + size
        i += 1
    return i, at


@kernel(types.UniTuple(int64, 2)(int64, U64, I64, I64, U8, U8), stage="later")
def copy_columns(start: int, address: NDArray[np.uint64], length: NDArray[np.int64], samples: NDArray[np.int64],
                 header: NDArray[np.uint8], out: NDArray[np.uint8]) -> tuple[int, int]:
    """As `copy_chunks`, columns of times."""
    at = 0
    i = start
    while i < address.size and at + 4 + length[i] <= out.size:
        size = length[i]
        data = bytes_at(address[i], size)
        crc = np.uint64(chunk_crc(header, i, 0, samples[i], COLUMN_FORM, data, 0, size))
        for k in range(4):
            out[at + k] = np.uint8((crc >> np.uint64(8 * k)) & np.uint64(0xFF))
        for k in range(size):
            out[at + 4 + k] = data[k]
        at += 4 + size
        i += 1
    return i, at
