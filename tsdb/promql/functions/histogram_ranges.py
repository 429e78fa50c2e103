"""Range functions over tiles with native histograms among their samples: `RangeCall`'s `of_histograms`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tsdb.model.tiles import Tile
from tsdb.promql.functions.range_call import Evaluated, OfHistogramTile, RangeCall
from tsdb.promql.histograms.decoding import Decoding
from tsdb.promql.histograms.extended_kernels import extended_histograms
from tsdb.promql.histograms.over_time_kernels import histogram_differences, histogram_sums
from tsdb.promql.histograms.range_kernels import (
    FLOATS,
    HISTOGRAMS,
    IGNORED,
    MIXED_KINDS,
    NEWEST_HISTOGRAM,
    SECOND_HISTOGRAM,
    find_kinds,
)
from tsdb.promql.histograms.rate_kernels import histogram_rates
from tsdb.promql.kernels import extended_range_kernels
from tsdb.promql.kernels.range_kernels import CHANGES, IRATE, RESETS
from tsdb.promql.native_histograms import without_histograms
from tsdb.promql.operators.selectors import new_cells
from tsdb.promql.operators.vector import Cells

_BOTH: Final = FLOATS | HISTOGRAMS
_NEWEST_TWO: Final = NEWEST_HISTOGRAM | SECOND_HISTOGRAM

Fill = Callable[[Decoding, NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]], int]
"""Calls a kernel that fills cells (values, present) with histograms and notes what there is to say of rows."""


def kept(call: RangeCall, tile: Tile) -> Evaluated:
    """The result is one of the samples, whatever it is."""
    made = call.evaluate(tile)
    return replace(made, cells=replace(made.cells, payload=tile.payload))


def ignored(call: RangeCall, tile: Tile) -> Evaluated:
    """Only floats count. An info tells where there are others beside them."""
    both = kinds_of(call, tile) & _BOTH == _BOTH
    notes = np.where(both.any(axis=1), np.int64(IGNORED), np.int64(0))
    return replace(call.evaluate(without_histograms(tile)), notes=notes)


def rated(call: RangeCall, tile: Tile) -> Evaluated:
    """rate, increase, delta; irate and idelta: of windows, or of their two newest samples, that are of one kind."""
    window, kinds = call.window, kinds_of(call, tile)
    newest = kinds & _NEWEST_TWO
    of_floats, mixed = (newest == 0, (newest != 0) & (newest != _NEWEST_TWO)) if call.op >= IRATE else apart(kinds)

    def fill(decoding: Decoding, values: NDArray[np.float64], present: NDArray[np.bool_],
             notes: NDArray[np.int64]) -> int:
        return histogram_rates(
            call.op, tile.begin, tile.end, tile.ts, tile.values, decoding.starts, decoding.payload, window.first,
            window.step, window.width, kinds, call.of_subquery, decoding.limit, decoding.facts, decoding.slots,
            decoding.tags, decoding.scratch, values, present, notes, decoding.made, decoding.state)

    return _of_one_kind(call, tile, kinds, of_floats, mixed, fill)


def summed(call: RangeCall, tile: Tile) -> Evaluated:
    """sum_over_time, avg_over_time: of windows whose samples are of one kind."""
    window, kinds = call.window, kinds_of(call, tile)

    def fill(decoding: Decoding, values: NDArray[np.float64], present: NDArray[np.bool_],
             notes: NDArray[np.int64]) -> int:
        return histogram_sums(
            call.op, tile.begin, tile.end, tile.ts, tile.values, decoding.payload, window.first, window.step,
            window.width, kinds, call.of_subquery, decoding.limit, decoding.facts, decoding.slots, decoding.tags,
            decoding.scratch, values, present, notes, decoding.made, decoding.state)

    return _of_one_kind(call, tile, kinds, *apart(kinds), fill)


def compared(call: RangeCall, tile: Tile) -> Evaluated:
    """changes, resets: of samples of any kind."""
    return _compared(call, tile, call.op)


def compared_since(call: RangeCall, tile: Tile) -> Evaluated:
    """The same, of an anchored range."""
    return _compared(call, tile, CHANGES if call.op == extended_range_kernels.CHANGES else RESETS)


def extended(smoothed: bool) -> OfHistogramTile:
    """rate, increase, delta of an anchored or smoothed range: where all samples that it sees are of one kind."""
    def evaluate(call: RangeCall, tile: Tile) -> Evaluated:
        window, kinds = call.window, kinds_of(call, tile)

        def fill(decoding: Decoding, values: NDArray[np.float64], present: NDArray[np.bool_],
                 notes: NDArray[np.int64]) -> int:
            return extended_histograms(
                call.op, smoothed, tile.begin, tile.end, tile.ts, tile.values, decoding.starts, decoding.payload,
                window.first, window.step, window.width, window.before, window.after, kinds, decoding.limit,
                decoding.facts, decoding.slots, decoding.tags, decoding.scratch, values, present, notes, decoding.made,
                decoding.state)

        return _of_one_kind(call, tile, kinds, *apart(kinds), fill)

    return evaluate


def _compared(call: RangeCall, tile: Tile, op: int) -> Evaluated:
    values, present = new_cells(tile.rows, call.env)
    window = call.window
    with Decoding(call.env.context, tile) as decoding:
        decoding.run(lambda: histogram_differences(
            op, tile.begin, tile.end, tile.ts, tile.values, decoding.starts, decoding.payload, window.first,
            window.step, window.width, window.before, call.of_subquery, decoding.limit, decoding.facts, decoding.slots,
            decoding.tags, decoding.scratch, decoding.running, values, present, decoding.state))
    return Evaluated(Cells(tile.first_row, values, present), int(present.sum()))


def apart(kinds: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Windows without histograms, and those with samples of both kinds."""
    return kinds & HISTOGRAMS == 0, kinds & _BOTH == _BOTH


def _of_one_kind(call: RangeCall, tile: Tile, kinds: NDArray[np.uint8], of_floats: NDArray[np.bool_],
                 mixed: NDArray[np.bool_], fill: Fill) -> Evaluated:
    """Floats in the cells (bool[rows, steps]) of which that may come, histograms in others, and nothing in `mixed`
    ones."""
    return with_histograms(call, call.evaluate(without_histograms(tile)), tile, kinds, of_floats, mixed, fill)


def with_histograms(call: RangeCall, made: Evaluated, tile: Tile, kinds: NDArray[np.uint8],
                    of_floats: NDArray[np.bool_], mixed: NDArray[np.bool_], fill: Fill) -> Evaluated:
    """What is made of the floats alone, as above."""
    values, present = made.cells.values, made.cells.present
    present &= of_floats
    samples = int(np.count_nonzero(present))
    notes = np.where(mixed.any(axis=1), np.int64(MIXED_KINDS), np.int64(0))
    if made.notes is not None:
        notes |= made.notes
    with Decoding(call.env.context, tile, int(np.count_nonzero(kinds & HISTOGRAMS))) as decoding:
        decoding.run(lambda: fill(decoding, values, present, notes))
        payload = decoding.results()
    return Evaluated(Cells(tile.first_row, values, present, payload), samples, notes)


def kinds_of(call: RangeCall, tile: Tile) -> NDArray[np.uint8]:
    """u8[rows, steps]: what `find_kinds` says of each window, and of what it looks at beside it."""
    kinds = np.empty((tile.rows, call.env.steps.count), np.uint8)
    window = call.window
    find_kinds(tile.begin, tile.end, tile.ts, tile.values, window.first + window.after, window.step,
               window.before + window.width + window.after, kinds)
    return kinds
