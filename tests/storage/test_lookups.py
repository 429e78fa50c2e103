"""Lists of series and label values: many at once, the first ones alone, and after series have gone."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.storage.batches import FOREVER, everything, make_batch, read
from tsdb.model.context import RequestContext
from tsdb.model.label_order import label_order
from tsdb.model.matchers import Matcher, MatchType
from tsdb.storage import Storage
from tsdb.testing.memory_storage import MemorySymbols, labels_of, series_set

HOUR = 3600_000
NOW = int(time.time() * 1000)
letters = st.sampled_from(["a", "b", "é", "Z", "a b", "\n"])
label_sets = st.lists(st.dictionaries(letters, letters, max_size=4), max_size=40)


@given(label_sets, st.integers(1, 30))
def test_the_first_ones_alone(found: list[dict[str, str]], first: int) -> None:
    found = found * 5  # more than Python's sort is used for
    series = series_set([labels_of(labels) for labels in found], MemorySymbols())
    every, some = label_order(series).tolist(), label_order(series, first).tolist()
    assert some[:first] == every[:first] and len(some) >= min(first, len(every))


def write(storage: Storage, ts: int, series: list[dict[str, str]]) -> None:
    samples = [(row, ts, row) for row in range(len(series))]
    assert storage.submit(make_batch(storage.secret, series, samples)).result(10).rejected == 0


def names(storage: Storage, *, first: int = 0) -> list[str]:
    found = storage.series([everything()], 0, FOREVER, RequestContext(), first)
    return [found.labels(row)["host"] for row in range(len(found))]


@pytest.mark.parametrize("odd", ["plain", "with\nnewline"])
def test_many_series(odd: str, tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    hosts = [f"h{i}" for i in range(300)] + [odd, "é"]
    random.Random(1).shuffle(hosts)
    write(storage, NOW, [{"__name__": "m", "host": host} for host in hosts])
    assert names(storage) == storage.label_values("host", [], 0, FOREVER, RequestContext()) == sorted(hosts)
    assert names(storage, first=7)[:7] == sorted(hosts)[:7]
    found = storage.series([everything()], 0, FOREVER, RequestContext())
    assert found.symbols.texts([found.symbols.intern("new"), *found.values.tolist()]) == [
        "new", *map(found.symbols.text, found.values.tolist())]
    storage.close()


def settle(storage: Storage) -> None:
    """Two passes of the maintenance."""
    assert storage._maintenance is not None
    for _ in range(3):
        storage._maintenance.do(lambda: None).result(30)


def test_series_that_have_left_the_head(tmp_path: Path) -> None:
    """They stay in blocks; what comes back joins them."""
    storage = Storage.open(tmp_path)
    start = (NOW - 30 * HOUR) // (2 * HOUR) * 2 * HOUR
    expected: dict[str, list[tuple[int, int]]] = {}
    for turn in range(8):
        series = [{"__name__": "m", "host": f"h{i}"} for i in range(turn % 4 * 5, turn % 4 * 5 + 10)]
        for ts in range(start + turn * 3 * HOUR, start + (turn + 1) * 3 * HOUR, HOUR // 2):
            write(storage, ts, series)
            for row, labels in enumerate(series):
                expected.setdefault(labels["host"], []).append((ts, row))
        settle(storage)
        wanted = sorted(expected)
        assert names(storage) == wanted
        assert storage.label_values("host", [], 0, FOREVER, RequestContext()) == wanted
    statistics = storage.statistics()
    assert statistics.series_removed > 10
    assert statistics.series == statistics.series_made - statistics.series_removed <= 20
    assert statistics.collections.count >= 3
    assert storage._head.table.size <= 30
    assert {dict(labels)["host"]: samples for labels, samples in read(storage).items()} == expected
    assert {dict(labels)["host"] for labels in read(storage, [Matcher(MatchType.REGEX, "host", "h1?[0-3]")])} == {
        host for host in expected if host in ("h0", "h1", "h2", "h3", "h10", "h11", "h12", "h13")}
    storage.close()
    storage = Storage.open(tmp_path)
    assert {dict(labels)["host"]: samples for labels, samples in read(storage).items()} == expected
    storage.close()


LIVES = {"whole": (0, 5), "early": (0, 1), "late": (4, 5), "short": (2, 3), "with a gap": (0, 1, 4, 5)}
"""Hours at which a series has a sample."""


@pytest.mark.parametrize("hosts", [("whole",), ("whole", "early"), ("whole", "late"), ("late", "early"),
                                   ("whole", "short", "with a gap")], ids=" and ".join)
def test_values_of_series_of_a_block_that_have_samples_then(hosts: tuple[str, ...], tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    start = (NOW - 30 * HOUR) // (18 * HOUR) * 18 * HOUR
    for hour in range(6):
        series = [{"__name__": "m", "host": host} for host in hosts if hour in LIVES[host]]
        if series:
            write(storage, start + hour * HOUR, series)
    storage.compact()
    for first in range(6):
        for last in range(first, 6):
            found = storage.label_values("host", [], start + first * HOUR, start + last * HOUR, RequestContext())
            every = storage.series([everything()], start + first * HOUR, start + last * HOUR, RequestContext())
            assert found == sorted({every.labels(row)["host"] for row in range(len(every))})
            wanted = {host for host in hosts if any(first <= hour <= last for hour in LIVES[host])}
            assert wanted <= set(found)
    storage.close()
