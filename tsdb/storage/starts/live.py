"""The start times of what is in the head: runs in the order in which they came, chained by series."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsdb.storage.starts import start_kernels
from tsdb.storage.starts.runs import StartRuns

log = logging.getLogger(__name__)

FIRST_ROOM = 1 << 10
MOST = 1 << 22
"""Runs that are kept, and as many more as there are series: 24 bytes each. A sender with another start time for each
sample would fill the memory; what is beyond counts as not known."""
LATEST = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class StartChanges:
    """Runs that the samples of a commit begin, in their order."""

    slots: NDArray[np.int32]
    ts: NDArray[np.int64]
    """i64[n], ms"""
    starts: NDArray[np.int64]
    """i64[n], ms"""
    before: NDArray[np.int64]
    """i64[n], ms: what was in force."""


@dataclass(frozen=True, slots=True)
class _Columns:
    """Written behind what readers have seen. Place 0 is no run."""

    slot: NDArray[np.int32]
    ts: NDArray[np.int64]
    start: NDArray[np.int64]
    previous: NDArray[np.int32]

    @classmethod
    def room_for(cls, runs: int) -> _Columns:
        made = cls(np.empty(runs, np.int32), np.empty(runs, np.int64), np.empty(runs, np.int64),
                   np.empty(runs, np.int32))
        for column in (made.slot, made.ts, made.start, made.previous):
            column[0] = 0
        return made

    def copy_to(self, other: _Columns, used: int) -> None:
        for mine, others in ((self.slot, other.slot), (self.ts, other.ts), (self.start, other.start),
                             (self.previous, other.previous)):
            others[:used] = mine[:used]


@dataclass(frozen=True, slots=True)
class StartChains:
    """The runs of n slots at one moment."""

    newest: NDArray[np.int32]
    columns: _Columns

    def fill(self, first: int, begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64],
             ) -> NDArray[np.int64]:
        """Start times i64[] (ms) beside `ts` of some of the slots, from number `first` on: the samples of each are at
        begin[i]:end[i]."""
        found, columns = np.zeros(ts.size, np.int64), self.columns
        start_kernels.fill_from_chains(self.newest[first : first + begin.size], columns.ts, columns.start,
                                       columns.previous, begin, end, ts, found)
        return found


class HeadStarts:
    """Changed by the appender's thread, between or within commits. `lock` is the head's: who looks at it holds it.

    Of samples in order only; the late ones' stand beside them (`tsdb.storage.late`)."""

    def __init__(self, lock: threading.Lock, slots: int) -> None:
        """For slots 0 … `slots` - 1."""
        self._lock = lock
        self._slots = slots
        self._newest = np.zeros(0, np.int32)
        self._current = np.zeros(0, np.int64)
        self._columns = _Columns.room_for(1)
        self._used = 1
        self._full = False

    @property
    def active(self) -> bool:
        """Whether any series has a start time."""
        return self._used > 1

    @property
    def size(self) -> int:
        """Runs."""
        return self._used - 1

    def stage(self, slots: NDArray[np.int32], ts: NDArray[np.int64], starts: NDArray[np.int64] | None, series: int,
              ) -> StartChanges | None:
        """What samples in order (i32[n], ms i64[n]) with their start times (ms i64[n]; None: all are 0) change, for
        `show`; None: nothing. `undo` it where it is not to be. `series`: how many there are."""
        self._begin()
        slot, run_ts = np.empty(slots.size, np.int32), np.empty(slots.size, np.int64)
        start, before = np.empty(slots.size, np.int64), np.empty(slots.size, np.int64)
        most = max(MOST + series - self._used, 0)
        found = start_kernels.find_changes(slots, ts, np.zeros(0, np.int64) if starts is None else starts,
                                           self._current, most, slot, run_ts, start, before)
        if found >= most and not self._full:
            log.warning("start times change so often that no more are kept: %d changes are in the head", self.size)
        self._full = found >= most
        return StartChanges(slot[:found], run_ts[:found], start[:found], before[:found]) if found else None

    def undo(self, changes: StartChanges) -> None:
        """Newest first: a series may be among them more than once."""
        for slot, before in zip(changes.slots[::-1].tolist(), changes.before[::-1].tolist(), strict=True):
            self._current[slot] = before

    def make_room(self, runs: int) -> None:
        """So that `show` is quick."""
        if self._used + runs > self._columns.ts.size:
            larger = _Columns.room_for(max(FIRST_ROOM, self._used + runs, self._used * 3 // 2))
            self._columns.copy_to(larger, self._used)
            self._columns = larger

    def show(self, changes: StartChanges) -> None:
        """From now on readers find them. The caller holds the lock. Twice is as good as once."""
        self._link(changes.slots, changes.ts, changes.starts)

    def restore(self, slots: NDArray[np.int32], ts: NDArray[np.int64], starts: NDArray[np.int64]) -> None:
        """Takes those of the log, or of a saved head, in their order, that are not there yet. Nobody reads."""
        self._begin()
        self._link(slots, ts, starts)

    def view(self, slots: NDArray[np.int32]) -> StartChains | None:
        """Of some slots i32[n]; None: they have none. The caller holds the lock."""
        if not self.active:
            return None
        newest = self._newest[slots]
        return StartChains(newest, self._columns) if newest.any() else None

    def runs(self) -> StartRuns:
        """All, by slot. In any thread but with the lock held."""
        with self._lock:
            columns, used = self._columns, self._used
        slots = columns.slot[1:used]
        order = np.argsort(slots, kind="stable")
        return StartRuns(slots[order], columns.ts[1:used][order], columns.start[1:used][order])

    def forget(self, oldest: int, refs: NDArray[np.uint64]) -> None:
        """Drops what no sample from `oldest` (ms) on needs, and all of slots that are free: `refs` u64[] by slot is 0.
        Between commits."""
        used, old = self._used, self._columns
        slot, ts, start, previous = old.slot[:used], old.ts[:used], old.start[:used], old.previous[:used]
        until = np.full(used, LATEST)
        until[previous] = ts  # place 0 of what is no run, and of first ones
        kept = (refs[slot] != 0) & (until > oldest)
        kept[0] = False
        kept &= (start != 0) | kept[previous]  # none, and nothing before it
        if kept[1:].all():
            return
        place = np.cumsum(kept).astype(np.int32)
        place[~kept] = 0
        left = int(np.count_nonzero(kept)) + 1
        new = _Columns.room_for(max(left, FIRST_ROOM) if left > 1 else 1)
        new.slot[1:left], new.ts[1:left], new.start[1:left] = slot[kept], ts[kept], start[kept]
        new.previous[1:left] = place[previous[kept]]
        touched = np.unique(slot[1:])
        newest = place[self._newest[touched]]
        self._current[touched[newest == 0]] = 0
        with self._lock:
            self._newest[touched] = newest
            self._columns, self._used = new, left

    def _link(self, slots: NDArray[np.int32], ts: NDArray[np.int64], starts: NDArray[np.int64]) -> None:
        self.make_room(slots.size)
        columns = self._columns
        self._used = start_kernels.link(slots, ts, starts, self._used, columns.slot, columns.ts, columns.start,
                                        columns.previous, self._newest, self._current)

    def _begin(self) -> None:
        """Memory is taken where it is touched: 12 bytes for each series."""
        if not self._newest.size:
            self._newest, self._current = np.zeros(self._slots, np.int32), np.zeros(self._slots, np.int64)
