"""Counts of queries by metric and by who asked, bounded in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from tsdb.server.usage.source import Source

MOST_SOURCES: Final = 20
"""Of one metric; of more, the one that asked longest ago is forgotten, and its queries stay counted."""
METRIC_BYTES: Final = 300
SOURCE_BYTES: Final = 400
"""Of one among a metric's sources, about, with its texts."""


@dataclass(slots=True)
class Count:
    queries: int = 0
    last: int = 0
    """Unix s"""

    def add(self, queries: int, at: int) -> None:
        self.queries += queries
        self.last = max(self.last, at)


@dataclass(slots=True)
class Metric:
    """Who queried one metric. `sources` are in the order in which they asked last."""

    total: Count = field(default_factory=Count)
    sources: dict[Source, Count] = field(default_factory=dict)


class Records:
    """By metric. One thread at a time."""

    def __init__(self, since: int, most_bytes: int) -> None:
        """`since`: when counting began, Unix s."""
        self.since = since
        self.most_bytes = most_bytes
        self.metrics: dict[str, Metric] = {}
        self.bytes = 0
        """Taken, about."""
        self.refused = False
        """Whether there was a metric that had no room."""

    def add(self, names: Iterable[str], source: Source, queries: int, at: int) -> None:
        """`queries` of a source that asked for all of the metrics, the last of them at `at` (Unix s)."""
        for name in names:
            metric = self.metrics.get(name)
            if metric is None:
                if self.bytes + METRIC_BYTES + SOURCE_BYTES > self.most_bytes:
                    self.refused = True
                    continue
                metric = self.metrics[name] = Metric()
                self.bytes += METRIC_BYTES + len(name)
            metric.total.add(queries, at)
            count = metric.sources.pop(source, None)
            if count is None:
                count = Count()
                self.bytes += SOURCE_BYTES
                while metric.sources and (len(metric.sources) >= MOST_SOURCES or self.bytes > self.most_bytes):
                    del metric.sources[next(iter(metric.sources))]
                    self.bytes -= SOURCE_BYTES
            count.add(queries, at)
            metric.sources[source] = count

    def keep_only(self, names: Collection[str]) -> None:
        """Forgets all other metrics."""
        for name in self.metrics.keys() - set(names):
            self.bytes -= METRIC_BYTES + len(name) + SOURCE_BYTES * len(self.metrics.pop(name).sources)
        self.refused = False
