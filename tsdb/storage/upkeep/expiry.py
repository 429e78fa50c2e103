"""Drops what retention no longer wants: blocks, and windows that could not be cut."""

from __future__ import annotations

import logging
from pathlib import Path

from tsdb.storage.appender import Appender
from tsdb.storage.block import Block
from tsdb.storage.blocks import Blocks
from tsdb.storage.head import deleted
from tsdb.storage.head.head import Head
from tsdb.storage.upkeep.retention import Piece, Retention, too_many, too_old
from tsdb.wal import Wal
from tsdb.wal.files import FileSystem

log = logging.getLogger(__name__)


class Expiry:
    """Of one storage; `run` is called in the maintenance's thread."""

    def __init__(self, fs: FileSystem, data: Path, head: Head, blocks: Blocks, wal: Wal) -> None:
        self._fs = fs
        self._data = data
        self._head = head
        self._blocks = blocks
        self._wal = wal
        self.retention = Retention()
        """May be replaced at any time."""
        self.time_retentions = 0
        """Times that something was too old; and too much."""
        self.size_retentions = 0
        self.dropped_windows = 0

    @property
    def most_bytes(self) -> int:
        """The limit of size; 0: none. OSError."""
        return self.retention.most_bytes(self._fs.disk_bytes(self._data) if self.retention.percentage else 0)

    def run(self, appender: Appender) -> None:
        """Drops what is too old or too much. Raises OSError, Unavailable, StorageError, BadData."""
        head, retention = self._head, self.retention
        with head.lock:
            head.windows.settle()
            windows = list(head.windows.every)
            newest = head.max_ts
        blocks = self._blocks.every
        # the range of a block of late samples may end up to two hours after the newest sample of all
        newest = max([newest, *(block.meta.maxt for block in blocks if not block.meta.compaction.out_of_order)])
        pieces = [Piece(block.meta.maxt, block.bytes) for block in blocks]
        pieces += [Piece(window.maxt + 1, window.used, window.complete) for window in windows]
        old = {i for i in too_old(pieces, newest, retention.time_ms)
               if i >= len(blocks) or not self._outlives(blocks[i], newest)}
        rest = [i for i in range(len(pieces)) if i not in old]
        large = {rest[i] for i in too_many([pieces[i] for i in rest], self._wal.statistics().size_bytes,
                                           self.most_bytes)}
        self.time_retentions += bool(old)
        self.size_retentions += bool(large)
        gone = old | large
        dropped = [block for i, block in enumerate(blocks) if i in gone]
        if dropped:
            self._blocks.publish((), dropped)
        count = 0
        while count < len(windows) and len(blocks) + count in gone:
            count += 1
        if count:
            appender.run_between_commits(lambda: self._drop_windows(count)).result()
            self.dropped_windows += count
        if dropped or count:
            log.info("dropped %d blocks and %d windows that were over the retention", len(dropped), count)

    def _drop_windows(self, count: int) -> None:
        head = self._head
        with head.lock:
            head.windows.settle()
            head.windows.drop(count)
            head.min_ts = min([window.mint for window in head.windows.every], default=head.border)
            deleted.forget(head)

    def _outlives(self, block: Block, newest: int) -> bool:
        """Whether a rule keeps some series of a block that is beyond the general retention."""
        age = newest - block.meta.maxt
        longest = self.retention.longest_ms
        if not self.retention.rules or 0 < longest <= age:
            return False
        keep = self.retention.keep_ms(block)
        return bool(((keep == 0) | (keep > age)).any())
