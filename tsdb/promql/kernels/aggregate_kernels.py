"""Aggregation over rows, step by step. Rows come in tiles; accumulators are f64[groups, steps]."""
# mypy: disable-error-code="call-overload,operator,assignment,arg-type,no-any-return"

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.registry import device, kernel

SUM, AVG, MIN, MAX, COUNT, VARIANCE, GROUP = range(7)

_CELLS = "Array(float64, 2, 'C', readonly=True), Array(boolean, 2, 'C', readonly=True)"
_I64 = "Array(int64, 1, 'C', readonly=True)"

SEEN = 1
INCREMENTAL = 2
"""Bits of `state`: the group has a cell at this step; its average has gone over to the incremental mean."""


@kernel(f"void(int64, {_CELLS}, {_I64}, float64[:, ::1], float64[:, ::1], float64[:, ::1], uint8[:, ::1])",
        stage="query")
def accumulate(op: int, values: NDArray[np.float64], present: NDArray[np.bool_], group: NDArray[np.int64],
               main: NDArray[np.float64], rest: NDArray[np.float64], count: NDArray[np.float64],
               state: NDArray[np.uint8]) -> None:
    """Adds a tile of cells, values f64 and present bool[rows, steps], to the groups i64[rows] of its rows.

    Accumulators f64[groups, steps], those that an operation does not name may be of size [0, 0]:
    SUM: main sum (from -0.0), rest its lost digits; AVG: the same and count; MIN, MAX: main (from NaN); COUNT: count;
    VARIANCE: main sum of squared distances, rest mean, count. All but COUNT, VARIANCE and AVG mark state u8 with SEEN.
    """
    steps = values.shape[1]
    for row in range(group.size):
        g = group[row]
        v, p = values[row], present[row]
        if op == SUM:
            _add(v, p, main[g], rest[g], state[g])
        elif op == AVG:
            _average(v, p, main[g], rest[g], count[g], state[g])
        elif op == MIN or op == MAX:
            m, s = main[g], state[g]
            for i in range(steps):
                old = m[i]
                better = v[i] < old if op == MIN else v[i] > old
                m[i] = v[i] if p[i] and (better or old != old) else old
            for i in range(steps):
                s[i] |= np.uint8(p[i])
        elif op == COUNT:
            c = count[g]
            for i in range(steps):
                c[i] += np.float64(p[i])
        elif op == VARIANCE:
            m, r, c = main[g], rest[g], count[g]
            for i in range(steps):
                n = c[i] + 1.0
                delta = v[i] - r[i]
                mean = r[i] + delta / n
                m[i] = m[i] + delta * (v[i] - mean) if p[i] else m[i]
                r[i] = mean if p[i] else r[i]
                c[i] = n if p[i] else c[i]
        else:
            s = state[g]
            for i in range(steps):
                s[i] |= np.uint8(p[i])


@device
def _add(v: NDArray[np.float64], p: NDArray[np.bool_], total: NDArray[np.float64], lost: NDArray[np.float64],
         state: NDArray[np.uint8]) -> None:
    """Compensated summation. The error of one addition is exact in Knuth's form (no branch, so it vectorizes), thus the
    same as that of Neumaier's, which Prometheus uses; an infinite sum forgets what was lost, as there."""
    for i in range(v.size):
        old = total[i]
        new = old + v[i]
        part = new - old
        error = lost[i] + ((old - (new - part)) + (v[i] - part))
        error = 0.0 if abs(new) == np.inf else error
        total[i] = new if p[i] else old
        lost[i] = error if p[i] else lost[i]
    for i in range(v.size):
        state[i] |= np.uint8(p[i])


@device
def _average(v: NDArray[np.float64], p: NDArray[np.bool_], total: NDArray[np.float64], lost: NDArray[np.float64],
             count: NDArray[np.float64], state: NDArray[np.uint8]) -> None:
    """The compensated sum, and from where that would overflow on the incremental mean (then in `total`)."""
    overflow = np.uint8(0)
    for i in range(v.size):
        overflow |= np.uint8(p[i]) & (np.uint8(abs(total[i] + v[i]) == np.inf) | state[i] >> np.uint8(1))
    if overflow == 0:
        for i in range(v.size):
            count[i] += np.float64(p[i])
        _add(v, p, total, lost, state)
        return
    for i in range(v.size):
        if not p[i]:
            continue
        count[i] += 1.0
        if state[i] < INCREMENTAL:
            new = total[i] + v[i]
            if abs(new) != np.inf or count[i] == 1.0:
                total[i], lost[i] = _compensated(v[i], total[i], lost[i])
                state[i] |= np.uint8(SEEN)
                continue
            state[i] |= np.uint8(INCREMENTAL)
            total[i] /= count[i] - 1.0
            lost[i] /= count[i] - 1.0
        q = (count[i] - 1.0) / count[i]
        total[i], lost[i] = _compensated(v[i] / count[i], q * total[i], q * lost[i])


@device
def _compensated(value: float, total: float, lost: float) -> tuple[float, float]:
    new = total + value
    if abs(new) == np.inf:
        return new, 0.0
    if abs(total) >= abs(value):
        return new, lost + ((total - new) + value)
    return new, lost + ((value - new) + total)


LARGEST, SMALLEST, FIRST = range(3)
"""What `push_best` keeps."""


@device
def _precedes(a: float, b: float, best: int) -> bool:
    """Whether `a` is nearer to falling out of the best k than `b`: NaN first."""
    return best != FIRST and (a != a or (a > b if best == SMALLEST else a < b))


@kernel(f"void(int64, int64, {_CELLS}, {_I64}, {_I64}, {_I64}, float64[::1], int64[::1], int64[:, ::1])",
        stage="later")
