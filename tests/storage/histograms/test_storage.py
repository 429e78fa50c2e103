"""Histograms in a storage: from a batch to a tile, beside floats, late ones, and over restarts."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from unittest.mock import patch

import numpy as np
import pytest

from tests.storage.batches import FOREVER, everything, make_batch
from tests.storage.histograms.payload import Value, plain, some_histogram, with_payload
from tests.storage.simulator.stepped import FOLDER, NOW_S, open_storage, step, stepped
from tests.wal.simulated import SimulatedFileSystem
from tsdb.model.batch import ACCEPTED, DUPLICATE, OUT_OF_ORDER, STALE_NAN, Batch
from tsdb.model.context import RequestContext
from tsdb.model.errors import StorageError, Unavailable
from tsdb.model.matchers import Matcher, MatchType
from tsdb.model.native_histograms import BOX, NORMAL_NAN, NativeHistogram, ResetHint, boxed
from tsdb.model.tiles import Selection
from tsdb.storage import Storage, StorageOptions
from tsdb.storage.appender import Waiting
from tsdb.storage.head.layout import WINDOW_MS

SERIES = [{"__name__": "requests", "n": str(n)} for n in range(4)]
START = int(NOW_S * 1000) // WINDOW_MS * WINDOW_MS - 8 * WINDOW_MS
MINUTE, HOUR = 60_000, 3_600_000
LATE = StorageOptions(late_window_ms=10 * WINDOW_MS, wal_sync="commit")
Sample = tuple[int, int, Value]


def batch_of(storage: Storage, samples: Sequence[Sample]) -> Batch:
    values, payload = with_payload([value for _, _, value in samples])
    batch = make_batch(storage.secret, SERIES, [(row, ts, 0) for row, ts, _ in samples])
    batch.values, batch.payload = values, payload if payload.size else None
    return batch


def submit(storage: Storage, samples: Sequence[Sample]) -> list[int]:
    codes: list[int] = storage.submit(batch_of(storage, samples)).result(10).codes.tolist()
    return codes


def read(storage: Storage, mint: int = -FOREVER, maxt: int = FOREVER) -> dict[int, list[tuple[int, Value]]]:
    found: dict[int, list[tuple[int, Value]]] = {}
    with storage.capture([Selection(everything(), mint, maxt)], RequestContext()) as capture:
        selected = capture.selected[0]
        for index in range(len(selected.tile_rows) - 1):
            tile = selected.tile(index)
            for row in range(tile.rows):
                number = int(selected.series.labels(tile.first_row + row)["n"])
                own = slice(int(tile.begin[row]), int(tile.end[row]))
                if own.start < own.stop:
                    values = plain(tile.values[own].view(np.uint64), tile.payload)
                    found[number] = list(zip(tile.ts[own].tolist(), values, strict=True))
    return found


def warnings(storage: Storage, mint: int, maxt: int) -> list[str]:
    with storage.capture([Selection(everything(), mint, maxt)], RequestContext()) as capture:
        return list(capture.warnings)


@dataclass
class World:
    """A storage, and what is in it."""

    fs: SimulatedFileSystem = field(default_factory=lambda: SimulatedFileSystem(chance=random.Random(7)))
    options: StorageOptions = LATE
    expected: dict[int, dict[int, Value]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.storage = open_storage(self.fs, self.options)

    def add(self, samples: Sequence[Sample]) -> None:
        assert submit(self.storage, samples) == [ACCEPTED] * len(samples)
        for row, ts, value in samples:
            self.expected.setdefault(row, {}).setdefault(ts, value)

    def check(self) -> None:
        assert read(self.storage) == {row: sorted(samples.items()) for row, samples in self.expected.items()}

    def kill(self) -> None:
        self.fs = self.fs.killed()
        self.storage = open_storage(self.fs, self.options)

    def cut_power(self) -> None:
        self.fs = self.fs.power_cut()
        self.storage = open_storage(self.fs, self.options)

    def restart(self) -> None:
        self.storage.close()
        self.storage = open_storage(self.fs, self.options)


@pytest.fixture
def world() -> Iterator[World]:
    with stepped(1):
        yield World()


def fill(world: World, *, minutes: int = 150, late: bool = True) -> None:
    """Over a border of windows, so that chunks are sealed: one series of histograms, one of both kinds, one of
    floats."""
    for minute in range(minutes):
        ts = START + minute * MINUTE
        both: Value = some_histogram(minute) if minute % 3 else minute
        every: list[Sample] = [(0, ts, some_histogram(minute, 1 + minute % 5)), (1, ts, both), (2, ts, minute)]
        world.add(every)
    if late:
        out_of_order: list[Sample] = [
            (row, START + minute * MINUTE + 7, some_histogram(minute, 2) if row else minute)
            for minute in range(20) for row in (0, 1, 3)]
        world.add(out_of_order)


def test_what_is_sent_is_there(world: World) -> None:
    world.add([(0, START, some_histogram(1)), (0, START + 1, 7), (0, START + 2, STALE_NAN),
               (0, START + 3, some_histogram(2)), (1, START, 1)])
    world.check()


@pytest.mark.parametrize("how", [World.kill, World.cut_power, World.restart])
def test_over_restarts(world: World, how: Callable[[World], None]) -> None:
    fill(world)
    world.check()
    for _ in range(2):
        how(world)
        world.check()
        last = max(max(samples) for samples in world.expected.values())
        world.add([(0, last + MINUTE, some_histogram(9)), (1, last + MINUTE, some_histogram(8)),
                   (3, START + 5, some_histogram(3)), (2, last + MINUTE, 5)])
        world.expected[3][START + 5] = some_histogram(3)
        world.check()


def test_what_is_there_already(world: World) -> None:
    one, other = some_histogram(1), some_histogram(2)
    hinted = NativeHistogram(one.schema, one.sum, one.count, zero_count=0, positive_spans=one.positive_spans,
                             positive=one.positive, hint=ResetHint.RESET)
    world.add([(0, START, one), (1, START, 5)])
    again: list[Sample] = [(0, START, one), (0, START, other), (0, START, hinted), (0, START, 5), (1, START, one),
                           (1, START, 5)]
    for time in range(2):
        assert submit(world.storage, again) == [ACCEPTED, DUPLICATE, ACCEPTED, DUPLICATE, DUPLICATE, ACCEPTED]
        if time == 0:
            world.kill()
    ts = START + MINUTE
    assert submit(world.storage, [(0, ts, other), (0, ts, other), (0, ts, one), (0, ts, 1)]) == [
        ACCEPTED, ACCEPTED, DUPLICATE, DUPLICATE]
    world.expected[0][ts] = other
    world.check()
    counters = world.storage._appender
    assert counters is not None
    found = counters.counters.histograms
    assert (found.samples, found.late, found.rejected[DUPLICATE]) == (1, 0, 3)


def test_others_of_the_commit_outdo(world: World) -> None:
    """A sample that would be taken alone."""
    world.options = StorageOptions()
    world.restart()
    world.add([(0, START, some_histogram(1))])
    found = world.storage.submit(batch_of(world.storage, [
        (0, START + 2, some_histogram(3)), (0, START, some_histogram(1)), (0, START, some_histogram(2)),
        (0, START + 1, some_histogram(2))])).result(1)
    assert found.codes.tolist() == [ACCEPTED, OUT_OF_ORDER, OUT_OF_ORDER, OUT_OF_ORDER]
    assert found.outdone == 2


def test_batches_of_one_commit_keep_their_histograms(world: World) -> None:
    appender = world.storage._appender
    assert appender is not None
    values: list[Value] = [some_histogram(1), 7, some_histogram(2), some_histogram(3)]
    batches = [batch_of(world.storage, [(row, START + row, value)]) for row, value in enumerate(values)]
    appender._commit([Waiting(Future(), batch) for batch in batches])
    assert read(world.storage) == {row: [(START + row, value)] for row, value in enumerate(values)}


def test_floats_that_look_like_histograms(world: World) -> None:
    """They become the usual NaN."""
    world.add([(0, START, BOX | 77), (1, START, 0xFFFF_FFFF_FFFF_FFFF), (2, START, 0xFFF8_0000_0000_0000)])
    world.expected[0][START] = world.expected[1][START] = NORMAL_NAN
    for _ in range(2):
        world.check()
        world.kill()


def test_a_value_that_leads_nowhere_is_an_error_of_the_sender(world: World) -> None:
    batch = batch_of(world.storage, [(0, START, some_histogram(1))])
    batch.values[0] = boxed(3)
    with pytest.raises(ValueError, match="sample 0 leads to no histogram"):
        world.storage.submit(batch)


def test_a_full_disk(world: World) -> None:
    """Nothing of the request is kept, and all goes on when there is room."""
    world.add([(0, START, some_histogram(1))])
    room = world.fs.capacity
    world.fs.capacity = room - world.fs.room_left() + 1000
    many: list[Sample] = [(0, START + 1 + n, some_histogram(n, 40)) for n in range(400)]
    with pytest.raises(Unavailable):
        submit(world.storage, many)
    world.check()
    world.fs.capacity = room
    world.add(many)
    world.check()
    world.kill()
    world.check()


@pytest.mark.parametrize("late", [False, True])
def test_a_damaged_histogram_is_left_out_and_comes_from_the_log(world: World, late: bool) -> None:
    fill(world, late=late)
    path = next(path for path in world.fs.paths() if path.parent.name == "histograms")
    notices: list[str] = []
    world.storage.follow_damage(lambda texts: notices.__setitem__(slice(None), texts))
    assert warnings(world.storage, 0, 1 << 60) == []
    for at in (5000, 5001, 9000):
        world.fs.flip(path, 8 * at)
    for _ in range(2):
        found = read(world.storage)
        lost = [(row, ts) for row, samples in world.expected.items() for ts, value in samples.items()
                if (ts, value) not in found.get(row, [])]
        assert 1 <= len(lost) <= 3
        assert all(sample in world.expected[row].items() for row, samples in found.items() for sample in samples)
        first, last = min(ts for _, ts in lost), max(ts for _, ts in lost)
        (warning,) = warnings(world.storage, last, last)
        assert "may be missing: histograms/00000001 was found damaged" in warning and "a restart" in warning
        assert warnings(world.storage, last + 1, 1 << 60) == warnings(world.storage, 0, first - 1) == []
        assert world.storage.statistics().damaged <= 3 and "file of histograms (1: " in notices[0]
    world.restart()
    world.check()
    assert warnings(world.storage, 0, 1 << 60) == []


def test_files_go_when_their_samples_are_in_blocks(world: World) -> None:
    """Those of late samples, too; what is newer stays."""
    fill(world)
    step(world.storage)
    newest = max(max(samples) for samples in world.expected.values())
    for hour in range(1, 6):
        world.add([(0, newest + hour * HOUR, some_histogram(hour))])
        step(world.storage)
        world.check()
    files = [path for path in world.fs.paths() if path.parent.name == "histograms"]
    assert 0 < len(files) < 4, "of the last hours"
    world.storage.compact()
    assert not [path for path in world.fs.paths() if path.parent.name == "histograms"]
    world.check()
    world.add([(0, newest + 6 * HOUR, some_histogram(1))])
    for how in (World.kill, World.restart, World.cut_power):
        how(world)
        world.check()


def test_a_capture_keeps_what_it_looks_at(world: World) -> None:
    """Although the files go meanwhile."""
    fill(world, late=False)
    with world.storage.capture([Selection(everything(), -FOREVER, FOREVER)], RequestContext()) as capture:
        tile_before = capture.selected[0].tile(0)
        world.storage.compact()
        assert not [path for path in world.fs.paths() if path.parent.name == "histograms"]
        tile = capture.selected[0].tile(0)
        assert tile.payload is not None and tile_before.payload is not None
        assert tile.payload.tobytes() == tile_before.payload.tobytes()


def test_a_reader_beside_the_writer(world: World) -> None:
    fill(world)
    reader = Storage.open(FOLDER, fs=world.fs, read_only=True)
    assert read(reader) == {row: sorted(samples.items()) for row, samples in world.expected.items()}
    reader.close()
    world.check()


def test_a_window_that_is_over_and_lacks_histograms(world: World) -> None:
    """The log does not have them any more: what is sound is served, with a warning."""
    fill(world, late=False)
    last = START + 150 * MINUTE
    world.add([(row, last + 3 * HOUR, some_histogram(1)) for row in (0, 1, 2)])
    with patch("tsdb.storage.upkeep.cutting.Cutting.cut_windows", side_effect=StorageError("on purpose")):
        step(world.storage)
    assert any(window.complete for window in world.storage._head.windows.every)
    path = next(path for path in world.fs.paths() if path.parent.name == "histograms")
    world.fs.flip(path, 8 * 3000)
    world.kill()
    found = read(world.storage)
    assert found[2] == sorted(world.expected[2].items())
    for row, samples in found.items():
        assert all(world.expected[row][ts] == value for ts, value in samples)
    assert len(found[0]) + len(found[1]) < len(world.expected[0]) + len(world.expected[1])
    with world.storage.capture([Selection(everything(), -FOREVER, FOREVER)], RequestContext()) as capture:
        assert any("may be missing" in warning for warning in capture.warnings)


def test_a_head_is_saved_in_the_older_format_where_it_has_no_histograms(world: World) -> None:
    world.add([(0, START, 1)])
    for version in (1, 2):
        world.storage.close()
        assert world.fs.content(FOLDER / "head" / "saved")[8] == version
        world.storage = open_storage(world.fs, LATE)
        assert world.storage.opened.clean
        world.add([(0, START + version, some_histogram(1))])


def test_late_histograms_that_were_deleted_keep_no_file(world: World) -> None:
    world.add([(0, START, some_histogram(1)), (1, START, some_histogram(1))])
    world.add([(1, START - HOUR, some_histogram(2))])
    world.storage.delete_series([[Matcher(MatchType.EQUAL, "n", "1")]], START - HOUR, START - HOUR)
    del world.expected[1][START - HOUR]
    assert world.storage._head.late.empty
    world.restart()
    world.check()
    world.storage.compact()
    assert not world.storage._head.payloads.every
    world.check()
