"""The log on real files: what goes in comes out again."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.wal.collector import Collector, sample_columns, series_columns
from tsdb.model.batch import Metadata
from tsdb.model.errors import ReadOnly, Unavailable
from tsdb.wal import LocalFileSystem, Sync, Wal, WalOptions
from tsdb.wal.replay import Replayed

FAMILY = Metadata("up", "gauge", "Is it up?", "")


def opened(path: Path, options: WalOptions | None = None, *, border: int | None = None,
           read_only: bool = False) -> tuple[Wal, Collector, Replayed]:
    log = Wal.open(LocalFileSystem(), path / "wal", options, read_only=read_only)
    found = Collector(border)
    return log, found, log.replay(found)


@pytest.mark.parametrize("options", [WalOptions("commit"), WalOptions("interval", 0.01), WalOptions("os")], ids=str)
def test_what_was_appended_comes_back_in_order(tmp_path: Path, options: WalOptions) -> None:
    log, found, _ = opened(tmp_path, options)
    assert found == Collector(told=[(0, 0)])
    log.append(series=series_columns({7: b"seven", 9: b""}), samples=sample_columns([(7, 1000, 1), (9, -5, 1 << 63)]))
    log.append(metadata=[FAMILY])
    log.append()
    log.append(samples=sample_columns([(9, 2000, 0x7FF0000000000002), (7, 1500, 0)]))
    for _ in range(2):
        log.close()
        log, found, _ = opened(tmp_path, options)
        assert found.keys == {7: b"seven", 9: b""}
        assert found.samples_of == {7: [(1000, 1), (1500, 0)], 9: [(-5, 1 << 63), (2000, 0x7FF0000000000002)]}
        assert found.rows == [FAMILY]
        assert found.told[-1][0] == found.told[-1][1] > 0
    log.close()


def test_read_only_beside_a_writer(tmp_path: Path) -> None:
    writer, _, _ = opened(tmp_path)
    writer.append(samples=sample_columns([(1, 1, 1)]))
    reader, found, _ = opened(tmp_path, read_only=True)
    assert found.samples_of == {1: [(1, 1)]}
    with pytest.raises(ReadOnly):
        reader.append(samples=sample_columns([(1, 2, 2)]))
    reader.close()
    writer.append(samples=sample_columns([(1, 2, 2)]))
    writer.close()
    assert opened(tmp_path, read_only=True)[1].samples_of == {1: [(1, 1), (2, 2)]}


def test_segments_that_a_checkpoint_stands_for_are_dropped(tmp_path: Path) -> None:
    options = WalOptions(segment_bytes=200)
    log, _, _ = opened(tmp_path, options)
    log.append(series=series_columns({1: b"one", 2: b"two"}))
    for ts in range(0, 1000, 10):
        log.append(samples=sample_columns([(1, ts, ts), (2, ts + 5, ts)]))
    with pytest.raises(ValueError, match="without a checkpoint"):
        log.drop_through(1)
    assert log.covered_segment(-1) == 0
    through = log.covered_segment(500)
    assert 1 < through < log.statistics().segment
    pieces = [series_columns({1: b"one"}), series_columns({2: b"two"})]
    log.write_checkpoint(through, pieces, [FAMILY], {"x": [1, b"2"]})
    log.append(series=series_columns({3: b"three"}), samples=sample_columns([(3, 1000, 3)]))
    log.drop_through(through)
    assert log.statistics().dropped_segments == through
    log.close()

    log, found, replayed = opened(tmp_path, options)
    assert not replayed.damage
    assert replayed.checkpoint == through
    assert found.keys == {1: b"one", 2: b"two", 3: b"three"}
    assert found.rows == [FAMILY]
    assert found.sections == {"x": [1, b"2"]}
    first = found.samples_of[1][0][0]
    assert 0 < first <= 500
    assert found.samples_of[1] == [(ts, ts) for ts in range(first, 1000, 10)]
    assert log.covered_segment(500) == through
    through = log.covered_segment(5000)
    log.write_checkpoint(through, [])
    log.drop_through(through)
    log.close()
    assert [path.name for path in sorted((tmp_path / "wal").iterdir())][-1] == f"checkpoint.{through:08d}"
    _, found, replayed = opened(tmp_path, options, read_only=True)
    assert (found.keys, found.samples_of, replayed.damage) == ({}, {}, [])


def test_the_timer_syncs(tmp_path: Path) -> None:
    log, _, _ = opened(tmp_path, WalOptions("interval", sync_interval_s=0.005))
    log.append(samples=sample_columns([(1, 1, 1)]))
    deadline = time.monotonic() + 30
    while log.statistics().sync_seconds.read().count == 0:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    log.close()
    with pytest.raises(Unavailable, match="closed"):
        log.append(samples=sample_columns([(1, 2, 2)]))


@pytest.mark.parametrize("mode", ["commit", "interval", "os"])
def test_appends_of_several_threads_beside_rotation_and_syncs(tmp_path: Path, mode: Sync) -> None:
    log, _, _ = opened(tmp_path, WalOptions(mode, sync_interval_s=0.001, segment_bytes=2000, unsynced_bytes=500))

    def write(ref: int) -> None:
        for ts in range(60):
            log.append(series=series_columns({ref: b"%d" % ref}) if ts == 0 else None,
                       samples=sample_columns([(ref, ts, ts * ref), (ref + 100, ts, ts)]))

    with ThreadPoolExecutor(4) as threads:
        writers = [threads.submit(write, ref) for ref in (1, 2, 3)]
        while not all(writer.done() for writer in writers):
            assert log.covered_segment(0) == 0
            log.sync()
        for writer in writers:
            writer.result()
    assert log.statistics().commits == 180
    log.close()
    _, found, replayed = opened(tmp_path)
    assert (replayed.damage, replayed.torn) == ([], 0)
    assert found.keys == {ref: b"%d" % ref for ref in (1, 2, 3)}
    assert found.samples_of == {ref + more: [(ts, ts * (1 if more else ref)) for ts in range(60)]
                                for ref in (1, 2, 3) for more in (0, 100)}


def test_records_before_the_border_are_skipped(tmp_path: Path) -> None:
    log, _, _ = opened(tmp_path)
    for ts in (10, 20, 30):
        log.append(samples=sample_columns([(1, ts, 1), (2, ts - 5, 1)]))
    log.close()
    _, found, replayed = opened(tmp_path, border=25, read_only=True)
    assert found.samples_of == {1: [(30, 1)], 2: [(25, 1)]}
    assert (replayed.samples, replayed.skipped) == (2, 4)


def test_late_samples_keep_their_segments_until_they_are_in_blocks(tmp_path: Path) -> None:
    log, _, _ = opened(tmp_path)
    log.append(samples=sample_columns([(1, 10, 1)]), late=sample_columns([(1, 900, 2), (2, 5, 3)]))
    assert log.begin_segment() == 1
    log.append(samples=sample_columns([(1, 20, 4)]), late=sample_columns([(2, 6, 5)]))
    assert log.covered_segment(100) == 0
    assert log.covered_segment(100, 1) == 1
    assert log.covered_segment(20, 2) == 1
    assert log.covered_segment(100, 2) == 2
    log.close()
    for through, late in ((0, {1: [(900, 2)], 2: [(5, 3), (6, 5)]}), (1, {2: [(6, 5)]}), (2, {})):
        found = Collector(late_through=through)
        replayed = Wal.open(LocalFileSystem(), tmp_path / "wal", read_only=True).replay(found)
        assert found.late_of == late
        assert found.samples_of == {1: [(10, 1), (20, 4)]}
        assert [(segment.late, segment.max_ts) for segment in replayed.segments[:2]] == [(True, 10), (True, 20)]
