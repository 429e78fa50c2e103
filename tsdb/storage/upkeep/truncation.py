"""Truncation: what is over leaves the head and the log for blocks."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

from tsdb.model.batch import Metadata
from tsdb.model.errors import Unavailable
from tsdb.model.summary import Summary
from tsdb.storage.appender import Appender
from tsdb.storage.head import deleted, start_times
from tsdb.storage.head.head import Head
from tsdb.storage.head.layout import NO_TS, WINDOW_MS
from tsdb.storage.head.payloads import PayloadFile
from tsdb.storage.head.windows import Window
from tsdb.storage.restart.recovery import BORDER, LATE
from tsdb.storage.upkeep.cutting import Cutting
from tsdb.storage.upkeep.late_blocks import LateBlocks
from tsdb.wal import SeriesColumns, Wal

log = logging.getLogger(__name__)

SERIES_AT_ONCE = 50_000


class Truncation:
    """Its methods are called in the maintenance's thread. What needs the head to itself, it has the appender do between
    two commits."""

    def __init__(self, head: Head, wal: Wal, metadata: dict[str, Metadata], cutting: Cutting, late: LateBlocks) -> None:
        self._head = head
        self._wal = wal
        self._metadata = metadata
        self._cutting = cutting
        self._late = late
        self.done = self.failed = 0
        """Times since the start."""
        self.log_tried = self.log_failed = 0
        """Of the log, which also happens where no window was over."""
        self.log_seconds = Summary(())

    def due(self) -> bool:
        """Whether there are windows that are over, or files of such, or enough late samples."""
        head = self._head
        with head.lock:
            windows = head.windows
            over = head.due() > head.border or any(window.complete or window.ended for window in windows.every)
        return over or self._late.due() or self._cutting.files_left

    def run(self, appender: Appender, *, everything: bool = False) -> None:
        """Seals the windows that are over and makes them durable, cuts them into blocks, makes blocks of late samples,
        writes a checkpoint, and drops what the log no longer needs. With `everything`, all windows are over now.

        A segment goes only when all its samples are in durable windows or blocks. Where the disk fails while blocks are
        written, none goes: it may have failed to keep a window before, and say so only once. Raises OSError,
        StorageError; Unavailable where it was told to end: what is not in a block then stays in its window, and in the
        log.
        """
        try:
            self._run(appender, everything)
        except Exception:
            self.failed += 1
            raise

    def _run(self, appender: Appender, everything: bool) -> None:
        began = time.perf_counter()
        over = self._end_windows(appender, everything)
        if over:
            self._head.payloads.sync()  # before the chunks that refer to them
        for window in over:
            window.sync()  # the long part, beside ingest; nothing is added to these any more
        head = self._head

        def finish() -> None:
            with head.lock:
                head.windows.finish(over)

        appender.run_between_commits(finish).result()
        problem: Exception | None = None
        blocks = late = 0
        try:
            blocks = self._cutting.cut_windows()
            late = self._late.flush(appender)
        except (OSError, Unavailable):
            raise
        except Exception as failure:  # noqa: BLE001 - raised below
            problem = failure
        if head.starts.active:
            appender.run_between_commits(lambda: start_times.forget(head)).result()
        through = self._drop_log(appender)
        if problem is not None:
            raise problem
        self._drop_histograms(appender)
        self.done += bool(over)
        if blocks or late:
            log.info("the head is truncated: %d windows and late samples for %d blocks; the log is needed behind "
                     "segment %d; in %.2f s", blocks, late, through, time.perf_counter() - began)

    def _end_windows(self, appender: Appender, everything: bool) -> list[Window]:
        """Moves the border. Returns the windows that get no more chunks and are not complete."""
        head = self._head
        over: list[Window] = []

        def end() -> None:
            border = head.border
            if everything and head.max_ts != NO_TS:
                border = max(border, head.max_ts + 1)
            border = max(border, head.due())
            head.border = border
            if border != NO_TS:
                head.seal_before(-(-border // WINDOW_MS) * WINDOW_MS)
            with head.lock:
                over.extend(head.windows.end_before(border))
            if over:
                head.payloads.end()

        appender.run_between_commits(end).result()
        return over

    def _drop_log(self, appender: Appender) -> int:
        began = time.perf_counter()
        self.log_tried += 1
        try:
            return self._write_checkpoint(appender)
        except Exception:
            self.log_failed += 1
            raise
        finally:
            self.log_seconds.observe(time.perf_counter() - began)

    def _write_checkpoint(self, appender: Appender) -> int:
        head = self._head
        through = 0

        def settle() -> None:
            nonlocal through
            through = self._wal.covered_segment(head.border, head.late.through)

        appender.run_between_commits(settle).result()
        # Also where no segment can go: what is dropped by retention or deleted from blocks is not replayed then.
        self._wal.write_checkpoint(through, self._all_series(), list(self._metadata.values()),
                                   {BORDER: head.border, LATE: head.late.through,
                                    deleted.SECTION: deleted.section(head)}, head.exemplars.columns(),
                                   start_times.columns(head))
        self._wal.drop_through(through)
        return through

    def _drop_histograms(self, appender: Appender) -> None:
        """Removes the files of histograms all samples of which are in blocks."""
        head = self._head
        gone: list[PayloadFile] = []

        def take_out() -> None:
            if not appender.holds_samples:
                with head.lock:
                    needed = min([head.border, *(window.mint for window in head.windows.every)])
                    gone.extend(head.payloads.take_out(needed, head.late.settled))

        if head.payloads.every:
            appender.run_between_commits(take_out).result()
            head.payloads.remove(gone)

    def _all_series(self) -> Iterator[SeriesColumns]:
        table = self._head.table
        slots = table.live()
        for start in range(0, slots.size, SERIES_AT_ONCE):
            part = slots[start : start + SERIES_AT_ONCE]
            yield SeriesColumns(table.records["ref"][part], table.key_bytes, table.key_offset[part],
                                table.key_length[part])
