# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""Sorted runs of late samples: merging two, and looking up what a query wants."""

from __future__ import annotations

import numpy as np
from numba import int32, int64, uint64
from numpy.typing import NDArray

from tsdb.kernels.registry import device, kernel

U64, I32, I64 = uint64[::1], int32[::1], int64[::1]


@kernel(int64(I32, I64, U64, I32, I64, U64, I32, I64, U64))
def merge(a_slot: NDArray[np.int32], a_ts: NDArray[np.int64], a_values: NDArray[np.uint64],
          b_slot: NDArray[np.int32], b_ts: NDArray[np.int64], b_values: NDArray[np.uint64],
          out_slot: NDArray[np.int32], out_ts: NDArray[np.int64], out_values: NDArray[np.uint64]) -> int:
    """Merges two runs of samples (slot i32, ts i64 ms, bits u64), each sorted by slot, then time, each time once. Where
    both have a slot's time, a's sample stays. The outputs have room for both. Returns how many samples there are."""
    i, j, k = 0, 0, 0
    while i < a_slot.size or j < b_slot.size:
        if j == b_slot.size:
            first = True
        elif i == a_slot.size:
            first = False
        elif a_slot[i] != b_slot[j]:
            first = a_slot[i] < b_slot[j]
        else:
            first = a_ts[i] <= b_ts[j]
            if a_ts[i] == b_ts[j]:
                j += 1
        if first:
            out_slot[k] = a_slot[i]
            out_ts[k] = a_ts[i]
            out_values[k] = a_values[i]
            i += 1
        else:
            out_slot[k] = b_slot[j]
            out_ts[k] = b_ts[j]
            out_values[k] = b_values[j]
            j += 1
        k += 1
    return k


@device
def first_at_least(column: NDArray[np.int32], begin: int, slot: int) -> int:
    """The first place from `begin` on in a sorted i32[] that holds `slot` or more; quick where it is near."""
    size = column.size
    step = 1
    low = begin
    while low + step < size and np.int64(column[low + step]) < slot:
        low += step
        step *= 2
    high = min(low + step, size)
    while low < high:
        middle = (low + high) // 2
        if np.int64(column[middle]) < slot:
            low = middle + 1
        else:
            high = middle
    return low


@device
def first_not_before(ts: NDArray[np.int64], low: int, high: int, t: int) -> int:
    """The first place in the sorted times ts[low:high] that holds `t` or more."""
    while low < high:
        middle = (low + high) // 2
        if ts[middle] < t:
            low = middle + 1
        else:
            high = middle
    return low


@kernel(int64(I32, int64, int64, I32, I64, U64, I32, I64, U64), stage="query")
def gather(wanted: NDArray[np.int32], mint: int, maxt: int, slot: NDArray[np.int32], ts: NDArray[np.int64],
           values: NDArray[np.uint64], out_row: NDArray[np.int32], out_ts: NDArray[np.int64],
           out_values: NDArray[np.uint64]) -> int:
    """The samples of a run (as for `merge`) whose slot is among `wanted` (i32, sorted, each once), mint <= ts <= maxt.

    Writes the index into `wanted`, time and value of each, in the order of the run, as far as the outputs have room.
    Returns how many there are.
    """
    found = 0
    i, j = 0, 0
    while i < wanted.size and j < slot.size:
        want, have = np.int64(wanted[i]), np.int64(slot[j])
        if want < have:
            i = first_at_least(wanted, i, have)
            continue
        if have < want:
            j = first_at_least(slot, j, want)
            continue
        past = first_at_least(slot, j, have + 1)
        begin = first_not_before(ts, j, past, mint)
        end = first_not_before(ts, begin, past, maxt + 1) if maxt < 0x7FFFFFFFFFFFFFFF else past
        if found + end - begin <= out_row.size:
            for k in range(begin, end):
                out_row[found + k - begin] = np.int32(i)
                out_ts[found + k - begin] = ts[k]
                out_values[found + k - begin] = values[k]
        found += end - begin
        i += 1
        j = past
    return found
