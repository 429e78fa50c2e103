"""What the rows of the table of aggregations are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tsdb.promql import ast
from tsdb.promql.ast import ValueType
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
    counts: bool = False
    """Only that there is a sample matters: it may be a native histogram."""
