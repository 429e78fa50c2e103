"""quantile: of the values of each group."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tsdb.promql.aggregations.aggregation import Aggregation, Grouping
from tsdb.promql.aggregations.grouped import Grouped
from tsdb.promql.ast import ValueType
from tsdb.promql.kernels.aggregate_kernels import group_quantiles
from tsdb.promql.number_text import go_g
from tsdb.promql.operators.cells import Matrix, collect, scalar_values, step_ranges
from tsdb.promql.operators.vector import Cells


class Quantile(Grouped):
    """Needs all cells of a group at once."""

    def __init__(self, call: Grouping) -> None:
        super().__init__(call)
        self._child = call.floats()
        self._param = call.parameter

    def cells(self) -> Iterator[Cells]:
        q = scalar_values(self._param)
        groups = self.groups
        with Matrix(self.env, len(groups)) as made:
            with collect(self.env, self._child) as matrix:
                self._warn(q)
                begin = np.zeros(len(groups) + 1, np.int64)
                np.cumsum(np.bincount(groups.group, minlength=len(groups)), out=begin[1:])
                scratch = np.empty(8 * max(1, int(np.diff(begin).max(initial=0))))
                order = np.argsort(groups.group, kind="stable")
                for first, end in step_ranges(self.env):
                    group_quantiles(matrix.values, matrix.present, order, begin, q, scratch, first, end, made.values,
                                    made.present)
            yield from made.tiles()

    def _warn(self, q: NDArray[np.float64]) -> None:
        """The largest and the least of all steps; to Prometheus that is NaN where there is one, but for infinities."""
        nan = bool(np.isnan(q).any())
        extremes = q[np.isinf(q)] if nan else q
        largest, least = extremes.max(initial=0.0), extremes.min(initial=1.0)
        wrong = [math.nan] * nan + [largest] * bool(largest > 1) + [least] * bool(least < 0)
        for value in wrong:
            text = f"PromQL warning: quantile value should be between 0 and 1, got {go_g(value)}"
            self.env.annotations.warn(text, self._node.param.span if self._node.param else None)


AGGREGATIONS: Final = (
    Aggregation(name="quantile", parameter=ValueType.SCALAR, build=Quantile,
                doc="The quantile, 0 to 1, of the values, interpolated between neighbours."),
)
