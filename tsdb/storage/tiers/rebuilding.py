"""Building a tier's block anew where not all of its samples are there any more: windows of these stay as they were."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tsdb.storage.block import Block, BlockMeta, Parent, write_block
from tsdb.storage.block.folders import block_paths, remove_block
from tsdb.storage.tiers.building import build_tier_block
from tsdb.storage.tiers.rule import TierRule
from tsdb.storage.upkeep.compaction_source import CompactionSource
from tsdb.wal.files import FileSystem

FOLDER = "anew"
"""Within a tier's: half of what is made. Nothing in it counts."""


def rebuild_tier_block(fs: FileSystem, folder: Path, old: Block, blocks: Sequence[Block], rule: TierRule,
                       raw_from: int, pause: Callable[[], None]) -> BlockMeta | None:
    """Writes a block to `folder` that takes the place of `old`: its windows that have times before `raw_from` (ms),
    and of the samples in `blocks`, which are all that touch its times, the later windows, and such as it has not.

    None: there is no window. Raises as `build_tier_block`.
    """
    assert old.meta.tier is not None
    after, through = old.meta.mint - 1, old.meta.maxt - 1
    clear(fs, folder)
    made = build_tier_block(fs, folder / FOLDER, blocks, rule.resolution_ms, after, through, matchers=rule.matchers,
                            quantiles=rule.quantiles, pause=pause)
    sources: list[Block] = []
    try:
        sources.append(Block.open(fs, old.path))
        whole = -(-(raw_from - 1) // rule.resolution_ms) * rule.resolution_ms + rule.resolution_ms
        if whole <= through:  # the first window whose samples are all there
            rows = np.arange(len(old), dtype=np.int32)
            sources[0].tombstones = old.tombstones.adding(rows, np.full(rows.size, max(whole, old.meta.mint)),
                                                          np.full(rows.size, through))
        else:
            sources[0].tombstones = old.tombstones
        raw, left_out = set(old.meta.tier.raw), 0
        if made is not None and made.tier is not None:
            sources.append(Block.open(fs, folder / FOLDER / made.ulid))
            raw, left_out = raw | set(made.tier.raw), made.tier.left_out
        else:
            raw |= {ulid for block in blocks for ulid, (mint, maxt) in block.meta.source_ranges.items()
                    if mint <= through and maxt > after + 1}
        # of equal times the older block's stays
        tier = replace(old.meta.tier, raw=tuple(sorted(raw)), left_out=left_out)
        meta = write_block(fs, folder, CompactionSource(sources, pause), tier=tier,
                           parents=[Parent(old.meta.ulid, old.meta.mint, old.meta.maxt)])
    finally:
        for block in sources:
            block.release()
    clear(fs, folder)
    if meta.stats.samples:
        return meta
    remove_block(fs, folder / meta.ulid)
    return None


def clear(fs: FileSystem, folder: Path) -> None:
    """Removes what a crash has left. OSError."""
    if fs.exists(folder / FOLDER):
        for path in block_paths(fs, folder / FOLDER):
            remove_block(fs, path)
        fs.rmdir(folder / FOLDER)
