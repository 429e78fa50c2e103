"""What becomes of the native histograms that each selector of a query finds, by what the tree does with its samples."""

from __future__ import annotations

from dataclasses import replace

from tsdb.promql import ast
from tsdb.promql.ast import Expr
from tsdb.promql.native_histograms import HistogramUse

_HANDED_ON, _REFUSED = HistogramUse(), HistogramUse(error="should be an info metric")


def histogram_uses(expr: Expr) -> dict[int, HistogramUse]:
    """Of each selector (ast.VectorSelector) of a query, by its `id`."""
    uses = {id(node): _HANDED_ON for node in ast.walk(expr) if isinstance(node, ast.VectorSelector)}
    for node in ast.walk(expr):
        if isinstance(node, ast.Call) and node.function == "info":
            uses |= {id(arg): _REFUSED for arg in node.args[1:]}
    for selector in _told_of_resets(expr, False, False):
        uses[selector] = replace(uses[selector], finds_resets=True)
    return uses


_COUNTING = ("histogram_count", "histogram_sum", "histogram_avg")
_SUMMING = ("sum", "avg", "sum_over_time", "avg_over_time")


def _told_of_resets(expr: Expr, counted: bool, summed: bool) -> list[int]:
    """The selectors whose resets a warning may tell of, by `id`. Prometheus looks for these where only counts and sums
    of histograms are asked for (`counted`), but not in subqueries; what is summed up warns of contradictions."""
    match expr:
        case ast.VectorSelector():
            return [id(expr)] if counted and summed else []
        case ast.Call(function=name):
            counted = name in _COUNTING or (counted and not name.startswith("histogram_"))
            summed = name in _SUMMING
        case ast.Aggregate(op=name):
            summed = name in _SUMMING
        case ast.Subquery():
            counted = False
    return [selector for child in ast.children(expr) for selector in _told_of_resets(child, counted, summed)]
