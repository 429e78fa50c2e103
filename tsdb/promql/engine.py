"""The PromQL engine: text to result."""

from __future__ import annotations

import functools
import time as clock
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

import numpy as np

from tsdb.model.context import RequestContext
from tsdb.model.errors import BadData, NotSupported, TiersChanged
from tsdb.model.label_order import label_order
from tsdb.model.threads import lower_priority
from tsdb.model.tiles import Capture, Queryable
from tsdb.promql.ast import Expr, ValueType
from tsdb.promql.operators.cells import Matrix, Unique, finish_names
from tsdb.promql.operators.extended_selectors import with_borders
from tsdb.promql.operators.groups import no_labels, take
from tsdb.promql.operators.selectors import RangeVector, SampleBudget, raw_samples
from tsdb.promql.operators.tier_fields import NeedsSamples
from tsdb.promql.operators.vector import Annotations, Environment, Operator, Steps
from tsdb.promql.plan.build import build
from tsdb.promql.plan.explanation import Explanation
from tsdb.promql.plan.plan import Plan, PlanOptions
from tsdb.promql.plan.types import type_of
from tsdb.promql.result import QueryResult
from tsdb.promql.syntax.parser import parse
from tsdb.promql.syntax.typed import TYPE_NAMES

P = ParamSpec("P")
R = TypeVar("R")

SORT_BYTES = 64
"""Needed for each row to sort the result, about."""

_ATTEMPTS = 5
"""To plan, where tiers change between a plan and its capture."""

