"""The plan of a query: times resolved, and the selections of all selectors, so that one capture serves them all."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from tsdb.model.errors import ExecutionError
from tsdb.model.tiers import Tiers
from tsdb.model.tiles import Selection
from tsdb.promql import ast
from tsdb.promql.ast import AtKind, Expr
from tsdb.promql.durations import resolve
from tsdb.promql.native_histograms import HistogramUse
from tsdb.promql.operators.selectors import Window
from tsdb.promql.operators.subquery import inner_steps
from tsdb.promql.operators.vector import Steps
from tsdb.promql.optimiser.common_subexpressions import CommonSubexpressions
from tsdb.promql.optimiser.step_invariant import StepInvariance
from tsdb.promql.plan.histogram_uses import histogram_uses
from tsdb.promql.plan.preparation import prepared
from tsdb.promql.plan.sources import Sources
from tsdb.promql.plan.start_time_uses import selectors_with_starts
from tsdb.promql.plan.tiers import Source

NO_TIERS = Tiers()


@dataclass(frozen=True, slots=True)
class PlanOptions:
    lookback_ms: int
    default_step_ms: int
    """The step of a subquery that names none."""
    delayed_name_removal: bool = False
    start_timestamps: bool = False
    """Whether functions use since when samples have been counting."""
    max_source_resolution_ms: int | None = None
    """See `Engine.query`."""
    samples_at: Collection[ast.Span] = ()
    """Selectors of ranges for which windows of tiers have turned out not to do."""


class Plan:
    """The plan of one query at `steps` (step 0: an instant query) over samples and `tiers`. Raises ExecutionError."""

    def __init__(self, expr: Expr, steps: Steps, options: PlanOptions, tiers: Tiers = NO_TIERS) -> None:
        self.expr, self.steps, self.options = prepared(expr, steps), steps, options
        self._invariance = StepInvariance()
        self._selections: dict[Selection, int] = {}
        self._histogram_uses = histogram_uses(self.expr)
        self._with_starts = selectors_with_starts(self.expr) if options.start_timestamps else frozenset()
        self.common = CommonSubexpressions(self._histogram_uses)
        self._sources = Sources(self, self.expr, tiers, options.max_source_resolution_ms, options.start_timestamps,
                                options.samples_at)
        self._collect_in(self.expr, steps)

    @property
    def selections(self) -> list[Selection]:
        """What to capture before `build`; equal selections appear once."""
        return list(self._selections)

    def duration(self, duration: ast.Duration) -> int:
        """Milliseconds."""
        return resolve(duration, step=max(self.steps.step, 0), range=self.steps.end - self.steps.start)

    def scope(self, expr: Expr, steps: Steps) -> Steps:
        """The steps at which to evaluate `expr` where `steps` are asked for."""
        return self._invariance.scope(expr, steps)

    def instant_window(self, node: ast.VectorSelector, steps: Steps) -> Window:
        lookback = self.options.lookback_ms
        window = self._window(node.at, node.offset, steps, lookback)
        return replace(window, after=lookback) if node.smoothed else window

    def range_window(self, node: ast.MatrixSelector | ast.Subquery, steps: Steps) -> Window:
        width = self.duration(node.range)
        if width <= 0:
            raise ExecutionError("duration must be greater than 0")
        if isinstance(node, ast.Subquery):
            return self._window(node.at, node.offset, steps, width)
        window = replace(self.instant_window(node.vector, steps), width=width)
        extended = node.vector.anchored or node.vector.smoothed
        return replace(window, before=self.options.lookback_ms) if extended else window

    def subquery_steps(self, node: ast.Subquery, steps: Steps) -> Steps:
        step = self.options.default_step_ms if node.step is None else self.duration(node.step)
        if step <= 0:
            raise ExecutionError("duration must be greater than 0")
        return inner_steps(self.range_window(node, steps), step, steps.count)

    def segments(self, expr: Expr, steps: Steps) -> Sequence[Steps]:
        """The steps in parts, at each of which every selector of `expr` reads from one source. The whole query is
        divided so, and so is each subquery for itself."""
        return self._sources.segments(expr, steps)

    def source(self, node: ast.VectorSelector, window: Window, steps: Steps) -> Source:
        """What a selector reads at such steps."""
        return self._sources.of(node, window, steps)

    def selected(self, node: ast.VectorSelector, source: Source, steps: Steps) -> list[int]:
        """The numbers of a source's selections among all."""
        return [self._selections[selection] for selection in self._needed(node, source, steps)]

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Of the tiers that are read, ms, the finest first; 0: samples."""
        return tuple(sorted({0 if each.tier is None else each.tier.resolution_ms for each in self._selections}))

    def histogram_use(self, node: ast.VectorSelector) -> HistogramUse:
        return self._histogram_uses[id(node)]

    def _window(self, at: ast.At | None, offset: ast.Duration, steps: Steps, width: int) -> Window:
        shift = self.duration(offset)
        if at is None:
            return Window(steps.start - shift, max(steps.step, 0), width)
        pinned = {AtKind.START: self.steps.start, AtKind.END: self.steps.end}.get(at.kind, at.timestamp)
        return Window(pinned - shift, 0, width)

    def _collect_in(self, expr: Expr, steps: Steps) -> None:
        for segment in self.segments(expr, steps):
            self._collect(expr, segment)

    def _collect(self, expr: Expr, steps: Steps) -> None:
        steps = self.scope(expr, steps)
        if not self.common.first(expr, steps):
            return
        if isinstance(expr, ast.VectorSelector):
            self._add(expr, self.instant_window(expr, steps), steps)
        elif isinstance(expr, ast.MatrixSelector):
            self._add(expr.vector, self.range_window(expr, steps), steps)
        elif isinstance(expr, ast.Subquery):
            inner = self.subquery_steps(expr, steps)
            if inner.count > 0:
                self._collect_in(expr.expr, inner)
        else:
            for child in ast.children(expr):
                self._collect(child, steps)

    def _add(self, node: ast.VectorSelector, window: Window, steps: Steps) -> None:
        for selection in self._needed(node, self.source(node, window, steps), steps):
            self._selections.setdefault(selection, len(self._selections))

    def _needed(self, node: ast.VectorSelector, source: Source, steps: Steps) -> list[Selection]:
        return source.selections(node.matchers, steps.count, id(node) in self._with_starts)
