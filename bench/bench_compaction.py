"""Cutting windows into blocks, and compacting these: six hours of the peer benchmark's data, 5,100 series.

`pytest bench/bench_compaction.py -m '' -s -n0` prints CPU time of the thread and bytes on disk per sample.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.peers.dataset import Spec, _Block
from tests.storage.batches import make_batch
from tests.storage.upkeep.heads import head_of
from tsdb.storage.blocks import Blocks
from tsdb.storage.damage import Damage
from tsdb.storage.head.head import Head, Judged
from tsdb.storage.head.layout import WINDOW_MS
from tsdb.storage.upkeep.compaction import Compaction
from tsdb.storage.upkeep.cutting import Cutting
from tsdb.wal.files import LocalFileSystem

HOSTS = 50
START = 1_790_000_000_000 // (3 * WINDOW_MS) * (3 * WINDOW_MS)
FS = LocalFileSystem()


class Filled:
    """A head with three windows that are over."""

    def __init__(self, folder: Path) -> None:
        self.head: Head = head_of(FS, folder / "chunks")
        names, values, ts = _Block(Spec(HOSTS, 6, 1, START), range(HOSTS)).series()
        batch = make_batch(self.head.table.secret, [dict(labels) for _, labels in names], [(0, START, 0)])
        slots, _ = self.head.table.resolve(batch)
        self.head.table.create(batch.row_hash, batch.keys, batch.row_offset, batch.row_length, slots)
        refs = self.head.records["ref"][slots]
        bits = np.ascontiguousarray(values.T, dtype=np.float64).view(np.uint64)
        times = np.ascontiguousarray(ts.T, dtype=np.int64)
        self.samples = bits.size
        for now, each in zip(times, bits, strict=True):
            self.head.apply(Judged(refs, slots, now, each, int(now.min()), int(now.max()), None))
        self.head.seal_before(1 << 60)
        self.head.border = START + 4 * WINDOW_MS
        self.head.windows.finish(self.head.windows.end_before(self.head.border))
        damage = Damage(FS, folder, read_only=False)
        self.blocks = Blocks.open(FS, folder / "blocks", self.head.lock, damage, read_only=False)
        self.cutting = Cutting(FS, self.head, self.blocks, damage)

    def measure(self, work: Callable[[], object]) -> None:
        began, cpu = time.perf_counter(), time.thread_time()
        work()
        cpu, wall = time.thread_time() - cpu, time.perf_counter() - began
        size = sum(block.bytes for block in self.blocks.every)
        print(f"\n{cpu / self.samples * 1e9:.1f} ns of CPU per sample, {size / 1e6 / wall:.0f} MB/s, "
              f"{size / self.samples:.2f} bytes per sample in {len(self.blocks.every)} blocks")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    return Filled(tmp_path_factory.mktemp("data"))


def bench_cut(filled: Filled) -> None:
    filled.measure(filled.cutting.cut_windows)


def bench_compact(filled: Filled) -> None:
    filled.cutting.cut_windows()
    compaction = Compaction(FS, filled.blocks, lambda: None)
    filled.measure(lambda: compaction.compact_once(0, everything=True))
