"""The storage is killed at every single file operation, and loses power there: nothing acknowledged is lost.

The parts are put together as in `Storage`, but without threads, so that operations come in the same order each time.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from tests.storage.batches import bits, make_batch, read
from tests.wal.simulated import Killed, Operation, SimulatedFileSystem
from tsdb.model.batch import Appended, Metadata
from tsdb.model.context import RequestContext
from tsdb.model.errors import Unavailable
from tsdb.model.native_histograms import BOX
from tsdb.model.tiles import Selection
from tsdb.storage.appender import Appender, Waiting
from tsdb.storage.blocks import Blocks
from tsdb.storage.damage import Damage
from tsdb.storage.head.head import Head
from tsdb.storage.head.index import Index
from tsdb.storage.head.windows import Windows
from tsdb.storage.reading.capture import Capture
from tsdb.storage.reading.reading import Reading
from tsdb.storage.restart.recovery import recover
from tsdb.storage.upkeep.maintenance import Maintenance
from tsdb.wal import Sync, Wal, WalOptions

FOLDER = Path("/data")
SERIES = [{"__name__": "m", "n": str(n)} for n in range(4)]
HOUR = 3_600_000
Samples = dict[int, list[tuple[int, int]]]


class Unthreaded:
    """A storage whose commits and maintenance happen when they are called."""

    def __init__(self, fs: SimulatedFileSystem, sync: Sync = "commit") -> None:
        self.head = Head(Windows(fs, FOLDER / "chunks", read_only=False, step=1 << 14))
        self.index = Index(self.head.table)
        metadata: dict[str, Metadata] = {}
        self.wal = Wal.open(fs, FOLDER / "wal", WalOptions(sync=sync, sync_interval_s=0, segment_bytes=600))
        damage = Damage(fs, FOLDER, read_only=False)
        self.blocks = Blocks.open(fs, FOLDER / "blocks", self.head.lock, damage, read_only=False)
        recover(fs, FOLDER / "wal", self.wal, self.head, metadata, blocks=self.blocks)
        self._appender = Appender(self.head, self.index, self.wal, metadata, queue_samples=1 << 30,
                                  after_commit=lambda: None, clock=lambda: 1e12)
        self._appender.late_window_ms = 3 * HOUR
        self.arriving: deque[list[tuple[int, int, int]]] = deque()
        """Commits that come while windows are being completed."""
        self.reading = Reading(self.head, self.index, self.blocks)
        self._maintenance = Maintenance(self.head, self.index, self.wal, metadata, self.blocks, damage)

    def append(self, samples: list[tuple[int, int, int]]) -> Appended:
        future: Future[Appended] = Future()
        self._appender._commit([Waiting(future, make_batch(self.head.table.secret, SERIES, samples))])
        return future.result(0)

    def complete_windows(self) -> None:
        if self._maintenance.truncation.due():
            self._maintenance.truncation.run(cast(Appender, self))

    def run_between_commits(self, work: Callable[[], None]) -> Future[Appended]:
        if self.arriving:
            self.append(self.arriving.popleft())
        done: Future[Appended] = Future()
        work()
        done.set_result(Appended(0, np.zeros(0, np.uint8)))
        return done

    def capture(self, selections: list[Selection], context: RequestContext) -> Capture:
        return self.reading.capture(selections, context)

    def samples(self) -> Samples:
        found = read(self)  # type: ignore[arg-type]
        return {int(dict(labels)["n"]): values for labels, values in found.items()}


def commits(seed: int) -> list[list[tuple[int, int, int]]]:
    """Eight hours of four series, of which some pause. Every third commit has late samples, too, one time twice."""
    chance = random.Random(seed)
    out: list[list[tuple[int, int, int]]] = []
    now = 10 * HOUR
    clocks = [now] * len(SERIES)
    for _ in range(14):
        now += chance.choice((60_000, HOUR // 2, HOUR))
        batch = []
        for n in range(len(SERIES)):
            for _ in range(chance.choice((0, 1, 12))):
                ts = max(now - HOUR // 4, clocks[n]) + chance.randint(1, 10_000)
                clocks[n] = ts
                batch.append((n, ts, chance.randrange(BOX)))
        if len(out) % 3 == 2:
            late = [(n, clocks[n] - chance.randint(1, HOUR), chance.randrange(BOX)) for n in (0, 1, 1)]
            batch += [*late, (1, late[1][1], 5)]
        if batch:
            out.append(batch)
    return out


def merged(before: Samples, batch: list[tuple[int, int, int]]) -> Samples:
    out = {n: dict(values) for n, values in before.items()}
    for n, ts, value in batch:
        out.setdefault(n, {}).setdefault(ts, value)
    return {n: sorted(values.items()) for n, values in out.items()}


def run(fs: SimulatedFileSystem, seed: int, sync: Sync) -> tuple[Samples, Samples]:
    """(acknowledged, acknowledged and in flight) when the process is killed, or at the end."""
    acknowledged: Samples = {}
    in_flight: Samples = {}
    with suppress(Killed):
        storage = Unthreaded(fs, sync)
        for batch in commits(seed):
            in_flight = merged(acknowledged, batch)
            assert storage.append(batch).accepted == len(batch)
            acknowledged = in_flight
            storage.complete_windows()
        assert storage.samples() == acknowledged
    return acknowledged, in_flight


def survivors(fs: SimulatedFileSystem) -> Samples:
    """What the next process serves; it is killed once more while it opens, then takes a sample, then opens again."""
    for kill_at in (3, 9):
        with suppress(Killed):
            Unthreaded(fs)
        fs = fs.killed()
        fs.kill_at = kill_at
    fs = fs.killed()
    storage = Unthreaded(fs)
    found = storage.samples()
    newest = max((ts for values in found.values() for ts, _ in values), default=20 * HOUR)
    extra = (0, newest + 3 * HOUR, bits(1.0))
    assert storage.append([extra]).accepted == 1
    storage.complete_windows()
    expected = merged(found, [extra])
    assert storage.samples() == expected
    assert Unthreaded(fs.killed()).samples() == expected
    return found


def count_operations(seed: int) -> int:
    fs = SimulatedFileSystem()
    run(fs, seed, "commit")
    return len(fs.operations)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("cut", ["kill", "power"])
def test_killed_at_some_operations(seed: int, cut: str) -> None:
    check(seed, cut, random.Random(cut).sample(range(count_operations(seed)), 15))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cut", ["kill", "power"])
def test_killed_at_every_operation(seed: int, cut: str) -> None:
    check(seed, cut, range(count_operations(seed)))


def check(seed: int, cut: str, kills: Iterable[int]) -> None:
    sync: Sync = "commit" if cut == "power" else "os"
    windows_completed = 0
    for kill_at in kills:
        fs = SimulatedFileSystem(kill_at=kill_at, chance=random.Random(seed * 1000 + kill_at))
        acknowledged, in_flight = run(fs, seed, sync)
        after = fs.killed() if cut == "kill" else fs.power_cut()
        windows_completed += any("checkpoint" in path.name for path in after.paths())
        assert survivors(after) in (acknowledged, in_flight), f"killed at operation {kill_at}: {fs.operations[-1]}"
    assert windows_completed


@pytest.mark.parametrize("left_out", ["chunks", "wal"])
def test_a_missing_sync_is_noticed(left_out: str) -> None:
    """The test above can fail: with the syncs of window files, or of the log, left out, samples are lost."""

    def lies(operation: Operation) -> bool:
        return operation.name == "datasync" and left_out in operation.path.parts

    lost = False
    for kill_at in random.Random(left_out).sample(range(count_operations(0)), 60):
        fs = SimulatedFileSystem(kill_at=kill_at, chance=random.Random(kill_at), lies=lies)
        acknowledged, in_flight = run(fs, 0, "commit")
        after = fs.power_cut()
        after.lies = lambda _: False
        try:
            lost = Unthreaded(after).samples() not in (acknowledged, in_flight)
        except Exception:  # noqa: BLE001 - whatever such a disk does to us counts as noticed
            lost = True
        if lost:
            break
    assert lost


def test_commits_while_windows_are_completed() -> None:
    """What is sealed into later windows meanwhile stays where it is."""
    fs = SimulatedFileSystem()
    storage = Unthreaded(fs)
    chance = random.Random(1)
    sent = [  # in each commit, every series fills a chunk
        [(n, 10 * HOUR + (40 * i + k) * 10_000, chance.randrange(BOX)) for n in range(4) for k in range(40)]
        for i in range(80)
    ]
    storage.arriving = deque(sent)
    while storage.arriving:
        storage.append(storage.arriving.popleft())
        storage.complete_windows()
    expected: Samples = {}
    for batch in sent:
        expected = merged(expected, batch)
    assert storage.samples() == expected
    assert Unthreaded(fs.killed()).samples() == expected


def test_no_space_for_a_window_refuses_writes_until_there_is() -> None:
    fs = SimulatedFileSystem()
    storage = Unthreaded(fs)
    assert storage.append([(0, 10 * HOUR, 1)]).accepted == 1
    fs.capacity = fs.capacity - fs.room_left() + 4000
    with pytest.raises(Unavailable, match="space"):
        storage.append([(0, 13 * HOUR, 2)])
    assert storage.samples() == {0: [(10 * HOUR, 1)]}
    fs.capacity = 1 << 40
    assert storage.append([(0, 13 * HOUR, 3)]).accepted == 1
    assert storage.samples() == {0: [(10 * HOUR, 1), (13 * HOUR, 3)]}
    assert Unthreaded(fs.killed()).samples() == storage.samples()
