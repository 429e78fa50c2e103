"""The maintenance by itself: windows become blocks, blocks larger ones, and what cannot wait is done meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.processes import wait_until
from tests.storage.batches import make_batch, read
from tsdb.model.errors import ReadOnly, Unavailable
from tsdb.storage import Storage, StorageOptions
from tsdb.storage.head.windows import Window

HOUR = 3_600_000
START = 1_600_000_000_000 // (6 * HOUR) * 6 * HOUR
SERIES = [{"__name__": "m", "host": f"h{i}"} for i in range(5)]


def fill(storage: Storage, hours: int) -> dict[tuple[tuple[str, str], ...], list[tuple[int, int]]]:
    """Every ten minutes, one batch after the other."""
    times = range(START, START + hours * HOUR, HOUR // 6)
    for ts in times:
        batch = make_batch(storage.secret, SERIES, [(row, ts + row, ts % (row + 2)) for row in range(5)])
        assert storage.submit(batch).result(10).accepted == 5
    return {tuple(sorted(labels.items())): [(ts + row, ts % (row + 2)) for ts in times]
            for row, labels in enumerate(SERIES)}


def test_the_head_becomes_blocks(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    expected = fill(storage, 11)
    wait_until(lambda: storage.statistics().upkeep.blocks_made == 5, "four blocks of two hours, three of them one")
    assert [(block.meta.maxt - block.meta.mint) // HOUR for block in storage._blocks.every] == [6, 2]
    assert read(storage) == expected
    wait_until(lambda: storage.statistics().windows == 2, "the head gives up the windows of the blocks")
    statistics = storage.statistics()
    assert statistics.upkeep.blocks == 2
    assert statistics.lowest_ts == START
    assert statistics.min_ts == START + 8 * HOUR
    assert len(list((tmp_path / "chunks").iterdir())) == 2
    with pytest.raises(ReadOnly):
        beside = Storage.open(tmp_path, read_only=True)
        assert read(beside) == expected
        beside.compact()
    beside.close()
    chunks = storage.statistics().chunks
    storage.compact()
    assert (statistics.upkeep.blocks, read(storage)) == (2, expected)
    after = storage.statistics()
    assert after.chunks_removed - statistics.chunks_removed == chunks, "each series has one in each window"
    assert after.upkeep.log_truncations > statistics.upkeep.log_truncations > 0
    assert after.upkeep.log_truncation_seconds.count == after.upkeep.log_truncations
    storage.clean_tombstones()
    assert storage.statistics().upkeep.cleaning_seconds.counts == [1]
    assert list((tmp_path / "chunks").iterdir()) == []
    storage.close()
    storage = Storage.open(tmp_path)
    assert read(storage) == expected
    assert storage.submit(make_batch(storage.secret, SERIES, [(0, START + 12 * HOUR, 1)])).result(10).accepted == 1
    storage.close()


def test_samples_beside_the_cutting_make_no_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The windows that are being cut get no more chunks, so nothing is made for any."""
    storage = Storage.open(tmp_path)
    maintenance = storage._maintenance
    assert maintenance is not None
    begun, go_on = threading.Event(), threading.Event()
    cut = maintenance.cutting._cut

    def slow(window: Window) -> None:
        begun.set()
        go_on.wait(30)
        cut(window)

    monkeypatch.setattr(maintenance.cutting, "_cut", slow)
    fill(storage, 4)
    assert begun.wait(30)
    batch = make_batch(storage.secret, SERIES, [(row, START + 4 * HOUR + row, 1) for row in range(5)])
    assert storage.submit(batch).result(10).accepted == 5
    go_on.set()
    wait_until(lambda: storage.statistics().upkeep.blocks == 1, "the window is cut")
    wait_until(lambda: storage.statistics().windows == 2, "the head gives it up")
    assert sorted(path.name for path in (tmp_path / "chunks").iterdir()) == [
        f"{START + 2 * HOUR}.chunks", f"{START + 4 * HOUR}.chunks"]
    storage.close()


def test_long_compactions_pause_for_what_cannot_wait(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path, StorageOptions(wal_sync="os"))
    maintenance = storage._maintenance
    assert maintenance is not None
    done: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def compaction() -> None:
        begun.set()
        go_on.wait(10)
        maintenance.pause()
        done.append("compacted")

    long = maintenance.do(compaction)
    begun.wait(10)
    expected = fill(storage, 4)
    short = maintenance.do(lambda: done.append("asked for"))
    go_on.set()
    long.result(10)
    short.result(10)
    assert done == ["asked for", "compacted"]
    assert len(storage._blocks.every) == 1, "a window was over"
    assert read(storage) == expected

    begun.clear()
    go_on.clear()
    long = maintenance.do(compaction)
    begun.wait(10)
    closing = threading.Thread(target=storage.close)
    closing.start()
    wait_until(maintenance._stop.is_set, "it is told to end")
    go_on.set()
    with pytest.raises(Unavailable):
        long.result(10)
    closing.join(10)


@pytest.mark.parametrize("pauses", range(0, 12, 2))
def test_it_is_told_to_end_while_everything_is_compacted(tmp_path: Path, pauses: int,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    """At any of its pauses; nothing is lost, and the next start goes on where this one ended."""
    storage = Storage.open(tmp_path, StorageOptions(late_window_ms=24 * HOUR))
    maintenance = storage._maintenance
    assert maintenance is not None
    expected = fill(storage, 5)
    late = make_batch(storage.secret, SERIES, [(0, START - HOUR, 7), (1, START - 5 * HOUR, 8)])
    assert storage.submit(late).result(10).accepted == 2
    for row, ts, value in ((0, START - HOUR, 7), (1, START - 5 * HOUR, 8)):
        expected[tuple(sorted(SERIES[row].items()))].insert(0, (ts, value))
    passed = threading.Semaphore(pauses)
    stop = maintenance._stop

    def is_set() -> bool:
        if threading.current_thread() is maintenance._thread and not passed.acquire(blocking=False):
            stop.set()
        return threading.Event.is_set(stop)

    monkeypatch.setattr(stop, "is_set", is_set)
    with pytest.raises(Unavailable, match="shutting down"):
        storage.compact()
    assert read(storage) == expected
    storage.close()
    storage = Storage.open(tmp_path)
    assert storage.opened.clean and read(storage) == expected
    storage.compact()
    assert read(storage) == expected and storage.statistics().windows == 0
    storage.close()


def test_who_asks_after_it_has_ended(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    expected = fill(storage, 1)
    storage.end_upkeep()
    for ask in (storage.compact, storage.snapshot, storage.clean_tombstones):
        with pytest.raises(Unavailable, match="shutting down"):
            ask()
    assert storage.submit(make_batch(storage.secret, SERIES, [(0, START + HOUR, 1)])).result(10).accepted == 1
    expected[tuple(sorted(SERIES[0].items()))].append((START + HOUR, 1))
    assert read(storage) == expected
    storage.close()
