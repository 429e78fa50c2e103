"""topk, bottomk and limitk: some rows of each group, with their own labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import ExecutionError
from tsdb.model.tiles import SeriesSet
from tsdb.promql.aggregations.aggregation import Aggregation, Grouping
from tsdb.promql.ast import ValueType
from tsdb.promql.kernels.aggregate_kernels import FIRST, LARGEST, SMALLEST, push_best
from tsdb.promql.native_histograms import Histograms
from tsdb.promql.number_text import go_g
from tsdb.promql.operators.cells import Computed, scalar_values, value_order_keys
from tsdb.promql.operators.groups import group_by, take

_AT_ONCE = 1 << 16
"""Places in heaps that are looked at together."""


class BestK(Computed):
    """topk, bottomk, limitk: the k best, or first, rows of each group at every step, with their own labels.

    Rows keep the child's order, except at a single step: there the best come first, group by group.
    """

    def __init__(self, call: Grouping, best: int) -> None:
        super().__init__(call.env)
        self._node, self._param, self._best = call.node, call.parameter, best
        self._child = call.child if best == FIRST else call.floats(call.node.span)

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
        histograms = Histograms(self.env.context)
        for tile in self._child.cells():
            part = groups.group[tile.first_row : tile.first_row + len(tile.values)]
            values = histograms.keep(tile.values, tile.present, tile.payload)
            push_best(self._best, tile.first_row, values, tile.present, part, k.astype(np.int64), begin,
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
        self._make_room(rows.size, histograms.payload())
        histograms.close()
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


def _row(name: str, best: int, doc: str, *, experimental: bool = False) -> Aggregation:
    return Aggregation(name=name, parameter=ValueType.SCALAR, experimental=experimental, doc=doc,
                       build=lambda call: BestK(call, best))


AGGREGATIONS: Final = (
    _row("topk", LARGEST, "The k largest elements, with all their labels; in an instant query sorted."),
    _row("bottomk", SMALLEST, "The k smallest elements, with all their labels; in an instant query sorted."),
    _row("limitk", FIRST, "Any k elements, with all their labels.", experimental=True),
)
