"""Start times of samples through everything that happens to the samples."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.simulator.stepped import FOLDER, NOW_S, open_storage, step, stepped
from tests.storage.simulator.world import quiet
from tests.storage.starts.plain import Starts, read, write
from tests.wal.simulated import SimulatedFileSystem
from tsdb.commands.check import check
from tsdb.commands.inspect_wal import wal
from tsdb.model.errors import Corruption, Unavailable
from tsdb.model.matchers import Matcher, MatchType
from tsdb.storage import Storage, StorageOptions
from tsdb.storage.block.layout import OPTIONAL, START_BYTES
from tsdb.wal import Wal

HOUR, MINUTE = 3_600_000, 60_000
NOW = int(NOW_S * 1000) // (2 * HOUR) * (2 * HOUR) - 400 * HOUR
OPTIONS = StorageOptions(late_window_ms=200 * HOUR)
AT = st.sampled_from([0, 0, 1, 2, 3, -1, -MINUTE, -50 * MINUTE, -3 * HOUR])
"""Of a sample, ms from now."""
START = st.sampled_from(["none", "none", "old", "old", "new", "own", "later", "negative"])
WRITE = st.tuples(st.just("write"), st.sampled_from([0, 5, MINUTE, 40 * MINUTE, 3 * HOUR]), st.booleans(),
                  st.lists(st.tuples(st.integers(0, 2), AT, START), min_size=1, max_size=8))
DELETE = st.tuples(st.just("delete"), st.integers(0, 2), st.sampled_from([0, MINUTE, 2 * HOUR]),
                   st.sampled_from([0, HOUR]))
OTHERS = st.sampled_from([("step",), ("step",), ("compact",), ("clean",), ("reopen",), ("kill",), ("snapshot",)])


class Model:
    """What must be there, and the storage."""

    def __init__(self) -> None:
        self.fs = SimulatedFileSystem()
        self.storage = open_storage(self.fs, OPTIONS)
        self.now = NOW
        self.newest: dict[int, int] = {}
        """In order, by series."""
        self.in_order: Starts = {}
        self.late: Starts = {}
        self.gone: set[tuple[int, int]] = set()

    def do(self, operation: tuple[Any, ...]) -> None:
        getattr(self, operation[0])(*operation[1:])
        self.check(self.storage)

    def check(self, storage: Storage) -> None:
        found = read(storage)
        expected = self.late | self.in_order
        assert found.keys() == expected.keys()
        assert found == expected

    def write(self, passed: int, without: bool, rows: list[tuple[int, int, str]]) -> None:
        self.now += passed
        head = self.storage._head
        least = max(head.border, head.oldest())
        samples: list[tuple[int, int, int | None]] = []
        for number, at, kind in rows:
            ts = self.now + at
            start = {"none": 0, "old": NOW - 10 * HOUR, "new": NOW + at % 7, "own": ts, "later": ts + 1,
                     "negative": -5}[kind]
            newest = self.newest.get(number, -1)
            if (number, ts) in self.gone and ts == newest:
                continue
            samples.append((number, ts, None if without else start))
            start = start if not without and 0 <= start <= ts else 0
            if ts > newest and ts >= least:
                self.in_order[number, ts] = start
                self.newest[number] = ts
            elif ts != newest:
                self.late.setdefault((number, ts), start)
        assert write(self.storage, samples) == [0] * len(samples)

    def delete(self, number: int, before: int, length: int) -> None:
        mint, maxt = self.now - before - length, self.now - before
        self.storage.delete_series([(Matcher(MatchType.EQUAL, "n", str(number)),)], mint, maxt)
        for starts in (self.in_order, self.late):
            for series, ts in list(starts):
                if series == number and mint <= ts <= maxt:
                    del starts[series, ts]
                    self.gone.add((series, ts))

    def step(self) -> None:
        step(self.storage)

    def compact(self) -> None:
        self.storage.compact()
        assert self.storage._head.starts.size <= 3, "what goes on, for each series"

    def clean(self) -> None:
        self.storage.clean_tombstones()

    def reopen(self) -> None:
        self.storage.close()
        self.storage = open_storage(self.fs, OPTIONS)
        assert self.storage.opened.clean

    def kill(self) -> None:
        self.fs = self.fs.killed()
        self.storage = open_storage(self.fs, OPTIONS)

    def snapshot(self) -> None:
        name = self.storage.snapshot()
        copy = Storage.open(FOLDER / "snapshots" / name, fs=self.fs, read_only=True)
        self.check(copy)
        copy.close()


@settings(max_examples=12, deadline=None)
@given(st.lists(WRITE | DELETE | OTHERS, min_size=5, max_size=25))
def test_whatever_happens(operations: list[tuple[Any, ...]]) -> None:
    with stepped(1), quiet():
        model = Model()
        for operation in operations:
            model.do(operation)
        # what began in a window that is cut goes on in the next one, and is known behind dropped segments
        same = [(0, 0, "old"), (1, 0, "new")]
        for operation in (("kill",), ("write", 3 * HOUR, False, same), ("write", 3 * HOUR, False, same), ("step",),
                          ("kill",), ("write", HOUR, False, same), ("compact",), ("kill",)):
            model.do(operation)
        model.storage.close()


def test_none_costs_nothing(tmp_path: Path) -> None:
    """Neither records nor sections, nor memory, where no batch has any; and no record where they stay the same."""
    storage = Storage.open(tmp_path / "without", OPTIONS)
    now = int(time.time() * 1000) - HOUR
    write(storage, [(0, now, None), (1, now, None)])
    write(storage, [(0, now + 1, 0), (1, now + 1, -7), (1, now - 1, now)])  # the last is late, and later than its time
    assert not storage._head.starts.active
    before = storage.statistics().wal.appended_bytes
    write(storage, [(0, now + 2, None), (1, now + 2, None)])
    each = storage.statistics().wal.appended_bytes - before
    assert set(read(storage).values()) == {0}
    storage.compact()
    assert not any(set(OPTIONAL) & {*block.index.names()} for block in storage._blocks.every)
    assert not any(row["type"] == "starts" for row in _records(tmp_path / "without"))
    storage.close()

    storage = Storage.open(tmp_path / "with", OPTIONS)
    for number in range(3):
        before = storage.statistics().wal.appended_bytes
        write(storage, [(0, now + number, now - 5), (1, now + number, now - 5)])
    assert storage.statistics().wal.appended_bytes - before == each
    assert storage._head.starts.size == 2
    assert [row["starts"] for row in _records(tmp_path / "with") if row["type"] == "starts"] == [2]
    storage.close()
    assert read_back(tmp_path / "with") == {(number, now + at): now - 5 for number in range(2) for at in range(3)}


def _records(data: Path) -> list[dict[str, Any]]:
    found = CliRunner().invoke(wal, [str(data), "--records", "--json"])
    return [json.loads(line) for line in found.output.splitlines()]


def read_back(path: Path) -> Starts:
    storage = Storage.open(path, OPTIONS, read_only=True)
    try:
        return read(storage)
    finally:
        storage.close()


def test_a_failed_commit_leaves_none(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path, OPTIONS)
    now = int(time.time() * 1000) - HOUR
    write(storage, [(0, now, 5)])
    with patch.object(Wal, "append", side_effect=Unavailable("full")), pytest.raises(Unavailable):
        write(storage, [(0, now + 1, 6), (0, now + 2, 7), (1, now, 8)])
    write(storage, [(0, now + 1, 5), (1, now, 0)])
    assert read(storage) == {(0, now): 5, (0, now + 1): 5, (1, now): 0}
    storage.close()


def test_a_series_that_comes_back_has_none_of_before(tmp_path: Path) -> None:
    """Its slot may be another's; and what the log says of it under its first reference is of no use any more."""
    with stepped(1), quiet():
        fs = SimulatedFileSystem()
        storage = open_storage(fs, OPTIONS)
        write(storage, [(0, NOW, NOW - 5), (1, NOW, NOW - 6)])
        step(storage)
        write(storage, [(1, NOW + 8 * HOUR, NOW - 6)])
        for _ in range(3):
            step(storage)
        assert storage.statistics().series == 1 and storage._head.starts.size == 1
        write(storage, [(0, NOW + 8 * HOUR, None), (2, NOW + 8 * HOUR, None)])
        expected = {(0, NOW): NOW - 5, (1, NOW): NOW - 6, (1, NOW + 8 * HOUR): NOW - 6, (0, NOW + 8 * HOUR): 0,
                    (2, NOW + 8 * HOUR): 0}
        assert read(storage) == expected
        storage = open_storage(fs.killed(), OPTIONS)
        assert read(storage) == expected
        storage.close()


