# mypy: disable-error-code="no-any-return,assignment,arg-type,call-overload,operator,index"
"""Anchored and smoothed ranges and smoothed selectors of native histograms: Prometheus' extendedHistogramRate of
promql/functions.go and smoothSeries of promql/engine.go. What they see is in `tsdb.promql.kernels
.extended_range_kernels`; arguments and results are as of `rate_kernels.histogram_rates`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.histograms.row import HINT
from tsdb.histograms.row_kernels import GAUGE, copy, divide, scale
from tsdb.histograms.sum_kernels import INCOMPATIBLE, NO_ROOM, RECONCILED, UNKNOWN, add, detect_reset, subtract
from tsdb.kernels.registry import device, kernel
from tsdb.model.native_histograms import CUSTOM_SCHEMA
from tsdb.promql.histograms.decoded_kernels import (
    DONE,
    HINT_OF,
    MADE,
    NOTHING,
    OUTPUT_FULL,
    PLACE,
    ROW,
    ROWS_TOO_SMALL,
    SCHEMA_OF,
    STEP,
    TIRED,
    TOO_SMALL,
    decoded,
    put_out,
    survey,
    was_reset,
)
from tsdb.promql.histograms.range_kernels import ADDED, HISTOGRAMS, MIXED_SCHEMAS, NOT_COUNTER, NOT_GAUGE, SUBTRACTED
from tsdb.promql.kernels.extended_range_kernels import DELTA, RATE

INSTANT = 3
"""Beside RATE, INCREASE and DELTA: the histogram at a time, as of a smoothed selector."""


@device
def said(flags: int, of: int) -> tuple[int, int]:
    """What follows from the flags of a sum (`of` is ADDED) or difference (SUBTRACTED): (MADE, …; notes)."""
    if flags == NO_ROOM:
        return TOO_SMALL, 0
    if flags == INCOMPATIBLE:
        return NOTHING, MIXED_SCHEMAS
    return MADE, of if flags & RECONCILED else 0


@device
def take_between(k: int, at: int, counter: bool, ts: NDArray[np.int64], values: NDArray[np.float64],
                 payload: NDArray[np.uint8], facts: NDArray[np.int64], slots: NDArray[np.float64],
                 tags: NDArray[np.int64], h: NDArray[np.float64], work: NDArray[np.float64]) -> tuple[int, int]:
    """Makes `h` the histogram at time `at` between k - 1 and k: (MADE, NOTHING or TOO_SMALL; notes). A counter that is
    reset between them begins at zero."""
    before, after = ts[facts[PLACE, k - 1]], ts[facts[PLACE, k]]
    now = decoded(k, values, payload, facts, slots, tags)
    old = decoded(k - 1, values, payload, facts, slots, tags)
    if now < 0 or old < 0 or not copy(slots[old if at == before else now], h):
        return TOO_SMALL, 0
    if at == before or at == after:
        return MADE, 0
    fraction = np.float64(at - before) / np.float64(after - before)
    if counter and detect_reset(slots[now], slots[old], work):
        scale(h, fraction)
        return MADE, 0
    status, notes = said(subtract(h, slots[old], work), SUBTRACTED)
    if status != MADE:
        return status, notes
    scale(h, fraction)
    status, more = said(add(h, slots[old], work), ADDED)
    return status, notes | more


@device
def extended_change(counter: bool, smoothed: bool, low: int, left: int, right: int, start: int, stop: int,
                    ts: NDArray[np.int64], values: NDArray[np.float64], starts: NDArray[np.int64],
                    payload: NDArray[np.uint8], facts: NDArray[np.int64], slots: NDArray[np.float64],
                    tags: NDArray[np.int64], scratch: NDArray[np.float64]) -> tuple[int, int]:
    """By how much histograms change from `left` to `right`, in scratch[0]: (MADE, NOTHING or TOO_SMALL; notes). The
    first that is seen is `low`."""
    h, work, at_left, at_right = scratch[0], scratch[1], scratch[2], scratch[3]
    notes = 0
    for k in range(left, right + 1):
        if (facts[SCHEMA_OF, k] == CUSTOM_SCHEMA) != (facts[SCHEMA_OF, left] == CUSTOM_SCHEMA):
            return NOTHING, notes | MIXED_SCHEMAS
        if counter and facts[HINT_OF, k] == GAUGE:
            notes |= NOT_COUNTER
    inside_left = smoothed and ts[facts[PLACE, left]] < start
    if inside_left:
        status, more = take_between(left + 1, start, counter, ts, values, payload, facts, slots, tags, at_left, work)
        notes |= more
        if status != MADE:
            return status, notes
    else:
        slot = decoded(left, values, payload, facts, slots, tags)
        if slot < 0 or not copy(slots[slot], at_left):
            return TOO_SMALL, 0
    if smoothed and right > low and ts[facts[PLACE, right]] > stop:
        status, more = take_between(right, stop, counter, ts, values, payload, facts, slots, tags, at_right, work)
        notes |= more
        if status != MADE:
            return status, notes
    else:
        slot = decoded(right, values, payload, facts, slots, tags)
        if slot < 0 or not copy(slots[slot], at_right):
            return TOO_SMALL, 0
    if not counter and (at_left[HINT] != GAUGE or at_right[HINT] != GAUGE):
        notes |= NOT_GAUGE
    copy(at_right, h)
    status, more = said(subtract(h, at_left, work), SUBTRACTED)
    notes |= more
    if status != MADE or not counter:
        h[HINT] = GAUGE
        return status, notes
    # The borders know of the resets next to them.
    oldest = left + 1
    before = -1
    if inside_left:
        reset = was_reset(left + 1, ts, values, starts, payload, facts, slots, tags, work)
        if reset < 0:
            return TOO_SMALL, 0
        if reset > 0:
            before = left + 1
            oldest += 1
    for k in range(oldest, right + 1):
        # Row k, or the right border, after row `before`, or the left border.
        old = now = 0
        if before >= 0:
            old = decoded(before, values, payload, facts, slots, tags)
        if k < right:
            now = decoded(k, values, payload, facts, slots, tags)
        if old < 0 or now < 0:
            return TOO_SMALL, 0
        earlier = slots[old] if before >= 0 else at_left
        later = slots[now] if k < right else at_right
        if detect_reset(later, earlier, work):
            status, more = said(add(h, earlier, work), ADDED)
            notes |= more
            if status != MADE:
                return status, notes
        before = k
    h[HINT] = GAUGE
    return MADE, notes


@device
def smoothed_at(low: int, high: int, following: int, at: int, ts: NDArray[np.int64], values: NDArray[np.float64],
                payload: NDArray[np.uint8], facts: NDArray[np.int64], slots: NDArray[np.float64],
                tags: NDArray[np.int64], scratch: NDArray[np.float64]) -> tuple[int, int]:
    """The histogram at time `at`, of those low:high, in scratch[0]; `following` is the first that is not older."""
    exact = following < high and ts[facts[PLACE, following]] == at
    if not exact and following == low:
        return NOTHING, 0
    if exact or following == high:
        slot = decoded(following if exact else following - 1, values, payload, facts, slots, tags)
        if slot < 0 or not copy(slots[slot], scratch[0]):
            return TOO_SMALL, 0
        if not exact:
            scratch[0, HINT] = UNKNOWN
        return MADE, 0
    if (facts[SCHEMA_OF, following] == CUSTOM_SCHEMA) != (facts[SCHEMA_OF, following - 1] == CUSTOM_SCHEMA):
        return NOTHING, MIXED_SCHEMAS
    counter = facts[HINT_OF, following] != GAUGE or facts[HINT_OF, following - 1] != GAUGE
    return take_between(following, at, counter, ts, values, payload, facts, slots, tags, scratch[0], scratch[1])


@kernel("int64(int64, boolean, int64[::1], int64[::1], int64[::1], float64[::1], int64[::1], "
        "Array(uint8, 1, 'C', readonly=True), int64, int64, int64, int64, int64, uint8[:, ::1], int64, int64[:, ::1], "
        "float64[:, ::1], int64[::1], float64[:, ::1], float64[:, ::1], boolean[:, ::1], int64[::1], uint8[::1], "
        "int64[::1])", stage="later")
def extended_histograms(
    op: int, smoothed: bool, begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64],
    values: NDArray[np.float64], starts: NDArray[np.int64], payload: NDArray[np.uint8], first: int, step: int,
    width: int, before: int, after: int, kinds: NDArray[np.uint8], limit: int, facts: NDArray[np.int64],
    slots: NDArray[np.float64], tags: NDArray[np.int64], scratch: NDArray[np.float64], out: NDArray[np.float64],
    present: NDArray[np.bool_], notes: NDArray[np.int64], made: NDArray[np.uint8], state: NDArray[np.int64],
) -> int:
    """Fills the cells of windows all of whose samples are histograms, those `before` and `after` it (ms), too.
    `scratch`: four rows."""
    looked = 0
    for row in range(state[ROW], begin.size):
        count = survey(values, begin[row], end[row], payload, False, facts, tags)
        low = high = inside = at_end = 0
        for j in range(state[STEP], out.shape[1]):
            stop = first + j * step
            start = stop - width
            while low < count and ts[facts[PLACE, low]] <= start - before:
                low += 1
            while high < count and ts[facts[PLACE, high]] <= stop + after:
                high += 1
            while inside < count and ts[facts[PLACE, inside]] <= start:
                inside += 1
            while at_end < count and ts[facts[PLACE, at_end]] < stop:
                at_end += 1
            if low >= high or kinds[row, j] & 3 != HISTOGRAMS:
                continue
            state[ROW], state[STEP] = row, j
            if looked > limit:
                return TIRED
            if op == INSTANT:
                looked += 6
                status, bits = smoothed_at(low, high, max(low, at_end), stop, ts, values, payload, facts, slots, tags,
                                           scratch)
            else:
                left = max(low, min(inside, high - 1) - 1)
                right = min(at_end, high - 1) if smoothed else high - 1
                if ts[facts[PLACE, right]] <= start or (smoothed and ts[facts[PLACE, left]] > stop):
                    continue
                looked += 8 + 2 * (right - left)
                status, bits = extended_change(op != DELTA, smoothed, low, left, right, start, stop, ts, values, starts,
                                               payload, facts, slots, tags, scratch)
                if status == MADE and op == RATE:
                    divide(scratch[0], width / 1000.0)
            if status == TOO_SMALL:
                return ROWS_TOO_SMALL
            if status == MADE and not put_out(scratch[0], row, j, made, state, out, present):
                return OUTPUT_FULL
            notes[row] |= bits
        state[STEP] = 0
    return DONE
