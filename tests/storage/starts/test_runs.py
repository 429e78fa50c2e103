"""Runs of start times beside plain Python."""

from __future__ import annotations

import itertools
import threading

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tsdb.storage.starts import start_kernels
from tsdb.storage.starts.live import HeadStarts
from tsdb.storage.starts.runs import StartRuns

Samples = list[tuple[int, int, int]]
"""(series, ms, start time), sorted by series, then time."""
SAMPLES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40), st.sampled_from([0, 0, 5, 5, 9])), max_size=30).map(
    lambda rows: [(series, ts, start) for (series, ts), start in sorted({(s, t): x for s, t, x in rows}.items())])


def tile(samples: Samples) -> tuple[np.ndarray, ...]:
    """begin, end, ts and starts of series 0 to 3."""
    series = np.array([each[0] for each in samples], np.int64)
    numbers = np.arange(4)
    return (np.searchsorted(series, numbers).astype(np.int64),
            np.searchsorted(series, numbers, "right").astype(np.int64),
            np.array([each[1] for each in samples], np.int64), np.array([each[2] for each in samples], np.int64))


def slow_runs(samples: Samples) -> Samples:
    found: Samples = []
    current: dict[int, int] = {}
    for series, ts, start in samples:
        if current.get(series, 0) != start:
            current[series] = start
            found.append((series, ts, start))
    return found


def rows_of(runs: StartRuns) -> Samples:
    return list(zip(runs.series.tolist(), runs.ts.tolist(), runs.starts.tolist(), strict=True))


@settings(max_examples=60, deadline=None)
@given(SAMPLES, st.integers(-1, 41), st.integers(-1, 41))
def test_found_and_given_back(samples: Samples, mint: int, maxt: int) -> None:
    begin, end, ts, starts = tile(samples)
    runs = StartRuns.of_samples(begin, end, ts, starts)
    assert rows_of(runs) == slow_runs(samples)
    for each in (runs, runs.within(mint, maxt)):
        out = np.full(ts.size, -1)
        each.fill(*each.of(np.arange(4, dtype=np.int32)), mint, maxt, begin, end, ts, out)
        assert out.tolist() == [start if mint <= at < maxt else -1 for _, at, start in samples]
    assert rows_of(runs.within(mint, maxt)) == slow_runs(
        [(series, max(mint, at), start) for series, at, start in _in_force(rows_of(runs), mint, maxt)])
    order = np.array([2, 0, 3], np.int32)
    assert rows_of(runs.take(order)) == [(place, at, start) for place, own in enumerate(order.tolist())
                                         for series, at, start in rows_of(runs) if series == own]


def _in_force(runs: Samples, mint: int, maxt: int) -> Samples:
    """Those that samples with mint <= ts < maxt can have."""
    following = {run: after[1] for run, after in itertools.pairwise(runs) if run[0] == after[0]}
    return [run for run in runs if run[1] < maxt and following.get(run, maxt) > mint]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), SAMPLES), max_size=6), st.integers(0, 300), st.sets(st.integers(0, 3)))
def test_those_of_the_head(commits: list[tuple[bool, Samples]], oldest: int, free: set[int]) -> None:
    lock = threading.Lock()
    head = HeadStarts(lock, 10)
    shown: Samples = []
    for number, (kept, rows) in enumerate(commits):
        samples = sorted(((series, at + 50 * number, start) for series, at, start in rows), key=lambda row: row[1])
        begin = [np.array(column, np.int64) for column in zip(*samples, strict=True)] or [np.zeros(0, np.int64)] * 3
        changes = head.stage(begin[0].astype(np.int32), begin[1], begin[2] if any(begin[2]) else None, 4)
        if not kept:
            if changes is not None:
                head.undo(changes)
            continue
        shown += samples
        if changes is not None:
            head.make_room(changes.slots.size)
            head.show(changes)
            head.show(changes)
    shown.sort()
    begin_at, end, ts, starts = tile(shown)
    # a start time later than its sample counts as none
    starts = np.where(starts > ts, 0, starts)
    shown = [(series, at, start) for (series, at, _), start in zip(shown, starts.tolist(), strict=True)]
    assert rows_of(head.runs()) == slow_runs(shown)
    assert filled(head, begin_at, end, ts).tolist() == starts.tolist()
    refs = np.array([number not in free for number in range(10)], np.uint64)
    head.forget(oldest, refs)
    needed = [start if series not in free else 0 for series, _, start in shown]
    assert all(got == want for got, want, at in zip(filled(head, begin_at, end, ts), needed, ts, strict=True)
               if at >= oldest)
    left = [run for run in _in_force(slow_runs(shown), oldest + 1, 1 << 60) if run[0] not in free]
    assert rows_of(head.runs()) == slow_runs(left)
    again = HeadStarts(lock, 10)
    runs = head.runs()
    for _ in range(2):
        again.restore(runs.series, runs.ts, runs.starts)
    assert rows_of(again.runs()) == rows_of(runs)
    assert again.active == bool(left) or not slow_runs(left)


def filled(head: HeadStarts, begin: np.ndarray, end: np.ndarray, ts: np.ndarray) -> np.ndarray:
    view = head.view(np.arange(4, dtype=np.int32))
    return np.zeros(ts.size, np.int64) if view is None else view.fill(0, begin, end, ts)


def test_no_more_than_there_is_room_for() -> None:
    slots = np.repeat(np.arange(3, dtype=np.int32), 5)
    ts = np.tile(np.arange(10, 15), 3)
    starts = np.tile(np.array([1, 2, 3, 4, 5]), 3)
    current = np.array([0, 9, 9], np.int64)
    slot, (at, start, before) = np.empty(15, np.int32), (np.empty(15, np.int64) for _ in range(3))
    found = start_kernels.find_changes(slots, ts, starts, current, 4, slot, at, start, before)
    rows = list(zip(*(column[:found].tolist() for column in (slot, at, start, before)), strict=True))
    assert rows == [(0, 10, 1, 0), (0, 11, 2, 1), (0, 12, 3, 2), (0, 13, 4, 3), (0, 14, 0, 4), (1, 10, 0, 9),
                    (2, 10, 0, 9)], "each series has none behind the last one that there was room for"
    assert current.tolist() == [0, 0, 0]


def test_those_of_samples_that_were_taken() -> None:
    slots = np.array([1, 1, -1, 2, 1, 2, 1], np.int32)
    ts = np.array([10, 10, 10, 5, 3, 6, 11], np.int64)
    codes = np.array([0, 0, 4, 0, 0, 2, 0], np.uint8)
    starts = np.arange(7, dtype=np.int64)
    out = np.zeros(3, np.int64)
    found = start_kernels.align(slots, ts, starts, codes, np.array([4], np.int32), np.array([1, 2, 1], np.int32),
                                np.array([10, 5, 11], np.int64), out)
    assert (found, out.tolist()) == (3, [0, 3, 6])
