"""What Prometheus has behind feature flags, for those who want only what a stock server takes."""

from __future__ import annotations

from tsdb.promql.aggregations import AGGREGATIONS
from tsdb.promql.ast import (
    Aggregate,
    Binary,
    Call,
    DurationExpr,
    Expr,
    MatrixSelector,
    Subquery,
    VectorSelector,
    walk,
)
from tsdb.promql.functions import FUNCTIONS
from tsdb.promql.literals import quote
from tsdb.promql.syntax.typed import Problem


def experimental_problem(expr: Expr) -> Problem | None:
    """The first use of an experimental function, aggregation or syntax, in the order of the text's tree."""
    for node in walk(expr):
        message = _message(node)
        if message is not None:
            return Problem(node.span.start, message)
    return None


def _message(node: Expr) -> str | None:
    match node:
        case Call() if FUNCTIONS[node.function].experimental:
            return f"function {quote(node.function)} is not enabled"
        case Aggregate() if AGGREGATIONS[node.op].experimental:
            flag = "--enable-feature=promql-experimental-functions"
            return f"{node.op}() is experimental and must be enabled with {flag}"
        case Binary() if node.matching is not None:
            if node.matching.fill_left is not None or node.matching.fill_right is not None:
                return "binop fill modifiers are experimental and not enabled"
        case MatrixSelector() if isinstance(node.range, DurationExpr):
            return "experimental duration expression is not enabled"
        case Subquery() if any(isinstance(part, DurationExpr) for part in (node.range, node.step, node.offset)):
            return "experimental duration expression is not enabled"
        case VectorSelector() if node.anchored or node.smoothed:
            return f"{'anchored' if node.anchored else 'smoothed'} modifier is experimental and not enabled"
        case VectorSelector() if isinstance(node.offset, DurationExpr):
            return "experimental duration expression is not enabled"
    return None
