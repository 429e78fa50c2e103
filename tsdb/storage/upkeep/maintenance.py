"""What goes on behind ingest, in one thread: blocks are cut, compacted and dropped, series collected, the index
refreshed."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from tsdb.model.batch import Metadata
from tsdb.model.errors import Corruption, TsdbError, Unavailable
from tsdb.model.histogram import Histogram
from tsdb.model.threads import lower_priority
from tsdb.storage.appender import Appender
from tsdb.storage.block import Block
from tsdb.storage.blocks import Blocks
from tsdb.storage.damage import Damage
from tsdb.storage.head.collector import Collector
from tsdb.storage.head.head import Head
from tsdb.storage.head.index import Index
from tsdb.storage.upkeep.cleaning import Cleaning
from tsdb.storage.upkeep.compaction import Compaction
from tsdb.storage.upkeep.cutting import Cutting
from tsdb.storage.upkeep.downsampling import Downsampling
from tsdb.storage.upkeep.expiry import Expiry
from tsdb.storage.upkeep.late_blocks import LateBlocks
from tsdb.storage.upkeep.quarantine import Quarantine
from tsdb.storage.upkeep.statistics import UpkeepStatistics
from tsdb.storage.upkeep.truncation import Truncation
from tsdb.wal import Wal

log = logging.getLogger(__name__)
T = TypeVar("T")

PAUSE_S = 5.0
"""Between looks when nothing calls."""
RETRY_S = 30.0
"""After a failure."""
LOOK_S = 1.0
"""Between looks at the head while blocks are being compacted."""
NICE = 10
"""Priority of the thread: behind ingest and queries."""


class Maintenance:
    """One thread. What needs the head to itself, it has the appender do between two commits.

    A compaction may take minutes. Every few milliseconds it pauses for what cannot wait: windows that are over, and
    work that was asked for. It begins anew where that has changed its blocks.
    """

    def __init__(self, head: Head, index: Index, wal: Wal, metadata: dict[str, Metadata], blocks: Blocks,
                 damage: Damage) -> None:
        self._head = head
        self._index = index
        self.cutting = Cutting(blocks.fs, head, blocks, damage, self.go_on)
        self.late = LateBlocks(blocks.fs, head, blocks, wal, self.go_on)
        self.truncation = Truncation(head, wal, metadata, self.cutting, self.late)
        self.quarantine = Quarantine(blocks.fs, blocks, damage)
        self.compaction = Compaction(blocks.fs, blocks, self.pause, self.quarantine.take_out)
        self.collector = Collector(head, index)
        self.expiry: Expiry | None = None
        """None: all is kept."""
        self.cleaning: Cleaning | None = None
        self.tiers: Downsampling | None = None
        """None: there are none."""
        self.others: list[Callable[[], None]] = []
        """What else is done in each round: short."""
        self.cleaning_seconds = Histogram((), [0])
        self._work: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._series_seen = head.table.made
        self._windows = {window.name for window in head.windows.every}
        self._pausing = False
        self._look_at = self._compact_at = 0.0
        """By the monotonic clock: not before."""
        self._appender: Appender | None = None

    def start(self, appender: Appender) -> None:
        self._thread = threading.Thread(target=self._run, args=(appender,), name="maintenance", daemon=True)
        self._thread.start()

    def after_commit(self) -> None:
        """Called by the appender; returns at once."""
        head = self._head
        if head.due() > head.border or head.table.made - self._series_seen > 10_000 or self.late.due():
            self._wake.set()

    def do(self, work: Callable[[], T]) -> Future[T]:
        """Has the thread do something between its other work: so nothing else changes blocks or windows meanwhile.
        Raises Unavailable where the storage is closing."""
        future: Future[T] = Future()
        self._work.put((work, future))
        self._wake.set()
        if self._stop.is_set():
            self._refuse_work()
        return future

    def end(self) -> None:
        """Ends what is done now at its next pause, and everything after it. Returns at once."""
        self._stop.set()
        self._wake.set()

    def close(self) -> None:
        """The same, and waits for the end."""
        self.end()
        if self._thread is not None:
            self._thread.join()
        self._refuse_work()

    def compact(self, appender: Appender) -> None:
        """Makes blocks of everything in the head, and compacts until nothing is left to do. For `do`. Raises OSError,
        TsdbError."""
        self.truncation.run(appender, everything=True)
        self.collect(appender)
        while self._compact_once(everything=True):
            pass
        self.compaction.tell()
        if self.tiers is not None:
            self.tiers.run(everything=True)

    def clean_all(self, cleaning: Cleaning) -> None:
        """Frees the room of what was deleted. For `do`. Raises OSError, StorageError, Unavailable."""
        began = time.perf_counter()
        try:
            cleaning.clean_all()
        finally:
            self.cleaning_seconds.observe(time.perf_counter() - began)

    def block_is_damaged(self, block: Block, problem: Corruption) -> None:
        """Called by whoever reads a block; returns at once. The block is replaced by what is sound in it."""
        if self.quarantine.is_news(block):
            with contextlib.suppress(Unavailable):
                self.do(lambda: self._take_out(block, problem)).add_done_callback(log_failure)

    def _take_out(self, block: Block, problem: Corruption) -> None:
        if block.meta.tier is None:
            self.quarantine.take_out(block, problem)
        elif self.tiers is not None:
            self.tiers.take_out(block, problem)

    def statistics(self) -> UpkeepStatistics:
        """Without the blocks that there are."""
        truncation, compaction, cutting = self.truncation, self.compaction, self.cutting
        return UpkeepStatistics(
            blocks_made=cutting.cut + self.late.made + compaction.done,
            truncations=truncation.done,
            truncations_failed=truncation.failed,
            log_truncations=truncation.log_tried,
            log_truncations_failed=truncation.log_failed,
            log_truncation_seconds=truncation.log_seconds.read(),
            cleaning_seconds=self.cleaning_seconds,
            compactions_triggered=compaction.triggered,
            compactions_failed=compaction.failed,
            vertical_compactions=compaction.vertical,
            compaction_seconds=compaction.seconds,
            compacting=compaction.populating,
            chunk_bytes=cutting.chunk_bytes,
            chunk_samples=cutting.chunk_samples,
            chunk_ms=cutting.chunk_ms,
        )

    def collect(self, appender: Appender) -> None:
        """Collects series where windows have gone, cut or dropped. Raises StorageError."""
        before, self._windows = self._windows, {window.name for window in self._head.windows.every}
        if before <= self._windows:
            self.collector.recycle(appender)
            return
        found = self.collector.collect(appender)
        if found.series:
            log.info("%d series have left the head, %d are in it; %.0f ms", found.series, self._head.table.series,
                     found.seconds * 1000)

    def _do_work(self) -> None:
        while not self._work.empty() and not self._stop.is_set():
            work, future = self._work.get()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as problem:  # noqa: BLE001 - it is the future's to raise
                    future.set_exception(problem)

    def _refuse_work(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                _, future = self._work.get_nowait()
                if future.set_running_or_notify_cancel():
                    future.set_exception(Unavailable("the storage is shutting down"))

    def _run(self, appender: Appender) -> None:
        lower_priority(NICE)
        self._appender = appender
        pause = PAUSE_S
        while not self._stop.is_set():
            self._wake.wait(pause)
            self._wake.clear()
            self._do_work()
            steps = (self._refresh, self._truncate, self._mend, self._downsample, self._expire, self._do_others,
                     self._clean, self.collect, self._compact)
            done = [self._stop.is_set() or self._try(step, appender) for step in steps]
            pause = PAUSE_S if all(done) else RETRY_S
        self._refuse_work()

    def _try(self, step: Callable[[Appender], None], appender: Appender) -> bool:
        """A failure must not end the thread, nor keep it from its other work."""
        try:
            step(appender)
        except (OSError, TsdbError) as problem:
            if not self._stop.is_set():
                log.error("maintenance: %s; it is tried again", problem)
            return False
        except Exception:
            log.exception("maintenance has failed; it is tried again")
            return False
        return True

    def _refresh(self, _: Appender) -> None:
        self._series_seen = self._head.table.made
        self._index.refresh()

    def _truncate(self, appender: Appender) -> None:
        if self.truncation.due():
            self.truncation.run(appender)

    def _mend(self, _: Appender) -> None:
        self.quarantine.mend()

    def _downsample(self, _: Appender) -> None:
        if self.tiers is not None:
            self.tiers.run()

    def _expire(self, appender: Appender) -> None:
        if self.expiry is not None:
            self.expiry.run(appender)

    def _do_others(self, _: Appender) -> None:
        for other in self.others:
            other()

    def _clean(self, _: Appender) -> None:
        while self.cleaning is not None and not self._stop.is_set() and self.cleaning.clean_one():
            pass

    def _compact(self, appender: Appender) -> None:
        if time.monotonic() < self._compact_at:
            return
        self._compact_at = time.monotonic() + RETRY_S
        while self._compact_once():
            pass
        self.compaction.tell()
        self._compact_at = 0.0

    def go_on(self) -> None:
        """Between two pieces of work beside which nothing else is done. Raises Unavailable where it is to end."""
        if self._stop.is_set():
            raise Unavailable("the storage is shutting down")

    def pause(self) -> None:
        """Between two pieces of a compaction. Raises as `go_on`."""
        self.go_on()
        now = time.monotonic()
        if self._pausing or (now < self._look_at and self._work.empty()):
            return
        self._pausing = True
        try:
            self._do_work()
            if now >= self._look_at and self._appender is not None:
                self._look_at = now + LOOK_S
                self._try(self._truncate, self._appender)
        finally:
            self._pausing = False

    def _compact_once(self, *, everything: bool = False) -> bool:
        if self.expiry is None:
            return self.compaction.compact_once(0, everything=everything)
        return self.compaction.compact_once(self.expiry.retention.time_ms, beyond=self.expiry.beyond,
                                            everything=everything)


def log_failure(done: Future[Any]) -> None:
    """For who does not wait for it."""
    problem = done.exception()
    if problem is not None and not isinstance(problem, Unavailable):
        log.error("maintenance: what was asked for could not be done", exc_info=problem)
