"""A bit turns over in a file of any kind: what is read is right, what is missing is told, and the next start opens."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.storage.batches import FOREVER, everything
from tests.storage.histograms.tokens import read
from tests.storage.simulator.stepped import FOLDER, open_storage, step, stepped
from tests.storage.simulator.world import Faults, World, Wrong, quiet
from tests.wal.simulated import SimulatedFileSystem
from tsdb.model.context import RequestContext
from tsdb.model.errors import Corruption
from tsdb.model.tiles import Selection
from tsdb.storage.block import BlockMeta
from tsdb.storage.head.layout import WINDOW_MS
from tsdb.storage.storage import Storage

OPERATIONS = 40
Found = dict[tuple[tuple[str, str], ...], list[tuple[int, int]]]


def data_files(fs: SimulatedFileSystem) -> list[Path]:
    return [path for path in fs.paths() if path.relative_to(FOLDER).parts[0] not in ("snapshots", "LOCK", "damaged")
            and fs.content(path)]


def range_of(fs: SimulatedFileSystem, path: Path) -> tuple[int, int] | None:
    """Times that damage of a file may take (ms, the last exclusive); None: any."""
    kind, *rest = path.relative_to(FOLDER).parts
    if kind == "blocks":
        meta = BlockMeta.from_json(fs.content(path.parent / "meta.json"))
        return meta.mint, meta.maxt
    if kind == "chunks":
        start = int(rest[0].split(".")[0])
        return start, start + WINDOW_MS
    return None if kind in ("wal", "histograms") else (0, 0)


def read_through_damage(world: World, fs: SimulatedFileSystem, storage: Storage) -> tuple[Storage, Found]:
    """A reading may fail where it meets damage: of a block it is dealt with, of the head's chunks at the next start."""
    for _ in range(5):
        try:
            return storage, read(storage)
        except Corruption:
            step(storage)
    storage.close()
    storage = open_storage(fs, world.options())
    return storage, read(storage)


def warnings(storage: Storage) -> list[str]:
    with storage.capture([Selection(everything(), -FOREVER, FOREVER)], RequestContext()) as capture:
        return list(capture.warnings)


def check(world: World, fs: SimulatedFileSystem, path: Path, bit: int) -> None:
    """One bit of one file."""
    times = range_of(fs, path)
    newest_segment = max((name for name in fs.paths() if name.parent.name == "wal" and name.name.isdigit()),
                         default=None)
    damaged = fs.copy()
    damaged.flip(path, bit)
    for opening in range(2):
        storage, found = read_through_damage(world, damaged, open_storage(damaged, world.options()))
        missing = 0
        for number, sure in world.sure.items():
            there = dict(found.get(tuple(sorted(world.labels(number).items())), []))
            for ts, value in sure.items():
                if ts not in there:
                    missing += 1
                    if times is not None and not times[0] <= ts < times[1]:
                        raise Wrong(f"{number} at {ts} is missing, which is not in this file")
                elif there[ts] != value:
                    raise Wrong(f"{number} at {ts}: {there[ts]:#x} instead of {value:#x}")
            known = sure.keys() | world.possible.get(number, {}).keys()
            extra = there.keys() - known
            if extra and not warnings(storage):
                raise Wrong(f"{number}: {len(extra)} samples that nobody sent, or that were deleted, and no warning")
        # what ends the log may be a write that a crash interrupted; what is wrong in the log is told once
        if missing and path != newest_segment and opening == 0:
            told = storage.statistics()
            if not (told.damaged_known or told.wal.damaged or warnings(storage)):
                raise Wrong(f"{missing} samples are missing and nothing says so")
        step(storage)
        storage, _ = read_through_damage(world, damaged, storage)
        if opening == 0:
            storage.close()


def run(seed: int, flips: int) -> int:
    """So many flips of each file of one directory; how many in all."""
    with stepped(seed), quiet():
        world = World(seed, Faults(crash=0))
        chance = random.Random(seed)
        for _ in range(OPERATIONS):
            world.operate()
        world.recover()
        if chance.random() < 0.5 and world.storage is not None:
            world.storage.close()
        world.storage = None
        fs = world.fs.killed()
        done = 0
        for path in data_files(fs):
            for _ in range(flips):
                bit = chance.randrange(8 * len(fs.content(path)))
                done += 1
                try:
                    check(world, fs, path, bit)
                except Exception as problem:
                    raise AssertionError(f"seed {seed}, bit {bit} of {path} ({len(fs.content(path))} bytes): "
                                         f"{problem!r}") from problem
    return done


def test_a_directory() -> None:
    assert run(1, flips=1) > 10


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_directories() -> None:
    for seed in range(100, 400):
        run(seed, flips=3)
