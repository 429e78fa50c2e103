# mypy: disable-error-code="no-any-return,assignment,arg-type,operator,return-value,call-overload,index"
"""Sums and differences of native histograms in rows (`tsdb.histograms.row`), and resets of their counters.

As Prometheus' FloatHistogram.KahanAdd, Sub and DetectReset: operands of different resolution, zero buckets or custom
bounds are brought to what both have in common.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.histograms.row import (
    COUNT,
    COUNT_LOST,
    CUSTOM,
    HINT,
    NEGATIVE,
    POSITIVE,
    SCHEMA,
    SUM,
    SUM_LOST,
    WIDTH,
    ZERO_COUNT,
    ZERO_LOST,
    ZERO_THRESHOLD,
)
from tsdb.histograms.row_kernels import (
    GAUGE,
    add_lossless,
    buckets,
    capacity,
    compact,
    copy,
    equal_custom_values,
    reduce_resolution,
    reduced,
    upper_bound,
)
from tsdb.kernels.registry import device
from tsdb.model.native_histograms import CUSTOM_SCHEMA

OK, RECONCILED, COLLISION, INCOMPATIBLE, NO_ROOM = 0, 1, 2, 4, 8
"""What `add` and `subtract` return: a sum of the first three, or one of the others."""
UNKNOWN, RESET, NOT_RESET = 0, 1, 2
"""ResetHint"""


@device
def add(a: NDArray[np.float64], b: NDArray[np.float64], work: NDArray[np.float64]) -> int:
    """a += b. Returns OK, or a sum of RECONCILED (custom bounds differed: what both have is left) and COLLISION (one
    hint says that the counter was reset, the other that it was not). Or nothing was done: INCOMPATIBLE (buckets of the
    one are exponential, of the other custom), NO_ROOM (`a` or `work` is too small; 2 + the buckets and custom values of
    both are enough).

    What rounding loses is kept in the row: `settle` adds it. `work` is a row, as large as the others, for what comes
    between."""
    return _combine(a, b, 1.0, work)


@device
def subtract(a: NDArray[np.float64], b: NDArray[np.float64], work: NDArray[np.float64]) -> int:
    """a -= b, otherwise as `add`. The hint, too, becomes that of a sum."""
    return _combine(a, b, -1.0, work)


@device
def _combine(a: NDArray[np.float64], b: NDArray[np.float64], sign: float, work: NDArray[np.float64]) -> int:
    custom = a[SCHEMA] == CUSTOM_SCHEMA
    if custom != (b[SCHEMA] == CUSTOM_SCHEMA):
        return INCOMPATIBLE
    if _have_equal_layout(a, b):
        result = _join_hints(a, b)
        _add_totals(a, b, sign)
        if not custom:
            _add_lost(a, ZERO_COUNT, ZERO_LOST, sign * b[ZERO_COUNT], sign * b[ZERO_LOST])
        of_a, of_b = capacity(a), capacity(b)
        for i in range(buckets(a)):
            at, of = WIDTH + of_a + i, WIDTH + of_b + i
            _add_lost(a, at, at + of_a, sign * b[of], sign * b[of + of_b])
        return result
    if custom and not equal_custom_values(a, b):
        common = _count_common_bounds(a, b)
        if common + 1 > min(capacity(a), capacity(work)):
            return NO_ROOM
        result = RECONCILED | _join_hints(a, b)
        _add_totals(a, b, sign)
        _reconcile(a, b, sign, common, work)
        return result
    schema = np.int64(min(a[SCHEMA], b[SCHEMA]))
    if _count_together(a, b, schema) > capacity(a) or (b[SCHEMA] > schema and buckets(b) > capacity(work)):
        return NO_ROOM
    result = _join_hints(a, b)
    _add_totals(a, b, sign)
    if not custom:
        zero_count, zero_lost = _reconcile_zero_buckets(a, b)
        _add_lost(a, ZERO_COUNT, ZERO_LOST, sign * zero_count, sign * zero_lost)
    reduce_resolution(a, schema)
    if b[SCHEMA] > schema:
        copy(b, work)
        reduce_resolution(work, schema)
        _merge(a, work, sign)
    else:
        _merge(a, b, sign)
    return result


@device
def _have_equal_layout(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Whether the buckets of both are the same, none of them within the zero bucket."""
    for field in (SCHEMA, ZERO_THRESHOLD, POSITIVE, NEGATIVE):
        if a[field] != b[field]:
            return False
    for i in range(buckets(a)):
        if a[WIDTH + i] != b[WIDTH + i]:
            return False
    if a[SCHEMA] == CUSTOM_SCHEMA:
        return equal_custom_values(a, b)
    return _first_outside(b, 0, a) == 0 and _first_outside(b, 1, a) == np.int64(b[POSITIVE])


