"""Retention: whole windows go once they are too old or too much, and stay gone."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import wait_until
from tests.storage.batches import FOREVER, bits, everything, make_batch, read
from tsdb.model.context import RequestContext
from tsdb.model.tiles import Selection
from tsdb.storage import Storage, StorageOptions
from tsdb.storage.head.layout import WINDOW_MS
from tsdb.storage.upkeep.retention import Retention

HOUR = 3_600_000
SERIES = [{"__name__": "m", "host": f"h{i}"} for i in range(5)]


@dataclass
class Window:
    maxt: int
    used: int = 100
    complete: bool = True


@pytest.mark.parametrize(
    ("retention", "newest", "expired"),
    [
        (Retention(), 10**9, 0),
        (Retention(time_ms=100), 150, 1),  # 150 - 50 is not below 100
        (Retention(time_ms=100), 149, 0),
        (Retention(time_ms=1), 1000, 2),  # the last one is not complete
        (Retention(size_bytes=310), 0, 0),  # three windows and 10 bytes of log
        (Retention(size_bytes=309), 0, 1),
        (Retention(size_bytes=1), 0, 2),
        (Retention(time_ms=100, size_bytes=250), 150, 1),
    ],
)
def test_which_windows_go(retention: Retention, newest: int, expired: int) -> None:
    windows = [Window(50), Window(60), Window(70, complete=False)]
    assert retention.expired(windows, newest, 10) == expired


def test_old_windows_go_and_stay_gone(tmp_path: Path) -> None:
    options = StorageOptions(retention_ms=24 * HOUR)
    storage = Storage.open(tmp_path, options)
    end = int(time.time() * 1000)
    first = end - 72 * HOUR
    times = range(first, end, HOUR // 4)
    submitted = [storage.submit(make_batch(storage.secret, SERIES, [(row, ts, bits(row)) for row in range(5)]))
                 for ts in times]
    submitted[200].result(10)
    everything_from_the_start = Selection(everything(), -FOREVER, FOREVER)
    reader = storage.capture([everything_from_the_start], RequestContext())
    files = tmp_path / "chunks"

    def oldest_file() -> int:
        return min((int(path.stem) for path in files.glob("*.chunks")), default=0)

    wait_until(lambda: oldest_file() + WINDOW_MS > times[-1] - 24 * HOUR, "windows older than a day are deleted")
    selected = reader.selected[0]
    assert len(selected.series) == 5 and selected.tile(0).ts.size > 0, "a reader keeps its bytes"
    reader.close()
    kept = read(storage)
    assert len(kept) == 5
    for samples in kept.values():
        assert samples[0][0] >= oldest_file() and samples[0][0] < times[-1] - 20 * HOUR
        assert [ts for ts, _ in samples] == [ts for ts in times if ts >= samples[0][0]], "no other sample is missing"
    storage.close()
    storage = Storage.open(tmp_path, options)
    # the segment of the log that is still written to has brought them back
    wait_until(lambda: read(storage) == kept, "what was dropped goes again")
    storage.submit(make_batch(storage.secret, SERIES, [(0, end, 1)])).result(10)
    storage.set_retention(2 * HOUR, 0)
    wait_until(lambda: oldest_file() + WINDOW_MS > end - 2 * HOUR - WINDOW_MS, "a shorter retention acts at once")
    assert read(storage)[tuple(sorted(SERIES[0].items()))][-1] == (end, 1)
    storage.close()
