# mypy: disable-error-code="no-any-return,assignment,arg-type,call-overload"
"""Which kinds of samples windows of a range vector have. Windows as in `tsdb.promql.kernels.range_kernels`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import float_bits
from tsdb.kernels.registry import device, kernel
from tsdb.model.native_histograms import BOX

STALE = 0x7FF0000000000002

FLOATS, HISTOGRAMS, NEWEST_HISTOGRAM, SECOND_HISTOGRAM = 1, 2, 4, 8
"""Bits of a window: it has floats; it has histograms; the newest of at least two samples is a histogram; the one before
it is."""

MIXED_KINDS, IGNORED, NOT_COUNTER, NOT_GAUGE, MIXED_SCHEMAS, SUBTRACTED, ADDED, AGGREGATED, COLLISION = (
    1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Bits of what there is to say of a row: see `tsdb.promql.operators.range_notes`."""


@device
def kind(value: float) -> int:
    """FLOATS, HISTOGRAMS, or 0 of a stale marker."""
    bits = float_bits(value)
    if bits >= np.uint64(BOX):
        return HISTOGRAMS
    return 0 if bits == np.uint64(STALE) else FLOATS


@kernel("void(int64[::1], int64[::1], int64[::1], float64[::1], int64, int64, int64, uint8[:, ::1])", stage="later")
def find_kinds(begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64], values: NDArray[np.float64],
               first: int, step: int, width: int, kinds: NDArray[np.uint8]) -> None:
    """Fills kinds u8[rows, steps] with bits of each window."""
    for row in range(begin.size):
        lo = hi = begin[row]
        floats = histograms = 0
        newest = second = 0
        for j in range(kinds.shape[1]):
            stop = first + j * step
            while hi < end[row] and ts[hi] <= stop:
                what = kind(values[hi])
                floats += what == FLOATS
                histograms += what == HISTOGRAMS
                if what != 0:
                    second = newest
                    newest = what
                hi += 1
            while lo < hi and ts[lo] <= stop - width:
                what = kind(values[lo])
                floats -= what == FLOATS
                histograms -= what == HISTOGRAMS
                lo += 1
            bits = 0
            if floats > 0:
                bits |= FLOATS
            if histograms > 0:
                bits |= HISTOGRAMS
            if floats + histograms > 1:
                if newest == HISTOGRAMS:
                    bits |= NEWEST_HISTOGRAM
                if second == HISTOGRAMS:
                    bits |= SECOND_HISTOGRAM
            kinds[row, j] = bits
