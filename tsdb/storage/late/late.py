"""The store of late samples: runs that are sorted, and a short tail that is not.

A run is immutable and sorted by slot, then time; runs stand in the order in which their samples came, and only
neighbours are merged, so that of equal times of a series the first stays. The tail is written behind what readers
have seen of it. So a view is a few references, taken in one moment.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tsdb.storage.late import late_kernels

TAIL_SAMPLES = 1 << 14
"""A reader looks through the tail: 0.1 ms. A full one becomes a run: 2 ms."""
LARGEST_RUN = 1 << 21
"""Samples; merging two is at most 20 ms of work."""
FOREVER = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Run:
    """Late samples, sorted by slot, then time, each time of a slot once."""

    slots: NDArray[np.int32]
    """i32[n]"""
    ts: NDArray[np.int64]
    """i64[n], ms"""
    values: NDArray[np.uint64]
    """u64[n], bits of floats"""
    starts: NDArray[np.int64] | None = None
    """i64[n], ms: start times, 0: none. None: none at all."""
    mint: int = FOREVER
    maxt: int = -FOREVER

    @property
    def size(self) -> int:
        return int(self.ts.size)


@dataclass(slots=True)
class Tail:
    """The newest samples in the order in which they came. What is written stays as it is."""

    slots: NDArray[np.int32] = field(default_factory=lambda: np.empty(TAIL_SAMPLES, np.int32))
    ts: NDArray[np.int64] = field(default_factory=lambda: np.empty(TAIL_SAMPLES, np.int64))
    values: NDArray[np.uint64] = field(default_factory=lambda: np.empty(TAIL_SAMPLES, np.uint64))
    starts: NDArray[np.int64] | None = None

    def run(self, used: int) -> Run:
        """Of the first so many samples."""
        return _sorted(self.slots[:used], self.ts[:used], self.values[:used],
                       None if self.starts is None else self.starts[:used])


@dataclass(frozen=True, slots=True)
class Staged:
    """What the store will be, once `Late.show` is called."""

    runs: tuple[Run, ...]
    tail: Tail
    used: int


class LateView:
    """All late samples of one moment."""

    def __init__(self, runs: tuple[Run, ...], tail: Tail, used: int) -> None:
        self._runs = runs
        self._tail = tail
        self._used = used

    @property
    def size(self) -> int:
        """Samples; those that came twice may count twice."""
        return sum(run.size for run in self._runs) + self._used

    def collect(self, slots: NDArray[np.int32], mint: int, maxt: int,
                ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64],
                           NDArray[np.int64] | None]:
        """The late samples of n slots (i32[n], any order, each once) with mint <= ts <= maxt (ms): (begin i64[n],
        end i64[n], ts i64[], bits u64[], start times i64[] ms or None). Those of slot i are begin[i]:end[i], in time
        order, each time once."""
        begin, end = np.zeros(slots.size, np.int64), np.zeros(slots.size, np.int64)
        runs = [run for run in self._runs if run.mint <= maxt and run.maxt >= mint]
        if not slots.size or not (runs or self._used):
            return begin, end, np.empty(0, np.int64), np.empty(0, np.uint64), None
        order = None
        if slots.size > 1 and not (slots[1:] > slots[:-1]).all():
            order = np.argsort(slots)
            slots = slots[order]
        slots = np.ascontiguousarray(slots)
        parts = [part for part in (_gather(run, slots, mint, maxt) for run in runs) if part.size]
        if self._used:
            tail = _gather_tail(self._tail, self._used, slots, mint, maxt)
            parts += [tail] if tail.size else []
        found = _merged(parts)
        rows = found.slots
        if rows.size:
            starts = np.flatnonzero(np.concatenate(([True], rows[1:] != rows[:-1])))
            place = rows[starts] if order is None else order[rows[starts]]
            begin[place] = starts
            end[place] = np.append(starts[1:], rows.size)
        return begin, end, found.ts, found.values, found.starts


class Late:
    """Changed by the appender's thread only, between or within commits, but for `drop_frozen` and `thaw`. `lock` is the
    head's: whoever takes a view holds it."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._frozen: tuple[Run, ...] = ()
        self._runs: tuple[Run, ...] = ()
        self._tail = Tail()
        self._used = 0
        self.through = 0
        """Late samples in segments of the log up to this number are in blocks."""
        self.generation = 0
        """Of the samples that come now: how often it was frozen."""
        self._dropped = -1

    @property
    def size(self) -> int:
        """Samples, about; frozen ones included."""
        return sum(run.size for run in self._frozen) + self.unfrozen

    @property
    def empty(self) -> bool:
        return not (self._used or self._runs or self._frozen)

    @property
    def settled(self) -> int:
        """Of generations up to this one, nothing is here any more; -1: of none that is known. Between commits."""
        return self.generation if self.empty else self._dropped

    @property
    def unfrozen(self) -> int:
        """Samples, about, that came since the last `freeze`."""
        return sum(run.size for run in self._runs) + self._used

    @property
    def mint(self) -> int | None:
        """Time of the oldest sample, ms."""
        with self._lock:
            runs, tail, used = (*self._frozen, *self._runs), self._tail, self._used
        oldest = [run.mint for run in runs] + ([int(tail.ts[:used].min())] if used else [])
        return min(oldest, default=None)

    def view(self) -> LateView:
        """The caller holds the lock."""
        return LateView((*self._frozen, *self._runs), self._tail, self._used)

    def stage(self, slots: NDArray[np.int32], ts: NDArray[np.int64], values: NDArray[np.uint64],
              starts: NDArray[np.int64] | None = None) -> Staged:
        """Takes in samples (i32[n], i64[n] ms, u64[n] bits, start times i64[n] ms) in the order in which they came, for
        `show`. Nothing has happened if that is never called."""
        runs, tail, used = self._runs, self._tail, self._used
        if used + ts.size > TAIL_SAMPLES:
            if used:
                runs = _added(runs, tail.run(used))
            tail, used = Tail(), 0
        if ts.size > TAIL_SAMPLES:
            return Staged(_added(runs, _sorted(slots, ts, values, starts)), tail, used)
        end = used + ts.size
        tail.slots[used:end], tail.ts[used:end], tail.values[used:end] = slots, ts, values
        if starts is not None and tail.starts is None:
            tail.starts = np.zeros(TAIL_SAMPLES, np.int64)
        if tail.starts is not None:
            tail.starts[used:end] = 0 if starts is None else starts
        return Staged(runs, tail, end)

    def show(self, staged: Staged) -> None:
        """From now on views have the samples. The caller holds the lock."""
        self._runs, self._tail, self._used = staged.runs, staged.tail, staged.used

    def append(self, slots: NDArray[np.int32], ts: NDArray[np.int64], values: NDArray[np.uint64],
               starts: NDArray[np.int64] | None = None) -> None:
        """`stage` and `show`."""
        staged = self.stage(slots, ts, values, starts)
        with self._lock:
            self.show(staged)

    def freeze(self) -> None:
        """Sets aside all samples of now, to be written to blocks. They stay in views until `drop_frozen`, or `thaw`."""
        if self._frozen:
            raise AssertionError("late samples are frozen already")
        last = (self._tail.run(self._used),) if self._used else ()
        with self._lock:
            self._frozen = (*self._runs, *last)
            self._runs, self._tail, self._used = (), Tail(), 0
        self.generation += 1

    def frozen(self) -> Run:
        """What was frozen, merged. For the thread that will call `drop_frozen` or `thaw`."""
        return _merged(list(self._frozen))

    def drop_frozen(self) -> None:
        """What was frozen is in blocks. The caller holds the lock, and shows the blocks in the same hold."""
        self._frozen = ()
        self._dropped = self.generation - 1

    def thaw(self) -> None:
        """What was frozen could not be written: it will be frozen again. Between commits."""
        with self._lock:
            self._runs = (*self._frozen, *self._runs)
            self._frozen = ()

    def remove(self, slots: NDArray[np.int32], mint: int, maxt: int) -> int:
        """Takes out the samples of `slots` with mint <= ts <= maxt (ms). Between commits. Returns how many they
        were, about."""
        before = self.size
        frozen = tuple(_without(run, slots, mint, maxt) for run in self._frozen)
        kept = _without(self._everything(), slots, mint, maxt)
        with self._lock:
            self._frozen = tuple(run for run in frozen if run.size)
            self._runs, self._tail, self._used = (kept,) if kept.size else (), Tail(), 0
        return before - self.size

    def slots(self) -> NDArray[np.int32]:
        """i32[], sorted: those that have late samples. Between commits."""
        found = [run.slots[np.flatnonzero(np.diff(run.slots, prepend=-1))] for run in (*self._frozen, *self._runs)]
        return np.unique(np.concatenate([np.empty(0, np.int32), *found, self._tail.slots[: self._used]]))

    def columns(self) -> Run:
        """All samples, for `restore`. Between commits."""
        return _merged([*self._frozen, self._everything()])

    def restore(self, slots: NDArray[np.int32], ts: NDArray[np.int64], values: NDArray[np.uint64],
                starts: NDArray[np.int64] | None = None) -> None:
        """Fills an empty store, as `append`."""
        run = _sorted(slots, ts, values, starts)
        with self._lock:
            self._runs = (run,) if run.size else ()

    def _everything(self) -> Run:
        """All that is not frozen."""
        return _merged([*self._runs, self._tail.run(self._used)])


