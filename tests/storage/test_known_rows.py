"""Series that a sender remembers: no key, no lookup, and never a sample in another's series."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from tests.storage.batches import bits, make_batch, read
from tsdb.model.batch import DUPLICATE, KnownRows
from tsdb.model.errors import ForgottenSeries
from tsdb.storage import Storage

SERIES = [{"__name__": "m", "host": f"h{i}"} for i in range(4)]
NOBODY = KnownRows(np.zeros(0, np.int32), np.zeros(0, np.uint64))


def labels_of(row: int) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(SERIES[row].items()))


def test_what_the_appender_told_needs_no_key(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    now = int(time.time() * 1000)
    first = make_batch(storage.secret, SERIES[:2], [(0, now, 1), (1, now, 2)])
    first.known = NOBODY
    told = storage.submit(first).result(10).keyed
    assert told is not None and told.slot.tolist() == [0, 1] and (told.ref > 0).all()

    samples = [(1, now + 1, 3), (0, now + 1, 4), (2, now + 1, 5), (1, now + 1, 6)]
    second = make_batch(storage.secret, SERIES[2:], samples)
    second.known = told
    appended = storage.submit(second).result(10)
    assert appended.codes.tolist() == [0, 0, 0, DUPLICATE]
    assert appended.keyed is not None and appended.keyed.slot.tolist() == [2, -1]
    assert {labels: samples[-1][1] for labels, samples in read(storage).items()} == {
        labels_of(0): 4, labels_of(1): 3, labels_of(2): 5,
    }
    storage.close()


def test_a_series_that_has_left_refuses_the_whole_batch(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    now = int(time.time() * 1000)
    first = make_batch(storage.secret, SERIES, [(0, now, bits(1.0))])
    first.known = NOBODY
    told = storage.submit(first).result(10).keyed
    assert told is not None
    second = make_batch(storage.secret, SERIES[1:2], [(0, now + 1, 1), (1, now + 1, 2)])
    second.known = KnownRows(told.slot[:1], told.ref[:1] + np.uint64(1))
    beside = make_batch(storage.secret, SERIES[3:], [(0, now, 9)])
    futures = [storage.submit(second), storage.submit(beside)]
    with pytest.raises(ForgottenSeries):
        futures[0].result(10)
    assert futures[1].result(10).accepted == 1, "others of the same commit are written"
    assert read(storage) == {labels_of(0): [(now, bits(1.0))], labels_of(3): [(now, 9)]}
    storage.close()


def test_patient_batches_share_commits_and_none_is_left_behind(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    now = int(time.time() * 1000)
    batches = [make_batch(storage.secret, SERIES, [(row, now + step, step) for row in range(4)]) for step in range(300)]
    futures = [storage.submit(batch, patient=step % 7 > 0) for step, batch in enumerate(batches[:200])]
    assert all(len(future.result(10).codes) == 4 for future in futures)
    assert storage.statistics().commits < 150
    waiting = [storage.submit(batch, patient=True) for batch in batches[200:]]
    storage.close()
    assert [future.result(10).accepted for future in waiting] == [4] * 100, "closing commits what waits"


def test_more_patient_batches_than_a_commit_holds(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    now = int(time.time() * 1000)
    samples = [(row, now + step, step) for step in range(5000) for row in range(4)]
    later = [[(row, ts + at * 5000, value) for row, ts, value in samples] for at in range(12)]
    futures = [storage.submit(make_batch(storage.secret, SERIES, each), patient=True) for each in later]
    assert [future.result(30).accepted for future in futures] == [20_000] * 12
    assert storage.statistics().commits >= 3
    storage.close()
