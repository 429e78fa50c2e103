"""/api/v1/query and /api/v1/query_range."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from itertools import chain
from math import inf
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import orjson

from tsdb.model.context import Limits, RequestContext
from tsdb.model.errors import BadData, LimitExceeded, NotReady, QueryTimeout
from tsdb.server.api import parameters
from tsdb.server.api.json_result import encode_result
from tsdb.server.api.small import confine
from tsdb.server.http.answer import TRUNCATED, Answer, success_parts
from tsdb.server.http.route import Request
from tsdb.server.queries.running import Query, shape
from tsdb.server.services import Phase, Services
from tsdb.server.usage.source import source_of

if TYPE_CHECKING:
    from tsdb.promql.result import QueryResult

T = TypeVar("T")


async def query(services: Services, request: Request) -> Answer:
    limit = parameters.limit(request)
    moment = parameters.query_time(request, time.time_ns() // 1_000_000)
    lookback = parameters.lookback_delta(request, services.config.query.lookback_delta)
    explain = parameters.boolean(request, "explain", "explain is not a boolean")
    resolution = parameters.max_source_resolution(request)
    asked = _query(services, request, moment, moment, 0)

    def evaluate() -> QueryResult:
        return services.promql.query(asked.text, moment, asked.context, lookback, explain=explain,
                                     max_source_resolution_ms=resolution)

    return await _run(services, request, asked, evaluate, (lookback, resolution, limit))


async def query_range(services: Services, request: Request) -> Answer:
    limit = parameters.limit(request)
    start, end, step = parameters.query_range(request, services.config.query.max_points)
    lookback = parameters.lookback_delta(request, services.config.query.lookback_delta)
    explain = parameters.boolean(request, "explain", "explain is not a boolean")
    resolution = parameters.max_source_resolution(request)
    asked = _query(services, request, start, end, step)

    def evaluate() -> QueryResult:
        return services.promql.query_range(asked.text, start, end, step, asked.context, lookback,
                                           explain=explain, max_source_resolution_ms=resolution)

    return await _run(services, request, asked, evaluate, (lookback, resolution, limit))


def new_context(services: Services, request: Request) -> RequestContext:
    """The context of a request: its principal, deadline and limits. Raises BadData for a wrong ``timeout``."""
    config = services.config.query
    context = RequestContext.with_timeout(parameters.timeout(request, config.timeout.seconds), services.query_threads)
    context.principal = request.principal
    context.limits = Limits(config.max_samples, config.max_series, int(config.max_memory) or services.query_memory)
    return context


async def small_or_in_thread(services: Services, request: Request, context: RequestContext, key: Hashable, start: int,
                             end: int, work: Callable[[RequestContext], Answer],
                             begun: Callable[[Future[Answer]], None] | None = None) -> Answer:
    """Does `work` at once where it is small (`tsdb.server.api.small`: `key`, `start` and `end` tell work apart), else
    where queries run, as `in_query_thread`."""
    small = services.small
    took = 0.0

    def timed() -> Answer:
        nonlocal took
        began = time.perf_counter()
        answer = work(context)
        took = time.perf_counter() - began
        return answer

    if small.fits(key, start, end):
        confine(context)
        try:
            answer = timed()
        except (LimitExceeded, QueryTimeout):
            small.took(key, start, end, inf)
            context = new_context(services, request)
        else:
            small.took(key, start, end, took)
            return answer
    answer = await in_query_thread(services, context, timed, begun)
    small.took(key, start, end, took)
    return answer


async def in_query_thread(services: Services, context: RequestContext, work: Callable[[], T],
                          begun: Callable[[Future[T]], None] | None = None) -> T:
    """Runs `work` where queries run, after those that wait already; `begun` is given its future first. If the client
    leaves, the work is cancelled. Raises QueryTimeout, QueryCanceled where that happens while it waits."""
    future = services.queries.submit(work)
    if begun is not None:
        begun(future)
    left = None if context.deadline is None else context.deadline - time.monotonic()
    # who runs already looks at the clock itself, and cannot be cancelled so
    timer = None if left is None else asyncio.get_running_loop().call_later(left, future.cancel)
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            context.cancelled.set()
            raise
        if services.phase is Phase.STOPPING:
            raise NotReady("the server is stopping: ask again") from None
        if context.cancelled.is_set():
            context.check()
        raise context.timed_out("query queue") from None
    finally:
        if timer is not None:
            timer.cancel()


def _query(services: Services, request: Request, start: int, end: int, step: int) -> Query:
    return client_query(request, request.value("query"), start, end, step, new_context(services, request))


def client_query(request: Request, text: str, start: int, end: int, step: int, context: RequestContext) -> Query:
    """A query as the client of a request asks it. Times are ms."""
    http = request.http
    peer = http.transport.get_extra_info("peername") if http.transport is not None else None
    host, port = peer[:2] if isinstance(peer, tuple) else ("", 0)
    client = {"clientIP": host, "method": http.method, "path": http.path}
    return Query(text, start, end, step, context, f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
                 {"httpRequest": client}, source_of(http.headers))


async def _run(services: Services, request: Request, asked: Query, evaluate: Callable[[], QueryResult],
               options: tuple[int, int | None, int]) -> Answer:
    """`options`: lookback, resolution (ms), and how many series to answer with."""
    running = services.running
    wanted = request.value("stats")
    by_step = bool(wanted) or running.log is not None
    asked.per_step = wanted == "all"

    def evaluated() -> tuple[QueryResult, bytes]:
        statistics = asked.context.statistics
        if by_step:
            steps = 1 if asked.step <= 0 else (asked.end - asked.start) // asked.step + 1
            statistics.by_step = np.zeros(steps, np.int64)
        with running.evaluation(asked):
            try:
                result = evaluate()
            except BadData as problem:
                raise parameters.invalid("query", str(problem)) from None
            finally:
                services.metrics.query_samples.inc(statistics.samples_read)
        more = b',"stats":' + orjson.dumps(shape(asked, result.tiers_used)) if wanted else b""
        if result.explanation is not None:
            more += b',"explain":' + orjson.dumps(result.explanation.as_dict())
        return result, more

    def answer(context: RequestContext) -> Answer:
        asked.context = context
        result, stats = evaluated()
        parts, cut = encode_result(result, options[2], context.reserve)
        warnings = [*result.warnings, TRUNCATED] if cut else result.warnings
        return success_parts(chain([b"{"], parts, [stats + b"}"]), warnings, result.infos)

    def begun(future: Future[Answer]) -> None:
        asked.future = future
        future.add_done_callback(lambda done: running.leave(asked, _problem(done)))

    running.arrive(asked)
    try:
        made = await small_or_in_thread(services, request, asked.context, (asked.text, asked.step, options),
                                        asked.start, asked.end, answer, begun)
    except BaseException as problem:
        if asked.future is None:
            running.leave(asked, problem)
        raise
    if asked.future is None:
        running.leave(asked, None)
    return made


def _problem(done: Future[Answer]) -> BaseException | None:
    return asyncio.CancelledError() if done.cancelled() else done.exception()
