# mypy: disable-error-code="no-any-return,assignment,arg-type,call-overload"
"""Kernels over the samples of a tile: lookback, and range functions that slide a window over each row.

All take a tile's ``begin``, ``end`` i64[rows], ``ts`` i64[] (ms), ``values`` f64[], and fill ``out`` f64[rows, steps]
and ``present`` bool[rows, steps]. Step j looks at the samples in ``(first + j * step - width, first + j * step]``, ms;
step 0 pins all steps to the same window. Stale markers are samples for the lookback and none for a range.
The arithmetic is that of Prometheus' promql/functions.go, in the same order. Scratch is the caller's, since allocating
in a kernel costs a second of its compilation: ``live_ts``, ``live`` (the samples without stale markers) and ``places``
have room for the longest row.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import float_bits
from tsdb.kernels.registry import device, kernel
from tsdb.kernels.sum_kernels import add_compensated

STALE = 0x7FF0000000000002

VALUE, TIMESTAMP = range(2)
"""What `instant` gives: the sample's value, or its time in seconds."""

RATE, INCREASE, DELTA, IRATE, IDELTA = range(5)
"""Operations of `rates`."""

SUM, AVG, MIN, MAX, COUNT, LAST, FIRST, PRESENT, STDDEV, STDVAR, CHANGES, RESETS = range(12)
"""Operations of `over_time`."""

AHEAD, BEHIND, SAMPLED, DIVISOR, CHANGE, OLDEST = range(6)
"""What `rates` works out of each window: rows of its scratch. The first four depend on times alone."""


@kernel("int64(int64, int64[::1], int64[::1], int64[::1], float64[::1], int64, int64, int64, "
        "float64[:, ::1], boolean[:, ::1])", stage="query")
def instant(what: int, begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64],
            values: NDArray[np.float64], first: int, step: int, width: int, out: NDArray[np.float64],
            present: NDArray[np.bool_]) -> int:
    """The newest sample of each window, unless it is a stale marker. Returns the number of cells present."""
    cells = 0
    for row in range(begin.size):
        hi = begin[row]
        for j in range(out.shape[1]):
            stop = first + j * step
            while hi < end[row] and ts[hi] <= stop:
                hi += 1
            there = hi > begin[row] and ts[hi - 1] > stop - width and float_bits(values[hi - 1]) != np.uint64(STALE)
            present[row, j] = there
            if not there:
                out[row, j] = math.nan
                continue
            cells += 1
            if what == VALUE:
                out[row, j] = values[hi - 1]
            else:
                out[row, j] = ts[hi - 1] / 1000.0
    return cells


@device
def stale_markers(values: NDArray[np.float64], begin: int, end: int) -> int:
    count = 0
    for i in range(begin, end):
        count += float_bits(values[i]) == np.uint64(STALE)
    return count


@device
def without_stale(ts: NDArray[np.int64], values: NDArray[np.float64], begin: int, end: int,
                  live_ts: NDArray[np.int64], live: NDArray[np.float64]) -> int:
    """Copies a row's samples that are not stale markers; how many they are."""
    n = 0
    for i in range(begin, end):
        if float_bits(values[i]) != np.uint64(STALE):
            live_ts[n] = ts[i]
            live[n] = values[i]
            n += 1
    return n


@device
def same_times(ts: NDArray[np.int64], begin: int, other: int, count: int) -> bool:
    """Whether ts[begin : begin + count] are ts[other : other + count]."""
    if ts[begin] != ts[other] or ts[begin + count - 1] != ts[other + count - 1]:
        return False
    one, two = np.uint64(begin), np.uint64(other)
    different = np.int64(0)
    for i in range(np.uint64(count)):
        different |= ts[one + i] ^ ts[two + i]
    return different == 0


@device
def cuts(ts: NDArray[np.int64], begin: int, end: int, first: int, step: int, count: int, out: NDArray[np.uint64],
         ) -> None:
    """out[j] = how many of ts[begin:end] are not newer than first + j * step, for j < count."""
    at = np.uint64(begin)  # unsigned, since numba lets signed indices count from the end
    stop = first
    for j in range(count):
        while at < np.uint64(end) and ts[at] <= stop:
            at += np.uint64(1)
        out[j] = at - np.uint64(begin)
        stop += step


