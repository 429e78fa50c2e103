# mypy: disable-error-code="no-any-return,assignment,arg-type,call-overload,operator"
"""sum_over_time, avg_over_time, changes and resets of native histograms, as in Prometheus' promql/functions.go. Windows
as in `tsdb.promql.kernels.range_kernels`; arguments and results as of `rate_kernels.histogram_rates`."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tsdb.histograms.row_kernels import copy, divide, equal, is_overflowing, scale, settle
from tsdb.histograms.sum_kernels import INCOMPATIBLE, NO_ROOM, NOT_RESET, RECONCILED, RESET, add
from tsdb.kernels.registry import device, kernel
from tsdb.promql.histograms.decoded_kernels import (
    DONE,
    HINT_OF,
    MADE,
    NOTHING,
    OUTPUT_FULL,
    PLACE,
    ROW,
    ROWS_TOO_SMALL,
    STEP,
    TIRED,
    TOO_SMALL,
    decoded,
    put_out,
    starts_anew,
    survey,
    was_reset,
)
from tsdb.promql.histograms.range_kernels import AGGREGATED, COLLISION, HISTOGRAMS, MIXED_SCHEMAS, kind
from tsdb.promql.kernels.range_kernels import AVG, RESETS

MEETS_RESET, MEETS_NOT_RESET = 1, 2


@device
def total(mean: bool, lo: int, hi: int, values: NDArray[np.float64], payload: NDArray[np.uint8],
          facts: NDArray[np.int64], slots: NDArray[np.float64], tags: NDArray[np.int64],
          scratch: NDArray[np.float64]) -> tuple[int, int]:
    """The sum or the mean of histograms lo:hi, at least one, in scratch[0]: (MADE, NOTHING or TOO_SMALL; notes)."""
    h, work, part = scratch[0], scratch[1], scratch[2]
    slot = decoded(lo, values, payload, facts, slots, tags)
    if slot < 0 or not copy(slots[slot], h):
        return TOO_SMALL, 0
    notes = 0
    hints = 0
    for k in range(lo, hi):
        if facts[HINT_OF, k] == RESET:
            hints |= MEETS_RESET
        elif facts[HINT_OF, k] == NOT_RESET:
            hints |= MEETS_NOT_RESET
    if hints == MEETS_RESET | MEETS_NOT_RESET:
        notes |= COLLISION
    incremental = False
    for k in range(lo + 1, hi):
        count = np.float64(k - lo + 1)
        slot = decoded(k, values, payload, facts, slots, tags)
        if slot < 0:
            return TOO_SMALL, 0
        if not incremental:
            flags = add(h, slots[slot], work)
            if flags == NO_ROOM:
                return TOO_SMALL, 0
            if flags == INCOMPATIBLE:
                return NOTHING, MIXED_SCHEMAS
            if flags & RECONCILED:
                notes |= AGGREGATED
            if not mean or not is_overflowing(h):
                continue
            # From here on, the mean of those before, which takes their sum once more.
            incremental = True
            slot = decoded(lo, values, payload, facts, slots, tags)
            copy(slots[slot], h)
            for m in range(lo + 1, k):
                slot = decoded(m, values, payload, facts, slots, tags)
                add(h, slots[slot], work)
            divide(h, count - 1)
            slot = decoded(k, values, payload, facts, slots, tags)
        if not copy(slots[slot], part):
            return TOO_SMALL, 0
        divide(part, count)
        scale(h, (count - 1) / count)
        flags = add(h, part, work)
        if flags == NO_ROOM:
            return TOO_SMALL, 0
        if flags == INCOMPATIBLE:
            return NOTHING, MIXED_SCHEMAS
        if flags & RECONCILED:
            notes |= AGGREGATED
    if mean and not incremental:
        divide(h, np.float64(hi - lo))
    settle(h)
    return MADE, notes


@kernel("int64(int64, int64[::1], int64[::1], int64[::1], float64[::1], "
        "Array(uint8, 1, 'C', readonly=True), int64, int64, int64, uint8[:, ::1], boolean, int64, int64[:, ::1], "
        "float64[:, ::1], int64[::1], float64[:, ::1], float64[:, ::1], boolean[:, ::1], int64[::1], uint8[::1], "
        "int64[::1])", stage="later")
def histogram_sums(
    op: int, begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64], values: NDArray[np.float64],
    payload: NDArray[np.uint8], first: int, step: int, width: int, kinds: NDArray[np.uint8], forget: bool, limit: int,
    facts: NDArray[np.int64], slots: NDArray[np.float64], tags: NDArray[np.int64], scratch: NDArray[np.float64],
    out: NDArray[np.float64], present: NDArray[np.bool_], notes: NDArray[np.int64], made: NDArray[np.uint8],
    state: NDArray[np.int64],
) -> int:
    """Fills the cells of windows all of whose samples are histograms with their sum or mean, by `op`."""
    looked = 0
    for row in range(state[ROW], begin.size):
        count = survey(values, begin[row], end[row], payload, forget, facts, tags)
        lo = hi = 0
        for j in range(state[STEP], out.shape[1]):
            stop = first + j * step
            while hi < count and ts[facts[PLACE, hi]] <= stop:
                hi += 1
            while lo < hi and ts[facts[PLACE, lo]] <= stop - width:
                lo += 1
            if kinds[row, j] & 3 != HISTOGRAMS:
                continue
            state[ROW], state[STEP] = row, j
            if looked > limit:
                return TIRED
            looked += 2 * (hi - lo)
            status, bits = total(op == AVG, lo, hi, values, payload, facts, slots, tags, scratch)
            if status == TOO_SMALL:
                return ROWS_TOO_SMALL
            if status == MADE and not put_out(scratch[0], row, j, made, state, out, present):
                return OUTPUT_FULL
            notes[row] |= bits
        state[STEP] = 0
    return DONE


@device
def differ(op: int, before: float, now: float) -> bool:
    """Whether a float changed, or was reset."""
    if op == RESETS:
        return now < before
    return now != before and not (math.isnan(now) and math.isnan(before))


@device
def count_differences(op: int, first: int, last: int, ts: NDArray[np.int64], values: NDArray[np.float64],
                      starts: NDArray[np.int64], payload: NDArray[np.uint8], facts: NDArray[np.int64],
                      slots: NDArray[np.float64], tags: NDArray[np.int64], scratch: NDArray[np.float64],
                      running: NDArray[np.int64]) -> bool:
    """running[i - first]: of samples first:last, how many up to i differ from the one before that is no stale marker.
    False: rows are too small."""
    before = -1
    k = differences = 0
    for i in range(first, last):
        what = kind(values[i])
        if what == 0:
            running[i - first] = differences
            continue
        if before >= 0:
            if op == RESETS and starts.size > 0 and starts_anew(starts[before], ts[before], starts[i], ts[i]):
                differences += 1
            elif what != kind(values[before]):
                differences += 1
            elif what != HISTOGRAMS:
                differences += differ(op, values[before], values[i])
            elif op == RESETS:
                reset = was_reset(k, ts, values, starts, payload, facts, slots, tags, scratch[0])
                if reset < 0:
                    return False
                differences += reset
            else:
                one = decoded(k - 1, values, payload, facts, slots, tags)
                other = decoded(k, values, payload, facts, slots, tags)
                if one < 0 or other < 0:
                    return False
                differences += not equal(slots[one], slots[other])
        running[i - first] = differences
        before = i
        k += what == HISTOGRAMS
    return True


@kernel("int64(int64, int64[::1], int64[::1], int64[::1], float64[::1], int64[::1], "
        "Array(uint8, 1, 'C', readonly=True), int64, int64, int64, int64, boolean, int64, int64[:, ::1], "
        "float64[:, ::1], int64[::1], float64[:, ::1], int64[::1], float64[:, ::1], boolean[:, ::1], int64[::1])",
        stage="later")
def histogram_differences(
    op: int, begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64], values: NDArray[np.float64],
    starts: NDArray[np.int64], payload: NDArray[np.uint8], first: int, step: int, width: int, before: int, forget: bool,
    limit: int, facts: NDArray[np.int64], slots: NDArray[np.float64], tags: NDArray[np.int64],
    scratch: NDArray[np.float64], running: NDArray[np.int64], out: NDArray[np.float64], present: NDArray[np.bool_],
    state: NDArray[np.int64],
) -> int:
    """Fills all cells with how often samples of any kind change, or counters are reset, by `op`, in the window and, if
    it is anchored, since the newest sample `before` it (ms). `running` is scratch for the longest row."""
    looked = 0
    for row in range(state[ROW], begin.size):
        state[ROW] = row
        if looked > limit:
            return TIRED
        b, e = begin[row], end[row]
        looked += 2 * survey(values, b, e, payload, forget, facts, tags)
        if not count_differences(op, b, e, ts, values, starts, payload, facts, slots, tags, scratch, running):
            return ROWS_TOO_SMALL
        lo = hi = oldest = b
        anchor = -1
        for j in range(out.shape[1]):
            stop = first + j * step
            while hi < e and ts[hi] <= stop:
                hi += 1
            while lo < hi and ts[lo] <= stop - width:
                if kind(values[lo]) != 0:
                    anchor = lo
                lo += 1
            # The oldest sample of the window has none before it, if that is not anchored.
            oldest = max(oldest, lo)
            while oldest < hi and kind(values[oldest]) == 0:
                oldest += 1
            present[row, j] = oldest < hi
            since = anchor if anchor >= 0 and ts[anchor] > stop - width - before else oldest
            out[row, j] = running[hi - 1 - b] - running[since - b] if oldest < hi else math.nan
    return DONE
