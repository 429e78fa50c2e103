"""Drops what retention no longer wants: blocks, series of blocks, and windows that could not be cut."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tsdb.model.errors import Corruption
from tsdb.storage.appender import Appender
from tsdb.storage.block import Block
from tsdb.storage.blocks import Blocks
from tsdb.storage.head import deleted
from tsdb.storage.head.head import Head
from tsdb.storage.tombstones import Tombstones
from tsdb.storage.upkeep.retention import Piece, Retention, too_many, too_old
from tsdb.wal import Wal
from tsdb.wal.files import FileSystem

log = logging.getLogger(__name__)


@dataclass(slots=True)
class RetentionStatistics:
    """Limits, and counters since the start."""

    limit_bytes: int = 0
    """0: none."""
    limit_ms: int = 0
    """0: none."""
    time_retentions: int = 0
    """Times that something was too old; and too much."""
    size_retentions: int = 0


class Expiry:
    """Of one storage; `run` is called in the maintenance's thread."""

    def __init__(self, fs: FileSystem, data: Path, head: Head, blocks: Blocks, wal: Wal,
                 mark: Callable[[list[tuple[Block, Tombstones]]], None]) -> None:
        """`mark` gives blocks other tombstones."""
        self._fs = fs
        self._data = data
        self._head = head
        self._blocks = blocks
        self._wal = wal
        self._mark = mark
        self._looked: dict[str, tuple[Retention, frozenset[int]]] = {}
        """Blocks whose series were looked at: for what, and beyond which times to keep they were."""
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

    def statistics(self) -> RetentionStatistics:
        try:
            most = self.most_bytes
        except OSError:
            most = self.retention.size_bytes
        return RetentionStatistics(most, self.retention.time_ms, self.time_retentions, self.size_retentions)

    def run(self, appender: Appender) -> None:
        """Drops what is too old or too much. Raises OSError, Unavailable, StorageError, BadData."""
        head, retention = self._head, self.retention
        with head.lock:
            head.windows.settle()
            windows = list(head.windows.every)
            newest = head.max_ts
        blocks = self._blocks.every
        # a block's range may end after the newest sample of all, its border does not
        borders = [block.meta.compaction.border for block in blocks]
        newest = max([newest, *(border for border in borders if border is not None)])
        pieces = [Piece(block.meta.maxt, block.bytes) for block in blocks]
        pieces += [Piece(window.maxt + 1, window.used, window.complete) for window in windows]
        old = set(too_old(pieces, newest, retention.time_ms))
        if retention.rules:
            old = {i for i in old if i >= len(blocks)} | self._without_series(blocks, newest)
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

    def _without_series(self, blocks: Sequence[Block], newest: int) -> set[int]:
        """Which blocks have no series that a rule, or the general retention, still keeps. Others get tombstones for
        those that are kept no longer, once for each of the times to keep that they are beyond."""
        retention, gone, marked = self.retention, set(), []
        looked: dict[str, tuple[Retention, frozenset[int]]] = {}
        for i, block in enumerate(blocks):
            age = newest - block.meta.maxt
            state = retention, retention.reached(age)
            if not state[1] or self._looked.get(block.meta.ulid) == state:
                looked[block.meta.ulid] = state
                continue
            try:
                keep = retention.keep_ms(block)
            except Corruption as problem:
                looked[block.meta.ulid] = state
                log.error("block %s keeps series that are over their retention: %s", block.meta.ulid, problem)
                continue
            rows = np.flatnonzero((keep > 0) & (keep <= age)).astype(np.int32)
            if rows.size == len(block):
                gone.add(i)
                continue
            looked[block.meta.ulid] = state
            tombstones = block.tombstones.adding(rows, np.full(rows.size, block.meta.mint),
                                                 np.full(rows.size, block.meta.maxt - 1))
            if rows.size and not tombstones.same_as(block.tombstones):
                log.info("block %s: %d series are over their retention", block.meta.ulid, rows.size)
                marked.append((block, tombstones))
        self._mark(marked)
        self._looked = looked
        return gone
