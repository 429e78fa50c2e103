"""Functions that use start timestamps, since when each sample has been counting, where that is switched on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

import numpy as np

from tsdb.model.batch import STALE_NAN
from tsdb.model.tiles import SeriesSet, Tile
from tsdb.promql.functions.function import VECTOR, Build, Call, Function
from tsdb.promql.functions.range_call import Evaluated, RangeCall
from tsdb.promql.kernels import start_time_kernels
from tsdb.promql.kernels.range_kernels import VALUE, instant
from tsdb.promql.kernels.start_time_kernels import OVERLAPPING, counted_since
from tsdb.promql.operators.cells import VectorOperator
from tsdb.promql.operators.groups import drop_metric_name
from tsdb.promql.operators.sample_counts import Window, count_cells
from tsdb.promql.operators.selectors import InstantSelector, SampleBudget, TileSource, new_cells
from tsdb.promql.operators.step_invariant import of_selector
from tsdb.promql.operators.vector import Cells, Environment, Operator

COUNTED_SINCE: Final[Mapping[str, int]] = {
    "rate": start_time_kernels.RATE, "increase": start_time_kernels.INCREASE, "irate": start_time_kernels.IRATE,
    "resets": start_time_kernels.RESETS,
}
"""By function, the kernel's operation."""


def with_starts(function: Function) -> Build:
    """How a call of such a function is computed: as its row says, but for tiles with start timestamps."""
    def build(call: Call) -> Operator:
        made = function.build(call)
        assert isinstance(made, RangeCall)
        made.of_starts = partial(_counted_since, COUNTED_SINCE[function.name])
        return made

    return build


def _counted_since(op: int, call: RangeCall, tile: Tile) -> Evaluated:
    assert tile.start_ts is not None
    values, present = new_cells(tile.rows, call.env)
    notes, window, count = np.zeros(tile.rows, np.int64), call.window, 0
    for rows, steps in call.parts(tile):
        begin, end = tile.begin[rows], tile.end[rows]
        longest, at = int((end - begin).max(initial=0)), window.first + steps.start * window.step
        out, there = np.empty(values[rows, steps].shape), np.empty(values[rows, steps].shape, np.bool_)
        overlapping = np.empty(begin.size, np.bool_)
        count += counted_since(op, begin, end, tile.ts, tile.values, at, window.step, window.width,
                               np.empty(longest, np.int64), np.empty(longest), tile.start_ts,
                               np.empty(longest, np.int64), np.empty(longest, np.int64), overlapping, out, there)
        values[rows, steps], present[rows, steps] = out, there
        notes[rows] |= overlapping * np.int64(OVERLAPPING)
    return Evaluated(Cells(tile.first_row, values, present), count, notes)


class StartTimestamps(InstantSelector):
    """The start timestamps of the samples of a selector, in seconds; 0 where it is not known."""

    def __init__(self, env: Environment, source: TileSource, window: Window, budget: SampleBudget) -> None:
        super().__init__(env, source, window, budget, timestamps=True)

    def _evaluate(self, tile: Tile) -> tuple[Cells, int]:
        values, present = new_cells(tile.rows, self.env)
        with self.env.context.reserved(tile.values.nbytes):
            starts = np.zeros(tile.ts.size) if tile.start_ts is None else tile.start_ts / 1000
            stale = tile.values.view(np.uint64) == STALE_NAN
            starts.view(np.uint64)[stale] = STALE_NAN
            count = instant(VALUE, tile.begin, tile.end, tile.ts, starts, self._window.first, self._window.step,
                            self._window.width, values, present)
        count_cells(self.env, present)
        return Cells(tile.first_row, values, present), count


class _Nothing(VectorOperator):
    """No cells, after those of the child."""

    def __init__(self, env: Environment, child: Operator) -> None:
        super().__init__(env)
        self._child = child

    def _label(self) -> SeriesSet:
        return drop_metric_name(self._child.series(), self.env)

    def cells(self) -> Iterator[Cells]:
        for tile in self._child.cells():
            yield Cells(tile.first_row, tile.values, np.zeros_like(tile.present))


def _start_timestamp(call: Call) -> Operator:
    """Of a selector; of what is computed there is none."""
    child = call.operators[0]
    starts = of_selector(child, lambda selector: selector.like(StartTimestamps)) if call.env.start_timestamps else None
    return _Nothing(call.env, child) if starts is None else starts


FUNCTIONS: Final = (
    Function(name="start_timestamp", arg_types=(VECTOR,), experimental=True,
             build=_start_timestamp,
             doc="Since when each sample of a selector has been counting, in seconds since 1970, 0 where that is not "
                 "known; nothing unless use of start timestamps is switched on."),
)
