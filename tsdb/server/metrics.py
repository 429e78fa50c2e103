"""The server's own metrics, in a registry of its own. Names are Prometheus' where the meaning is, else tsdb_…."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from tsdb.model.batch import OUT_OF_ORDER, REASONS, TOO_OLD

if TYPE_CHECKING:
    from tsdb.storage import StorageStatistics

PROMETHEUS_VERSION = "3.5.0"
"""The Prometheus whose behaviour we match: Grafana decides by it what it may ask."""


@functools.cache
def version() -> str:
    try:
        return importlib.metadata.version("tsdb-server")
    except importlib.metadata.PackageNotFoundError:
        return "0+unknown"


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
        seconds = Summary(
            "prometheus_engine_query_duration_seconds", "Time of queries by part.", ["slice"], registry=registry
        )
        self.queue_seconds, self.eval_seconds = seconds.labels("queue_time"), seconds.labels("inner_eval")
        self.query_samples = Counter(
            "prometheus_engine_query_samples", "Samples that queries read.", registry=registry
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

    def collect(self) -> Iterator[Metric]:
        """All families, without the times of creation that prometheus_client adds to each counter."""
        for family in self.registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family

    def add_storage(self, statistics: Callable[[], StorageStatistics]) -> None:
        """Shows what storage counts, read when somebody scrapes."""
        self.registry.register(_StorageCollector(statistics))


STORAGE_METRICS: tuple[tuple[str, str, str, Callable[[StorageStatistics], float | None]], ...] = (
    ("prometheus_tsdb_head_series", "gauge", "Series in the head.", lambda s: s.series),
    ("prometheus_tsdb_head_samples_appended", "counter", "Samples appended.", lambda s: s.samples_appended),
    ("prometheus_tsdb_head_min_time", "gauge", "Oldest time in the head, ms.", lambda s: s.min_ts),
    ("prometheus_tsdb_head_max_time", "gauge", "Newest time in the head, ms.", lambda s: s.max_ts),
    ("prometheus_tsdb_out_of_order_samples", "counter", "Samples rejected as out of order.",
     lambda s: s.rejected[REASONS[OUT_OF_ORDER]]),
    ("prometheus_tsdb_out_of_bound_samples", "counter", "Samples rejected as out of bounds.",
     lambda s: s.rejected[REASONS[TOO_OLD]]),
    ("prometheus_tsdb_wal_segment_current", "gauge", "Number of the WAL segment being written.",
     lambda s: s.wal.segment),
    ("prometheus_tsdb_wal_storage_size_bytes", "gauge", "Size of the WAL.", lambda s: s.wal.size_bytes),
    ("prometheus_tsdb_wal_writes_failed", "counter", "Failed writes to the WAL.", lambda s: s.wal.write_failures),
    ("prometheus_tsdb_wal_corruptions", "counter", "Damaged places found in the WAL.", lambda s: s.wal.damaged),
    ("prometheus_tsdb_checkpoint_creations", "counter", "Checkpoints written.", lambda s: s.wal.checkpoints),
    ("prometheus_tsdb_checkpoint_creations_failed", "counter", "Checkpoints that failed.",
     lambda s: s.wal.checkpoint_failures),
    ("tsdb_wal_sync_failures", "counter", "Syncs of the WAL that failed.", lambda s: s.wal.sync_failures),
    ("tsdb_wal_appended_bytes", "counter", "Bytes appended to the WAL.", lambda s: s.wal.appended_bytes),
    ("tsdb_commits", "counter", "Group commits.", lambda s: s.commits),
    ("tsdb_commits_failed", "counter", "Group commits that failed.", lambda s: s.failed_commits),
    ("tsdb_symbols", "gauge", "Distinct label names and values.", lambda s: s.symbols),
    ("tsdb_label_pairs", "gauge", "Distinct pairs of label name and value.", lambda s: s.label_pairs),
    ("tsdb_chunk_windows", "gauge", "Two-hour files of sealed chunks.", lambda s: s.windows),
)
"""(metric, type, help, value): what storage counts. None: no value yet."""


WAL_SYNC = ("prometheus_tsdb_wal_fsync_duration_seconds", "summary", "How long syncs of the WAL to disk took.")


class _StorageCollector:
    def __init__(self, statistics: Callable[[], StorageStatistics]) -> None:
        self._statistics = statistics

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        statistics = self._statistics()
        for name, kind, text, read in STORAGE_METRICS:
            value = read(statistics)
            if value is not None:
                family = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
                yield family(name, text, value=float(value))
        name, _, text = WAL_SYNC
        wal = statistics.wal
        yield SummaryMetricFamily(name, text, count_value=wal.syncs, sum_value=wal.sync_seconds)
