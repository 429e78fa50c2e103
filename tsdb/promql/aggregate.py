"""Aggregation operators. Cells are accumulated tile by tile; only quantile and count_values need the whole matrix."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import ExecutionError, NotSupported
from tsdb.model.tiles import SeriesSet
from tsdb.promql import ast
from tsdb.promql.aggregate_kernels import (
    AVG,
    COUNT,
    GROUP,
    INCREMENTAL,
    MAX,
    MIN,
    SUM,
    VARIANCE,
    accumulate,
    group_quantiles,
)
from tsdb.promql.aggregate_rows import BestK, CountValues
from tsdb.promql.cells import Matrix, VectorOperator, collect, row_parts, scalar_values, step_ranges
from tsdb.promql.groups import Groups, group_by
from tsdb.promql.label_functions import is_label_name
from tsdb.promql.literals import quote
from tsdb.promql.number_text import go_g
from tsdb.promql.vector import Cells, Environment, Operator

_SIMPLE = {"sum": SUM, "avg": AVG, "min": MIN, "max": MAX, "count": COUNT, "stddev": VARIANCE, "stdvar": VARIANCE,
           "group": GROUP}


def build_aggregate(node: ast.Aggregate, child: Operator, param: Operator | str | None, env: Environment) -> Operator:
    """The operator of an aggregation over `child`. `param` is the scalar of topk, bottomk, limitk and quantile, the
    label of count_values. Raises ExecutionError for what no data can make right, NotSupported for limit_ratio."""
    if node.op in _SIMPLE:
        return Aggregation(node, child, env)
    if node.op == "count_values":
        assert isinstance(param, str)
        if not is_label_name(param):
            raise ExecutionError(f"invalid label name {quote(param)}")
        return CountValues(node, child, param, env)
    if node.op in ("topk", "bottomk", "limitk"):
        assert param is not None and not isinstance(param, str)
        return BestK(node, child, param, env)
    if node.op == "quantile":
        assert param is not None and not isinstance(param, str)
        return Quantile(node, child, param, env)
    raise NotSupported(f"aggregation {node.op} is not supported yet")


class Grouped(VectorOperator):
    """An aggregation of one row per group."""

    def __init__(self, node: ast.Aggregate, child: Operator, env: Environment) -> None:
        super().__init__(env)
        self._node, self._child = node, child
        self._groups: Groups | None = None

    def _label(self) -> SeriesSet:
        self._groups, labels = group_by(self._child.series(), self._node.grouping, self._node.without)
        return labels

    @property
    def groups(self) -> Groups:
        self.series()
        assert self._groups is not None
        return self._groups


class Aggregation(Grouped):
    """sum, avg, min, max, count, group, stddev, stdvar."""

    def cells(self) -> Iterator[Cells]:
        op, groups = _SIMPLE[self._node.op], self.groups
        shape, nothing = (len(groups), self.env.steps.count), (0, 0)
        self.env.context.reserve(size := len(groups) * self.env.steps.count * 25)
        main = np.full(nothing if op in (COUNT, GROUP) else shape, {SUM: -0.0, AVG: -0.0}.get(op, math.nan))
        if op == VARIANCE:
            main[:] = 0.0
        rest = np.zeros(shape if op in (SUM, AVG, VARIANCE) else nothing)
        count = np.zeros(shape if op in (AVG, COUNT, VARIANCE) else nothing)
        state = np.zeros(nothing if op in (COUNT, VARIANCE) else shape, np.uint8)
        for tile in self._child.cells():
            rows = groups.group[tile.first_row : tile.first_row + len(tile.values)]
            accumulate(op, tile.values, tile.present, rows, main, rest, count, state)
        for part in row_parts(len(groups)):
            present = count[part] > 0 if op in (COUNT, VARIANCE) else state[part] > 0
            yield Cells(part.start, self._finish(op, main[part], rest[part], count[part], state[part]), present)
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


class Quantile(Grouped):
    """quantile(q, …)."""

    def __init__(self, node: ast.Aggregate, child: Operator, param: Operator, env: Environment) -> None:
        super().__init__(node, child, env)
        self._param = param

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
        beyond = [x for x, wrong in ((q.max(), q.max() > 1), (q.min(), q.min() < 0)) if wrong]
        wrong = [math.nan] if np.isnan(q).any() else beyond
        for value in wrong:
            text = f"PromQL warning: quantile value should be between 0 and 1, got {go_g(value)}"
            self.env.annotations.warn(text, self._node.param.span if self._node.param else None)
