# mypy: disable-error-code="no-any-return,assignment,arg-type,operator,return-value,call-overload,index"
"""Native histograms to windows of a downsampling tier: sums, resets, and what was lost by these, as sum_over_time,
resets and increase of Prometheus' promql/functions.go have them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tsdb.histograms.row import SCHEMA
from tsdb.histograms.row_kernels import copy, load, reduce_resolution, room, settle, store
from tsdb.histograms.sum_kernels import INCOMPATIBLE, NO_ROOM, add, detect_reset
from tsdb.kernels.intrinsics import bits_float, float_bits
from tsdb.kernels.registry import device, kernel
from tsdb.kernels.window_kernels import HISTOGRAMS, LOST, MAX, MIN, RESETS, STALE_BITS, SUM
from tsdb.model.native_histograms import BOX, CUSTOM_SCHEMA, MAX_BYTES, OFFSET_MASK

DONE, OUTPUT_FULL, ROWS_TOO_SMALL, TIRED = range(4)
"""Why the kernel returns: it is through; there is no room for a result; for a histogram; it has worked enough."""
ROW, WINDOW, SAMPLE, USED = range(4)
"""Its state i64[4]: the row, the window and the sample that come next, and how many bytes of results there are."""
ROWS = 5
"""Rows of histograms: the sum, what is lost, scratch, and two samples."""
NOTHING, FLOAT, HISTOGRAM = range(3)
LOWEST_SCHEMA = -4


@device
def kind(value: float) -> int:
    """NOTHING: a stale marker."""
    bits = float_bits(value)
    if bits >= np.uint64(BOX):
        return HISTOGRAM
    return NOTHING if bits == np.uint64(STALE_BITS) else FLOAT


@device
def put(h: NDArray[np.float64], made: NDArray[np.uint8], base: int, used: int) -> tuple[float, int]:
    """Writes a row to made[used:]: (a boxed value that leads there, `made` being behind `base` other bytes; the
    position behind it). One that no block takes, for its size, is written at a lower resolution, and where there is
    none is NaN. There must be `room`."""
    settle(h)
    end = store(h, made, used)
    while end - used > MAX_BYTES:
        if h[SCHEMA] == CUSTOM_SCHEMA or h[SCHEMA] <= LOWEST_SCHEMA:
            return math.nan, used
        reduce_resolution(h, np.int64(h[SCHEMA]) - 1)
        settle(h)
        end = store(h, made, used)
    return bits_float(np.uint64(BOX) | np.uint64(base + used)), end


@device
def add_to(h: NDArray[np.float64], part: NDArray[np.float64], parts: int, work: NDArray[np.float64]) -> int:
    """Adds to a row, or makes it the part where it is the first of `parts`. As `sum_kernels.add`."""
    if parts == 0:
        return 0 if copy(part, h) else NO_ROOM
    return add(h, part, work)


@device
def sum_window(first: int, past: int, values: NDArray[np.float64], payload: NDArray[np.uint8],
               rows: NDArray[np.float64]) -> tuple[int, int, int, int, bool]:
    """Of samples first:past: (DONE or ROWS_TOO_SMALL; floats; resets; after how many of these a histogram was lost;
    whether all histograms fit together). The sum of the histograms is in rows[0], what was lost in rows[1]."""
    work = rows[2]
    floats = histograms = resets = lost = np.int64(0)
    fit = True
    before, value = NOTHING, 0.0
    for i in range(first, past):
        what = kind(values[i])
        if what == NOTHING:
            continue
        if what == FLOAT:
            resets += before == HISTOGRAM or (before == FLOAT and values[i] < value)
            value = values[i]
            floats += 1
        else:
            now, previous = rows[3 + (histograms & 1)], rows[4 - (histograms & 1)]
            if not load(payload, np.int64(float_bits(values[i]) & np.uint64(OFFSET_MASK)), now):
                return ROWS_TOO_SMALL, floats, resets, lost, fit
            resets += before == FLOAT
            if before == HISTOGRAM and detect_reset(now, previous, work):
                resets += 1
                if fit:
                    flags = add_to(rows[1], previous, lost, work)
                    if flags == NO_ROOM:
                        return ROWS_TOO_SMALL, floats, resets, lost, fit
                    lost += 1
            if fit:
                flags = add_to(rows[0], now, histograms, work)
                if flags == NO_ROOM:
                    return ROWS_TOO_SMALL, floats, resets, lost, fit
                fit = flags != INCOMPATIBLE
            histograms += 1
        before = what
    return DONE, floats, resets, lost, fit


@kernel("int64(int64[::1], int64[::1], int64[::1], float64[::1], Array(uint8, 1, 'C', readonly=True), int64, int64, "
        "int64[::1], int64[::1], int64[::1], float64[:, ::1], float64[:, ::1], uint8[::1], int64[::1])", stage="later")
def histogram_windows(
    begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64], values: NDArray[np.float64],
    payload: NDArray[np.uint8], resolution: int, limit: int, window_begin: NDArray[np.int64],
    window_end: NDArray[np.int64], window_ts: NDArray[np.int64], out: NDArray[np.float64], rows: NDArray[np.float64],
    made: NDArray[np.uint8], state: NDArray[np.int64],
) -> int:
    """Sets the fields that histograms change of those windows that `tsdb.kernels.window_kernels.windows` has made, in
    which there are histograms; arguments as there, windows are window_begin:window_end of `window_ts` and `out`.

    Boxed values lead to `payload`; those of results to it and behind it to `made` u8[]. `rows` f64[ROWS, n] is scratch;
    `limit`: how many histograms to add in one call, about. Goes on at `state`, and returns why it did not go on to the
    end."""
    looked = 0
    for row in range(state[ROW], begin.size):
        if row > state[ROW]:
            state[ROW], state[WINDOW], state[SAMPLE] = row, 0, 0
        i = begin[row] + state[SAMPLE]
        for window in range(window_begin[row] + state[WINDOW], window_end[row]):
            stop = window_ts[window]
            while i < end[row] and ts[i] <= stop - resolution:
                i += 1
            state[WINDOW], state[SAMPLE] = window - window_begin[row], i - begin[row]
            past, histograms = i, 0
            while past < end[row] and ts[past] <= stop:
                histograms += kind(values[past]) == HISTOGRAM
                past += 1
            if histograms > 0:
                if looked > limit:
                    return TIRED
                looked += histograms
                status, floats, resets, lost, fit = sum_window(i, past, values, payload, rows)
                if status != DONE:
                    return status
                fit = fit and floats == 0
                need = room(rows[0]) + (room(rows[1]) if lost > 0 else 0)
                if fit and state[USED] + need > made.size:
                    return OUTPUT_FULL
                total = gone = math.nan
                if fit:
                    total, state[USED] = put(rows[0], made, payload.size, state[USED])
                    gone = 0.0
                    if lost > 0:
                        gone, state[USED] = put(rows[1], made, payload.size, state[USED])
                for field in (MIN, MAX):  # no boxed value, which is a NaN, too
                    if math.isnan(out[field, window]):
                        out[field, window] = math.nan
                out[SUM, window], out[LOST, window] = total, gone
                out[RESETS, window], out[HISTOGRAMS, window] = resets, histograms
            i = past
    return DONE
