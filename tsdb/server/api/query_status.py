"""Queries that run now, that ran, and the end of one: VictoriaMetrics' endpoints, in its shapes, and one of our own."""

from __future__ import annotations

from typing import Final

import orjson

from tsdb.flags.values import GO_DURATION
from tsdb.model.errors import BadData
from tsdb.server.api import parameters
from tsdb.server.http.answer import JSON, Answer, dumps, failure, success
from tsdb.server.http.route import Request
from tsdb.server.queries.top import KEPT, LEAST_S
from tsdb.server.services import Services

_TOP: Final = 20
_MOST_TOP: Final = 10_000
_LIFETIME_S: Final = 600.0


async def active_queries(services: Services, request: Request) -> Answer:
    """The longest first."""
    rows = [
        {
            "duration": f"{query.total_seconds:.3f}s", "id": query.id, "remote_addr": query.remote, "query": query.text,
            "start": query.start, "end": query.end, "step": query.step,
            "state": "waiting" if query.began is None else "running", "principal": query.context.principal,
            "samples_read": query.context.statistics.samples_read, "memory_bytes": query.context.bytes_reserved,
        }
        for query in services.running.now()
    ]
    return Answer(200, [b'{"status":"ok","data":' + dumps(rows) + b"}"], JSON)


async def top_queries(services: Services, request: Request) -> Answer:
    most = parameters.number(request, "topN", 'cannot parse "topN": give a number')
    most = _TOP if most < 0 else min(most, _MOST_TOP)
    lifetime = _LIFETIME_S
    if request.value("maxLifetime"):
        try:
            lifetime = parameters.parse_seconds(request.value("maxLifetime"))
        except ValueError as problem:
            raise BadData(f'cannot parse "maxLifetime": {problem}') from None
    shape = {
        "topN": str(most), "maxLifetime": GO_DURATION.show(lifetime),
        "search.queryStats.lastQueriesCount": KEPT, "search.queryStats.minQueryDuration": GO_DURATION.show(LEAST_S),
        **services.running.top.tables(most, lifetime),
    }
    return Answer(200, [orjson.dumps(shape)], JSON)


async def cancel(services: Services, request: Request) -> Answer:
    id = request.path_values["id"]
    query = services.running.find(id)
    if query is None:
        return failure(404, "not_found", f"no query {parameters.quoted(id)} waits or runs: "
                                         "/api/v1/status/active_queries lists those that do")
    query.cancel()
    return success({"id": id, "query": query.text})