def test_damaged_ones_cost_no_sample(tmp_path: Path) -> None:
    """A block is written anew without its start times, when a query comes upon them."""
    storage = Storage.open(tmp_path, OPTIONS)
    now = int(time.time() * 1000) - HOUR
    write(storage, [(number, now, now - number) for number in range(4)])
    storage.compact()
    (block,) = storage._blocks.every
    path, at = block.path / "index", block.index._places[START_BYTES]
    storage.close()
    data = bytearray(path.read_bytes())
    data[at + 9] ^= 1
    path.write_bytes(data)
    found = json.loads(CliRunner().invoke(check, ["data", str(tmp_path), "--json"]).output)
    assert [each["means"] for each in found["findings"] if "start_bytes" in each["what"]] == [
        "Start times of samples are lost, the samples are not."]
    storage = Storage.open(tmp_path, OPTIONS)
    with pytest.raises(Corruption, match="start_bytes"):
        read(storage)
    for _ in range(100):
        if not any(each is block for each in storage._blocks.every):
            with contextlib.suppress(Corruption):
                assert read(storage) == {(number, now): 0 for number in range(4)}
                break
        time.sleep(0.1)
    else:
        raise AssertionError("the block was not replaced")
    assert not storage._blocks.every[0].has_starts
    storage.close()
