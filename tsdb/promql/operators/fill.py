"""``fill(…)`` of binary operators: elements for what one side lacks and the other has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tsdb.model.tiles import SeriesSet
from tsdb.promql import ast
from tsdb.promql.operators.cells import Matrix, VectorOperator, collect, mark_present
from tsdb.promql.operators.groups import concatenate, match_groups, take
from tsdb.promql.operators.vector import Cells, Environment, Operator


def filled(left: Operator, right: Operator, matching: ast.VectorMatching, env: Environment,
           ) -> tuple[Operator, Operator]:
    """Both sides, each with elements of its fill value wherever only the other has one of the same signature. Labels of
    such an element are the signature. With ``group_right``, fill_left is of the right side, and fill_right of the left
    one, as in Prometheus."""
    values = matching.fill_left, matching.fill_right
    if values == (None, None):
        return left, right
    if matching.card == ast.Card.ONE_TO_MANY:
        values = values[1], values[0]
    sides = _Sides(left, right, matching, env)
    return Filled(sides, 0, values[0]), Filled(sides, 1, values[1])


class _Sides:
    """Both sides' cells: each is needed to know what the other lacks. Evaluated when first asked for."""

    def __init__(self, left: Operator, right: Operator, matching: ast.VectorMatching, env: Environment) -> None:
        self.env, self._operators, self._matching = env, (left, right), matching
        self._matrices: list[Matrix] = []
        series = left.series(), right.series()
        groups, labels = match_groups(*series, matching.labels, matching.on)
        self.series = series
        self.group = np.split(groups.group, [len(series[0])])
        """i64[rows] of either side: the number of each row's signature."""
        self.signatures: SeriesSet = take(replace(labels, drop_name=None), groups.first)
        self._users = 2

    def matrix(self, side: int) -> Matrix:
        if not self._matrices:
            self._matrices = [collect(self.env, operator) for operator in self._operators]
        return self._matrices[side]

    def seen(self, side: int) -> NDArray[np.bool_]:
        """bool[signatures, steps]: where the side has an element."""
        seen = np.zeros((len(self.signatures), self.env.steps.count), np.uint8)
        mark_present(self.matrix(side).present, self.group[side], seen)
        return np.not_equal(seen, 0)

    def leave(self) -> None:
        """Lets go of the cells when both sides have been read."""
        self._users -= 1
        if self._users == 0:
            for matrix in self._matrices:
                matrix.close()


class Filled(VectorOperator):
    """One side's rows, and behind them a row for each signature of the other side."""

    def __init__(self, sides: _Sides, side: int, value: float | None) -> None:
        super().__init__(sides.env)
        self._sides, self._side, self._value = sides, side, value
        self._added = np.unique(sides.group[1 - side]) if value is not None else np.zeros(0, np.int64)

    def _label(self) -> SeriesSet:
        return concatenate(self._sides.series[self._side], take(self._sides.signatures, self._added))

    def cells(self) -> Iterator[Cells]:
        sides = self._sides
        own = sides.matrix(self._side)
        rows = len(own.values)
        if self._value is not None:
            with self.env.context.reserved(12 * len(sides.signatures) * self.env.steps.count):
                lacking = (sides.seen(1 - self._side) & ~sides.seen(self._side))[self._added]
        yield from own.tiles()
        if self._value is not None:
            yield Cells(rows, np.full(lacking.shape, self._value), lacking)
        sides.leave()