def _taken(run: Run, which: NDArray[np.int64] | NDArray[np.bool_]) -> Run:
    """Some of its samples."""
    ts, starts = run.ts[which], None if run.starts is None else run.starts[which]
    times = (int(ts.min()), int(ts.max())) if ts.size else ()
    return Run(run.slots[which], ts, run.values[which], starts, *times)


def _sorted(slots: NDArray[np.int32], ts: NDArray[np.int64], values: NDArray[np.uint64],
            starts: NDArray[np.int64] | None = None) -> Run:
    """A run of samples in the order in which they came. It has columns of its own."""
    run = _taken(Run(slots, ts, values, starts), np.lexsort((ts, slots)))
    again = (run.slots[1:] == run.slots[:-1]) & (run.ts[1:] == run.ts[:-1])
    return _taken(run, np.concatenate(([True], ~again))) if again.any() else run


def _merge(a: Run, b: Run) -> Run:
    """`a` came before `b`."""
    size = a.size + b.size
    slots, ts, values = np.empty(size, np.int32), np.empty(size, np.int64), np.empty(size, np.uint64)
    starts = None
    if a.starts is not None or b.starts is not None:  # merged as the values are
        starts = np.empty(size, np.int64)
        late_kernels.merge(a.slots, a.ts, _start_bits(a), b.slots, b.ts, _start_bits(b), slots, ts,
                           starts.view(np.uint64))
    count = late_kernels.merge(a.slots, a.ts, a.values, b.slots, b.ts, b.values, slots, ts, values)
    return Run(slots[:count], ts[:count], values[:count], None if starts is None else starts[:count],
               min(a.mint, b.mint), max(a.maxt, b.maxt))


