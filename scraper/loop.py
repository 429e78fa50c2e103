"""One target's loop: wait, fetch, parse, append, tell how it went."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scraper.clock import Clock
from scraper.fetch import BodyTooLarge, Fetcher, ScrapeFailed, request_headers
from scraper.job import Job
from scraper.status import ScraperStatistics, TargetStatus
from scraper.target import Target
from tsdb.ingest.exposition.formats import Format, choose_format
from tsdb.ingest.exposition.scrape_series import Scrape, TargetSeries
from tsdb.model.batch import (
    DUPLICATE,
    EXEMPLAR_OUT_OF_ORDER,
    OUT_OF_ORDER,
    REASONS,
    TOO_LATE,
    TOO_NEW,
    TOO_OLD,
    Appended,
    Batch,
)
from tsdb.model.durations import format_duration
from tsdb.model.errors import ForgottenSeries, IngestError, ScrapeRefused

log = logging.getLogger(__name__)

Append = Callable[[Batch], Awaitable[Appended]]
"""Takes the batch of a scrape. Raises ForgottenSeries where it needs keys, another IngestError where it cannot."""

INLINE_BYTES = 256 << 10
"""Up to so many bytes are parsed on the event loop: a hop to a thread and back costs more than the parse."""
TOLERANCE_MS = 2
"""A scrape begins a little late; within this of its schedule it gets the scheduled time, which compresses better."""


@dataclass(slots=True)
class Context:
    """What all loops of a scraper share."""

    append: Append
    secret: NDArray[np.uint64]
    executor: Executor
    clock: Clock
    statistics: ScraperStatistics = field(default_factory=ScraperStatistics)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """Scrapes begin when it is set: the kernels that they call are loaded."""


class TargetLoop:
    """Scrapes one target from `run` until its task is cancelled, or until it is told to leave."""

    def __init__(self, target: Target, job: Job, context: Context, offset_ms: int) -> None:
        self.target = target
        self.forced_error = ""
        """Where not empty, scrapes fail with it."""
        self.status = TargetStatus(
            pool=job.name, url=target.url, labels=target.labels, discovered_labels=target.discovered,
            interval_ms=target.interval_ms, timeout_ms=target.timeout_ms,
            read_metadata=lambda known: self._series.read_metadata(known),
        )
        self._context = context
        self._fetcher = Fetcher(target, context.executor)
        self._offset_ms = offset_ms
        self._lengths = context.statistics.interval_seconds[format_duration(target.interval_ms)]
        self._take(job)
        self._series = self._new_series()
        self._due = 0
        """When the next scrape is, Unix ms."""
        self._began: float | None = None
        """When the last one began, by the clock's `elapsed`."""
        self._leaving = False
        self._asleep: asyncio.Task[None] | None = None
        self._asked: tuple[str, str | None] | None = None
        self._format = Format.TEXT
        """Of answers with the Content-Type and fallback of `_asked`."""
        self._lost = False
        self._refused = ""
        """What the status says of series of the last scrape that the storage refused."""

    async def run(self) -> None:
        """Stale markers are written only by a loop that was told to leave: a restart of the server is no gap."""
        await self._context.ready.wait()
        clock, interval = self._context.clock, self.target.interval_ms
        tolerance = min(TOLERANCE_MS, interval / 100)
        now = clock.now()
        self._due = now + (self._offset_ms - now) % interval
        try:
            while not self._leaving and await self._slept_until(self._due):
                now = clock.now()
                due, self._due = self._due, self._due + interval
                await self._scrape_whatever_happens(due if abs(now - due) <= tolerance else now)
                self._due = next_due(self._due, clock.now(), interval, self._offset_ms)
        finally:
            self._fetcher.close()
        if self._began is not None:
            await self._end(self._series, self._due)

    def leave(self) -> None:
        """The target is gone. A scrape under way ends first, then the markers follow."""
        self._leaving = True
        if self._asleep is not None:
            self._asleep.cancel()

    def reload(self, job: Job) -> Coroutine[Any, Any, None] | None:
        """Goes on with the job's new settings from the next scrape on. Where series are made in another way now, the
        coroutine that it gives marks those stale that do not come back."""
        old = self._job.settings
        self._take(job)
        if job.settings.series_shape == old.series_shape:
            return None
        series, self._series = self._series, self._new_series()
        return self._end(series, self._due) if self._began is not None else None

    async def _scrape_whatever_happens(self, ts: int) -> None:
        """A bug that one answer brings out does not end the target's scrapes."""
        try:
            await self.scrape(ts)
        except Exception as problem:
            self.status.health, self.status.last_error = "down", f"internal error: {problem!r}; the log has the details"
            log.exception("scrape ended by a bug", extra={"fields": self._name})

    async def scrape(self, ts: int) -> None:
        """One scrape, its samples at `ts` (ms). Failures are told in `up`, the status and the log."""
        job, series, context = self._job, self._series, self._context
        began = context.clock.elapsed()
        if self._began is not None:
            self._lengths.observe(began - self._began)
        self._began = began
        statistics = context.statistics
        statistics.scrapes += 1
        body, form, scrape, error = b"", None, None, self.forced_error
        size = scraped = kept = added = 0
        job.enter()
        try:
            if not error:
                limit = job.settings.body_size_limit
                body, content_type = await self._fetcher.fetch(job.client, self._headers, limit)
                size = len(body)
                if body:  # an empty answer is no error: all series are gone
                    form = self._format_of(job, content_type)
                    scrape = await self._parse(job, series, body, form, ts)
                    scraped, kept, added = scrape.scraped, scrape.kept, scrape.added
        except ScrapeFailed as problem:
            error = str(problem)
            if isinstance(problem, BodyTooLarge):
                size = -1
                statistics.exceeded_body_size_limit += 1
            if job.failure_log is not None:
                job.failure_log.write(job.name, self.target.url, error)
        except ScrapeRefused as problem:
            error, scraped, kept, added = str(problem), problem.scraped, problem.kept, problem.added
            self._count_refused(error)
        except IngestError as problem:
            error = str(problem)
        finally:
            job.leave()
        duration = context.clock.elapsed() - began
        self._note(ts, duration, error)
        if scrape is not None and scrape.metadata:
            self.status.metadata_count = len(series.metadata)
        reports = [float(not error), duration, scraped, kept, added]
        if job.settings.extra_metrics:
            reports += [self.target.timeout_ms / 1000, job.settings.sample_limit, size]
        try:
            try:
                appended = await context.append(series.batch(scrape, ts, reports))
            except ForgottenSeries:
                series.forget()
                if scrape is not None and form is not None:
                    scrape = await self._parse(job, series, body, form, ts)
                appended = await context.append(series.batch(scrape, ts, reports))
        except IngestError as problem:
            self._note_lost(problem)
            return
        self._lost = False
        counts = series.appended(appended)
        repeated = scrape.repeated if scrape is not None else 0
        if repeated or appended.rejected:
            self._count_rejected(counts, repeated)
        if appended.exemplar_codes.any():
            self._count_exemplars(appended)
        if appended.refusals or self._refused:
            self._note_refused(appended.refusals)

    def _take(self, job: Job) -> None:
        self._job = job
        self._headers = request_headers(self.target, job.settings.accept, job.settings.config.enable_compression)

    def _new_series(self) -> TargetSeries:
        job = self._job
        relabeling = job.metric_relabeling
        return TargetSeries(
            self._context.secret, self.target.labels, reports=job.settings.reports,
            honor_labels=job.settings.config.honor_labels, limits=job.limits,
            histograms=job.settings.histograms,
            relabel=relabeling.apply if relabeling is not None else None,
        )

    async def _slept_until(self, ms: int) -> bool:
        """False where the loop was told to leave."""
        self._asleep = task = asyncio.current_task()
        try:
            await self._context.clock.sleep_until(ms)
        except asyncio.CancelledError:
            if not self._leaving or task is None or task.uncancel():
                raise
        finally:
            self._asleep = None
        return not self._leaving

    def _format_of(self, job: Job, content_type: str) -> Format:
        asked = content_type, job.settings.config.fallback_scrape_protocol
        if asked != self._asked:
            self._format = choose_format(*asked)
            self._asked = asked
        return self._format

    async def _parse(self, job: Job, series: TargetSeries, body: bytes, form: Format, ts: int) -> Scrape:
        config = job.settings.config
        honor, track = config.honor_timestamps, config.track_timestamps_staleness
        if len(body) <= INLINE_BYTES:
            return series.parse(body, form, ts, honor_timestamps=honor, track_staleness=track)
        return await asyncio.get_running_loop().run_in_executor(
            self._context.executor,
            lambda: series.parse(body, form, ts, honor_timestamps=honor, track_staleness=track),
        )

    async def _end(self, series: TargetSeries, due: int) -> None:
        """Marks all series as stale as of the first scrape that was missed (`due`), two scrapes and a bit later. If the
        target is back by then, its new samples are newer, and the storage refuses the markers as out of order."""
        await self._context.clock.sleep_until(due + self.target.interval_ms + self.target.interval_ms // 10)
        batch = series.end(due)
        if batch is None:
            return
        try:
            await self._context.append(batch)
        except ForgottenSeries:
            return  # the head has seen no sample of them for an hour
        except IngestError as problem:
            self._note_lost(problem)

    def _note(self, ts: int, duration: float, error: str) -> None:
        status = self.status
        status.last_scrape_ms = ts
        status.last_duration_s = duration
        status.health = "down" if error else "up"
        if error:
            self._context.statistics.scrapes_failed += 1
        if error and error != status.last_error:
            log.warning("scrape failed", extra={"fields": {**self._name, "err": error}})
        elif status.last_error and status.last_error != self._refused and not error:
            log.info("scrape succeeded again", extra={"fields": self._name})
        status.last_error = error or self._refused

    def _note_lost(self, problem: IngestError) -> None:
        self._context.statistics.scrapes_lost += 1
        self.status.last_error = self.status.last_error or f"the samples could not be stored: {problem}"
        if not self._lost:
            self._lost = True
            log.warning("scrape commit failed", extra={"fields": {**self._name, "err": problem}})

    def _note_refused(self, refusals: Mapping[int, str]) -> None:
        """New series were over a limit of the storage. The scrape is not a failed one: its other samples are there."""
        self._context.statistics.exceeded_series_limit += bool(refusals)
        before, self._refused = self._refused, "; ".join(f"{REASONS[code]}: {text}" for code, text in refusals.items())
        if self.status.last_error in ("", before):
            self.status.last_error = self._refused

    def _count_refused(self, error: str) -> None:
        statistics = self._context.statistics
        if error.startswith("sample limit"):
            statistics.exceeded_sample_limit += 1
        elif error.startswith("histogram bucket limit"):
            statistics.exceeded_bucket_limit += 1
        elif "label_" in error and "limit exceeded" in error:
            statistics.exceeded_label_limits += 1

    def _count_exemplars(self, appended: Appended) -> None:
        number = appended.exemplar_codes.tolist().count(EXEMPLAR_OUT_OF_ORDER)
        if number:
            self._context.statistics.exemplars_out_of_order += number
            log.warning("Error on ingesting out-of-order exemplars", extra={"fields": {
                **self._name, "num_dropped": number,
            }})

    def _count_rejected(self, counts: Sequence[int], repeated: int) -> None:
        """`counts` of the body's samples by code; `repeated` ones were not even sent."""
        statistics = self._context.statistics
        duplicates = counts[DUPLICATE] + repeated
        out_of_bounds = counts[TOO_OLD] + counts[TOO_NEW] + counts[TOO_LATE]
        statistics.out_of_order += counts[OUT_OF_ORDER]
        statistics.duplicate_timestamp += duplicates
        statistics.out_of_bounds += out_of_bounds
        for number, words in (
            (counts[OUT_OF_ORDER], "Error on ingesting out-of-order samples"),
            (duplicates, "Error on ingesting samples with different value but same timestamp"),
            (out_of_bounds, "Error on ingesting samples that are too old or are too far into the future"),
        ):
            if number:
                log.warning(words, extra={"fields": {**self._name, "num_dropped": number}})

    @property
    def _name(self) -> dict[str, str]:
        return {"scrape_pool": self._job.name, "target": self.target.url}


def next_due(due: int, now: int, interval: int, offset: int) -> int:
    """When the next scrape is, where one was due at `due` and the last has just ended. All ms. One that is late comes
    at once; after more than an interval, or if the clock was set, the schedule is found anew."""
    if -interval <= due - now <= interval:
        return due
    return now + (offset - now) % interval
