"""From the tree of a query to its operators: times resolved, selections made first, operators built on their capture.

The tree is walked twice in the same way: `Plan` collects the selections of all selectors, so that one capture serves
them all, and `Plan.build` makes the operators. What gives the same at every step (all selectors in it are pinned by @)
is evaluated at one step and repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np

from tsdb.model.context import RequestContext
from tsdb.model.errors import ExecutionError, NotSupported
from tsdb.model.tiles import Capture, Selection, SeriesSet
from tsdb.promql import ast
from tsdb.promql.aggregate import build_aggregate
from tsdb.promql.ast import AtKind, Expr, ValueType
from tsdb.promql.binary import build_binary
from tsdb.promql.cells import Scalar, VectorOperator
from tsdb.promql.durations import resolve
from tsdb.promql.instant_functions import build_call, build_unary
from tsdb.promql.native_histograms import Histograms, HistogramUse, histogram_uses
from tsdb.promql.range_functions import RANGE_FUNCTIONS, AbsentOverTime, RangeCall
from tsdb.promql.selectors import InstantSelector, SampleBudget, StoredTiles, TileSource, Window
from tsdb.promql.subquery import NoTiles, SubqueryTiles, inner_steps
from tsdb.promql.vector import Annotations, Cells, Environment, Operator, Steps

_OF_THE_STEP = frozenset((
    "days_in_month", "day_of_month", "day_of_week", "day_of_year", "hour", "minute", "month", "year", "predict_linear",
    "time", "timestamp",
))
"""Functions whose result depends on the evaluation time, whatever their arguments do."""

_OF_THE_QUERY = frozenset(("start", "end", "range", "step"))

_STEP_BYTES = 64
"""For each step of a subquery: its time, and a few scalars."""


@dataclass(frozen=True, slots=True)
class PlanOptions:
    lookback_ms: int
    default_step_ms: int
    """The step of a subquery that names none."""
    delayed_name_removal: bool = False


@dataclass(frozen=True, slots=True)
class RangeVector:
    """A range vector: where its samples are, and which of them each step sees."""

    source: TileSource
    window: Window


class Plan:
    """The plan of one query at `steps` (step 0: an instant query). Raises NotSupported, ExecutionError."""

    def __init__(self, expr: Expr, steps: Steps, options: PlanOptions) -> None:
        self._expr, self._steps, self._options = expr, steps, options
        self._same: dict[int, bool] = {}
        self._selections: dict[Selection, int] = {}
        self._histogram_uses = histogram_uses(expr)
        self._collect(expr, steps)

    @property
    def selections(self) -> list[Selection]:
        """What to capture before `build`; equal selections appear once."""
        return list(self._selections)

    def build(self, capture: Capture, context: RequestContext, annotations: Annotations, histograms: Histograms,
              executor: Executor | None) -> Operator | RangeVector | str:
        """The operator at the root; a range vector or a string where the query is just that."""
        env = Environment(self._steps, context, capture.symbols, annotations, histograms, executor,
                          self._options.delayed_name_removal)
        return _Builder(self, capture, SampleBudget(context)).expression(self._expr, env)

    def duration(self, duration: ast.Duration) -> int:
        """Milliseconds."""
        return resolve(duration, step=max(self._steps.step, 0), range=self._steps.end - self._steps.start)

    def query_value(self, function: str) -> float:
        """start(), end(), range() and step(), in seconds."""
        start, end, step = self._steps.start, self._steps.end, max(self._steps.step, 0)
        return {"start": start, "end": end, "range": end - start, "step": step}[function] / 1000

    def scope(self, expr: Expr, steps: Steps) -> Steps:
        """The steps at which to evaluate `expr` where `steps` are asked for: one where they all give the same."""
        if steps.count > 1 and self._is_same(expr):
            return Steps(steps.start, steps.start, 0)
        return steps

    def instant_window(self, node: ast.VectorSelector, steps: Steps) -> Window:
        if node.anchored or node.smoothed:
            raise NotSupported(f"not supported yet: the modifier {'anchored' if node.anchored else 'smoothed'}")
        return self._window(node.at, node.offset, steps, self._options.lookback_ms)

    def range_window(self, node: ast.MatrixSelector | ast.Subquery, steps: Steps) -> Window:
        width = self.duration(node.range)
        if width <= 0:
            raise ExecutionError("duration must be greater than 0")
        if isinstance(node, ast.Subquery):
            return self._window(node.at, node.offset, steps, width)
        return replace(self.instant_window(node.vector, steps), width=width)

    def subquery_steps(self, node: ast.Subquery, steps: Steps) -> Steps:
        step = self._options.default_step_ms if node.step is None else self.duration(node.step)
        if step <= 0:
            raise ExecutionError("duration must be greater than 0")
        return inner_steps(self.range_window(node, steps), step, steps.count)

    def selection(self, node: ast.VectorSelector, window: Window, steps: Steps) -> Selection:
        return Selection(node.matchers, window.mint(), window.maxt(steps.count))

    def index(self, selection: Selection) -> int:
        return self._selections[selection]

    def histogram_use(self, node: ast.VectorSelector) -> HistogramUse:
        return self._histogram_uses[id(node)]

    def _window(self, at: ast.At | None, offset: ast.Duration, steps: Steps, width: int) -> Window:
        shift = self.duration(offset)
        if at is None:
            return Window(steps.start - shift, max(steps.step, 0), width)
        pinned = {AtKind.START: self._steps.start, AtKind.END: self._steps.end}.get(at.kind, at.timestamp)
        return Window(pinned - shift, 0, width)

    def _collect(self, expr: Expr, steps: Steps) -> None:
        steps = self.scope(expr, steps)
        if isinstance(expr, ast.VectorSelector):
            self._add(self.selection(expr, self.instant_window(expr, steps), steps))
        elif isinstance(expr, ast.MatrixSelector):
            self._add(self.selection(expr.vector, self.range_window(expr, steps), steps))
        elif isinstance(expr, ast.Subquery):
            inner = self.subquery_steps(expr, steps)
            if inner.count > 0:
                self._collect(expr.expr, inner)
        else:
            for child in ast.children(expr):
                self._collect(child, steps)

    def _add(self, selection: Selection) -> None:
        self._selections.setdefault(selection, len(self._selections))

    def _is_same(self, expr: Expr) -> bool:
        """Whether the expression gives the same at every step."""
        known = self._same.get(id(expr))
        if known is None:
            if isinstance(expr, ast.VectorSelector | ast.Subquery):
                known = expr.at is not None
            elif isinstance(expr, ast.Call) and expr.function in _OF_THE_STEP:
                known = False
            else:
                known = all(self._is_same(child) for child in ast.children(expr))
            self._same[id(expr)] = known
        return known


class _Builder:
    """Makes the operators of a plan over a capture."""

    def __init__(self, plan: Plan, capture: Capture, budget: SampleBudget) -> None:
        self._plan, self._capture, self._budget = plan, capture, budget

    def expression(self, expr: Expr, env: Environment) -> Operator | RangeVector | str:
        if isinstance(expr, ast.StringLiteral):
            return expr.value
        if isinstance(expr, ast.Paren):
            return self.expression(expr.expr, env)
        if isinstance(expr, ast.MatrixSelector | ast.Subquery):
            return self._range_vector(expr, replace(env, steps=self._plan.scope(expr, env.steps)))
        return self._operator(expr, env)

    def _operator(self, expr: Expr, env: Environment) -> Operator:
        steps = self._plan.scope(expr, env.steps)
        if steps != env.steps and not isinstance(expr, ast.NumberLiteral):
            return StepInvariant(env, self._operator(expr, replace(env, steps=steps)))
        match expr:
            case ast.Paren():
                return self._operator(expr.expr, env)
            case ast.NumberLiteral():
                return _constant(expr.value, env)
            case ast.VectorSelector():
                return self._instant_selector(expr, env)
            case ast.Call():
                return self._call(expr, env)
            case ast.Aggregate():
                param = None if expr.param is None else self._operator_or_text(_bare(expr.param), env)
                return build_aggregate(expr, self._operator(_bare(expr.expr), env), param, env)
            case ast.Binary():
                return build_binary(expr, self._operator(expr.left, env), self._operator(expr.right, env), env)
            case ast.Unary():
                child = self._operator(expr.expr, env)
                return child if expr.op == "+" else build_unary(child, env)
            case _:
                raise ExecutionError(f"{type(expr).__name__} where an instant vector or a scalar belongs")

    def _operator_or_text(self, expr: Expr, env: Environment) -> Operator | str:
        return expr.value if isinstance(expr, ast.StringLiteral) else self._operator(expr, env)

    def _tiles(self, node: ast.VectorSelector, window: Window, env: Environment) -> StoredTiles:
        selection = self._plan.selection(node, window, env.steps)
        selected = self._capture.selected[self._plan.index(selection)]
        return StoredTiles(selected, env, self._budget, self._plan.histogram_use(node))

    def _instant_selector(self, node: ast.VectorSelector, env: Environment, *, timestamps: bool = False) -> Operator:
        window = self._plan.instant_window(node, env.steps)
        keeps = not timestamps and self._plan.histogram_use(node).values
        return InstantSelector(env, self._tiles(node, window, env), window, self._budget, timestamps=timestamps,
                               keeps_histograms=keeps)

    def _range_vector(self, node: ast.MatrixSelector | ast.Subquery, env: Environment) -> RangeVector:
        window = self._plan.range_window(node, env.steps)
        if isinstance(node, ast.MatrixSelector):
            return RangeVector(self._tiles(node.vector, window, env), window)
        inner = replace(env, steps=self._plan.subquery_steps(node, env.steps))
        if inner.steps.count <= 0:
            return RangeVector(NoTiles(env.symbols), window)
        self._budget.allow(inner.steps.count)
        env.context.reserve(_STEP_BYTES * inner.steps.count)
        return RangeVector(SubqueryTiles(self._operator(node.expr, inner), inner), window)

    def _call(self, node: ast.Call, env: Environment) -> Operator:
        node = replace(node, args=tuple(_bare(arg) for arg in node.args))
        name = node.function
        if name in _OF_THE_QUERY:
            return _constant(self._plan.query_value(name), env)
        if name in RANGE_FUNCTIONS:
            return self._range_call(node, env)
        if any(isinstance(arg, ast.MatrixSelector | ast.Subquery) for arg in node.args) or name == "info":
            raise NotSupported(f'not supported yet: function "{name}"')
        if name == "timestamp" and isinstance(node.args[0], ast.VectorSelector):
            return self._instant_selector(node.args[0], env, timestamps=True)
        return build_call(node, [self._operator_or_text(arg, env) for arg in node.args], env)

    def _range_call(self, node: ast.Call, env: Environment) -> Operator:
        params, vector = [], None
        for arg in node.args:
            if isinstance(arg, ast.MatrixSelector | ast.Subquery):
                vector = self._range_vector(arg, env)
                matchers = (arg.vector.written or arg.vector.matchers) if isinstance(arg, ast.MatrixSelector) else ()
            else:
                params.append(self._operator(arg, env))
        if vector is None:
            raise ExecutionError(f"{node.function} needs a range vector")
        # Annotations give the place of the first argument; Prometheus knows none for a subquery.
        span = ast.Span() if isinstance(node.args[0], ast.Subquery) else node.args[0].span
        call = RangeCall(env, node.function, vector.source, vector.window, self._budget, params, span)
        return AbsentOverTime(env, call, matchers) if node.function == "absent_over_time" else call


def _bare(expr: Expr) -> Expr:
    """Without parentheses around it."""
    while isinstance(expr, ast.Paren):
        expr = expr.expr
    return expr


def _constant(value: float, env: Environment) -> Operator:
    return Scalar(env, lambda: np.full(env.steps.count, value))


class StepInvariant(VectorOperator):
    """The one step of the child at every step."""

    def __init__(self, env: Environment, child: Operator) -> None:
        super().__init__(env)
        self.type: ValueType = child.type
        self._child = child

    def _label(self) -> SeriesSet:
        return self._child.series()

    def cells(self) -> Iterator[Cells]:
        steps = self.env.steps.count
        for cells in self._child.cells():
            values = np.repeat(cells.values, steps, axis=1)
            yield Cells(cells.first_row, values, np.repeat(cells.present, steps, axis=1))
