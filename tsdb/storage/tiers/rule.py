"""Which downsampling tiers there are to be, and what tells one from another."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from tsdb.model.durations import format_duration
from tsdb.model.matchers import Matcher
from tsdb.storage.block.meta import tier_key

DAY_MS = 86_400_000
STEP = 4
"""Lengths of a tier's blocks: so many times as long each."""
LONGEST_BUILT_MS = 32 * DAY_MS
"""That are built at once, where there is much history."""
MOST_WINDOWS = 10_000
"""Of a series in a block, unless that is shorter than 32 days."""


@dataclass(frozen=True, slots=True)
class TierRule:
    """A tier that is kept."""

    resolution_ms: int
    """Of its windows, > 0."""
    retention_ms: int
    """How long its windows are kept; 0: for ever."""
    matchers: tuple[Matcher, ...] = ()
    """Only series that satisfy all of them."""
    quantiles: tuple[float, ...] = ()
    """0 … 1, that are kept beside the other fields."""

    @property
    def name(self) -> str:
        """Of its folder: the resolution, and a digest of what else tells it from others."""
        name = format_duration(self.resolution_ms)
        if not self.matchers and not self.quantiles:
            return name
        text = json.dumps(tier_key(self.resolution_ms, self.matchers, self.quantiles))
        return f"{name}-{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"

    @property
    def unit_ms(self) -> int:
        """The shortest span that is built in steady state: a day, or the least multiple of the resolution above."""
        return -(-DAY_MS // self.resolution_ms) * self.resolution_ms

    @property
    def lengths(self) -> list[int]:
        """Of its blocks, ms; each divides the next. A block goes as a whole: none is longer than an eighth of the
        retention."""
        most = max(LONGEST_BUILT_MS, MOST_WINDOWS * self.resolution_ms)
        if self.retention_ms > 0:
            most = min(most, self.retention_ms // 8)
        lengths = [self.unit_ms]
        while lengths[-1] * STEP <= most:
            lengths.append(lengths[-1] * STEP)
        return lengths

    @property
    def built_ms(self) -> int:
        """The longest span that is built at once."""
        return max([self.unit_ms, *(length for length in self.lengths if length <= LONGEST_BUILT_MS)])