def push_best(best: int, first_row: int, values: NDArray[np.float64], present: NDArray[np.bool_],
              group: NDArray[np.int64], k: NDArray[np.int64], begin: NDArray[np.int64],
              heap_values: NDArray[np.float64], heap_rows: NDArray[np.int64], sizes: NDArray[np.int64]) -> None:
    """Keeps the k[step] best cells of each group: LARGEST, SMALLEST, or FIRST; of equal ones those of earlier rows.

    A tile of cells as for `accumulate`; k i64[steps]. The heap of group g at a step has sizes[g, step] cells and room
    for begin[g + 1] - begin[g]; it begins at begin[g] * steps + step * room in heap_values f64[] and heap_rows i64[]
    (rows of the child). Sifts as Go's container/heap, so that of equal values the same leave as in Prometheus.
    """
    steps = values.shape[1]
    for row in range(group.size):
        g = group[row]
        room = begin[g + 1] - begin[g]
        for step in range(steps):
            if not present[row, step] or k[step] < 1:
                continue
            base = begin[g] * steps + step * room
            v = values[row, step]
            size = sizes[g, step]
            if size < min(k[step], room):
                at = size
                while at > 0:
                    parent = (at - 1) >> 1
                    if not _precedes(v, heap_values[base + parent], best):
                        break
                    heap_values[base + at], heap_rows[base + at] = heap_values[base + parent], heap_rows[base + parent]
                    at = parent
                heap_values[base + at], heap_rows[base + at] = v, first_row + row
                sizes[g, step] = size + 1
                continue
            worst = heap_values[base]
            if best != FIRST and ((v < worst if best == SMALLEST else v > worst) or (worst != worst and v == v)):
                at = np.int64(0)
                while True:
                    child = 2 * at + 1
                    if child >= size:
                        break
                    if child + 1 < size and _precedes(heap_values[base + child + 1], heap_values[base + child], best):
                        child += 1
                    if not _precedes(heap_values[base + child], v, best):
                        break
                    heap_values[base + at], heap_rows[base + at] = heap_values[base + child], heap_rows[base + child]
                    at = child
                heap_values[base + at], heap_rows[base + at] = v, first_row + row


@device
def select_nth(data: NDArray[np.float64], begin: int, end: int, n: int) -> float:
    """The value that would be at `n` if data[begin:end] (no NaN) were sorted; what is left of `n` is then not larger,
    what is right of it not smaller. Reorders (Hoare's selection)."""
    low, high = begin, end - 1
    while low < high:
        pivot = data[(low + high) >> 1]
        i, j = low, high
        while i <= j:
            while data[i] < pivot:
                i += 1
            while data[j] > pivot:
                j -= 1
            if i <= j:
                data[i], data[j] = data[j], data[i]
                i += 1
                j -= 1
        if n <= j:
            high = j
        elif n >= i:
            low = i
        else:
            break
    return data[n]


@device
def quantile_of(data: NDArray[np.float64], begin: int, end: int, q: float) -> float:
    """The q-quantile of data[begin:end], interpolated between neighbours; NaN sorts first. Reorders the data."""
    size = end - begin
    if size == 0 or q != q:
        return np.nan
    if q < 0.0:
        return -np.inf
    if q > 1.0:
        return np.inf
    numbers = begin
    for i in range(begin, end):
        if data[i] != data[i]:
            data[numbers], data[i] = data[i], data[numbers]
            numbers += 1
    rank = q * np.float64(size - 1)
    lower = np.int64(max(0.0, math.floor(rank)))
    upper = min(size - 1, lower + 1)
    weight = rank - math.floor(rank)
    low = data[begin + lower] if begin + lower < numbers else select_nth(data, numbers, end, begin + lower)
    high = low
    if upper > lower:
        high = data[begin + upper]
        if begin + lower >= numbers:
            for i in range(begin + upper, end):
                high = min(high, data[i])
        elif begin + upper >= numbers:
            high = select_nth(data, numbers, end, begin + upper)
    return low * (1.0 - weight) + high * weight


_BLOCK = 8  # steps gathered at a time: one cache line of each row


@kernel(f"void({_CELLS}, {_I64}, {_I64}, Array(float64, 1, 'C', readonly=True), float64[::1], int64, int64, "
        "float64[:, ::1], boolean[:, ::1])", stage="later", allocates=True)
def group_quantiles(values: NDArray[np.float64], present: NDArray[np.bool_], order: NDArray[np.int64],
                    begin: NDArray[np.int64], q: NDArray[np.float64], scratch: NDArray[np.float64],
                    first_step: int, end_step: int, out_values: NDArray[np.float64],
                    out_present: NDArray[np.bool_]) -> None:
    """The quantile q f64[steps] over the rows of each group, at the steps first_step <= step < end_step.

    values f64 and present bool[n, steps]; the rows of group g are order[begin[g]:begin[g + 1]]; scratch f64[8 * rows of
    the largest group]. Out: f64 and bool[groups, steps].
    """
    sizes = np.zeros(_BLOCK, np.int64)
    for g in range(begin.size - 1):
        room = begin[g + 1] - begin[g]
        for block in range(first_step, end_step, _BLOCK):
            width = min(_BLOCK, end_step - block)
            sizes[:] = 0
            for at in range(begin[g], begin[g + 1]):
                row = order[at]
                for i in range(width):
                    if present[row, block + i]:
                        scratch[i * room + sizes[i]] = values[row, block + i]
                        sizes[i] += 1
            for i in range(width):
                if sizes[i] > 0:
                    out_values[g, block + i] = quantile_of(scratch, i * room, i * room + sizes[i], q[block + i])
                    out_present[g, block + i] = True
