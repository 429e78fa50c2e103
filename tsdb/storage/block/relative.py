"""Relative chunks whose bases are nearer than before, because chunks between them are left out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOST = 5
"""Bytes that name a base."""


def moved(data: NDArray[np.uint8], begin: NDArray[np.int64], end: NDArray[np.int64], numbers: NDArray[np.int64],
          kept: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[bytes]]:
    """(which ones of some relative chunks need other bytes, the bytes). The chunks have the given `numbers` in a block
    and the bytes begin[i]:end[i] of `data`; kept[i] chunks before number i are kept. All are sound."""
    coded, size = np.zeros(numbers.size, np.int64), np.zeros(numbers.size, np.int64)
    more = np.ones(numbers.size, np.bool_)
    for k in range(MOST):
        byte = data[np.minimum(begin + k, end - 1)].astype(np.int64)
        coded |= np.where(more, (byte & 127) << 7 * k, 0)
        size += more
        more &= byte > 127
    distance = kept[numbers] - kept[numbers - (coded >> 1)]
    changed = np.flatnonzero(distance != coded >> 1)
    return changed, [_varint(int(distance[i]) << 1 | int(coded[i]) & 1) + data[begin[i] + size[i] : end[i]].tobytes()
                     for i in changed.tolist()]


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])
