"""Blocks are merged: against the plain merging of dicts, and when something comes in between."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.storage.block.plain import Labels, PlainSource, read_block
from tests.wal.simulated import SimulatedFileSystem
from tsdb.model.errors import Unavailable
from tsdb.storage.block import Block, new_ulid, write_block
from tsdb.storage.block.layout import DENSE_FLOATS, FLOATS
from tsdb.storage.block.meta import OUT_OF_ORDER
from tsdb.storage.block.tombstones_file import write_tombstones
from tsdb.storage.blocks import Blocks, superseded
from tsdb.storage.damage import Damage
from tsdb.storage.tombstones import Tombstones
from tsdb.storage.upkeep.compaction import Compaction, merge_blocks
from tsdb.storage.upkeep.compaction_kernels import number_texts
from tsdb.wal.files import FileSystem, LocalFileSystem

FOLDER = Path("/data/blocks")
HOUR = 3_600_000
Plain = dict[Labels, dict[int, int]]
"""Values by time, by series."""

texts = st.sampled_from(["a", "b", "ab", "é", "\x00", "m" * 20])
label_sets = st.dictionaries(texts, texts, min_size=1, max_size=3).map(lambda found: tuple(sorted(found.items())))
series = st.dictionaries(label_sets, st.dictionaries(st.integers(0, 60), st.integers(0, 9), min_size=1, max_size=30),
                         max_size=5)
deleted = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 60), st.integers(0, 30)), max_size=3)
"""(row modulo series, from, length)"""
contents = st.lists(st.tuples(series, st.booleans(), deleted), min_size=1, max_size=4)


def chunked(content: Mapping[Labels, Mapping[int, int]]) -> dict[Labels, list[list[tuple[int, int]]]]:
    out = {}
    for labels, samples in content.items():
        every = sorted(samples.items())
        out[labels] = [every[i : i + 7] for i in range(0, len(every), 7)]
    return out


def write(fs: FileSystem, content: Mapping[Labels, Mapping[int, int]], number: int, *, late: bool = False,
          mint: int = 0, maxt: int = 2 * HOUR, folder: Path = FOLDER) -> Path:
    meta = write_block(fs, folder, PlainSource(chunked(content), mint, maxt), ulid=new_ulid(number),
                       hints=(OUT_OF_ORDER,) if late else (), border=None if late else maxt)
    return folder / meta.ulid


def open_blocks(fs: FileSystem, folder: Path = FOLDER) -> Blocks:
    return Blocks.open(fs, folder, threading.Lock(), Damage(fs, folder.parent, read_only=False), read_only=False)


def delete(block: Block, intervals: Sequence[tuple[int, int, int]], plain: Plain) -> None:
    """From a block, and from its content by row."""
    names = [tuple(block.series_set(np.array([row], np.int32)).labels(0).items()) for row in range(len(block))]
    for number, mint, length in intervals if names else ():
        row = number % len(names)
        block.tombstones = block.tombstones.adding(np.array([row], np.int32), np.array([mint]),
                                                   np.array([mint + length]))
        samples = plain[names[row]]
        for ts in [ts for ts in samples if mint <= ts <= mint + length]:
            del samples[ts]


def no_pause() -> None:
    pass


@given(contents)
def test_merging(found: list[tuple[Plain, bool, list[tuple[int, int, int]]]]) -> None:
    fs = SimulatedFileSystem()
    for number, (content, late, _) in enumerate(found):
        write(fs, content, number, late=late)
    blocks = open_blocks(fs)
    opened = sorted(blocks.every, key=lambda block: block.meta.ulid)
    assert len(opened) == len(found)
    expected: Plain = {}
    left = []
    for block, (content, late, intervals) in zip(opened, found, strict=True):
        plain = {labels: dict(samples) for labels, samples in content.items()}
        delete(block, intervals, plain)
        left.append((late, plain))
    left.reverse()  # the first one written counts, and samples in order before all late ones
    for _, plain in [each for each in left if each[0]] + [each for each in left if not each[0]]:
        for labels, samples in plain.items():
            expected.setdefault(labels, {}).update(samples)
    made = merge_blocks(fs, blocks, opened, no_pause)
    wanted = {labels: sorted(samples.items()) for labels, samples in expected.items() if samples}
    if made is None:
        assert not wanted
    else:
        made.verify()
        assert read_block(made) == wanted
        assert made.meta.compaction.out_of_order == all(late for late, _ in left)
        assert made.meta.compaction.border == (None if made.meta.compaction.out_of_order else 2 * HOUR)
        assert made.meta.compaction.sources == tuple(block.meta.ulid for block in opened)
        made.release()
    blocks.close()


@given(st.lists(st.sampled_from([b"", b"a", b"ab", b"b", b"\xff", b"\0", b"x" * 20]) | st.binary(max_size=3)))
def test_equal_texts_have_one_number(found: list[bytes]) -> None:
    lengths = np.array([len(text) for text in found], np.int64)
    data = np.frombuffer(b"".join(found) + bytes(8), np.uint8)
    order = np.array(sorted(range(len(found)), key=found.__getitem__), np.int32)
    numbers, first = np.empty(len(found), np.uint32), np.empty(len(found), np.int64)
    count = number_texts(data, np.cumsum(lengths) - lengths, lengths, order, numbers, first)
    every = sorted(set(found))
    assert [found[text] for text in first[:count].tolist()] == every
    assert [every[number] for number in numbers.tolist()] == found


def counters(start: int, count: int) -> Plain:
    """Of 9 series, some of them in these hours only, every minute."""
    return {(("__name__", "m"), ("n", f"{n:03}")): {start + 60_000 * i: n * i for i in range(count)}
            for n in range(0, 9, 1 + start // HOUR % 3)}


def hours(fs: FileSystem, folder: Path = FOLDER, count: int = 4) -> Plain:
    """So many blocks of two hours."""
    every: Plain = {}
    for k in range(count):
        content = counters(2 * HOUR * k, 120)
        write(fs, content, k, mint=2 * HOUR * k, maxt=2 * HOUR * (k + 1), folder=folder)
        for labels, samples in content.items():
            every.setdefault(labels, {}).update(samples)
    return every


def read(blocks: Blocks) -> dict[Labels, list[tuple[int, int]]]:
    found: dict[Labels, list[tuple[int, int]]] = {}
    for block in blocks.every:
        for labels, samples in read_block(block).items():
            found.setdefault(labels, []).extend(samples)
    return found


def in_order(plain: Plain) -> dict[Labels, list[tuple[int, int]]]:
    return {labels: sorted(samples.items()) for labels, samples in plain.items()}


def test_three_blocks_become_one(tmp_path: Path) -> None:
    fs = LocalFileSystem()
    folder = tmp_path / "blocks"
    expected = hours(fs, folder)
    blocks = open_blocks(fs, folder)
    reader = blocks.every[0]
    reader.acquire()
    pauses = []
    compaction = Compaction(fs, blocks, lambda: pauses.append(1))
    assert compaction.compact_once(0)
    assert not compaction.compact_once(0)
    first, last = blocks.every
    assert (first.meta.mint, first.meta.maxt, last.meta.mint) == (0, 6 * HOUR, 6 * HOUR)
    assert first.meta.compaction.level == 2
    assert len(first.meta.compaction.parents) == 3
    assert first.meta.stats.chunks == len(first)
    assert read(blocks) == in_order(expected)
    assert len(pauses) >= 3
    assert (compaction.triggered, compaction.done, compaction.failed, compaction.vertical) == (1, 1, 0, 0)
    assert sum(compaction.seconds.counts) == 1
    read_block(reader)
    reader.release()
    assert sorted(path.name for path in folder.iterdir()) == sorted(block.meta.ulid for block in blocks.every)
    assert compaction.compact_once(0, everything=True)
    assert len(blocks.every) == 1
    assert read(blocks) == in_order(expected)
    blocks.close()


def test_everything_leaves_no_chunk_as_the_head_encoded_it() -> None:
    fs = SimulatedFileSystem()
    expected = hours(fs, count=4)
    blocks = open_blocks(fs)
    compaction = Compaction(fs, blocks, no_pause)
    while compaction.compact_once(0):
        pass
    assert [set(block.index["chunk_form"].all().tolist()) for block in blocks.every] == [{DENSE_FLOATS}, {FLOATS}]
    while compaction.compact_once(0, everything=True):
        pass
    assert {form for block in blocks.every for form in block.index["chunk_form"].all().tolist()} == {DENSE_FLOATS}
    assert read(blocks) == in_order(expected)
    blocks.close()


def test_overlapping_blocks_come_first() -> None:
    fs = SimulatedFileSystem()
    hours(fs, count=2)
    write(fs, {(("late", "1"),): {10: 1}}, 9, late=True)
    blocks = open_blocks(fs)
    compaction = Compaction(fs, blocks, no_pause)
    assert compaction.compact_once(0)
    assert [(block.meta.mint, block.meta.maxt) for block in blocks.every] == [(0, 2 * HOUR), (2 * HOUR, 4 * HOUR)]
    assert compaction.vertical == 1
    assert not blocks.every[0].meta.compaction.out_of_order


@pytest.mark.parametrize("what", ["deleted", "gone"])
def test_what_changes_meanwhile_counts(what: str) -> None:
    """The compaction is in vain then, and begins anew."""
    fs = SimulatedFileSystem()
    hours(fs)
    blocks = open_blocks(fs)
    block = blocks.every[1]
    gone = Tombstones.none().adding(np.array([0], np.int32), np.array([0]), np.array([10 * HOUR]))
    calls = 0

    def pause() -> None:
        nonlocal calls
        calls += 1
        if calls == 3 and what == "deleted":
            write_tombstones(fs, block.path, gone)
            block.tombstones = gone
        elif calls == 3:
            blocks.publish((), [block])

    compaction = Compaction(fs, blocks, pause)
    before = blocks.every
    assert compaction.compact_once(0)
    assert blocks.every == tuple(each for each in before if what == "deleted" or each is not block)
    assert (compaction.triggered, compaction.done, compaction.failed) == (1, 0, 0)
    assert not [path for path in fs.paths() if ".tmp" in str(path)]
    if what == "deleted":
        assert compaction.compact_once(0)
        assert len(blocks.every) == 2
        assert len(read_block(blocks.every[0])[(("__name__", "m"), ("n", "000"))]) == 2 * 120


def test_it_ends_when_told_to() -> None:
    fs = SimulatedFileSystem()
    expected = hours(fs)
    blocks = open_blocks(fs)

    def pause() -> None:
        raise Unavailable("the storage is shutting down")

    with pytest.raises(Unavailable):
        Compaction(fs, blocks, pause).compact_once(0)
    assert read(blocks) == in_order(expected)
    assert not [path for path in fs.paths() if ".tmp" in str(path)]


def test_no_space() -> None:
    fs = SimulatedFileSystem()
    expected = hours(fs)
    blocks = open_blocks(fs)
    compaction = Compaction(fs, blocks, no_pause)
    fs.capacity = fs.capacity - fs.room_left() + 1000
    with pytest.raises(OSError, match="space"):
        compaction.compact_once(0)
    assert compaction.failed == 1
    assert read(blocks) == in_order(expected)
    fs.capacity = 1 << 40
    assert compaction.compact_once(0)
    assert read(blocks) == in_order(expected)


def test_damaged_blocks_are_left_alone() -> None:
    fs = SimulatedFileSystem()
    hours(fs, count=8)
    damaged = sorted(path for path in fs.paths() if path.name == "chunks")[1].parent
    fs.flip(damaged / "chunks", 8 * 200)
    blocks = open_blocks(fs)
    compaction = Compaction(fs, blocks, no_pause)
    while compaction.compact_once(0):
        pass
    assert [(block.meta.maxt - block.meta.mint) // HOUR for block in blocks.every] == [2, 2, 2, 6, 2, 2]
    assert compaction.failed == 1


def test_all_is_deleted() -> None:
    fs = SimulatedFileSystem()
    hours(fs)
    blocks = open_blocks(fs)
    for block in blocks.every:
        rows = np.arange(len(block), dtype=np.int32)
        block.tombstones = Tombstones.none().adding(rows, np.zeros(rows.size, np.int64), np.full(rows.size, 99 * HOUR))
    last = blocks.every[-1]
    assert Compaction(fs, blocks, no_pause).compact_once(0)
    assert blocks.every == (last,)
    assert {path.parent for path in fs.paths()} == {last.path}


def test_what_is_superseded() -> None:
    """Parents, and what an older generation left behind when it could not be removed."""
    fs = SimulatedFileSystem()
    hours(fs)
    kept = fs.killed()
    blocks = open_blocks(fs)
    compaction = Compaction(fs, blocks, no_pause)
    compaction.compact_once(0)
    meta = blocks.every[0].meta
    older = [block.meta for block in open_blocks(kept).every]
    assert superseded([meta, *older]) == {each.ulid for each in older[:3]}
    without_parents = type(meta)(meta.ulid, meta.mint, meta.maxt, meta.stats,
                                 type(meta.compaction)(meta.compaction.level, meta.compaction.sources))
    assert superseded([without_parents, *older]) == {each.ulid for each in older[:3]}
    assert superseded(older) == set()
