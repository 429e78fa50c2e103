"""Calls that need more than they say, written out: `Function.prepare` of the table, applied to a whole tree."""

from __future__ import annotations

from dataclasses import replace

from tsdb.promql import ast
from tsdb.promql.ast import Expr
from tsdb.promql.functions import FUNCTIONS
from tsdb.promql.functions.function import Preparation
from tsdb.promql.operators.vector import Steps
from tsdb.promql.plan.types import type_of


def prepared(expr: Expr, query: Steps) -> Expr:
    """The same object where there is nothing to do, as mostly."""
    return _prepared(expr, Preparation(query, type_of)) if _asks(expr) else expr


def _asks(expr: Expr) -> bool:
    if isinstance(expr, ast.Call) and FUNCTIONS[expr.function].prepare is not None:
        return True
    return any(map(_asks, ast.children(expr)))


def _prepared(expr: Expr, about: Preparation) -> Expr:
    match expr:
        case ast.Call():
            prepare = FUNCTIONS[expr.function].prepare
            call = replace(expr, args=tuple(_prepared(arg, about) for arg in expr.args))
            return call if prepare is None else prepare(call, about)
        case ast.Aggregate():
            param = None if expr.param is None else _prepared(expr.param, about)
            return replace(expr, expr=_prepared(expr.expr, about), param=param)
        case ast.Binary():
            return replace(expr, left=_prepared(expr.left, about), right=_prepared(expr.right, about))
        case ast.Subquery() | ast.Unary() | ast.Paren():
            return replace(expr, expr=_prepared(expr.expr, about))
        case _:
            return expr
