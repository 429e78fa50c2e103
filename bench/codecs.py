"""Bytes and nanoseconds per sample of each codec, on each kind of series and on the peer benchmark's data.

`python -m bench.codecs` (`--hosts 20 --hours 6`; `--metrics`: also each metric of that data). Chunks are written to a
block and read from it, so that checksums, columns of times and the index count; beside them pcodec, where it is
installed (`pip install pcodec`), which has values and times of each series on their own, without an index.
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.peers.dataset import Spec, _Block
from tests.storage.block.plain import series_labels
from tsdb.server import malloc
from tsdb.storage.block import Block, Chunks, SeriesLabels, TimeColumns, write_block
from tsdb.storage.block.encoding import DENSE_SAMPLES, DenseEncoder, encode
from tsdb.storage.block.families import families
from tsdb.wal.files import LocalFileSystem

FS = LocalFileSystem()
START = 1_790_000_000_000 // 21_600_000 * 21_600_000
STEP_MS = 15_000
STALE = 0x7FF0000000000002
ROWS = 128
"""Series at once, in writing and in reading."""
TIMES, SECONDS = 5, 0.3
"""That reading is repeated, and for how long at least; the quickest counts, of each ROWS series."""
Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Data:
    """Series with as many samples each."""

    labels: list[Labels]
    ts: NDArray[np.int64]
    """i64[series, samples], ms"""
    values: NDArray[np.uint64]
    """u64[series, samples], bits"""


@dataclass(frozen=True)
class Measured:
    bytes: float
    """Per sample."""
    index: float
    encode: float
    """ns per sample."""
    decode: float
    five_minutes: float
    """µs to read five minutes of a series."""


class Source:
    def __init__(self, data: Data, most: int | None) -> None:
        """`most`: samples of a dense chunk; None: Gorilla."""
        self.mint = START
        self.maxt = START + -(-(int(data.ts.max()) + 1 - START) // 7_200_000) * 7_200_000
        self._data = data
        self._most = most
        self.seconds = 0.0

    def series(self) -> SeriesLabels:
        return series_labels(self._data.labels)

    def chunks(self, order: NDArray[np.int32]) -> Iterator[Chunks | TimeColumns]:
        dense = DenseEncoder(self.mint, self.maxt, self._most) if self._most else None
        labels = self.series()
        began = time.thread_time()
        family = families(labels) if dense else np.zeros(0, np.uint64)
        self.seconds += time.thread_time() - began
        number = 0
        for start in range(0, order.size, ROWS):
            rows = order[start : start + ROWS]
            ts, values = self._data.ts[rows].ravel(), self._data.values[rows].ravel()
            end = np.arange(1, rows.size + 1, dtype=np.int64) * self._data.ts.shape[1]
            began = time.thread_time()
            begin = end - self._data.ts.shape[1]
            if dense:
                found = dense.encode(begin, end, ts, values, families=family[rows], number=number)
            else:
                found = encode(begin, end, ts, values)
            self.seconds += time.thread_time() - began
            number += found.mint.size
            yield found
        if dense:
            yield dense.columns()


def measure(data: Data, most: int | None) -> Measured:
    samples = data.ts.size
    with tempfile.TemporaryDirectory() as folder:
        source = Source(data, most)
        meta = write_block(FS, Path(folder), source)
        block = Block.open(FS, Path(folder) / meta.ulid)
        middle = START + (source.maxt - START) // 2 + 1_800_000
        whole = _read(block, 0, 1 << 62)
        part = _read(block, middle, middle + 300_000)
        size, chunks = block.bytes, int(block.chunks.size)
        block.release()
    return Measured(size / samples, (size - chunks) / samples, source.seconds / samples * 1e9, whole / samples * 1e9,
                    part / len(data.labels) * 1e6)


def _read(block: Block, mint: int, maxt: int) -> float:
    """Seconds of CPU to decode all series."""
    ranges = block.chunk_ranges(np.arange(len(block), dtype=np.int32), mint, maxt)
    firsts = range(0, len(block), ROWS)
    best = np.full(len(firsts), np.inf)
    until, done = time.monotonic() + SECONDS, 0
    while done < TIMES or time.monotonic() < until:
        for i, first in enumerate(firsts):
            began = time.thread_time()
            block.decode(ranges, first, min(first + ROWS, len(block)))
            best[i] = min(best[i], time.thread_time() - began)
        done += 1
    return float(best.sum())


def measure_pcodec(pcodec: Any, data: Data) -> Measured:
    config = pcodec.ChunkConfig()
    size, to, back = 0, 0.0, 0.0
    seen: dict[bytes, int] = {}
    for ts, values in zip(data.ts, data.values.view(np.float64), strict=True):
        began = time.thread_time()
        written = pcodec.standalone.simple_compress(values, config)
        to += time.thread_time() - began
        size += len(written)
        began = time.thread_time()
        pcodec.standalone.simple_decompress(written)
        back += time.thread_time() - began
        key = ts.tobytes()
        if key not in seen:
            seen[key] = len(pcodec.standalone.simple_compress(ts, config))
    samples = data.ts.size
    return Measured((size + sum(seen.values())) / samples, 0, to / samples * 1e9, back / samples * 1e9, float("nan"))


def kinds(series: int, samples: int) -> Iterator[tuple[str, Data]]:
    """Kinds of series, each on some targets, whose scrapes are a few ms off now and then."""
    chance = np.random.default_rng(1)
    shape = (series, samples)
    off = np.where(chance.random((10, samples)) < 0.1, chance.integers(-5, 6, (10, samples)), 0)
    ts = START + np.arange(samples) * STEP_MS + chance.integers(10, STEP_MS - 10, (10, 1)) + off
    ts = ts[np.arange(series) % 10]

    def data(values: NDArray[Any]) -> Data:
        bits = values if values.dtype == np.uint64 else np.ascontiguousarray(values, np.float64).view(np.uint64)
        return Data([(("__name__", "m"), ("instance", f"host-{n:05d}")) for n in range(series)], ts, bits)

    walk = np.cumsum(chance.normal(0, 1, shape), axis=1)
    stale = np.round(50 + walk, 1).view(np.uint64).copy()
    stale[chance.random(shape) < 0.3] = STALE
    yield "constant", data(np.full(shape, 16.5))
    yield "counter, integers", data(np.cumsum(chance.poisson(300, shape), axis=1))
    yield "counter, hardly ever", data(np.cumsum(chance.random(shape) < 0.01, axis=1))
    yield "counter, 3 decimals", data(np.round(np.cumsum(chance.random(shape) * 15, axis=1), 3))
    yield "counter, sums of floats", data(np.cumsum(chance.random(shape), axis=1))
    yield "counter, bytes", data(np.cumsum(chance.poisson(300, shape), axis=1) * 4096)
    yield "gauge, integers", data(chance.poisson(20, shape))
    yield "gauge, 2 decimals", data(np.round(20 + walk, 2))
    yield "gauge, any float", data(20 + walk)
    yield "random floats", data(chance.random(shape))
    yield "on and off", data(chance.random(shape) < 0.5)
    yield "30 % stale markers", data(stale)
    rates = np.array([2, 9, 30, 60, 40, 20, 9, 4, 1, 0.3, 0.1, 0.02])[:, None, None]
    hits = chance.poisson(rates, (12, series // 12 + 1, samples))
    bounds = (".005", ".01", ".025", ".05", ".1", ".25", ".5", "1", "2.5", "5", "10", "+Inf")
    labels: list[Labels] = [(("__name__", "m_bucket"), ("instance", f"host-{n:05d}"), ("le", le))
                            for le in bounds for n in range(hits.shape[1])]
    values = np.cumsum(np.cumsum(hits, axis=0), axis=2).reshape(len(labels), samples).astype(np.float64)
    yield "histogram's buckets", Data(labels, ts[np.arange(len(labels)) % hits.shape[1] % 10], values.view(np.uint64))
    yield "… each less the one below", data(np.cumsum(hits, axis=2).reshape(-1, samples)[:series])


def peers(hosts: int, hours: float) -> Data:
    """Of the peer benchmark."""
    names, values, ts = _Block(Spec(hosts, hours, 1, START), range(hosts)).series()
    bits = np.ascontiguousarray(values, np.float64).view(np.uint64)
    return Data([tuple(labels) for _, labels in names], np.ascontiguousarray(ts, np.int64), bits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=20, help="of the peer benchmark's data, 102 series each")
    parser.add_argument("--hours", type=float, default=6)
    parser.add_argument("--series", type=int, default=120, help="of each other kind")
    parser.add_argument("--samples", type=int, default=1440, help="of each of these series")
    parser.add_argument("--metrics", action="store_true", help="each metric of the peer benchmark's data, too")
    parser.add_argument("--most", type=int, default=DENSE_SAMPLES, help="samples of a dense chunk")
    options = parser.parse_args()
    malloc.tune()  # as the server: else most of the time goes to pages that are new for each 128 series
    try:
        pcodec: Any = importlib.import_module("pcodec")
    except ImportError:
        pcodec = None
    print(f"{'':42}{'bytes/sample':^26}{'encode, ns':^24}{'decode, ns':^24}{'5 minutes, µs':^14}")
    heads = ("Gorilla", "dense", "pcodec")
    print(f"{'':42}{heads[0]:>8}{heads[1]:>8}{heads[2]:>8}  " + "".join(
        f"{head:>8}" for _ in range(2) for head in heads) + f"{heads[0]:>8}{heads[1]:>6}")

    def show(name: str, data: Data) -> tuple[Measured, Measured]:
        gorilla, dense = measure(data, None), measure(data, options.most)
        rival = measure_pcodec(pcodec, data) if pcodec else Measured(*[float("nan")] * 5)
        every = (gorilla, dense, rival)
        print(f"{name:42}" + "".join(f"{each.bytes:8.3f}" for each in every) + "  "
              + "".join(f"{each.encode:8.1f}" for each in every) + "".join(f"{each.decode:8.1f}" for each in every)
              + f"{gorilla.five_minutes:8.2f}{dense.five_minutes:6.2f}", flush=True)
        return gorilla, dense

    for name, data in kinds(options.series, options.samples):
        show(name, data)
    data = peers(options.hosts, options.hours)
    gorilla, dense = show(f"peer bench: {len(data.labels)} series, {options.hours:g} h", data)
    print(f"{'  of which index':42}{gorilla.index:8.3f}{dense.index:8.3f}")
    if options.metrics:
        metrics = np.array([dict(labels)["__name__"] for labels in data.labels])
        for metric in np.unique(metrics).tolist():
            rows = np.flatnonzero(metrics == metric)
            show(f"  {metric}", Data([data.labels[row] for row in rows.tolist()], data.ts[rows], data.values[rows]))


if __name__ == "__main__":
    main()
