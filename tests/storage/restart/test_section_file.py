"""Files of named arrays: whole or not there, and no flipped bit goes unnoticed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.wal.simulated import Killed, Operation, SimulatedFileSystem
from tsdb.model.errors import Corruption, FormatTooNew
from tsdb.storage.restart.section_file import SectionFile, SectionWriter

PATH = Path("/data/head/saved")
MAGIC = b"TESTFILE"
CONTENT: dict[str, list[NDArray[Any]]] = {"numbers": [np.arange(9, dtype=np.uint32), np.arange(3, dtype=np.uint32)],
           "nothing": [np.zeros(0, np.uint64)], "bytes": [np.frombuffer(b"some bytes", np.uint8)]}


def write(fs: SimulatedFileSystem, version: int = 1) -> None:
    fs.mkdir(PATH.parent)
    writer = SectionWriter(fs, PATH, MAGIC, version)
    try:
        for name, parts in CONTENT.items():
            writer.add(name, parts[0].dtype, parts)
        assert writer.publish() == len(fs.content(PATH))
    except OSError:
        writer.abandon()
        raise


def read(fs: SimulatedFileSystem) -> dict[str, list[int]]:
    file = SectionFile(fs, PATH, MAGIC, 1)
    with ThreadPoolExecutor(2) as pool:
        file.check(pool)
    return {name: file[name].tolist() for name in CONTENT}


EXPECTED = {name: np.concatenate(parts).tolist() for name, parts in CONTENT.items()}


def test_what_was_written_is_read() -> None:
    fs = SimulatedFileSystem()
    write(fs)
    assert read(fs) == EXPECTED
    file = SectionFile(fs, PATH, MAGIC, 1)
    assert file.take("numbers", np.uint32, 12).tolist() == EXPECTED["numbers"]
    for name, dtype, size in (("numbers", np.int32, 12), ("numbers", np.uint32, 11), ("other", np.uint32, 12)):
        with pytest.raises(Corruption):
            file.take(name, dtype, size)


def test_every_flipped_bit_and_every_cut_is_noticed() -> None:
    fs = SimulatedFileSystem()
    write(fs)
    content = fs.content(PATH)
    for byte in range(len(content)):
        fs.flip(PATH, byte * 8 + byte % 8)
        try:
            assert read(fs) == EXPECTED, f"byte {byte}"
            assert content[byte] == 0, "padding"
        except (Corruption, FormatTooNew):
            pass
        fs.flip(PATH, byte * 8 + byte % 8)
    for size in range(0, len(content), 3):
        short = SimulatedFileSystem()
        short.mkdir(PATH.parent)
        file = short.open(PATH, writable=True, create=True)
        file.pwrite(content[:size], 0)
        with pytest.raises(Corruption):
            read(short)


def test_a_newer_version_is_refused() -> None:
    fs = SimulatedFileSystem()
    write(fs, version=2)
    with pytest.raises(FormatTooNew, match="has format 2"):
        read(fs)


@pytest.mark.parametrize("cut", ["kill", "power"])
def test_killed_at_every_operation_it_is_there_as_a_whole_or_not_at_all(cut: str) -> None:
    whole = SimulatedFileSystem()
    write(whole)
    seen = set()
    for kill_at in range(len(whole.operations) + 1):
        fs = SimulatedFileSystem(kill_at=kill_at)
        with pytest.raises(Killed) if kill_at < len(whole.operations) else pytest.MonkeyPatch().context():
            write(fs)
        after = fs.killed() if cut == "kill" else fs.power_cut()
        there = after.exists(PATH)
        seen.add(there)
        if there:
            assert read(after) == EXPECTED
    assert seen == {True, False}


def test_a_failure_leaves_nothing_behind() -> None:
    whole = SimulatedFileSystem()
    write(whole)
    for at in range(1, len(whole.operations)):
        def fails(number: int, operation: Operation, at: int = at) -> int | None:
            return 28 if number == at else None

        fs = SimulatedFileSystem(faults=fails)
        with pytest.raises(OSError, match="No space left"):
            write(fs)
        assert fs.paths() == []
