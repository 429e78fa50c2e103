"""The blocks of a storage: which are open, and how one set of them takes the place of another."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from tsdb.model.errors import Corruption
from tsdb.storage.block import Block, BlockMeta, block_paths
from tsdb.storage.block.folders import remove_block
from tsdb.storage.block.layout import CHUNKS_NAME, INDEX_NAME, META_NAME
from tsdb.storage.block.sections import Index, without_remedy
from tsdb.storage.block.ulid import is_ulid, made_at
from tsdb.storage.damage import BACK, SetsAside
from tsdb.storage.head.layout import NO_TS
from tsdb.wal.files import FileSystem, read_file, write_file_atomically

log = logging.getLogger(__name__)

LATEST_MS = 600_000
"""How far ahead of the clock samples may be when a block is made."""


class Blocks:
    """An immutable tuple of open blocks that is replaced as a whole. Changed by the maintenance only; any thread reads.

    `lock` is the head's: that a block appears and what it was made of disappears is one step for readers.
    """

    def __init__(self, fs: FileSystem, folder: Path, lock: threading.Lock) -> None:
        self.fs = fs
        self.folder = folder
        self._lock = lock
        self._every: tuple[Block, ...] = ()
        self._found: list[Path] = []
        self._unopened: set[str] = set()
        """Names of those that could not be opened."""
        self.windows_left: list[str] = []
        """Files of windows that are in blocks and are still to be removed. The maintenance's."""

    @classmethod
    def open(cls, fs: FileSystem, folder: Path, lock: threading.Lock, damage: SetsAside, *, read_only: bool) -> Self:
        """Opens the blocks that are there. What is damaged is set aside, what is in other blocks as well is removed.

        Raises FormatTooNew; OSError.
        """
        blocks = cls(fs, folder, lock)
        paths = blocks._found = block_paths(fs, folder, read_only=read_only)
        if paths and not read_only:
            # the names of blocks may not be durable yet, and what they were made of goes now
            fs.sync_directory(folder)
        opened: list[Block] = []
        wrong: list[tuple[Path, Corruption]] = []
        try:
            for path in paths:
                try:
                    opened.append(Block.open(fs, path))
                except Corruption as problem:
                    wrong.append((path, problem))
            gone = superseded(block.meta for block in opened)
            for block in [block for block in opened if block.meta.ulid in gone]:
                opened.remove(block)
                if not read_only:
                    _remove(block)
                block.release()
            for path, found in wrong:
                if path.name in gone and not read_only:
                    remove_block(fs, path)
                elif path.name not in gone and fs.exists(path):  # else a process that writes has removed it meanwhile
                    damage.set_aside(path, Corruption(without_remedy(found)), *block_times(fs, path))
            for block in opened:
                _do_without(fs, block, damage, read_only=read_only)
        except BaseException:
            for block in opened:
                block.release()
            raise
        blocks._every = _sorted(opened)
        blocks._unopened = {path.name for path in paths} - {block.path.name for block in opened}
        return blocks

    def unchanged(self) -> bool:
        """Whether the folder has the same blocks as when it was opened: for who reads beside a process that writes."""
        return block_paths(self.fs, self.folder, read_only=True) == self._found

    @property
    def border(self) -> int:
        """In-order samples before it are in blocks, or dropped (ms); NO_TS: there are none."""
        borders = (block.meta.compaction.border for block in self._every)
        return max((border for border in borders if border is not None), default=NO_TS)

    @property
    def cut_windows(self) -> set[str]:
        """Names of windows' files whose samples are in blocks."""
        return {name for block in self._every for name in block.meta.compaction.windows}

    @property
    def every(self) -> tuple[Block, ...]:
        """In order of their first time. Another tuple whenever anything has changed."""
        return self._every

    def acquire(self, mint: int, maxt: int) -> tuple[tuple[Block, ...], list[Block]]:
        """(all blocks, those with samples that may be in mint..maxt (ms, inclusive)); the latter are acquired:
        `release` them. The first tells a reader that looks again, under the lock, whether anything has changed."""
        with self._lock:
            every = self._every
            touched = [block for block in every if block.meta.mint <= maxt and block.meta.maxt > mint]
            for block in touched:
                block.acquire()
        return every, touched

    def publish(self, added: Sequence[Block], removed: Sequence[Block] = (),
                beside: Callable[[], None] | None = None) -> None:
        """Shows `added` and hides `removed`, whose folders go when their last reader lets go; `beside` is called in the
        same hold of the lock, to truncate the head."""
        with self._lock:
            gone = set(map(id, removed))
            kept = [block for block in self._every if id(block) not in gone]
            self._every = _sorted([*kept, *added])
            if beside is not None:
                beside()
        for block in removed:
            _remove(block)
            block.release()

    def damaged(self) -> list[tuple[Block, Corruption]]:
        """Those of which chunks were found damaged when they were opened."""
        return [(block, problem) for block in self._every for path, problem in block.left_out
                if path.name == CHUNKS_NAME]

    def take_out(self, block: Block, added: Sequence[Block] = ()) -> None:
        """Shows `added` instead of a block, whose folder stays."""
        with self._lock:
            self._every = _sorted([*(each for each in self._every if each is not block), *added])
        block.release()

    def remove_unknown(self) -> None:
        """Removes blocks that were written, or hidden, and could not be removed when that failed: the next start would
        take them for blocks that count. OSError."""
        known = {block.path.name for block in self._every} | self._unopened
        for name in self.fs.listdir(self.folder):
            if is_ulid(name) and name not in known:
                remove_block(self.fs, self.folder / name)

    def close(self) -> None:
        with self._lock:
            every, self._every = self._every, ()
        for block in every:
            block.release()


