"""Rule: what a query says more than once, as in ``sum(a) / (sum(a) + sum(b))``, is computed once.

Two parts are the same if their trees are, and are wanted at the same steps. Selectors alone do not count: samples are
captured once anyway, and some functions look at the selector itself.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from tsdb.promql import ast
from tsdb.promql.ast import Expr
from tsdb.promql.native_histograms import HistogramUse
from tsdb.promql.operators.vector import Steps

Key = tuple[int, Steps]


class CommonSubexpressions:
    """Equal parts have equal numbers. To be told of each part in turn, parents first."""

    def __init__(self, uses: Mapping[int, HistogramUse]) -> None:
        """`uses`: what becomes of histograms, by `id` of the selectors. Where that is different, the parts are, too."""
        self._uses = uses
        self._known: dict[Hashable, int] = {}
        self._numbers: dict[int, int] = {}
        self._with_selector: set[int] = set()
        self._wanted: dict[Key, int] = {}
        self._last: dict[Key, Expr] = {}

    def first(self, expr: Expr, steps: Steps) -> bool:
        """Notes that the part is wanted; False if it was before."""
        if len(self._uses) < 2 or not isinstance(expr, ast.Call | ast.Aggregate | ast.Binary | ast.Unary):
            return True
        key = self._number(expr), steps
        self._wanted[key] = self._wanted.get(key, 0) + 1
        self._last[key] = expr
        return self._wanted[key] == 1 or key[0] not in self._with_selector

    def key(self, expr: Expr, steps: Steps) -> Key | None:
        """Of a part that is wanted more than once; None of others."""
        if not self._wanted:
            return None
        key = self._numbers.get(id(expr), -1), steps
        return key if self._wanted.get(key, 0) > 1 and key[0] in self._with_selector else None

    def last(self, key: Key) -> Expr:
        """The last of the equal parts: its place is the one that warnings give."""
        return self._last[key]

    def _number(self, expr: Expr) -> int:
        number = self._numbers.get(id(expr))
        if number is not None:
            return number
        if isinstance(expr, ast.Paren):
            number = self._number(expr.expr)
        else:
            inner = tuple(map(self._number, ast.children(expr)))
            number = self._known.setdefault((type(expr), self._own(expr), inner), len(self._known))
            if isinstance(expr, ast.VectorSelector) or not self._with_selector.isdisjoint(inner):
                self._with_selector.add(number)
        self._numbers[id(expr)] = number
        return number

    def _own(self, expr: Expr) -> Hashable:
        """What tells it apart from others with equal children."""
        match expr:
            case ast.VectorSelector():
                return expr, expr.written, self._uses[id(expr)]
            case ast.MatrixSelector():
                return expr.range
            case ast.Subquery():
                return expr.range, expr.step, expr.offset, expr.at
            case ast.Call():
                return expr.function
            case ast.Aggregate():
                return expr.op, expr.grouping, expr.without
            case ast.Binary():
                return expr.op, expr.return_bool, expr.matching
            case ast.Unary():
                return expr.op
            case _:
                return expr