def _start_bits(run: Run) -> NDArray[np.uint64]:
    return np.zeros(run.size, np.uint64) if run.starts is None else run.starts.view(np.uint64)


def _merged(runs: list[Run]) -> Run:
    """Neighbours are merged pair by pair, so that each sample is moved a few times only."""
    while len(runs) > 1:
        pairs = [_merge(runs[i], runs[i + 1]) for i in range(0, len(runs) - 1, 2)]
        runs = pairs + runs[len(pairs) * 2 :]
    return runs[0] if runs else Run(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.uint64))


def _added(runs: tuple[Run, ...], run: Run) -> tuple[Run, ...]:
    """Runs with one more; those that are not twice as large as what comes behind them are merged with it."""
    while runs and runs[-1].size < 2 * run.size and runs[-1].size + run.size <= LARGEST_RUN:
        run = _merge(runs[-1], run)
        runs = runs[:-1]
    return (*runs, run)


def _gather(run: Run, slots: NDArray[np.int32], mint: int, maxt: int) -> Run:
    """Samples of a run, with the index into `slots` (sorted) instead of the slot."""
    none = np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.uint64)
    size = late_kernels.gather(slots, mint, maxt, run.slots, run.ts, run.values, *none)
    rows, ts, values = np.empty(size, np.int32), np.empty(size, np.int64), np.empty(size, np.uint64)
    starts = None
    if size:
        if run.starts is not None:
            starts = np.empty(size, np.int64)
            late_kernels.gather(slots, mint, maxt, run.slots, run.ts, _start_bits(run), rows, ts,
                                starts.view(np.uint64))
        late_kernels.gather(slots, mint, maxt, run.slots, run.ts, run.values, rows, ts, values)
    return Run(rows, ts, values, starts)


def _gather_tail(tail: Tail, used: int, slots: NDArray[np.int32], mint: int, maxt: int) -> Run:
    """As `_gather`."""
    all_slots, all_ts = tail.slots[:used], tail.ts[:used]
    found = np.flatnonzero((all_ts >= mint) & (all_ts <= maxt) & (all_slots >= slots[0]) & (all_slots <= slots[-1]))
    rows = np.searchsorted(slots, all_slots[found])
    among = slots[rows] == all_slots[found]
    found, rows = found[among], rows[among]
    return _sorted(rows.astype(np.int32), all_ts[found], tail.values[found],
                   None if tail.starts is None else tail.starts[found])


def _without(run: Run, slots: NDArray[np.int32], mint: int, maxt: int) -> Run:
    return _taken(run, ~((run.ts >= mint) & (run.ts <= maxt) & np.isin(run.slots, slots)))