@device
def place_windows(ts: NDArray[np.int64], begin: int, end: int, first: int, step: int, width: int,
                  borders: NDArray[np.uint64], present: NDArray[np.bool_]) -> int:
    """The oldest sample of each window to borders[0], the newest to borders[1] (numbers within ts[begin:end]), and
    whether there are two to `present`; how many windows have two."""
    steps = present.size
    oldest, newest = borders[0], borders[1]
    # Where windows begin at ends of earlier ones, one search finds both.
    shift = width // step if step > 0 and width % step == 0 and width // step < steps else steps
    cuts(ts, begin, end, first, step, steps, newest)
    cuts(ts, begin, end, first - width, step, shift, oldest)
    for j in range(shift, steps):
        oldest[j] = newest[j - shift]
    one = np.uint64(1)
    cells = 0
    for j in range(steps):
        newest[j] = max(newest[j], one) - one
        oldest[j] = min(oldest[j], newest[j])
        there = newest[j] > oldest[j]
        present[j] = there
        cells += there
    return cells


@device
def extend(ts: NDArray[np.int64], begin: int, first: int, step: int, width: int, borders: NDArray[np.uint64],
           unit: float, divisor: float, windows: NDArray[np.float64]) -> int:
    """How far to extend the change between the oldest and the newest sample of each window, so that it is that of the
    whole window: to its border where a sample is near it, else by half an interval. Durations in `unit` ms. Returns how
    many decisions were too close to trust in another unit than seconds."""
    oldest, newest = borders[0], borders[1]
    ahead, behind, sampled, divisors = windows[AHEAD], windows[BEHIND], windows[SAMPLED], windows[DIVISOR]
    start = np.uint64(begin)
    stop = first
    for j in range(ahead.size):
        low, high = ts[start + oldest[j]], ts[start + newest[j]]
        ahead[j] = low - (stop - width)
        behind[j] = stop - high
        sampled[j] = high - low
        divisors[j] = np.int64(newest[j] - oldest[j])
        stop += step
    return widen(unit, divisor, windows)


@device
def widen(unit: float, divisor: float, windows: NDArray[np.float64]) -> int:
    """Of each window, from how far its oldest and newest sample are from its borders and from each other (ms), and how
    many intervals are between them: the same in `unit` ms, as far as to extend, and what to divide by."""
    ahead, behind, sampled, divisors = windows[AHEAD], windows[BEHIND], windows[SAMPLED], windows[DIVISOR]
    close = 0
    for j in range(ahead.size):
        to_start, to_end, between = ahead[j] / unit, behind[j] / unit, sampled[j] / unit
        average = between / divisors[j]
        near = average * 1.1
        half = average * 0.5
        margin = near * 1e-9
        close += (abs(to_start - near) <= margin) | (abs(to_end - near) <= margin)
        ahead[j] = half if to_start >= near else to_start
        behind[j] = half if to_end >= near else to_end
        sampled[j] = between
        divisors[j] = between * divisor
    return close


