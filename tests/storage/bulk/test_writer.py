"""The bulk writer: whatever comes, in whatever order, is in its blocks once, also after it was interrupted."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.batches import bits, make_batch, read
from tests.wal.simulated import Killed, SimulatedFileSystem
from tsdb.kernels.hash_kernels import new_secret
from tsdb.model.batch import STALE_NAN, Batch
from tsdb.model.context import RequestContext
from tsdb.model.errors import StorageError
from tsdb.model.matchers import Matcher, MatchType
from tsdb.model.native_histograms import BOX, NORMAL_NAN, NativeHistogram, decode
from tsdb.model.tiles import Selection
from tsdb.storage import Storage
from tsdb.storage.bulk.writer import BulkWriter
from tsdb.wal.files import FileSystem

DATA, WORK = Path("/data"), Path("/work")
SECRET = new_secret()
HOUR, DAY = 3_600_000, 86_400_000
START = 1_600_000_000_000 // DAY * DAY
SERIES = [{"__name__": "m", "n": str(n)} for n in range(4)] + [{"__name__": "other"}]
LABELS = [tuple(sorted(labels.items())) for labels in SERIES]
Samples = Sequence[tuple[int, int, int]]
"""(series, ms, bits)"""


def writer(fs: FileSystem, memory_bytes: int = 1 << 20, identity: bytes = b"one", now: float = 1.8e9) -> BulkWriter:
    return BulkWriter(fs, DATA / "blocks", WORK, SECRET, identity=identity, memory_bytes=memory_bytes,
                      clock=lambda: now)


def expected(batches: Sequence[Samples]) -> dict[tuple[tuple[str, str], ...], list[tuple[int, int]]]:
    found: dict[int, dict[int, int]] = {}
    for batch in batches:
        for row, ts, value in batch:
            found.setdefault(row, {}).setdefault(ts, value)
    return {LABELS[row]: sorted(own.items()) for row, own in found.items()}


def contents(fs: FileSystem) -> dict[tuple[tuple[str, str], ...], list[tuple[int, int]]]:
    storage = Storage.open(DATA, fs=fs)
    try:
        return read(storage)
    finally:
        storage.close()


def filled(fs: FileSystem) -> None:
    Storage.open(DATA, fs=fs).close()


def some(seed: int, count: int, days: float = 40) -> list[list[tuple[int, int, int]]]:
    chance = random.Random(seed)
    every = [(chance.randrange(5), START + chance.randrange(int(days * DAY)), bits(chance.random()))
             for _ in range(count)]
    return [every[at : at + 97] for at in range(0, count, 97)]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.tuples(
    st.integers(0, 4), st.integers(0, 100).map(lambda n: START + n * 1_700_000),
    st.sampled_from([STALE_NAN, bits(1.5), bits(-0.0), bits(float("inf")), 1, 0x7FF8000000000123]))), max_size=5),
    st.sampled_from([1, 1000, 1 << 20]))
def test_any_order(batches: list[list[tuple[int, int, int]]], memory_bytes: int) -> None:
    fs = SimulatedFileSystem()
    filled(fs)
    bulk = writer(fs, memory_bytes)
    for batch in batches:
        assert bulk.add(make_batch(SECRET, SERIES, batch)) == len(batch)
    metas = bulk.finish()
    bulk.discard()
    assert not fs.exists(WORK / "runs") and not fs.exists(WORK)
    wanted = expected(batches)
    assert contents(fs) == wanted
    assert sum(meta.stats.samples for meta in metas) == sum(map(len, wanted.values()))


def test_blocks_are_as_compaction_leaves_them() -> None:
    fs = SimulatedFileSystem()
    filled(fs)
    bulk = writer(fs)
    batches = some(1, 3000)
    for batch in batches:
        bulk.add(make_batch(SECRET, SERIES, batch))
    metas = bulk.finish()
    ends = [meta.maxt for meta in metas[:-1]]
    assert [meta.mint for meta in metas[1:]] == ends, "they lie side by side"
    assert all(end % (2 * HOUR) == 0 for end in ends) and 3 <= len(metas) <= 9
    assert all(meta.compaction.out_of_order and meta.compaction.border is None for meta in metas)
    bulk.discard()
    storage = Storage.open(DATA, fs=fs)
    storage.compact()
    assert read(storage) == expected(batches)
    storage.close()


def test_memory_is_bounded_by_runs() -> None:
    fs = SimulatedFileSystem()
    filled(fs)
    bulk = writer(fs, memory_bytes=64 * 500)
    batches = some(2, 5000)
    for batch in batches:
        bulk.add(make_batch(SECRET, SERIES, batch))
        assert bulk._gathered.bytes < 64 * 600
    assert 8 <= len(fs.listdir(WORK / "runs")) <= 10
    bulk.finish()
    bulk.discard()
    assert contents(fs) == expected(batches)


def test_again_adds_nothing() -> None:
    fs = SimulatedFileSystem()
    filled(fs)
    batches = some(3, 1000)

    def run(identity: bytes, there: Sequence[str] = (), fs: SimulatedFileSystem = fs) -> list[str]:
        bulk = writer(fs, identity=identity)
        for batch in batches:
            bulk.add(make_batch(SECRET, SERIES, batch))
        found = bulk.finish(there)
        bulk.discard()
        return [meta.ulid for meta in found]

    first = run(b"one")
    assert run(b"one") == first
    assert len(fs.listdir(DATA / "blocks")) == len(first)
    elsewhere = SimulatedFileSystem()
    assert run(b"one", first[1:], elsewhere) == elsewhere.listdir(DATA / "blocks")
    assert [name[-16:] for name in elsewhere.listdir(DATA / "blocks")] == [first[0][-16:]]
    assert not set(run(b"two")) & set(first), "another input is another import"
    assert contents(fs) == expected(batches)


@pytest.mark.parametrize("seed", range(8))
def test_killed_at_any_moment(seed: int) -> None:
    """What it was given before a mark need not be given again."""
    chance = random.Random(seed)
    fs = SimulatedFileSystem()
    filled(fs)
    batches = some(seed, 1000)
    inputs = [batches[at : at + 4] for at in range(0, len(batches), 4)]
    for _ in range(4):
        fs.kill_at = len(fs.operations) + chance.randrange(300)
        try:
            _import(fs, inputs, 64 * chance.choice([150, 500, 100_000]))
        except Killed:
            fs = fs.killed() if chance.random() < 0.5 else fs.power_cut()
        fs.kill_at = -1
    _import(fs, inputs, 64 * 500)
    assert contents(fs) == expected(batches)


def _import(fs: SimulatedFileSystem, inputs: Sequence[Sequence[Samples]], memory_bytes: int) -> None:
    bulk = writer(fs, memory_bytes)
    for number, every in enumerate(inputs):
        if str(number) not in bulk.marks:
            for batch in every:
                bulk.add(make_batch(SECRET, SERIES, batch))
            bulk.checkpoint(str(number))
    bulk.finish()
    bulk.discard()


def test_of_another_import() -> None:
    fs = SimulatedFileSystem()
    bulk = writer(fs)
    bulk.add(make_batch(SECRET, SERIES, [(0, START, 1)]))
    bulk.checkpoint("a")
    bulk.finish()
    with pytest.raises(StorageError, match="another import"):
        writer(fs, identity=b"two")


def test_ahead_of_the_clock() -> None:
    fs = SimulatedFileSystem()
    filled(fs)
    bulk = writer(fs, now=START / 1000)
    samples = [(0, START, 1), (0, START + 600_000, 2), (0, START + 600_001, 3)]
    assert bulk.add(make_batch(SECRET, SERIES, samples)) == 2
    bulk.finish()
    assert contents(fs) == expected([samples[:2]])


def with_starts(batch: Batch, starts: Sequence[int]) -> Batch:
    return replace(batch, start_ts=np.array(starts, np.int64))


def test_start_times_and_histograms() -> None:
    fs = SimulatedFileSystem()
    filled(fs)
    bulk = writer(fs, memory_bytes=1)
    histograms = [NativeHistogram(1, 2.5 * n, n, 0.001, 0, ((0, 2),), (), (n - 1, 1)) for n in range(1, 5)]
    for number, histogram in enumerate(histograms):
        payload = bytes(8) + histogram.encode()
        batch = make_batch(SECRET, SERIES, [(0, START + number * HOUR, BOX | 8), (1, START - number, bits(number))])
        bulk.add(replace(with_starts(batch, [START - 5, 0]), payload=np.frombuffer(payload, np.uint8)))
    nan = make_batch(SECRET, SERIES, [(2, START, BOX | 77)])
    bulk.add(nan)
    bulk.finish()
    storage = Storage.open(DATA, fs=fs)
    selection = Selection((Matcher(MatchType.EQUAL, "__name__", "m"),), 0, 1 << 60, start_times=True)
    with storage.capture([selection], RequestContext()) as capture:
        tile = capture.selected[0].tile(0)
        assert tile.payload is not None and tile.start_ts is not None
        values = tile.values.view(np.uint64)
        found = [decode(tile.payload, int(value) & ((1 << 50) - 1)) for value in values[tile.begin[0] : tile.end[0]]]
        assert [(each.count, each.sum) for each in found] == [(each.count, each.sum) for each in histograms]
        assert tile.start_ts[tile.begin[0] : tile.end[0]].tolist() == [START - 5] * 4
        assert tile.start_ts[tile.begin[1] : tile.end[1]].tolist() == [0] * 4
        assert [struct.unpack("<d", struct.pack("<Q", int(value)))[0] for value in
                values[tile.begin[1] : tile.end[1]]] == [3.0, 2.0, 1.0, 0.0]
        assert values[tile.begin[2] : tile.end[2]].tolist() == [NORMAL_NAN], "a float that looks like a box"
    storage.close()
