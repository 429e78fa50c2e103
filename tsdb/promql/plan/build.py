"""Makes the operators of a plan over a capture. The tree is walked as `Plan` has walked it to collect selections."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import count

from tsdb.model.context import RequestContext
from tsdb.model.errors import ExecutionError
from tsdb.model.tiles import Capture
from tsdb.promql import ast
from tsdb.promql.aggregations import AGGREGATIONS
from tsdb.promql.aggregations.aggregation import Grouping
from tsdb.promql.ast import Expr
from tsdb.promql.functions import FUNCTIONS
from tsdb.promql.functions.forms import form
from tsdb.promql.functions.function import Argument, Call
from tsdb.promql.functions.tier_functions import form_of
from tsdb.promql.operators.binary import build_binary, build_negation
from tsdb.promql.operators.cells import constant
from tsdb.promql.operators.extended_selectors import SmoothedSelector
from tsdb.promql.operators.joined import Joined
from tsdb.promql.operators.measured import Measured
from tsdb.promql.operators.selectors import InstantSelector, RangeVector, SampleBudget, StoredTiles, TileSource, Window
from tsdb.promql.operators.shared import Shared
from tsdb.promql.operators.step_invariant import StepInvariant
from tsdb.promql.operators.subquery import NoTiles, SubqueryTiles
from tsdb.promql.operators.tier_fields import TierWindows
from tsdb.promql.operators.tier_tails import TailedWindows
from tsdb.promql.operators.tier_windows import LastSamples, NewestValues, WindowSelector
from tsdb.promql.operators.vector import Annotations, Environment, Operator, Steps
from tsdb.promql.optimiser.common_subexpressions import Key
from tsdb.promql.plan.explanation import COMPUTED_ONCE, DIVIDED, ONE_STEP, Explanation, Node
from tsdb.promql.plan.plan import Plan

_STEP_BYTES = 64
"""For each step of a subquery: its time, and a few scalars."""


def build(plan: Plan, capture: Capture, context: RequestContext, annotations: Annotations,
          executor: Executor | None, explanation: Explanation | None = None) -> Argument:
    """The operator at the root; a range vector or a string where the query is just that. `capture` is of the plan's
    selections. Raises NotSupported, ExecutionError."""
    env = Environment(plan.steps, context, capture.symbols, annotations, executor,
                      plan.options.delayed_name_removal, start_timestamps=plan.options.start_timestamps)
    return _Builder(plan, capture, SampleBudget(context), explanation).whole(plan.expr, env)


class _Builder:
    """Makes the operators of a plan over a capture."""

    def __init__(self, plan: Plan, capture: Capture, budget: SampleBudget, explanation: Explanation | None) -> None:
        self._plan, self._capture, self._budget, self._explanation = plan, capture, budget, explanation
        self._shared: dict[Key, Shared] = {}
        self._node: Node | None = None
        self._parts = count(1)

    def whole(self, expr: Expr, env: Environment) -> Operator | RangeVector | str:
        """A query, or what a subquery is of: part after part where its selectors read from several sources."""
        segments = self._plan.segments(expr, env.steps)
        if len(segments) == 1:
            return self.expression(expr, env)
        with self._divided(expr, env) as node:
            parts: list[tuple[Environment, Operator]] = []
            first = 0
            for steps in segments:
                past = first + steps.count
                own = replace(env, steps=steps, counted=env.counted if env.subquery else slice(first, past))
                parts.append((own, self._operator(expr, own)))
                first = past
        joined = Joined(env, parts)
        return joined if node is None else Measured(joined, node)

    @contextmanager
    def _divided(self, expr: Expr, env: Environment) -> Iterator[Node | None]:
        """The node of all parts together, if an explanation is wanted."""
        if self._explanation is None or self._explanation.complete:
            yield None
            return
        yield self._explanation.enter(expr, env.steps.count, DIVIDED)
        self._explanation.leave()

    def expression(self, expr: Expr, env: Environment) -> Operator | RangeVector | str:
        if isinstance(expr, ast.StringLiteral):
            return expr.value
        if isinstance(expr, ast.Paren):
            return self.expression(expr.expr, env)
        if isinstance(expr, ast.MatrixSelector | ast.Subquery):
            steps = self._plan.scope(expr, env.steps)
            with self._noted(expr, steps):
                return self._range_vector(expr, env if steps is env.steps else replace(env, steps=steps))
        return self._operator(expr, env)

    @contextmanager
    def _noted(self, expr: Expr, steps: Steps) -> Iterator[Node | None]:
        """The part's node in the explanation, if one is wanted."""
        if self._explanation is None or self._explanation.complete or isinstance(expr, ast.Paren):
            yield None
            return
        self._node = self._explanation.enter(expr, steps.count)
        yield self._node
        self._explanation.leave()
        self._node = None

    def _operator(self, expr: Expr, env: Environment) -> Operator:
        if self._explanation is None:
            return self._optimised(expr, env, None)
        with self._noted(expr, env.steps) as node:
            operator = self._optimised(expr, env, node)
        return operator if node is None else Measured(operator, node)

    def _optimised(self, expr: Expr, env: Environment, node: Node | None) -> Operator:
        steps = self._plan.scope(expr, env.steps)
        if steps is not env.steps and not isinstance(expr, ast.NumberLiteral):
            if node is not None:
                node.steps = steps.count
                node.changes.append(ONE_STEP)
            return StepInvariant(env, self._optimised(expr, replace(env, steps=steps), node))
        key = self._plan.common.key(expr, steps)
        if key is None:
            return self._operator_of(expr, env)
        if key not in self._shared:
            self._shared[key] = Shared(env, partial(self._operator_of, self._plan.common.last(key), env))
        elif node is not None:
            node.changes.append(COMPUTED_ONCE)
        return self._shared[key].reader()

    def _operator_of(self, expr: Expr, env: Environment) -> Operator:
        match expr:
            case ast.Paren():
                return self._operator(expr.expr, env)
            case ast.NumberLiteral():
                return constant(env, expr.value)
            case ast.VectorSelector():
                return self._instant_selector(expr, env)
            case ast.Call():
                return self._call(expr, env)
            case ast.Aggregate():
                return self._aggregate(expr, env)
            case ast.Binary():
                left, right = self._operator(expr.left, env), self._operator(expr.right, env)
                return build_binary(expr, left, right, self._next_part(env))
            case ast.Unary():
                child = self._operator(expr.expr, env)
                return child if expr.op == "+" else build_negation(expr, child, env)
            case _:
                raise ExecutionError(f"{type(expr).__name__} where an instant vector or a scalar belongs")

    def _read(self, node: ast.VectorSelector, window: Window, env: Environment, span: ast.Span,
              ) -> tuple[TileSource, Window, TierWindows | None]:
        """What a selector reads: tiles, what of them each step sees, and what they have if that is no samples."""
        source = self._plan.source(node, window, env.steps)
        numbers = self._plan.selected(node, source, env.steps)
        tiles, *behind = (StoredTiles(self._capture.selected[number], env, self._budget, self._plan.histogram_use(node),
                                      self._node) for number in numbers)
        if source.read is None:
            return tiles, window, None
        for note in source.notes:
            env.annotations.inform(f"PromQL info: {note}", span)
        if self._node is not None:
            self._node.resolution_ms = source.read.resolution_ms
        of: TileSource = tiles
        if source.through is not None:
            of = TailedWindows(env, tiles, behind[0], source.read, source.through,
                               source.last(env.steps.count))
        windows = TierWindows(source.read, window.width)
        return (LastSamples(of, windows), source.window, None) if source.samples else (of, source.window, windows)

    def _instant_selector(self, node: ast.VectorSelector, env: Environment) -> Operator:
        tiles, window, windows = self._read(node, self._plan.instant_window(node, env.steps), env, node.span)
        if windows is not None:
            return WindowSelector(env, NewestValues(tiles, windows), window, self._budget)
        if node.smoothed:
            return SmoothedSelector(env, tiles, window, self._budget, node.span)
        return InstantSelector(env, tiles, window, self._budget)

    def _range_vector(self, node: ast.MatrixSelector | ast.Subquery, env: Environment) -> RangeVector:
        window = self._plan.range_window(node, env.steps)
        if isinstance(node, ast.MatrixSelector):
            tiles, window, windows = self._read(node.vector, window, env, node.span)
            return RangeVector(tiles, window, node.vector.smoothed, windows)
        inner = replace(env, steps=self._plan.subquery_steps(node, env.steps), subquery=True)
        if inner.steps.count <= 0:
            return RangeVector(NoTiles(env.symbols), window)
        self._budget.allow(inner.steps.count)
        env.context.reserve(_STEP_BYTES * inner.steps.count)
        of = self.whole(node.expr, inner)
        assert not isinstance(of, str | RangeVector)
        return RangeVector(SubqueryTiles(of, inner), window)

    def _call(self, node: ast.Call, env: Environment) -> Operator:
        if any(isinstance(arg, ast.Paren) for arg in node.args):
            node = replace(node, args=tuple(map(_bare, node.args)))
        build_form = form(FUNCTIONS[node.function], node, env.start_timestamps)
        args = tuple(self.expression(arg, env) for arg in node.args)
        if any(isinstance(arg, RangeVector) and arg.windows is not None for arg in args):
            of_windows = form_of(node)
            assert of_windows is not None
            build_form = of_windows.build
        return build_form(Call(node, args, self._next_part(env), self._plan.steps, self._budget))

    def _aggregate(self, node: ast.Aggregate, env: Environment) -> Operator:
        if isinstance(node.param, ast.Paren):
            node = replace(node, param=_bare(node.param))
        param = None if node.param is None else self.expression(node.param, env)
        child = self._operator(_bare(node.expr), env)
        assert not isinstance(param, RangeVector)
        env = self._next_part(env)
        if isinstance(param, str):
            return AGGREGATIONS[node.op].build(Grouping(node, child, env, text=param))
        return AGGREGATIONS[node.op].build(Grouping(node, child, env, param))

    def _next_part(self, env: Environment) -> Environment:
        """For what is built after its operands, as Prometheus evaluates it."""
        return replace(env, annotations=env.annotations.said_by(next(self._parts)))


def _bare(expr: Expr) -> Expr:
    """Without parentheses around it."""
    while isinstance(expr, ast.Paren):
        expr = expr.expr
    return expr
