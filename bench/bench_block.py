"""Blocks: writing, opening, selecting, decoding; at 100,000 series of 8 chunks. Figures are CPU seconds of one thread.

`pytest bench/bench_block.py -m '' -s` prints bytes per series, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.workload import labels
from tests.storage.block.plain import encoded, series_labels
from tsdb.model.matchers import Matcher, MatchType
from tsdb.storage.block import Block, Chunks, SeriesLabels, write_block
from tsdb.storage.block.layout import FLOATS
from tsdb.wal.files import LocalFileSystem

SERIES = 100_000
CHUNKS = 8
SAMPLES = 60
STEP_MS = 15_000
FS = LocalFileSystem()

SELECTORS = {
    "one label": [Matcher(MatchType.EQUAL, "mode", "idle")],
    "two labels": [Matcher(MatchType.EQUAL, "__name__", "node_cpu_seconds_total"),
                   Matcher(MatchType.EQUAL, "instance", "host-00500.example.net:9100")],
    "negative": [Matcher(MatchType.EQUAL, "__name__", "http_requests_total"),
                 Matcher(MatchType.NOT_EQUAL, "code", "200")],
    "regex": [Matcher(MatchType.EQUAL, "__name__", "node_cpu_seconds_total"),
              Matcher(MatchType.REGEX, "instance", "host-0.[05]..\\..*")],
}


class FleetSource:
    """Every series has the same chunks: 8 of 60 samples of a counter."""

    def __init__(self) -> None:
        self.mint, self.maxt = 0, CHUNKS * SAMPLES * STEP_MS
        self._labels = series_labels([tuple(labels(i)) for i in range(SERIES)])
        data, chance = [], np.random.default_rng(1)
        for k in range(CHUNKS):
            values = np.cumsum(chance.poisson(20, SAMPLES)).astype(np.float64).view(np.uint64)
            times = np.arange(k * SAMPLES, (k + 1) * SAMPLES) * STEP_MS
            data.append(encoded(list(zip(times.tolist(), values.tolist(), strict=True))))
        self._memory = np.frombuffer(b"".join(data), np.uint8)
        self._length = np.array([len(each) for each in data], np.int64)
        self._offset = np.cumsum(self._length) - self._length

    def series(self) -> SeriesLabels:
        return self._labels

    def chunks(self, order: NDArray[np.int32]) -> Iterator[Chunks]:
        base = self._memory.__array_interface__["data"][0]
        for start in range(0, order.size, 4096):
            n = min(4096, order.size - start)
            first = np.tile(np.arange(CHUNKS) * SAMPLES * STEP_MS, n)
            yield Chunks(
                np.full(n, CHUNKS), first, first + (SAMPLES - 1) * STEP_MS, np.full(first.size, SAMPLES),
                np.full(first.size, FLOATS, np.uint8), np.tile((base + self._offset).astype(np.uint64), n),
                np.tile(self._length, n), self._memory,
            )


@pytest.fixture(scope="module")
def source() -> FleetSource:
    return FleetSource()


@pytest.fixture(scope="module")
def written(source: FleetSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blocks")
    path = folder / write_block(FS, folder, source).ulid
    block = Block.open(FS, path)
    index = block.index
    sizes = {name: index[name].raw.size for name in sorted(index.names(), key=lambda name: -index[name].raw.size)}
    print(f"\nindex: {(path / 'index').stat().st_size / SERIES:.1f} bytes per series; chunks: "
          f"{(path / 'chunks').stat().st_size / SERIES / CHUNKS:.1f} bytes per chunk")
    print(", ".join(f"{name} {size / SERIES:.1f}" for name, size in sizes.items()))
    return path


@pytest.fixture
def cpu() -> Callable[[Callable[[], object], int], None]:
    """cpu(call, rounds): the least CPU time of a call; the machine's noise is other processes' work."""

    def run(call: Callable[[], object], rounds: int) -> None:
        best = 1e9
        for _ in range(rounds):
            began = time.thread_time()
            call()
            best = min(best, time.thread_time() - began)
        print(f"\n{best * 1e3:.3f} ms of CPU")

    return run


Cpu = Callable[[Callable[[], object], int], None]


def bench_write(source: FleetSource, tmp_path: Path, cpu: Cpu) -> None:
    cpu(lambda: write_block(FS, tmp_path, source), 3)


def bench_open(written: Path, cpu: Cpu) -> None:
    cpu(lambda: Block.open(FS, written).release(), 20)


def bench_verify(written: Path, cpu: Cpu) -> None:
    cpu(lambda: Block.open(FS, written).verify(), 3)


@pytest.mark.parametrize("name", SELECTORS)
@pytest.mark.parametrize("state", ["first", "again"])
def bench_find(name: str, state: str, written: Path, cpu: Cpu) -> None:
    """`first`: after opening, pages are checked; `again`: checked, and what the matchers mean is kept."""
    block = Block.open(FS, written)
    print(block.find(SELECTORS[name]).size, "series", end="")
    if state == "again":
        cpu(lambda: block.find(SELECTORS[name]), 50)
    else:
        cpu(lambda: Block.open(FS, written).find(SELECTORS[name]), 10)


def bench_decode(written: Path, cpu: Cpu) -> None:
    """All samples of the series of one label, in tiles."""
    block = Block.open(FS, written)
    rows = block.find(SELECTORS["one label"])

    def decode() -> int:
        ranges = block.chunk_ranges(rows, 0, 1 << 60)
        return sum(block.decode(ranges, i, min(i + 128, rows.size))[2].size for i in range(0, rows.size, 128))

    print(decode(), "samples", end="")
    cpu(decode, 5)


def bench_series_set(written: Path, cpu: Cpu) -> None:
    block = Block.open(FS, written)
    rows = block.find(SELECTORS["one label"])
    cpu(lambda: block.series_set(rows), 20)
