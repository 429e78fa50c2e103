"""Which times of a tier have their windows, which of these are as the samples are, and what is to be built."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tsdb.storage.block import Block
from tsdb.storage.tiers.rule import TierRule

Span = tuple[int, int]
"""(after, through], ms."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A span to be built at once."""

    after: int
    through: int
    replaces: tuple[Block, ...] = ()
    """Blocks with all of these times that are out of date."""


class Samples:
    """The blocks of samples there are, as far as their times go."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks = tuple(blocks)
        ranges: dict[str, Span] = {}
        for block in blocks:
            for ulid, (mint, maxt) in block.meta.source_ranges.items():
                before = ranges.get(ulid, (mint, maxt))
                ranges[ulid] = min(mint, before[0]), max(maxt, before[1])
        self._ulids = np.array(list(ranges), np.str_)
        times = np.array(list(ranges.values()), np.int64).reshape(-1, 2)
        self._mint, self._maxt = times[:, 0], times[:, 1]

    def touching(self, after: int, through: int) -> list[Block]:
        """Blocks that may have samples of these times."""
        return [block for block in self.blocks if block.meta.mint <= through and block.meta.maxt > after + 1]

    def sources(self, after: int, through: int) -> set[str]:
        """Level-1 blocks that had."""
        return set(self._ulids[(self._mint <= through) & (self._maxt > after + 1)].tolist())


def span_of(block: Block) -> Span:
    return block.meta.mint - 1, block.meta.maxt - 1


def is_fresh(block: Block, samples: Samples, raw_from: int) -> bool:
    """Whether a tier's block is as the samples are, as far as these are there."""
    after, through = span_of(block)
    if len(block.tombstones) and through >= raw_from and samples.touching(max(after, raw_from - 1), through):
        return False
    return block.meta.tier is not None and samples.sources(after, through) <= set(block.meta.tier.raw)


def spans(blocks: Sequence[Block], samples: Samples, raw_from: int, before: int) -> tuple[Span, ...]:
    """Times of which all windows of all series are there and up to date; those joined between which nobody has samples.
    Where some of the samples are gone, what there is is all there is. `before` (ms): there may be samples from then on
    that are in no block."""
    found: list[Span] = []
    for block in blocks:
        after, through = span_of(block)
        if after + 1 >= raw_from and (through >= before or _lacks_series(block)
                                      or not is_fresh(block, samples, raw_from)):
            continue
        if found and (found[-1][1] == after
                      or (found[-1][1] + 1 >= raw_from and not samples.touching(found[-1][1], after))):
            found[-1] = found[-1][0], through
        else:
            found.append((after, through))
    return tuple(found)


def _lacks_series(block: Block) -> bool:
    return block.meta.tier is not None and block.meta.tier.left_out > 0


def to_build(rule: TierRule, blocks: Sequence[Block], samples: Samples, raw_from: int, oldest: int, through: int,
             ) -> Iterator[Piece]:
    """What is missing, or out of date, of a tier's windows from `oldest` through `through` (ms): the newest first, as
    people ask for these."""
    for block in reversed(blocks):
        if not is_fresh(block, samples, raw_from):
            yield Piece(*span_of(block), (block,))
    gaps: list[Span] = []
    at = oldest // rule.unit_ms * rule.unit_ms
    for block in blocks:
        after, end = span_of(block)
        if at < min(after, through):
            gaps.append((at, min(after, through)))
        at = max(at, end)
    if at < through:
        gaps.append((at, through))
    for after, end in reversed(gaps):
        yield from _pieces(rule, samples, after, end)


def _pieces(rule: TierRule, samples: Samples, after: int, through: int) -> Iterator[Piece]:
    """Those of a gap that have samples, within the borders of blocks."""
    length, unit = rule.built_ms, rule.unit_ms
    cells: dict[int, Span] = {}
    for block in samples.touching(after, through):
        first, last = max(block.meta.mint, after + 1), min(block.meta.maxt - 1, through)
        for number in range((first - 1) // length, (last - 1) // length + 1):
            begin, end = max(first, number * length + 1), min(last, (number + 1) * length)
            before = cells.get(number, (begin, end))
            cells[number] = min(begin, before[0]), max(end, before[1])
    for number in sorted(cells, reverse=True):
        first, last = cells[number]
        yield Piece(max(after, (first - 1) // unit * unit), min(through, -(-last // unit) * unit))


def to_merge(rule: TierRule, blocks: Sequence[Block], samples: Samples, raw_from: int, failed: Collection[str],
             ) -> list[Block]:
    """Blocks that are to become one: those that fill one of the tier's lengths, or to which nothing is added any more.
    Empty: there are none."""
    for length in rule.lengths:
        groups: dict[int, list[Block]] = {}
        for block in blocks:
            after, through = span_of(block)
            if (through - 1) // length == after // length:
                groups.setdefault(after // length, []).append(block)
        for number, group in groups.items():
            over = span_of(group[-1])[1] == (number + 1) * length or span_of(blocks[-1])[0] >= (number + 1) * length
            if (len(group) > 1 and over and not any(block.meta.ulid in failed for block in group)
                    and len({*map(_lacks_series, group)}) == 1 and _apart(group, samples)
                    and all(is_fresh(block, samples, raw_from) for block in group)):
                return group
    return []


def _apart(group: Sequence[Block], samples: Samples) -> bool:
    """Whether nobody has samples between these blocks: all windows of these times are in them."""
    ends = [span_of(block) for block in group]
    return not any(before[1] < after[0] and samples.touching(before[1], after[0])
                   for before, after in pairwise(ends))
