# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""Samples to windows of a downsampling tier."""

from __future__ import annotations

import math

import numpy as np
from numba import float64, int64
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import float_bits
from tsdb.kernels.registry import kernel
from tsdb.kernels.sum_kernels import add_compensated

I64 = int64[::1]
STALE_BITS = 0x7FF0000000000002
COUNT, SUM, MIN, MAX, FIRST, FIRST_TS, LAST, LAST_TS, RESETS, LOST, STALE, HISTOGRAMS = range(12)
"""Rows of `out`: fields of windows, as `tsdb.model.tiers.Field` has them."""


@kernel(int64(I64, I64, I64, float64[::1], int64, int64, int64, I64, I64, I64, float64[:, ::1]), stage="later")
def windows(begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64], values: NDArray[np.float64],
            after: int, through: int, resolution: int, out_begin: NDArray[np.int64], out_end: NDArray[np.int64],
            out_ts: NDArray[np.int64], out: NDArray[np.float64]) -> int:
    """The windows (stop - resolution, stop] in (after, through], ms, both multiples of `resolution`, that have a
    sample or a stale marker of the rows begin:end (i64[rows]) of `ts` (i64[], ms, ascending) and `values` (f64[]).

    Those of a row are at out_begin:out_end (i64[rows]) of `out_ts` (i64[room], their ends) and of the rows of `out`
    (f64[12, room], see `tsdb.model.tiers.Field`). There is room for as many windows as samples. Returns how many there
    are. Native histograms are taken for NaN; `tsdb.histograms.windows` sets what these say.
    """
    made = 0
    for row in range(begin.size):
        out_begin[row] = made
        i, past = begin[row], end[row]
        while i < past and ts[i] <= after:
            i += 1
        while i < past and ts[i] <= through:
            stop = (ts[i] + resolution - 1) // resolution * resolution
            start = stop - resolution
            count = resets = stale = 0
            total = rest = lost = 0.0
            smallest = largest = math.nan
            oldest = newest = 0.0
            oldest_ts = newest_ts = 0
            while i < past and ts[i] <= stop:
                value = values[i]
                if float_bits(value) == np.uint64(STALE_BITS):
                    stale = 1
                else:
                    stale = 0
                    if count == 0:
                        oldest, oldest_ts = value, ts[i] - start
                    elif value < newest:
                        resets += 1
                        lost += newest
                    if value < smallest or math.isnan(smallest):
                        smallest = value
                    if value > largest or math.isnan(largest):
                        largest = value
                    total, rest = add_compensated(value, total, rest)
                    newest, newest_ts = value, ts[i] - start
                    count += 1
                i += 1
            if count == 0:
                smallest = largest = 0.0
            out_ts[made] = stop
            out[COUNT, made] = count
            out[SUM, made] = total if math.isinf(total) else total + rest
            out[MIN, made] = smallest
            out[MAX, made] = largest
            out[FIRST, made] = oldest
            out[FIRST_TS, made] = oldest_ts
            out[LAST, made] = newest
            out[LAST_TS, made] = newest_ts
            out[RESETS, made] = resets
            out[LOST, made] = lost
            out[STALE, made] = stale
            out[HISTOGRAMS, made] = 0.0
            made += 1
        out_end[row] = made
    return made
