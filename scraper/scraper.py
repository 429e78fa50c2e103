"""All jobs of a config, each with its pool of targets; hot reload."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scraper.clock import Clock, SystemClock
from scraper.config import GlobalConfig, ScrapeConfig
from scraper.job import Job
from scraper.loop import Append, Context
from scraper.pool import Pool
from scraper.settings import JobSettings
from scraper.status import PoolStatus, ScraperStatistics
from tsdb.ingest.exposition.scrape_series import KERNELS
from tsdb.kernels import KernelError
from tsdb.model.durations import format_duration
from tsdb.model.errors import ConfigError
from tsdb.model.threads import in_thread

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A config that `Scraper.apply` can put into effect. One that is not applied needs nothing to be done."""

    jobs: dict[str, Job | None]
    """By name; None: the job has not changed."""
    seed: bytes
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Jobs that cannot be built, and are not to stop the others: why, by name."""


class Scraper:
    """Scrapes from the first `apply` to `stop`, all on the same event loop."""

    def __init__(self, append: Append, secret: NDArray[np.uint64], executor: Executor, *, user_agent: str,
                 features: frozenset[str] = frozenset(), clock: Clock | None = None) -> None:
        """`secret` u64[2] is what the keys of batches are hashed with; `executor` parses what is large; `features` are
        names of ``--enable-feature``."""
        self._context = Context(append, secret, executor, clock or SystemClock())
        self._user_agent = user_agent
        self._features = features
        self._pools: dict[str, Pool] = {}
        self._left_out: Mapping[str, str] = {}
        self._loading: asyncio.Task[None] | None = None

    @property
    def statistics(self) -> ScraperStatistics:
        return self._context.statistics

    def pools(self) -> list[PoolStatus]:
        """In the order of the config."""
        return [pool.status() for pool in self._pools.values()]

    def prepare(
        self, base: GlobalConfig, jobs: Sequence[ScrapeConfig], folder: Path, *, starting: bool = False
    ) -> Prepared:
        """Checks and builds what `apply` needs, and changes nothing. Relative file names are relative to `folder`.
        Raises ConfigError for a job that cannot be built (a certificate is missing, say). When `starting`, it is left
        out instead, as in Prometheus: there is no older config that could go on, and the other jobs can begin. It stays
        left out by later configs for as long as the error is the same: they change what else they change."""
        prepared: dict[str, Job | None] = {}
        left_out: dict[str, str] = {}
        for config in jobs:
            settings = JobSettings.of(base, config, folder, self._features)
            pool = self._pools.get(config.job_name)
            unchanged = pool is not None and pool.job.settings == settings
            try:
                job = None if unchanged else Job(settings, self._user_agent, self.statistics.discovery)
            except ConfigError as problem:
                if not starting and self._left_out.get(config.job_name) != str(problem):
                    raise ConfigError(f'scrape job "{config.job_name}": {problem}') from problem
                left_out[config.job_name] = str(problem)
            else:
                prepared[config.job_name] = job
        name = f"{socket.gethostname()}{sorted(base.external_labels.items())}"
        return Prepared(prepared, hashlib.blake2b(name.encode(), digest_size=8).digest(), left_out)

    async def apply(self, prepared: Prepared) -> None:
        """Puts it into effect. Jobs that have not changed go on as they are, and so do targets of those that have, with
        the new settings; jobs that are not in it any more end without stale markers, as in Prometheus."""
        if prepared.jobs and self._loading is None:
            self._loading = asyncio.create_task(self._load_kernels())
        statistics = self.statistics
        gone = [pool for name, pool in self._pools.items() if name not in prepared.jobs]
        pools: dict[str, Pool] = {}
        for name, job in prepared.jobs.items():
            pool = self._pools.get(name)
            if pool is None:
                assert job is not None
                pool = Pool(job, self._context, prepared.seed)
                statistics.pools += 1
                pool.start()
            elif job is not None:
                began = self._context.clock.elapsed()
                statistics.pool_reloads += 1
                await pool.reload(job)
                lengths = statistics.reload_seconds[format_duration(job.settings.interval)]
                lengths.observe(self._context.clock.elapsed() - began)
            pools[name] = pool
        for name, problem in prepared.left_out.items():
            log.error("scrape job left out until a reload", extra={"fields": {"scrape_pool": name, "err": problem}})
            statistics.pools += 1
            statistics.pools_failed += 1
        self._left_out = prepared.left_out
        self._pools = pools
        await asyncio.gather(*(pool.stop() for pool in gone))
        for pool in gone:
            statistics.sync_seconds.pop(pool.job.name, None)
            statistics.sync_failed.pop(pool.job.name, None)

    async def _load_kernels(self) -> None:
        """On a cold start they still compile: an event loop that called one would stand still so long."""
        missing = [each for each in KERNELS if not each.loaded]
        try:
            if missing:
                await in_thread("kernels of scraping", lambda: [each.load() for each in missing])
        except KernelError as problem:
            log.error("scraping cannot begin: %s", problem)
        else:
            self._context.ready.set()

    async def stop(self) -> None:
        """Ends all scrapes, those under way too. No stale markers: a restart is no gap."""
        if self._loading is not None:
            self._loading.cancel()
        pools, self._pools = self._pools, {}
        await asyncio.gather(*(pool.stop() for pool in pools.values()))
