"""Selectors that are smoothed, and what a range shows that is anchored or smoothed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.model.native_histograms import is_boxed
from tsdb.model.tiles import Tile
from tsdb.promql.ast import Span
from tsdb.promql.histograms.decoding import Decoding
from tsdb.promql.histograms.extended_kernels import INSTANT, extended_histograms
from tsdb.promql.histograms.range_kernels import FLOATS, HISTOGRAMS, MIXED_KINDS, find_kinds
from tsdb.promql.kernels.extended_range_kernels import smoothed_instant
from tsdb.promql.native_histograms import held_samples, without_histograms
from tsdb.promql.operators.range_notes import annotate
from tsdb.promql.operators.sample_counts import Window, count_cells
from tsdb.promql.operators.selectors import InstantSelector, SampleBudget, TileSource, new_cells
from tsdb.promql.operators.vector import Cells, Environment


class SmoothedSelector(InstantSelector):
    """The value at each step on the line between the samples around it, within the lookback on both sides; where none
    comes after it, that of the newest."""

    def __init__(self, env: Environment, source: TileSource, window: Window, budget: SampleBudget, span: Span) -> None:
        super().__init__(env, source, window, budget)
        self._span = span

    def _evaluate(self, tile: Tile) -> tuple[Cells, int]:
        if tile.payload is None or not is_boxed(tile.values.view(np.uint64)).any():
            return self._of_floats(tile)
        cells, _ = self._of_floats(without_histograms(tile))
        kinds, window = np.empty(cells.present.shape, np.uint8), self._window
        find_kinds(tile.begin, tile.end, tile.ts, tile.values, window.first + window.after, window.step,
                   2 * window.after, kinds)
        cells.present &= kinds & HISTOGRAMS == 0
        mixed = kinds & (FLOATS | HISTOGRAMS) == FLOATS | HISTOGRAMS
        notes = np.where(mixed.any(axis=1), np.int64(MIXED_KINDS), np.int64(0))
        samples = int(np.count_nonzero(cells.present))
        with Decoding(self.env.context, tile, int(np.count_nonzero(kinds & HISTOGRAMS))) as decoding:
            decoding.run(lambda: extended_histograms(
                INSTANT, True, tile.begin, tile.end, tile.ts, tile.values, decoding.starts, decoding.payload,
                window.first, window.step, 0, window.after, window.after, kinds, decoding.limit, decoding.facts,
                decoding.slots, decoding.tags, decoding.scratch, cells.values, cells.present, notes, decoding.made,
                decoding.state))
            cells.payload = decoding.results()
        annotate(self.env, self._span, self._source.series(), tile.first_row, notes)
        return cells, samples + held_samples(cells.values, cells.present, cells.payload)

    def _of_floats(self, tile: Tile) -> tuple[Cells, int]:
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
