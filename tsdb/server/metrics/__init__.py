"""The server's own metrics, in a registry of its own. Names are Prometheus' where the meaning is, else tsdb_…."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from tsdb.model.summary import Summary
from tsdb.server.metrics.discovery import DISCOVERY
from tsdb.server.metrics.queries import QUERIES, SLICES
from tsdb.server.metrics.scraping import SCRAPING, Scraping
from tsdb.server.metrics.storage import STORAGE
from tsdb.server.metrics.table import Row, Rows

if TYPE_CHECKING:
    from tsdb.storage import StorageStatistics

T = TypeVar("T")

PROMETHEUS_VERSION = "3.5.0"
"""The Prometheus whose behaviour we match: Grafana decides by it what it may ask."""


@functools.cache
def version() -> str:
    try:
        return importlib.metadata.version("tsdb-server")
    except importlib.metadata.PackageNotFoundError:
        return "0+unknown"


class Collector(Protocol):
    def collect(self) -> Iterable[Metric]: ...


class Gathered:
    """Families of several collectors, as prometheus_client's encoders take them."""

    def __init__(self, collectors: Sequence[Collector]) -> None:
        self._collectors = collectors

    def collect(self) -> Iterator[Metric]:
        """Those that have samples, without the times of creation that prometheus_client adds to each counter."""
        for collector in self._collectors:
            for family in collector.collect():
                family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
                if family.samples:
                    yield family


class Metrics:
    """All metrics of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self.requests = Counter(
            "prometheus_http_requests", "HTTP requests by route and status.", ["handler", "code"], registry=registry
        )
        self.request_seconds = Histogram(
            "prometheus_http_request_duration_seconds", "How long HTTP requests took.", ["handler"], registry=registry,
            buckets=(0.001, 0.01, 0.1, 0.2, 0.4, 1, 3, 8, 20, 60, 120),
        )
        self.response_bytes = Histogram(
            "prometheus_http_response_size_bytes", "Bytes of answers, compressed.", ["handler"], registry=registry,
            buckets=[100.0 * 10**power for power in range(8)],
        )
        self.bodies = Gauge(
            "tsdb_http_bodies_bytes", "Bytes of request bodies under way and of what they decompress to.",
            registry=registry,
        )
        self.queries = Gauge("prometheus_engine_queries", "Queries being executed or waiting.", registry=registry)
        self.queries_max = Gauge(
            "prometheus_engine_queries_concurrent_max", "How many queries run at once at most.", registry=registry
        )
        self.query_seconds: Mapping[str, Summary] = {name: Summary() for name in SLICES}
        registry.register(Rows(QUERIES, lambda: self.query_seconds))
        self.query_samples = Counter(
            "prometheus_engine_query_samples", "Samples that queries read.", registry=registry
        )
        self.query_log = Gauge("prometheus_engine_query_log_enabled", "1: queries are logged.", registry=registry)
        self.query_log_failures = Counter(
            "prometheus_engine_query_log_failures", "Queries that could not be logged.", registry=registry
        )
        self.received = Counter(
            "tsdb_remote_write_samples", "Samples received by remote_write, rejected ones included.", registry=registry
        )
        self.rejected = Counter(
            "tsdb_ingest_rejected_samples", "Samples rejected for ever, by reason.", ["reason"], registry=registry
        )
        self._config_successful = Gauge(
            "prometheus_config_last_reload_successful", "1: the config in use is the one in the file.",
            registry=registry,
        )
        self._config_time = Gauge(
            "prometheus_config_last_reload_success_timestamp_seconds", "When the config in use was read.",
            registry=registry,
        )
        self.ready = Gauge("prometheus_ready", "1 once the server answers queries.", registry=registry)
        build = Gauge(
            "prometheus_build_info", "The Prometheus version whose behaviour this server matches.",
            ["version", "revision", "branch", "goversion", "goos", "goarch", "tags"], registry=registry,
        )
        build.labels(PROMETHEUS_VERSION, "", "", "", platform.system().lower(), platform.machine(), "").set(1)
        own = Gauge("tsdb_build_info", "This server's version.", ["version", "pythonversion"], registry=registry)
        own.labels(version(), platform.python_version()).set(1)
        self._observers: dict[str, tuple[Any, Any]] = {}
        self._counters: dict[tuple[str, int], Any] = {}
        self._on_loop: list[tuple[Sequence[Row[Any]], Callable[[], Any]]] = []

    def config_loaded(self) -> None:
        """The config that the file has now is in use."""
        self._config_successful.set(1)
        self._config_time.set_to_current_time()

    def config_failed(self) -> None:
        """It is not."""
        self._config_successful.set(0)

    def observe_request(self, handler: str, code: int, seconds: float, size: int) -> None:
        """Counts one request; `handler` is a route's path."""
        known = self._observers.get(handler)
        if known is None:
            known = self.request_seconds.labels(handler), self.response_bytes.labels(handler)
            self._observers[handler] = known
        counter = self._counters.get((handler, code))
        if counter is None:
            counter = self._counters[(handler, code)] = self.requests.labels(handler, str(code))
        known[0].observe(seconds)
        known[1].observe(size)
        counter.inc()

    def gather(self) -> Gathered:
        """What `/metrics` shows, to be rendered by any thread. Called on the event loop: what lives there is read now,
        the rest when it is rendered."""
        return Gathered([self.registry, *(Rows(rows, _constant(observe())) for rows, observe in self._on_loop)])

    def add_storage(self, statistics: Callable[[], StorageStatistics]) -> None:
        """Shows what storage counts, read when somebody scrapes, by any thread."""
        self.registry.register(Rows(STORAGE, statistics))

    def add_scraping(self, observe: Callable[[], Scraping]) -> None:
        """Shows what the scraper does; `observe` is called on the event loop."""
        self._on_loop.append(((*SCRAPING, *DISCOVERY), observe))


def _constant(value: T) -> Callable[[], T]:
    return lambda: value


def reference() -> list[tuple[str, str, str, str]]:
    """The table of metrics: (name, type, part that it tells of, help), besides those of process and Python."""
    found = [
        (family.name + ("_total" if family.type == "counter" else ""), family.type, "server", family.documentation)
        for family in Metrics().registry.collect()
        if family.name.startswith(("prometheus_", "tsdb_"))
    ]
    parts: tuple[tuple[str, Sequence[Row[Any]]], ...] = (
        ("storage", STORAGE), ("scraper", SCRAPING), ("discovery", DISCOVERY),
    )
    found += [(row.name, row.type, part, row.help) for part, rows in parts for row in rows]
    return sorted(found)
