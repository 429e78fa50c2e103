"""Rule: what gives the same at every step, since @ pins all selectors in it, is evaluated at one step and repeated."""

from __future__ import annotations

from tsdb.promql import ast
from tsdb.promql.ast import Expr
from tsdb.promql.functions import FUNCTIONS
from tsdb.promql.operators.vector import Steps


class StepInvariance:
    """Remembers what it has found out, by the identity of nodes."""

    def __init__(self) -> None:
        self._same: dict[int, bool] = {}

    def scope(self, expr: Expr, steps: Steps) -> Steps:
        """The steps at which to evaluate `expr` where `steps` are asked for: one where they all give the same."""
        if steps.count > 1 and self._is_same(expr):
            return Steps(steps.start, steps.start, 0)
        return steps

    def _is_same(self, expr: Expr) -> bool:
        known = self._same.get(id(expr))
        if known is None:
            if isinstance(expr, ast.VectorSelector | ast.Subquery):
                known = expr.at is not None
            elif isinstance(expr, ast.Call) and FUNCTIONS[expr.function].each_step:
                known = False
            else:
                known = all(self._is_same(child) for child in ast.children(expr))
            self._same[id(expr)] = known
        return known
