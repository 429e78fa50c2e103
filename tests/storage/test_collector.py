"""Series that come and go: what is found is what a dict has, and nothing grows."""

from __future__ import annotations

import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.batches import make_batch
from tsdb.model.labels import labels_of_key
from tsdb.model.matchers import Matcher, MatchType
from tsdb.storage.head import series_kernels
from tsdb.storage.head.collector import Collector
from tsdb.storage.head.head import Head
from tsdb.storage.head.index import Index
from tsdb.storage.head.names import Names
from tsdb.storage.head.windows import Windows
from tsdb.wal.files import LocalFileSystem

HOUR = 3600_000
NOW = 1_700_000_000_000
Labels = tuple[tuple[str, str], ...]


class Inline:
    """An appender that has nothing else to do."""

    holds_samples = False

    def run_between_commits(self, work: Callable[[], None]) -> Future[Any]:
        future: Future[Any] = Future()
        work()
        future.set_result(None)
        return future


class Series:
    """A head whose series are as old as they are said to be."""

    def __init__(self) -> None:
        self.head = Head(Windows(LocalFileSystem(), Path("/nowhere"), read_only=True))
        self.index = Index(self.head.table)
        self.names = Names(self.head, self.index)
        self.collector = Collector(self.head, self.index)
        self.head.max_ts = NOW
        self.slots: dict[Labels, int] = {}

    def make(self, series: list[dict[str, str]]) -> None:
        batch = make_batch(self.head.table.secret, series, [])
        rows, _ = self.head.table.resolve(batch)
        self.head.table.create(batch.row_hash, batch.keys, batch.row_offset, batch.row_length, rows)
        self.head.table.logged()
        self.head.records["last_ts"][rows] = NOW
        for labels, slot in zip(series, rows.tolist(), strict=True):
            self.slots[tuple(sorted(labels.items()))] = slot

    def collect(self, gone: list[Labels]) -> None:
        for labels in gone:
            self.head.records["last_ts"][self.slots.pop(labels)] = NOW - 2 * HOUR
        assert self.collector.collect(Inline()).series == len(gone)

    def labels(self, slot: int) -> Labels:
        return tuple(sorted(labels_of_key(self.head.table.key(slot)).items()))

    def check(self) -> None:
        table, index = self.head.table, self.index
        slots = sorted(self.slots.values())
        assert table.live().tolist() == index.select([]).tolist() == slots
        assert table.series == len(slots) == len(set(slots))
        for labels, slot in self.slots.items():
            assert self.labels(slot) == labels
            found = index.select([Matcher(MatchType.EQUAL, name, value) for name, value in labels])
            assert set(found.tolist()) == {
                other for has, other in self.slots.items() if set(labels) <= set(has)}
        pairs = {pair for labels in self.slots for pair in labels}
        values = {name: int(table.name_values[table.find_symbol(name)]) for name, _ in pairs}
        assert values == Counter(name for name, _ in pairs)
        for name in {name for name, _ in pairs} | {"host", "nobody"}:
            assert self.names.every(name) == sorted(value for has, value in pairs if has == name)
            for kind, wanted in ((MatchType.REGEX, True), (MatchType.NOT_REGEX, False)):
                with_it = {slot for labels, slot in self.slots.items() if name in dict(labels)}
                expected = with_it if wanted else set(slots) - with_it
                assert set(index.select([Matcher(kind, name, "(?s).+")]).tolist()) == expected
        assert self.names.every(None) == sorted({name for name, _ in pairs})


texts = st.sampled_from(["a", "b", "é", "x" * 9, "y" * 40, "z" * 300, "w" * 3000])
label_sets = st.dictionaries(texts, texts, max_size=3)
wide = st.integers(0, 3).map(lambda n: {f"label_{n}_{i}": str(i) for i in range(12 * n)})
steps = st.lists(st.tuples(st.lists(label_sets | wide, max_size=6), st.randoms(use_true_random=False),
                           st.sampled_from(["refresh", "read", "leave", ""])), max_size=12)


@settings(max_examples=30, deadline=None)
@given(steps)
def test_what_is_there_is_what_a_dict_has(turns: list[tuple[list[dict[str, str]], random.Random, str]]) -> None:
    series = Series()
    readers: list[tuple[int, dict[int, Labels], dict[str, int]]] = []
    for made, chance, also in turns:
        series.make(made)
        if also == "refresh":
            series.index.refresh(force=True)
        elif also == "read":
            epoch = series.head.readers.enter()
            texts = {text: series.head.table.find_symbol(text) for pair in series.slots for each in pair
                     for text in each}
            readers.append((epoch, {slot: labels for labels, slot in series.slots.items()}, texts))
        elif also == "leave" and readers:
            series.head.readers.leave(readers.pop(chance.randrange(len(readers)))[0])
        series.collect([labels for labels in sorted(series.slots) if chance.random() < 0.4])
        series.check()
        for _, seen, texts in readers:
            for slot, labels in seen.items():
                assert series.labels(slot) == labels, "a reader's slot was given to another series"
            for text, symbol in texts.items():
                assert series.head.table.text(symbol) == text
    for epoch, _, _ in readers:
        series.head.readers.leave(epoch)
    series.collect(list(series.slots))
    series.collector.recycle(Inline())
    assert not series.collector.waiting
    table = series.head.table
    assert table.series == table.pairs_in_use == table.symbols_in_use == 0
    assert not table.pair_uses[: table.pairs].any() and not table.symbol_uses[: table.symbols].any()


