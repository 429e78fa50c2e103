"""Columns to chunks and back, and the bits of the chunks against a slow reading of the format."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.storage.block.plain import series_labels
from tests.storage.test_gorilla import awkward, slow_decode
from tsdb.storage.block import Block, Chunks, SeriesLabels, write_block
from tsdb.storage.block.encoding import CHUNK_SAMPLES, encode
from tsdb.wal.files import LocalFileSystem

FS = LocalFileSystem()

gaps = st.sampled_from([1, 14_999, 15_000, 15_001, 15_000, 15_000, 9_000, 600_000, 1 << 40]) | st.integers(1, 1 << 21)
changes = awkward | st.integers(0, (1 << 64) - 1) | st.integers(-9, 9).map(
    lambda n: int(np.float64(n / 10).view(np.uint64)))
rows = st.lists(st.lists(st.tuples(gaps, changes), max_size=150), max_size=5)


def columns(found: list[list[tuple[int, int]]], start: int) -> tuple[
        NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]:
    """Rows of (gap, bits), as columns with a sample between the rows that belongs to none."""
    begin, end, ts, values = [], [], [], []
    for row in found:
        ts.append(-1)
        values.append(99)
        begin.append(len(ts))
        at = start
        for gap, value in row:
            at += gap
            ts.append(at)
            values.append(value)
        end.append(len(ts))
    return np.array(begin, np.int64), np.array(end, np.int64), np.array(ts, np.int64), np.array(values, np.uint64)


@given(rows, st.integers(-(10**14), 10**14), st.sampled_from([1, 2, 7, 120, 240]))
def test_chunks_read_back_as_documented(found: list[list[tuple[int, int]]], start: int, most: int) -> None:
    begin, end, ts, values = columns(found, start)
    chunks = encode(begin, end, ts, values, most=most)
    assert chunks.series.tolist() == [-(-len(row) // most) for row in found]
    chunk = 0
    for row in range(len(found)):
        got: list[tuple[int, int]] = []
        for _ in range(int(chunks.series[row])):
            data = ctypes.string_at(int(chunks.address[chunk]), int(chunks.length[chunk]))
            samples, used = slow_decode([int.from_bytes(data, "little")], int(chunks.samples[chunk]),
                                        int(chunks.mint[chunk]))
            assert len(data) == (used + 7) // 8
            assert int.from_bytes(data, "little") >> used == 0
            assert (samples[0][0], samples[-1][0]) == (chunks.mint[chunk], chunks.maxt[chunk])
            got += samples
            chunk += 1
        part = slice(int(begin[row]), int(end[row]))
        assert got == list(zip(ts[part].tolist(), values[part].tolist(), strict=True))
    assert chunk == chunks.mint.size
    assert all(1 <= count <= most for count in chunks.samples.tolist())


class Columns:
    def __init__(self, count: int, samples: int) -> None:
        chance = np.random.default_rng(count)
        self.mint, self.maxt = 0, samples * 16_000
        self.ts = np.tile(np.arange(samples, dtype=np.int64) * 15_000 + 7, count)
        self.values = np.cumsum(chance.integers(0, 1000, count * samples)).astype(np.float64).view(np.uint64)
        self.begin = np.arange(count, dtype=np.int64) * samples
        self.end = self.begin + samples

    def series(self) -> SeriesLabels:
        return series_labels([(("__name__", "m"), ("n", f"{n:05}")) for n in range(self.begin.size)])

    def chunks(self, order: NDArray[np.int32]) -> Iterator[Chunks]:
        for start in range(0, order.size, 7):
            part = order[start : start + 7]
            yield encode(self.begin[part], self.end[part], self.ts, self.values)


@pytest.mark.parametrize("samples", [1, CHUNK_SAMPLES, CHUNK_SAMPLES + 1, 1440])
def test_a_block_of_columns(samples: int, tmp_path: Path) -> None:
    source = Columns(20, samples)
    meta = write_block(FS, tmp_path, source)
    block = Block.open(FS, tmp_path / meta.ulid)
    ranges = block.chunk_ranges(np.arange(20, dtype=np.int32), 0, 1 << 60)
    begin, end, ts, values = block.decode(ranges, 0, 20)
    assert (begin.tolist(), end.tolist()) == (source.begin.tolist(), source.end.tolist())
    assert (ts == source.ts).all()
    assert (values == source.values).all()
    assert meta.stats.chunks == 20 * -(-samples // CHUNK_SAMPLES)
    block.release()
