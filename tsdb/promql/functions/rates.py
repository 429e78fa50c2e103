"""rate, increase, delta, irate, idelta: how fast a value changes within the range."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tsdb.model.labels import METRIC_NAME
from tsdb.model.native_histograms import is_boxed
from tsdb.promql.functions.function import MATRIX, Call, Function
from tsdb.promql.functions.histogram_ranges import rated
from tsdb.promql.functions.range_call import RangeCall, Windows
from tsdb.promql.kernels.range_kernels import DELTA, IDELTA, INCREASE, IRATE, RATE, rates
from tsdb.promql.literals import quote
from tsdb.promql.operators.groups import NO_SYMBOL, label_values
from tsdb.promql.operators.vector import Cells

_COUNTER_SUFFIXES = ("_total", "_sum", "_count", "_bucket")


class Rate(RangeCall):
    """A change, or a rate of it."""

    def __init__(self, call: Call, op: int) -> None:
        super().__init__(call, op, of_histograms=rated)

    def _compute(self, windows: Windows, steps: slice, values: NDArray[np.float64], present: NDArray[np.bool_]) -> int:
        places, count = np.empty(windows[-1].size, np.int64), values.shape[1]
        return rates(self.op, *windows, places, np.empty((2, count), np.uint64), np.empty((6, count)), values, present)


class CounterRate(Rate):
    """One that makes sense of counters only: an info names metrics that seem to be none."""

    def _begin(self) -> None:
        self._names = label_values(self.source.series(), METRIC_NAME)
        self._found: dict[int, None] = {}
        self._distinct = np.unique(self._names).size

    def _saw(self, cells: Cells) -> None:
        if len(self._found) == self._distinct:
            return
        of_floats = cells.present if cells.payload is None else cells.present & ~is_boxed(cells.values.view(np.uint64))
        rows = cells.first_row + np.flatnonzero(of_floats.any(axis=1))
        self._found |= dict.fromkeys(np.unique(self._names[rows]).tolist())

    def _end(self) -> None:
        for symbol in self._found:
            name = "" if symbol == NO_SYMBOL else self.env.symbols.text(symbol)
            if name and not name.endswith(_COUNTER_SUFFIXES):
                self.env.annotations.inform(
                    "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "
                    + quote(name), self.span)


def _row(name: str, op: int, doc: str, kind: type[Rate] = Rate) -> Function:
    def build(call: Call) -> Rate:
        return kind(call, op)

    return Function(name=name, arg_types=(MATRIX,), build=build, doc=doc)


FUNCTIONS: Final = (
    _row("rate", RATE, "How fast a counter grows per second, on average over the range; what is missing at its ends is "
                       "extrapolated, and resets are accounted for.", CounterRate),
    _row("increase", INCREASE, "By how much a counter grows over the range: rate, times its length.", CounterRate),
    _row("delta", DELTA, "By how much a gauge changes over the range, extrapolated to its ends."),
    _row("irate", IRATE, "How fast a counter grows per second between the last two samples."),
    _row("idelta", IDELTA, "By how much a gauge changes between the last two samples."),
)
