"""Quantiles of the samples of windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tsdb.model.batch import STALE_NAN
from tsdb.model.native_histograms import is_boxed


def window_quantiles(begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64],
                     values: NDArray[np.uint64], resolution: int, ends: NDArray[np.int64],
                     first_window: NDArray[np.int64], quantiles: Sequence[float], out: NDArray[np.float64]) -> None:
    """Fills `out` f64[quantiles, windows] as `quantile_over_time` computes them, linearly interpolated, NaN before all
    numbers; 0 where there are no floats.

    Samples of row r are begin[r]:end[r] (i64[rows]) of `ts` (ms) and `values` (u64, bits); its windows begin at
    first_window[r] (i64[rows]) of `ends` (i64[windows], ms), and hold all of its samples that belong to any of them.
    """
    out[:] = 0.0
    if not ends.size:
        return
    sizes = end - begin
    at = np.repeat(begin - (np.cumsum(sizes) - sizes), sizes) + np.arange(int(sizes.sum()))
    live = np.flatnonzero((values[at] != STALE_NAN) & ~is_boxed(values[at]))
    at, row = at[live], np.repeat(np.arange(begin.size), sizes)[live]
    # windows of all rows, one after the other, as one ascending column: by row, then by end
    windows = np.diff(first_window, append=ends.size)
    low = int(ends.min())
    width = int(ends.max()) - low + 1
    keys = np.repeat(np.arange(begin.size), windows) * width + (ends - low)
    stop = -(-ts[at] // resolution) * resolution
    inside = (stop >= low) & (stop - low < width)
    at, wanted = at[inside], row[inside] * width + (stop[inside] - low)
    window = np.minimum(np.searchsorted(keys, wanted), keys.size - 1)
    found = keys[window] == wanted
    at, window = at[found], window[found]
    numbers = values[at].view(np.float64)
    order = np.lexsort((numbers, ~np.isnan(numbers), window))
    numbers, counts = numbers[order], np.bincount(window, minlength=ends.size)
    first, some = np.cumsum(counts) - counts, counts > 0
    for number, quantile in enumerate(quantiles):
        rank = quantile * (counts[some] - 1)
        lower = np.floor(rank).astype(np.int64)
        upper = np.minimum(counts[some] - 1, lower + 1)
        weight = rank - lower
        with np.errstate(invalid="ignore"):
            out[number, some] = (numbers[first[some] + lower] * (1 - weight) + numbers[first[some] + upper] * weight)
