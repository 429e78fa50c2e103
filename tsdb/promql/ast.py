"""The tree of a PromQL expression. Nodes are immutable and typed; `syntax.printer` turns them back into PromQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from tsdb.model.matchers import Matcher


class ValueType(StrEnum):
    NONE = "none"
    SCALAR = "scalar"
    VECTOR = "vector"
    MATRIX = "matrix"
    STRING = "string"


@dataclass(frozen=True, slots=True)
class Span:
    """Character offsets of a node in the query text."""

    start: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    span: Span = field(default=Span(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class NumberLiteral(Node):
    value: float
    duration: bool = False
    """Written as a duration (``5m``), and printed as one."""


@dataclass(frozen=True, slots=True)
class StringLiteral(Node):
    value: str


class AtKind(StrEnum):
    TIMESTAMP = "timestamp"
    START = "start"
    END = "end"


@dataclass(frozen=True, slots=True)
class At:
    """The @ modifier. `timestamp` is in ms."""

    kind: AtKind
    timestamp: int = 0


@dataclass(frozen=True, slots=True)
class DurationExpr(Node):
    """A duration that must be computed (``[5m * 2]``, ``offset -step()``). `tsdb.promql.durations.resolve` does it.

    `op` is one of ``+ - * / % ^`` (``-`` with one operand: the negative), ``min_of``, ``max_of``, and without operands
    ``step`` and ``range``. Operands are seconds or expressions.
    """

    text: str
    op: str = ""
    operands: tuple[float | DurationExpr, ...] = ()


Duration = int | DurationExpr
"""Milliseconds, or an expression of them. Offsets may be negative."""


@dataclass(frozen=True, slots=True)
class VectorSelector(Node):
    """``name{matchers} offset o @ t``. `matchers` includes the one on ``__name__`` that `name` stands for."""

    name: str
    matchers: tuple[Matcher, ...]
    offset: Duration = 0
    at: At | None = None
    anchored: bool = False
    smoothed: bool = False
    written: tuple[Matcher, ...] = field(default=(), compare=False, repr=False, kw_only=True)
    """The matchers within the braces as they are written, where the parser has made the node."""


@dataclass(frozen=True, slots=True)
class MatrixSelector(Node):
    """``selector[range]``; offset and @ are the vector selector's."""

    vector: VectorSelector
    range: Duration


@dataclass(frozen=True, slots=True)
class Subquery(Node):
    """``expr[range:step] offset o @ t``. `step` None: the default evaluation interval."""

    expr: Expr
    range: Duration
    step: Duration | None = None
    offset: Duration = 0
    at: At | None = None


@dataclass(frozen=True, slots=True)
class Call(Node):
    function: str
    args: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Aggregate(Node):
    """``op by|without (grouping) (param, expr)``."""

    op: str
    expr: Expr
    param: Expr | None = None
    grouping: tuple[str, ...] = ()
    without: bool = False


@dataclass(frozen=True, slots=True)
class Unary(Node):
    op: str
    expr: Expr


@dataclass(frozen=True, slots=True)
class Paren(Node):
    expr: Expr


class Card(StrEnum):
    ONE_TO_ONE = "one-to-one"
    MANY_TO_ONE = "many-to-one"
    ONE_TO_MANY = "one-to-many"
    MANY_TO_MANY = "many-to-many"


@dataclass(frozen=True, slots=True)
class VectorMatching:
    """How two vectors are matched. `include` are the labels of group_left/group_right; `on` False means ignoring."""

    card: Card = Card.ONE_TO_ONE
    labels: tuple[str, ...] = ()
    on: bool = False
    include: tuple[str, ...] = ()
    fill_left: float | None = None
    fill_right: float | None = None


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """`matching` is set where both sides are vectors."""

    op: str
    left: Expr
    right: Expr
    return_bool: bool = False
    matching: VectorMatching | None = None


Expr = (
    NumberLiteral
    | StringLiteral
    | VectorSelector
    | MatrixSelector
    | Subquery
    | Call
    | Aggregate
    | Unary
    | Paren
    | Binary
)


def children(expr: Expr) -> tuple[Expr, ...]:
    """The direct operands, in the order they are written."""
    match expr:
        case Binary():
            return (expr.left, expr.right)
        case Call():
            return expr.args
        case Aggregate():
            return (expr.expr,) if expr.param is None else (expr.param, expr.expr)
        case MatrixSelector():
            return (expr.vector,)
        case Subquery() | Unary() | Paren():
            return (expr.expr,)
        case _:
            return ()


def walk(expr: Expr) -> Iterator[Expr]:
    """The expression and everything below it, parents first, without recursion."""
    todo = [expr]
    while todo:
        current = todo.pop()
        yield current
        todo.extend(reversed(children(current)))
