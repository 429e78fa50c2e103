"""Metrics of the query engine."""

from __future__ import annotations

from collections.abc import Mapping

from tsdb.model.summary import Summary
from tsdb.server.metrics.table import Row, Value

SLICES = ("queue_time", "prepare_time", "inner_eval", "result_sort")
"""Parts of a query's time: waiting for a thread, resolving its selectors, evaluation, sorting the result."""


def _read(slices: Mapping[str, Summary]) -> dict[tuple[str, ...], Value]:
    return {(name,): seconds.read() for name, seconds in slices.items()}


QUERIES: tuple[Row[Mapping[str, Summary]], ...] = (
    Row("prometheus_engine_query_duration_seconds", "summary", "Time of queries by part.", _read, ("slice",)),
)
