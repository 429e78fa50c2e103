"""count_values: how many elements have the same value."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import ExecutionError
from tsdb.model.native_histograms import decode, is_boxed, offsets
from tsdb.model.tiles import SeriesSet
from tsdb.promql.aggregations.aggregation import Aggregation, Grouping
from tsdb.promql.ast import ValueType
from tsdb.promql.histograms.text import histogram_text
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
            texts, value = _distinct(cells, matrix.payload())
        hidden = node.without and label in node.grouping
        if hidden:
            value[:] = 0
        pairs, pair = np.unique(groups.group[row] * max(1, len(texts)) + value, return_inverse=True)
        self._make_room(pairs.size)
        np.add.at(self._values, (pair, step), 1.0)
        np.greater(self._values, 0, out=self._present)
        self.env.context.reserve(-size)
        series = take(labels, pairs // max(1, len(texts)))
        if hidden:
            return series
        symbols = [self.env.symbols.intern(text) for text in texts]
        return with_label(series, label, np.array(symbols, np.uint32)[pairs % max(1, len(texts))])


def _distinct(cells: NDArray[np.float64], payload: NDArray[np.uint8] | None) -> tuple[list[str], NDArray[np.int64]]:
    """The texts of all distinct values, histograms behind floats, and the place i64[n] of each cell's among them."""
    bits = cells.view(np.uint64)
    boxed = is_boxed(bits)
    numbers = cells[~boxed]
    numbers[np.isnan(numbers)] = np.nan
    distinct, place = np.unique(numbers.view(np.uint64), return_inverse=True)
    texts = [format_number(number) for number in distinct.view(np.float64).tolist()]
    value = np.empty(cells.size, np.int64)
    value[~boxed] = place
    if payload is not None:
        begin, place = np.unique(offsets(bits[boxed]), return_inverse=True)
        known: dict[str, int] = {}
        of_begin = [known.setdefault(histogram_text(decode(payload, at)), len(known)) for at in begin.tolist()]
        value[boxed] = len(texts) + np.array(of_begin, np.int64)[place.reshape(-1)]
        texts += known
    return texts, value


AGGREGATIONS: Final = (
    Aggregation(name="count_values", parameter=ValueType.STRING, build=CountValues,
                doc="How many elements have the same value, which becomes a label of the given name."),
)
