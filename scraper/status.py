"""What the scraper tells about its targets: to the API, to metrics, to people."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from scraper.discovery.statistics import DiscoveryStatistics
from tsdb.model.batch import Metadata
from tsdb.model.summary import Summary

INTERVAL_QUANTILES = (0.01, 0.05, 0.5, 0.9, 0.99)

Health = Literal["unknown", "up", "down"]


@dataclass(slots=True)
class TargetStatus:
    """An active target."""

    pool: str
    """Name of its job."""
    url: str
    """What is scraped, parameters included, passwords not."""
    labels: Mapping[str, str]
    """After relabeling, without those that begin with ``__``."""
    discovered_labels: Mapping[str, str]
    """Before relabeling."""
    interval_ms: int
    timeout_ms: int
    health: Health = "unknown"
    last_error: str = ""
    last_scrape_ms: int | None = None
    """Unix ms; None: never."""
    last_duration_s: float = 0.0
    metadata_count: int = 0
    """Families with metadata in the last scrapes."""
    read_metadata: Callable[[dict[bytes, Mapping[str, Metadata]]], Mapping[str, Metadata]] = lambda known: {}
    """Metadata by family, of the last scrapes. Made when asked for; given is what was made for other targets."""


@dataclass(frozen=True, slots=True)
class DroppedTarget:
    """A target that relabeling dropped."""

    pool: str
    discovered_labels: Mapping[str, str]


@dataclass(slots=True)
class PoolStatus:
    """A job's targets."""

    name: str
    active: list[TargetStatus]
    dropped: list[DroppedTarget]
    """At most `keep_dropped_targets`."""
    dropped_count: int
    """All of them."""
    target_limit: int = 0
    """0: none."""
    discovered: int = 0
    """Targets that discovery knows, before relabeling."""


def interval_summary() -> Summary:
    """Of lengths of intervals or syncs, in seconds."""
    return Summary(INTERVAL_QUANTILES)


@dataclass(slots=True)
class ScraperStatistics:
    """Counts since the start: what the metrics ``prometheus_target_*`` show. Changed on the scraper's event loop."""

    discovery: DiscoveryStatistics = field(default_factory=DiscoveryStatistics)
    interval_seconds: defaultdict[str, Summary] = field(default_factory=lambda: defaultdict(interval_summary))
    """Actual time from scrape to scrape, by the configured interval (``15s``)."""
    sync_seconds: defaultdict[str, Summary] = field(default_factory=lambda: defaultdict(interval_summary))
    """How long it took to make a job's targets of what was discovered, by job. Its count is that of the syncs."""
    sync_failed: Counter[str] = field(default_factory=Counter)
    """Discovered targets that no target could be made of, by job."""
    pools: int = 0
    """Jobs begun, tries that failed included."""
    pools_failed: int = 0
    pool_reloads: int = 0
    """Jobs that went on with another config."""
    pool_reloads_failed: int = 0
    reload_seconds: defaultdict[str, Summary] = field(default_factory=lambda: defaultdict(interval_summary))
    """How long a job took to go on with another config, by the configured interval."""
    exceeded_target_limit: int = 0
    """Syncs of a job over its `target_limit`."""
    exceeded_label_limits: int = 0
    """Scrapes over a limit on labels."""
    exceeded_sample_limit: int = 0
    exceeded_bucket_limit: int = 0
    """Scrapes with a native histogram of too many buckets."""
    exceeded_series_limit: int = 0
    """Scrapes with new series that storage refused."""
    exceeded_body_size_limit: int = 0
    duplicate_timestamp: int = 0
    """Samples rejected, here and below."""
    out_of_order: int = 0
    out_of_bounds: int = 0
    exemplars_out_of_order: int = 0
    scrapes: int = 0
    scrapes_failed: int = 0
    scrapes_lost: int = 0
    """Scrapes whose samples the storage could not take."""
