"""Series that come and go are counted by metric and time, as by plain counting."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.batches import bits, make_batch
from tsdb.storage import Storage
from tsdb.storage.head import churn as module
from tsdb.storage.head.churn import BUCKET_S, CREATED, DAY, HOUR, REMOVED, Churn
from tsdb.storage.head.head import Head
from tsdb.storage.head.windows import Windows
from tsdb.wal.files import LocalFileSystem

NOW = 1_700_000_000_000

steps = st.lists(st.tuples(
    st.sampled_from([CREATED, REMOVED]), st.lists(st.integers(0, 11), min_size=1, max_size=8),
    st.sampled_from([0, 0, 1, 5, 7, 30, 150]),
), max_size=12)
"""(what happens, to which series, buckets that pass before)"""


class Clock:
    def __init__(self) -> None:
        self.now = NOW / 1000

    def __call__(self) -> float:
        return self.now


@settings(max_examples=60)
@given(steps)
def test_as_plain_counting(steps: list[tuple[int, list[int], int]]) -> None:
    head = Head(Windows(LocalFileSystem(), Path("/nowhere"), read_only=True))
    series = [{"A": "before", "__name__": f"m{n % 4}", "n": str(n)} for n in range(10)] + [{"n": "x"}, {"n": "y"}]
    batch = make_batch(head.table.secret, series, [])
    rows, _ = head.table.resolve(batch)
    head.table.create(batch.row_hash, batch.keys, batch.row_offset, batch.row_length, rows)
    clock = Clock()
    churn = Churn(clock)
    happened: list[tuple[int, int, str]] = []
    bucket = 0
    for kind, places, passed in steps:
        bucket += passed
        clock.now += passed * BUCKET_S
        churn.count(head.table, rows[places], kind)
        happened += [(bucket, kind, f"m{n % 4}") for n in places if n < 10]
        for length in (HOUR, DAY):
            counts = Counter((kind, name) for at, kind, name in happened if at > bucket - length)
            expected = {name: (counts[CREATED, name], counts[REMOVED, name]) for _, name in counts}
            found = churn.top(10, length)
            assert {each.metric: (each.created, each.removed) for each in found} == expected
            assert [(-each.total, each.metric) for each in found] == sorted(
                (-sum(counts), name) for name, counts in expected.items())


def test_of_very_many_metrics_those_that_churn_most_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 64)
    monkeypatch.setattr(module, "PLACES", 128)
    head = Head(Windows(LocalFileSystem(), Path("/nowhere"), read_only=True))
    series = [{"__name__": f"m{n}"} for n in range(500)] + [{"__name__": "é" * 300}]
    batch = make_batch(head.table.secret, series, [])
    rows, _ = head.table.resolve(batch)
    head.table.create(batch.row_hash, batch.keys, batch.row_offset, batch.row_length, rows)
    churn = Churn(Clock())
    for first in range(0, 500, 20):
        churn.count(head.table, rows[first : first + 20], CREATED)
        churn.count(head.table, rows[[3, 3, 7, 500]], REMOVED)
    found = churn.top(4, DAY)
    assert [(each.metric, each.total) for each in found[:2]] == [("m3", 51), ("m7", 26)]
    assert found[2].metric == "é" * 100 + "…"
    assert found[2].total == 25
    assert len(churn.top(1000, DAY)) < 64


def test_what_a_storage_counts(tmp_path: Path) -> None:
    def write(storage: Storage, count: int) -> None:
        series = [{"__name__": "m", "n": str(n)} for n in range(count)] + [{"__name__": "other"}]
        samples = [(row, NOW + count, bits(1.0)) for row in range(len(series))]
        assert storage.submit(make_batch(storage.secret, series, samples)).result(30).rejected == 0

    with closing(Storage.open(tmp_path)) as storage:
        write(storage, 3)
        write(storage, 3)
        assert [(each.metric, each.created, each.removed) for each in storage.churn(10).last_hour] == [
            ("m", 3, 0), ("other", 1, 0)]
    for clean in (True, False):
        if not clean:
            (tmp_path / "head" / "saved").unlink()
        with closing(Storage.open(tmp_path)) as storage:
            assert storage.churn(10).last_day == [], "a restart makes nothing new"
            write(storage, 4 if clean else 6)
            (churned,) = storage.churn(10).last_day
            assert (churned.metric, churned.created) == ("m", 1 if clean else 2)
