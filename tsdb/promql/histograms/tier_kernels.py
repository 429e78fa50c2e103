# mypy: disable-error-code="no-any-return,assignment,arg-type,call-overload,operator,index,return-value"
"""rate, increase and delta of native histograms in windows of a downsampling tier, as of the samples themselves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.histograms.payload_kernels import count_value
from tsdb.histograms.row import COUNT
from tsdb.histograms.row_kernels import load, scale
from tsdb.histograms.sum_kernels import INCOMPATIBLE, NO_ROOM, RECONCILED, add
from tsdb.kernels.registry import device, kernel
from tsdb.promql.histograms.decoded_kernels import (
    DONE,
    MADE,
    NOTHING,
    OUTPUT_FULL,
    PLACE,
    ROW,
    ROWS_TOO_SMALL,
    STEP,
    TIRED,
    TOO_SMALL,
    WAS_RESET,
    histogram_at,
    put_out,
    survey,
)
from tsdb.promql.histograms.range_kernels import ADDED, HISTOGRAMS, MIXED_KINDS, MIXED_SCHEMAS, kind
from tsdb.promql.histograms.rate_kernels import COUNT_AT, change, extrapolation
from tsdb.promql.kernels.range_kernels import DELTA, INCREASE


@device
def add_lost(lo: int, hi: int, lost: NDArray[np.float64], payload: NDArray[np.uint8], facts: NDArray[np.int64],
             scratch: NDArray[np.float64]) -> tuple[int, int]:
    """Adds to the row in scratch[0] what was lost within the windows of histograms lo:hi: (MADE, NOTHING or TOO_SMALL;
    notes)."""
    notes = 0
    for k in range(lo, hi):
        value = lost[facts[PLACE, k]]
        if value == 0:
            continue
        if kind(value) != HISTOGRAMS:
            return NOTHING, MIXED_KINDS
        if not load(payload, histogram_at(value), scratch[2]):
            return TOO_SMALL, 0
        flags = add(scratch[0], scratch[2], scratch[1])
        if flags == NO_ROOM:
            return TOO_SMALL, 0
        if flags == INCOMPATIBLE:
            return NOTHING, MIXED_SCHEMAS
        if flags & RECONCILED:
            notes |= ADDED
    return MADE, notes


@kernel("int64(int64, int64[::1], int64[::1], int64[::1], float64[::1], int64[::1], float64[::1], float64[::1], "
        "Array(uint8, 1, 'C', readonly=True), int64, int64, int64, int64, float64, uint8[:, ::1], int64, "
        "int64[:, ::1], float64[:, ::1], int64[::1], float64[:, ::1], float64[:, ::1], boolean[:, ::1], int64[::1], "
        "uint8[::1], int64[::1])", stage="later")
def histogram_changes_of_windows(
    op: int, begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64], values: NDArray[np.float64],
    window: NDArray[np.int64], count: NDArray[np.float64], lost: NDArray[np.float64], payload: NDArray[np.uint8],
    first: int, step: int, width: int, resolution: int, divisor: float, kinds: NDArray[np.uint8], limit: int,
    facts: NDArray[np.int64], slots: NDArray[np.float64], tags: NDArray[np.int64], scratch: NDArray[np.float64],
    out: NDArray[np.float64], present: NDArray[np.bool_], notes: NDArray[np.int64], made: NDArray[np.uint8],
    state: NDArray[np.int64],
) -> int:
    """As `rate_kernels.histogram_rates`, of samples begin:end of `ts` and `values` that are the first and the last of
    each window, or its only one. `window` i64[] beside them: where it ends (ms); `count` f64[]: how many samples it
    has, and `lost` f64[]: the boxed histogram that it lost in resets, both with the last of its samples and 0 with the
    other. Step j looks at the windows as `tsdb.promql.kernels.tier_kernels` does; a change is divided by `divisor`."""
    steps = out.shape[1]
    looked = 0
    none = window[:0]
    for row in range(state[ROW], begin.size):
        n = survey(values, begin[row], end[row], payload, False, facts, tags)
        for k in range(1, n):
            if window[facts[PLACE, k]] == window[facts[PLACE, k - 1]]:
                facts[WAS_RESET, k] = 0  # what was lost in between is known
        lo = hi = seen = 0
        samples = 0.0
        for j in range(state[STEP], steps):
            stop = (first + j * step) // resolution * resolution
            while hi < n and window[facts[PLACE, hi]] <= stop:
                samples += count[facts[PLACE, hi]]
                hi += 1
            while lo < hi and window[facts[PLACE, lo]] <= stop - width:
                samples -= count[facts[PLACE, lo]]
                lo += 1
            if samples < 2 or hi - lo < 2 or kinds[row, j] & 3 != HISTOGRAMS:
                continue
            state[ROW], state[STEP] = row, j
            if looked > limit:
                return TIRED
            looked += 4 + 2 * (hi - max(lo, seen))
            seen = hi
            status, bits = change(op != DELTA, lo, hi, ts, values, none, payload, facts, slots, tags, scratch)
            if status == MADE and op != DELTA:
                status, more = add_lost(lo, hi, lost, payload, facts, scratch)
                bits |= more
            if status == TOO_SMALL:
                return ROWS_TOO_SMALL
            if status == MADE:
                oldest, newest = facts[PLACE, lo], facts[PLACE, hi - 1]
                observations = count_value(payload, histogram_at(values[oldest]), COUNT_AT)
                factor = extrapolation(DELTA if op == DELTA else INCREASE, ts[oldest], ts[newest], np.int64(samples),
                                       stop, width, observations, scratch[0, COUNT], np.int64(0))
                scale(scratch[0], factor / divisor)
                if not put_out(scratch[0], row, j, made, state, out, present):
                    return OUTPUT_FULL
            notes[row] |= bits
        state[STEP] = 0
    return DONE
