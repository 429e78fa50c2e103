"""The file of tombstones: what was written is read, old or new whenever the power is cut, and damage is found."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from tests.storage.block.plain import Content, PlainSource
from tests.wal.simulated import Killed, SimulatedFileSystem
from tsdb.model.errors import Corruption, FormatTooNew
from tsdb.storage.block import Block, block_paths, new_ulid, write_block
from tsdb.storage.block.tombstones_file import HEADER_BYTES, NAME, VERSION, read_tombstones, write_tombstones
from tsdb.storage.tombstones import LEAST, Tombstones

FOLDER = Path("/data/blocks")
PATH = FOLDER / new_ulid(1)
CONTENT: Content = {(("__name__", "m"), ("n", str(n))): [[(i, n) for i in range(9)]] for n in range(4)}
FIRST, SECOND = ([(1, 5, 7)], [(0, LEAST, -LEAST - 1), (1, 5, 7), (1, 9, 9)])


def tombstones(intervals: list[tuple[int, int, int]]) -> Tombstones:
    rows, mint, maxt = (np.array(column, np.int64) for column in zip(*intervals, strict=True))
    return Tombstones.none().adding(rows.astype(np.int32), mint, maxt)


def plain(found: Tombstones) -> list[tuple[int, int, int]]:
    return list(zip(found.series.tolist(), found.mint.tolist(), found.maxt.tolist(), strict=True))


def disk() -> SimulatedFileSystem:
    fs = SimulatedFileSystem()
    write_block(fs, FOLDER, PlainSource(CONTENT), ulid=PATH.name)
    return fs


def opened(fs: SimulatedFileSystem) -> list[tuple[int, int, int]]:
    block = Block.open(fs, PATH)
    block.verify()
    found = plain(block.tombstones)
    block.release()
    return found


def test_a_block_knows_them_when_it_is_opened_again() -> None:
    fs = disk()
    assert opened(fs) == []
    for intervals in (FIRST, SECOND):
        write_tombstones(fs, PATH, tombstones(intervals))
        assert opened(fs) == intervals
    block = Block.open(fs, PATH)
    block.remove_when_released()
    block.release()
    assert fs.paths() == []


@pytest.mark.parametrize("cut", ["kill", "power"])
def test_killed_at_every_operation(cut: str) -> None:
    for kill_at in range(12):
        for seed in range(1 if cut == "kill" else 8):
            fs = disk().with_chance(seed * 100 + kill_at)
            allowed: list[list[tuple[int, int, int]]] = [[]]
            fs.kill_at = kill_at
            with suppress(Killed):
                for intervals in (FIRST, SECOND):
                    allowed = [allowed[-1], intervals]
                    write_tombstones(fs, PATH, tombstones(intervals))
                    allowed = [intervals]
            after = fs.killed() if cut == "kill" else fs.power_cut()
            assert opened(after) in allowed
            block_paths(after, FOLDER)
            write_tombstones(after, PATH, tombstones(FIRST))
            assert opened(after.killed()) == FIRST


def test_a_full_disk_leaves_the_old_ones() -> None:
    fs = disk()
    write_tombstones(fs, PATH, tombstones(FIRST))
    fs.capacity = fs.capacity - fs.room_left() + 20
    with pytest.raises(OSError, match="No space"):
        write_tombstones(fs, PATH, tombstones(SECOND))
    assert opened(fs) == FIRST
    assert [path.name for path in fs.paths()] == ["chunks", "index", "meta.json", NAME]


def test_damage_is_found() -> None:
    fs = disk()
    write_tombstones(fs, PATH, tombstones(SECOND))
    size = len(fs.content(PATH / NAME))
    for bit in range(0, size * 8, 3):
        flipped = fs.copy()
        flipped.flip(PATH / NAME, bit)
        if bit // 8 in range(28, HEADER_BYTES):
            assert opened(flipped) == SECOND
        else:
            with pytest.raises(Corruption, match=r"tombstones: .*is not known any more"):
                opened(flipped)
    for length in range(0, size, 7):
        cut = fs.copy()
        cut.open(PATH / NAME, writable=True).truncate(length)
        with pytest.raises(Corruption):
            opened(cut)
    with pytest.raises(Corruption, match="another block"):
        read_tombstones(fs, PATH, 1)


def test_a_newer_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fs = disk()
    monkeypatch.setattr("tsdb.storage.block.tombstones_file.VERSION", VERSION + 1)
    write_tombstones(fs, PATH, tombstones(FIRST))
    monkeypatch.undo()
    with pytest.raises(FormatTooNew, match="use a newer tsdb"):
        opened(fs)
