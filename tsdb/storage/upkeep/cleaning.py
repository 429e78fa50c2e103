"""Cleaning: blocks are written anew without what was deleted from them, so that it takes no room on the disk."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable

import numpy as np

from tsdb.model.errors import Corruption, FormatTooNew
from tsdb.storage.block import Block
from tsdb.storage.blocks import Blocks
from tsdb.storage.tombstones import Tombstones
from tsdb.storage.upkeep.compaction import Superseded, merge_blocks
from tsdb.storage.upkeep.reserve import Reserve
from tsdb.wal.files import FileSystem

log = logging.getLogger(__name__)

WORTH = 0.05
"""Part of a block's samples that is deleted when it is cleaned by itself. Others wait for their next compaction."""
WORTH_NOW = 0.25
"""The same of a block of which more goes by and by: it is written anew a few times on the way, not at each step."""
SPARE_BYTES = 256 << 10
"""That is left free on the disk."""


class Cleaning:
    """Its methods are called in the maintenance's thread."""

    def __init__(self, fs: FileSystem, blocks: Blocks, reserve: Reserve, pause: Callable[[], None],
                 damaged: Callable[[Block, Corruption], None] | None = None,
                 more_goes: Callable[[Block], bool] = lambda _: False) -> None:
        """`pause` is called every few milliseconds; it may change blocks, and end it all by raising Unavailable.
        `damaged` is told of a block that was found damaged. `more_goes`: whether a block gets more tombstones soon."""
        self._more_goes = more_goes
        self._damaged = damaged
        self._fs = fs
        self._blocks = blocks
        self._reserve = reserve
        self._pause = pause
        self._parts: dict[str, tuple[Tombstones, float]] = {}
        """By block, for its tombstones: which part of its samples is deleted."""
        self._failed: set[str] = set()
        """Blocks that cannot be read."""
        self.cleaned = 0
        """Blocks, since the start."""

    def clean_one(self) -> bool:
        """Cleans the smallest block where that pays, and makes the reserve where there is none. False: there was none.
        Raises OSError, StorageError, Unavailable."""
        self._reserve.fill()
        there = {block.meta.ulid for block in self._blocks.every}
        self._parts = {ulid: part for ulid, part in self._parts.items() if ulid in there}
        for block in self._marked():
            try:
                worth = WORTH_NOW if self._more_goes(block) else WORTH
                if self._deleted_part(block) >= worth and self._has_room(block):
                    self._clean(block)
                    return True
            except Superseded:
                return True
            except (Corruption, FormatTooNew, ValueError) as problem:
                self._failed.add(block.meta.ulid)
                if isinstance(problem, Corruption) and self._damaged is not None:
                    self._damaged(block, problem)
                log.error("block %s keeps what was deleted: %s", block.meta.ulid, problem)
        return False

    def clean_all(self) -> None:
        """Cleans every block, small ones first. Raises OSError, StorageError, Unavailable, with those done that
        could be."""
        problem: Exception | None = None
        tried: set[str] = set()
        while True:
            block = next((each for each in self._marked() if each.meta.ulid not in tried), None)
            if block is None:
                break
            try:
                if not self._has_room(block):
                    raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: block {block.meta.ulid} is written anew "
                                                "before its room is free", str(block.path))
                self._clean(block)
            except Superseded:
                continue
            except (OSError, Corruption, FormatTooNew, ValueError) as failure:
                tried.add(block.meta.ulid)
                problem = problem or failure
        if problem is not None:
            raise problem

    def _marked(self) -> list[Block]:
        found = [block for block in self._blocks.every
                 if len(block.tombstones) and block.meta.ulid not in self._failed]
        return sorted(found, key=lambda block: block.bytes)

    def _clean(self, block: Block) -> None:
        block.acquire()
        try:
            made = merge_blocks(self._fs, self._blocks, [block], self._pause)
        finally:
            block.release()
        self._blocks.publish([] if made is None else [made], [block])
        self.cleaned += 1
        log.info("block %s is written anew without what was deleted: %d bytes instead of %d", block.meta.ulid,
                 0 if made is None else made.bytes, block.bytes)

    def _has_room(self, block: Block) -> bool:
        """Whether there is room for what is left of a block; the reserve is released where that helps."""
        wanted = block.bytes * (1 - self._deleted_part(block)) + SPARE_BYTES
        free = self._fs.free_bytes(self._blocks.folder)
        if free <= wanted < free + self._reserve.bytes:
            self._reserve.release()
            return True
        return free > wanted

    def _deleted_part(self, block: Block) -> float:
        """Which part of a block's samples is deleted, about. Corruption."""
        known = self._parts.get(block.meta.ulid)
        if known is not None and known[0] is block.tombstones:
            return known[1]
        found = block.tombstones
        first, last = block.spans(found.series)
        hidden = np.minimum(found.maxt, last) - np.maximum(found.mint, first) + 1
        samples = block.chunk_ranges(found.series, block.meta.mint, block.meta.maxt).samples
        part = float((samples * np.maximum(hidden, 0) / (last - first + 1)).sum()) / max(1, block.meta.stats.samples)
        self._parts[block.meta.ulid] = found, part
        return part
