# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""Sorting samples by series, for those that come in time order."""

from __future__ import annotations

import numpy as np
from numba import boolean, int32, int64
from numpy.typing import NDArray

from tsdb.kernels.registry import kernel

I32, I64 = int32[::1], int64[::1]


@kernel(boolean(I32, I64, I64, I64, I64), stage="later")
def place(slots: NDArray[np.int32], ts: NDArray[np.int64], at: NDArray[np.int64], newest: NDArray[np.int64],
          order: NDArray[np.int64]) -> bool:
    """Which sample stands where: order i64[n], of n samples of series `slots` i32[n] with times `ts` i64[n], those of a
    series in the order in which they come. By series, `at` i64[]: where its next one goes; `newest` i64[]: the time of
    its last one; both are changed. True: times of a series are not in order, and `order` is not filled."""
    for i in range(slots.size):
        slot = slots[i]
        if ts[i] < newest[slot]:
            return True
        newest[slot] = ts[i]
        order[at[slot]] = i
        at[slot] += 1
    return False


@kernel(int64(I64, I64, I64, I64, I64), stage="later")
def drop_repeated(begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64], order: NDArray[np.int64],
                  new_end: NDArray[np.int64]) -> int:
    """Of n series with sorted samples begin[i]:end[i] (i64[n]) of `ts` and `order` (i64[]), moves those that are the
    first with their time to the front of each: the rest begins at new_end[i] (i64[n]). How many are left."""
    kept = np.int64(0)
    for row in range(begin.size):
        out = begin[row]
        for i in range(begin[row], end[row]):
            if i == begin[row] or ts[i] != ts[out - 1]:
                ts[out] = ts[i]
                order[out] = order[i]
                out += 1
        new_end[row] = out
        kept += out - begin[row]
    return kept
