"""What becomes of the native histograms that each selector of a query finds, by what the tree does with its samples."""

from __future__ import annotations

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
    return uses


def _find_uses(expr: Expr, use: HistogramUse, uses: dict[int, HistogramUse]) -> None:
    match expr:
        case ast.VectorSelector():
            uses[id(expr)] = HistogramUse("smoothed selectors") if expr.smoothed and use is _SHOWN else use
        case ast.MatrixSelector() if expr.vector.anchored or expr.vector.smoothed:
            use = HistogramUse("anchored and smoothed ranges")
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
