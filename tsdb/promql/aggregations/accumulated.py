"""The aggregations that accumulate cells tile by tile: sum, avg, min, max, count, group, stddev, stdvar."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tsdb.model.native_histograms import is_boxed
from tsdb.promql.aggregations.aggregation import Aggregation, Grouping
from tsdb.promql.aggregations.grouped import Grouped
from tsdb.promql.aggregations.histogram_sums import HistogramSums
from tsdb.promql.kernels.aggregate_kernels import (
    AVG,
    COUNT,
    GROUP,
    INCREMENTAL,
    MAX,
    MIN,
    SUM,
    VARIANCE,
    accumulate,
)
from tsdb.promql.operators.cells import row_parts
from tsdb.promql.operators.vector import Cells


class Accumulated(Grouped):
    """Tiles are added to accumulators of the groups, and forgotten. `op` is the kernel's operation."""

    def __init__(self, call: Grouping, op: int) -> None:
        super().__init__(call)
        self._call, self._op = call, op
        if op not in (SUM, AVG, COUNT, GROUP):
            self._child = call.floats()

    def cells(self) -> Iterator[Cells]:
        op, groups = self._op, self.groups
        shape, nothing = (len(groups), self.env.steps.count), (0, 0)
        self.env.context.reserve(size := len(groups) * self.env.steps.count * 25)
        main = np.full(nothing if op in (COUNT, GROUP) else shape, {SUM: -0.0, AVG: -0.0}.get(op, math.nan))
        if op == VARIANCE:
            main[:] = 0.0
        rest = np.zeros(shape if op in (SUM, AVG, VARIANCE) else nothing)
        count = np.zeros(shape if op in (AVG, COUNT, VARIANCE) else nothing)
        state = np.zeros(nothing if op in (COUNT, VARIANCE) else shape, np.uint8)
        sums: HistogramSums | None = None
        for tile in self._child.cells():
            rows = groups.group[tile.first_row : tile.first_row + len(tile.values)]
            present = tile.present
            if tile.payload is not None and op in (SUM, AVG):
                sums = sums or HistogramSums(self._call, len(groups), average=op == AVG)
                sums.take(tile, rows, state)
                present = present & ~is_boxed(tile.values.view(np.uint64))
            accumulate(op, tile.values, present, rows, main, rest, count, state)
        for part in row_parts(len(groups)):
            present = count[part] > 0 if op in (COUNT, VARIANCE) else state[part] > 0
            cells = Cells(part.start, self._finish(op, main[part], rest[part], count[part], state[part]), present)
            yield sums.result(cells) if sums else cells
        if sums:
            sums.close()
        self.env.context.reserve(-size)

    def _finish(self, op: int, main: NDArray[np.float64], rest: NDArray[np.float64], count: NDArray[np.float64],
                state: NDArray[np.uint8]) -> NDArray[np.float64]:
        with np.errstate(all="ignore"):
            if op == SUM:
                return main + rest
            if op == AVG:
                return np.where(state >= INCREMENTAL, main + rest, main / count + rest / count)
            if op == COUNT:
                return count
            if op == VARIANCE:
                variance = main / count
                return np.sqrt(variance) if self._node.op == "stddev" else variance
            return np.ones(state.shape) if op == GROUP else main


def _row(name: str, op: int, doc: str) -> Aggregation:
    return Aggregation(name=name, doc=doc, build=lambda call: Accumulated(call, op))


AGGREGATIONS: Final = (
    _row("sum", SUM, "The sum."),
    _row("avg", AVG, "The average."),
    _row("min", MIN, "The smallest value; NaN only where there is no other."),
    _row("max", MAX, "The largest value; NaN only where there is no other."),
    _row("count", COUNT, "How many elements there are."),
    _row("group", GROUP, "1 for each group."),
    _row("stddev", VARIANCE, "The standard deviation, as of a whole population."),
    _row("stdvar", VARIANCE, "The variance, as of a whole population."),
)
