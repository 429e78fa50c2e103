"""What readers of formats have in common: each is a generator of batches of history, in bounded memory.

::

    read(path, secret, *, left_out, progress, …) -> Iterator[Batch]

Keys are hashed with `secret` (u64[2]); samples may have any age and order; a batch has some 10,000 of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

Progress = Callable[[int, int], None]
"""(bytes done, bytes in all) of what is read."""


@dataclass(slots=True)
class LeftOut:
    """What a reader could not take along, for lines at the end. Filled while somebody reads."""

    counts: Counter[str] = field(default_factory=Counter)
    """By what it is and why, as in ``exemplars: blocks have none``."""

    def count(self, what: str, more: int) -> None:
        """So many more of it."""
        if more:
            self.counts[what] += more

    def messages(self) -> list[str]:
        """Lines for people; none where everything was taken."""
        return [f"left out: {count} {what}" for what, count in self.counts.items()]
