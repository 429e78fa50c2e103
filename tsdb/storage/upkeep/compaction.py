"""Compaction: several blocks become one, in the background."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tsdb.model.errors import Corruption, FormatTooNew, StorageError, Unavailable
from tsdb.model.histogram import Histogram
from tsdb.storage.block import Block, BlockMeta, Parent, TierMeta, write_block
from tsdb.storage.block.folders import remove_block
from tsdb.storage.block.layout import FLOATS
from tsdb.storage.block.meta import OUT_OF_ORDER
from tsdb.storage.blocks import Blocks
from tsdb.storage.upkeep.compaction_source import CompactionSource
from tsdb.storage.upkeep.planner import Plan, block_ranges, plan
from tsdb.wal.files import FileSystem

log = logging.getLogger(__name__)

SPARE_BYTES = 64 << 20
"""That a compaction leaves free on the disk for ingest; as much as it takes itself is enough."""


SMALL_BYTES = 16 << 20
"""Blocks that overlap and have fewer come by the dozen: `tell` has one line about all of them."""


class Superseded(StorageError):
    """The blocks that were being compacted have changed meanwhile: what was made of them does not count."""


class Compaction:
    """Its methods are called in the maintenance's thread."""

    def __init__(self, fs: FileSystem, blocks: Blocks, pause: Callable[[], None],
                 take_out: Callable[[Block, Corruption], None] | None = None) -> None:
        """`pause` is called every few milliseconds meanwhile. It may change blocks, and end the compaction by raising
        Unavailable. `take_out` replaces a block that was found damaged."""
        self._take_out = take_out
        self._fs = fs
        self._blocks = blocks
        self._pause = pause
        self._failed: set[str] = set()
        """Blocks that cannot be compacted."""
        self.triggered = self.done = self.failed = self.vertical = 0
        """Times since the start; the third: of blocks that overlapped."""
        self.seconds = Histogram.exponential(1, 2, 14)
        self.populating = False
        self._untold = 0

    def tell(self) -> None:
        """Logs how many small compactions there were since the last time."""
        if self._untold:
            log.info("%d compactions of small blocks that overlapped; there are %d blocks now", self._untold,
                     len(self._blocks.every))
            self._untold = 0

    def compact_once(self, retention_ms: int, *, beyond: tuple[int, int] | None = None,
                     everything: bool = False) -> bool:
        """Compacts what is most wanted. False: there is nothing. `beyond`: (end, retention), ms: another retention for
        blocks that end there or before.

        Raises OSError (no space, too), Unavailable where it was told to end, StorageError; all is as before then.
        """
        metas = [block.meta for block in self._blocks.every]
        fresh = {block.meta.ulid for block in self._blocks.every if everything and self._is_fresh(block)}
        found = plan(metas, block_ranges(retention_ms), failed=self._failed, everything=everything, fresh=fresh)
        if found is None and beyond is not None:
            found = plan([meta for meta in metas if meta.maxt <= beyond[0]], block_ranges(beyond[1]),
                         failed=self._failed, everything=everything)
        if found is None:
            return False
        wanted = {meta.ulid for meta in found.blocks}
        blocks = [block for block in self._blocks.every if block.meta.ulid in wanted]
        self.triggered += 1
        try:
            self._compact(blocks, found)
        except Superseded:
            log.info("a compaction begins anew: its blocks have changed meanwhile")
        except (Corruption, FormatTooNew, ValueError) as problem:
            self.failed += 1
            damaged = [block for block in blocks if f"{block.path}/" in str(problem)]
            if isinstance(problem, Corruption) and damaged and self._take_out is not None:
                self._take_out(damaged[0], problem)
                return True
            self._failed |= wanted
            log.error("blocks %s cannot be compacted and stay as they are: %s", ", ".join(sorted(wanted)), problem)
        except Unavailable:
            raise
        except Exception:
            self.failed += 1
            raise
        return True

    def _is_fresh(self, block: Block) -> bool:
        """Whether it has chunks as the head encodes them, as far as the index tells. Not where something is deleted:
        cleaning writes it anew."""
        try:
            return not len(block.tombstones) and bool((block.index["chunk_form"].all() == FLOATS).any())
        except Corruption:
            return False  # whoever needs what is damaged there reports it

    def _compact(self, blocks: Sequence[Block], found: Plan) -> None:
        began = time.perf_counter()
        size = sum(block.bytes for block in blocks)
        free = self._fs.free_bytes(self._blocks.folder)
        if free < size + min(size, SPARE_BYTES):
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: compacting {len(blocks)} blocks takes up to "
                                        f"{size} bytes, {free} are free", str(self._blocks.folder))
        level = logging.DEBUG if found.overlap and size < SMALL_BYTES else logging.INFO
        log.log(level, "compacting %d blocks, %d bytes: %s", len(blocks), size, found.reason)
        for block in blocks:
            block.acquire()  # they stay readable whatever happens in the pauses
        self.populating = True
        try:
            made = merge_blocks(self._fs, self._blocks, blocks, self._pause)
        finally:
            self.populating = False
            for block in blocks:
                block.release()
        added = [made] if made is not None else []
        self._blocks.publish(added, blocks)
        seconds = time.perf_counter() - began
        self.done += 1
        self.vertical += found.overlap
        self.seconds.observe(seconds)
        self._untold += level == logging.DEBUG
        if made is None:
            log.info("%d blocks are gone: all their samples were deleted", len(blocks))
        else:
            stats = made.meta.stats
            log.log(level, "block %s: %d samples in %d chunks of %d series from %d blocks; %d bytes instead of %d, in "
                           "%.2f s",
                    made.meta.ulid, stats.samples, stats.chunks, stats.series, len(blocks), made.bytes, size, seconds)