@device
def extrapolate(counter: bool, windows: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """The change of each window, extended. Free of branches, so that the compiler makes vectors of it."""
    ahead, behind, sampled, divisors = windows[AHEAD], windows[BEHIND], windows[SAMPLED], windows[DIVISOR]
    change, oldest = windows[CHANGE], windows[OLDEST]
    if not counter:
        for j in range(out.size):
            out[j] = change[j] * ((sampled[j] + ahead[j] + behind[j]) / divisors[j])
        return
    for j in range(out.size):
        # A counter is never negative: not further back than where the slope says that it was zero.
        to_zero = sampled[j] * (oldest[j] / change[j])
        zero = (change[j] > 0) & (oldest[j] >= 0) & (to_zero < ahead[j])
        before = to_zero if zero else ahead[j]
        out[j] = change[j] * ((sampled[j] + before + behind[j]) / divisors[j])


@device
def add_resets(values: NDArray[np.float64], begin: int, end: int, borders: NDArray[np.uint64],
               resets: NDArray[np.int64], windows: NDArray[np.float64]) -> None:
    """Adds to each window's change what its counter lost in resets, in order. `resets` is scratch."""
    falls = np.int64(0)
    for i in range(np.uint64(begin), np.uint64(end - 1)):
        falls += values[i + np.uint64(1)] < values[i]
    if falls == 0:
        return
    count = 0
    for i in range(begin + 1, end):
        if values[i] < values[i - 1]:
            resets[count] = i - begin
            count += 1
    first = 0
    for j in range(borders.shape[1]):
        while first < count and resets[first] <= np.int64(borders[0, j]):
            first += 1
        k = first
        while k < count and resets[k] <= np.int64(borders[1, j]):
            windows[CHANGE, j] += values[begin + resets[k] - 1]
            k += 1


@kernel("int64(int64, int64[::1], int64[::1], int64[::1], float64[::1], int64, int64, int64, "
        "int64[::1], float64[::1], int64[::1], uint64[:, ::1], float64[:, ::1], float64[:, ::1], boolean[:, ::1])",
        stage="query")
def rates(op: int, begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64],
          values: NDArray[np.float64], first: int, step: int, width: int, live_ts: NDArray[np.int64],
          live: NDArray[np.float64], places: NDArray[np.int64], borders: NDArray[np.uint64],
          windows: NDArray[np.float64], out: NDArray[np.float64], present: NDArray[np.bool_]) -> int:
    """rate, increase, delta, irate, idelta by `op`. Returns the number of cells present. More scratch: borders
    u64[2, steps], windows f64[6, steps]. Rows often have the times of the row before, as series of one target: what
    depends on times alone is then worked out once."""
    steps = out.shape[1]
    counter = op == RATE or op == INCREASE
    divisor = width / 1000.0 if op == RATE else 1.0
    one = np.uint64(1)
    cells = 0
    before, before_size, before_cells = 0, 0, 0  # a row of which `borders` and `windows` tell
    for row in range(begin.size):
        t, v, b, e = ts, values, begin[row], end[row]
        stale = stale_markers(values, b, e) > 0
        if stale:
            e = without_stale(ts, values, b, e, live_ts, live)
            t, v, b = live_ts, live, 0
        if e - b < 2:
            for j in range(steps):
                present[row, j] = False
            continue
        if not stale and e - b == before_size and same_times(ts, b, begin[before], e - b):
            for j in range(steps):
                present[row, j] = present[before, j]
        else:
            before_cells = place_windows(t, b, e, first, step, width, borders, present[row])
            if op < IRATE and extend(t, b, first, step, width, borders, 1.0, divisor, windows) > 0:
                extend(t, b, first, step, width, borders, 1000.0, divisor, windows)
            before, before_size = row, 0 if stale else e - b
        cells += before_cells
        oldest, newest = borders[0], borders[1]
        start = np.uint64(b)
        if op >= IRATE:
            for j in range(steps):
                if present[row, j]:
                    hi = start + newest[j]
                    last, previous = v[hi], v[hi - one]
                    gain = last if op == IRATE and last < previous else last - previous
                    out[row, j] = gain / ((t[hi] - t[hi - one]) / 1000.0) if op == IRATE else gain
            continue
        for j in range(steps):
            low = v[start + oldest[j]]
            windows[OLDEST, j] = low
            windows[CHANGE, j] = v[start + newest[j]] - low
        if counter:
            add_resets(v, b, e, borders, places, windows)
        extrapolate(counter, windows, out[row])
    return cells


@device
def add_exact(high: float, low: float, value: float) -> tuple[float, float]:
    """(high, low) + value in double-double arithmetic (Knuth's two-sum, then renormalised)."""
    total = high + value
    back = total - high
    rest = (high - (total - back)) + (value - back) + low
    high = total + rest
    return high, rest - (high - total)


@device
def window_mean(values: NDArray[np.float64], lo: int, hi: int) -> float:
    """The sum over the count; from where the sum would overflow, the incremental mean."""
    total, lost = values[lo], 0.0
    average = 0.0
    incremental = False
    for i in range(lo + 1, hi):
        count = np.float64(i - lo + 1)
        if not incremental:
            new, new_lost = add_compensated(values[i], total, lost)
            if not math.isinf(new):
                total, lost = new, new_lost
                continue
            incremental = True
            average = total / (count - 1)
            lost /= count - 1
        q = (count - 1) / count
        average, lost = add_compensated(values[i] / count, q * average, q * lost)
    if incremental:
        return average + lost
    return total / (hi - lo) + lost / (hi - lo)


@device
def window_sum(values: NDArray[np.float64], lo: int, hi: int) -> float:
    result = lost = 0.0
    for i in range(lo, hi):
        result, lost = add_compensated(values[i], result, lost)
    return result if math.isinf(result) else result + lost


@device
def window_variance(values: NDArray[np.float64], lo: int, hi: int) -> float:
    """Welford's, every sum compensated."""
    average = average_lost = 0.0
    squares = squares_lost = 0.0
    for i in range(lo, hi):
        delta = values[i] - (average + average_lost)
        average, average_lost = add_compensated(delta / (i - lo + 1), average, average_lost)
        squares, squares_lost = add_compensated(delta * (values[i] - (average + average_lost)), squares, squares_lost)
    return (squares + squares_lost) / (hi - lo)


@device
def apart(step: int, steps: int, width: int) -> bool:
    """Whether no sample is in two windows: then there is nothing to gain from the window before."""
    return step >= width if step > 0 else steps == 1