def superseded(metas: Iterable[BlockMeta]) -> set[str]:
    """ULIDs of blocks whose samples are in other ones as well: parents, and what is left of older generations."""
    every = list(metas)
    gone = {parent.ulid for meta in every for parent in meta.compaction.parents}
    larger = [(meta.compaction.level, set(meta.compaction.sources)) for meta in every if meta.compaction.level > 1]
    for meta in every:
        own = set(meta.compaction.sources)
        if any(level > meta.compaction.level and own <= sources for level, sources in larger):
            gone.add(meta.ulid)
    return gone


def precedence(block: Block) -> tuple[bool, str]:
    """Sort by it: where times are equal the first block's sample counts. Samples in order come before late ones; of
    late ones the first stays, as in their store."""
    compaction = block.meta.compaction
    return compaction.out_of_order, min(compaction.sources)


def _sorted(blocks: Iterable[Block]) -> tuple[Block, ...]:
    return tuple(sorted(blocks, key=lambda block: (block.meta.mint, block.meta.maxt, block.meta.ulid)))


def _remove(block: Block) -> None:
    try:
        block.remove_when_released()
    except OSError as problem:
        log.error("%s could not be removed: %s; it is tried again at the next start", block.path, problem)


def _do_without(fs: FileSystem, block: Block, damage: SetsAside, *, read_only: bool) -> None:
    """Sets aside files that are damaged and not needed; meta.json is written anew. Damaged chunks are `damaged`'s."""
    for path, problem in block.left_out:
        if path.name == META_NAME:
            damage.set_aside(path, Corruption(without_remedy(problem)))
            if not read_only:
                write_file_atomically(fs, path, block.meta.to_json())
        elif path.name != CHUNKS_NAME:
            damage.set_aside(path, problem, block.meta.mint, block.meta.maxt, BACK)


def block_times(fs: FileSystem, path: Path) -> tuple[int, int]:
    """minTime and maxTime of a block that cannot be opened, as far as it can be told."""
    try:
        index = read_file(fs, path / INDEX_NAME)
        found = Index(path / INDEX_NAME, np.frombuffer(index, np.uint8))
        return found.mint, found.maxt
    except (OSError, Corruption):
        pass
    try:
        document = json.loads(read_file(fs, path / META_NAME))
        mint, maxt = int(document["minTime"]), int(document["maxTime"])
        if mint < maxt <= made_at(path.name) + LATEST_MS:
            return mint, maxt
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return 0, made_at(path.name) + LATEST_MS
