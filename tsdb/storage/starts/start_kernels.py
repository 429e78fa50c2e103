# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""Runs of start times: found among samples, chained by series, and given back to samples."""

from __future__ import annotations

import numpy as np
from numba import int32, int64, types, uint8
from numpy.typing import NDArray

from tsdb.kernels.registry import kernel

U8, I32, I64 = uint8[::1], int32[::1], int64[::1]


@kernel(int64(I32, I64, I64, U8, I32, I32, I64, I64), stage="query")
def align(slots: NDArray[np.int32], ts: NDArray[np.int64], starts: NDArray[np.int64], codes: NDArray[np.uint8],
          late: NDArray[np.int32], taken_slots: NDArray[np.int32], taken_ts: NDArray[np.int64],
          out: NDArray[np.int64]) -> int:
    """The start times `out` i64[m] of the samples that were taken in order (slot i32[m], ms i64[m]), out of those of
    all samples of a commit (i32, i64 ms, i64 ms [n]), of which they are some in the same order. `codes` u8[n]: 0 =
    accepted; `late` i32[]: the numbers of those that were taken as late, ascending. How many were found: m."""
    found = 0
    k = 0
    for i in range(slots.size):
        if k < late.size and np.int64(late[k]) == i:
            k += 1
        elif found < out.size and codes[i] == 0 and slots[i] == taken_slots[found] and ts[i] == taken_ts[found]:
            out[found] = starts[i]
            found += 1
    return found


@kernel(int64(I32, I64, I64, I64, int64, I32, I64, I64, I64), stage="query")
def find_changes(slots: NDArray[np.int32], ts: NDArray[np.int64], starts: NDArray[np.int64],
                 current: NDArray[np.int64], most: int, out_slot: NDArray[np.int32], out_ts: NDArray[np.int64],
                 out_start: NDArray[np.int64], out_before: NDArray[np.int64]) -> int:
    """Where samples (slot i32[n], ms i64[n], in order within a slot) have another start time than their series had
    before, which `current` i64[] has by slot: it is brought up to date. `starts` i64[n] ms; empty: all are 0. What is
    negative or later than its sample counts as 0, and so does all behind `most` changes.

    Writes slot, time, start time and that before to the outputs [n]. How many."""
    found = 0
    known = starts.size > 0
    for i in range(slots.size):
        slot = np.int64(slots[i])
        start = np.int64(0)
        if known and found < most:
            start = starts[i]
            if start < 0 or start > ts[i]:
                start = np.int64(0)
        before = current[slot]
        if start != before:
            current[slot] = start
            out_slot[found] = np.int32(slot)
            out_ts[found] = ts[i]
            out_start[found] = start
            out_before[found] = before
            found += 1
    return found


@kernel(int64(I32, I64, I64, int64, I32, I64, I64, I32, I32, I64), stage="query")
def link(slots: NDArray[np.int32], ts: NDArray[np.int64], starts: NDArray[np.int64], used: int,
         to_slot: NDArray[np.int32], to_ts: NDArray[np.int64], to_start: NDArray[np.int64],
         to_previous: NDArray[np.int32], newest: NDArray[np.int32], current: NDArray[np.int64]) -> int:
    """Adds n runs (slot i32, ms i64, start time i64) to the columns `to_…` from place `used` on, and chains them:
    `newest` i32[] by slot is the place of its newest run, `to_previous` that of the one before; 0: there is none. What
    is not newer than the series' newest run, or says the same, is left out. `current` i64[] by slot becomes the start
    time of the newest. The columns have room; place 0 of them is no run and has the start time 0. Returns how many
    places are used."""
    for i in range(slots.size):
        slot = np.int64(slots[i])
        last = np.int64(newest[slot])
        if starts[i] == to_start[last] or (last > 0 and ts[i] <= to_ts[last]):
            continue
        to_slot[used] = np.int32(slot)
        to_ts[used] = ts[i]
        to_start[used] = starts[i]
        to_previous[used] = np.int32(last)
        newest[slot] = np.int32(used)
        current[slot] = starts[i]
        used += 1
    return used


@kernel(types.void(I32, I64, I64, I32, I64, I64, I64, I64), stage="query")
def fill_from_chains(newest: NDArray[np.int32], run_ts: NDArray[np.int64], run_start: NDArray[np.int64],
                     previous: NDArray[np.int32], begin: NDArray[np.int64], end: NDArray[np.int64],
                     ts: NDArray[np.int64], out: NDArray[np.int64]) -> None:
    """Start times `out` i64[] beside `ts` (ms) of n rows: the samples of row r are at begin[r]:end[r], in time order,
    and its newest run, as `link` makes them, is at newest[r] (i32[n])."""
    for row in range(newest.size):
        at = np.int64(newest[row])
        for i in range(end[row] - 1, begin[row] - 1, -1):
            while at > 0 and run_ts[at] > ts[i]:
                at = np.int64(previous[at])
            out[i] = run_start[at] if at > 0 else np.int64(0)


@kernel(types.void(I64, I64, I64, I64, int64, int64, I64, I64, I64, I64), stage="query")
def fill(first: NDArray[np.int64], past: NDArray[np.int64], run_ts: NDArray[np.int64], run_start: NDArray[np.int64],
         mint: int, maxt: int, begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64],
         out: NDArray[np.int64]) -> None:
    """The same for samples with mint <= ts < maxt (ms) only, and runs of row r at first[r]:past[r] (i64[n]) of `run_ts`
    and `run_start`, in time order."""
    for row in range(begin.size):
        at = first[row]
        start = np.int64(0)
        for i in range(begin[row], end[row]):
            t = ts[i]
            if t >= maxt:
                break
            while at < past[row] and run_ts[at] <= t:
                start = run_start[at]
                at += 1
            if t >= mint:
                out[i] = start


@kernel(int64(I64, I64, I64, I64, I32, I64, I64), stage="later")
def find_runs(begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64], starts: NDArray[np.int64],
              out_row: NDArray[np.int32], out_ts: NDArray[np.int64], out_start: NDArray[np.int64]) -> int:
    """The runs of rows whose samples are at begin[r]:end[r] of `ts` and `starts` (i64[] ms): row, time and start time
    to the outputs, which have room for as many as there are samples. How many."""
    found = 0
    for row in range(begin.size):
        start = np.int64(0)
        for i in range(begin[row], end[row]):
            if starts[i] != start:
                start = starts[i]
                out_row[found] = np.int32(row)
                out_ts[found] = ts[i]
                out_start[found] = start
                found += 1
    return found
