"""Windows become blocks: with all samples and tombstones, without what is damaged; then their files go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.storage.batches import bits
from tests.storage.block.plain import read_block
from tests.storage.upkeep.heads import Labels, append, complete, head_of, labels_of
from tsdb.model.batch import STALE_NAN
from tsdb.storage.block import Block
from tsdb.storage.blocks import Blocks
from tsdb.storage.damage import Damage
from tsdb.storage.head.head import Head
from tsdb.storage.head.layout import WINDOW_MS
from tsdb.storage.tombstones import Tombstones
from tsdb.storage.upkeep.cutting import Cutting, tombstones_of_rows
from tsdb.wal.files import LocalFileSystem

FS = LocalFileSystem()
SERIES = [{"__name__": f"m{n % 3}", "job": "é" * (n % 4), "n": str(n)} for n in range(20)]
Read = dict[Labels, list[tuple[int, int]]]


class Store:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.head: Head = head_of(FS, folder / "chunks")
        self.damage = Damage(FS, folder, read_only=False)
        self.blocks = Blocks.open(FS, folder / "blocks", self.head.lock, self.damage, read_only=False)
        self.cutting = Cutting(FS, self.head, self.blocks, self.damage)

    def files(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "chunks").iterdir())

    def read(self) -> Read:
        found: Read = {}
        for block in self.blocks.every:
            block.verify()
            for labels, samples in read_block(block).items():
                found.setdefault(labels, []).extend(samples)
        return found


def some_samples(windows: int) -> list[tuple[int, int, int]]:
    chance = np.random.default_rng(1)
    samples = []
    for n in range(0, 20, 2):  # every second series has samples
        for ts in np.cumsum(chance.integers(1, 80_000, 250 * windows)).tolist():
            if ts < windows * WINDOW_MS:
                value = STALE_NAN if ts % 11 == 0 else bits(chance.choice([0.25, 1e300, float(ts), float("nan")]))
                samples.append((n, ts, value))
    return samples


def by_series(samples: list[tuple[int, int, int]]) -> Read:
    found: Read = {}
    for n, ts, value in samples:
        found.setdefault(labels_of(SERIES[n]), []).append((ts, value))
    return found


def test_windows_become_blocks(tmp_path: Path) -> None:
    store = Store(tmp_path)
    samples = some_samples(3)
    append(store.head, SERIES, samples)
    complete(store.head, 2 * WINDOW_MS)
    window = store.head.windows.every[0]
    chunks = window.sealed
    assert store.cutting.cut_windows() == 2
    first, second = store.blocks.every
    assert (first.meta.mint, first.meta.maxt, second.meta.mint, second.meta.maxt) == (
        0, WINDOW_MS, WINDOW_MS, 2 * WINDOW_MS)
    assert first.meta.stats.chunks == chunks > 10
    assert first.meta.stats.series == 10
    made_of = second.meta.compaction
    assert (made_of.level, made_of.hints, made_of.windows) == (1, ("from-head",), (f"{WINDOW_MS}.chunks",))
    assert store.blocks.border == made_of.border == 2 * WINDOW_MS
    assert store.read() == by_series([sample for sample in samples if sample[1] < 2 * WINDOW_MS])
    assert store.files() == [f"{2 * WINDOW_MS}.chunks"]
    assert [window.number for window in store.head.windows.every] == [2]
    assert store.head.min_ts == 2 * WINDOW_MS
    assert store.cutting.cut_windows() == 0


def test_a_window_is_cut_before_it_is_over(tmp_path: Path) -> None:
    """More samples for it go to another file, and that to another block."""
    store = Store(tmp_path)
    early = [(n, 1000 * k, k) for n in range(3) for k in range(1, 100)]
    late = [(n, 1000 * k, k) for n in range(1, 4) for k in range(100, 130)]
    append(store.head, SERIES, early)
    store.head.seal_before(WINDOW_MS)
    store.head.border = 99_001
    store.head.windows.finish(list(store.head.windows.every))
    store.cutting.cut_windows()
    append(store.head, SERIES, late)
    complete(store.head, WINDOW_MS)
    assert store.files() == ["0.1.chunks"]
    store.cutting.cut_windows()
    assert [(block.meta.mint, block.meta.maxt) for block in store.blocks.every] == [(0, 99_001), (99_001, WINDOW_MS)]
    assert store.files() == []
    assert store.read() == by_series(early + late)


def test_what_is_deleted_stays_deleted(tmp_path: Path) -> None:
    store = Store(tmp_path)
    append(store.head, SERIES, [(n, 1000 * k, k) for n in range(6) for k in range(2 * WINDOW_MS // 1000)])
    slots = np.array([5, 1, 3], np.int32)
    store.head.tombstones = Tombstones.none().adding(
        slots, np.array([WINDOW_MS - 5, 7, 9000]), np.array([2 * WINDOW_MS - 1, 20, WINDOW_MS + 40]))
    complete(store.head, WINDOW_MS)
    store.cutting.cut_windows()
    (block,) = store.blocks.every
    names = [block.series_set(np.arange(6, dtype=np.int32)).labels(row)["n"] for row in range(6)]
    opened = Block.open(FS, block.path)
    for found in (block.tombstones, opened.tombstones):
        intervals = dict(zip([names[row] for row in found.series.tolist()],
                             zip(found.mint.tolist(), found.maxt.tolist(), strict=True), strict=True))
        assert intervals == {"5": (WINDOW_MS - 5, WINDOW_MS - 1), "1": (7, 20), "3": (9000, WINDOW_MS - 1)}
    assert store.head.tombstones.series.tolist() == [3, 5], "of the next window"
    opened.release()


def test_tombstones_of_rows() -> None:
    some = Tombstones.none().adding(np.array([4, 4, 2, 9], np.int32), np.array([10, 30, 0, 5]),
                                    np.array([20, 40, 5, 6]))
    found = tombstones_of_rows(some, np.array([9, 4, 3], np.int32), 6, 35)
    assert (found.series.tolist(), found.mint.tolist(), found.maxt.tolist()) == ([0, 1, 1], [6, 10, 30], [6, 20, 34])
    assert len(tombstones_of_rows(Tombstones.none(), np.arange(3, dtype=np.int32), 0, 10)) == 0


@pytest.mark.parametrize("byte", [1, 16, 50])
def test_a_damaged_chunk_is_left_out(byte: int, tmp_path: Path) -> None:
    """And its file is kept."""
    store = Store(tmp_path)
    samples = [(n, 1000 * k, k * k) for n in range(3) for k in range(1, 500)]
    append(store.head, SERIES, samples)
    complete(store.head, WINDOW_MS)
    newest = int(store.head.windows.every[0].chain[1])
    with (tmp_path / "chunks" / "0.chunks").open("r+b") as file:
        file.seek(newest + byte)
        before = file.read(1)
        file.seek(newest + byte)
        file.write(bytes([before[0] ^ 4]))
    store.cutting.cut_windows()
    assert store.files() == []
    (found,) = store.damage.found
    assert "1 chunks are damaged" in found.reason
    assert (found.kept.name, found.mint, found.maxt) == ("chunks-0.chunks", 0, WINDOW_MS)
    assert store.read() == by_series([sample for sample in samples if sample[0] != 1])
    assert store.blocks.every[0].meta.stats.series == 2


def test_a_window_without_chunks(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.head.windows.ensure(0, 100)
    complete(store.head, WINDOW_MS)
    assert store.cutting.cut_windows() == 1
    assert store.blocks.every == ()
    assert store.files() == []
