# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""Joining the texts of several blocks."""

from __future__ import annotations

import numpy as np
from numba import int32, int64, types, uint8, uint32
from numpy.typing import NDArray

from tsdb.kernels.registry import kernel

BYTES = types.Array(uint8, 1, "C", readonly=True)
U32, I32, I64 = uint32[::1], int32[::1], int64[::1]


@kernel(int64(BYTES, I64, I64, I32, U32, I64), stage="later")
def number_texts(data: NDArray[np.uint8], offset: NDArray[np.int64], length: NDArray[np.int64],
                 order: NDArray[np.int32], numbers: NDArray[np.uint32], first: NDArray[np.int64]) -> int:
    """Numbers n texts data[offset : offset + length] (i64[n]) from 0 in their `order` (i32[n], sorted by bytes), equal
    ones alike: `numbers` u32[n] by text, `first` i64[n] by number: one of the texts. How many numbers."""
    count = 0
    for i in range(order.size):
        text = np.int64(order[i])
        same = i > 0 and length[text] == length[order[i - 1]]
        if same:
            before = np.int64(order[i - 1])
            k = 0
            while k < length[text] and data[offset[text] + k] == data[offset[before] + k]:
                k += 1
            same = k == length[text]
        if not same:
            first[count] = text
            count += 1
        numbers[text] = np.uint32(count - 1)
    return count
