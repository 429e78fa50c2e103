"""The types of expressions that have been checked."""

from __future__ import annotations

from tsdb.promql import ast
from tsdb.promql.ast import Expr, ValueType
from tsdb.promql.functions import FUNCTIONS


def type_of(expr: Expr) -> ValueType:
    match expr:
        case ast.NumberLiteral():
            return ValueType.SCALAR
        case ast.StringLiteral():
            return ValueType.STRING
        case ast.MatrixSelector() | ast.Subquery():
            return ValueType.MATRIX
        case ast.Paren() | ast.Unary():
            return type_of(expr.expr)
        case ast.Call():
            return FUNCTIONS[expr.function].return_type
        case ast.Binary():
            both = {type_of(expr.left), type_of(expr.right)}
            return ValueType.SCALAR if both == {ValueType.SCALAR} else ValueType.VECTOR
        case _:
            return ValueType.VECTOR
