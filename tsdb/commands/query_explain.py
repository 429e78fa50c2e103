"""The plan of a query as a tree of text: what is evaluated, at which times, and what each selector reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from tsdb.model.durations import format_duration
from tsdb.model.times import time_text

if TYPE_CHECKING:
    from tsdb.model.matchers import Matcher
    from tsdb.promql.ast import Expr

Count = Callable[["Sequence[Matcher]", int, int], int]
"""How many series satisfy matchers within times (ms)."""


def explain(expr: str, start: int, end: int, step: int, count: Count | None) -> Iterator[str]:
    """Lines; `step` 0: an instant query. `count` where series can be counted. Raises ParseError, NotSupported."""
    from tsdb.promql import EngineOptions
    from tsdb.promql.operators.vector import Steps
    from tsdb.promql.plan.plan import Plan, PlanOptions
    from tsdb.promql.syntax.parser import parse

    options = EngineOptions()
    steps = Steps(start, end, step)
    plan = Plan(parse(expr), steps, PlanOptions(options.lookback_delta_ms, options.default_step_ms))
    when = f"{steps.count} steps of {format_duration(step)} from {time_text(start)} to {time_text(end)}" if step else (
        f"at {time_text(start)}")
    yield f"evaluated {when}"
    yield from _tree(plan.expr, "", "")
    yield "reads:" if plan.selections else "reads nothing"
    for selection in plan.selections:
        matchers = ", ".join(f'{matcher.name}{matcher.type}"{matcher.value}"' for matcher in selection.matchers)
        found = f": {count(selection.matchers, selection.mint, selection.maxt)} series" if count is not None else ""
        yield f"  {{{matchers}}} from {time_text(selection.mint)} to {time_text(selection.maxt)}{found}"


def _tree(expr: Expr, first: str, rest: str) -> Iterator[str]:
    from tsdb.promql import ast

    yield first + _name(expr)
    if isinstance(expr, ast.MatrixSelector):
        return  # it is one with its selector
    children = list(ast.children(expr))
    for number, child in enumerate(children):
        last = number == len(children) - 1
        yield from _tree(child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))


def _name(expr: Expr) -> str:
    from tsdb.promql import ast
    from tsdb.promql.syntax.printer import to_promql

    match expr:
        case ast.Aggregate():
            grouping = f"{' without' if expr.without else ' by'} ({', '.join(expr.grouping)})"
            return f"aggregation {expr.op}{grouping if expr.grouping or expr.without else ''}"
        case ast.Call():
            return f"function {expr.function}"
        case ast.Binary():
            matching = ""
            if expr.matching is not None and (expr.matching.on or expr.matching.labels):
                matching = f" {'on' if expr.matching.on else 'ignoring'} ({', '.join(expr.matching.labels)})"
            return f"operator {expr.op}{' bool' if expr.return_bool else ''}{matching}"
        case ast.Unary():
            return f"sign {expr.op}"
        case ast.Paren():
            return "parentheses"
        case ast.Subquery():
            step = ":" if expr.step is None else f":{_duration(expr.step)}"
            return f"subquery [{_duration(expr.range)}{step}]"
        case ast.VectorSelector() | ast.MatrixSelector():
            return f"selector {to_promql(expr)}"
        case _:
            return to_promql(expr)


def _duration(duration: object) -> str:
    return format_duration(duration) if isinstance(duration, int) else getattr(duration, "text", "computed")
