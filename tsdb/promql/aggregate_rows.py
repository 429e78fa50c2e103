"""Aggregations whose rows depend on the cells, and that compute when asked for series: topk, count_values …"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import ExecutionError
from tsdb.model.tiles import SeriesSet
from tsdb.promql import ast
from tsdb.promql.aggregate_kernels import FIRST, LARGEST, SMALLEST, push_best
from tsdb.promql.cells import VectorOperator, collect, scalar_values, tiles_of
from tsdb.promql.groups import group_by, take, with_label
from tsdb.promql.literals import format_number
from tsdb.promql.number_text import go_g
from tsdb.promql.vector import Cells, Environment, Operator

_AT_ONCE = 1 << 16
"""Places in heaps that are looked at together."""
_COUNTED_BYTES = 96
"""For each cell that is counted by its value, about: its bits, row and step, sorted twice."""


class Computed(VectorOperator):
    """An operator that must compute its cells to know its rows."""

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        self._values = np.zeros((0, env.steps.count))
        self._present = np.zeros((0, env.steps.count), np.bool_)

    def cells(self) -> Iterator[Cells]:
        self.series()
        yield from tiles_of(self._values, self._present)
        self.env.context.reserve(-9 * self._values.size)

    def _make_room(self, rows: int) -> None:
        self.env.context.reserve(9 * rows * self.env.steps.count)
        self._values = np.zeros((rows, self.env.steps.count))
        self._present = np.zeros(self._values.shape, np.bool_)


class BestK(Computed):
    """topk, bottomk, limitk: the k best, or first, rows of each group at every step, with their own labels.

    Rows keep the child's order, except at a single step: there the best come first, group by group.
    """

    def __init__(self, node: ast.Aggregate, child: Operator, param: Operator, env: Environment) -> None:
        super().__init__(env)
        self._node, self._child, self._param = node, child, param
        self._best = {"topk": LARGEST, "bottomk": SMALLEST, "limitk": FIRST}[node.op]

    def _label(self) -> SeriesSet:
        series = self._child.series()
        k = scalar_values(self._param)
        if k.max() < 1:
            for _ in self._child.cells():
                pass  # an error in it is one of the query
            return take(series, np.zeros(0, np.int64))
        if np.isnan(k).any():
            raise ExecutionError("Parameter value is NaN")
        if k.min() <= -(2.0**63):
            raise ExecutionError(f"Scalar value {go_g(float(k.min()))} underflows int64")
        if k.max() >= 2.0**63:
            raise ExecutionError(f"Scalar value {go_g(float(k.max()))} overflows int64")
        groups, _ = group_by(series, self._node.grouping, self._node.without)
        rooms = np.minimum(np.bincount(groups.group, minlength=len(groups)), int(k.max()))
        begin = np.zeros(rooms.size + 1, np.int64)
        np.cumsum(rooms, out=begin[1:])
        steps = self.env.steps.count
        self.env.context.reserve(24 * int(begin[-1]) * steps)
        heap_values, heap_rows = np.empty(begin[-1] * steps), np.full(begin[-1] * steps, -1, np.int64)
        sizes = np.zeros((rooms.size, steps), np.int64)
        first_seen = np.full(rooms.size, len(series))
        for tile in self._child.cells():
            part = groups.group[tile.first_row : tile.first_row + len(tile.values)]
            push_best(self._best, tile.first_row, tile.values, tile.present, part, k.astype(np.int64), begin,
                      heap_values, heap_rows, sizes)
            if steps == 1:
                here = np.flatnonzero(tile.present[:, 0])
                np.minimum.at(first_seen, part[here], tile.first_row + here)
        used = np.zeros(len(series), np.bool_)
        for chosen in _chosen(heap_rows):
            used[heap_rows[chosen]] = True
        rows = np.flatnonzero(used)
        if steps == 1 and self._best != FIRST:
            rows = self._sorted(heap_values, heap_rows, np.repeat(first_seen, rooms))
        place = np.empty(len(series), np.int64)
        place[rows] = np.arange(rows.size)
        self._make_room(rows.size)
        for chosen in _chosen(heap_rows):
            group = np.searchsorted(begin[1:] * steps, chosen, side="right")
            step = (chosen - begin[group] * steps) // rooms[group]
            self._values[place[heap_rows[chosen]], step] = heap_values[chosen]
            self._present[place[heap_rows[chosen]], step] = True
        self.env.context.reserve(-24 * int(begin[-1]) * steps)
        return take(series, rows)

    def _sorted(self, heap_values: NDArray[np.float64], heap_rows: NDArray[np.int64],
                first_seen: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows in the heaps of a single step: groups by their first cell, in each the best first."""
        order = np.lexsort((*value_order_keys(heap_values, descending=self._best == LARGEST), first_seen))
        return heap_rows[order][heap_rows[order] >= 0]


def _chosen(heap_rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """The places in the heaps that are taken, in parts."""
    for first in range(0, heap_rows.size, _AT_ONCE):
        yield first + np.flatnonzero(heap_rows[first : first + _AT_ONCE] >= 0)


def value_order_keys(values: NDArray[np.float64], *, descending: bool) -> tuple[NDArray[np.generic], ...]:
    """Keys for np.lexsort that sort f64[n] with NaN last. Equal values stay as they lie, NaNs come in reverse: so
    Prometheus' comparison, for which a NaN is less than another, leaves up to 12 rows."""
    nan, place = np.isnan(values), np.arange(values.size)
    keys = np.where(nan, 0.0, -values if descending else values)
    return np.where(nan, -place, place), keys, nan


class CountValues(Computed):
    """count_values(label, …): one row for each value that a group has."""

    def __init__(self, node: ast.Aggregate, child: Operator, label: str, env: Environment) -> None:
        super().__init__(env)
        self._node, self._child, self._label_name = node, child, label

    def _label(self) -> SeriesSet:
        node, label = self._node, self._label_name
        others = [*node.grouping, label] if node.without else [name for name in node.grouping if name != label]
        groups, labels = group_by(self._child.series(), others, node.without)
        with collect(self.env, self._child) as matrix:
            self.env.context.reserve(size := _COUNTED_BYTES * int(np.count_nonzero(matrix.present)))
            row, step = np.nonzero(matrix.present)
            cells = matrix.values[row, step]
        cells[np.isnan(cells)] = np.nan
        bits, value = np.unique(cells.view(np.uint64), return_inverse=True)
        hidden = node.without and label in node.grouping
        if hidden:
            value[:] = 0
        pairs, pair = np.unique(groups.group[row] * max(1, bits.size) + value, return_inverse=True)
        self._make_room(pairs.size)
        np.add.at(self._values, (pair, step), 1.0)
        np.greater(self._values, 0, out=self._present)
        self.env.context.reserve(-size)
        series = take(labels, pairs // max(1, bits.size))
        if hidden:
            return series
        texts = [self.env.symbols.intern(format_number(number)) for number in bits.view(np.float64).tolist()]
        return with_label(series, label, np.array(texts, np.uint32)[pairs % max(1, bits.size)])
