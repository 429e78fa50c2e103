"""What one reader may look at: numbers of the head that are not reused meanwhile, and the blocks of its times."""

from __future__ import annotations

from dataclasses import dataclass

from tsdb.storage.block import Block
from tsdb.storage.blocks import Blocks
from tsdb.storage.head.head import Head
from tsdb.storage.head.layout import NO_TS
from tsdb.storage.head.readers import Stay


@dataclass(slots=True)
class View:
    """Taken before anything is looked up. `release` it."""

    blocks: list[Block]
    """Acquired: those with samples that may be in the reader's times."""
    alive: Stay
    """Slots, symbols and pairs of the head mean what they mean as long as anybody refers to it."""
    _of: tuple[Block, ...]

    def is_stale(self, blocks: Blocks) -> bool:
        """Whether blocks have come or gone, and perhaps windows with them. The caller holds the head's lock."""
        return blocks.every is not self._of

    def release(self) -> None:
        for block in self.blocks:
            block.release()


class Views:
    """Of one head and its blocks. Any thread may take one."""

    def __init__(self, head: Head, blocks: Blocks) -> None:
        self._head = head
        self._blocks = blocks
        self._newest: tuple[tuple[Block, ...], int] = ((), NO_TS)

    def touches_blocks(self, mint: int) -> bool:
        """Whether a block has samples that may be at `mint` (ms) or later."""
        every, end = self._newest
        if every is not self._blocks.every:
            every = self._blocks.every
            end = max((block.meta.maxt for block in every), default=NO_TS)
            self._newest = every, end
        return mint < end

    def take(self, mint: int, maxt: int) -> View:
        """For mint..maxt (ms, inclusive)."""
        alive = self._head.readers.stay()
        every = self._blocks.every
        if not self.touches_blocks(mint):
            return View([], alive, every)
        every, touched = self._blocks.acquire(mint, maxt)
        return View(touched, alive, every)
