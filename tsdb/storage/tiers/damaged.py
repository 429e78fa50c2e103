"""Damaged blocks of windows: set aside, and built anew of the samples; where these are gone, what is sound stays."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from tsdb.model.errors import Corruption, FormatTooNew
from tsdb.model.tiers import Field
from tsdb.storage.block import Block
from tsdb.storage.block.sections import without_remedy
from tsdb.storage.damage import Damage
from tsdb.storage.tiers.selected import of_field
from tsdb.storage.tiers.store import StoredTier
from tsdb.storage.upkeep.quarantine import damaged_chunks, named, series_of, write_sound
from tsdb.wal.files import FileSystem

log = logging.getLogger(__name__)

NAMED = 3
"""Series that are named in the log."""


def take_out(fs: FileSystem, tier: StoredTier, block: Block, problem: Corruption, raw_from: int,
             damage: Damage) -> None:
    """Instead of a damaged block a tier has one without the series that are damaged in it, where samples of its times
    are gone (those before `raw_from`, ms), or none. Raises nothing but what is a mistake of ours."""
    if not any(each is block for each in tier.blocks.every):
        return
    added: Sequence[Block] = ()
    lost, reason = (0, 0), problem
    if block.meta.mint < raw_from:
        lost = block.meta.mint, min(block.meta.maxt, raw_from)
        block.acquire()
        try:
            if not any(True for _ in block.index.problems(needed=True)):
                added, reason = _sound(fs, tier, block, problem)
        except (OSError, Corruption, FormatTooNew, ValueError) as failure:
            log.error("%s: what is sound in it could not be taken over: %s", block.path, failure)
        finally:
            block.release()
    damage.set_aside(block.path, Corruption(without_remedy(reason)), *lost)
    tier.blocks.take_out(block, added)


def is_damaged(block: Block) -> bool:
    """Reads all of a block."""
    return any(True for _ in block.index.problems(needed=True)) or damaged_chunks(block).size > 0


def report_damaged(blocks: Sequence[Block], problem: Corruption, report: Callable[[Block, Corruption], None]) -> None:
    """Finds out in which of several blocks something was wrong."""
    for block in blocks:
        if is_damaged(block):
            report(block, problem)


def _sound(fs: FileSystem, tier: StoredTier, block: Block, problem: Corruption) -> tuple[Sequence[Block], Corruption]:
    """A block with all series of which no field is damaged, and what was wrong."""
    damaged = damaged_chunks(block)
    if not damaged.size:
        return (), problem
    assert block.meta.tier is not None
    first = np.append(block.find(of_field((), Field.COUNT)), len(block))  # the first field of each series
    hit = series_of(block, damaged)
    series = np.unique(np.searchsorted(first, hit, side="right") - 1)
    chunk = block.index["series_chunk"].all().astype(np.int64)
    without = np.zeros(int(chunk[-1]) + 1, np.int64)
    np.add.at(without, chunk[first[series]], 1)
    np.add.at(without, chunk[first[series + 1]], -1)
    # built of nothing: where there are samples of its times after all, it is out of date
    meta = replace(block.meta.tier, raw=(), left_out=series.size)
    made = write_sound(fs, tier.blocks.folder, block, np.flatnonzero(without.cumsum()[:-1]), tier=meta)
    names = ", ".join(named(block, hit, NAMED))
    return [] if made is None else [made], Corruption(
        f"{block.path}: {damaged.size} of {block.index.chunks} chunks are damaged, of {names}; windows of "
        f"{series.size} series are lost, those of all others stand in a new block")
