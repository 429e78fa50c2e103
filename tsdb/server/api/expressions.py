"""/api/v1/format_query, /api/v1/parse_query and /api/v1/query_exemplars: expressions that are read and not run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tsdb.model.errors import BadData, ExecutionError, ParseError
from tsdb.promql.ast import Expr, VectorSelector, walk
from tsdb.promql.parser import parse
from tsdb.promql.pretty import pretty
from tsdb.promql.tree import tree
from tsdb.server.api import parameters
from tsdb.server.http.answer import Answer, success, success_sorted
from tsdb.server.http.route import Request
from tsdb.server.services import Services


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
    """Exemplars are not stored yet: what is valid has none."""
    start = parameters.time_or(request, "start", parameters.MIN_TIME)
    end = parameters.time_or(request, "end", parameters.MAX_TIME)
    if end < start:
        raise BadData("end timestamp must not be before start timestamp")

    def work() -> Answer:
        expr = parse(request.value("query"))
        if not any(isinstance(node, VectorSelector) for node in walk(expr)):
            return Answer(204)
        return success([])

    return await _in_thread(services, work)


def _query(request: Request) -> Expr:
    try:
        return parse(request.value("query"))
    except ParseError as problem:
        raise parameters.invalid("query", str(problem)) from None


async def _in_thread(services: Services, work: Callable[[], Answer]) -> Answer:
    """A long expression takes its time."""
    return await asyncio.get_running_loop().run_in_executor(services.queries, work)
