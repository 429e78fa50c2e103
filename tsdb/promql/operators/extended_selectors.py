"""Selectors that are smoothed, and what a range shows that is anchored or smoothed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.model.tiles import Tile
from tsdb.promql.kernels.extended_range_kernels import smoothed_instant
from tsdb.promql.operators.sample_counts import Window, count_cells
from tsdb.promql.operators.selectors import InstantSelector, new_cells
from tsdb.promql.operators.vector import Cells


class SmoothedSelector(InstantSelector):
    """The value at each step on the line between the samples around it, within the lookback on both sides; where none
    comes after it, that of the newest."""

    def _evaluate(self, tile: Tile) -> tuple[Cells, int]:
        values, present = new_cells(tile.rows, self.env)
        window, longest = self._window, int((tile.end - tile.begin).max(initial=0))
        count = smoothed_instant(tile.begin, tile.end, tile.ts, tile.values, window.first, window.step, window.after,
                                 np.empty(longest, np.int64), np.empty(longest), values, present)
        count_cells(self.env, present)
        return Cells(tile.first_row, values, present), count


def with_borders(ts: NDArray[np.int64], values: NDArray[np.float64], window: Window, smoothed: bool,
                 ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The samples (i64[], f64[]) of an anchored or smoothed range as a query shows them: those within the range, and
    one at each of its borders. `ts` and `values` are those that the window looks at. None are within: none at all."""
    start, stop = window.first - window.width, window.first
    newest = ts.size - 1
    oldest = max(0, min(int(np.searchsorted(ts, start, "right")), newest) - 1)
    last = min(int(np.searchsorted(ts, stop, "left")), newest) if smoothed else newest
    if newest < 0 or ts[last] <= start or (smoothed and ts[oldest] > stop):
        return ts[:0], values[:0]
    left, right = values[oldest], values[last]
    if smoothed:
        # The nearest two samples: beyond the outermost ones nothing is known, and their values stay.
        if ts[oldest] < start:
            left = np.interp(start, ts[oldest : oldest + 2], values[oldest : oldest + 2])
        if last > 0 and ts[last] > stop:
            right = np.interp(stop, ts[last - 1 : last + 1], values[last - 1 : last + 1])
    within = slice(oldest + int(ts[oldest] <= start), last + int(ts[last] < stop))
    return np.concatenate([[start], ts[within], [stop]]), np.concatenate([[left], values[within], [right]])
