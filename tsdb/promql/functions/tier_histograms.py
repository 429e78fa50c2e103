"""Rates of native histograms over windows of a downsampling tier."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.model.native_histograms import is_boxed
from tsdb.model.tiers import Field
from tsdb.model.tiles import Tile
from tsdb.promql.functions.histogram_ranges import apart, kinds_of, with_histograms
from tsdb.promql.functions.range_call import Evaluated, RangeCall
from tsdb.promql.histograms.decoding import Decoding
from tsdb.promql.histograms.tier_kernels import histogram_changes_of_windows
from tsdb.promql.operators.tier_fields import TierWindows


def window_rates(call: RangeCall, windows: TierWindows, tile: Tile, divisor: float) -> Evaluated:
    """rate, increase, delta of a tile with histograms: of ranges whose samples are of one kind. `call.evaluate` has to
    do with windows of floats; a change is divided by `divisor`."""
    newest = windows.among_samples(tile, windows.field(tile, Field.LAST))
    kinds = kinds_of(call, newest)
    boxed = is_boxed(newest.values.view(np.uint64))
    of_floats = windows.without(tile, boxed)
    ends = _first_and_last(windows, windows.without(tile, ~boxed))
    samples, at, count, lost = ends

    def fill(decoding: Decoding, values: NDArray[np.float64], present: NDArray[np.bool_],
             notes: NDArray[np.int64]) -> int:
        window = call.window
        return histogram_changes_of_windows(
            call.op, samples.begin, samples.end, samples.ts, samples.values, at, count, lost, decoding.payload,
            window.first, window.step, window.width, windows.read.resolution_ms, divisor, kinds, decoding.limit,
            decoding.facts, decoding.slots, decoding.tags, decoding.scratch, values, present, notes, decoding.made,
            decoding.state)

    return with_histograms(call, call.evaluate(of_floats), samples, kinds, *apart(kinds), fill)


def _first_and_last(windows: TierWindows, tile: Tile,
                    ) -> tuple[Tile, NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """The first and the last sample of each window as a tile of samples; where the window ends, and with the last one
    how many samples it has and what it lost."""
    count = windows.field(tile, Field.COUNT)
    each = (count > 0).astype(np.int64) + (count > 1)
    past = np.concatenate([np.zeros(1, np.int64), np.cumsum(each)])
    last = past[1:][each > 0] - 1
    first, two = past[:-1][each > 1], each > 1
    values, ts = np.empty(int(past[-1])), np.empty(int(past[-1]), np.int64)
    values[first], ts[first] = windows.field(tile, Field.FIRST)[two], windows.times(tile, Field.FIRST_TS)[two]
    values[last], ts[last] = (windows.field(tile, Field.LAST)[each > 0],
                              windows.times(tile, Field.LAST_TS)[each > 0])
    counts, lost = np.zeros(values.size), np.zeros(values.size)
    counts[last], lost[last] = count[each > 0], windows.field(tile, Field.LOST)[each > 0]
    samples = Tile(tile.first_row, past[tile.begin], past[tile.end], ts, values, tile.payload)
    return samples, np.repeat(tile.ts, each), counts, lost