@device
def _first_outside(h: NDArray[np.float64], side: int, of: NDArray[np.float64]) -> int:
    """Where the buckets of a side of `h` begin whose upper bounds are above the zero threshold of `of`."""
    at = np.int64(h[POSITIVE]) if side else np.int64(0)
    end = at + np.int64(h[POSITIVE + side])
    if of[ZERO_THRESHOLD] > 0.0 and h[SCHEMA] != CUSTOM_SCHEMA:
        while at < end and upper_bound(h, np.int64(h[WIDTH + at])) <= of[ZERO_THRESHOLD]:
            at += 1
    return at


@device
def _join_hints(a: NDArray[np.float64], b: NDArray[np.float64]) -> int:
    """Sets that of `a` to the sum's. COLLISION or OK."""
    mine, other = np.int64(a[HINT]), np.int64(b[HINT])
    if mine == other or mine == GAUGE:
        return OK
    a[HINT] = GAUGE if other == GAUGE else UNKNOWN
    return COLLISION if mine + other == RESET + NOT_RESET and mine != UNKNOWN and other != UNKNOWN else OK


@device
def _add_lost(a: NDArray[np.float64], at: int, lost_at: int, number: float, lost: float) -> None:
    add_lossless(a, at, lost_at, number)
    if lost != 0.0:
        add_lossless(a, at, lost_at, lost)


@device
def _add_totals(a: NDArray[np.float64], b: NDArray[np.float64], sign: float) -> None:
    _add_lost(a, COUNT, COUNT_LOST, sign * b[COUNT], sign * b[COUNT_LOST])
    _add_lost(a, SUM, SUM_LOST, sign * b[SUM], sign * b[SUM_LOST])


@device
def _count_together(a: NDArray[np.float64], b: NDArray[np.float64], schema: int) -> int:
    """How many buckets both have together at a schema."""
    of_a, of_b = np.int64(a[SCHEMA]) - schema, np.int64(b[SCHEMA]) - schema
    count = i = j = i_end = j_end = np.int64(0)
    for side in range(2):
        i_end += np.int64(a[POSITIVE + side])
        j_end += np.int64(b[POSITIVE + side])
        first, before = True, np.int64(0)
        while i < i_end or j < j_end:
            left = reduced(np.int64(a[WIDTH + i]), of_a) if i < i_end else np.int64(0)
            right = reduced(np.int64(b[WIDTH + j]), of_b) if j < j_end else np.int64(0)
            if j == j_end or (i < i_end and left <= right):
                index = left
                i += 1
            else:
                index = right
                j += 1
            if first or index != before:
                count += 1
            first, before = False, index
    return count


@device
def _merge(a: NDArray[np.float64], b: NDArray[np.float64], sign: float) -> None:
    """Adds buckets of the same schema to those of `a`, where there is room for them, from the last one on; but not
    those within its zero bucket."""
    of_a, of_b = capacity(a), capacity(b)
    positive = np.int64(a[POSITIVE])
    added = np.int64(0)
    for side in range(2):
        added += _count_new(a, b, side)
    to = buckets(a) + added
    total = to
    for k in range(2):
        side = 1 - k
        i = positive + np.int64(a[NEGATIVE]) if side else positive
        i_first = positive if side else np.int64(0)
        j = np.int64(b[POSITIVE]) + np.int64(b[NEGATIVE]) if side else np.int64(b[POSITIVE])
        j_first = _first_outside(b, side, a)
        end = to
        while i > i_first or j > j_first:
            to -= 1
            at = WIDTH + of_a + to
            if j == j_first or (i > i_first and a[WIDTH + i - 1] > b[WIDTH + j - 1]):
                i -= 1
                for part in range(3):
                    a[WIDTH + part * of_a + to] = a[WIDTH + part * of_a + i]
                continue
            j -= 1
            count, lost = sign * b[WIDTH + of_b + j], sign * b[WIDTH + 2 * of_b + j]
            if i > i_first and a[WIDTH + i - 1] == b[WIDTH + j]:
                i -= 1
                for part in range(3):
                    a[WIDTH + part * of_a + to] = a[WIDTH + part * of_a + i]
                _add_lost(a, at, at + of_a, count, lost)
            else:
                a[WIDTH + to], a[at], a[at + of_a] = b[WIDTH + j], count, lost
        if side:
            a[NEGATIVE] = end - to
    a[POSITIVE] = total - np.int64(a[NEGATIVE])


