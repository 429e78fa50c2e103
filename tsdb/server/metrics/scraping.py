"""Metrics of the scraper."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tsdb.server.metrics.table import Row, Value

if TYPE_CHECKING:
    from scraper.scraper import Scraper
    from scraper.status import ScraperStatistics
    from tsdb.model.summary import Summary


@dataclass(frozen=True, slots=True)
class Scraping:
    """The scraper at one moment."""

    statistics: ScraperStatistics
    targets: Mapping[str, int]
    """Active ones, by job."""
    target_limits: Mapping[str, int]
    """By job; 0: none."""
    metadata: Mapping[str, int]
    """Families with metadata of all targets, by job."""
    discovered: Mapping[str, int]
    """Targets before relabeling, by job."""
    failures: Mapping[tuple[str, str], int]
    """Of discovery that polls, by mechanism and job."""
    files: Mapping[str, float]
    """When files of targets had been changed, Unix s."""


def observed(scraper: Scraper) -> Scraping:
    """Called on the scraper's event loop."""
    pools = scraper.pools()
    return Scraping(
        scraper.statistics,
        {pool.name: len(pool.active) for pool in pools},
        {pool.name: pool.target_limit for pool in pools},
        {pool.name: sum(target.metadata_count for target in pool.active) for pool in pools},
        {pool.name: pool.discovered for pool in pools},
        scraper.statistics.discovery.refresh_failures.copy(),
        scraper.statistics.discovery.file_modified_seconds(),
    )


def _labelled(read: Callable[[Scraping], Mapping[str, int]]) -> Callable[[Scraping], dict[tuple[str, ...], Value]]:
    return lambda s: {(name,): value for name, value in dict(read(s)).items()}


def _summaries(read: Callable[[ScraperStatistics], Mapping[str, Summary]],
               ) -> Callable[[Scraping], dict[tuple[str, ...], Value]]:
    return lambda s: {(name,): value.read() for name, value in dict(read(s.statistics)).items()}


_INTERVAL, _JOB = ("interval",), ("scrape_job",)

SCRAPING: tuple[Row[Scraping], ...] = (
    Row("prometheus_target_interval_length_seconds", "summary", "Actual time from scrape to scrape.",
        _summaries(lambda s: s.interval_seconds), _INTERVAL),
    Row("prometheus_target_sync_length_seconds", "summary", "How long it took to make targets of what was discovered.",
        _summaries(lambda s: s.sync_seconds), _JOB),
    Row("prometheus_target_reload_length_seconds", "summary", "How long a job took to go on with another config.",
        _summaries(lambda s: s.reload_seconds), _INTERVAL),
    Row("prometheus_target_scrape_pool_sync_total", "counter", "Times that targets were made of what was discovered.",
        lambda s: {(job,): seconds.count for job, seconds in dict(s.statistics.sync_seconds).items()}, _JOB),
    Row("prometheus_target_sync_failed_total", "counter", "Discovered targets that no target could be made of.",
        _labelled(lambda s: s.statistics.sync_failed), _JOB),
    Row("prometheus_target_scrape_pool_targets", "gauge", "Targets of a job.", _labelled(lambda s: s.targets), _JOB),
    Row("prometheus_target_scrape_pool_target_limit", "gauge", "Most targets of a job; 0: no limit.",
        _labelled(lambda s: s.target_limits), _JOB),
    Row("prometheus_target_metadata_cache_entries", "gauge", "Metric families with metadata, target by target.",
        _labelled(lambda s: s.metadata), _JOB),
    Row("prometheus_target_scrape_pools_total", "counter", "Jobs begun, tries that failed included.",
        lambda s: s.statistics.pools),
    Row("prometheus_target_scrape_pools_failed_total", "counter", "Jobs that could not begin.",
        lambda s: s.statistics.pools_failed),
    Row("prometheus_target_scrape_pool_reloads_total", "counter", "Jobs that went on with another config.",
        lambda s: s.statistics.pool_reloads),
    Row("prometheus_target_scrape_pool_reloads_failed_total", "counter", "Jobs that could not.",
        lambda s: s.statistics.pool_reloads_failed),
    Row("prometheus_target_scrape_pool_exceeded_target_limit_total", "counter",
        "Times that a job had too many targets.", lambda s: s.statistics.exceeded_target_limit),
    Row("prometheus_target_scrape_pool_exceeded_label_limits_total", "counter",
        "Scrapes with too many, or too long, labels.", lambda s: s.statistics.exceeded_label_limits),
    Row("prometheus_target_scrapes_exceeded_sample_limit_total", "counter", "Scrapes with too many samples.",
        lambda s: s.statistics.exceeded_sample_limit),
    Row("prometheus_target_scrapes_exceeded_native_histogram_bucket_limit_total", "counter",
        "Scrapes with a native histogram of too many buckets.", lambda s: s.statistics.exceeded_bucket_limit),
    Row("tsdb_target_scrapes_exceeded_series_limit_total", "counter",
        "Scrapes with new series that `storage.limits` refused; their other samples were taken.",
        lambda s: s.statistics.exceeded_series_limit),
    Row("prometheus_target_scrapes_exceeded_body_size_limit_total", "counter", "Scrapes with too large an answer.",
        lambda s: s.statistics.exceeded_body_size_limit),
    Row("prometheus_target_scrapes_sample_duplicate_timestamp_total", "counter",
        "Scraped samples rejected: the series has another value at this time.",
        lambda s: s.statistics.duplicate_timestamp),
    Row("prometheus_target_scrapes_sample_out_of_order_total", "counter",
        "Scraped samples rejected: the series has a newer one.", lambda s: s.statistics.out_of_order),
    Row("prometheus_target_scrapes_sample_out_of_bounds_total", "counter",
        "Scraped samples rejected: too old, or too far in the future.", lambda s: s.statistics.out_of_bounds),
    Row("prometheus_target_scrapes_exemplar_out_of_order_total", "counter",
        "Scraped exemplars rejected: the series has a newer one.", lambda s: s.statistics.exemplars_out_of_order),
    Row("tsdb_scrapes_total", "counter", "Scrapes, whatever came of them.", lambda s: s.statistics.scrapes),
    Row("tsdb_scrapes_failed_total", "counter", "Scrapes that failed: `up` was 0.",
        lambda s: s.statistics.scrapes_failed),
    Row("tsdb_scrapes_lost_total", "counter", "Scrapes whose samples storage could not take.",
        lambda s: s.statistics.scrapes_lost),
)
