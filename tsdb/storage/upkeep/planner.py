"""Which blocks are compacted into one, as Prometheus' LeveledCompactor chooses them (tsdb/compact.go)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from tsdb.storage.block import BlockMeta

SMALLEST_RANGE_MS = 2 * 3_600_000
LONGEST_RANGE_MS = 31 * 86_400_000
STEP = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes one block, in order of time."""

    blocks: tuple[BlockMeta, ...]
    reason: str
    overlap: bool = False


def block_ranges(retention_ms: int) -> list[int]:
    """Lengths of blocks (ms): two hours, and three times as long each, up to 31 days and a tenth of the retention (0:
    for ever)."""
    longest = LONGEST_RANGE_MS if retention_ms <= 0 else min(retention_ms // 10, LONGEST_RANGE_MS)
    ranges = [SMALLEST_RANGE_MS]
    while ranges[-1] * STEP <= longest:
        ranges.append(ranges[-1] * STEP)
    return ranges


def plan(blocks: Sequence[BlockMeta], ranges: Sequence[int], *, failed: Collection[str] = (),
         everything: bool = False, fresh: Collection[str] = ()) -> Plan | None:
    """What to compact next; None: nothing. Groups with a block among `failed` (ULIDs) are left alone.

    Blocks that overlap come first. Others become one where they fill a range, or a later block tells that no more will
    come into it; the newest block waits. With `everything` neither is waited for: small blocks are added to a large one
    once they are half as large together, so that asking for it often does not cost much; those that are `fresh`
    (ULIDs: their chunks are still as the head encoded them) are encoded anew at the end, each for itself.
    """
    blocks = sorted(blocks, key=lambda block: (block.mint, block.maxt, block.ulid))
    for group in _overlapping(blocks):
        if not _has(group, failed):
            return Plan(group, "they overlap", overlap=True)
    settled = blocks if everything else blocks[:-1]
    for length in ranges[1:]:
        for group in _split(settled, length):
            if len(group) < 2 or _has(group, failed):
                continue
            mint, maxt = group[0].mint, group[-1].maxt
            if maxt - mint == length or maxt <= settled[-1].mint:
                return Plan(group, f"they fill {length // 3_600_000} h")
            if everything:
                samples = [block.stats.samples for block in group]
                if 3 * max(samples) <= 2 * sum(samples):
                    return Plan(group, "everything is asked for")
    for block in blocks if everything else ():
        if block.ulid in fresh and block.ulid not in failed:
            return Plan((block,), "its chunks are those of the head, and everything is asked for")
    return None


def _overlapping(blocks: Sequence[BlockMeta]) -> Iterator[tuple[BlockMeta, ...]]:
    """Blocks (in order of time) of which each overlaps one of its group."""
    group: list[BlockMeta] = []
    reached = 0
    for block in blocks:
        if group and block.mint < reached:
            group.append(block)
            reached = max(reached, block.maxt)
            continue
        if len(group) > 1:
            yield tuple(group)
        group, reached = [block], block.maxt
    if len(group) > 1:
        yield tuple(group)


def _split(blocks: Sequence[BlockMeta], length: int) -> Iterator[tuple[BlockMeta, ...]]:
    """Blocks within each of the ranges of that length, which begin at its multiples; those across their borders are
    left out."""
    group: list[BlockMeta] = []
    place = 0
    for block in blocks:
        number = block.mint // length
        if block.maxt > (number + 1) * length:
            continue
        if group and number != place:
            yield tuple(group)
            group = []
        group.append(block)
        place = number
    if group:
        yield tuple(group)


def _has(group: Sequence[BlockMeta], failed: Collection[str]) -> bool:
    return any(block.ulid in failed for block in group)