@device
def _count_new(a: NDArray[np.float64], b: NDArray[np.float64], side: int) -> int:
    """How many of the buckets of a side of `b`, outside of a's zero bucket, `a` does not have."""
    i = np.int64(a[POSITIVE]) if side else np.int64(0)
    i_end = i + np.int64(a[POSITIVE + side])
    j = _first_outside(b, side, a)
    j_end = (np.int64(b[POSITIVE]) if side else np.int64(0)) + np.int64(b[POSITIVE + side])
    new = np.int64(0)
    for k in range(j, j_end):
        while i < i_end and a[WIDTH + i] < b[WIDTH + k]:
            i += 1
        if i == i_end or a[WIDTH + i] != b[WIDTH + k]:
            new += 1
    return new


@device
def zero_count_within(h: NDArray[np.float64], threshold: float, lost: float) -> tuple[float, float, float]:
    """(count, threshold, what the count has lost) of the zero bucket if its threshold were larger. One within a bucket
    that is not empty goes up to that one's end. `lost`: of the count as it is."""
    if threshold == h[ZERO_THRESHOLD]:
        return h[ZERO_COUNT], threshold, lost
    parts = capacity(h)
    count = h[ZERO_COUNT]
    again = True
    while again:
        again = False
        count = h[ZERO_COUNT]
        end = np.int64(0)
        for side in range(2):
            first, end = end, end + np.int64(h[POSITIVE + side])
            for i in range(first, end):
                index = np.int64(h[WIDTH + i])
                if again or upper_bound(h, index - 1) >= threshold:
                    break
                for part in range(1, 3):
                    number = h[WIDTH + part * parts + i]
                    total = count + number
                    if np.isinf(total):
                        lost = 0.0
                    elif abs(count) >= abs(number):
                        lost += (count - total) + number
                    else:
                        lost += (number - total) + count
                    count = total
                above = upper_bound(h, index)
                if above > threshold:
                    if h[WIDTH + parts + i] != 0.0:
                        threshold = above
                        again = side == 1  # the other side's buckets within it are more now
                    break
    return count, threshold, lost


@device
def _reconcile_zero_buckets(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float, float]:
    """Makes the zero threshold of `a` one that lies within no bucket of either. (count, what it lost) of the zero
    bucket that `b` would have."""
    count, threshold, lost = b[ZERO_COUNT], b[ZERO_THRESHOLD], b[ZERO_LOST]
    while threshold < a[ZERO_THRESHOLD] or threshold > a[ZERO_THRESHOLD]:
        if a[ZERO_THRESHOLD] > threshold:
            count, threshold, lost = zero_count_within(b, a[ZERO_THRESHOLD], b[ZERO_LOST])
        if threshold > a[ZERO_THRESHOLD]:
            a[ZERO_COUNT], a[ZERO_THRESHOLD], a[ZERO_LOST] = zero_count_within(a, threshold, a[ZERO_LOST])
            _empty_buckets_in_zero_bucket(a)
    return count, lost


@device
def _empty_buckets_in_zero_bucket(h: NDArray[np.float64]) -> None:
    parts = capacity(h)
    end = np.int64(0)
    for side in range(2):
        first, end = end, end + np.int64(h[POSITIVE + side])
        for i in range(first, end):
            if upper_bound(h, np.int64(h[WIDTH + i]) - 1) >= h[ZERO_THRESHOLD]:
                break
            h[WIDTH + parts + i] = h[WIDTH + 2 * parts + i] = 0.0
    compact(h)


@device
def _count_common_bounds(a: NDArray[np.float64], b: NDArray[np.float64]) -> int:
    of_a, of_b = WIDTH + 3 * capacity(a), WIDTH + 3 * capacity(b)
    common = j = np.int64(0)
    for i in range(np.int64(a[CUSTOM])):
        while j < b[CUSTOM] and b[of_b + j] < a[of_a + i]:
            j += 1
        if j < b[CUSTOM] and b[of_b + j] == a[of_a + i]:
            common += 1
    return common


