"""Deletes: samples vanish at once, and durably; their room on disk follows.

Blocks without anything left go as a whole. Others get tombstones, and so does the head; late samples are taken out. All
of it happens in the maintenance's thread, so that nothing is cut or compacted meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import Unavailable
from tsdb.model.matchers import Matcher
from tsdb.storage.appender import Appender
from tsdb.storage.block import Block
from tsdb.storage.block.tombstones_file import write_tombstones
from tsdb.storage.blocks import Blocks
from tsdb.storage.head import deleted
from tsdb.storage.head.head import Head
from tsdb.storage.head.index import Index
from tsdb.storage.head.layout import NO_TS
from tsdb.storage.tombstones import Tombstones
from tsdb.storage.upkeep.downsampling import Downsampling
from tsdb.storage.upkeep.reserve import Reserve, is_full
from tsdb.wal import TombstoneColumns, Wal
from tsdb.wal.files import FileSystem

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Plan:
    """What a delete does to the blocks."""

    gone: list[Block] = field(default_factory=list)
    """Nothing is left of them."""
    marked: list[tuple[Block, Tombstones]] = field(default_factory=list)


class Deletes:
    """Its methods are called in the maintenance's thread."""

    def __init__(self, fs: FileSystem, head: Head, index: Index, blocks: Blocks, wal: Wal, appender: Appender,
                 reserve: Reserve) -> None:
        self._fs = fs
        self._head = head
        self._index = index
        self._blocks = blocks
        self._wal = wal
        self._appender = appender
        self._reserve = reserve
        self.tiers: Downsampling | None = None

    def delete(self, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int) -> None:
        """Deletes the samples with mint <= ts <= maxt (ms) of series that satisfy any of the matcher sets: of the head
        those up to each series' newest one, as Prometheus does.

        When it returns nobody sees them any more, and nothing brings them back. Where it fails (OSError, Unavailable,
        Corruption), part may be deleted: it can be repeated. BadData for a regex that is none.
        """
        if mint > maxt:
            return
        self._blocks.remove_unknown()
        if self.tiers is not None:
            self.tiers.hide(matcher_sets, mint, maxt)  # before: as long as there are samples they can be built again
        plan = self._plan(matcher_sets, mint, maxt)
        if plan.gone:
            self._blocks.publish((), plan.gone)  # frees room for what follows
            self._blocks.remove_unknown()
        self.mark(plan.marked)
        self.delete_from_head(matcher_sets, mint, maxt)
        log.log(logging.INFO if plan.gone or plan.marked else logging.DEBUG,
                "deleted: %d blocks are gone, %d have samples that are deleted", len(plan.gone), len(plan.marked))

    def _plan(self, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int) -> _Plan:
        plan = _Plan()
        for block in self._blocks.every:
            if block.meta.mint > maxt or block.meta.maxt <= mint:
                continue
            rows = _union([block.find(matchers) for matchers in matcher_sets])
            first, last = block.spans(rows)
            rows = rows[(first <= maxt) & (last >= mint)]
            if rows.size == 0:
                continue
            begin, end = max(mint, block.meta.mint), min(maxt, block.meta.maxt - 1)
            tombstones = block.tombstones.adding(rows, np.full(rows.size, begin), np.full(rows.size, end))
            if covers(tombstones, block):
                plan.gone.append(block)
            else:
                plan.marked.append((block, tombstones))
        return plan

    def mark(self, marked: list[tuple[Block, Tombstones]], among: Blocks | None = None) -> None:
        """Gives blocks (`among` those of a tier; None: of samples) other tombstones, durably. Raises OSError."""
        if marked:
            self._with_room(self._here, lambda: self._mark(marked, among or self._blocks))

    def _mark(self, marked: list[tuple[Block, Tombstones]], among: Blocks) -> None:
        done: list[tuple[Block, Tombstones]] = []

        def show() -> None:
            for block, tombstones in done:
                block.tombstones = tombstones

        try:
            for block, tombstones in marked:
                write_tombstones(self._fs, block.path, tombstones)
                done.append((block, tombstones))
        finally:
            if done:  # what is on disk counts, even where another file could not be written
                among.publish((), (), show)

    def delete_from_head(self, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int,
                         but: Sequence[Sequence[Matcher]] = ()) -> None:
        """What `delete` does to the head and late samples; series that satisfy any of `but` stay. Raises OSError,
        Unavailable, BadData."""
        self._with_room(self._between_commits, lambda: self._delete_from_head(matcher_sets, mint, maxt, but))

    def _delete_from_head(self, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int,
                          but: Sequence[Sequence[Matcher]]) -> None:
        """Between two commits."""
        head = self._head
        slots = _union([self._index.select(matchers) for matchers in matcher_sets])
        if but:
            slots = np.setdiff1d(slots, _union([self._index.select(matchers) for matchers in but]), assume_unique=True)
        if slots.size == 0:
            return
        # Of all of them, even where nothing stands in the head any more: the log may still have samples that are in
        # blocks by now, and a replay must not bring them back: without these blocks it may know no border, and of what
        # is before the border a start does not know the series' newest time.
        newest = head.records["last_ts"][slots]
        if head.border != NO_TS:
            newest = np.maximum(newest, head.border - 1)
        columns = TombstoneColumns(head.records["ref"][slots], np.minimum(newest, maxt), mint, maxt)
        self._wal.append(tombstones=columns)
        self._wal.sync()
        with head.lock:
            deleted.take_over(head, columns, slots)
            deleted.forget(head)
        head.late.remove(slots, mint, maxt)

    def _with_room(self, run: Callable[[Callable[[], None]], None], work: Callable[[], None]) -> None:
        """Where the disk is full, the reserve is released for it, and nothing else is written meanwhile."""
        try:
            return run(work)
        except (OSError, Unavailable) as problem:
            if not is_full(problem):
                raise

        def once_more() -> None:
            self._reserve.release()
            work()

        self._between_commits(once_more)

    def _here(self, work: Callable[[], None]) -> None:
        work()

    def _between_commits(self, work: Callable[[], None]) -> None:
        self._appender.run_between_commits(work).result()


def covers(tombstones: Tombstones, block: Block) -> bool:
    """Whether nothing is left of a block."""
    if tombstones.series.size < len(block):
        return False
    first, last = block.spans(tombstones.series)
    whole = (tombstones.mint <= first) & (tombstones.maxt >= last)
    return int(np.unique(tombstones.series[whole]).size) == len(block)


def _union(found: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
    """i32[], sorted, each once."""
    return np.unique(np.concatenate([np.zeros(0, np.int32), *found]))
