"""What a server must have, may have and must not have, from what it was sent and what it answered.

A sample is *sure* once a request with it was acknowledged, and *possible* from the moment it was sent. What a delete
covers is possible while the delete is under way, and gone once it is acknowledged. A series has one value for each
time, so that whatever is found can be told right or wrong. Times are ms.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tsdb.model.labels import canonical_key

STALE = 0x7FF0000000000002
"""The value that ends a series: range selectors do not show it."""
NEVER = -(1 << 62)
FOREVER = 1 << 62

Labels = frozenset[tuple[str, str]]
Found = Mapping[Labels, Mapping[int, int]]
"""Bits of values by time, by labels."""


class Series:
    """A series of the load, and what is known about it."""

    def __init__(self, labels: Mapping[str, str], *, keep: int = FOREVER, late: bool = False) -> None:
        self.labels: Labels = frozenset(labels.items())
        self.key = canonical_key(labels)
        self.name = labels["__name__"]
        self.job = labels["job"]
        self.keep = keep
        """How long a retention rule keeps it."""
        self.late = late
        """Its samples come out of order: retention may drop them before or after those that came in order."""
        self.sure: dict[int, int] = {}
        self.possible: dict[int, int] = {}

    def __str__(self) -> str:
        return "{" + ", ".join(f"{name}={value}" for name, value in sorted(self.labels)) + "}"


@dataclass(eq=False)
class Request:
    """Samples that are sent together: series, ms, bits."""

    samples: Sequence[tuple[Series, int, int]]
    begun: int = 0
    """When it was sent first, in events of the model."""


@dataclass(eq=False)
class Delete:
    """An interval of all series of a job, or of those with a name."""

    job: str
    name: str | None
    mint: int
    maxt: int
    begun: int = 0
    done: int = FOREVER
    """When it was sent and acknowledged, in events of the model."""
    taken: set[tuple[Series, int]] = field(default_factory=set)
    """What was sure when it was sent and was not sent again since."""

    def covers(self, series: Series, ts: int) -> bool:
        return self.mint <= ts <= self.maxt and series.job == self.job and self.name in (None, series.name)


State = dict[Series, dict[int, int]]
"""What was sure at some moment: a reading that begins then shows it."""


class Model:
    """Thread-safe."""

    def __init__(self) -> None:
        self.series: dict[Labels, Series] = {}
        self.newest = NEVER
        """Of all samples that were sent."""
        self.expired = NEVER
        """What is older may have gone, by the retention that is in force or was."""
        self.retention = FOREVER
        self.acknowledged = 0
        """Samples, ever."""
        self.deletes: list[Delete] = []
        self.early_cuts: list[int] = []
        """`newest` when a compaction was asked for: what came in the minutes before may have come as out of order."""
        self._events = 0
        self._lock = threading.Lock()

    def add(self, series: Series) -> Series:
        """The series, or the one with its labels that is there already."""
        with self._lock:
            return self.series.setdefault(series.labels, series)

    def sending(self, request: Request) -> None:
        with self._lock:
            self._events += 1
            request.begun = request.begun or self._events
            under_way = [delete for delete in self.deletes if delete.done == FOREVER]
            for series, ts, value in request.samples:
                if ts not in series.sure:
                    series.possible[ts] = value
                for delete in under_way:
                    delete.taken.discard((series, ts))
                self.newest = max(self.newest, ts)
            self.expired = max(self.expired, self.newest - self.retention)

    def accepted(self, request: Request) -> None:
        with self._lock:
            self._events += 1
            self.acknowledged += len(request.samples)
            around = [delete for delete in self.deletes if delete.done > request.begun]
            for series, ts, value in request.samples:
                if not any(delete.covers(series, ts) for delete in around):
                    series.possible.pop(ts, None)
                    series.sure[ts] = value

    def still_sure(self, samples: Sequence[tuple[Series, int, int]]) -> Request:
        """A request to send those again that nothing has deleted meanwhile."""
        with self._lock:
            self._events += 1
            return Request([each for each in samples if each[1] in each[0].sure], self._events)

    def deleting(self, delete: Delete) -> None:
        """From here on what it covers may be gone."""
        with self._lock:
            self._events += 1
            delete.begun = self._events
            self.deletes.append(delete)
            for series in self.series.values():
                for ts in [ts for ts in series.sure if delete.covers(series, ts)]:
                    series.possible[ts] = series.sure.pop(ts)
                    delete.taken.add((series, ts))

    def deleted(self, delete: Delete) -> None:
        """What was sure when it was sent is gone."""
        with self._lock:
            self._events += 1
            delete.done = self._events
            for series, ts in delete.taken:
                series.possible.pop(ts, None)
            delete.taken.clear()

    def settled(self, series: Series, found: Mapping[int, int]) -> None:
        """After a restart what is there stays, and what is not does not come back unless it is sent again. Stale
        markers cannot be seen."""
        with self._lock:
            for ts, value in list(series.possible.items()):
                if ts in found:
                    series.sure[ts] = value
                if ts in found or value != STALE:
                    del series.possible[ts]

    def dropped(self, series: Series, times: Sequence[int]) -> None:
        """They are gone, rightly: retention."""
        with self._lock:
            for ts in times:
                series.sure.pop(ts, None)

    def restarted(self) -> None:
        """Deletes that were not acknowledged will not be: what is left of them shows now."""
        with self._lock:
            self._events += 1
            for delete in self.deletes:
                delete.done = min(delete.done, self._events)
            self.deletes = self.deletes[-20:]

    def state(self) -> State:
        with self._lock:
            return {series: dict(series.sure) for series in self.series.values() if series.sure}

    def state_of(self, series: Series) -> State:
        with self._lock:
            return {series: dict(series.sure)}

    def known(self, series: Series, ts: int) -> int | None:
        """The only value that a sample may have; None: it must not be there."""
        with self._lock:
            return series.sure.get(ts, series.possible.get(ts))
