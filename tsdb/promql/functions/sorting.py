"""sort, sort_desc, sort_by_label, sort_by_label_desc: a single step's rows in order. Over a range they do nothing."""

from __future__ import annotations

import functools
import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tsdb.model.label_order import label_order
from tsdb.model.tiles import SeriesSet
from tsdb.promql.functions.function import STRING, VECTOR, Call, Function
from tsdb.promql.operators.cells import Computed, FloatsOnly, collect, value_order_keys
from tsdb.promql.operators.groups import NO_SYMBOL, label_values, take
from tsdb.promql.operators.vector import Cells, Environment, Operator


class Sorted(Computed):
    """The child's rows in the order of `_order`, those without a cell left out."""

    def __init__(self, env: Environment, child: Operator, descending: bool) -> None:
        super().__init__(env)
        self._child, self._descending = child, descending

    @abstractmethod
    def _order(self, series: SeriesSet, values: NDArray[np.float64]) -> NDArray[np.int64]: ...

    def _label(self) -> SeriesSet:
        series = self._child.series()
        if self.env.steps.count > 1:
            return series
        with collect(self.env, self._child) as matrix:
            rows = np.flatnonzero(matrix.present[:, 0])
            values, payload = matrix.values[rows], matrix.payload()
        series = take(series, rows)
        order = self._order(series, values[:, 0])
        self._make_room(rows.size, payload)
        self._values[:], self._present[:] = values[order], True
        return take(series, order)

    def cells(self) -> Iterator[Cells]:
        return super().cells() if self.env.steps.count == 1 else self._child.cells()


class SortedByValue(Sorted):
    """NaN comes last either way."""

    def _order(self, series: SeriesSet, values: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.lexsort(value_order_keys(values, descending=self._descending))


class SortedByLabel(Sorted):
    """By the given labels in natural order, then by all labels."""

    def __init__(self, env: Environment, child: Operator, labels: Sequence[str], descending: bool) -> None:
        super().__init__(env, child, descending)
        self._labels = labels

    def _order(self, series: SeriesSet, values: NDArray[np.float64]) -> NDArray[np.int64]:
        keys = [np.empty(len(series), np.int64)]
        keys[0][label_order(series)] = np.arange(len(series))
        keys += [_ranks(label_values(series, label), series) for label in reversed(self._labels)]
        sorted_rows = np.lexsort(keys)
        return sorted_rows[::-1] if self._descending else sorted_rows


def _ranks(column: NDArray[np.uint32], series: SeriesSet) -> NDArray[np.int64]:
    """i64[n]: the place of each row's value among the distinct values."""
    symbols, place = np.unique(column, return_inverse=True)
    texts = ["" if symbol == NO_SYMBOL else series.symbols.text(symbol) for symbol in symbols.tolist()]
    rank = np.empty(len(texts), np.int64)
    rank[sorted(range(len(texts)), key=lambda i: _NATURAL(texts[i]))] = np.arange(len(texts))
    return rank[place]


_CHUNK = re.compile(r"[0-9]+|[^0-9]+")


def natural_compare(a: str, b: str) -> int:
    """Runs of digits by number, other runs by text, and a number beside other text by text, too."""
    mine, other = _CHUNK.findall(a), _CHUNK.findall(b)
    for x, y in zip(mine, other, strict=False):
        if x[0].isdigit() and y[0].isdigit() and int(x) != int(y):
            return -1 if int(x) < int(y) else 1
        if x != y and not (x[0].isdigit() and y[0].isdigit()):
            return -1 if x < y else 1
    return len(mine) - len(other)


_NATURAL = functools.cmp_to_key(natural_compare)


def _by_value(call: Call) -> Operator:
    return SortedByValue(call.env, FloatsOnly(call.env, call.operators[0]), call.name == "sort_desc")


def _by_label(call: Call) -> Operator:
    return SortedByLabel(call.env, call.operators[0], call.texts, call.name == "sort_by_label_desc")


def _label_row(name: str, doc: str) -> Function:
    return Function(name=name, arg_types=(VECTOR, STRING), variadic=-1, experimental=True, build=_by_label, doc=doc)


FUNCTIONS: Final = (
    Function(name="sort", arg_types=(VECTOR,), build=_by_value,
             doc="The elements by their values, ascending, NaN last. In a range query it does nothing."),
    Function(name="sort_desc", arg_types=(VECTOR,), build=_by_value,
             doc="As sort, descending."),
    _label_row("sort_by_label", "The elements by the values of the given labels, in natural order, then by all labels. "
                                "In a range query it does nothing."),
    _label_row("sort_by_label_desc", "As sort_by_label, descending."),
)
