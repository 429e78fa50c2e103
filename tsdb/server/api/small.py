"""Which work is done where its request arrives, on the event loop, rather than in a query thread.

Handing work to a thread and back costs a third of the time of a query for one series. *Small* is what took a moment
when it was done last, not long ago and over nearly the same times, its reading of files included. What turns out not
to be small any more is begun anew in a thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from tsdb.model.context import RequestContext

MOST_S = 0.003
"""Of each turn of the event loop, for all small work together."""
OVERRUN_S = 0.015
"""Seconds after which work that was taken for small gives up."""
MOST_SERIES = 2000
"""With more it gives up, too."""
FRESH_S = 300.0
"""So long what was read then is taken to be in memory still."""
MOVED_MS = 300_000
"""How far the times may have moved since."""
MOST_KNOWN = 10_000
"""Durations that are remembered: 1 MB."""


@dataclass(frozen=True, slots=True)
class _Done:
    at: float
    start: int
    end: int
    seconds: float


class SmallWork:
    """Remembers how long work took, by a key that says all about it but its times. For one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._done: dict[int, _Done] = {}
        """By the hash of the key, which may be long. Where two are alike, no more is lost than a guess."""
        self._turn_s = 0.0

    def fits(self, key: Hashable, start: int, end: int) -> bool:
        """Whether to do it now, on the event loop. `start`, `end`: ms."""
        done = self._done.get(hash(key))
        if (done is None or abs(start - done.start) > MOVED_MS or abs(end - done.end) > MOVED_MS
                or self._turn_s + done.seconds > MOST_S or self._clock() - done.at > FRESH_S):
            return False
        if not self._turn_s:
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._turn_s += done.seconds
        return True

    def took(self, key: Hashable, start: int, end: int, seconds: float) -> None:
        """What it took, wherever it was done."""
        known, place = self._done, hash(key)
        known.pop(place, None)
        if seconds > MOST_S:
            return
        if len(known) >= MOST_KNOWN:
            del known[next(iter(known))]
        known[place] = _Done(self._clock(), start, end, seconds)

    def _next_turn(self) -> None:
        self._turn_s = 0.0


def confine(context: RequestContext) -> None:
    """Has work on the event loop give up, with LimitExceeded or QueryTimeout, where it is not small after all."""
    limits = context.limits
    limits.max_series = min(limits.max_series or MOST_SERIES, MOST_SERIES)
    soon = time.monotonic() + OVERRUN_S
    context.deadline = soon if context.deadline is None else min(context.deadline, soon)
    context.threads = 1  # it must not wait for the engine's threads, which others may keep busy
