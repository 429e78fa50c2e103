"""What each selector of a query needs of a downsampling tier, by what the tree does with its samples."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from tsdb.promql import ast
from tsdb.promql.ast import Expr
from tsdb.promql.functions.forms import asks_for_starts
from tsdb.promql.functions.tier_functions import NEED_TWO, WindowForm, form_of
from tsdb.promql.operators.tier_windows import LAST_SAMPLES, NEWEST, NEWEST_WITH_TIMES


@dataclass(frozen=True, slots=True)
class TierUse:
    """Of one selector."""

    what: str
    """Who uses it, in words."""
    fields: tuple[str, ...] = LAST_SAMPLES
    instant: bool = False
    """It is an instant vector selector."""
    form: WindowForm | None = None
    """How the function of a range is computed of windows."""
    needs_two: bool = False
    """One sample says nothing."""
    starts: bool = False
    """The function uses since when samples have been counting, which tiers do not keep."""

    @property
    def needs_samples(self) -> bool:
        """Windows are not enough."""
        return self.form is None and self.fields is LAST_SAMPLES


def tier_uses(expr: Expr, start_timestamps: bool, samples_at: Collection[ast.Span] = ()) -> dict[int, TierUse]:
    """Of each selector (ast.VectorSelector) of a query, by its `id`. `start_timestamps`: functions use since when
    samples have been counting. `samples_at`: selectors for which windows have turned out not to do (NeedsSamples)."""
    found: dict[int, TierUse] = {}
    _find(expr, None, start_timestamps, samples_at, found)
    return found


_TIMES: Final = ("timestamp", "info")


def _find(expr: Expr, call: ast.Call | None, start_timestamps: bool, samples_at: Collection[ast.Span],
          found: dict[int, TierUse]) -> None:
    """`call`: of which the expression is an argument."""
    starts = start_timestamps and call is not None and asks_for_starts(call)
    match expr:
        case ast.VectorSelector():
            if expr.smoothed:
                use = TierUse("a smoothed selector", instant=True)
            elif starts:
                use = TierUse("start_timestamp", instant=True, starts=True)
            else:
                times = call is not None and call.function in _TIMES
                use = TierUse("a selector", NEWEST_WITH_TIMES if times else NEWEST, True)
            found[id(expr)] = use
        case ast.MatrixSelector():
            refused = expr.vector.anchored or expr.vector.smoothed or expr.span in samples_at
            form = None if call is None or refused else form_of(call)
            name = "a range vector" if call is None else call.function
            fields = LAST_SAMPLES if form is None else form.fields
            found[id(expr.vector)] = TierUse(name, fields, False, form, name in NEED_TWO, starts)
        case ast.Call():
            bare = _bare(expr)
            for arg in bare.args:
                _find(arg, bare, start_timestamps, samples_at, found)
        case ast.Paren():
            _find(expr.expr, call, start_timestamps, samples_at, found)
        case _:
            for child in ast.children(expr):
                _find(child, None, start_timestamps, samples_at, found)


def _bare(call: ast.Call) -> ast.Call:
    if not any(isinstance(arg, ast.Paren) for arg in call.args):
        return call
    return ast.Call(call.function, tuple(map(without_parentheses, call.args)), span=call.span)


def without_parentheses(expr: Expr) -> Expr:
    while isinstance(expr, ast.Paren):
        expr = expr.expr
    return expr
