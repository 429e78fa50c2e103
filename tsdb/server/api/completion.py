"""/api/tsdb/v1/completion: what may stand at the cursor of an unfinished query."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from tsdb.model.errors import BadData
from tsdb.model.labels import METRIC_NAME
from tsdb.model.matchers import Matcher
from tsdb.promql.syntax.parser import MAX_LENGTH
from tsdb.server.api import parameters
from tsdb.server.api.metadata import known_families
from tsdb.server.api.queries import in_query_thread, new_context
from tsdb.server.completion.complete import Index, complete
from tsdb.server.completion.texts import Texts
from tsdb.server.http.answer import Answer, success
from tsdb.server.http.route import Request
from tsdb.server.services import Services

_HOUR_MS: Final = 3_600_000
_LIMIT: Final = 100
_MOST: Final = 1000


async def completion(services: Services, request: Request) -> Answer:
    text = request.value("query")
    if len(text) > MAX_LENGTH:
        raise parameters.invalid("query", f"it is longer than {MAX_LENGTH} characters")
    cursor = parameters.number(request, "cursor")
    cursor = len(text) if cursor < 0 else cursor
    if cursor > len(text):
        raise BadData(f"cursor is {cursor}, and the query has {len(text)} characters")
    limit = parameters.number(request, "limit")
    limit = min(limit, _MOST) if limit > 0 else _LIMIT
    now = time.time_ns() // 1_000_000
    mint = parameters.time_or(request, "start", now - _HOUR_MS)
    maxt = parameters.time_or(request, "end", parameters.MAX_TIME)
    usual = not request.value("start") and not request.value("end")
    storage, known, usage = services.storage, services.known, services.running.usage
    context, read_families = new_context(services, request), known_families(services)

    def names(label: str | None, matchers: Sequence[Sequence[Matcher]]) -> list[str]:
        if not matchers:
            at_hand = storage.names_at_hand(label, mint, maxt)
            if at_hand is not None:
                return at_hand
        if label is None:
            return storage.label_names(matchers, mint, maxt, context)
        return storage.label_values(label, matchers, mint, maxt, context)

    def metrics() -> Texts:
        if usual:
            return known.metrics(lambda: names(METRIC_NAME, ()), services.chores.submit)
        return known.texts(names(METRIC_NAME, ()))

    index = Index(metrics, lambda matchers: names(None, matchers), names, lambda: known.families(read_families),
                  lambda: {} if usage is None else usage.counts(), context.check)

    def work() -> Answer:
        context.check()
        found = complete(text, cursor, limit, index)
        return success({"expected": found.expected, "from": found.start, "to": found.end,
                        "candidates": found.candidates, "hasMore": found.more})

    return await in_query_thread(services, context, work)
