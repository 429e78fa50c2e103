"""Notes queries as they end, and counts them a moment later in a thread of its own."""

from __future__ import annotations

import functools
import heapq
import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tsdb.model.errors import QueryError, TsdbError
from tsdb.model.matchers import Matcher
from tsdb.model.threads import lower_priority
from tsdb.promql.rewriting import metric_name, selectors
from tsdb.promql.syntax.parser import parse
from tsdb.server.usage.file import load, save
from tsdb.server.usage.records import Metric, Records
from tsdb.server.usage.source import Source
from tsdb.wal.files import FileSystem

log = logging.getLogger(__name__)

COUNT_EVERY_S: Final = 1.0
SAVE_EVERY_S: Final = 60.0
MOST_WAITING: Final = 8 << 20
"""Characters of queries that wait to be counted; beyond them queries are not."""
MOST_FOUND: Final = 20
"""Selectors without a metric's name, ``{job="a"}``, whose metrics are looked up each time that queries are counted."""
REMEMBERED_S: Final = 60.0
"""How long the metrics of such a selector are remembered."""
MOST_COUNTS: Final = 1000
COUNTS_S: Final = 5.0
"""How long `counts` are remembered."""
FULL_S: Final = 600.0
"""How long to wait, where there is no room, before it is looked for again."""
BEFORE_MS: Final = 3_600_000
"""Such selectors are looked up from so long before the query's start on."""
KEPT_TEXTS: Final = 2000
LONGEST_KEPT: Final = 4000
"""Characters of a query whose metrics are remembered."""

Find = Callable[[Sequence[Matcher] | None, int, int], list[str]]
"""The metrics of series that satisfy all matchers (None: all metrics) within start..end (ms). Raises TsdbError."""

Named = tuple[tuple[str, ...], tuple[tuple[Matcher, ...], ...]]
"""Metrics that a query names, and the matchers of its selectors that name none."""


class _Waiting(NamedTuple):
    queries: int
    last: int
    start: int
    end: int


class Report(NamedTuple):
    """The records, not to be changed, at one moment."""

    since: int
    bytes: int
    most_bytes: int
    refused: bool
    metrics: dict[str, Metric]


class Usage:
    """Any thread may call. `note` takes about two microseconds; the rest happens elsewhere."""

    def __init__(self, fs: FileSystem, folder: Path, most_bytes: int, find: Find,
                 clock: Callable[[], float] = time.time) -> None:
        self._fs, self._folder, self._find, self._clock = fs, folder, find, clock
        self._lock = threading.Lock()
        """Of what waits."""
        self._waiting: dict[tuple[str, Source], _Waiting] = {}
        self._characters = 0
        self._counting = threading.Lock()
        """Of the records, and of all below."""
        self._records = load(fs, folder, int(clock()), most_bytes)
        self._changed = False
        self._named = functools.lru_cache(KEPT_TEXTS)(_named)
        self._found: dict[tuple[Matcher, ...], tuple[float, list[str]]] = {}
        self._full_until = 0.0
        self._counts: tuple[float, dict[str, int]] = (-COUNTS_S, {})
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="usage", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def note(self, text: str, source: Source, start: int, end: int) -> None:
        """A query over start..end (ms) that was answered."""
        now = int(self._clock())
        key = (text, source)
        with self._lock:
            before = self._waiting.get(key)
            if before is not None:
                self._waiting[key] = _Waiting(before.queries + 1, now, min(before.start, start), max(before.end, end))
            elif self._characters + len(text) <= MOST_WAITING:
                self._characters += len(text)
                self._waiting[key] = _Waiting(1, now, start, end)

    def counts(self) -> dict[str, int]:
        """Queries of the metrics that were queried most, as they were counted some seconds ago."""
        at, counts = self._counts
        now = time.monotonic()
        if now - at >= COUNTS_S:
            with self._counting:
                every = ((metric.total.queries, name) for name, metric in self._records.metrics.items())
                counts = {name: queries for queries, name in heapq.nlargest(MOST_COUNTS, every)}
            self._counts = now, counts
        return counts

    def report(self) -> Report:
        with self._counting:
            self._count()
            records = self._records
            metrics = {name: Metric(each.total, dict(each.sources)) for name, each in records.metrics.items()}
            return Report(records.since, records.bytes, records.most_bytes, records.refused, metrics)

    def reset(self) -> None:
        """Counting begins anew."""
        with self._counting:
            self._count()
            self._records = Records(int(self._clock()), self._records.most_bytes)
            self._changed = True
            self._save()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._counting:
            self._count()
            self._save()

    def _run(self) -> None:
        lower_priority(5)
        saved = time.monotonic()
        while not self._stop.wait(COUNT_EVERY_S):
            if not self._waiting:
                continue
            with self._counting:
                self._count()
                if time.monotonic() >= saved + SAVE_EVERY_S:
                    self._save()
                    saved = time.monotonic()

    def _count(self) -> None:
        with self._lock:
            waiting, self._waiting, self._characters = self._waiting, {}, 0
        left = MOST_FOUND
        for (text, source), noted in waiting.items():
            try:
                names, nameless = (self._named if len(text) <= LONGEST_KEPT else _named)(text)
            except QueryError:
                continue
            every = set(names)
            for matchers in nameless:
                found, asked = self._metrics_of(matchers, noted, left > 0)
                every.update(found)
                left -= asked
            if every:
                self._records.add(sorted(every), source, noted.queries, noted.last)
                self._changed = True
        if self._records.refused and time.monotonic() >= self._full_until:
            self._full_until = time.monotonic() + FULL_S
            self._make_room()

    def _metrics_of(self, matchers: tuple[Matcher, ...], noted: _Waiting, ask: bool) -> tuple[list[str], bool]:
        """The metrics that a selector finds, and whether storage was asked for them."""
        now = time.monotonic()
        asked_at, found = self._found.get(matchers, (-REMEMBERED_S, []))
        if now - asked_at < REMEMBERED_S or not ask:
            return found, False
        if len(self._found) >= KEPT_TEXTS:
            self._found.clear()
        try:
            found = self._find(matchers, noted.start - BEFORE_MS, noted.end)
        except TsdbError as problem:
            log.debug("the metrics of a selector are not known: %s", problem)
            found = []
        self._found[matchers] = now, found
        return found, True

    def _make_room(self) -> None:
        """Forgets metrics that are not stored any more."""
        try:
            self._records.keep_only(self._find(None, 0, int(self._clock() * 1000)))
        except TsdbError as problem:
            log.debug("which metrics are stored is not known: %s", problem)

    def _save(self) -> None:
        if not self._changed:
            return
        try:
            save(self._fs, self._folder, self._records)
            self._changed = False
        except OSError as problem:
            log.warning("which metrics are queried cannot be saved: a restart will forget the newest queries",
                        extra={"fields": {"err": problem}})


def _named(text: str) -> Named:
    """Raises ParseError."""
    found = list(selectors(parse(text)))
    names = {name for name in map(metric_name, found) if name}
    return tuple(names), tuple({each.matchers for each in found if not metric_name(each)})
