"""A job as it runs: what its section says, and what the global section says where that is silent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scraper.config import NATIVE_PROTOCOLS, PROTOCOLS, GlobalConfig, ScrapeConfig
from tsdb.ingest.exposition.metric_families import HistogramOptions
from tsdb.model.settings import Duration

REPORTS = ("up", "scrape_duration_seconds", "scrape_samples_scraped", "scrape_samples_post_metric_relabeling",
           "scrape_series_added")
"""Series about the scrape itself."""
EXTRA_REPORTS = ("scrape_timeout_seconds", "scrape_sample_limit", "scrape_body_size_bytes")
"""More of them, with `extra_scrape_metrics`."""

MEDIA_TYPES: Mapping[str, str] = {
    "PrometheusProto":
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
    "PrometheusText0.0.4": "text/plain;version=0.0.4",
    "PrometheusText1.0.0": "text/plain;version=1.0.0",
    "OpenMetricsText0.0.1": "application/openmetrics-text;version=0.0.1",
    "OpenMetricsText1.0.0": "application/openmetrics-text;version=1.0.0",
}
_ESCAPED = ("PrometheusText1.0.0", "OpenMetricsText1.0.0")
"""Protocols that know how names are escaped."""


@dataclass(frozen=True, slots=True)
class JobSettings:
    """Two that are equal need nothing to be done at a reload. Limits: 0 is none."""

    config: ScrapeConfig
    folder: Path
    """What relative file names are relative to."""
    interval: Duration
    timeout: Duration
    accept: str
    """Header of the requests."""
    body_size_limit: int
    sample_limit: int
    target_limit: int
    label_limit: int
    label_name_length_limit: int
    label_value_length_limit: int
    keep_dropped_targets: int
    legacy_names: bool
    extra_metrics: bool
    failure_log: Path | None
    histograms: HistogramOptions

    @classmethod
    def of(cls, base: GlobalConfig, job: ScrapeConfig, folder: Path, features: frozenset[str]) -> JobSettings:
        config = job.effective(base)
        native = config.scrape_native_histograms
        protocols = config.scrape_protocols
        if native is None and "native-histograms" in features:
            native = True
            protocols = NATIVE_PROTOCOLS if protocols == PROTOCOLS else protocols
        return cls(
            config=config,
            folder=folder,
            interval=config.interval(base),
            timeout=config.timeout(base),
            accept=accept_header(protocols, config.metric_name_escaping_scheme),
            body_size_limit=int(config.body_size_limit or 0),
            sample_limit=config.sample_limit or 0,
            target_limit=config.target_limit or 0,
            label_limit=config.label_limit or 0,
            label_name_length_limit=config.label_name_length_limit or 0,
            label_value_length_limit=config.label_value_length_limit or 0,
            keep_dropped_targets=config.keep_dropped_targets or 0,
            legacy_names=config.metric_name_validation_scheme == "legacy",
            extra_metrics=bool(config.extra_scrape_metrics) or "extra-scrape-metrics" in features,
            failure_log=folder / config.scrape_failure_log_file if config.scrape_failure_log_file else None,
            histograms=HistogramOptions(
                native=bool(native), classic=bool(config.always_scrape_classic_histograms),
                bucket_limit=config.native_histogram_bucket_limit,
                min_bucket_factor=config.native_histogram_min_bucket_factor,
                convert=bool(config.convert_classic_histograms_to_nhcb),
            ),
        )

    @property
    def reports(self) -> tuple[str, ...]:
        return REPORTS + EXTRA_REPORTS if self.extra_metrics else REPORTS

    @property
    def series_shape(self) -> tuple[Any, ...]:
        """What decides which series a scraped line becomes. Where a reload does not touch it, what is remembered of a
        target's series is kept."""
        return (self.config.honor_labels, self.config.metric_relabel_configs, self.sample_limit, self.label_limit,
                self.label_name_length_limit, self.label_value_length_limit, self.legacy_names, self.extra_metrics,
                self.histograms)

    @property
    def discovery(self) -> tuple[Any, ...]:
        """What decides which targets are found. Where a reload does not touch it, discovery goes on."""
        return self.folder, self.config.static_configs, self.config.file_sd_configs


def accept_header(protocols: tuple[str, ...], escaping: str) -> str:
    """``Accept`` with weights as Prometheus gives them: the best 0.6, then down by 0.1, anything last."""
    weight = len(MEDIA_TYPES) + 1
    parts = []
    for protocol in protocols:
        escaped = f";escaping={escaping}" if protocol in _ESCAPED else ""
        parts.append(f"{MEDIA_TYPES[protocol]}{escaped};q=0.{weight}")
        weight -= 1
    return ",".join([*parts, f"*/*;q=0.{weight}"])
