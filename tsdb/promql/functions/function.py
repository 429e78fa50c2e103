"""What the rows of the function table are made of: signature, a line for the reference, and how a call is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tsdb.promql import ast
from tsdb.promql.ast import ValueType
from tsdb.promql.operators.selectors import RangeVector, SampleBudget
from tsdb.promql.operators.vector import Environment, Operator, Steps

SCALAR, VECTOR, MATRIX, STRING = ValueType.SCALAR, ValueType.VECTOR, ValueType.MATRIX, ValueType.STRING


Argument = Operator | RangeVector | str


@dataclass(frozen=True, slots=True)
class Call:
    """A call whose arguments have been built."""

    node: ast.Call
    """Its arguments without parentheses around them."""
    args: tuple[Argument, ...]
    env: Environment
    query: Steps
    """Those of the whole query, also within a subquery."""
    budget: SampleBudget

    @property
    def name(self) -> str:
        return self.node.function

    @property
    def operators(self) -> list[Operator]:
        """The scalars and instant vectors, in their order."""
        return [arg for arg in self.args if not isinstance(arg, str | RangeVector)]

    @property
    def texts(self) -> list[str]:
        return [arg for arg in self.args if isinstance(arg, str)]

    @property
    def samples(self) -> RangeVector:
        """The range vector."""
        return next(arg for arg in self.args if isinstance(arg, RangeVector))


Build = Callable[[Call], Operator]
"""Raises NotSupported, and ExecutionError for arguments that no data can make right."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """What is known when a query is planned."""

    query: Steps
    type_of: Callable[[ast.Expr], ValueType]


Prepare = Callable[[ast.Call, Preparation], ast.Call]
"""Another call that means the same, before it is known which series its selectors need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function of the language.

    `variadic` counts as in Prometheus, with m = ``len(arg_types)``: 0 takes exactly m arguments; n > 0 takes from m - 1
    to m - 1 + n; -1 takes m - 1 or more. Arguments beyond `arg_types` are of the last type.
    """

    name: str
    arg_types: tuple[ValueType, ...]
    doc: str
    """A line for the reference."""
    build: Build
    variadic: int = 0
    return_type: ValueType = VECTOR
    experimental: bool = False
    """A stock Prometheus wants a feature flag for it."""
    each_step: bool = False
    """The result depends on the evaluation time, whatever the arguments do."""
    prepare: Prepare | None = None

    @property
    def min_args(self) -> int:
        return len(self.arg_types) - (1 if self.variadic != 0 else 0)

    @property
    def max_args(self) -> int | None:
        """None: any number."""
        if self.variadic < 0:
            return None
        return self.min_args + self.variadic

    def arg_type(self, index: int) -> ValueType:
        return self.arg_types[min(index, len(self.arg_types) - 1)]
