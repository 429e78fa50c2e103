"""Metrics of service discovery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsdb.server.metrics.table import Row

if TYPE_CHECKING:
    from tsdb.server.metrics.scraping import Scraping

DISCOVERY: tuple[Row[Scraping], ...] = (
    Row("prometheus_sd_discovered_targets", "gauge", "Targets that discovery knows, before relabeling.",
        lambda s: {("scrape", job): count for job, count in s.discovered.items()}, ("name", "config")),
    Row("prometheus_sd_received_updates_total", "counter", "Times that a mechanism told of targets.",
        lambda s: {("scrape",): s.statistics.discovery.updates}, ("name",)),
    Row("prometheus_sd_refresh_failures_total", "counter", "Times that a mechanism that polls could not.",
        lambda s: {(mechanism, job): count for (mechanism, job), count in s.failures.items()}, ("mechanism", "config")),
    Row("prometheus_sd_file_read_errors_total", "counter",
        "Files of targets that could not be read or understood, each time.",
        lambda s: s.statistics.discovery.file_read_errors),
    Row("prometheus_sd_file_scan_duration_seconds", "summary", "How long it took to read files of targets.",
        lambda s: s.statistics.discovery.file_scan_seconds.read()),
    Row("prometheus_sd_file_mtime_seconds", "gauge", "When a file of targets had been changed, as it was read.",
        lambda s: {(name,): modified for name, modified in s.files.items()}, ("filename",)),
)