def test_nothing_grows_under_churn() -> None:
    series = Series()
    chance = random.Random(1)
    used = []
    for turn in range(60):
        fresh = [{"__name__": f"m{i % 5}", "job": "api", "pod": f"api-{turn}-{i}-{'x' * (i % 9)}"} for i in range(300)]
        series.make(fresh)
        series.collect(chance.sample(sorted(series.slots), max(0, len(series.slots) - 1000)))
        counters = series.head.table.counters
        used.append([int(counters[place]) for place in (
            series_kernels.SLOTS, series_kernels.PAIRS, series_kernels.SYMBOLS, series_kernels.KEY_BYTES,
            series_kernels.SYMBOL_BYTES, series_kernels.LABELS)] + [series.head.table.table.size,
                                                                    series.head.table.births.size])
    series.check()
    early, late = np.array(used[10]), np.array(used[-1])
    assert (late <= early * 1.15).all(), f"{early} … {late}"


def test_what_keeps_a_series() -> None:
    series = Series()
    series.make([{"n": str(i)} for i in range(5)])
    head = series.head
    head.records["last_ts"][:5] = NOW - 2 * HOUR
    head.records["count"][0] = 1
    with head.lock:
        head.windows.ensure(0, 1000)
    head.windows.every[0].chain[1] = 64
    head.late.append(np.array([2], np.int32), np.array([NOW - 2 * HOUR]), np.array([1], np.uint64))
    head.records["last_ts"][3] = NOW - HOUR
    assert series.collector.collect(Inline()).series == 1
    assert head.table.live().tolist() == [0, 1, 2, 3]

    class Full(Inline):
        holds_samples = True

    head.records["last_ts"][3] = NOW - 2 * HOUR
    assert series.collector.collect(Full()).series == 0, "logged samples wait for room on the disk"
    batch = make_batch(head.table.secret, [{"n": "new"}], [])
    rows, _ = head.table.resolve(batch)
    head.table.create(batch.row_hash, batch.keys, batch.row_offset, batch.row_length, rows)
    assert series.collector.collect(Inline()).series == 0, "a series that is not logged yet"
    assert head.table.unlogged().tolist() == rows.tolist()
    head.table.logged()
    assert series.collector.collect(Inline()).series == 2


def test_a_series_that_comes_back_has_a_new_ref_and_a_clean_record() -> None:
    series = Series()
    series.make([{"n": "a"}])
    records = series.head.records
    ref = int(records["ref"][0])
    for field in ("last_value", "first_ts", "mark", "delta", "bits", "leading", "significant", "flags"):
        records[field][0] = 7
    series.collect([(("n", "a"),)])
    assert records["ref"][0] == 0
    series.make([{"n": "a"}])
    assert series.slots[(("n", "a"),)] == 0 and int(records["ref"][0]) > ref
    for field in ("last_value", "first_ts", "mark", "delta", "bits", "leading", "significant", "flags"):
        assert records[field][0] == 0


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads take turns every 10 us instead of 5 ms: what can go wrong between two lines does."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def test_readers_never_see_another_series(eager_threads: None) -> None:
    series = Series()
    head, index = series.head, series.index
    done = threading.Event()
    wrong: list[str] = []
    turns = [0] * 3

    def read(me: int) -> None:
        chance = random.Random(me)
        while not done.is_set() and not wrong:
            turns[me] += 1
            host = f"h{chance.randrange(12)}"
            with head.readers.reading():
                for matcher in (Matcher(MatchType.EQUAL, "host", host), Matcher(MatchType.REGEX, "host", f"{host}|no"),
                                Matcher(MatchType.REGEX, "host", f"[h]{host[1:]}")):
                    slots = index.select([matcher, Matcher(MatchType.NOT_EQUAL, "pod", "")])
                    if (np.diff(slots) <= 0).any():
                        wrong.append(f"{matcher}: {slots}")
                    for slot in slots.tolist():
                        labels = dict(series.labels(slot))
                        pairs = head.table.labels[int(head.table.label_offset[slot]) :][: len(labels)]
                        texts = {head.table.text(int(head.table.pair_name[pair])):
                                 head.table.text(int(head.table.pair_value[pair])) for pair in pairs.tolist()}
                        if labels.get("host") != host or texts != labels:
                            wrong.append(f"{matcher}: {labels} {texts}")
                    symbol = head.table.find_symbol(host)
                    if symbol >= 0 and head.table.text(symbol) != host:
                        wrong.append(f"{host} is {head.table.text(symbol)}")

    threads = [threading.Thread(target=read, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    chance = random.Random(9)
    for turn in range(150):
        series.make([{"host": f"h{chance.randrange(12)}", "pod": f"p{turn}-{i}"} for i in range(10)])
        series.collect([labels for labels in sorted(series.slots) if chance.random() < 0.3])
    done.set()
    for thread in threads:
        thread.join(60)
    assert not wrong, wrong[:3]
    assert min(turns) > 0
    assert head.table.size < 1000
    series.collector.recycle(Inline())
    series.check()


def test_births_are_remembered_in_rings_that_grow_and_shrink() -> None:
    series = Series()
    table = series.head.table
    first = table.births.size
    series.make([{"n": str(i), "m": str(i % 7)} for i in range(3 * first)])
    assert table.births.size > 2 * first and table.pair_births.size > 2 * first
    made, pairs = table.made, table.pairs_made
    assert series.index.select([Matcher(MatchType.EQUAL, "m", "3")]).size == 3 * first // 7 + (3 * first % 7 > 3)
    series.index.refresh(force=True)
    assert table.born(0, made) is None and table.pairs_born(0, pairs) is None
    series.make([{"n": "new"}])
    assert table.births.size == table.pair_births.size == first
    assert table.born(made, table.made).tolist() == [3 * first]  # type: ignore[union-attr]
    assert series.index.select([Matcher(MatchType.EQUAL, "n", "new")]).tolist() == [3 * first]
    assert series.index.select([Matcher(MatchType.REGEX, "n", "1|new")]).tolist() == [1, 3 * first]
