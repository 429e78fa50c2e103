"""The tree of an expression as plain data, in the shape that Prometheus' UI reads."""

from __future__ import annotations

from typing import Any

from tsdb.model.matchers import Matcher, MatchType
from tsdb.promql.ast import (
    Aggregate,
    At,
    AtKind,
    Binary,
    Call,
    Duration,
    Expr,
    MatrixSelector,
    NumberLiteral,
    Paren,
    StringLiteral,
    Subquery,
    Unary,
    VectorSelector,
)
from tsdb.promql.durations import resolve
from tsdb.promql.functions import FUNCTIONS
from tsdb.promql.literals import format_number

Shape = dict[str, Any]


def tree(expr: Expr) -> Shape:
    """Names are Prometheus'; durations are ms. Those that must be computed are computed as in an instant query; raises
    ExecutionError where that has no result."""
    match expr:
        case NumberLiteral(value):
            return {"type": "numberLiteral", "val": format_number(value)}
        case StringLiteral(value):
            return {"type": "stringLiteral", "val": value}
        case VectorSelector():
            return {"type": "vectorSelector", **_selector(expr)}
        case MatrixSelector(vector, range_):
            return {"type": "matrixSelector", "range": _ms(range_), **_selector(vector)}
        case Subquery(inner, range_, step):
            return {"type": "subquery", "expr": tree(inner), "range": _ms(range_), "step": _ms(step or 0),
                    "offset": _ms(expr.offset), **_at(expr.at)}
        case Call(name, args):
            function = FUNCTIONS[name]
            signature = {"name": name, "argTypes": list(function.arg_types), "variadic": function.variadic,
                         "returnType": function.return_type}
            return {"type": "call", "func": signature, "args": [tree(arg) for arg in args]}
        case Aggregate(op, inner, param, grouping, without):
            return {"type": "aggregation", "op": op, "expr": tree(inner), "grouping": list(grouping),
                    "param": None if param is None else tree(param), "without": without}
        case Unary(op, inner):
            return {"type": "unaryExpr", "op": op, "expr": tree(inner)}
        case Paren(inner):
            return {"type": "parenExpr", "expr": tree(inner)}
        case Binary(op, left, right, return_bool):
            return {"type": "binaryExpr", "op": op, "lhs": tree(left), "rhs": tree(right), "bool": return_bool,
                    "matching": _matching(expr)}


def _selector(selector: VectorSelector) -> Shape:
    shape: Shape = {"name": selector.name, "offset": _ms(selector.offset), "matchers": _matchers(selector),
                    **_at(selector.at)}
    if selector.anchored or selector.smoothed:
        shape |= {"anchored": selector.anchored, "smoothed": selector.smoothed}
    return shape


def _matchers(selector: VectorSelector) -> list[Shape]:
    """As they are written; the one that the metric's name stands for comes last."""
    named = Matcher(MatchType.EQUAL, "__name__", selector.name)
    ordered = selector.written or [each for each in selector.matchers if each != named or not selector.name]
    if selector.name:
        ordered = [*ordered, named]
    return [{"name": each.name, "value": each.value, "type": each.type} for each in ordered]


def _at(at: At | None) -> Shape:
    stamp = at.timestamp if at is not None and at.kind is AtKind.TIMESTAMP else None
    bound = None if at is None or at.kind is AtKind.TIMESTAMP else str(at.kind)
    return {"timestamp": stamp, "startOrEnd": bound}


def _matching(expr: Binary) -> Shape | None:
    matching = expr.matching
    if matching is None:
        return None
    shape: Shape = {"card": matching.card, "labels": list(matching.labels), "on": matching.on,
                    "include": list(matching.include)}
    if matching.fill_left is not None or matching.fill_right is not None:
        shape["fillValues"] = {"lhs": matching.fill_left, "rhs": matching.fill_right}
    return shape


def _ms(duration: Duration) -> int:
    return resolve(duration, step=0, range=0)
