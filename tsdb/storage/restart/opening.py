"""How the head comes back: from the saved head of a clean stop, else by a replay."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from tsdb.model.batch import Metadata
from tsdb.model.errors import TsdbError
from tsdb.storage.blocks import Blocks
from tsdb.storage.head.head import Head
from tsdb.storage.restart import saved_head
from tsdb.storage.restart.recovery import Progress, Report, recover
from tsdb.storage.restart.saved_head import SavedHead
from tsdb.wal import Replayed, Wal
from tsdb.wal.files import FileSystem

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Opened:
    """How it went."""

    clean: bool
    """There was a saved head: nothing was replayed."""
    samples: int
    """Replayed from the log."""
    seconds: float
    consistent: bool = True
    """False: a writer beside us changed files meanwhile, begin anew."""


def open_head(fs: FileSystem, data: Path, wal: Wal, head: Head, metadata: dict[str, Metadata], blocks: Blocks,
              report: Report, *, read_only: bool) -> Opened:
    """Fills an empty head with what is not in `blocks`, and makes the log ready for appends. From here on a saved head
    is worth nothing, and is gone, unless `read_only`. Raises StorageError, OSError, FormatTooNew."""
    began = time.monotonic()
    report(Progress("looking for a saved head"))
    saved = saved_head.find(fs, data)
    found: Replayed | None = None
    if saved is not None and _fits(saved, head, blocks):
        found = wal.resume(saved.log)
        if found is None:
            log.warning("the saved head is of no use, the log is replayed: the log is not that of that time")
    if not read_only:
        saved_head.remove(fs, data)
    if saved is not None and found is not None:
        report(Progress("loading the saved head"))
        saved.load(head, metadata)
        saved.close()
        opened = Opened(True, 0, time.monotonic() - began)
        log.info("loaded the saved head: %d series, %d windows, %.2f s; nothing is replayed", head.table.series,
                 len(head.windows), opened.seconds)
        return opened
    if saved is not None:
        saved.close()
    recovered = recover(fs, data / "wal", wal, head, metadata, report, blocks)
    opened = Opened(False, recovered.samples, time.monotonic() - began, recovered.same_checkpoint)
    segments = [segment.number for segment in recovered.log.segments]
    level = logging.INFO if head.table.size or recovered.samples else logging.DEBUG
    log.log(level, "replayed the log, segments %d to %d, in %.2f s", min(segments, default=0), max(segments, default=0),
            opened.seconds)
    return opened


def save_head(fs: FileSystem, data: Path, wal: Wal, head: Head, metadata: dict[str, Metadata]) -> None:
    """After a clean stop, the log closed. Where it cannot be written, the next start replays."""
    began = time.monotonic()
    try:
        size = saved_head.save(fs, data, head, metadata, wal.contents())
    except (OSError, TsdbError) as problem:
        log.warning("the head could not be saved: %s; the log is replayed at the next start", problem)
    else:
        log.info("saved the head: %d series, %d bytes, %.2f s", head.table.series, size, time.monotonic() - began)


def _fits(saved: SavedHead, head: Head, blocks: Blocks) -> bool:
    """Whether windows and histograms are those that it was saved with, and no window is in a block by now."""
    there = head.windows.sizes()
    fits = ({window.name: window.size for window in saved.windows} == there and not {*blocks.cut_windows} & {*there}
            and {file.name: file.size for file in saved.histograms} == head.payloads.sizes()
            and blocks.border <= saved.border)
    if not fits:
        log.warning("the saved head is of no use, the log is replayed: windows, histograms or blocks are not those of "
                    "that time")
    return fits
