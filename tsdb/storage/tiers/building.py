"""Building a tier's block out of blocks of samples."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from tsdb.model.matchers import Matcher
from tsdb.storage.block import Block, BlockMeta, Parent, TierMeta, write_block
from tsdb.storage.block.folders import remove_block
from tsdb.storage.tiers.source import TierSource
from tsdb.wal.files import FileSystem

log = logging.getLogger(__name__)


def build_tier_block(fs: FileSystem, folder: Path, blocks: Sequence[Block], resolution_ms: int, after: int,
                     through: int, *, parents: Sequence[BlockMeta] = (),
                     matchers: Sequence[Matcher] = (), quantiles: Sequence[float] = (),
                     pause: Callable[[], None] = lambda: None) -> BlockMeta | None:
    """Writes a block to `folder` with all windows in (after, through] (ms, multiples of the resolution) of the
    samples in `blocks`, which are all that touch these times; None: there is no sample. `parents`: blocks of the
    tier of which it takes the place. Of series that satisfy all `matchers`; `quantiles` beside the other fields.

    Raises ValueError, OSError, Corruption, FormatTooNew, and what `pause` raises, with nothing left.
    """
    raw = sorted({ulid for block in blocks for ulid, (mint, maxt) in block.meta.source_ranges.items()
                  if mint <= through and maxt > after + 1})
    source = TierSource(blocks, resolution_ms, after, through, pause, matchers=matchers, quantiles=quantiles)
    meta = write_block(fs, folder, source,
                       tier=lambda: TierMeta(resolution_ms, tuple(quantiles), tuple(matchers), tuple(raw),
                                             source.left_out),
                       parents=[Parent(meta.ulid, meta.mint, meta.maxt) for meta in parents])
    if source.left_out:
        log.warning("%d series are not in the windows of %d s of block %s, which is read only once the samples are "
                    "gone: a name of their labels is U+10FFFF, or sorts behind it",
                    source.left_out, resolution_ms // 1000, meta.ulid)
    if meta.stats.samples:
        return meta
    with contextlib.suppress(OSError):
        remove_block(fs, folder / meta.ulid)
    return None
