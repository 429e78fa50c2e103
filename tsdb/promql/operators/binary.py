"""Binary operators: arithmetic, comparisons and set operators, between vectors and scalars."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import ExecutionError
from tsdb.model.tiles import SeriesSet
from tsdb.promql import ast
from tsdb.promql.ast import Card, ValueType
from tsdb.promql.kernels.binary_kernels import (
    ADD,
    ATAN2,
    COMPARE,
    DIV,
    EQUAL,
    GREATER,
    LESS,
    MOD,
    MUL,
    POW,
    SUB,
    TRIM_LOWER,
    TRIM_UPPER,
    UNORDERED,
    combine_rows,
)
from tsdb.promql.literals import quote
from tsdb.promql.operators.binary_histograms import Combination
from tsdb.promql.operators.binary_vectors import VectorBinary
from tsdb.promql.operators.cells import (
    Scalar,
    Unique,
    VectorOperator,
    constant,
    mark_present,
    scalar_values,
    unique,
)
from tsdb.promql.operators.fill import filled
from tsdb.promql.operators.groups import concatenate, drop_metric_name, match_groups, take
from tsdb.promql.operators.vector import Cells, Environment, Operator

_ARITHMETIC = {"+": ADD, "-": SUB, "*": MUL, "/": DIV, "%": MOD, "^": POW, "atan2": ATAN2}
_COMPARISONS = {"==": EQUAL, "!=": LESS | GREATER | UNORDERED, "<": LESS, "<=": LESS | EQUAL, ">": GREATER,
                ">=": GREATER | EQUAL}
_TRIMS = {"</": TRIM_UPPER, ">/": TRIM_LOWER}
"""Operators that no float has."""


def build_binary(node: ast.Binary, left: Operator, right: Operator, env: Environment) -> Operator:
    """The operator of a binary expression. Raises ExecutionError for what no data can make right."""
    if node.op in ("and", "or", "unless"):
        return _build_set_operator(node, left, right, env)
    op = (_ARITHMETIC | _TRIMS).get(node.op, COMPARE << 4 | _COMPARISONS.get(node.op, 0))
    if left.type == ValueType.SCALAR and right.type == ValueType.SCALAR:
        if node.op in _TRIMS:
            raise ExecutionError(f"operator {quote(node.op)} not allowed for Scalar operations")
        return _scalars(op, left, right, env)
    if right.type == ValueType.SCALAR:
        return _with_scalar(WithScalar(op, node, left, right, False, env))
    if left.type == ValueType.SCALAR:
        return _with_scalar(WithScalar(op, node, right, left, True, env))
    matching = node.matching or ast.VectorMatching()
    if matching.card == Card.MANY_TO_MANY:
        raise ExecutionError(f"many-to-many matching is for set operators, not for {node.op}")
    return Unique(env, VectorBinary(op, node, matching, *filled(left, right, matching, env), env))


def build_negation(node: ast.Unary, child: Operator, env: Environment) -> Operator:
    """Unary minus: a product, so that no NaN gets a sign (some bits of negative ones mean native histograms)."""
    minus = constant(env, -1.0)
    if child.type == ValueType.SCALAR:
        return _scalars(MUL, child, minus, env)
    return _with_scalar(WithScalar(MUL, node, child, minus, False, env))


def _scalars(op: int, left: Operator, right: Operator, env: Environment) -> Operator:
    def compute() -> NDArray[np.float64]:
        x, y = scalar_values(left).reshape(1, -1), scalar_values(right).reshape(1, -1)
        here, row = np.ones(x.shape, np.bool_), np.zeros(1, np.int64)
        out = np.empty(x.shape)
        combine_rows(op, False, False, True, x, here, y, here, row, row, out, np.empty(x.shape, np.bool_))
        return out.reshape(-1)

    return Scalar(env, compute)


def _with_scalar(operator: WithScalar) -> Operator:
    return operator if operator.keeps_name else unique(operator.env, operator)


class WithScalar(VectorOperator):
    """A vector's cells and a scalar. A comparison keeps the vector's value, on whichever side it is."""

    def __init__(self, op: int, node: ast.Binary | ast.Unary, vector: Operator, scalar: Operator, swapped: bool,
                 env: Environment) -> None:
        super().__init__(env)
        return_bool = isinstance(node, ast.Binary) and node.return_bool
        self._vector, self._scalar = vector, scalar
        self._combination = Combination(op, return_bool, swapped, node, env)
        self.keeps_name = op >= TRIM_UPPER and not return_bool

    def _label(self) -> SeriesSet:
        series = self._vector.series()
        return series if self.keeps_name else drop_metric_name(series, self.env)

    def cells(self) -> Iterator[Cells]:
        number = Cells(0, scalar_values(self._scalar).reshape(1, -1), np.ones((1, self.env.steps.count), np.bool_))
        for tile in self._vector.cells():
            rows = len(tile.values)
            yield self._combination.combine(tile.first_row, tile, number, np.arange(rows), np.zeros(rows, np.int64),
                                            keep_many=True)
        self._combination.close()


def _build_set_operator(node: ast.Binary, left: Operator, right: Operator, env: Environment) -> Operator:
    matching = node.matching or ast.VectorMatching(Card.MANY_TO_MANY)
    if node.op == "or":
        return Unique(env, Or(matching, left, right, env))
    return Restricted(matching, node.op == "unless", left, right, env)


class _SetOperator(VectorOperator):
    def __init__(self, matching: ast.VectorMatching, left: Operator, right: Operator, env: Environment) -> None:
        super().__init__(env)
        self._matching, self._left, self._right = matching, left, right
        self._left_group = self._right_group = np.zeros(0, np.int64)
        self._groups = 0

    def _match(self) -> None:
        left, right = self._left.series(), self._right.series()
        groups, _ = match_groups(left, right, self._matching.labels, self._matching.on)
        self._left_group, self._right_group = groups.group[: len(left)], groups.group[len(left) :]
        self._groups = len(groups)

    def _mark(self, tile: Cells, group: NDArray[np.int64], seen: NDArray[np.uint8]) -> None:
        """Sets seen u8[groups, steps] where a row of the group has a cell."""
        mark_present(tile.present, group[tile.first_row : tile.first_row + len(tile.values)], seen)


class Restricted(_SetOperator):
    """``and``: the left cells for which the other side has one; ``unless``: those for which it has none."""

    def __init__(self, matching: ast.VectorMatching, unless: bool, left: Operator, right: Operator,
                 env: Environment) -> None:
        super().__init__(matching, left, right, env)
        self._unless = unless
        self._rows = np.zeros(0, np.int64)

    def _label(self) -> SeriesSet:
        self._match()
        series = self._left.series()
        if self._unless:
            self._rows = np.arange(len(series))
            return series
        possible = np.bincount(self._right_group, minlength=self._groups) > 0
        self._rows = np.flatnonzero(possible[self._left_group])
        return series if self._rows.size == len(series) else take(series, self._rows)

    def cells(self) -> Iterator[Cells]:
        self.series()
        size = self._groups * self.env.steps.count
        self.env.context.reserve(size)
        seen = np.zeros((self._groups, self.env.steps.count), np.uint8)
        for tile in self._right.cells():
            self._mark(tile, self._right_group, seen)
        wanted = seen.view(np.bool_)
        (np.equal if self._unless else np.not_equal)(seen, 0, out=wanted)
        for tile in self._left.cells():
            begin, end = np.searchsorted(self._rows, (tile.first_row, tile.first_row + len(tile.values)))
            rows = self._rows[begin:end]
            if rows.size == len(tile.values):
                yield Cells(int(begin), tile.values, tile.present & wanted[self._left_group[rows]], tile.payload)
            elif rows.size:
                inside = rows - tile.first_row
                present = tile.present[inside] & wanted[self._left_group[rows]]
                yield Cells(int(begin), tile.values[inside], present, tile.payload)
        self.env.context.reserve(-size)


class Or(_SetOperator):
    """``or``: the left cells, then the right ones for which the left has none. Left and right rows may be equal."""

    def _label(self) -> SeriesSet:
        self._match()
        return concatenate(self._left.series(), self._right.series())

    def cells(self) -> Iterator[Cells]:
        self.series()
        size = self._groups * self.env.steps.count
        self.env.context.reserve(size)
        seen = np.zeros((self._groups, self.env.steps.count), np.uint8)
        for tile in self._left.cells():
            self._mark(tile, self._left_group, seen)
            yield tile
        free = seen.view(np.bool_)
        np.equal(seen, 0, out=free)
        first = len(self._left.series())
        for tile in self._right.cells():
            rows = self._right_group[tile.first_row : tile.first_row + len(tile.values)]
            yield Cells(first + tile.first_row, tile.values, tile.present & free[rows], tile.payload)
        self.env.context.reserve(-size)
