"""count_values: how many elements have the same value."""

from __future__ import annotations

from typing import Final

import numpy as np

from tsdb.model.errors import ExecutionError
from tsdb.model.tiles import SeriesSet
from tsdb.promql.aggregations.aggregation import Aggregation, Grouping
from tsdb.promql.ast import ValueType
from tsdb.promql.literals import format_number, is_label_name, quote
from tsdb.promql.operators.cells import Computed, collect
from tsdb.promql.operators.groups import group_by, take, with_label

_COUNTED_BYTES = 96
"""For each cell that is counted by its value, about: its bits, row and step, sorted twice."""


class CountValues(Computed):
    """count_values(label, …): one row for each value that a group has."""

    def __init__(self, call: Grouping) -> None:
        super().__init__(call.env)
        self._node, self._child, self._label_name = call.node, call.child, call.text
        if not is_label_name(call.text):
            raise ExecutionError(f"invalid label name {quote(call.text)}")

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


AGGREGATIONS: Final = (
    Aggregation(name="count_values", parameter=ValueType.STRING, build=CountValues,
                doc="How many elements have the same value, which becomes a label of the given name."),
)
