"""Retention: which blocks and windows are too old, or too many, and which series of a block are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsdb.model.matchers import Matcher
from tsdb.storage.block import Block

EVER = -(1 << 63)
LEAST_STEP_MS, MOST_STEP_MS = 60_000, 3_600_000


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """Series that are kept longer, or not so long, as all others."""

    matchers: tuple[Matcher, ...]
    """All must be satisfied."""
    keep_ms: int
    """0: for ever."""

    def limit(self, newest: int) -> int:
        """Before which time (ms) samples go; EVER: none. It advances in steps of a tenth of `keep_ms`, between a minute
        and an hour, at the same times after each start: each one writes tombstones."""
        if self.keep_ms == 0:
            return EVER
        step = max(LEAST_STEP_MS, min(self.keep_ms // 10, MOST_STEP_MS))
        return (newest - self.keep_ms) // step * step


@dataclass(frozen=True, slots=True)
class Retention:
    """How long and how much is kept; whole blocks and windows go, the oldest first. Rules go by sample."""

    time_ms: int = 0
    """A block goes once the newest sample is so much younger than its end. 0: no limit."""
    size_bytes: int = 0
    """Most bytes of blocks, windows and the log together. 0: no limit."""
    percentage: float = 0.0
    """The same as a part of the disk; holds instead of `size_bytes` where it is not 0."""
    rules: tuple[RetentionRule, ...] = ()
    """The first one that a series satisfies holds for it, instead of `time_ms`."""

    def most_bytes(self, disk_bytes: int) -> int:
        """0: no limit."""
        return int(disk_bytes * self.percentage / 100) if self.percentage > 0 else self.size_bytes

    @property
    def longest_ms(self) -> int:
        """How long any series may be kept; 0: for ever."""
        every = (self.time_ms, *(rule.keep_ms for rule in self.rules))
        return 0 if 0 in every else max(every)

    def is_old(self, maxt: int, newest: int) -> bool:
        """Whether samples before `maxt` (ms) of series without a rule go."""
        return self.time_ms > 0 and newest - maxt >= self.time_ms

    def limits(self, mint: int, maxt: int, newest: int) -> tuple[int, ...]:
        """Before which times (ms) samples of a block with mint <= ts < maxt go: of series without a rule, then by rule.
        `mint`: none, `maxt`: all of them. Only rules reach into a block."""
        return (maxt if self.is_old(maxt, newest) else mint,
                *(max(mint, min(rule.limit(newest), maxt)) for rule in self.rules))

    def by_series(self, block: Block, limits: Sequence[int]) -> NDArray[np.int64]:
        """Which of `limits` holds for each series of a block: i64[series], ms. BadData, Corruption."""
        found = np.full(len(block), limits[0], np.int64)
        for rule, limit in zip(reversed(self.rules), reversed(limits), strict=False):
            found[block.find(rule.matchers)] = limit
        return found


@dataclass(frozen=True, slots=True)
class Piece:
    """A block or a window, as far as its size goes."""

    end: int
    """ms: all its samples are before it."""
    bytes: int
    may_go: bool = True


def too_old(pieces: Sequence[Piece], newest: int, time_ms: int) -> list[int]:
    """Which pieces have only samples that are at least `time_ms` older than `newest` (ms); 0: none."""
    return [i for i, piece in enumerate(pieces) if piece.may_go and time_ms > 0 and newest - piece.end >= time_ms]


def too_many(pieces: Sequence[Piece], other_bytes: int, most_bytes: int) -> list[int]:
    """Which pieces must go, the oldest first, so that they and `other_bytes` take at most `most_bytes`; 0: none."""
    total = other_bytes + sum(piece.bytes for piece in pieces)
    gone = []
    for i in sorted(range(len(pieces)), key=lambda i: pieces[i].end):
        if most_bytes <= 0 or total <= most_bytes:
            break
        if pieces[i].may_go:
            gone.append(i)
            total -= pieces[i].bytes
    return gone
