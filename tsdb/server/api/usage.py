"""/api/v1/status/metric_names_stats: which metrics are queried, which never. VictoriaMetrics' endpoint and shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson
import re2

from tsdb.model.errors import BadData
from tsdb.model.labels import METRIC_NAME
from tsdb.server.api import parameters
from tsdb.server.api.queries import in_query_thread, new_context
from tsdb.server.http.answer import JSON, Answer, failure
from tsdb.server.http.route import Request
from tsdb.server.services import Services
from tsdb.server.usage.records import Metric

_LIMIT: Final = 1000
_MOST: Final = 100_000
_SIZES: Final = 10_000
"""Of so many metrics, those with the most series, it is told how many they are."""


async def metric_names_stats(services: Services, request: Request) -> Answer:
    """Of every metric that is stored."""
    usage = services.running.usage
    if usage is None:
        return _switched_off()
    limit = parameters.number(request, "limit", 'cannot parse "limit": give a number')
    limit = min(limit, _MOST) if limit > 0 else _LIMIT
    most = parameters.number(request, "le", 'cannot parse "le": give a number')
    wanted = _pattern(request)
    context = new_context(services, request)

    def work() -> Answer:
        report = usage.report()
        stored = services.storage.label_values(METRIC_NAME, [], parameters.MIN_TIME, parameters.MAX_TIME, context)
        sizes = dict(services.storage.cardinality(_SIZES).series_by_metric)
        nothing = Metric()
        rows = []
        for name in stored:
            metric = report.metrics.get(name, nothing)
            if (most < 0 or metric.total.queries <= most) and wanted(name):
                rows.append((metric.total.queries, -sizes.get(name, 0), name, metric))
        rows.sort(key=lambda row: row[:3])
        shape = {
            "status": "success", "statsCollectedSince": report.since, "statsCollectedRecordsTotal": len(stored),
            "trackerMemoryMaxSizeBytes": report.most_bytes, "trackerCurrentMemoryUsageBytes": report.bytes,
            "trackerFull": report.refused,
            "records": [_record(name, metric, sizes) for _, _, name, metric in rows[:limit]],
        }
        return Answer(200, [orjson.dumps(shape)], JSON)

    return await in_query_thread(services, context, work)


async def reset(services: Services, request: Request) -> Answer:
    usage = services.running.usage
    if usage is None:
        return _switched_off()
    await in_query_thread(services, new_context(services, request), usage.reset)
    return Answer(204)


def _record(name: str, metric: Metric, sizes: dict[str, int]) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "metricName": name, "queryRequestsCount": metric.total.queries, "lastQueryRequestTimestamp": metric.total.last,
    }
    if name in sizes:
        shape["seriesCount"] = sizes[name]
    shape["sources"] = [
        {"kind": source.kind, "name": source.name, **({"part": source.part} if source.part else {}),
         "queryRequestsCount": count.queries, "lastQueryRequestTimestamp": count.last}
        for source, count in reversed(metric.sources.items())
    ]
    return shape


def _pattern(request: Request) -> Callable[[str], object]:
    pattern = request.value("match_pattern")
    if not pattern:
        return lambda _: True
    options = re2.Options()
    options.log_errors = False
    try:
        search: Callable[[str], object] = re2.compile(pattern, options).search
    except re2.error as problem:
        raise BadData(f"match_pattern={parameters.quoted(pattern)} must be valid regex: {problem}") from None
    return search


def _switched_off() -> Answer:
    return failure(503, "unavailable", "queries are not counted by metric: query.usage_memory is 0")
