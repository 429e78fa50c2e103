"""/api/v1/status/self_metrics: the server's own metrics as JSON, each family as protobuf's JSON has it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from math import isfinite, isnan
from typing import Any

import re2
from prometheus_client.core import Metric

from tsdb.server.api import parameters
from tsdb.server.http.answer import Answer, success
from tsdb.server.http.route import Request
from tsdb.server.services import Services

Shape = dict[str, Any]

_TYPES = {"counter": "COUNTER", "gauge": "GAUGE", "summary": "SUMMARY", "histogram": "HISTOGRAM"}


async def self_metrics(services: Services, request: Request) -> Answer:
    pattern = request.value("metric_name_pattern")
    try:
        wanted = re2.compile(f"^(?:{pattern or '.*'})$")
    except re2.error:
        raise parameters.invalid("metric_name_pattern", f"{parameters.quoted(pattern)} is no expression") from None
    gathered = services.metrics.gather()

    def work() -> Answer:
        found = [each for each in map(family, gathered.collect()) if wanted.search(each["name"])]
        return success(sorted(found, key=lambda each: str(each["name"])))

    return await asyncio.get_running_loop().run_in_executor(services.chores, work)


def family(metric: Metric) -> Shape:
    """One family: integers are text, what is infinite has a name."""
    kind = _TYPES.get(metric.type, "UNTYPED")
    name = f"{metric.name}_total" if kind == "COUNTER" else metric.name
    return {"name": name, "help": metric.documentation, "type": kind, "metric": list(_series(metric, kind))}


def _series(metric: Metric, kind: str) -> Iterable[Shape]:
    found: dict[tuple[tuple[str, str], ...], Shape] = {}
    for sample in metric.samples:
        labels = {name: value for name, value in sample.labels.items() if name not in ("le", "quantile")}
        key = tuple(sorted(labels.items()))
        series = found.get(key)
        if series is None:
            series = found[key] = {"label": [{"name": name, "value": value} for name, value in key]} if key else {}
        value: Shape = series.setdefault(kind.lower(), {})
        if kind not in ("SUMMARY", "HISTOGRAM"):
            value["value"] = _number(sample.value)
        elif sample.name.endswith("_count"):
            value["sampleCount"] = str(int(sample.value))
        elif sample.name.endswith("_sum"):
            value["sampleSum"] = _number(sample.value)
        elif "quantile" in sample.labels:
            quantile = {"quantile": _number(float(sample.labels["quantile"])), "value": _number(sample.value)}
            value.setdefault("quantile", []).append(quantile)
        elif "le" in sample.labels:
            bucket = {"cumulativeCount": str(int(sample.value)), "upperBound": _number(float(sample.labels["le"]))}
            value.setdefault("bucket", []).append(bucket)
    return found.values()


def _number(value: float) -> float | str:
    if isfinite(value):
        return value
    return "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"
