"""Range functions over tiles with native histograms among their samples: `RangeCall`'s `of_histograms`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tsdb.model.native_histograms import is_boxed
from tsdb.model.tiles import Tile
from tsdb.promql.functions.range_call import Evaluated, RangeCall
from tsdb.promql.histograms.range_kernels import FLOATS, HISTOGRAMS, IGNORED, find_kinds


def kept(call: RangeCall, tile: Tile) -> Evaluated:
    """The result is one of the samples, whatever it is."""
    made = call.evaluate(tile)
    return replace(made, cells=replace(made.cells, payload=tile.payload))


def ignored(call: RangeCall, tile: Tile) -> Evaluated:
    """Only floats count. An info tells where there are others beside them."""
    both = kinds_of(call, tile) & (FLOATS | HISTOGRAMS) == FLOATS | HISTOGRAMS
    return replace(call.evaluate(floats_of(tile)), notes=both.any(axis=1) * np.int64(IGNORED))


def kinds_of(call: RangeCall, tile: Tile) -> NDArray[np.uint8]:
    """u8[rows, steps]: what `find_kinds` says of each window."""
    kinds = np.empty((tile.rows, call.env.steps.count), np.uint8)
    window = call.window
    find_kinds(tile.begin, tile.end, tile.ts, tile.values, window.first, window.step, window.width, kinds)
    return kinds


def floats_of(tile: Tile) -> Tile:
    """The tile without its histograms."""
    keep = ~is_boxed(tile.values.view(np.uint64))
    place = np.concatenate([np.zeros(1, np.int64), np.cumsum(keep)])
    starts = None if tile.start_ts is None else tile.start_ts[keep]
    return Tile(tile.first_row, place[tile.begin], place[tile.end], tile.ts[keep], tile.values[keep], None, starts)
