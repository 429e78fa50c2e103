"""What all targets of a job share, built from its settings."""

from __future__ import annotations

import asyncio

from scraper.discovery import discoverers
from scraper.discovery.statistics import DiscoveryStatistics
from scraper.failure_log import FailureLog
from scraper.settings import JobSettings
from tsdb.ingest.exposition.scrape_series import SeriesLimits
from tsdb.net.client import HttpClient
from tsdb.relabel.rules import Relabeling


class Job:
    """A reload replaces the whole; scrapes under way end with the one that they began with."""

    def __init__(self, settings: JobSettings, user_agent: str, statistics: DiscoveryStatistics) -> None:
        """Raises ConfigError."""
        config = settings.config
        self.settings = settings
        self.name = config.job_name
        self.relabeling = Relabeling(config.relabel_configs, legacy_names=settings.legacy_names)
        self.metric_relabeling = (
            Relabeling(config.metric_relabel_configs, legacy_names=settings.legacy_names)
            if config.metric_relabel_configs else None
        )
        self.limits = SeriesLimits(
            label_limit=settings.label_limit,
            label_name_length_limit=settings.label_name_length_limit,
            label_value_length_limit=settings.label_value_length_limit,
            sample_limit=settings.sample_limit,
            legacy_names=settings.legacy_names,
        )
        self.discoverers = discoverers(config, settings.folder, statistics)
        """Not running yet."""
        self.failure_log = FailureLog(settings.failure_log) if settings.failure_log is not None else None
        self.client = HttpClient(config, base=settings.folder, user_agent=user_agent)
        self._scrapes = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def enter(self) -> None:
        """A scrape begins."""
        self._scrapes += 1

    def leave(self) -> None:
        """It has ended."""
        self._scrapes -= 1
        if not self._scrapes:
            self._idle.set()

    async def close(self) -> None:
        """Once no scrape needs the connections any more."""
        while self._scrapes:
            self._idle.clear()
            await self._idle.wait()
        await self.client.close()
