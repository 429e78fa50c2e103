"""Which selectors of a query have their samples' start timestamps looked at."""

from __future__ import annotations

from tsdb.promql import ast
from tsdb.promql.ast import Expr
from tsdb.promql.functions.forms import asks_for_starts


def selectors_with_starts(expr: Expr) -> frozenset[int]:
    """The `id` of each (ast.VectorSelector)."""
    found = set()
    for node in ast.walk(expr):
        if isinstance(node, ast.Call) and asks_for_starts(node):
            argument = node.args[0]
            while isinstance(argument, ast.Paren):
                argument = argument.expr
            if isinstance(argument, ast.MatrixSelector):
                argument = argument.vector
            if isinstance(argument, ast.VectorSelector):
                found.add(id(argument))
    return frozenset(found)
