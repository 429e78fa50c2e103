# mypy: disable-error-code="no-any-return,assignment,arg-type,call-overload,operator,index,return-value"
"""rate, increase, delta, irate and idelta of native histograms: Prometheus' histogramRate, extrapolatedRate and
instantValue of promql/functions.go. Windows as in `tsdb.promql.kernels.range_kernels`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.histograms.payload_kernels import count_value
from tsdb.histograms.row import (
    COUNT,
    COUNT_LOST,
    HINT,
    NEGATIVE,
    POSITIVE,
    SUM,
    SUM_LOST,
    ZERO_COUNT,
    ZERO_LOST,
    ZERO_THRESHOLD,
)
from tsdb.histograms.row_kernels import GAUGE, copy, divide, reduce_resolution, scale
from tsdb.histograms.sum_kernels import INCOMPATIBLE, NO_ROOM, RECONCILED, add, detect_reset, subtract
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
    histogram_at,
    put_out,
    survey,
    was_reset,
)
from tsdb.promql.histograms.range_kernels import (
    ADDED,
    HISTOGRAMS,
    MIXED_SCHEMAS,
    NEWEST_HISTOGRAM,
    NOT_COUNTER,
    NOT_GAUGE,
    SECOND_HISTOGRAM,
    SUBTRACTED,
)
from tsdb.promql.kernels.range_kernels import DELTA, INCREASE, IRATE, RATE
from tsdb.promql.kernels.start_time_kernels import OVERLAPPING

COUNT_AT = 24
"""Where the count is in a histogram of a payload."""


@device
def nothing_counted(h: NDArray[np.float64]) -> None:
    """Makes a row one without observations, of the same schema and custom values."""
    for field in (HINT, ZERO_THRESHOLD, SUM, COUNT, ZERO_COUNT, POSITIVE, NEGATIVE, SUM_LOST, COUNT_LOST, ZERO_LOST):
        h[field] = 0.0


@device
def change(counter: bool, lo: int, hi: int, ts: NDArray[np.int64], values: NDArray[np.float64],
           starts: NDArray[np.int64], payload: NDArray[np.uint8], facts: NDArray[np.int64],
           slots: NDArray[np.float64], tags: NDArray[np.int64], scratch: NDArray[np.float64]) -> tuple[int, int]:
    """By how much histograms lo:hi, at least two, change, in scratch[0]: (MADE, NOTHING or TOO_SMALL; notes)."""
    h, work, zero = scratch[0], scratch[1], scratch[2]
    newest = hi - 1
    notes = 0
    if counter and (facts[HINT_OF, lo] == GAUGE or facts[HINT_OF, newest] == GAUGE):
        notes |= NOT_COUNTER
    # Where the counter was reset after the first one, that does not matter, whatever its buckets are.
    again = False
    first_schema = facts[SCHEMA_OF, lo]
    if counter:
        reset = was_reset(lo + 1, ts, values, starts, payload, facts, slots, tags, work)
        if reset < 0:
            return TOO_SMALL, 0
        if reset > 0:
            again = True
            first_schema = facts[SCHEMA_OF, lo + 1]
    custom = first_schema == CUSTOM_SCHEMA
    if (facts[SCHEMA_OF, newest] == CUSTOM_SCHEMA) != custom:
        return NOTHING, notes | MIXED_SCHEMAS
    schema = min(first_schema, facts[SCHEMA_OF, newest])
    if counter:
        for k in range(lo + 1, newest):
            if facts[HINT_OF, k] == GAUGE:
                notes |= NOT_COUNTER
            schema = min(schema, facts[SCHEMA_OF, k])
            if (facts[SCHEMA_OF, k] == CUSTOM_SCHEMA) != custom:
                return NOTHING, MIXED_SCHEMAS
    slot = decoded(newest, values, payload, facts, slots, tags)
    if slot < 0 or not copy(slots[slot], h):
        return TOO_SMALL, 0
    reduce_resolution(h, schema)
    slot = decoded(lo + 1 if again else lo, values, payload, facts, slots, tags)
    if slot < 0:
        return TOO_SMALL, 0
    if again:
        if not copy(slots[slot], zero):
            return TOO_SMALL, 0
        nothing_counted(zero)
        flags = subtract(h, zero, work)
    else:
        flags = subtract(h, slots[slot], work)
    if flags == NO_ROOM:
        return TOO_SMALL, 0
    if flags == INCOMPATIBLE:
        return NOTHING, MIXED_SCHEMAS
    if flags & RECONCILED:
        notes |= SUBTRACTED
    if not counter:
        if facts[HINT_OF, lo] != GAUGE or facts[HINT_OF, newest] != GAUGE:
            notes |= NOT_GAUGE
        h[HINT] = GAUGE
        return MADE, notes
    for k in range(lo + 1, hi):
        flags = 0
        if k == lo + 1 and again:
            slot = decoded(k, values, payload, facts, slots, tags)
            if slot >= 0 and detect_reset(slots[slot], zero, work):
                flags = add(h, zero, work)
        else:
            reset = was_reset(k, ts, values, starts, payload, facts, slots, tags, work)
            if reset < 0:
                return TOO_SMALL, 0
            if reset == 0:
                continue
            slot = decoded(k - 1, values, payload, facts, slots, tags)
            if slot < 0:
                return TOO_SMALL, 0
            flags = add(h, slots[slot], work)
        if flags == NO_ROOM:
            return TOO_SMALL, 0
        if flags == INCOMPATIBLE:
            return NOTHING, MIXED_SCHEMAS
        if flags & RECONCILED:
            notes |= ADDED
    h[HINT] = GAUGE
    return MADE, notes


@device
def newest_change(rate: bool, newest: int, ts: NDArray[np.int64], values: NDArray[np.float64],
                  starts: NDArray[np.int64], payload: NDArray[np.uint8], facts: NDArray[np.int64],
                  slots: NDArray[np.float64], tags: NDArray[np.int64],
                  scratch: NDArray[np.float64]) -> tuple[int, int]:
    """By how much histogram `newest` changed since the one before, or how fast; otherwise as `change`."""
    h, work = scratch[0], scratch[1]
    gauges = (facts[HINT_OF, newest] == GAUGE) + (facts[HINT_OF, newest - 1] == GAUGE)
    notes = 0
    if rate and gauges > 0:
        notes |= NOT_COUNTER
    if not rate and gauges < 2:
        notes |= NOT_GAUGE
    reset = 0
    if rate:
        reset = was_reset(newest, ts, values, starts, payload, facts, slots, tags, work)
    slot = decoded(newest, values, payload, facts, slots, tags)
    if reset < 0 or slot < 0 or not copy(slots[slot], h):
        return TOO_SMALL, 0
    if reset == 0:
        slot = decoded(newest - 1, values, payload, facts, slots, tags)
        if slot < 0:
            return TOO_SMALL, 0
        flags = subtract(h, slots[slot], work)
        if flags == NO_ROOM:
            return TOO_SMALL, 0
        if flags == INCOMPATIBLE:
            return NOTHING, notes | MIXED_SCHEMAS
        if flags & RECONCILED:
            notes |= SUBTRACTED
    h[HINT] = GAUGE
    if rate:
        divide(h, (ts[facts[PLACE, newest]] - ts[facts[PLACE, newest - 1]]) / 1000.0)
    return MADE, notes


@device
def extrapolation(op: int, first: int, last: int, count: int, stop: int, width: int, oldest: float, change: float,
                  since: int) -> float:
    """The factor that extends the change between the samples at `first` and `last` (ms), `count` in all, to the whole
    window; `oldest` is the count of observations of the first, `change` by how much it grew. Where that begins with
    nothing `since` a time in the window (0: it does not), there is nothing before it."""
    to_start, to_end = (first - (stop - width)) / 1000.0, (stop - last) / 1000.0
    sampled = (last - first) / 1000.0
    average = sampled / (count - 1) if count > 1 else 0.0
    near = average * 1.1
    if to_start >= near:
        to_start = average / 2
    if since != 0:
        sampled, to_start = (last - since) / 1000.0, 0.0
    elif op != DELTA and change > 0 and oldest >= 0:
        to_zero = sampled * (oldest / change)
        if to_zero < to_start:
            to_start = to_zero
    if to_end >= near:
        to_end = average / 2
    factor = (sampled + to_start + to_end) / sampled
    return factor / (width / 1000.0) if op == RATE else factor


@device
def begins_within(lo: int, start: int, ts: NDArray[np.int64], starts: NDArray[np.int64],
                  facts: NDArray[np.int64]) -> int:
    """The start timestamp of histogram lo, if it lies between the `start` of the window and the histogram; else 0."""
    if starts.size == 0:
        return np.int64(0)
    since = starts[facts[PLACE, lo]]
    return since if since != 0 and start < since < ts[facts[PLACE, lo]] else np.int64(0)


@device
def overlaps(lo: int, hi: int, ts: NDArray[np.int64], starts: NDArray[np.int64], facts: NDArray[np.int64]) -> bool:
    """Whether one of histograms lo:hi counts since before an earlier one, and that one does not."""
    for k in range(lo + 1, hi if starts.size > 0 else lo):
        before, now = facts[PLACE, k - 1], facts[PLACE, k]
        if starts[now] != 0 and starts[now] < ts[before] and starts[now] != starts[before]:
            return True
    return False


@device
def add_first(lo: int, alone: bool, values: NDArray[np.float64], payload: NDArray[np.uint8], facts: NDArray[np.int64],
              slots: NDArray[np.float64], tags: NDArray[np.int64], scratch: NDArray[np.float64]) -> tuple[int, int]:
    """Adds histogram lo to the row in scratch[0], or makes it that: (MADE, NOTHING or TOO_SMALL; notes)."""
    slot = decoded(lo, values, payload, facts, slots, tags)
    if slot < 0:
        return TOO_SMALL, 0
    if alone:
        return MADE if copy(slots[slot], scratch[0]) else TOO_SMALL, 0
    flags = add(scratch[0], slots[slot], scratch[1])
    if flags == NO_ROOM:
        return TOO_SMALL, 0
    if flags == INCOMPATIBLE:
        return NOTHING, MIXED_SCHEMAS
    return MADE, ADDED if flags & RECONCILED else 0


@kernel("int64(int64, int64[::1], int64[::1], int64[::1], float64[::1], int64[::1], "
        "Array(uint8, 1, 'C', readonly=True), int64, int64, int64, uint8[:, ::1], boolean, int64, int64[:, ::1], "
        "float64[:, ::1], int64[::1], float64[:, ::1], float64[:, ::1], boolean[:, ::1], int64[::1], uint8[::1], "
        "int64[::1])", stage="later")
def histogram_rates(
    op: int, begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64], values: NDArray[np.float64],
    starts: NDArray[np.int64], payload: NDArray[np.uint8], first: int, step: int, width: int, kinds: NDArray[np.uint8],
    forget: bool, limit: int, facts: NDArray[np.int64], slots: NDArray[np.float64], tags: NDArray[np.int64],
    scratch: NDArray[np.float64], out: NDArray[np.float64], present: NDArray[np.bool_], notes: NDArray[np.int64],
    made: NDArray[np.uint8], state: NDArray[np.int64],
) -> int:
    """Fills the cells of windows whose samples are histograms, at least two (of irate and idelta: the two newest), or
    one that counts since a time in the window, by `op`, with boxed values that lead to the payload `made` u8[]; leaves
    the others alone.

    `starts`: start timestamps beside ts, or none; `kinds` u8[rows, steps]: what `find_kinds` found; `forget` as in
    `survey`; `limit`: how many histograms to look at in one call, about; `notes` i64[rows] gets bits; for `facts` (of
    the longest row), `slots` and `tags` see `decoded_kernels`; `scratch`: three rows. Goes on at `state`, and returns
    why it did not go on to the end."""
    steps = out.shape[1]
    looked = 0
    counter = op == RATE or op == INCREASE
    newest_two = NEWEST_HISTOGRAM | SECOND_HISTOGRAM
    for row in range(state[ROW], begin.size):
        count = survey(values, begin[row], end[row], payload, forget, facts, tags)
        lo = hi = seen = 0
        for j in range(state[STEP], steps):
            stop = first + j * step
            while hi < count and ts[facts[PLACE, hi]] <= stop:
                hi += 1
            while lo < hi and ts[facts[PLACE, lo]] <= stop - width:
                lo += 1
            since = begins_within(lo, stop - width, ts, starts, facts) if counter and hi > lo else np.int64(0)
            if hi - lo < (1 if since != 0 else 2) or (kinds[row, j] & newest_two != newest_two if op >= IRATE else
                               kinds[row, j] & 3 != HISTOGRAMS):
                continue
            state[ROW], state[STEP] = row, j
            if looked > limit:
                return TIRED
            looked += 4 + 2 * (hi - max(lo, seen))
            seen = hi
            if op >= IRATE:
                status, bits = newest_change(op == IRATE, hi - 1, ts, values, starts, payload, facts, slots, tags,
                                             scratch)
            else:
                status, bits = MADE, 0
                if hi - lo > 1:
                    status, bits = change(counter, lo, hi, ts, values, starts, payload, facts, slots, tags, scratch)
                if status == MADE and counter and overlaps(lo, hi, ts, starts, facts):
                    bits |= OVERLAPPING
                if status == MADE and since != 0:
                    status, more = add_first(lo, hi - lo == 1, values, payload, facts, slots, tags, scratch)
                    bits |= more
            if status == TOO_SMALL:
                return ROWS_TOO_SMALL
            if status == MADE:
                h = scratch[0]
                if op < IRATE:
                    oldest = facts[PLACE, lo]
                    observations = count_value(payload, histogram_at(values[oldest]), COUNT_AT)
                    scale(h, extrapolation(op, ts[oldest], ts[facts[PLACE, hi - 1]], hi - lo, stop, width, observations,
                                           h[COUNT], since))
                if not put_out(h, row, j, made, state, out, present):
                    return OUTPUT_FULL
            notes[row] |= bits
        state[STEP] = 0
    return DONE
