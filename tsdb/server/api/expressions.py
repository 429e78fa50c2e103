"""/api/v1/format_query, /api/v1/parse_query and /api/v1/query_exemplars: expressions that are not evaluated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson

from tsdb.model.errors import BadData, ExecutionError, ParseError
from tsdb.promql.ast import Expr, VectorSelector, walk
from tsdb.promql.syntax.parser import parse
from tsdb.promql.syntax.pretty import pretty
from tsdb.promql.syntax.tree import tree
from tsdb.server.api import parameters
from tsdb.server.api.json_result import time_text, value_text
from tsdb.server.api.queries import in_query_thread, new_context
from tsdb.server.http.answer import Answer, success, success_parts, success_sorted
from tsdb.server.http.route import Request
from tsdb.server.services import Services

if TYPE_CHECKING:
    from tsdb.storage.exemplars.selecting import StoredExemplar


async def format_query(services: Services, request: Request) -> Answer:
    return await _in_thread(services, lambda: success(pretty(_query(request))))


async def parse_query(services: Services, request: Request) -> Answer:
    def work() -> Answer:
        try:
            shape = tree(_query(request))
        except ExecutionError as problem:
            raise parameters.invalid("query", str(problem)) from None
        return success_sorted(shape)

    return await _in_thread(services, work)


async def query_exemplars(services: Services, request: Request) -> Answer:
    """Exemplars of the series of every selector in an expression."""
    start = parameters.time_or(request, "start", parameters.MIN_TIME)
    end = parameters.time_or(request, "end", parameters.MAX_TIME)
    if end < start:
        raise BadData("end timestamp must not be before start timestamp")
    context = new_context(services, request)

    def work() -> Answer:
        context.check()
        expr = parse(request.value("query"))
        selectors = [node.matchers for node in walk(expr) if isinstance(node, VectorSelector)]
        if not selectors:
            return Answer(204)
        found = services.storage.exemplars(selectors, start, end, context)
        shapes = [{"seriesLabels": series.labels, "exemplars": [_shape(each) for each in series.exemplars]}
                  for series in found]
        return success_parts([orjson.dumps(shapes)])

    return await in_query_thread(services, context, work)


def _shape(exemplar: StoredExemplar) -> dict[str, Any]:
    return {"labels": exemplar.labels, "value": value_text(exemplar.value),
            "timestamp": orjson.Fragment(time_text(exemplar.ts))}


def _query(request: Request) -> Expr:
    try:
        return parse(request.value("query"))
    except ParseError as problem:
        raise parameters.invalid("query", str(problem)) from None


async def _in_thread(services: Services, work: Callable[[], Answer]) -> Answer:
    """A long expression takes its time."""
    return await asyncio.get_running_loop().run_in_executor(services.queries, work)
