"""Drops what retention no longer wants: blocks, windows that could not be cut, and by rule, samples of series.

These get tombstones that advance in steps, in blocks and in the head. There is no other state: what a rule has hidden
stays hidden, whatever rules say later.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tsdb.model.errors import Corruption
from tsdb.storage.appender import Appender
from tsdb.storage.block import Block
from tsdb.storage.blocks import Blocks
from tsdb.storage.head import deleted
from tsdb.storage.head.head import Head
from tsdb.storage.head.layout import NO_TS
from tsdb.storage.tombstones import Tombstones
from tsdb.storage.upkeep.deletes import Deletes, covers
from tsdb.storage.upkeep.downsampling import Downsampling
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


@dataclass(frozen=True, slots=True)
class _Looked:
    """A look at a block: for what, and what came of it."""

    retention: Retention
    limits: tuple[int, ...]
    more_goes: bool
    """Later limits will take more of its samples."""


class Expiry:
    """Of one storage; its methods are called in the maintenance's thread."""

    def __init__(self, fs: FileSystem, data: Path, head: Head, blocks: Blocks, wal: Wal,
                 deletes: Deletes) -> None:
        self._fs = fs
        self._data = data
        self._head = head
        self._blocks = blocks
        self._wal = wal
        self._deletes = deletes
        self._looked: dict[str, _Looked] = {}
        """By block."""
        self._head_looked: tuple[Retention, tuple[int | None, ...]] | None = None
        """By rule, up to which limit samples were taken out of the head; None: it had none so old."""
        self._newest = NO_TS
        self.retention = Retention()
        """May be replaced at any time."""
        self.tiers: Downsampling | None = None
        self.time_retentions = 0
        """Times that something was too old; and too much."""
        self.size_retentions = 0
        self.dropped_windows = 0

    @property
    def newest(self) -> int:
        """The time from which ages are counted (ms), as of the last run; NO_TS: there are no samples."""
        return self._newest

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
        if newest == NO_TS:  # all was imported
            newest = max((block.meta.maxt - 1 for block in blocks), default=NO_TS)
        self._newest = newest
        pieces = [Piece(block.meta.maxt, block.bytes) for block in blocks]
        pieces += [Piece(window.maxt + 1, window.used, window.complete) for window in windows]
        old = set(too_old(pieces, newest, retention.longest_ms))
        marked: dict[int, Tombstones] = {}
        looked: dict[str, _Looked] = {}
        if retention.rules:
            gone, marked, looked = self._by_rule(blocks, newest)
            old = {i for i in old if i >= len(blocks)} | gone
        tiers, most_bytes = self.tiers, self.most_bytes
        aged = {i for i, block in enumerate(blocks) if retention.is_old(block.meta.maxt, newest)}
        if tiers is not None:
            for i in aged & (old | marked.keys()):
                if tiers.holds(blocks[i]):
                    aged.discard(i)
                    old.discard(i)
                    marked.pop(i, None)
                    looked.pop(blocks[i].meta.ulid, None)
        rest = [i for i in range(len(pieces)) if i not in old]
        beside = self._wal.statistics().size_bytes + head.payloads.used
        beside += 0 if tiers is None else tiers.bytes
        large = {rest[i] for i in too_many([pieces[i] for i in rest], beside, most_bytes)}
        if tiers is not None:
            large = {i for i in large if i >= len(blocks) or not tiers.holds(blocks[i])}
            lost = aged & (old | marked.keys()) | {i for i in large if i < len(blocks)}
            if lost:
                tiers.let_go(max(blocks[i].meta.maxt for i in lost))
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
        self._deletes.mark([(blocks[i], tombstones) for i, tombstones in marked.items() if i not in large])
        self._looked = looked
        self._expire_head()
        if tiers is not None and newest != NO_TS:
            tiers.expire(newest, most_bytes)

    def more_goes(self, block: Block) -> bool:
        """Whether rules will take more of a block than they have."""
        found = self._looked.get(block.meta.ulid)
        return found is not None and found.more_goes

    @property
    def beyond(self) -> tuple[int, int] | None:
        """(end ms, ms): blocks that end there or before hold only series that rules keep longer than others, and how
        long these do at the most, 0: for ever. None: there are none."""
        retention = self.retention
        if retention.time_ms == 0 or not retention.rules:
            return None
        return self._newest - retention.time_ms, retention.longest_ms

    def _drop_windows(self, count: int) -> None:
        head = self._head
        with head.lock:
            head.windows.settle()
            head.windows.drop(count)
            head.min_ts = min([window.mint for window in head.windows.every], default=head.border)
            deleted.forget(head)

    def _by_rule(self, blocks: Sequence[Block], newest: int,
                 ) -> tuple[set[int], dict[int, Tombstones], dict[str, _Looked]]:
        """(which blocks have no samples that a rule, or the general retention, still keeps; tombstones for others where
        a limit has advanced within them; looks at them, which count once these are written)."""
        retention, gone = self.retention, set()
        marked: dict[int, Tombstones] = {}
        looked: dict[str, _Looked] = {}
        for i, block in enumerate(blocks):
            ulid, mint = block.meta.ulid, block.meta.mint
            limits = retention.limits(mint, block.meta.maxt, newest)
            before = self._looked.get(ulid)
            if before is not None and (before.retention, before.limits) == (retention, limits):
                looked[ulid] = before
                continue
            looked[ulid] = _Looked(retention, limits, False)
            if max(limits) == mint:
                continue
            try:
                limit = retention.by_series(block, limits)
                first, last = block.spans(np.arange(len(block), dtype=np.int32))
                rows = np.flatnonzero(limit > first)
                tombstones = block.tombstones.adding(rows.astype(np.int32), first[rows],
                                                     np.minimum(limit[rows] - 1, last[rows]))
                if covers(tombstones, block):
                    gone.add(i)
                    continue
            except Corruption as problem:
                log.error("block %s keeps series that are over their retention: %s", ulid, problem)
                continue
            more_goes = bool(((limit > mint) & (limit <= last)).any())
            looked[ulid] = _Looked(retention, limits, more_goes)
            if not tombstones.same_as(block.tombstones):
                log.log(logging.DEBUG if more_goes else logging.INFO, "block %s: %d series are over their retention%s",
                        ulid, rows.size, " up to some time" if more_goes else "")
                marked[i] = tombstones
        return gone, marked, looked

    def _expire_head(self) -> None:
        """Takes samples out of the head and the late ones where a rule keeps them for less time than these span."""
        head, retention = self._head, self.retention
        if not retention.rules or self._newest == NO_TS:
            return
        oldest = head.min_ts
        if (late := head.late.mint) is not None:
            oldest = min(oldest, late)
        limits = [rule.limit(self._newest) for rule in retention.rules]
        reached = retention, tuple(limit if limit > oldest else None for limit in limits)
        if reached == self._head_looked:
            return
        for i, limit in enumerate(reached[1]):
            if limit is not None:
                earlier = [rule.matchers for rule in retention.rules[:i]]
                self._deletes.delete_from_head([retention.rules[i].matchers], oldest, limit - 1, earlier)
        self._head_looked = reached
