"""What a discovery mechanism finds, and what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class TargetGroup:
    """Targets found at one place."""

    source: str
    """Tells the group from others of the same mechanism, over all its updates: a file with the group's number in it."""
    targets: tuple[Mapping[str, str], ...]
    """Labels of each target, ``__address__`` among them."""
    labels: Mapping[str, str]
    """Of all of them; a target's own win."""


Publish = Callable[[Sequence[TargetGroup]], None]
"""Called on the event loop with groups that are new or have changed; one without targets takes it back."""


class Discoverer(Protocol):
    """One configured mechanism of one job."""

    async def run(self, publish: Publish) -> None:
        """Finds targets until it is cancelled. Failures are logged and counted, and tried again."""
