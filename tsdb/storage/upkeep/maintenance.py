"""What goes on behind ingest: completing windows that are over, checkpoints, dropping log segments and windows that are
over the retention, index bases."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from tsdb.model.batch import Metadata
from tsdb.model.errors import StorageError, Unavailable
from tsdb.storage.appender import Appender
from tsdb.storage.head import deleted
from tsdb.storage.head.collector import Collector
from tsdb.storage.head.head import Head
from tsdb.storage.head.index import Index
from tsdb.storage.restart.recovery import BORDER
from tsdb.storage.upkeep.cleaning import Cleaning
from tsdb.storage.upkeep.expiry import Expiry
from tsdb.wal import SeriesColumns, Wal

log = logging.getLogger(__name__)
T = TypeVar("T")

PAUSE_S = 5.0
"""Between looks when nothing calls."""
RETRY_S = 30.0
"""After a failure."""
SERIES_AT_ONCE = 50_000


class Maintenance:
    """One thread. What needs the head to itself, it has the appender do between two commits."""

    def __init__(self, head: Head, index: Index, wal: Wal, metadata: dict[str, Metadata]) -> None:
        self._head = head
        self._index = index
        self._wal = wal
        self._metadata = metadata
        self.expiry: Expiry | None = None
        """None: all is kept."""
        self.cleaning: Cleaning | None = None
        self.truncations = 0
        """Times that windows were completed; and could not be."""
        self.truncations_failed = 0
        self._work: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._series_seen = head.table.made
        self.collector = Collector(head, index)
        self._windows = {window.name for window in head.windows.every}

    def start(self, appender: Appender) -> None:
        self._thread = threading.Thread(target=self._run, args=(appender,), name="maintenance", daemon=True)
        self._thread.start()

    def after_commit(self) -> None:
        """Called by the appender; returns at once."""
        if self._head.due() > self._head.border or self._head.table.made - self._series_seen > 10_000:
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

    def close(self) -> None:
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self._refuse_work()

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
        pause = PAUSE_S
        while not self._stop.is_set():
            self._wake.wait(pause)
            self._wake.clear()
            if self._stop.is_set():
                return
            self._do_work()
            try:
                self._series_seen = self._head.table.made
                self._index.refresh()
                pause = PAUSE_S
                if self._windows_are_over():
                    self.complete_windows(appender)
                if self.expiry is not None:
                    self.expiry.run(appender)
                if self.cleaning is not None:
                    self.cleaning.clean_one()
                self.collect(appender)
            except (OSError, Unavailable, StorageError) as problem:
                if self._stop.is_set():
                    return
                self.truncations_failed += 1
                log.error("windows could not be completed, the log is kept meanwhile: %s", problem)
                pause = RETRY_S
            except Exception:
                # A mistake of ours must not end the thread: the log would grow for ever.
                self.truncations_failed += 1
                log.exception("maintenance failed, the log is kept meanwhile")
                pause = RETRY_S

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

    def _windows_are_over(self) -> bool:
        head = self._head
        with head.lock:
            return head.due() > head.border or bool(head.windows.open_before(head.border))

    def complete_windows(self, appender: Appender) -> None:
        """Seals the windows that are over, makes them durable, writes a checkpoint, drops what the log no longer needs.

        A segment goes only when all its samples are in durable windows. Raises OSError, Unavailable, StorageError.
        """
        head = self._head
        border = max(head.due(), head.border)

        def seal() -> None:
            head.border = border
            head.seal_before(border)

        appender.run_between_commits(seal).result()
        with head.lock:
            over = head.windows.open_before(border)
        for window in over:
            window.sync()  # the long part, beside ingest; nothing is added to these any more
        through = 0

        def finish() -> None:
            nonlocal through
            with head.lock:
                head.windows.finish(over)
            through = self._wal.covered_segment(border)

        appender.run_between_commits(finish).result()
        # Also where no segment can go: what is dropped by retention or deleted from blocks is not replayed then.
        self._wal.write_checkpoint(through, self._all_series(), list(self._metadata.values()),
                                   {BORDER: border, deleted.SECTION: deleted.section(head)})
        self._wal.drop_through(through)
        self.truncations += bool(over)
        if over:
            log.info("completed %d windows; the log is needed behind segment %d", len(over), through)

    def _all_series(self) -> Iterator[SeriesColumns]:
        table = self._head.table
        slots = table.live()
        for start in range(0, slots.size, SERIES_AT_ONCE):
            part = slots[start : start + SERIES_AT_ONCE]
            yield SeriesColumns(table.records["ref"][part], table.key_bytes, table.key_offset[part],
                                table.key_length[part])