@device
def after(ts: NDArray[np.int64], low: int, high: int, stop: int) -> int:
    """The first of ts[low:high] that is newer than `stop`; else `high`."""
    if low < high and ts[high - 1] <= stop:
        return high
    while low < high:
        middle = (low + high) >> 1
        if ts[middle] <= stop:
            low = middle + 1
        else:
            high = middle
    return low


@kernel("int64(int64, int64[::1], int64[::1], int64[::1], float64[::1], int64, int64, int64, "
        "int64[::1], float64[::1], int64[::1], float64[:, ::1], boolean[:, ::1])", stage="query")
def over_time(op: int, begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64],
              values: NDArray[np.float64], first: int, step: int, width: int, live_ts: NDArray[np.int64],
              live: NDArray[np.float64], places: NDArray[np.int64], out: NDArray[np.float64],
              present: NDArray[np.bool_]) -> int:
    """The common ``*_over_time``, changes and resets by `op`. Returns the number of cells present.

    Where windows overlap, min and max keep a queue of candidates, sum and avg differences of double-double prefix sums
    (recomputed where these are not exact enough), changes and resets running counts: none of them looks at a sample
    once per step.
    """
    steps = out.shape[1]
    alone = apart(step, steps, width) and (op <= AVG or COUNT <= op <= STDVAR)
    cells = 0
    for row in range(begin.size):
        t, v, b, e = ts, values, begin[row], end[row]
        if stale_markers(values, b, e) > 0:
            e = without_stale(ts, values, b, e, live_ts, live)
            t, v, b = live_ts, live, 0
        lo = hi = b
        head = tail = 0
        high_hi = low_hi = high_lo = low_lo = 0.0
        largest = 0.0
        count_hi = count_lo = 0
        for j in range(steps):
            stop = first + j * step
            if alone:
                hi = after(t, hi, e, stop)
                lo = after(t, lo, hi, stop - width)
            while hi < e and t[hi] <= stop:
                if op == MAX:
                    if not math.isnan(v[hi]):
                        while tail > head and v[places[tail - 1]] < v[hi]:
                            tail -= 1
                        places[tail] = hi
                        tail += 1
                elif op == MIN:
                    if not math.isnan(v[hi]):
                        while tail > head and v[places[tail - 1]] > v[hi]:
                            tail -= 1
                        places[tail] = hi
                        tail += 1
                elif op <= AVG:
                    high_hi, low_hi = add_exact(high_hi, low_hi, v[hi])
                    largest = max(largest, abs(high_hi))
                elif op == CHANGES:
                    if hi > lo and v[hi] != v[hi - 1] and not (math.isnan(v[hi]) and math.isnan(v[hi - 1])):
                        count_hi += 1
                elif op == RESETS:
                    if hi > lo and v[hi] < v[hi - 1]:
                        count_hi += 1
                hi += 1
            while lo < hi and t[lo] <= stop - width:
                if op <= AVG:
                    high_lo, low_lo = add_exact(high_lo, low_lo, v[lo])
                lo += 1
                if lo < hi:
                    if op == CHANGES:
                        if v[lo] != v[lo - 1] and not (math.isnan(v[lo]) and math.isnan(v[lo - 1])):
                            count_lo += 1
                    elif op == RESETS:
                        if v[lo] < v[lo - 1]:
                            count_lo += 1
            present[row, j] = lo < hi
            if lo == hi:
                out[row, j] = math.nan
                continue
            cells += 1
            if alone and op <= AVG:
                out[row, j] = window_mean(v, lo, hi) if op == AVG else window_sum(v, lo, hi)
            elif op <= AVG:
                result, lost = add_exact(high_hi, low_hi - low_lo, -high_lo)
                # 2^-104 bounds the error of the prefixes; NaN and infinities fail the comparison too.
                if hi - lo > 4 and largest * 4.9e-32 * (hi - b) <= abs(result) * 1e-16 and abs(result) < 1e300:
                    out[row, j] = result / (hi - lo) + lost / (hi - lo) if op == AVG else result
                elif op == AVG:
                    out[row, j] = window_mean(v, lo, hi)
                else:
                    out[row, j] = window_sum(v, lo, hi)
            elif op <= MAX:
                while head < tail and places[head] < lo:
                    head += 1
                out[row, j] = v[places[head]] if head < tail else math.nan
            elif op == COUNT:
                out[row, j] = hi - lo
            elif op == LAST:
                out[row, j] = v[hi - 1]
            elif op == FIRST:
                out[row, j] = v[lo]
            elif op == PRESENT:
                out[row, j] = 1.0
            elif op == STDDEV:
                out[row, j] = math.sqrt(window_variance(v, lo, hi))
            elif op == STDVAR:
                out[row, j] = window_variance(v, lo, hi)
            else:
                out[row, j] = count_hi - count_lo
    return cells
