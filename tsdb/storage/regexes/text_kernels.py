# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return,no-untyped-def"
"""Looking through many texts at once. Texts are data[begin : begin + length] of u8[], with i64[n] each."""

from __future__ import annotations

import numpy as np
from numba import int64, types, uint8
from numpy.typing import NDArray

from tsdb.kernels.registry import kernel

BYTES = types.Array(uint8, 1, "C", readonly=True)
U8, I64 = uint8[::1], int64[::1]


@kernel(types.void(BYTES, I64, I64, BYTES, int64, int64, U8), stage="query")
def find_around(data: NDArray[np.uint8], begin: NDArray[np.int64], length: NDArray[np.int64],
                literal: NDArray[np.uint8], before: int, after: int, found: NDArray[np.uint8]) -> None:
    """Sets `found` u8[n] for texts that are `literal` with at least `before` bytes before it and `after` behind it; -1:
    none at all."""
    size = literal.size
    for i in range(begin.size):
        least = size + max(before, 0) + max(after, 0)
        if length[i] < least or (before < 0 and after < 0 and length[i] != least):
            continue
        first = max(before, 0)
        last = length[i] - max(after, 0) - size
        if before < 0:
            last = 0
        elif after < 0:
            first = last
        for at in range(first, last + 1):
            k = 0
            while k < size and data[begin[i] + at + k] == literal[k]:
                k += 1
            if k == size:
                found[i] = 1
                break


@kernel(int64(BYTES, I64, I64, U8), stage="query")
def write_lines(data: NDArray[np.uint8], begin: NDArray[np.int64], length: NDArray[np.int64],
                out: NDArray[np.uint8]) -> int:
    """Writes texts with a newline behind each to `out`, which has room for that. The index of the first text that has
    a newline itself, where it stops; else -1."""
    to = 0
    for i in range(begin.size):
        for k in range(begin[i], begin[i] + length[i]):
            if data[k] == 10:
                return i
            out[to] = data[k]
            to += 1
        out[to] = 10
        to += 1
    return -1
