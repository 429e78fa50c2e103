"""The store of late samples beside a dict."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tsdb.storage.late import late, late_kernels
from tsdb.storage.late.late import Late, LateView

Sample = tuple[int, int, int]
Samples = dict[int, dict[int, int]]

samples = st.lists(st.tuples(st.integers(0, 6), st.integers(-20, 20), st.integers(0, 2**64 - 1)), max_size=30)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), samples),
        st.tuples(st.sampled_from(["freeze", "drop", "thaw", "restore"]), st.just([])),
        st.tuples(st.just("remove"), samples),
    ),
    max_size=14,
)


def columns(rows: list[Sample]) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.uint64]]:
    return (np.array([row[0] for row in rows], np.int32), np.array([row[1] for row in rows], np.int64),
            np.array([row[2] for row in rows], np.uint64))


def add(model: Samples, rows: list[Sample]) -> None:
    for slot, ts, value in rows:
        model.setdefault(slot, {}).setdefault(ts, value)


def joined(*models: Samples) -> Samples:
    out: Samples = {}
    for model in models:
        for slot, values in model.items():
            add(out, [(slot, ts, value) for ts, value in values.items()])
    return out


def check(view: LateView, model: Samples, slots: list[int], mint: int = -100, maxt: int = 100) -> None:
    begin, end, ts, values, _ = view.collect(np.array(slots, np.int32), mint, maxt)
    for row, slot in enumerate(slots):
        part = slice(int(begin[row]), int(end[row]))
        expected = sorted((t, value) for t, value in model.get(slot, {}).items() if mint <= t <= maxt)
        assert list(zip(ts[part].tolist(), values[part].tolist(), strict=True)) == expected


@settings(max_examples=80, deadline=None)
@given(steps, st.permutations(range(8)), st.integers(-25, 25), st.integers(-25, 25))
def test_beside_a_dict(steps: list[tuple[str, list[Sample]]], order: list[int], mint: int, maxt: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(late, "TAIL_SAMPLES", 8)
        lock = threading.Lock()
        store = Late(lock)
        frozen: Samples = {}
        model: Samples = {}
        for step, rows in steps:
            with lock:
                before, expected = store.view(), joined(frozen, model)
            if step == "append":
                store.append(*columns(rows))
                add(model, rows)
            elif step == "freeze" and not frozen:
                store.freeze()
                assert store.frozen().size == sum(map(len, model.values()))
                frozen, model = model, {}
            elif step == "drop":
                with lock:
                    store.drop_frozen()
                frozen = {}
            elif step == "thaw":
                store.thaw()
                frozen, model = {}, joined(frozen, model)
            elif step == "restore":
                every = store.columns()
                store = Late(lock)
                store.restore(every.slots, every.ts, every.values)
                frozen, model = {}, joined(frozen, model)
            elif step == "remove":
                times = sorted(ts for _, ts, _ in rows) or [0]
                slots = {slot for slot, _, _ in rows}
                store.remove(np.array(sorted(slots), np.int32), times[0], times[-1])
                for part in (frozen, model):
                    for slot in slots & part.keys():
                        part[slot] = {t: v for t, v in part[slot].items() if not times[0] <= t <= times[-1]}
            check(before, expected, order)  # what was seen stays as it was
            with lock:
                view = store.view()
            now = joined(frozen, model)
            check(view, now, order)
            check(view, now, order[:2], mint, maxt)
            check(view, now, [])
            assert store.slots().tolist() == sorted(slot for slot, values in now.items() if values)
            assert store.size >= sum(map(len, now.values()))
            assert store.mint == min((ts for values in now.values() for ts in values), default=None)


@given(samples, samples)
def test_merge(a: list[Sample], b: list[Sample]) -> None:
    runs = [late._sorted(*columns(rows)) for rows in (a, b)]
    merged = late._merge(*runs)
    expected: Samples = {}
    add(expected, a + b)
    assert list(zip(merged.slots.tolist(), merged.ts.tolist(), merged.values.tolist(), strict=True)) == [
        (slot, ts, expected[slot][ts]) for slot in sorted(expected) for ts in sorted(expected[slot])
    ]


@given(samples, st.sets(st.integers(0, 8)), st.integers(-25, 25), st.integers(-25, 25))
def test_gather(rows: list[Sample], wanted: set[int], mint: int, maxt: int) -> None:
    run = late._sorted(*columns(rows))
    slots = np.array(sorted(wanted), np.int32)
    out = np.empty(60, np.int32), np.empty(60, np.int64), np.empty(60, np.uint64)
    found = late_kernels.gather(slots, mint, maxt, run.slots, run.ts, run.values, *out)
    expected = [(sorted(wanted).index(slot), ts, value)
                for slot, ts, value in zip(run.slots.tolist(), run.ts.tolist(), run.values.tolist(), strict=True)
                if slot in wanted and mint <= ts <= maxt]
    assert list(zip(*(column[:found].tolist() for column in out), strict=True)) == expected


def test_many_samples_in_few_runs() -> None:
    """A million samples in commits of a thousand: each is moved a few times, a view holds a few runs."""
    chance = np.random.default_rng(1)
    store = Late(threading.Lock())
    slots = np.arange(1000, dtype=np.int32)
    times = chance.permutation(1000)
    for t in times.tolist():
        store.append(chance.permutation(slots), np.full(1000, t, np.int64), np.full(1000, t, np.uint64))
    assert store.size == 1_000_000
    assert len(store.view()._runs) < 10
    begin, end, ts, values, _ = store.view().collect(np.array([999, 0, 500], np.int32), 100, 899)
    assert (end - begin).tolist() == [800] * 3
    assert (np.diff(ts[begin[1] : end[1]]) == 1).all() and (values.view(np.int64) == ts).all()
