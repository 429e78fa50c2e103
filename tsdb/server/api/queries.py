"""/api/v1/query and /api/v1/query_range."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

import orjson

from tsdb.model.context import Limits, RequestContext
from tsdb.model.errors import BadData
from tsdb.server.api import parameters
from tsdb.server.api.json_result import encode_result
from tsdb.server.http.answer import TRUNCATED, Answer, success_parts
from tsdb.server.http.route import Request
from tsdb.server.services import Services

if TYPE_CHECKING:
    from tsdb.promql.result import QueryResult

T = TypeVar("T")


async def query(services: Services, request: Request) -> Answer:
    limit = parameters.limit(request)
    moment = parameters.query_time(request, time.time_ns() // 1_000_000)
    lookback = parameters.lookback_delta(request, services.config.query.lookback_delta)
    expr = request.value("query")

    def evaluate(context: RequestContext) -> QueryResult:
        return services.promql.query(expr, moment, context, lookback)

    small = services.small.is_small(services.storage, expr, moment, moment, 0,
                                    lookback or services.config.query.lookback_delta)
    return await _run(services, request, evaluate, limit, small)


async def query_range(services: Services, request: Request) -> Answer:
    limit = parameters.limit(request)
    start, end, step = parameters.query_range(request)
    lookback = parameters.lookback_delta(request, services.config.query.lookback_delta)
    expr = request.value("query")

    def evaluate(context: RequestContext) -> QueryResult:
        return services.promql.query_range(expr, start, end, step, context, lookback)

    small = services.small.is_small(services.storage, expr, start, end, step,
                                    lookback or services.config.query.lookback_delta)
    return await _run(services, request, evaluate, limit, small)


def new_context(services: Services, request: Request) -> RequestContext:
    """The context of a request: its principal, deadline and limits. Raises BadData for a wrong ``timeout``."""
    seconds = parameters.timeout(request, services.config.query.timeout.seconds)
    context = RequestContext.with_timeout(seconds, services.query_threads)
    context.principal = request.principal
    context.limits = Limits(max_samples=services.config.query.max_samples)
    return context


async def in_query_thread(services: Services, context: RequestContext, work: Callable[[], T]) -> T:
    """Runs `work` where queries run, after those that wait already. If the client leaves, the work is cancelled."""
    try:
        return await asyncio.get_running_loop().run_in_executor(services.queries, work)
    except asyncio.CancelledError:
        context.cancelled.set()
        raise


async def _run(
    services: Services, request: Request, evaluate: Callable[[RequestContext], QueryResult], limit: int, small: bool
) -> Answer:
    context = new_context(services, request)
    metrics = services.metrics
    queued = time.perf_counter()

    def evaluated() -> tuple[QueryResult, bytes]:
        began = time.perf_counter()
        seconds = metrics.query_seconds
        seconds["queue_time"].observe(began - queued)
        context.check()
        try:
            result = evaluate(context)
        except BadData as problem:
            raise parameters.invalid("query", str(problem)) from None
        ended = time.perf_counter()
        used = context.statistics
        seconds["prepare_time"].observe(used.prepare_seconds)
        seconds["result_sort"].observe(used.sort_seconds)
        seconds["inner_eval"].observe(max(0.0, ended - began - used.prepare_seconds - used.sort_seconds))
        metrics.query_samples.inc(context.statistics.samples_read)
        return result, _stats(context, began - queued, ended - began) if request.value("stats") else b""

    def answer(result: QueryResult, stats: bytes) -> Answer:
        parts, cut = encode_result(result, limit)
        warnings = [*result.warnings, TRUNCATED] if cut else result.warnings
        return success_parts(chain([b"{"], parts, [stats + b"}"]), warnings, result.infos)

    metrics.queries.inc()
    try:
        if not small:
            return await in_query_thread(services, context, lambda: answer(*evaluated()))
        made = evaluated()
        if made[0].payload is None:
            return answer(*made)
        return await in_query_thread(services, context, lambda: answer(*made))  # histograms are long texts
    finally:
        metrics.queries.dec()


def _stats(context: RequestContext, queue_s: float, eval_s: float) -> bytes:
    statistics = context.statistics
    return b',"stats":' + orjson.dumps({
        "timings": {
            "evalTotalTime": eval_s,
            "resultSortTime": statistics.sort_seconds,
            "queryPreparationTime": statistics.prepare_seconds,
            "innerEvalTime": max(0.0, eval_s - statistics.prepare_seconds - statistics.sort_seconds),
            "execQueueTime": queue_s,
            "execTotalTime": queue_s + eval_s,
        },
        "samples": {"totalQueryableSamples": statistics.samples_read, "peakSamples": statistics.peak_bytes // 16},
    })
