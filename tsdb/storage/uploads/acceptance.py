"""Which blocks are taken from elsewhere: those that an import has written, and only if all of them is in order.

A block's meta.json says what becomes of other blocks and of the head (parents, borders, windows): who may write samples
may not say that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tsdb.model.errors import Corruption, FormatTooNew, UploadRefused
from tsdb.model.times import time_text
from tsdb.storage.block import Block, BlockMeta
from tsdb.storage.block.meta import VERSION
from tsdb.storage.block.sections import without_remedy
from tsdb.storage.block.ulid import made_at
from tsdb.storage.blocks import LATEST_MS
from tsdb.storage.checking.blocks_check import check_block
from tsdb.storage.checking.findings import Report, Severity
from tsdb.storage.head.layout import NO_TS, WINDOW_MS
from tsdb.storage.tiers.store import StoredTier
from tsdb.storage.upkeep.expiry import Expiry
from tsdb.wal.files import FileSystem

FROM_PROMETHEUS = "`tsdb import prometheus DIR --url URL` reads blocks of Prometheus and uploads what it makes of them"
PROMETHEUS_MAGIC = b"\xba\xaa\xd7\x00"
"""Its indexes begin with it."""


def keeps(maxt: int, expiry: Expiry, tiers: Sequence[StoredTier]) -> bool:
    """Whether samples before `maxt` (ms) are kept, or go into a downsampling tier."""
    age, longest = expiry.newest - maxt, expiry.retention.longest_ms
    if longest == 0 or age < longest or expiry.newest == NO_TS:
        return True
    return any(tier.wanted and (tier.rule.retention_ms == 0 or age < tier.rule.retention_ms) for tier in tiers)


def accepted_meta(text: bytes, ulid: str, now_ms: int) -> BlockMeta:
    """What meta.json says of a block that may be uploaded as `ulid`. Raises UploadRefused."""
    try:
        document = json.loads(text)
        if "thanos" in document:
            raise UploadRefused(f"the block is of Thanos or Mimir, in Prometheus' format: {FROM_PROMETHEUS}")
        version = document["version"]
        meta = BlockMeta.from_json(text)
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise UploadRefused(f"the body is not the meta.json of a block ({problem!r})") from None
    if version != VERSION:
        raise UploadRefused(f"the block has format {version}, this tsdb reads {VERSION}: use a newer tsdb")
    if meta.ulid != ulid:
        raise UploadRefused(f"meta.json is of block {meta.ulid}, not of {ulid}")
    made_of = meta.compaction
    if not made_of.out_of_order:
        raise UploadRefused("the block is not one that an import has written. If it is of Prometheus: "
                            f"{FROM_PROMETHEUS}. If it is of the data directory of a tsdb server: `tsdb restore` makes "
                            "a data directory of its snapshot")
    own_range = ((meta.mint, meta.maxt),)
    if (made_of.parents or made_of.windows or made_of.border is not None or made_of.sources != (ulid,)
            or made_of.ranges not in ((), own_range) or meta.tier is not None):
        raise UploadRefused("the block is not one that an import has written: it says what other blocks, or the head, "
                            "have in common with it")
    if made_at(ulid) > now_ms + LATEST_MS:
        raise UploadRefused(f"block {ulid} was made in the future, by its name: check the clocks")
    if not 0 < meta.stats.series <= meta.stats.chunks <= meta.stats.samples or meta.mint >= meta.maxt:
        raise UploadRefused("meta.json says that the block has no samples, or no times")
    if meta.maxt > now_ms + LATEST_MS + WINDOW_MS:
        raise _in_the_future(meta.maxt - 1)
    return meta


def check_files(fs: FileSystem, path: Path, now_ms: int, progress: Callable[[], None]) -> None:
    """Reads every byte of a block, and everything in it. `progress` is called now and then, and may end it. Raises
    UploadRefused, OSError."""
    try:
        block = Block.open(fs, path)
    except (Corruption, FormatTooNew) as problem:
        raise UploadRefused(_said(path, str(problem), problem)) from None
    try:
        for _, left_out in block.left_out:
            raise UploadRefused(_said(path, str(left_out), left_out))
        report = Report(path, None)
        try:
            check_block(fs, block, report, lambda _: progress())
            progress()
            for finding in report.findings:
                if finding.severity is Severity.DAMAGE:
                    raise UploadRefused(_said(path, f"{finding.path}: {finding.what}"))
            _check_texts(block)
            newest = int(block.index["chunk_maxt"].all().max()) + block.meta.mint
        except (Corruption, FormatTooNew) as problem:
            raise UploadRefused(_said(path, str(problem), problem)) from None
        if newest > now_ms + LATEST_MS:
            raise _in_the_future(newest)
    finally:
        block.release()


def _check_texts(block: Block) -> None:
    """Names and values of labels are texts, and not empty: what else writes blocks sees to it."""
    index = block.index
    data, offset = index["symbol_bytes"].all(), index["symbol_offset"].all().astype(np.int64)
    try:
        data.tobytes().decode("utf-8")
    except UnicodeDecodeError:
        raise UploadRefused("a name or value of a label is not valid UTF-8") from None
    begins = offset[:-1][offset[:-1] < data.size]
    if ((data[begins] & 0xC0) == 0x80).any():
        raise UploadRefused("a name or value of a label is not valid UTF-8")
    empty = np.diff(offset) == 0
    if empty[index["pair_name"].all()].any() or empty[index["pair_value"].all()].any():
        raise UploadRefused("a label has no name or no value")


def _in_the_future(ts: int) -> UploadRefused:
    return UploadRefused(f"the block has samples up to {time_text(ts)}, more than 10 minutes ahead of this server's "
                         "clock: check the clocks, and the unit of times")


def _said(path: Path, text: str, problem: Exception | None = None) -> str:
    """About a staged block: without the folder."""
    text = without_remedy(problem) if problem is not None else text
    return "the block is damaged, or was on its way: " + text.replace(f"{path}/", "").replace(str(path), path.name)
