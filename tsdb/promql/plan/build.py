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
from tsdb.promql.operators.binary import build_binary, build_negation
from tsdb.promql.operators.cells import constant
from tsdb.promql.operators.extended_selectors import SmoothedSelector
from tsdb.promql.operators.measured import Measured
from tsdb.promql.operators.selectors import InstantSelector, RangeVector, SampleBudget, StoredTiles, Window
from tsdb.promql.operators.shared import Shared
from tsdb.promql.operators.step_invariant import StepInvariant
from tsdb.promql.operators.subquery import NoTiles, SubqueryTiles
from tsdb.promql.operators.vector import Annotations, Environment, Operator, Steps
from tsdb.promql.optimiser.common_subexpressions import Key
from tsdb.promql.plan.explanation import COMPUTED_ONCE, ONE_STEP, Explanation, Node
from tsdb.promql.plan.plan import Plan

_STEP_BYTES = 64
"""For each step of a subquery: its time, and a few scalars."""


def build(plan: Plan, capture: Capture, context: RequestContext, annotations: Annotations,
          executor: Executor | None, explanation: Explanation | None = None) -> Argument:
    """The operator at the root; a range vector or a string where the query is just that. `capture` is of the plan's
    selections. Raises NotSupported, ExecutionError."""
    env = Environment(plan.steps, context, capture.symbols, annotations, executor,
                      plan.options.delayed_name_removal, start_timestamps=plan.options.start_timestamps)
    return _Builder(plan, capture, SampleBudget(context), explanation).expression(plan.expr, env)


class _Builder:
    """Makes the operators of a plan over a capture."""

    def __init__(self, plan: Plan, capture: Capture, budget: SampleBudget, explanation: Explanation | None) -> None:
        self._plan, self._capture, self._budget, self._explanation = plan, capture, budget, explanation
        self._shared: dict[Key, Shared] = {}
        self._node: Node | None = None
        self._parts = count(1)

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

    def _tiles(self, node: ast.VectorSelector, window: Window, env: Environment) -> StoredTiles:
        selection = self._plan.selection(node, window, env.steps)
        selected = self._capture.selected[self._plan.index(selection)]
        return StoredTiles(selected, env, self._budget, self._plan.histogram_use(node), self._node)

    def _instant_selector(self, node: ast.VectorSelector, env: Environment) -> Operator:
        window = self._plan.instant_window(node, env.steps)
        tiles = self._tiles(node, window, env)
        if node.smoothed:
            return SmoothedSelector(env, tiles, window, self._budget, node.span)
        return InstantSelector(env, tiles, window, self._budget)

    def _range_vector(self, node: ast.MatrixSelector | ast.Subquery, env: Environment) -> RangeVector:
        window = self._plan.range_window(node, env.steps)
        if isinstance(node, ast.MatrixSelector):
            return RangeVector(self._tiles(node.vector, window, env), window, smoothed=node.vector.smoothed)
        inner = replace(env, steps=self._plan.subquery_steps(node, env.steps), subquery=True)
        if inner.steps.count <= 0:
            return RangeVector(NoTiles(env.symbols), window)
        self._budget.allow(inner.steps.count)
        env.context.reserve(_STEP_BYTES * inner.steps.count)
        return RangeVector(SubqueryTiles(self._operator(node.expr, inner), inner), window)

    def _call(self, node: ast.Call, env: Environment) -> Operator:
        if any(isinstance(arg, ast.Paren) for arg in node.args):
            node = replace(node, args=tuple(map(_bare, node.args)))
        build_form = form(FUNCTIONS[node.function], node, env.start_timestamps)
        args = tuple(self.expression(arg, env) for arg in node.args)
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
