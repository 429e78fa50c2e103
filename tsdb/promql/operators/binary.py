"""Binary operators: arithmetic, comparisons and set operators, between vectors and scalars."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

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
    UNORDERED,
    combine_rows,
)
from tsdb.promql.literals import quote
from tsdb.promql.operators.binary_vectors import VectorBinary
from tsdb.promql.operators.cells import (
    Mapped,
    Nothing,
    Scalar,
    Unique,
    VectorOperator,
    mark_present,
    scalar_values,
    unique,
)
from tsdb.promql.operators.fill import filled
from tsdb.promql.operators.groups import concatenate, match_groups, take
from tsdb.promql.operators.vector import Cells, Environment, Operator

_ARITHMETIC = {"+": ADD, "-": SUB, "*": MUL, "/": DIV, "%": MOD, "^": POW, "atan2": ATAN2}
_COMPARISONS = {"==": EQUAL, "!=": LESS | GREATER | UNORDERED, "<": LESS, "<=": LESS | EQUAL, ">": GREATER,
                ">=": GREATER | EQUAL}
_OF_HISTOGRAMS = ("</", ">/")
"""Operators that no float has."""


def build_binary(node: ast.Binary, left: Operator, right: Operator, env: Environment) -> Operator:
    """The operator of a binary expression. Raises ExecutionError for what no data can make right."""
    if node.op in ("and", "or", "unless"):
        return _build_set_operator(node, left, right, env)
    if node.op in _OF_HISTOGRAMS:
        if left.type == right.type == ValueType.SCALAR:
            raise ExecutionError(f"operator {quote(node.op)} not allowed for Scalar operations")
        return Incompatible(env, build_binary(replace(node, op="+"), left, right, env), node)
    op = _ARITHMETIC[node.op] if node.op in _ARITHMETIC else COMPARE << 4 | _COMPARISONS[node.op]
    if left.type == ValueType.SCALAR and right.type == ValueType.SCALAR:
        return _scalars(op, left, right, env)
    if right.type == ValueType.SCALAR:
        return _with_scalar(op, node.return_bool, left, right, False, env)
    if left.type == ValueType.SCALAR:
        return _with_scalar(op, node.return_bool, right, left, True, env)
    matching = node.matching or ast.VectorMatching()
    if matching.card == Card.MANY_TO_MANY:
        raise ExecutionError(f"many-to-many matching is for set operators, not for {node.op}")
    return Unique(env, VectorBinary(op, node.return_bool, matching, *filled(left, right, matching, env), env))


class Incompatible(Nothing):
    """An operator that nothing can be done with: an info says so, where there is something to do."""

    def __init__(self, env: Environment, matched: Operator, node: ast.Binary) -> None:
        super().__init__(env, matched)
        self._node = node

    def cells(self) -> Iterator[Cells]:
        met = [bool(tile.present.any()) for tile in self.child.cells()]
        if any(met):
            self.env.annotations.inform(
                f"PromQL info: incompatible sample types encountered for binary operator {quote(self._node.op)}: "
                f"float {self._node.op} float", self._node.span)
        return iter(())


def _scalars(op: int, left: Operator, right: Operator, env: Environment) -> Operator:
    def compute() -> NDArray[np.float64]:
        x, y = scalar_values(left).reshape(1, -1), scalar_values(right).reshape(1, -1)
        here, row = np.ones(x.shape, np.bool_), np.zeros(1, np.int64)
        out = np.empty(x.shape)
        combine_rows(op, False, False, True, x, here, y, here, row, row, out, np.empty(x.shape, np.bool_))
        return out.reshape(-1)

    return Scalar(env, compute)


def _with_scalar(op: int, return_bool: bool, vector: Operator, scalar: Operator, swapped: bool,
                 env: Environment) -> Operator:
    """A comparison keeps the vector's value, on whichever side it is."""
    here = np.ones((1, env.steps.count), np.bool_)

    def compute(tile: Cells, number: NDArray[np.float64]) -> Cells:
        rows = len(tile.values)
        out = Cells(tile.first_row, np.empty(tile.values.shape), np.empty(tile.values.shape, np.bool_))
        combine_rows(op, swapped, True, return_bool, tile.values, tile.present, number.reshape(1, -1), here,
                     np.arange(rows), np.zeros(rows, np.int64), out.values, out.present)
        return out

    keep_name = op >= COMPARE << 4 and not return_bool
    operator = Mapped(env, vector, compute, [scalar], keep_name=keep_name)
    return operator if keep_name else unique(env, operator)


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
