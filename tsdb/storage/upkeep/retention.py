"""Retention: which windows are too old, or too many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Sized(Protocol):
    """A window, as far as retention looks at it."""

    @property
    def maxt(self) -> int: ...

    @property
    def used(self) -> int: ...

    @property
    def complete(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Retention:
    """How long and how much is kept; whole windows go, the oldest first."""

    time_ms: int = 0
    """A window goes once the newest sample is so much younger than its end. 0: no limit."""
    size_bytes: int = 0
    """Most bytes of all windows and the log together. 0: no limit."""

    def expired(self, windows: Sequence[Sized], newest: int, log_bytes: int) -> int:
        """How many of the windows (in time order) go; `newest` sample in ms. Only complete ones do."""
        total = log_bytes + sum(window.used for window in windows)
        count = 0
        for window in windows:
            old = self.time_ms > 0 and newest - window.maxt >= self.time_ms
            large = self.size_bytes > 0 and total > self.size_bytes
            if not window.complete or not (old or large):
                break
            total -= window.used
            count += 1
        return count
