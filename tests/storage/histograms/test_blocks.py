"""Histograms in blocks: cut from the head, late ones, compacted, deleted from, read again to the byte."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.native_histograms import histograms
from tests.storage.histograms.payload import Value, some_histogram
from tests.storage.histograms.test_storage import LATE, MINUTE, World, read
from tests.storage.histograms.test_storage import START as BEFORE_NOW
from tests.storage.simulator.stepped import FOLDER, step, stepped
from tsdb.commands.inspect_block import _list, summary, text
from tsdb.model.batch import STALE_NAN
from tsdb.model.matchers import Matcher, MatchType
from tsdb.model.native_histograms import NativeHistogram
from tsdb.storage.block import Block
from tsdb.storage.block.layout import HISTOGRAMS
from tsdb.storage.checking.check import check_directory
from tsdb.storage.checking.findings import Severity
from tsdb.storage.head.layout import WINDOW_MS
from tsdb.storage.storage import Storage

START = BEFORE_NOW - 4 * WINDOW_MS


@pytest.fixture
def world() -> Iterator[World]:
    with stepped(1):
        yield World()


def counter(minute: int, buckets: int = 8) -> NativeHistogram:
    counts = tuple(minute * (k + 1) // 3 for k in range(buckets))
    spans = ((-2, 3), (4, buckets - 3))
    return NativeHistogram(3, minute * 0.25, sum(counts) + minute // 9, 1e-128, minute // 9, spans, (), counts)


def fill(world: World, minutes: int, first: int = 0) -> None:
    """A series of histograms, one of both kinds, one of floats, one with a stale marker now and then."""
    for minute in range(first, first + minutes, 4):
        ts = START + minute * MINUTE
        some: Value = counter(minute, 8 + minute // 50)
        world.add([(0, ts, some), (1, ts, some if minute % 28 else minute), (2, ts, minute),
                   (3, ts, STALE_NAN if minute % 40 == 36 else some_histogram(minute % 40))])


def blocks(world: World) -> list[Block]:
    return list(world.storage.reading._blocks.every)


def into_blocks(world: World) -> None:
    """All but the newest hours."""
    step(world.storage)
    for block in blocks(world):
        block.verify()


def test_windows_become_blocks(world: World) -> None:
    fill(world, 400)
    into_blocks(world)
    found = blocks(world)
    assert [block.meta.stats.histograms > 0 for block in found] == [True] * len(found)
    assert len(found) >= 2
    forms = np.concatenate([block.index["chunk_form"].all() for block in found])
    assert (forms == HISTOGRAMS).any()
    assert (forms != HISTOGRAMS).any()
    assert found[0].meta.stats.chunks < 4 * 12  # most samples stand in long chunks
    world.check()
    part = read(world.storage, START + 30 * MINUTE, START + 32 * MINUTE)
    assert part == {row: [(ts, value) for ts, value in sorted(samples.items())
                          if START + 30 * MINUTE <= ts <= START + 32 * MINUTE]
                    for row, samples in world.expected.items()}
    world.restart()
    world.check()


def test_blocks_without_histograms_are_as_they_were(world: World) -> None:
    for minute in range(0, 400, 4):
        world.add([(0, START + minute * MINUTE, minute)])
    into_blocks(world)
    assert b"numHistogramSamples" not in blocks(world)[0].meta.to_json()
    assert blocks(world)[0].meta.stats.histograms == 0
    world.check()


@pytest.mark.parametrize("how", [World.kill, World.cut_power])
def test_compacted(world: World, how: object) -> None:
    """Blocks, late ones that overlap them, and deletes become one."""
    assert callable(how)
    fill(world, 500)
    into_blocks(world)
    world.add([(row, START + minute * MINUTE + 7, some_histogram(minute, 2) if row else minute)
               for minute in range(0, 130, 3) for row in (0, 1, 3)])
    fill(world, 200, 500)
    into_blocks(world)
    world.check()
    gone = START + 100 * MINUTE, START + 160 * MINUTE
    world.storage.delete_series([[Matcher(MatchType.EQUAL, "n", "1")]], *gone)
    world.expected[1] = {ts: value for ts, value in world.expected[1].items() if not gone[0] <= ts <= gone[1]}
    world.check()
    world.storage.compact()
    assert max(block.meta.compaction.level for block in blocks(world)) > 1
    for block in blocks(world):
        block.verify()
    world.check()
    how(world)
    world.check()
    world.storage.clean_tombstones()
    world.check()


def test_late_ones_alone(world: World) -> None:
    fill(world, 30)
    late = [(row, START - minute * MINUTE, some_histogram(minute, 1 + minute % 4)) for minute in range(1, 90)
            for row in range(3)]
    random.Random(1).shuffle(late)
    world.add(late)
    world.storage.compact()
    assert any(block.meta.compaction.out_of_order and block.meta.stats.histograms for block in blocks(world))
    world.check()
    world.kill()
    world.check()


def test_a_snapshot_has_them(world: World) -> None:
    fill(world, 300)
    into_blocks(world)
    fill(world, 50, 300)
    world.add([(0, START + 5, some_histogram(3))])
    name = world.storage.snapshot()
    world.storage.close()
    world.storage = Storage.open(FOLDER / "snapshots" / name, LATE, fs=world.fs)
    assert all(block.meta.stats.histograms for block in blocks(world))
    world.check()


def test_a_damaged_histogram_of_the_head_costs_its_chunks_only(world: World) -> None:
    fill(world, 400)
    path = next(path for path in world.fs.paths() if path.parent.name == "histograms")
    world.fs.flip(path, 8 * 3000)
    into_blocks(world)
    found = read(world.storage)
    assert found[2] == sorted(world.expected[2].items())
    lost = [row for row, samples in world.expected.items() if found.get(row, []) != sorted(samples.items())]
    assert len(lost) == 1
    assert set(found[lost[0]]) < set(world.expected[lost[0]].items())


def test_a_damaged_chunk_is_told(world: World) -> None:
    fill(world, 400)
    into_blocks(world)
    block = blocks(world)[0]
    chunk = int(np.flatnonzero(block.index["chunk_form"].all() == HISTOGRAMS)[0])
    world.fs.flip(block.path / "chunks", 8 * (int(block.index["chunk_offset"].all()[chunk]) + 9))
    assert "damaged" in str(next(block.problems()))


def plainest(value: Value) -> bytes:
    return value.encode() if isinstance(value, NativeHistogram) else value.to_bytes(8, "little")


VALUES = st.one_of(histograms(), histograms(), st.sampled_from([STALE_NAN, 0, 1 << 62]))


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3 * WINDOW_MS // MINUTE), VALUES), max_size=40),
       st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3 * WINDOW_MS // MINUTE), VALUES), max_size=10))
def test_anything(samples: list[tuple[int, int, Value]], late: list[tuple[int, int, Value]]) -> None:
    with stepped(1):
        world = World()
        last: dict[int, int] = {}
        for row, minute, value in sorted(samples, key=lambda each: each[1]):
            if last.get(row) != minute:
                last[row] = minute
                world.add([(row, START + minute * MINUTE, value)])
        newest = START + (3 * WINDOW_MS // MINUTE + 200) * MINUTE
        world.add([(row, newest, counter(row)) for row in range(3)])
        for row, minute, value in late:
            if START + minute * MINUTE - 1 not in world.expected[row]:
                world.add([(row, START + minute * MINUTE - 1, value)])
        into_blocks(world)
        assert blocks(world) or not samples
        wanted = {row: sorted((ts, plainest(value)) for ts, value in samples.items())
                  for row, samples in world.expected.items()}
        for compacted in range(2):
            if compacted:
                world.storage.compact()
            assert {row: [(ts, plainest(value)) for ts, value in samples]
                    for row, samples in read(world.storage).items()} == wanted



def test_tools_show_them(world: World) -> None:
    fill(world, 400)
    into_blocks(world)
    found = summary(blocks(world)[0])
    assert found["histograms"] == blocks(world)[0].meta.stats.histograms
    assert {(each["kind"], each["codec"]) for each in found["forms"]} == {
        ("floats", "gorilla"), ("histograms", "columns")}
    assert sum(each["samples"] for each in found["forms"]) == found["samples"]
    assert [(each["schema"], each["buckets"] > 2) for each in found["schemas"]] == [(2, True), (3, True)]
    assert f"{found['histograms']} samples are histograms" in text(found)
    line = next(line for line in _list(blocks(world)[0], ('{n="0"}',), True, False, 0) if "histogram" in line)
    assert line.endswith("histogram: schema 3, count 0, sum 0.0")
    world.storage.close()
    report = check_directory(world.fs, FOLDER)
    assert [each for each in report.findings if each.severity is Severity.DAMAGE] == []
