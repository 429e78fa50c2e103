"""What becomes of the native histograms that each selector of a query finds, by what the tree does with its samples."""

from __future__ import annotations

from dataclasses import replace

from tsdb.promql import ast
from tsdb.promql.aggregations import AGGREGATIONS
from tsdb.promql.ast import Expr
from tsdb.promql.functions import FUNCTIONS
from tsdb.promql.functions.function import OfHistograms
from tsdb.promql.native_histograms import HistogramUse

_SHOWN, _SEEN = HistogramUse(), HistogramUse(values=False)


def histogram_uses(expr: Expr) -> dict[int, HistogramUse]:
    """Of each selector (ast.VectorSelector) of a query, by its `id`."""
    uses: dict[int, HistogramUse] = {}
    _find_uses(expr, _SHOWN, uses)
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


def _find_uses(expr: Expr, use: HistogramUse, uses: dict[int, HistogramUse]) -> None:
    match expr:
        case ast.VectorSelector():
            uses[id(expr)] = use
        case ast.Unary(op="-"):
            use = _SHOWN
        case ast.Call(function=name, args=args):
            match FUNCTIONS[name].histograms:
                case OfHistograms.TAKES:
                    use = _SHOWN
                case OfHistograms.SEES:
                    use = _SEEN
                case OfHistograms.REFUSES:
                    use = HistogramUse(f"{name}()")
                case OfHistograms.PASSES_FIRST:
                    for arg in args[1:]:
                        _find_uses(arg, HistogramUse(f"{name}()", error="should be an info metric"), uses)
                    _find_uses(args[0], use, uses)
                    return
        case ast.Aggregate(op=name):
            use = _SEEN if AGGREGATIONS[name].counts else _SHOWN
        case ast.Binary(op="and" | "unless"):
            _find_uses(expr.left, use, uses)
            _find_uses(expr.right, _SEEN, uses)
            return
        case ast.Binary(op=name) if name != "or":
            use = _SHOWN
    for child in ast.children(expr):
        _find_uses(child, use, uses)
