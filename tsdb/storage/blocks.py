"""The blocks of a storage: which are open, and how one set of them takes the place of another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from tsdb.storage.block import Block
from tsdb.wal.files import FileSystem


class Blocks:
    """An immutable tuple of open blocks that is replaced as a whole. Changed by the maintenance only; any thread reads.

    `lock` is the head's: that a block appears and what it was made of disappears is one step for readers.
    """

    def __init__(self, fs: FileSystem, folder: Path, lock: threading.Lock) -> None:
        self.fs = fs
        self.folder = folder
        self._lock = lock
        self._every: tuple[Block, ...] = ()

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
        same hold of the lock, to truncate the head. OSError where a folder cannot be removed."""
        with self._lock:
            gone = set(map(id, removed))
            kept = [block for block in self._every if id(block) not in gone]
            self._every = tuple(sorted([*kept, *added], key=lambda block: (block.meta.mint, block.meta.maxt)))
            if beside is not None:
                beside()
        for block in removed:
            block.remove_when_released()
            block.release()

    def close(self) -> None:
        with self._lock:
            every, self._every = self._every, ()
        for block in every:
            block.release()
