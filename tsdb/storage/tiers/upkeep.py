"""Upkeep of tiers: windows are built once their samples are in blocks, anew where these change, merged, dropped."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tsdb.model.errors import Corruption, FormatTooNew
from tsdb.model.matchers import Matcher
from tsdb.storage.block import Block
from tsdb.storage.blocks import Blocks
from tsdb.storage.head.head import Head
from tsdb.storage.head.layout import NO_TS
from tsdb.storage.tiers.building import build_tier_block
from tsdb.storage.tiers.coverage import Piece, Samples, Span, is_fresh, span_of, to_build, to_merge
from tsdb.storage.tiers.damaged import report_damaged, take_out
from tsdb.storage.tiers.rebuilding import rebuild_tier_block
from tsdb.storage.tiers.rule import TierRule
from tsdb.storage.tiers.store import StoredTier, TierStore
from tsdb.storage.tombstones import Tombstones
from tsdb.storage.upkeep.compaction import Superseded, merge_blocks
from tsdb.storage.upkeep.deletes import Deletes, covers
from tsdb.wal.files import FileSystem

log = logging.getLogger(__name__)

RETRY_S = 300.0
"""After a failure, before a span is tried again; meanwhile no samples are held for it."""
SPARE_BYTES = 64 << 20
"""That is left free on the disk where blocks are merged."""


@dataclass(slots=True)
class TierStatistics:
    """Gauges, and counters since the start, of one tier."""

    name: str
    blocks: int = 0
    bytes: int = 0
    lag_ms: int = 0
    """How much later samples are in blocks than its windows."""
    built: int = 0
    """Spans of windows; of which anew:"""
    built_anew: int = 0
    values: int = 0
    """Of fields, in these."""
    merged: int = 0
    """Times that blocks became one."""
    failed: int = 0
    """Times that a span could not be built."""
    seconds: float = 0.0
    """That building took."""


class TierUpkeep:
    """`tsdb.storage.upkeep.downsampling.Downsampling`. Its methods are called in the maintenance's thread."""

    def __init__(self, fs: FileSystem, store: TierStore, blocks: Blocks, head: Head, deletes: Deletes,
                 pause: Callable[[], None], damaged: Callable[[Block, Corruption], None]) -> None:
        """`blocks`: those of samples. `pause` is called every few milliseconds; it may change blocks, and end it all by
        raising Unavailable. `damaged` is told of blocks of either kind, returns at once, and does what there is to do
        later."""
        self._fs = fs
        self._store = store
        self._blocks = blocks
        self._head = head
        self._deletes = deletes
        self._pause = pause
        self._damaged = damaged
        self._samples = Samples(())
        self._nothing: dict[tuple[str, Span], set[str]] = {}
        """Spans in which a tier has no window, and for which sources."""
        self._failed: dict[tuple[str, Span], float] = {}
        """Spans that could not be built, and when they are tried again."""
        self._unmergeable: set[str] = set()
        self._pressed = False
        """Samples are to go for their size that no tier has taken: these are not waited for until a day is over."""
        self._counters: dict[str, TierStatistics] = {}

    @property
    def bytes(self) -> int:
        return self._store.bytes

    def statistics(self) -> list[TierStatistics]:
        """Any thread may ask."""
        return [replace(self._counted(tier), blocks=len(tier.blocks.every), lag_ms=self.lag(tier) if tier.wanted else 0,
                        bytes=sum(block.bytes for block in tier.blocks.every)) for tier in self._store.tiers]

    def follow(self, rules: Sequence[TierRule]) -> None:
        """Which tiers there are to be, from now on. OSError."""
        self._store.follow(rules)
        self._nothing.clear()
        self._failed.clear()

    def run(self, *, everything: bool = False) -> None:
        everything, self._pressed = everything or self._pressed, False
        self._store.mend()
        while self._build_one(everything=everything):
            pass
        while self._merge_one():
            pass

    def take_out(self, block: Block, problem: Corruption) -> None:
        for tier in self._store.tiers:
            take_out(self._fs, tier, block, problem, self._store.raw_from, self._store.damage)

    def holds(self, block: Block) -> bool:
        newest = self.newest()
        held = any(tier.wanted and self._wants(tier, block, newest) for tier in self._store.tiers)
        self._pressed |= held
        return held

    def let_go(self, before: int) -> None:
        self._store.advance(before)

    def expire(self, newest: int, most_bytes: int) -> None:
        newest = max(newest, self.newest())
        for tier in self._store.tiers:
            limit = newest - tier.rule.retention_ms
            old = [block for block in tier.blocks.every if tier.rule.retention_ms and span_of(block)[1] <= limit]
            if old:
                tier.blocks.publish((), old)
                log.info("tier %s: dropped %d blocks that were over its retention", tier.rule.name, len(old))
            if not tier.wanted and not tier.blocks.every:
                self._store.forget(tier)
        while 0 < most_bytes < 2 * self.bytes:
            tier = min((tier for tier in self._store.tiers if tier.blocks.every),
                       key=lambda tier: tier.blocks.every[0].meta.maxt)
            log.info("tier %s: dropped its oldest block, tiers took more than half of what may be kept", tier.rule.name)
            tier.blocks.publish((), tier.blocks.every[:1])

    def hide(self, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int) -> None:
        for tier in self._store.tiers:
            tier.blocks.remove_unknown()
            gone: list[Block] = []
            marked: list[tuple[Block, Tombstones]] = []
            for block in tier.blocks.every:
                # those of windows (end - resolution, end] that have any of the times
                first = max(mint, block.meta.mint)
                last = min(maxt, block.meta.maxt) + tier.rule.resolution_ms - 1
                last = min(last, block.meta.maxt - 1)
                if first > last or maxt <= span_of(block)[0]:
                    continue
                rows = np.unique(np.concatenate([block.find(matchers) for matchers in matcher_sets]
                                                or [np.zeros(0, np.int32)]))
                if not rows.size:
                    continue
                begin, end = block.spans(rows)
                rows = rows[(begin <= last) & (end >= first)]
                if not rows.size:
                    continue
                tombstones = block.tombstones.adding(rows, np.full(rows.size, first), np.full(rows.size, last))
                if covers(tombstones, block):
                    gone.append(block)
                else:
                    marked.append((block, tombstones))
            if gone:
                tier.blocks.publish((), gone)
                tier.blocks.remove_unknown()
            self._deletes.mark(marked, tier.blocks)

    def newest(self) -> int:
        """The newest time that is known, ms; NO_TS: there is none."""
        blocks = self._blocks.every
        newest = max([self._head.max_ts, self._blocks.border])
        return newest if newest != NO_TS or not blocks else max(block.meta.maxt for block in blocks) - 1

    def complete(self) -> int:
        """Through which time (ms) samples in order are in blocks."""
        if self._blocks.border != NO_TS:
            return self._blocks.border - 1
        with self._head.lock:
            if self._head.min_ts <= self._head.max_ts:
                return self._head.min_ts - 1
        return max((block.meta.maxt for block in self._blocks.every), default=NO_TS + 1) - 1

    def lag(self, tier: StoredTier) -> int:
        """How much later samples are in blocks than the windows of a tier, ms."""
        blocks = tier.blocks.every
        return max(0, self.complete() - span_of(blocks[-1])[1]) if blocks else 0

    def _counted(self, tier: StoredTier) -> TierStatistics:
        return self._counters.setdefault(tier.rule.name, TierStatistics(tier.rule.name))

    def _all_samples(self) -> Samples:
        if self._samples.blocks is not self._blocks.every:
            self._samples = Samples(self._blocks.every)
        return self._samples

    def _build_one(self, *, everything: bool) -> bool:
        samples = self._all_samples()
        if not samples.blocks:
            return False
        complete, newest = self.complete(), self.newest()
        for tier in self._store.tiers:
            if not tier.wanted:
                continue
            step = tier.rule.resolution_ms if everything else tier.rule.unit_ms
            oldest = min(block.meta.mint for block in samples.blocks) - 1
            if tier.rule.retention_ms:
                oldest = max(oldest, newest - tier.rule.retention_ms)
            for piece in to_build(tier.rule, tier.blocks.every, samples, self._store.raw_from, oldest,
                                  complete // step * step):
                if self._is_due(tier, piece, samples):
                    self._build(tier, piece, samples)
                    return True
        return False

    def _is_due(self, tier: StoredTier, piece: Piece, samples: Samples) -> bool:
        key = tier.rule.name, (piece.after, piece.through)
        if not piece.replaces and self._nothing.get(key) == samples.sources(piece.after, piece.through):
            return False
        return self._failed.get(key, 0.0) <= time.monotonic()

    def _build(self, tier: StoredTier, piece: Piece, samples: Samples) -> None:
        key = tier.rule.name, (piece.after, piece.through)
        began = time.perf_counter()
        blocks = samples.touching(piece.after, piece.through)
        tombstones = [block.tombstones for block in blocks]

        def pause() -> None:
            """What is deleted meanwhile must not be in the windows."""
            self._pause()
            there = set(map(id, self._blocks.every))
            for block, before in zip(blocks, tombstones, strict=True):
                if id(block) not in there or block.tombstones is not before:
                    raise Superseded(f"{block.path} has changed while windows were built of it")

        for block in blocks:
            block.acquire()
        try:
            if piece.replaces and piece.after + 1 < self._store.raw_from:
                meta = rebuild_tier_block(self._fs, tier.blocks.folder, piece.replaces[0], blocks, tier.rule,
                                          self._store.raw_from, pause)
            else:
                meta = build_tier_block(self._fs, tier.blocks.folder, blocks, tier.rule.resolution_ms, piece.after,
                                        piece.through, parents=[block.meta for block in piece.replaces],
                                        matchers=tier.rule.matchers, quantiles=tier.rule.quantiles, pause=pause)
            made = [] if meta is None else [Block.open(self._fs, tier.blocks.folder / meta.ulid)]
        except Superseded:
            log.info("tier %s: building begins anew: its samples have changed meanwhile", tier.rule.name)
            return
        except (OSError, Corruption, FormatTooNew, ValueError) as problem:
            self._counted(tier).failed += 1
            self._failed[key] = time.monotonic() + RETRY_S
            log.error("tier %s: windows could not be built: %s", tier.rule.name, problem)
            if isinstance(problem, OSError):
                raise
            if isinstance(problem, Corruption):
                report_damaged([*blocks, *piece.replaces], problem, self._damaged)
            return
        finally:
            for block in blocks:
                block.release()
        if made or piece.replaces:
            tier.blocks.publish(made, piece.replaces)
        if not made:
            self._nothing[key] = samples.sources(piece.after, piece.through)
        counters, seconds = self._counted(tier), time.perf_counter() - began
        counters.built += 1
        counters.built_anew += bool(piece.replaces)
        counters.seconds += seconds
        if made:
            counters.values += made[0].meta.stats.samples
            log.info("tier %s: block %s has the windows of %.1f days%s: %d values of %d series, %d bytes, in %.2f s",
                     tier.rule.name, made[0].meta.ulid, (piece.through - piece.after) / 86_400_000,
                     " anew" if piece.replaces else "", made[0].meta.stats.samples, made[0].meta.stats.series,
                     made[0].bytes, seconds)

    def _merge_one(self) -> bool:
        for tier in self._store.tiers:
            group = to_merge(tier.rule, tier.blocks.every, self._all_samples(), self._store.raw_from,
                             self._unmergeable)
            size = sum(block.bytes for block in group)
            if not group or self._fs.free_bytes(tier.blocks.folder) < size + min(size, SPARE_BYTES):
                continue
            for block in group:
                block.acquire()
            try:
                made = merge_blocks(self._fs, tier.blocks, group, self._pause)
            except Superseded:
                return True
            except (Corruption, FormatTooNew, ValueError) as problem:
                self._unmergeable.update(block.meta.ulid for block in group)
                log.error("tier %s: %d blocks could not be merged: %s", tier.rule.name, len(group), problem)
                if isinstance(problem, Corruption):
                    report_damaged(group, problem, self._damaged)
                return True
            finally:
                for block in group:
                    block.release()
            tier.blocks.publish([] if made is None else [made], group)
            self._counted(tier).merged += 1
            log.info("tier %s: %d blocks became %s", tier.rule.name, len(group),
                     "none" if made is None else f"{made.meta.ulid}, {made.bytes} bytes instead of {size}")
            return True
        return False

    def _wants(self, tier: StoredTier, block: Block, newest: int) -> bool:
        """Whether there are samples in a block of which a tier will have windows that it has not."""
        after, through = span_of(block)
        if tier.rule.retention_ms:
            after = max(after, newest - tier.rule.retention_ms)
        samples, name, now = self._all_samples(), tier.rule.name, time.monotonic()
        done = [span_of(each) for each in tier.blocks.every if is_fresh(each, samples, self._store.raw_from)]
        done += [span for (other, span), sources in self._nothing.items()
                 if other == name and sources == samples.sources(*span)]
        done += [span for (other, span), again in self._failed.items() if other == name and again > now]
        for begin, end in sorted(done):
            if begin > after:
                break
            after = max(after, end)
        return after < through
