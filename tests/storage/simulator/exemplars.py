"""Exemplars in the simulator: those that were acknowledged are there, and only those that were sent."""

from __future__ import annotations

import random

from tsdb.model.batch import Batch, Exemplar
from tsdb.model.context import RequestContext
from tsdb.model.matchers import Matcher, MatchType
from tsdb.storage.storage import Storage

Sent = tuple[int, str, int]
"""Number of the series, trace id, ms."""


class SentExemplars:
    """So few that the ring keeps them all."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._sure: set[Sent] = set()
        self._possible: set[Sent] = set()
        self._newest = 0

    def add(self, batch: Batch, rows: list[int]) -> list[Sent]:
        """Some, for the series of a batch's samples. A row is the number of its series."""
        sent = []
        for row in rows:
            if self._chance.random() < 0.3:
                self._newest += self._chance.randint(1, 1000)
                sent.append((row, f"{self._chance.getrandbits(32):x}", self._newest))
        batch.exemplars = [Exemplar(row, (("trace_id", trace),), float(ts), ts) for row, trace, ts in sent]
        self._possible |= {*sent}
        return sent

    def acknowledged(self, sent: list[Sent]) -> None:
        self._sure |= {*sent}

    def may_be_lost(self) -> None:
        """A power cut has taken what was not durable."""
        self._possible |= self._sure
        self._sure.clear()

    def problems(self, storage: Storage, *, settled: bool) -> list[str]:
        """What is wrong. `settled`: what is seen does not vanish any more."""
        every = [(Matcher(MatchType.REGEX, "__name__", ".+"),)]
        found = [(int(series.labels["n"]), each.labels["trace_id"], each.ts)
                 for series in storage.exemplars(every, 0, 1 << 60, RequestContext()) for each in series.exemplars]
        there = {*found}
        problems = [f"exemplar {each}: never sent" for each in there - self._sure - self._possible]
        problems += [f"exemplar {each} is lost" for each in self._sure - there]
        if len(there) != len(found):
            problems.append("exemplars are there twice")
        if settled:
            self._sure |= there
        return problems
