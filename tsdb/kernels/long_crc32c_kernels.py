# mypy: disable-error-code="return-value,arg-type,assignment,no-any-return"
"""CRC-32C of some hundred bytes and more, in three parts at once: one instruction waits three cycles for the one
before, and three can be under way (Gopal et al., "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction",
Intel 2011)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.crc32c_kernels import HAS_INSTRUCTION, TABLE, _instruction, crc32c
from tsdb.kernels.intrinsics import load_u64
from tsdb.kernels.registry import device

PART = 128
"""Bytes of each of three parts."""


def _make_shift() -> NDArray[np.uint64]:
    """u64[4, 256]: what each byte of a remainder becomes with PART zeros behind it."""
    shift = np.arange(256, dtype=np.uint32) << (np.arange(4, dtype=np.uint32) * 8)[:, None]
    for _ in range(PART):
        shift = TABLE[0][shift & 0xFF] ^ (shift >> 8)
    return shift.astype(np.uint64)


SHIFT = _make_shift()
BYTE = np.uint64(0xFF)


@device
def _shifted(remainder: int) -> int:
    """The remainder (u64, below 2^32) with PART zeros more."""
    return (SHIFT[0, remainder & BYTE] ^ SHIFT[1, (remainder >> np.uint64(8)) & BYTE]
            ^ SHIFT[2, (remainder >> np.uint64(16)) & BYTE] ^ SHIFT[3, remainder >> np.uint64(24)])


@device
def long_crc32c(crc: int, data: NDArray[np.uint8], start: int, end: int) -> int:
    """As `crc32c`, quicker for what is long."""
    at = start
    if HAS_INSTRUCTION and start + 3 * PART <= end:
        first = np.uint64(np.uint32(crc) ^ np.uint32(0xFFFFFFFF))
        while at + 3 * PART <= end:
            second, third = np.uint64(0), np.uint64(0)
            for k in range(0, PART, 8):
                first = _instruction(first, load_u64(data, at + k))
                second = _instruction(second, load_u64(data, at + PART + k))
                third = _instruction(third, load_u64(data, at + 2 * PART + k))
            first = _shifted(_shifted(first) ^ second) ^ third
            at += 3 * PART
        crc = np.uint32(first) ^ np.uint32(0xFFFFFFFF)
    return crc32c(crc, data, at, end)
