"""Blocks are written and removed; whenever the process dies or power is cut, each is there as a whole or not at all."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import pytest

from tests.storage.block.plain import Content, Labels, PlainSource, expected, read_block
from tests.wal.simulated import Killed, Operation, SimulatedFileSystem
from tsdb.storage.block import Block, block_paths, new_ulid, write_block

FOLDER = Path("/data/blocks")
OLD, NEW = new_ulid(1), new_ulid(2)
OLD_CONTENT: Content = {(("__name__", "old"),): [[(1, 1), (2, 2)]]}
NEW_CONTENT: Content = {(("__name__", "m"), ("n", str(n))): [[(10 * k + i, n + i) for i in range(9)] for k in range(3)]
                        for n in range(5)}
Found = dict[str, dict[Labels, list[tuple[int, int]]]]
BOTH: Found = {OLD: expected(OLD_CONTENT), NEW: expected(NEW_CONTENT)}


def states(*names: str) -> list[Found]:
    """What may be there: the blocks named in each, by letter."""
    return [{ulid: BOTH[ulid] for letter, ulid in (("o", OLD), ("n", NEW)) if letter in name} for name in names]


def run(fs: SimulatedFileSystem) -> list[Found]:
    """What may be there afterwards."""
    allowed = states("", "o")
    with suppress(Killed):
        write_block(fs, FOLDER, PlainSource(OLD_CONTENT), ulid=OLD)
        allowed = states("o", "on")
        write_block(fs, FOLDER, PlainSource(NEW_CONTENT), ulid=NEW)
        allowed = states("on", "n")
        block = Block.open(fs, FOLDER / OLD)
        block.remove_when_released()
        allowed = states("n")
        assert read_block(block) == BOTH[OLD]
        block.release()
    return allowed


def survivors(fs: SimulatedFileSystem) -> Found:
    found = {}
    for path in block_paths(fs, FOLDER):
        block = Block.open(fs, path)
        block.verify()
        found[path.name] = read_block(block)
        block.release()
    return found


def operations() -> list[Operation]:
    fs = SimulatedFileSystem()
    assert survivors(fs) == {}
    run(fs)
    return fs.operations


@pytest.mark.parametrize("cut", ["kill", "power"])
def test_killed_at_every_operation(cut: str) -> None:
    for kill_at in range(len(operations()) + 1):
        for seed in range(1 if cut == "kill" else 8):
            fs = SimulatedFileSystem(kill_at=kill_at, chance=random.Random(seed * 1000 + kill_at))
            allowed = run(fs)
            after = fs.killed() if cut == "kill" else fs.power_cut()
            for once_more in range(4):  # while what is left half made is removed
                after.kill_at = once_more
                with suppress(Killed):
                    survivors(after)
                after = after.killed()
            assert survivors(after) in allowed, f"killed at operation {kill_at}: {fs.operations[-1]}"
            assert not [path for path in after.paths() if ".tmp" in str(path)]


def noticed(sync: int, count: int) -> bool:
    """Whether the test above fails for a disk that lies about the operation of that number; `count`: of all."""
    for kill_at in range(sync + 1, count + 1):
        for seed in range(8):
            fs = SimulatedFileSystem(kill_at=kill_at, chance=random.Random(seed * 1000 + kill_at))
            made = fs.operations
            fs.lies = lambda _, made=made: len(made) - 1 == sync  # type: ignore[misc]
            allowed = run(fs)
            after = fs.power_cut()
            after.lies = lambda _: False
            try:
                if survivors(after) not in allowed:
                    return True
            except Exception:  # noqa: BLE001 - whatever such a disk does to us counts as noticed
                return True
    return False


def test_each_missing_sync_is_noticed() -> None:
    """The test above can fail: no sync is there in vain."""
    done = operations()
    syncs = [number for number, operation in enumerate(done) if operation.name in ("datasync", "sync_directory")]
    assert len(syncs) == 11
    for sync in syncs:
        assert noticed(sync, len(done)), done[sync]


@pytest.mark.parametrize("failing", ["create", "pwrite", "datasync", "sync_directory", "rename"])
def test_a_disk_that_fails_leaves_no_trace(failing: str) -> None:
    count = len([operation for operation in operations() if operation.name == failing])
    for wrong in range(count):
        fs = SimulatedFileSystem()
        seen = 0

        def fault(_: int, operation: Operation) -> int | None:
            nonlocal seen
            seen += operation.name == failing
            return 5 if operation.name == failing and seen == wrong + 1 else None  # noqa: B023

        write_block(fs, FOLDER, PlainSource(OLD_CONTENT), ulid=OLD)
        fs.faults = fault
        try:
            write_block(fs, FOLDER, PlainSource(NEW_CONTENT), ulid=NEW)
        except OSError:
            assert [path for path in fs.paths() if path.parent.name != OLD] == []
            assert survivors(fs.killed()) == states("o")[0]
        else:
            assert survivors(fs.killed()) == BOTH


def test_no_space() -> None:
    fs = SimulatedFileSystem(capacity=2000)
    with pytest.raises(OSError, match="space"):
        write_block(fs, FOLDER, PlainSource(NEW_CONTENT))
    assert fs.paths() == []


@pytest.mark.parametrize("failing", ["create", "pwrite", "datasync", "rename", "power"])
def test_an_index_is_mended_or_stays_as_it_is(failing: str) -> None:
    """Whenever the disk fails or power is cut: the block is whole either way."""
    original = SimulatedFileSystem()
    write_block(original, FOLDER, PlainSource(NEW_CONTENT), ulid=NEW)
    index = FOLDER / NEW / "index"
    whole = original.content(index)
    at = Block.open(original, FOLDER / NEW).index._places["posting"]
    original.flip(index, at * 8)
    kinds = set()
    for kill_at in range(12):
        fs = original.copy()
        block = Block.open(fs, FOLDER / NEW)
        assert len(block.find([])) == 5 and not list(block.index.problems(needed=True)) and block.index.mended
        first = len(fs.operations)
        if failing == "power":
            fs.kill_at = first + kill_at
            with suppress(Killed):
                block.write_mended()
            fs = fs.power_cut()
        else:
            fs.faults = lambda _, operation: 5 if operation.name == failing else None
            with pytest.raises(OSError, match="error"):
                block.write_mended()
            assert block.index.mended, "it is tried again"
            assert len(fs.listdir(FOLDER / NEW)) == 3
        kinds.add(fs.content(index) == whole)
        again = Block.open(fs, FOLDER / NEW)
        assert read_block(again) == BOTH[NEW]
    assert kinds == ({False, True} if failing == "power" else {False})
