"""/api/v1/export: samples as they are, in the formats of others, as VictoriaMetrics' API has it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Executor, Future
from typing import Any

from tsdb.exports.extent import within
from tsdb.exports.formats import FORMATS
from tsdb.exports.losses import Losses
from tsdb.model.context import Limits, RequestContext
from tsdb.model.errors import BadData, ConfigError, ParseError, Unavailable
from tsdb.model.matchers import Matcher
from tsdb.server.api import parameters
from tsdb.server.api.queries import client_query, in_query_thread
from tsdb.server.http.answer import Answer
from tsdb.server.http.route import Request
from tsdb.server.queries.running import Query
from tsdb.server.services import Services

RETRY_S = 10
STALL_S = 300.0
"""A client that does not take a part within this time keeps others waiting: its export breaks off."""


async def export(services: Services, request: Request) -> Answer:
    """Samples of the series of any ``match[]``, part by part. What fails before the first part is answered as by other
    queries; later the connection breaks off."""
    matcher_sets = _selectors(request)
    start, end = _time(request, "start"), _time(request, "end")
    name = request.value("format") or "jsonl"
    if name not in FORMATS:
        raise BadData(f"invalid format {parameters.quoted(name)}: it is one of {', '.join(FORMATS)}")
    form = FORMATS[name]
    options = {key: read(request, key) for key, read in OPTIONS.items() if key in form.options and request.value(key)}
    exporting = _begun(services, request)
    losses = exporting.losses

    def first() -> bytes | None:
        mint, maxt = within(services.storage, start, end)
        exporting.asked.start, exporting.asked.end = mint, max(mint, maxt)
        try:
            exporting.parts = form.export(services.storage, matcher_sets, mint, maxt, losses, context=exporting.context,
                                          **options)
        except ConfigError as problem:
            raise BadData(str(problem)) from None
        return next(exporting, None)

    try:
        part = await in_query_thread(services, exporting.context, first)
    except BaseException as problem:
        exporting.end(problem)
        raise
    answer = Answer(200, [] if part is None else [part], form.content_type)
    answer.rest = answer.source = exporting
    return answer


class Exporting:
    """An export under way: the iterator of its parts, which are made where queries run."""

    def __init__(self, services: Services, asked: Query) -> None:
        self.losses = Losses()
        self.context = asked.context
        self.parts: Generator[bytes] | None = None
        self._services = services
        self.asked = asked
        self._lock = threading.Lock()
        """Held while a part is made."""

    @property
    def executor(self) -> Executor:
        return self._services.queries

    def __iter__(self) -> Exporting:
        return self

    def __next__(self) -> bytes:
        with self._lock:
            if self.parts is None:
                raise StopIteration
            return next(self.parts)

    def seconds_left(self) -> float:
        deadline = self.context.deadline
        return STALL_S if deadline is None else min(STALL_S, deadline - time.monotonic())

    def end(self, problem: BaseException | None) -> None:
        """See `tsdb.server.http.answer.Source`."""
        if problem is not None:
            self.context.cancelled.set()

        def closed(done: Future[None]) -> None:
            if done.cancelled():  # the server stops
                self._close(problem)

        try:
            self.executor.submit(self._close, problem).add_done_callback(closed)
        except RuntimeError:
            self._close(problem)

    def _close(self, problem: BaseException | None) -> None:
        services = self._services
        with self._lock:
            if self.parts is not None:
                self.parts.close()
        services.exporting.discard(self.asked.id)
        services.running.leave(self.asked, problem)
        if told := self.losses.messages():
            services.log.warning("an export left something out", extra={"fields": {
                "query": self.asked.text, "client": self.asked.remote, "lost": "; ".join(told)}})


def _begun(services: Services, request: Request) -> Exporting:
    """Registered as a query. Raises Unavailable where too many run."""
    config = services.config.query
    if len(services.exporting) >= config.max_concurrent_exports > 0:
        raise Unavailable(f"{len(services.exporting)} exports run already (query.max_concurrent_exports)", RETRY_S)
    limit_s = config.export_timeout.seconds
    context = RequestContext.with_timeout(parameters.timeout(request, limit_s)) if limit_s else RequestContext()
    context.principal = request.principal
    context.limits = Limits(config.max_samples, max_bytes=int(config.max_memory) or services.query_memory)
    text = " or ".join(request.form.get("match[]", ()))
    asked = client_query(request, text, 0, 0, 0, context)
    services.running.arrive(asked)
    asked.began = time.perf_counter()
    services.exporting.add(asked.id)
    return Exporting(services, asked)


def _selectors(request: Request) -> list[tuple[Matcher, ...]]:
    if request.form_error:
        raise BadData(f"error parsing form values: {request.form_error}")
    try:
        found = parameters.selectors(request)
    except ParseError as problem:
        raise parameters.invalid("match[]", str(problem)) from None
    if not found:
        raise BadData("no match[] parameter provided")
    return found


def _time(request: Request, name: str) -> int | None:
    return parameters.time_or(request, name, 0) if request.value(name) else None


def _rows(request: Request, name: str) -> int:
    return max(parameters.number(request, name), 0)


def _time_format(request: Request, name: str) -> str:
    from tsdb.exports.csv import TIME_FORMATS

    value = request.value(name)
    if value not in TIME_FORMATS:
        raise BadData(f"invalid {name} {parameters.quoted(value)}: it is one of {', '.join(TIME_FORMATS)}")
    return value


OPTIONS: dict[str, Callable[[Request, str], Any]] = {"max_rows_per_line": _rows, "time_format": _time_format}
"""Of formats: parameters, and how they are read."""
