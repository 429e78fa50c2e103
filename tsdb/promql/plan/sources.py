"""Where the selectors of a query read at which steps: samples, or windows of a downsampling tier."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tsdb.model.tiers import Tiers
from tsdb.promql import ast
from tsdb.promql.ast import Expr
from tsdb.promql.operators.sample_counts import Window
from tsdb.promql.operators.vector import Steps
from tsdb.promql.plan.tier_uses import TierUse, tier_uses
from tsdb.promql.plan.tiers import Source, TierChoice

MOST_SEGMENTS = 50
"""More do not pay: then no tier is read in the place of samples that are there."""


class Plan(Protocol):
    """`tsdb.promql.plan.plan.Plan`"""

    def scope(self, expr: Expr, steps: Steps) -> Steps: ...

    def instant_window(self, node: ast.VectorSelector, steps: Steps) -> Window: ...

    def range_window(self, node: ast.MatrixSelector | ast.Subquery, steps: Steps) -> Window: ...


class Sources:
    """Of one query. Costs next to nothing where there are no tiers."""

    def __init__(self, plan: Plan, expr: Expr, tiers: Tiers, max_resolution_ms: int | None, start_timestamps: bool,
                 samples_at: Collection[ast.Span]) -> None:
        self._plan, self._choice = plan, TierChoice(tiers, max_resolution_ms)
        self._uses: dict[int, TierUse] = {}
        if self._choice:
            self._uses = tier_uses(expr, start_timestamps, samples_at)
        self._known: dict[tuple[int, Window, int], Source] = {}

    def segments(self, expr: Expr, steps: Steps) -> Sequence[Steps]:
        """The steps in parts, at each of which every selector of `expr` outside subqueries has one source."""
        if not self._choice or steps.count == 1:
            return (steps,)
        selectors = list(self._selectors(expr, steps))
        chosen, borders = self._divided(selectors, steps.count, instead=True)
        if len(borders) > MOST_SEGMENTS + 1:
            chosen, borders = self._divided(selectors, steps.count, instead=False)
        segments = []
        for begin, end in itertools.pairwise(borders):
            for (node, window), numbers in zip(selectors, chosen, strict=True):
                part = replace(window, first=window.first + begin * window.step)
                self._known[id(node), part, end - begin] = self._choice.source(
                    self._uses[id(node)], int(numbers[begin]), part, steps.count)
            segments.append(Steps(steps.start + begin * steps.step, steps.start + (end - 1) * steps.step, steps.step))
        return segments if len(segments) > 1 else (steps,)

    def of(self, node: ast.VectorSelector, window: Window, steps: Steps) -> Source:
        """What a selector reads at the steps of a segment."""
        if not self._choice:
            return Source(window)
        key = id(node), window, steps.count
        if key not in self._known:
            use = self._uses[id(node)]
            number = int(self._choice.of_steps(use, node.matchers, window, 1)[0])
            self._known[key] = self._choice.source(use, number, window, 1)
        return self._known[key]

    def _divided(self, selectors: Sequence[tuple[ast.VectorSelector, Window]], steps: int, *, instead: bool,
                 ) -> tuple[list[NDArray[np.int64]], list[int]]:
        """What each selector reads at each step, and where one of them changes, with both ends."""
        chosen, changes = [], np.zeros(steps - 1, np.bool_)
        for node, window in selectors:
            numbers = self._choice.of_steps(self._uses[id(node)], node.matchers, window, steps, instead=instead)
            chosen.append(numbers)
            changes |= numbers[1:] != numbers[:-1]
        return chosen, [0, *(np.flatnonzero(changes) + 1).tolist(), steps]

    def _selectors(self, expr: Expr, steps: Steps) -> Iterator[tuple[ast.VectorSelector, Window]]:
        """Those that read at all steps, with what they see."""
        if self._plan.scope(expr, steps) is not steps:
            return
        match expr:
            case ast.VectorSelector():
                yield expr, self._plan.instant_window(expr, steps)
            case ast.MatrixSelector():
                yield expr.vector, self._plan.range_window(expr, steps)
            case ast.Subquery():
                return
            case _:
                for child in ast.children(expr):
                    yield from self._selectors(child, steps)