_NO_VALUES = np.zeros((0, 0))
_NO_CELLS = np.zeros((0, 0), np.bool_)


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Limits of a query are in its `RequestContext`."""

    lookback_delta_ms: int = 300_000
    default_step_ms: int = 60_000
    """The step of subqueries that name none (Prometheus: the global evaluation interval)."""
    timeout_s: float = 120.0
    """For contexts without a deadline."""
    threads: int = 2
    """Threads that decode and compute tiles, of all queries together."""
    nice: int = 0
    """How far these threads stand back behind others (0 to 19), so that writes and small requests go first."""
    cached_plans: int = 1000
    """Parsed queries that are kept."""
    experimental: bool = True
    """Functions and syntax that Prometheus has behind feature flags."""
    delayed_name_removal: bool = False
    """Drop metric names at the end of a query (Prometheus' feature flag promql-delayed-name-removal)."""
    use_start_timestamps: bool = False
    """Functions use since when samples have been counting (Prometheus' feature flag use-start-timestamps)."""


class Engine:
    """Evaluates PromQL over a `Queryable`. Thread-safe. Close it, or use ``with``, to end its threads."""

    def __init__(self, queryable: Queryable, options: EngineOptions | None = None) -> None:
        self._queryable = queryable
        self._options = options or EngineOptions()
        self.default_step_ms = self._options.default_step_ms
        """May be changed at any time; holds from the next query on."""
        self._parse = functools.lru_cache(self._options.cached_plans)(
            functools.partial(parse, experimental=self._options.experimental)
        )
        threads, nice = self._options.threads, self._options.nice
        self._executor = ThreadPoolExecutor(threads, "promql", lower_priority, (nice,)) if threads > 1 else None

    def query(self, expr: str, time: int, context: RequestContext | None = None,
              lookback_delta_ms: int | None = None, *, explain: bool = False,
              max_source_resolution_ms: int | None = None) -> QueryResult:
        """Evaluates at one time (ms). `explain`: the result tells what was done. `max_source_resolution_ms`: of the
        downsampling tiers, the coarsest of at most this resolution is read wherever it has something, exact or not;
        0: none is; None: what gives the exact result, as long as there is such. Raises QueryError: ParseError,
        ExecutionError, LimitExceeded, NotSupported, QueryTimeout, QueryCanceled."""
        tree = self._parse(expr)
        return self._evaluate(expr, tree, Steps(time, time, 0), context, lookback_delta_ms, explain,
                              max_source_resolution_ms)

    def query_range(self, expr: str, start: int, end: int, step: int, context: RequestContext | None = None,
                    lookback_delta_ms: int | None = None, *, explain: bool = False,
                    max_source_resolution_ms: int | None = None) -> QueryResult:
        """Evaluates at start, start + step, … <= end (ms). Raises as `query`, and BadData for wrong times or types."""
        if step <= 0:
            raise BadData("zero or negative query resolution step widths are not accepted. Try a positive integer")
        if end < start:
            raise BadData("end timestamp must not be before start time")
        tree = self._parse(expr)
        kind = type_of(tree)
        if kind not in (ValueType.SCALAR, ValueType.VECTOR):
            raise BadData(f'invalid expression type "{TYPE_NAMES[kind]}" for range query, '
                          "must be Scalar or instant Vector")
        return self._evaluate(expr, tree, Steps(start, end, step), context, lookback_delta_ms, explain,
                              max_source_resolution_ms)

    def close(self) -> None:
        """Ends the engine's threads when their work is done. May be called twice."""
        if self._executor is not None:
            self._executor.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _tasks(self) -> AbstractContextManager[Executor | None]:
        return nullcontext() if self._executor is None else _Tasks(self._executor)

    def _evaluate(self, text: str, tree: Expr, steps: Steps, context: RequestContext | None,
                  lookback_delta_ms: int | None, explain: bool, max_source_resolution_ms: int | None) -> QueryResult:
        options = self._options
        if context is None:
            context = RequestContext(threads=options.threads)
        if context.deadline is None:
            context.timeout_s = options.timeout_s
            context.deadline = clock.monotonic() + options.timeout_s
        context.check()
        plan_options = PlanOptions(
            options.lookback_delta_ms if lookback_delta_ms is None else lookback_delta_ms,
            self.default_step_ms, options.delayed_name_removal, options.use_start_timestamps, max_source_resolution_ms)
        held, selected = context.bytes_reserved, context.statistics.series_selected
        while True:
            try:
                return self._planned(text, tree, steps, plan_options, context, explain)
            except NeedsSamples as where:
                plan_options = replace(plan_options, samples_at=(*plan_options.samples_at, where.span))
                context.reserve(held - context.bytes_reserved)
                context.statistics.series_selected = selected
                if context.statistics.by_step is not None:
                    context.statistics.by_step[:] = 0

    def _planned(self, text: str, tree: Expr, steps: Steps, plan_options: PlanOptions, context: RequestContext,
                 explain: bool) -> QueryResult:
        """Raises NeedsSamples."""
        began = clock.perf_counter()
        annotations, explanation = Annotations(query=text), Explanation() if explain else None
        plan, captured = self._captured(tree, steps, plan_options, context)
        with captured as capture, self._tasks() as tasks:
            root = build(plan, capture, context, annotations, tasks, explanation)
            context.statistics.prepare_seconds += clock.perf_counter() - began
            env = Environment(steps, context, capture.symbols, annotations, tasks,
                              self._options.delayed_name_removal)
            result = _result(root, env, sort=steps.step > 0)
            result.warnings = [*capture.warnings, *annotations.warnings]
        result.infos = list(annotations.infos)
        result.tiers_used = plan.resolutions
        result.explanation = None if explanation is None else explanation.root
        return result

    def _captured(self, tree: Expr, steps: Steps, options: PlanOptions, context: RequestContext,
                  ) -> tuple[Plan, Capture]:
        """Raises TiersChanged where tiers change each time."""
        for attempt in range(_ATTEMPTS):
            plan = Plan(tree, steps, options, self._queryable.tiers())
            try:
                return plan, self._queryable.capture(plan.selections, context)
            except TiersChanged:
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError


class _Tasks(Executor):
    """What one query has running in the engine's threads. Leaving its ``with`` waits for them: a tile must not be
    decoded after its capture is closed, however the query ended."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self._executor = executor
        self._futures: set[Future[Any]] = set()

    def submit(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        future = self._executor.submit(function, *args, **kwargs)
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        running = list(self._futures)
        for future in running:
            future.cancel()
        if running:
            futures.wait(running)


def _result(root: Operator | RangeVector | str, env: Environment, *, sort: bool) -> QueryResult:
    times = env.steps.times()
    if isinstance(root, str):
        return QueryResult(ValueType.STRING, None, times, _NO_VALUES, _NO_CELLS, scalar=root)
    if isinstance(root, RangeVector):
        return _range_vector(root, env)
    if root.type == ValueType.SCALAR:
        cells = next(iter(root.cells()))
        kind = ValueType.MATRIX if sort else ValueType.SCALAR
        return QueryResult(kind, no_labels(env.symbols), times, cells.values, cells.present,
                           scalar=float(cells.values[0, 0]))
    root = finish_names(env, root) if env.delayed_name_removal else Unique(env, root)
    series = root.series()
    place = None
    if sort and len(series) > 1:
        began = clock.perf_counter()
        with env.context.reserved(SORT_BYTES * len(series)):
            order = label_order(series)
            series = take(series, order)
            place = np.empty_like(order)
            place[order] = np.arange(order.size)
        env.context.statistics.sort_seconds += clock.perf_counter() - began
    matrix = Matrix(env, len(series), empty=True)
    for cells in root.cells():
        matrix.fill(cells, None if place is None else place[cells.first_row : cells.first_row + len(cells.values)])
    found = np.flatnonzero(matrix.present.any(axis=1))
    if found.size < len(series):
        series = take(series, found)
        matrix.keep_rows(found)
    return QueryResult(ValueType.MATRIX if sort else ValueType.VECTOR, series, times, matrix.values, matrix.present,
                       payload=matrix.payload())


def _range_vector(root: RangeVector, env: Environment) -> QueryResult:
    series = root.source.series()
    samples, payload = raw_samples(root.source, env, SampleBudget(env.context), root.window)
    if root.window.before:
        if payload is not None:
            raise NotSupported("native histograms in an anchored or smoothed range that is the result are not "
                               "supported yet")
        samples = [with_borders(ts, values, root.window, root.smoothed) for ts, values in samples]
    rows = [row for row in range(len(samples)) if samples[row][0].size]
    series = take(series, np.array(rows, np.int64))
    with env.context.reserved(SORT_BYTES * len(series)):
        order = label_order(series)
        series, rows = take(series, order), [rows[at] for at in order.tolist()]
    return QueryResult(ValueType.MATRIX, series, env.steps.times(), np.zeros((len(rows), 0)),
                       np.zeros((len(rows), 0), np.bool_), [samples[row] for row in rows], payload)
