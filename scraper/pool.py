"""A job's targets: what discovery finds, as running loops."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from scraper.discovery.groups import Publish, TargetGroup
from scraper.job import Job
from scraper.loop import Context, TargetLoop
from scraper.status import DroppedTarget, PoolStatus
from scraper.target import NoTarget, Target, make_target

log = logging.getLogger(__name__)

SYNC_EVERY_S = 5.0
"""Groups that change more often are looked at so often, as by Prometheus."""
FIRST_WORD_S = 1.0
"""How long mechanisms that have nothing to say yet are waited for at the start and after a reload."""
_SLICE = 200
"""Targets that are made without letting others have the event loop."""

Key = tuple[int, str]
"""Number of a mechanism of the job, and the source of one of its groups."""


@dataclass(slots=True)
class _Made:
    """The targets of one group."""

    targets: list[Target] = field(default_factory=list)
    dropped: list[DroppedTarget] = field(default_factory=list)
    failures: int = 0


class Pool:
    """From `start` to `stop`, on one event loop."""

    def __init__(self, job: Job, context: Context, seed: bytes) -> None:
        self.job = job
        self._old_jobs: list[Job] = []
        """Whose scrapes have not all ended."""
        self._context = context
        self._seed = seed
        self._groups: dict[Key, TargetGroup] = {}
        self._made: dict[Key, _Made] = {}
        """Of the groups that have not changed since."""
        self._loops: dict[bytes, TargetLoop] = {}
        self._dropped: list[DroppedTarget] = []
        self._dropped_count = 0
        self._discovery: list[asyncio.Task[None]] = []
        self._silent: set[int] = set()
        """Mechanisms that have published nothing yet."""
        self._timer: asyncio.TimerHandle | None = None
        self._last_sync = -math.inf
        self._syncing = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self) -> None:
        found = self.job.discoverers
        self._silent = set(range(len(found)))
        self._last_sync = -math.inf
        for number, discoverer in enumerate(found):
            self._discovery.append(
                self._spawn(discoverer.run(self._publish(number)), f"discovery of {self.job.name}")
            )
        self._sync_within(FIRST_WORD_S if found else 0)

    async def reload(self, job: Job) -> None:
        """Takes new settings. Targets that stay keep their state and schedule."""
        old, self.job = self.job, job
        self._made.clear()
        for loop in self._loops.values():
            marking = loop.reload(job)
            if marking is not None:
                self._spawn(marking, f"end of series of {loop.target.url}")
        self._old_jobs.append(old)
        self._spawn(self._close(old), f"connections of {self.job.name}")
        if job.settings.discovery == old.settings.discovery:
            await self.sync()
        else:
            self._end_discovery()
            self._groups.clear()
            self.start()

    async def stop(self) -> None:
        """No stale markers: the job is gone, or the server stops."""
        self._end_discovery()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for job in (self.job, *self._old_jobs):
            await job.client.close()

    def status(self) -> PoolStatus:
        return PoolStatus(
            name=self.job.name,
            active=[loop.status for loop in self._loops.values()],
            dropped=self._dropped,
            dropped_count=self._dropped_count,
            target_limit=self.job.settings.target_limit,
            discovered=sum(len(group.targets) for group in self._groups.values()),
        )

    async def sync(self) -> None:
        """Makes loops of what was found, and ends those of targets that are gone."""
        async with self._syncing:
            began = self._context.clock.elapsed()
            self._last_sync = asyncio.get_running_loop().time()
            made = [await self._make(key, group) for key, group in list(self._groups.items())]
            self._take(made)
            self._context.statistics.sync_seconds[self.job.name].observe(self._context.clock.elapsed() - began)

    def _publish(self, number: int) -> Publish:
        def publish(groups: Sequence[TargetGroup]) -> None:
            self._silent.discard(number)
            for group in groups:
                key = (number, group.source)
                self._made.pop(key, None)
                if group.targets:
                    self._groups[key] = group
                else:
                    self._groups.pop(key, None)
            if not self._silent:
                since = asyncio.get_running_loop().time() - self._last_sync
                self._sync_within(SYNC_EVERY_S - since)

        return publish

    def _sync_within(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        at = loop.time() + max(0, seconds)
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = loop.call_at(at, self._sync_soon)

    def _sync_soon(self) -> None:
        self._timer = None
        self._spawn(self.sync(), f"sync of {self.job.name}")

    def _end_discovery(self) -> None:
        for task in self._discovery:
            task.cancel()
        self._discovery.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _make(self, key: Key, group: TargetGroup) -> _Made:
        known = self._made.get(key)
        if known is not None:
            return known
        job, made = self.job, _Made()
        for number, own in enumerate(group.targets):
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            try:
                target = make_target(job.settings, job.relabeling, own, group.labels)
            except NoTarget as problem:
                made.failures += 1
                log.error("Creating target failed", extra={"fields": {
                    "scrape_pool": job.name, "err": f"instance {number} in group {group.source}: {problem}",
                }})
                continue
            if isinstance(target, Target):
                made.targets.append(target)
            else:
                made.dropped.append(DroppedTarget(job.name, target))
        if job is self.job and self._groups.get(key) is group:
            self._made[key] = made
        return made

    def _take(self, made: Sequence[_Made]) -> None:
        """No await in here: the API never sees half of it."""
        settings = self.job.settings
        dropped = [target for each in made for target in each.dropped]
        self._dropped_count = len(dropped)
        self._dropped = dropped[: settings.keep_dropped_targets or None]
        self._context.statistics.sync_failed[self.job.name] += sum(each.failures for each in made)
        wanted = {target.identity: target for each in made for target in each.targets}
        loops: dict[bytes, TargetLoop] = {}
        new = []
        for identity, target in wanted.items():
            loop = self._loops.pop(identity, None)
            if loop is None:
                loop = TargetLoop(target, self.job, self._context, target.offset_ms(self._seed))
                new.append(loop)
            loop.status.discovered_labels = target.discovered
            loops[identity] = loop
        gone, self._loops = self._loops, loops
        for loop in gone.values():
            loop.leave()
        error = ""
        if 0 < settings.target_limit < len(loops):
            self._context.statistics.exceeded_target_limit += 1
            error = f"target_limit exceeded (number of targets: {len(loops)}, limit: {settings.target_limit})"
        for loop in loops.values():
            loop.forced_error = error
        for loop in new:
            self._spawn(loop.run(), f"scrape of {loop.target.url}")

    async def _close(self, job: Job) -> None:
        await job.close()
        self._old_jobs.remove(job)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("%s ended by a bug", task.get_name(), exc_info=task.exception())
