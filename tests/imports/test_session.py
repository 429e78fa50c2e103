"""An import is once and whole, however often it is begun."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.storage.batches import bits, make_batch, read
from tests.storage.simulator.stepped import FOLDER, open_storage, step, stepped
from tests.storage.tiers.plain import expected, read_tier
from tests.storage.tiers.test_storage_tiers import BEFORE, DAY, HOUR, OPTIONS, START, fill
from tests.wal.simulated import Killed, SimulatedFileSystem
from tsdb.imports.distinct import Distinct
from tsdb.imports.reader import LeftOut, Progress
from tsdb.imports.session import Input, Outcome, run
from tsdb.imports.targets import DataDirectory, Server, data_directory
from tsdb.model.batch import Batch
from tsdb.model.errors import DirectoryLocked, StorageError, TsdbError, WrongInput
from tsdb.storage import Storage

SERIES = [{"__name__": "m", "n": str(n)} for n in range(3)]
Content = dict[tuple[tuple[str, str], ...], list[tuple[int, int]]]


class Made:
    """An input: three series, a sample each minute of an hour; what is read of it is counted."""

    def __init__(self, number: int, days: int = 0, fails: BaseException | None = None) -> None:
        self.number = number
        self.fails = fails
        self.begin = START + days * DAY + number * HOUR
        self.read_to_the_end = 0

    def read(self, secret: NDArray[np.uint64], *, left_out: LeftOut, progress: Progress) -> Iterator[Batch]:
        for minute in range(60):
            batch = make_batch(secret, SERIES, [(row, self.begin + minute * 60_000, bits(float(minute)))
                                                for row in range(3)])
            batch.history = True
            yield batch
            progress(minute + 1, 60)
            if self.fails is not None and minute == 30:
                raise self.fails
        left_out.count("things", 1)
        self.read_to_the_end += 1

    @property
    def samples(self) -> Content:
        return {tuple(sorted(labels.items())): [(self.begin + minute * 60_000, bits(float(minute)))
                                                for minute in range(60)] for labels in SERIES}

    def digest(self, progress: Progress) -> bytes:
        return hashlib.blake2b(str(self.begin).encode(), digest_size=32).digest()

    @property
    def input(self) -> Input:
        return Input(str(self.number), 60, self.read, self.digest)


def together(*made: Made) -> Content:
    found: Content = {}
    for each in made:
        for labels, own in each.samples.items():
            found[labels] = sorted({*found.get(labels, []), *own})
    return found


def imported(path: Path, *made: Made, **options: object) -> Outcome:
    with data_directory(path) as target:
        return run([each.input for each in made], target, format="test", options=options, memory_bytes=1 << 13)


def content(path: Path) -> Content:
    storage = Storage.open(path)
    try:
        return read(storage)
    finally:
        storage.close()


def test_once(tmp_path: Path) -> None:
    """Again it is not even read, also after its blocks were compacted into others; another import is."""
    data, one, two = tmp_path / "data", Made(0), Made(400, days=20)
    outcome = imported(data, one, two)
    assert (outcome.samples, outcome.series, outcome.mint, outcome.maxt, outcome.again) == (
        360, 3, one.begin, two.begin + 59 * 60_000, False)
    assert outcome.left_out.messages() == ["left out: 2 things"]
    storage = Storage.open(data)
    assert read(storage) == together(one, two)
    storage.submit(make_batch(storage.secret, SERIES, [(0, START + 90 * DAY, bits(1.0))])).result(10)
    storage.compact()
    storage.close()
    names = sorted(path.name for path in (data / "blocks").iterdir())
    again = imported(data, one, two)
    assert again.again and (again.samples, again.series) == (360, 3)
    assert one.read_to_the_end == 1
    assert names == sorted(path.name for path in (data / "blocks").iterdir())
    assert not imported(data, one, two, other="option").again
    assert imported(data, two).samples == 180
    assert one.read_to_the_end == 2


def test_an_interrupted_one_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsdb.storage.bulk.writer.PATIENCE_S", 0.0)
    data, one, two = tmp_path / "data", Made(0), Made(1, fails=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        imported(data, one, two)
    assert not content(data)
    two.fails = None
    assert imported(data, one, two).samples == 360
    assert (one.read_to_the_end, two.read_to_the_end) == (1, 1)
    assert content(data) == together(one, two)
    assert [path.suffix for path in (data / "import").iterdir()] == [".json"], "what was sorted is gone"


def test_of_a_wrong_one_nothing_is_kept(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with pytest.raises(WrongInput, match="line 31"):
        imported(data, Made(0), Made(1, fails=WrongInput("line 31")))
    assert not content(data) and not list((data / "import").iterdir())


def test_samples_of_the_future(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with pytest.raises(WrongInput, match="all 180 samples are more than ten minutes ahead of the clock"):
        imported(data, Made(0, days=100_000))
    outcome = imported(data, Made(0), Made(0, days=100_000))
    assert outcome.samples == 180 and outcome.maxt < START + 2 * HOUR
    assert "left out: 180 samples more than ten minutes ahead of the clock" in outcome.left_out.messages()[1]


def test_directories_that_are_not_for_us(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path / "open")
    with pytest.raises(DirectoryLocked, match=r"--url"):
        imported(tmp_path / "open", Made(0))
    storage.close()
    (tmp_path / "theirs" / "chunks_head").mkdir(parents=True)
    with pytest.raises(StorageError, match="has the data of a Prometheus"):
        imported(tmp_path / "theirs", Made(0))


def test_into_a_server_one_at_a_time(tmp_path: Path) -> None:
    target, made = Server("http://127.0.0.1:9", tmp_path), Made(0)
    folder = tmp_path / "x"
    with target.alone(folder):
        with pytest.raises(DirectoryLocked), target.alone(folder):
            pass
        (folder / "runs").mkdir()
    assert sorted(path.name for path in folder.iterdir()) == ["LOCK", "runs"]
    (folder / "runs").rmdir()
    with target.alone(folder):
        pass
    assert not folder.exists()
    with pytest.raises(TsdbError, match="is it the address of a server"):
        run([made.input], target, format="test")
    assert len(list(tmp_path.iterdir())) == 1, "its blocks are there for the next time"


def test_nothing_at_all(tmp_path: Path) -> None:
    class Empty(Made):
        def read(self, secret: NDArray[np.uint64], *, left_out: LeftOut, progress: Progress) -> Iterator[Batch]:
            return iter(())

    outcome = imported(tmp_path / "data", Empty(0))
    assert (outcome.samples, outcome.blocks, outcome.series) == (0, 0, 0)
    assert imported(tmp_path / "data", Empty(0)).again


def test_tiers_are_built_anew() -> None:
    """Samples older than all others, and among others: windows are those of all of them after a start."""
    with stepped(1):
        fs = SimulatedFileSystem()
        storage = open_storage(fs, OPTIONS)
        fill(storage, 3.5)
        step(storage)
        before = read(storage)
        storage.close()
    inputs = [Made(0, days=1), Made(5, days=-2)]
    lock = fs.lock(FOLDER)
    run([each.input for each in inputs], DataDirectory(fs, FOLDER), format="test")
    lock.release()
    with stepped(2):
        storage = open_storage(fs, OPTIONS)
        added = together(*inputs)
        samples = read(storage)
        for labels in samples:
            assert dict(samples[labels]) == {**dict(added.get(labels, [])), **dict(before.get(labels, []))}
        assert read_tier(storage, HOUR) != expected(samples, HOUR, START + 3 * DAY)
        for _ in range(3):
            step(storage)
        spans = storage.tiers().tiers[0].spans
        assert spans[0][0] <= START - 2 * DAY < BEFORE and spans[-1][1] == START + 3 * DAY
        assert read_tier(storage, HOUR) == expected(samples, HOUR, START + 3 * DAY)


@pytest.mark.parametrize("cut", ["kill", "power"])
@pytest.mark.parametrize("most", [12, pytest.param(400, marks=pytest.mark.slow)])
def test_crashes(cut: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed, or without power, at any operation on files: the next one goes on, and all is there once."""
    monkeypatch.setattr("tsdb.storage.bulk.writer.PATIENCE_S", 0.0)
    inputs = [Made(0), Made(1), Made(30, days=10)]
    wanted = together(*inputs)

    def attempt(fs: SimulatedFileSystem) -> Outcome:
        with data_directory(FOLDER, fs) as target:
            return run([each.input for each in inputs], target, format="test")

    whole = SimulatedFileSystem()
    attempt(whole)
    total = len(whole.operations)
    for number in range(0, total, max(1, total // most)):
        fs = SimulatedFileSystem(kill_at=number, chance=random.Random(number))
        with pytest.raises(Killed):
            attempt(fs)
        fs = fs.killed() if cut == "kill" else fs.power_cut()
        fs.kill_at = -1
        attempt(fs)
        assert attempt(fs).again
        with stepped(number):
            storage = open_storage(fs)
            assert read(storage) == wanted
            storage.close()


@given(st.lists(st.lists(st.integers(0, 30), max_size=20), max_size=10))
def test_series_are_counted(given: list[list[int]]) -> None:
    counted = Distinct()
    for hashes in given:
        counted.add(np.array(hashes, np.uint64))
    assert counted.count == len({each for hashes in given for each in hashes})
