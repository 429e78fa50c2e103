"""Retention: whole blocks and windows go once they are too old or too much, and stay gone."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.processes import wait_until
from tests.storage.batches import FOREVER, bits, everything, make_batch, read
from tsdb.model.context import RequestContext
from tsdb.model.tiles import Selection
from tsdb.storage import Storage, StorageOptions
from tsdb.storage.upkeep.retention import Piece, Retention, too_many, too_old

HOUR = 3_600_000
SERIES = [{"__name__": "m", "host": f"h{i}"} for i in range(5)]
PIECES = [Piece(50, 100), Piece(70, 100, may_go=False), Piece(60, 100), Piece(60, 100)]


@pytest.mark.parametrize(("time_ms", "newest", "gone"), [
    (0, 10**9, []),
    (100, 150, [0]),  # 150 - 50 is not below 100
    (100, 149, []),
    (1, 1000, [0, 2, 3]),
])
def test_what_is_too_old(time_ms: int, newest: int, gone: list[int]) -> None:
    assert too_old(PIECES, newest, time_ms) == gone


@pytest.mark.parametrize(("most_bytes", "gone"), [
    (410, []),  # four pieces and 10 bytes of the log
    (409, [0]),
    (300, [0, 2]),
    (1, [0, 2, 3]),
    (0, []),
])
def test_what_is_too_much(most_bytes: int, gone: list[int]) -> None:
    assert too_many(PIECES, 10, most_bytes) == gone


def test_a_part_of_the_disk_is_a_limit_of_size() -> None:
    assert Retention(size_bytes=5).most_bytes(1000) == 5
    assert Retention(size_bytes=5, percentage=12.5).most_bytes(1000) == 125


def test_old_samples_go_and_stay_gone(tmp_path: Path) -> None:
    options = StorageOptions(retention_ms=24 * HOUR)
    storage = Storage.open(tmp_path, options)
    end = int(time.time() * 1000)
    times = range(end - 72 * HOUR, end, HOUR // 4)
    submitted = [storage.submit(make_batch(storage.secret, SERIES, [(row, ts, bits(row)) for row in range(5)]))
                 for ts in times]
    submitted[200].result(10)
    everything_from_the_start = Selection(everything(), -FOREVER, FOREVER)
    reader = storage.capture([everything_from_the_start], RequestContext())

    def oldest() -> int:
        return min(samples[0][0] for samples in read(storage).values())

    wait_until(lambda: oldest() > times[-1] - 27 * HOUR, "what is older than a day and a block is deleted")
    selected = reader.selected[0]
    assert len(selected.series) == 5 and selected.tile(0).ts.size > 0, "a reader keeps its bytes"
    reader.close()
    kept = read(storage)
    assert len(kept) == 5
    for samples in kept.values():
        assert samples[0][0] < times[-1] - 20 * HOUR
        assert [ts for ts, _ in samples] == [ts for ts in times if ts >= samples[0][0]], "no other sample is missing"
    storage.close()
    storage = Storage.open(tmp_path, options)
    assert read(storage) == kept, "the log does not bring back what was dropped"
    storage.submit(make_batch(storage.secret, SERIES, [(0, end, 1)])).result(10)
    storage.set_retention(Retention(2 * HOUR))
    wait_until(lambda: oldest() > end - 7 * HOUR, "a shorter retention acts at once")
    assert read(storage)[tuple(sorted(SERIES[0].items()))][-1] == (end, 1)
    storage.close()
