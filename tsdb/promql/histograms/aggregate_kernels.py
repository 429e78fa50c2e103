# mypy: disable-error-code="call-overload,no-any-return,assignment,arg-type,operator,return-value"
"""Sums and averages of native histograms over rows, step by step.

Each group has a row (`tsdb.histograms.row`) of its own at each step, in one array f64[], the arena: `place`
i64[groups, steps] says where it begins (-1: there is none yet), `length` how long it is. Where one becomes too small it
moves behind the others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.histograms.row import COUNT, CUSTOM, HINT, SUM, WIDTH, ZERO_COUNT
from tsdb.histograms.row_kernels import (
    buckets,
    capacity,
    copy,
    divide,
    is_overflowing,
    load,
    room,
    scale,
    settle,
    store,
)
from tsdb.histograms.sum_kernels import INCOMPATIBLE as OF_ANOTHER_KIND
from tsdb.histograms.sum_kernels import NO_ROOM, NOT_RESET, RECONCILED, RESET, add
from tsdb.kernels.registry import device, kernel
from tsdb.model.native_histograms import BOX
from tsdb.promql.histograms.buckets_kernels import histogram_begin, leads_to_histogram
from tsdb.promql.histograms.direct_kernels import NOT_DONE, add_directly

HAS_HISTOGRAM, HAS_FLOAT, INCOMPATIBLE, SAW_RESET, SAW_NO_RESET, INCREMENTAL = 1, 2, 4, 8, 16, 32
"""Bits of `state`: what a group has met at a step; its average has gone over to the incremental mean."""

MET_INCOMPATIBLE, MET_RECONCILED = 1, 2
"""Bits of `notes`: with this row, exponential met custom buckets, or custom bounds differed."""

DONE, SCRATCH, ARENA = range(3)
"""What `accumulate_histograms` returns: that it has done all, or what must be larger before it goes on."""

ROW, STEP, USED = range(3)
"""`cursor` i64[3]: where to go on, and how much of the arena is in use."""

_SAFE = 1e300
"""Sums of fewer than 2**20 numbers below it, and of two of these, are finite."""

_I64 = "Array(int64, 1, 'C', readonly=True)"


@kernel("int64(boolean, Array(uint64, 2, 'C', readonly=True), Array(boolean, 2, 'C', readonly=True), "
        f"Array(uint8, 1, 'C', readonly=True), {_I64}, int64, int64[::1], float64[:, ::1], float64[::1], "
        "int64[:, ::1], int32[:, ::1], float64[:, ::1], uint8[:, ::1], uint8[::1])", stage="later")
def accumulate_histograms(average: bool, values: NDArray[np.uint64], present: NDArray[np.bool_],
                          payload: NDArray[np.uint8], group: NDArray[np.int64], end_row: int,
                          cursor: NDArray[np.int64], scratch: NDArray[np.float64], arena: NDArray[np.float64],
                          place: NDArray[np.int64], length: NDArray[np.int32], number: NDArray[np.float64],
                          state: NDArray[np.uint8], notes: NDArray[np.uint8]) -> int:
    """Adds the histograms among cells, values u64 and present bool[rows, steps], to the groups i64[rows] of their rows,
    from where `cursor` is, up to `end_row`.

    `scratch` f64[3, as long as the longest row]; number f64[groups, steps] counts histograms; `notes` u8[rows]. Returns
    DONE, SCRATCH or ARENA. If any float met a group before a histogram does, the histogram is not added: there will be
    no result.
    """
    h, work, tried = scratch[0], scratch[1], scratch[2]
    steps = values.shape[1]
    while cursor[ROW] < end_row:
        row = cursor[ROW]
        g = group[row]
        while cursor[STEP] < steps:
            step = cursor[STEP]
            seen = state[g, step]
            if not present[row, step] or seen & INCOMPATIBLE:
                cursor[STEP] += 1
                continue
            if not leads_to_histogram(values[row, step]):
                state[g, step] |= np.uint8(HAS_FLOAT)
                cursor[STEP] += 1
                continue
            at = place[g, step]
            if at < 0 and seen & HAS_FLOAT:
                state[g, step] |= np.uint8(HAS_HISTOGRAM)
                cursor[STEP] += 1
                continue
            begin = histogram_begin(values[row, step])
            if at >= 0 and seen & INCREMENTAL == 0:
                sum_row = arena[at : at + length[g, step]]
                if not average or _is_safe(sum_row):
                    hint = add_directly(sum_row, payload, begin, _SAFE if average else np.inf)
                    if hint != NOT_DONE:
                        state[g, step] |= np.uint8(_seen(hint))
                        number[g, step] += 1.0
                        cursor[STEP] += 1
                        continue
            if not load(payload, begin, h):
                return SCRATCH
            if at < 0:
                if not _move(h, arena, cursor, place, length, g, step, _size(h)):
                    return ARENA
            else:
                sum_row = arena[at : at + length[g, step]]
                result, mean = _add(average, sum_row, h, number[g, step], seen & INCREMENTAL != 0, work, tried)
                if result & NO_ROOM:
                    if 2 + _needed(sum_row) + _needed(h) > capacity(work):
                        return SCRATCH
                    if not _move(sum_row, arena, cursor, place, length, g, step, _size(sum_row) + _size(h)):
                        return ARENA
                    continue
                if result & OF_ANOTHER_KIND:
                    state[g, step] |= np.uint8(HAS_HISTOGRAM | INCOMPATIBLE)
                    notes[row] |= np.uint8(MET_INCOMPATIBLE)
                    cursor[STEP] += 1
                    continue
                if result & RECONCILED:
                    notes[row] |= np.uint8(MET_RECONCILED)
                if mean:
                    state[g, step] |= np.uint8(INCREMENTAL)
            state[g, step] |= np.uint8(HAS_HISTOGRAM | _seen(np.int64(h[HINT])))
            number[g, step] += 1.0
            cursor[STEP] += 1
        cursor[ROW] += 1
        cursor[STEP] = 0
    return DONE


@device
def _seen(hint: int) -> int:
    return SAW_RESET if hint == RESET else SAW_NO_RESET if hint == NOT_RESET else 0


@device
def _needed(h: NDArray[np.float64]) -> int:
    """Capacity."""
    return max(buckets(h), np.int64(h[CUSTOM]))


@device
def _size(h: NDArray[np.float64]) -> int:
    """Of a row with a quarter more room than what is in it needs."""
    needed = _needed(h)
    return WIDTH + 4 * (2 + needed + (needed >> 2))


@device
def _move(h: NDArray[np.float64], arena: NDArray[np.float64], cursor: NDArray[np.int64], place: NDArray[np.int64],
          length: NDArray[np.int32], g: int, step: int, size: int) -> bool:
    """Copies the row to the end of the arena; False: there is no room."""
    at = cursor[USED]
    if at + size > arena.size:
        return False
    copy(h, arena[at : at + size])
    place[g, step], length[g, step] = at, size
    cursor[USED] += size
    return True


@device
def _add(average: bool, total: NDArray[np.float64], h: NDArray[np.float64], before: float, incremental: bool,
         work: NDArray[np.float64], tried: NDArray[np.float64]) -> tuple[int, bool]:
    """Adds `h` to the sum, or mean, of the `before` histograms in `total`: what `add` returns, and whether `total` is
    the mean of all now. It becomes that where a sum would overflow."""
    careful = average and (incremental or not (_is_safe(total) and _is_safe(h)))
    if careful and not copy(total, tried):
        return NO_ROOM, False
    mean = incremental
    result = 0
    for _ in range(2):
        if mean:
            scale(total, before / (before + 1.0))
            divide(h, before + 1.0)
        result = add(total, h, work)
        if not careful:
            break
        failed = result & (NO_ROOM | OF_ANOTHER_KIND) != 0
        if not failed and (mean or not is_overflowing(total)):
            break
        copy(tried, total)
        if failed:
            break
        divide(total, before)
        mean = True
    return result, mean


@device
def _is_safe(h: NDArray[np.float64]) -> bool:
    """Whether no number is near to overflowing."""
    if not (abs(h[SUM]) < _SAFE and abs(h[COUNT]) < _SAFE and abs(h[ZERO_COUNT]) < _SAFE):
        return False
    counts = WIDTH + capacity(h)
    safe = True
    for i in range(buckets(h)):
        safe &= abs(h[counts + i]) < _SAFE
    return safe


@kernel("int64(boolean, float64[::1], Array(int64, 2, 'C', readonly=True), Array(int32, 2, 'C', readonly=True), "
        "Array(float64, 2, 'C', readonly=True), Array(uint8, 2, 'C', readonly=True), Array(boolean, 2, 'C', "
        "readonly=True), uint8[::1], uint64[:, ::1])", stage="later")
def finish_histograms(average: bool, arena: NDArray[np.float64], place: NDArray[np.int64], length: NDArray[np.int32],
                      number: NDArray[np.float64], state: NDArray[np.uint8], wanted: NDArray[np.bool_],
                      payload: NDArray[np.uint8], values: NDArray[np.uint64]) -> int:
    """Writes the groups' sums or averages, where `wanted` bool[groups, steps], to a payload, and values u64[groups,
    steps] that lead to them. Without room for a single byte in the payload it returns how many bytes are enough."""
    at = np.int64(0)
    for g in range(place.shape[0]):
        for step in range(place.shape[1]):
            if not wanted[g, step]:
                continue
            h = arena[place[g, step] : place[g, step] + length[g, step]]
            if payload.size == 0:
                at += room(h)
                continue
            if average and not state[g, step] & INCREMENTAL:
                divide(h, number[g, step])
            settle(h)
            values[g, step] = np.uint64(BOX) | np.uint64(at)
            at = store(h, payload, at)
    return at
