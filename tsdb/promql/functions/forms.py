"""In which form a function is computed: its row's, that for an anchored or smoothed range, or that with start
timestamps."""

from __future__ import annotations

from tsdb.model.errors import ExecutionError
from tsdb.promql import ast
from tsdb.promql.functions.extended_ranges import EXTENDED
from tsdb.promql.functions.function import Build, Function
from tsdb.promql.functions.start_times import COUNTED_SINCE, FUNCTIONS, with_starts


def form(function: Function, node: ast.Call, start_timestamps: bool) -> Build:
    """How a call is computed; its arguments are without parentheses around them. Raises ExecutionError for a range that
    the function cannot use."""
    modifier = _modifier(node)
    if modifier:
        forms = EXTENDED[modifier]
        if function.name not in forms:
            raise ExecutionError(f"{modifier} modifier can only be used with: {', '.join(sorted(forms))} - not with "
                                 f"{function.name}")
        return forms[function.name]
    return with_starts(function) if start_timestamps and function.name in COUNTED_SINCE else function.build


def asks_for_starts(node: ast.Call) -> bool:
    """Whether the call looks at start timestamps, where they are used at all."""
    return (node.function in COUNTED_SINCE and not _modifier(node)) or node.function == FUNCTIONS[0].name


def _modifier(node: ast.Call) -> str:
    """That of the call's range, or ""."""
    for arg in node.args:
        while isinstance(arg, ast.Paren):
            arg = arg.expr
        if isinstance(arg, ast.MatrixSelector | ast.Subquery):
            vector = arg.vector if isinstance(arg, ast.MatrixSelector) else None
            return "" if vector is None else "anchored" if vector.anchored else "smoothed" if vector.smoothed else ""
    return ""
