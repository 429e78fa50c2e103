"""What keeps the downsampling tiers, for the rest of upkeep, which knows nothing else of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tsdb.model.errors import Corruption
from tsdb.model.matchers import Matcher
from tsdb.storage.block import Block


class Downsampling(Protocol):
    """Its methods are called in the maintenance's thread."""

    @property
    def bytes(self) -> int:
        """Of all blocks of tiers."""
        ...

    def run(self, *, everything: bool = False) -> None:
        """Builds what is missing, or out of date, and merges small blocks. With `everything` as far as samples are in
        blocks, else whole days. Raises OSError, StorageError, Unavailable."""
        ...

    def take_out(self, block: Block, problem: Corruption) -> None:
        """Sets aside a damaged block of windows, which are built anew of their samples; where these are gone, a block
        with what is sound takes its place. Raises nothing but what is a mistake of ours."""
        ...

    def holds(self, block: Block) -> bool:
        """Whether a block of samples may not go yet: a tier wants them and has not taken them."""
        ...

    def let_go(self, before: int) -> None:
        """Samples before it (ms) go next. OSError."""
        ...

    def expire(self, newest: int, most_bytes: int) -> None:
        """Drops windows that are over their tier's retention, counted from `newest` (ms), and the oldest where tiers
        take more than half of `most_bytes` (0: no limit)."""
        ...

    def hide(self, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int) -> None:
        """Samples with mint <= ts <= maxt (ms) of series that satisfy any of the matcher sets are deleted next: hides
        the windows that they are in, durably. OSError, Corruption, BadData."""
        ...
