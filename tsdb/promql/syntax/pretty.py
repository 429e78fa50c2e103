"""PromQL for people: what is longer than 100 bytes is broken into lines, as Prometheus' formatter does it."""

from __future__ import annotations

from typing import Final

from tsdb.promql.ast import Aggregate, Binary, Call, Expr, Paren, Subquery, Unary
from tsdb.promql.syntax.printer import aggregate_head, operator, subquery_suffix, to_promql

LONGEST_LINE: Final = 100
"""Bytes, without the indent."""
INDENT: Final = "  "


def pretty(expr: Expr, level: int = 0) -> str:
    """The expression, indented by `level`; lines that need it are split."""
    indent = INDENT * level
    text = to_promql(expr)
    if isinstance(expr, Unary):
        return f"{indent}{expr.op}{pretty(expr.expr, level).strip()}"
    if len(text.encode("utf-8", "surrogateescape")) <= LONGEST_LINE:
        return text if isinstance(expr, Subquery) else indent + text  # Prometheus does not indent these
    match expr:
        case Aggregate():
            param = "" if expr.param is None else f"{pretty(expr.param, level + 1)},\n"
            return f"{indent}{aggregate_head(expr)}(\n{param}{pretty(expr.expr, level + 1)}\n{indent})"
        case Binary():
            return f"{pretty(expr.left, level + 1)}\n{indent}{operator(expr)}\n{pretty(expr.right, level + 1)}"
        case Call():
            args = ",\n".join(pretty(arg, level + 1) for arg in expr.args)
            return f"{indent}{expr.function}(\n{args}\n{indent})"
        case Paren():
            return f"{indent}(\n{pretty(expr.expr, level + 1)}\n{indent})"
        case Subquery():
            return pretty(expr.expr, level) + subquery_suffix(expr)
        case _:
            return indent + text
