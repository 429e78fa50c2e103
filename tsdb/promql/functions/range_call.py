"""What functions of a range vector share: windows that slide over the samples of each row, tile by tile."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import ExecutionError
from tsdb.model.labels import METRIC_NAME
from tsdb.model.native_histograms import is_boxed
from tsdb.model.tiles import SeriesSet, Tile
from tsdb.promql import ast
from tsdb.promql.functions.function import Call
from tsdb.promql.native_histograms import held_samples
from tsdb.promql.operators.cells import SAME_LABELS, VectorOperator
from tsdb.promql.operators.groups import NO_SYMBOL, drop_metric_name, group_rows, label_values
from tsdb.promql.operators.range_notes import annotate
from tsdb.promql.operators.sample_counts import count_windows
from tsdb.promql.operators.selectors import new_cells
from tsdb.promql.operators.vector import Cells, Environment

_VISITS_PER_CALL = 1 << 24
"""Samples that a kernel looks at in one call, about: some 0.1 s, between which the deadline is checked."""

Windows = tuple[
    NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], int, int, int, NDArray[np.int64],
    NDArray[np.float64],
]
"""The arguments that all kernels of such functions have after `op`: begin and end i64[rows], ts, values, first, step,
width, and the scratch live_ts and live (see `tsdb.promql.kernels.range_kernels`)."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What becomes of a tile."""

    cells: Cells
    samples: int
    """As Prometheus counts them where it limits them."""
    notes: NDArray[np.int64] | None = None
    """i64[rows]: what there is to say of native histograms (`tsdb.promql.operators.range_notes`). None: nothing."""


class RangeCall(VectorOperator):
    """A function of the samples in a window. `op` is its kernel's operation; one that `rescans` looks at all samples of
    the window at every step. `of_histograms` evaluates tiles with native histograms, `evaluate` others and, if there is
    none, all."""

    def __init__(self, call: Call, op: int, *, keep_name: bool = False, rescans: bool = False,
                 of_histograms: OfHistogramTile | None = None) -> None:
        super().__init__(call.env)
        self.op = op
        self.source, self.window = call.samples.source, call.samples.window
        # Annotations give the place of the first argument; Prometheus knows none for a subquery.
        first = call.node.args[0]
        self.span = ast.Span() if isinstance(first, ast.Subquery) else first.span
        self._budget = call.budget
        self._keep_name, self._rescans, self._of_histograms = keep_name, rescans, of_histograms
        self.of_starts: Callable[[RangeCall, Tile], Evaluated] | None = None
        """Evaluates tiles of floats with start timestamps, where these are used."""
        self.of_subquery = any(isinstance(arg, ast.Subquery) for arg in call.node.args)

    @abstractmethod
    def _compute(self, windows: Windows, steps: slice, values: NDArray[np.float64], present: NDArray[np.bool_]) -> int:
        """Fills values f64 and present bool[rows, steps], of some of the steps; returns how many are present."""

    def _begin(self) -> None:
        """Called before the first tile."""

    def _saw(self, cells: Cells) -> None:
        """Called with each tile of the result, in order."""

    def _end(self) -> None:
        """Called after the last tile."""

    def _label(self) -> SeriesSet:
        series = self.source.series()
        return series if self._keep_name else drop_metric_name(series, self.env)

    def cells(self) -> Iterator[Cells]:
        self._begin()
        seen = _Seen(self.source.series(), self.series(), self.env)
        for made in self.source.map(self._evaluate):
            cells = made.cells
            self._budget.hold(made.samples)
            seen.check(cells)
            self._saw(cells)
            if made.notes is not None:
                annotate(self.env, self.span, self.source.series(), cells.first_row, made.notes)
            yield cells
        self._end()

    def _evaluate(self, tile: Tile) -> Evaluated:
        count_windows(self.env, tile, self.window)
        of_histograms = self._of_histograms
        if of_histograms is None or tile.payload is None or not is_boxed(tile.values.view(np.uint64)).any():
            return self.evaluate(tile)
        made = of_histograms(self, tile)
        cells = made.cells
        return replace(made, samples=made.samples + held_samples(cells.values, cells.present, cells.payload))

    def evaluate(self, tile: Tile) -> Evaluated:
        """Of a tile whose samples are floats, or may be taken for such."""
        if self.of_starts is not None and tile.start_ts is not None:
            return self.of_starts(self, tile)
        values, present = new_cells(tile.rows, self.env)
        count = 0
        for rows, steps in self.parts(tile):
            begin, end = tile.begin[rows], tile.end[rows]
            longest = int((end - begin).max(initial=0))
            window = self.window
            windows = (begin, end, tile.ts, tile.values, window.first + steps.start * window.step, window.step,
                       window.width, np.empty(longest, np.int64), np.empty(longest))
            if steps.stop - steps.start == self.env.steps.count:
                count += self._compute(windows, steps, values[rows], present[rows])
            else:
                out, there = np.empty(values[rows, steps].shape), np.empty(values[rows, steps].shape, np.bool_)
                count += self._compute(windows, steps, out, there)
                values[rows, steps], present[rows, steps] = out, there
        return Evaluated(Cells(tile.first_row, values, present), count)

    def parts(self, tile: Tile) -> Iterator[tuple[slice, slice]]:
        """Rows and steps for one call of the kernel. Checks the context before each but the first."""
        window, steps = self.window, self.env.steps.count
        visits = tile.ts.size
        if self._rescans:
            visits += tile.ts.size * steps * window.width // (window.maxt(steps) - window.mint() + 1)
        calls = visits // _VISITS_PER_CALL + 1
        rows_at_once = max(1, tile.rows // calls)
        steps_at_once = max(1, steps * max(1, tile.rows) // calls) if calls > tile.rows else steps
        for first in range(0, tile.rows, rows_at_once):
            for begin in range(0, steps, steps_at_once):
                if first or begin:
                    self.env.context.check()
                yield slice(first, first + rows_at_once), slice(begin, min(begin + steps_at_once, steps))


OfHistogramTile = Callable[[RangeCall, Tile], Evaluated]
"""Evaluates a tile with native histograms; of those in its result, `Evaluated.samples` need not know."""


class _Seen:
    """Refuses two rows of equal labels that both have cells, as names that were dropped may leave them."""

    def __init__(self, before: SeriesSet, series: SeriesSet, env: Environment) -> None:
        """`before`: with metric names."""
        self._group: NDArray[np.int64] | None = None
        if not env.delayed_name_removal and not _only_one_name_lost(before, series):
            groups = group_rows(series)
            if len(groups) < len(series):
                self._group = groups.group
                self._rows = np.zeros(len(groups), np.int64)

    def check(self, cells: Cells) -> None:
        if self._group is None:
            return
        rows = cells.first_row + np.flatnonzero(cells.present.any(axis=1))
        np.add.at(self._rows, self._group[rows], 1)
        if (self._rows > 1).any():
            raise ExecutionError(SAME_LABELS)


def _only_one_name_lost(before: SeriesSet, after: SeriesSet) -> bool:
    """Whether the rows, which were distinct, lost nothing but one and the same metric name."""
    if after is before:
        return True
    names = label_values(before, METRIC_NAME)
    one = names.size > 0 and names[0] != NO_SYMBOL and bool((names == names[0]).all())
    return one and before.names.size - after.names.size == names.size
