# mypy: disable-error-code="return-value,arg-type"
"""CRC-32C (Castagnoli, RFC 3720 appendix B.4), the checksum of everything we write to disk."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.core.extending import intrinsic
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import load_u64
from tsdb.kernels.registry import device, kernel

POLYNOMIAL = 0x82F63B78  # reflected
HAS_INSTRUCTION = platform.machine() == "x86_64" and bool(binding.get_host_cpu_features().get("sse4.2"))
"""Of the processor: eight bytes in three cycles."""


def _make_table() -> NDArray[np.uint32]:
    """u32[8, 256], for eight bytes at a time ("slicing by 8", Kounavis and Berry 2005)."""
    table = np.zeros((8, 256), np.uint32)
    for i in range(256):
        crc = i
        for _ in range(8):
            crc = (crc >> 1) ^ (POLYNOMIAL if crc & 1 else 0)
        table[0, i] = crc
    for k in range(1, 8):
        table[k] = (table[k - 1] >> 8) ^ table[0][table[k - 1] & 0xFF]
    return table


TABLE = _make_table()


@intrinsic  # type: ignore[untyped-decorator]
def _instruction(typingctx: Any, crc: Any, word: Any) -> Any:
    """_instruction(crc, word): the remainder (u64, below 2^32) with eight bytes (u64) more, where HAS_INSTRUCTION."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        u64 = ir.IntType(64)
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(u64, [u64, u64]),
                                                  "llvm.x86.sse42.crc32.64.64")
        return builder.call(function, args)

    return types.uint64(types.uint64, types.uint64), codegen


@device
def by_table(c: int, data: NDArray[np.uint8], i: int, end: int) -> int:
    """The remainder (u32) with data[i:end] more."""
    while i + 8 <= end:
        w = load_u64(data, i) ^ np.uint64(c)
        c = (TABLE[7, w & np.uint64(0xFF)] ^ TABLE[6, (w >> np.uint64(8)) & np.uint64(0xFF)]
             ^ TABLE[5, (w >> np.uint64(16)) & np.uint64(0xFF)] ^ TABLE[4, (w >> np.uint64(24)) & np.uint64(0xFF)]
             ^ TABLE[3, (w >> np.uint64(32)) & np.uint64(0xFF)] ^ TABLE[2, (w >> np.uint64(40)) & np.uint64(0xFF)]
             ^ TABLE[1, (w >> np.uint64(48)) & np.uint64(0xFF)] ^ TABLE[0, w >> np.uint64(56)])
        i += 8
    while i < end:
        c = TABLE[0, (c ^ np.uint32(data[i])) & np.uint32(0xFF)] ^ (c >> np.uint32(8))
        i += 1
    return c


@device
def crc32c(crc: int, data: NDArray[np.uint8], start: int, end: int) -> int:
    """CRC of data[start:end], continuing from `crc` (u32, 0 to begin with). u32. For kernels."""
    c = np.uint32(crc) ^ np.uint32(0xFFFFFFFF)
    i = start
    if HAS_INSTRUCTION:
        wide = np.uint64(c)
        while i + 8 <= end:
            wide = _instruction(wide, load_u64(data, i))
            i += 8
        c = np.uint32(wide)
    return np.uint32(by_table(c, data, i, end) ^ np.uint32(0xFFFFFFFF))


@kernel("uint32(uint32, Array(uint8, 1, 'C', readonly=True))")
def checksum(crc: int, data: NDArray[np.uint8]) -> int:
    """CRC of u8[n] `data`, continuing from `crc` (0 to begin with)."""
    return crc32c(crc, data, 0, data.size)