def merge_blocks(fs: FileSystem, among: Blocks, blocks: Sequence[Block], pause: Callable[[], None]) -> Block | None:
    """Writes one block with all that is not deleted from `blocks`, and opens it; None: nothing is left. Publishing it
    instead of them is next.

    Raises Superseded where one of them has got other tombstones meanwhile, or is gone; Corruption, FormatTooNew,
    OSError, and what `pause` raises.
    """
    tombstones = [block.tombstones for block in blocks]

    def check(_: Path) -> None:
        """After the last pause, before the block is there: with it, its parents go at the next start."""
        there = set(map(id, among.every))
        for block, before in zip(blocks, tombstones, strict=True):
            if id(block) not in there or block.tombstones is not before:
                raise Superseded(f"{block.path} has changed while it was compacted")

    metas = [block.meta for block in blocks]
    windows = {name for meta in metas for name in meta.compaction.windows}.intersection(among.windows_left)
    sources = _sources(metas)
    meta = write_block(
        fs, among.folder, CompactionSource(blocks, pause), level=max(meta.compaction.level for meta in metas) + 1,
        sources=list(sources), ranges=list(sources.values()), tier=_tier(metas),
        parents=[Parent(meta.ulid, meta.mint, meta.maxt) for meta in metas], hints=_hints(metas),
        windows=sorted(windows),
        border=max((meta.compaction.border for meta in metas if meta.compaction.border is not None), default=None),
        beside=check,
    )
    path = among.folder / meta.ulid
    if meta.stats.samples:
        return Block.open(fs, path)
    with contextlib.suppress(OSError):
        remove_block(fs, path)
    return None


def _sources(metas: Sequence[BlockMeta]) -> dict[str, tuple[int, int]]:
    """Level-1 blocks whose data they have, and their ranges, sorted."""
    found: dict[str, tuple[int, int]] = {}
    for meta in metas:
        for ulid, (mint, maxt) in meta.source_ranges.items():
            before = found.get(ulid, (mint, maxt))
            found[ulid] = min(mint, before[0]), max(maxt, before[1])
    return dict(sorted(found.items()))


def _tier(metas: Sequence[BlockMeta]) -> TierMeta | None:
    tiers = [meta.tier for meta in metas if meta.tier is not None]
    if not tiers:
        return None
    return replace(tiers[0], raw=tuple(sorted({ulid for tier in tiers for ulid in tier.raw})),
                   left_out=max(tier.left_out for tier in tiers))


def _hints(metas: Sequence[BlockMeta]) -> tuple[str, ...]:
    return (OUT_OF_ORDER,) if all(meta.compaction.out_of_order for meta in metas) else ()
