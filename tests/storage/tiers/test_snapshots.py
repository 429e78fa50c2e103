"""Snapshots have the downsampling tiers, too, and what is restored of them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from tests.storage.batches import read
from tests.storage.simulator.stepped import open_storage, step, stepped
from tests.storage.test_deletes import DATA
from tests.storage.tiers.plain import read_tier
from tests.storage.tiers.test_storage_tiers import DAY, HOUR, OPTIONS, SERIES, fill
from tests.wal.simulated import Killed, SimulatedFileSystem
from tsdb.model.errors import StorageError
from tsdb.storage import Storage
from tsdb.storage.tiers.rule import TierRule
from tsdb.storage.upkeep.restoring import restore
from tsdb.storage.upkeep.snapshots import FOLDER, remove_snapshot

FURTHER = TierRule(DAY, 0)
BOTH = OPTIONS.__class__(wal_sync="commit", late_window_ms=5 * DAY, tiers=(*OPTIONS.tiers, FURTHER))


def taken(fs: SimulatedFileSystem) -> tuple[Path, object]:
    """A snapshot, and what the tiers had."""
    storage = open_storage(fs, BOTH)
    fill(storage, 3.5, series=SERIES[:2])
    step(storage)
    found = read_tier(storage, HOUR), read_tier(storage, DAY), read(storage)
    folder = storage.path / FOLDER / storage._snapshots.take()
    storage.close()
    return folder, found


def contents(fs: SimulatedFileSystem, folder: Path) -> object:
    storage = Storage.open(folder, BOTH, fs=fs, read_only=True)
    try:
        return read_tier(storage, HOUR), read_tier(storage, DAY), read(storage)
    finally:
        storage.close()


def test_a_snapshot_has_the_tiers() -> None:
    with stepped(1):
        fs = SimulatedFileSystem()
        folder, wanted = taken(fs)
        assert contents(fs, folder) == wanted
        restore(fs, folder, DATA.parent / "new")
        assert contents(fs, DATA.parent / "new") == wanted
        names = {path.relative_to(folder) for path in fs.paths() if folder in path.parents}
        assert {path.relative_to(DATA.parent / "new") for path in fs.paths()
                if DATA.parent / "new" in path.parents} == names
        remove_snapshot(fs, folder)
        assert not [path for path in fs.paths() if folder in path.parents]


@pytest.mark.parametrize("cut", ["kill", "power"])
def test_a_restore_that_dies_can_be_begun_again(cut: str) -> None:
    with stepped(1):
        original = SimulatedFileSystem()
        folder, wanted = taken(original)
        for path in original.paths():
            if folder not in path.parents:
                original.unlink(path)
        target, kill_at, done = DATA.parent / "new", 0, False
        while not done:
            fs = original.copy().with_chance(kill_at)
            fs.kill_at = kill_at
            with suppress(Killed):
                restore(fs, folder, target)
                done = True
            after = fs.killed() if cut == "kill" else fs.power_cut()
            if not after.exists(target / "FORMAT"):
                with suppress(StorageError):  # between its last two steps: blocks have their name already
                    restore(after, folder, target)
            if after.exists(target / "FORMAT"):
                assert contents(after, target) == wanted
            else:
                assert after.exists(target / "blocks") and not done
            kill_at += 13
