"""What the rows of the table of aggregations are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tsdb.promql import ast
from tsdb.promql.ast import Span, ValueType
from tsdb.promql.operators.cells import FloatsOnly
from tsdb.promql.operators.vector import Environment, Operator


@dataclass(frozen=True, slots=True)
class Grouping:
    """An aggregation whose operands have been built."""

    node: ast.Aggregate
    child: Operator
    env: Environment
    scalar: Operator | None = None
    """The parameter, where it is a number,"""
    text: str = ""
    """or a text."""

    @property
    def parameter(self) -> Operator:
        assert self.scalar is not None
        return self.scalar

    @property
    def place(self) -> Span:
        """Of the vector in the query."""
        expr = self.node.expr
        while isinstance(expr, ast.Paren):
            expr = expr.expr
        return expr.span

    def floats(self, place: Span | None = None) -> Operator:
        """The vector without its native histograms; an info, at `place`, says that they were ignored."""

        def say(*_: object) -> None:
            text = f"PromQL info: ignored histogram in {self.node.op} aggregation"
            self.env.annotations.inform(text, place or self.place)

        return FloatsOnly(self.env, self.child, say)


Build = Callable[[Grouping], Operator]
"""Raises ExecutionError for what no data can make right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregation:
    """An aggregation operator. `parameter` None: it takes the vector alone."""

    name: str
    doc: str
    """A line for the reference."""
    build: Build
    parameter: ValueType | None = None
    experimental: bool = False
    """A stock Prometheus wants a feature flag for it."""
