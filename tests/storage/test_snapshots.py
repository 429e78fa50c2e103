"""Snapshots: they open, and have exactly what was there at one moment, whatever happens afterwards."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest

from tests.storage.batches import bits, everything, make_batch, read
from tests.storage.test_deletes import (
    DATA,
    HOUR,
    OPTIONS,
    START,
    Samples,
    add_block,
    contents,
    expected,
    job,
    number,
    write,
)
from tests.wal.simulated import Killed, SimulatedFileSystem
from tsdb.model.errors import ReadOnly
from tsdb.storage import Storage, StorageOptions
from tsdb.storage.appender import Appender
from tsdb.storage.upkeep.snapshots import FOLDER, Snapshots

BLOCK = [(n, START + i * 1000) for n in range(6) for i in range(9)]
HEAD = [(n, START + 9 * HOUR + 40 * 60_000 + i * 12_000) for i in range(200) for n in range(4)]
"""In two windows of which neither is over."""
LATE = [(1, START + 8 * HOUR), (2, START + 3 * HOUR)]


@pytest.fixture
def storage() -> Iterator[Storage]:
    opened = Storage.open(DATA, OPTIONS, fs=SimulatedFileSystem(capacity=64 << 20))
    assert opened._maintenance is not None
    opened._maintenance.cleaning = None
    yield opened
    opened.close()


def filled(storage: Storage) -> Samples:
    add_block(storage, BLOCK, START, START + 2 * HOUR)
    for at in range(0, len(HEAD), 100):
        write(storage, HEAD[at : at + 100])
    write(storage, LATE)
    storage.delete_series([number(0)], START + 3000, START + 10 * HOUR)
    return expected([(n, ts) for n, ts in BLOCK + HEAD + LATE
                     if n != 0 or not START + 3000 <= ts <= START + 10 * HOUR])


def opened(fs: SimulatedFileSystem, name: str) -> Storage:
    return Storage.open(DATA / FOLDER / name, OPTIONS, fs=fs)


def test_a_snapshot_has_everything_and_stays_as_it_is(storage: Storage) -> None:
    wanted = filled(storage)
    fs = cast(SimulatedFileSystem, storage._fs)
    name = storage.snapshot()
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{16}", name)
    assert contents(storage) == wanted
    write(storage, [(3, START + 20 * HOUR)])
    storage.delete_series([everything()], 0, 1 << 60)
    storage.clean_tombstones()
    assert contents(storage) == {}
    copy = opened(fs, name)
    assert contents(copy) == wanted
    write(copy, [(3, START + 21 * HOUR)])
    copy.delete_series([job("a")], 0, 1 << 60)
    left = {n: samples for n, samples in wanted.items() if n % 2}
    left[3] = [*left[3], (START + 21 * HOUR, bits((START + 21 * HOUR) / HOUR))]
    assert contents(copy) == left
    copy.close()
    copy = opened(fs, name)
    assert contents(copy) == left
    copy.close()


def test_without_the_head(storage: Storage) -> None:
    filled(storage)
    name = storage.snapshot(skip_head=True)
    copy = opened(cast(SimulatedFileSystem, storage._fs), name)
    in_blocks = [(n, ts) for n, ts in BLOCK if n != 0 or ts < START + 3000]
    assert contents(copy) in (expected(in_blocks), expected(in_blocks + LATE)), "late samples may be in a block by now"
    copy.close()


def test_of_nothing(storage: Storage) -> None:
    copy = opened(cast(SimulatedFileSystem, storage._fs), storage.snapshot())
    assert contents(copy) == {}
    copy.close()


def test_under_load_it_is_a_prefix_of_commits(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path, StorageOptions(wal_sync="os"))
    series = [{"__name__": "m", "n": str(n)} for n in range(50)]
    stop, told = threading.Event(), [0]

    def load() -> None:
        for i in range(1, 100_000):
            if stop.is_set():
                return
            batch = make_batch(storage.secret, series, [(n, START + i * 1000, i) for n in range(50)])
            assert storage.submit(batch).result(10).accepted == 50
            told[0] = i

    thread = threading.Thread(target=load)
    thread.start()
    found = []
    try:
        for _ in range(3):
            before = told[0]
            found.append((before, storage.snapshot()))
    finally:
        stop.set()
        thread.join()
        storage.close()
    for before, name in found:
        copy = Storage.open(tmp_path / FOLDER / name, read_only=True)
        samples = list(read(copy).values())
        copy.close()
        if before:
            assert len(samples) == 50
        assert all(each == samples[0] for each in samples), "a commit is there as a whole or not at all"
        values = [value for _, value in samples[0]] if samples else []
        assert values == list(range(1, len(values) + 1))
        assert len(values) >= before, "what was acknowledged before is there"


class Inline:
    """An appender that does it here."""

    def run_between_commits(self, work: Callable[[], None]) -> Future[None]:
        done: Future[None] = Future()
        work()
        done.set_result(None)
        return done


@pytest.mark.parametrize("cut", ["kill", "power"])
def test_whole_or_absent_whenever_the_process_dies(cut: str, storage: Storage) -> None:
    wanted = filled(storage)
    assert storage._maintenance is not None
    storage._maintenance.close()
    original = cast(SimulatedFileSystem, storage._fs).copy()
    for path in original.paths():
        if "blocks" not in path.parts:
            original.unlink(path)  # is in memory as well; copies are quicker without
    there, kill_at, done = set(), 0, False
    while not done:
        fs = original.copy().with_chance(kill_at)
        snapshots = Snapshots(fs, DATA, storage._head, storage._blocks, cast(Appender, Inline()))
        fs.kill_at = kill_at
        with suppress(Killed):
            snapshots.take()
            done = True
        after = fs.killed() if cut == "kill" else fs.power_cut()
        names = [name for name in after.listdir(DATA / FOLDER) if not name.endswith(".tmp")]
        assert len(names) <= 1
        there.add(len(names))
        if names:
            copy = opened(after, names[0])
            assert contents(copy) == wanted
            copy.close()
        Snapshots(after, DATA, storage._head, storage._blocks, cast(Appender, Inline())).remove_left()
        assert not [path for path in after.paths() if FOLDER in path.parts and ".tmp" in str(path)]
        kill_at += 1 if cut == "power" else 2
    assert there == {0, 1}


@pytest.mark.parametrize(("free", "message"), [(2000, "No space"), (200_000, "No space.*snapshot copies.*skip_head")])
def test_on_a_full_disk_nothing_is_left(storage: Storage, free: int, message: str, monkeypatch: pytest.MonkeyPatch,
                                        ) -> None:
    """Where little is left it is refused; where that was misjudged, what was written goes."""
    wanted = filled(storage)
    fs = cast(SimulatedFileSystem, storage._fs)
    before = [path for path in fs.paths() if "wal" not in path.parts]
    fs.capacity -= fs.room_left() - free
    if free == 2000:
        monkeypatch.setattr(Snapshots, "_check_room", lambda self: None)
    with pytest.raises(OSError, match=message):
        storage.snapshot()
    assert [path for path in fs.paths() if "wal" not in path.parts] == before
    assert contents(storage) == wanted


def test_a_disk_without_links(storage: Storage) -> None:
    wanted = filled(storage)
    fs = cast(SimulatedFileSystem, storage._fs)
    fs.faults = lambda _, operation: 18 if operation.name == "link" else None  # EXDEV
    copy = opened(fs, storage.snapshot())
    assert contents(copy) == wanted
    copy.close()


def test_not_read_only(tmp_path: Path) -> None:
    Storage.open(tmp_path).close()
    storage = Storage.open(tmp_path, read_only=True)
    with pytest.raises(ReadOnly):
        storage.snapshot()
    storage.close()
