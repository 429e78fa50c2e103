"""Service discovery: where targets come from, a module for each mechanism.

A new mechanism is a module and a row in `MECHANISMS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from scraper.config import ScrapeConfig
from scraper.discovery.file import FileTargets
from scraper.discovery.groups import Discoverer
from scraper.discovery.static import StaticTargets
from scraper.discovery.statistics import DiscoveryStatistics

Build = Callable[[ScrapeConfig, Path, DiscoveryStatistics], list[Discoverer]]


def _static(job: ScrapeConfig, base: Path, statistics: DiscoveryStatistics) -> list[Discoverer]:
    return [StaticTargets(job.static_configs, statistics)] if job.static_configs else []


def _file(job: ScrapeConfig, base: Path, statistics: DiscoveryStatistics) -> list[Discoverer]:
    return [FileTargets(config, base, job.job_name, statistics) for config in job.file_sd_configs]


MECHANISMS: Mapping[str, Build] = {
    "static_configs": _static,
    "file_sd_configs": _file,
}
"""What builds the discoverers of a job, by the key of its section."""


def discoverers(job: ScrapeConfig, base: Path, statistics: DiscoveryStatistics) -> list[Discoverer]:
    """The job's mechanisms, in a fixed order. Names of files are relative to `base`. Raises ConfigError."""
    return [discoverer for build in MECHANISMS.values() for discoverer in build(job, base, statistics)]