@device
def _reconcile(a: NDArray[np.float64], b: NDArray[np.float64], sign: float, common: int,
               work: NDArray[np.float64]) -> None:
    """a +- b between the bounds that both have, of which there are `common`."""
    of_a, of_b, of_work = capacity(a), capacity(b), capacity(work)
    bounds = WIDTH + 3 * of_work
    found = j = np.int64(0)
    for i in range(np.int64(a[CUSTOM])):
        bound = a[WIDTH + 3 * of_a + i]
        while j < b[CUSTOM] and b[WIDTH + 3 * of_b + j] < bound:
            j += 1
        if j < b[CUSTOM] and b[WIDTH + 3 * of_b + j] == bound:
            work[bounds + found] = bound
            found += 1
    work[CUSTOM] = common
    for i in range(common + 1):
        work[WIDTH + of_work + i] = work[WIDTH + 2 * of_work + i] = 0.0
    _put_between(a, 1.0, work)
    _put_between(b, sign, work)
    for i in range(common):
        a[WIDTH + 3 * of_a + i] = work[bounds + i]
    a[CUSTOM] = common
    kept = np.int64(0)
    for i in range(common + 1):
        count, lost = work[WIDTH + of_work + i], work[WIDTH + 2 * of_work + i]
        if count != 0.0 or lost != 0.0:
            a[WIDTH + kept], a[WIDTH + of_a + kept], a[WIDTH + 2 * of_a + kept] = i, count, lost
            kept += 1
    a[POSITIVE], a[NEGATIVE] = kept, 0.0


@device
def _put_between(h: NDArray[np.float64], sign: float, work: NDArray[np.float64]) -> None:
    """Adds the buckets to those between the custom values of `work`, whose counts are one behind another."""
    of_h, of_work = capacity(h), capacity(work)
    to = np.int64(0)
    for i in range(np.int64(h[POSITIVE])):
        bound = upper_bound(h, np.int64(h[WIDTH + i]))
        while to < work[CUSTOM] and work[WIDTH + 3 * of_work + to] < bound:
            to += 1
        at = WIDTH + of_work + to
        _add_lost(work, at, at + of_work, sign * h[WIDTH + of_h + i], sign * h[WIDTH + 2 * of_h + i])


@device
def detect_reset(now: NDArray[np.float64], before: NDArray[np.float64], work: NDArray[np.float64]) -> bool:
    """Whether a counter was reset between two histograms (Prometheus' FloatHistogram.DetectReset): the hint says so, or
    something decreased, or went missing, that cannot. `work` is a row, as large as the others."""
    hint = np.int64(now[HINT])
    if hint == RESET or hint == NOT_RESET:
        return hint == RESET
    if now[COUNT] < before[COUNT]:
        return True
    if now[SCHEMA] == CUSTOM_SCHEMA and before[SCHEMA] == CUSTOM_SCHEMA and not equal_custom_values(now, before):
        return _decreased_between_common_bounds(now, before)
    if (now[SCHEMA] == CUSTOM_SCHEMA and before[SCHEMA] != CUSTOM_SCHEMA) or now[SCHEMA] > before[SCHEMA]:
        return True
    if now[ZERO_THRESHOLD] < before[ZERO_THRESHOLD]:
        return True
    zero_count, threshold, _ = zero_count_within(before, now[ZERO_THRESHOLD], 0.0)
    if threshold != now[ZERO_THRESHOLD] or now[ZERO_COUNT] < zero_count:
        return True
    if before[SCHEMA] == now[SCHEMA]:
        return _decreased(now, before)
    copy(before, work)
    reduce_resolution(work, np.int64(now[SCHEMA]))
    return _decreased(now, work)


@device
def _decreased(now: NDArray[np.float64], before: NDArray[np.float64]) -> bool:
    """Whether a bucket did, of the same schema and outside of now's zero bucket."""
    of_now, of_before = WIDTH + capacity(now), WIDTH + capacity(before)
    end = i_end = np.int64(0)
    for side in range(2):
        i, i_end = i_end, i_end + np.int64(now[POSITIVE + side])
        end += np.int64(before[POSITIVE + side])
        for j in range(_first_outside(before, side, now), end):
            while i < i_end and now[WIDTH + i] < before[WIDTH + j]:
                i += 1
            if i < i_end and now[WIDTH + i] == before[WIDTH + j]:
                if now[of_now + i] < before[of_before + j]:
                    return True
            elif before[of_before + j] != 0.0:
                return True
    return False


@device
def _decreased_between_common_bounds(now: NDArray[np.float64], before: NDArray[np.float64]) -> bool:
    of_now, of_before = capacity(now), capacity(before)
    j = at_now = at_before = np.int64(0)
    for i in range(np.int64(now[CUSTOM]) + 1):
        bound = upper_bound(now, i)
        while upper_bound(before, j) < bound:
            j += 1
        if upper_bound(before, j) != bound:
            continue
        new = old = 0.0
        while at_now < now[POSITIVE] and now[WIDTH + at_now] <= i:
            new += now[WIDTH + of_now + at_now]
            at_now += 1
        while at_before < before[POSITIVE] and before[WIDTH + at_before] <= j:
            old += before[WIDTH + of_before + at_before]
            at_before += 1
        if new < old:
            return True
    return False
