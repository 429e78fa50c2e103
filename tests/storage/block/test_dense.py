"""Dense chunks: to the bit, whatever the series; as documented; shared times once; and no bytes lead out of bounds."""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.storage.block import dense_twin
from tests.storage.block.plain import series_labels
from tsdb.model.errors import Corruption
from tsdb.model.native_histograms import BOX
from tsdb.storage.block import Block, Chunks, SeriesLabels, TimeColumns, write_block
from tsdb.storage.block.chunk_kernels import SCRATCH_WORDS, decode_rows
from tsdb.storage.block.encoding import DenseEncoder
from tsdb.storage.upkeep.quarantine import Rescue
from tsdb.wal.files import LocalFileSystem

FS = LocalFileSystem()
STALE = 0x7FF0000000000002
HOUR = 3_600_000
Encoded = TypeVar("Encoded", Chunks, TimeColumns)
Made = Callable[[np.random.Generator, int], NDArray[Any]]
Rows = list[tuple[NDArray[np.int64], NDArray[np.uint64]]]

SPECIAL = np.array([STALE, 0x7FF8000000000001, 0x7FF8000000001234, 0xFFF8000000000000, 0x7FF0000000000000,
                    0xFFF0000000000000, 1 << 63, 0, 1, (1 << 63) | 1, 0x000FFFFFFFFFFFFF, BOX - 1], np.uint64)


def bits(numbers: NDArray[Any]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(numbers, np.float64).view(np.uint64)


SHAPES: dict[str, Made] = {
    "constant": lambda r, n: bits(np.full(n, r.integers(-5, 5) / 10)),
    "counter": lambda r, n: bits(np.cumsum(r.poisson(40, n)) + 1e9),
    "counter that starts over": lambda r, n: bits(np.cumsum(r.poisson(900, n)) % 100_000),
    "bytes": lambda r, n: bits(np.cumsum(r.integers(0, 9, n)) * 4096.0 * 125),
    "hardly ever": lambda r, n: bits(np.cumsum((r.random(n) < 0.02) * r.integers(1, 1 << 30, n))),
    "decimals": lambda r, n: bits(np.round(r.normal(20, 5, n), 2)),
    "mixed precision": lambda r, n: bits(np.round(r.random(n), 9) * (r.random(n) < 0.1) + r.integers(9, size=n)),
    "far outliers": lambda r, n: bits(np.rint(np.clip(r.standard_cauchy(n) * 3, -1e15, 1e15))),
    "stale for long": lambda r, n: np.where(np.arange(n) > n // 5, np.uint64(STALE), bits(np.arange(n) % 5)),
    "floats": lambda r, n: bits(r.random(n) * 10.0 ** r.integers(-300, 300)),
    "sums of floats": lambda r, n: bits(np.cumsum(r.random(n))),
    "both signs": lambda r, n: bits(r.normal(0, 1, n)),
    "huge jumps": lambda r, n: bits(r.choice([0.0, 1e-300, -1e300, 9007199254740992.0, -9007199254740993.0, 7.5], n)),
    "subnormals": lambda r, n: r.integers(0, 1 << 52, n, np.uint64) | (r.integers(0, 2, n, np.uint64) << np.uint64(63)),
    "stale every second": lambda r, n: np.where(np.arange(n) % 2 == 0, np.uint64(STALE), bits(np.arange(n) * 3.5)),
    "some stale": lambda r, n: np.where(r.random(n) < 0.01, np.uint64(STALE), bits(np.arange(n) * 3.0)),
    "only special": lambda r, n: r.choice(SPECIAL, n),
    "special among few": lambda r, n: np.where(r.random(n) < 0.2, r.choice(SPECIAL, n), bits(r.integers(9, size=n))),
    "any bits": lambda r, n: r.integers(0, 1 << 64, n, np.uint64, endpoint=False),
    "line": lambda r, n: bits(np.arange(n) * 1234567.0 + r.integers(0, 3, n)),
    "squares": lambda r, n: bits(np.arange(n, dtype=np.float64) ** 2),
    "large integers": lambda r, n: bits(r.integers(-(1 << 62), 1 << 62, n)),
}
GRID = np.arange(2000, dtype=np.int64) * 15_000 + 777
GAPS: dict[str, Made] = {
    "as others": lambda r, n: GRID[:n],
    "the end": lambda r, n: GRID[2000 - n :],
    "part": lambda r, n: GRID[(k := int(r.integers(0, 2001 - n))) : k + n],
    "some": lambda r, n: np.sort(r.choice(GRID, n, replace=False)),
    "jitter": lambda r, n: GRID[:n] + r.integers(-5, 6, n) * (r.random(n) < 0.1),
    "one is late": lambda r, n: np.unique(np.append(GRID[: n - 1], GRID[n // 2] + 1))[:n],
    "seconds": lambda r, n: np.cumsum(r.integers(1, 9, n)) * 1000,
    "bursts": lambda r, n: np.cumsum(np.where(r.random(n) < 0.01, 1 << int(r.integers(10, 40)), 1)),
    "any": lambda r, n: np.unique(r.integers(0, 1 << 50, 2 * n + 9))[:n],
}


@st.composite
def rows(draw: st.DrawFn) -> Rows:
    out = []
    for _ in range(draw(st.integers(1, 6))):
        chance = np.random.default_rng(draw(st.integers(0, 1 << 32)))
        size = draw(st.sampled_from([1, 2, 3, 17, 256, 257, 258, 513, 900, 2000]))
        ts = GAPS[draw(st.sampled_from(sorted(GAPS)))](chance, size)
        values = SHAPES[draw(st.sampled_from(sorted(SHAPES)))](chance, ts.size).astype(np.uint64)
        out.append((ts, np.minimum(values, np.uint64(BOX - 1))))  # what is above leads to histograms
    return out


class Source:
    def __init__(self, content: Rows, most: int = 960, spoil: int | None = None) -> None:
        self._content, self._most = content, most
        self._chance = None if spoil is None else np.random.default_rng(spoil)
        self.mint = min(int(ts.min()) for ts, _ in content) // HOUR * HOUR
        self.maxt = max(int(ts.max()) for ts, _ in content) + 1

    def series(self) -> SeriesLabels:
        return series_labels([(("n", f"{n:04}"),) for n in range(len(self._content))])

    def chunks(self, order: NDArray[np.int32]) -> Iterator[Chunks | TimeColumns]:
        encoder = DenseEncoder(self.mint, self.maxt, self._most)
        for start in range(0, order.size, 2):
            yield self._spoiled(encoder.encode(*joined([self._content[row] for row in order[start : start + 2]])))
        yield self._spoiled(encoder.columns())

    def _spoiled(self, found: Encoded) -> Encoded:
        """With bytes changed, before checksums are taken."""
        if self._chance is not None:
            for address, length in zip(found.address.tolist(), found.length.tolist(), strict=True):
                content = (ctypes.c_uint8 * length).from_address(address)
                for _ in range(int(self._chance.integers(0, 4))):
                    at = int(self._chance.integers(0, length) ** 2 / length)
                    content[at] = int(self._chance.choice([0, 1, 0x7F, 0x80, 0xFF, content[at] ^ 4,
                                                           int(self._chance.integers(0, 256))]))
        return found


def joined(content: Sequence[tuple[NDArray[np.int64], NDArray[np.uint64]]]) -> tuple[
        NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]:
    ends = np.cumsum([ts.size for ts, _ in content])
    return (np.concatenate(([0], ends[:-1])), ends, np.concatenate([ts for ts, _ in content]),
            np.concatenate([values for _, values in content]))


def written(source: Source, folder: str | Path) -> Block:
    meta = write_block(FS, Path(folder), source)
    return Block.open(FS, Path(folder) / meta.ulid)


@settings(max_examples=25, deadline=None)
@given(rows(), st.sampled_from([5, 300, 960]), st.floats(0, 1), st.floats(0, 1))
def test_all_samples_come_back(content: Rows, most: int, low: float, high: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        block = written(source := Source(content, most), folder)
        block.verify()
        span = source.maxt - source.mint
        for mint, maxt in ((source.mint, source.maxt),
                           (source.mint + int(span * low), source.mint + int(span * max(low, high)))):
            ranges = block.chunk_ranges(np.arange(len(block), dtype=np.int32), mint, maxt)
            begin, end, ts, values = block.decode(ranges, 0, len(block))
            for row, (its_ts, its_values) in enumerate(content):
                inside = (its_ts >= mint) & (its_ts <= maxt)
                assert ts[begin[row] : end[row]].tolist() == its_ts[inside].tolist()
                assert values[begin[row] : end[row]].tolist() == its_values[inside].tolist()
        block.release()


def test_every_width_and_every_part(tmp_path: Path) -> None:
    """Integers that take 1 to 62 bits, alike and with outliers, each from every sample to several later ones."""
    chance = np.random.default_rng(4)
    ts = GRID[:600] + chance.integers(-5, 6, 600)
    content = []
    for width in range(1, 63):
        numbers = chance.integers(0, 1 << width, 600)
        content.append((ts, bits(numbers)))
        content.append((ts, bits(np.rint(np.ldexp(chance.standard_cauchy(600), width // 2)))))
        content.append((ts, np.where(chance.random(600) < 0.1, np.uint64(STALE), bits(numbers % 1000 / 10))))
    block = written(Source(content), tmp_path)
    rows = np.arange(len(content), dtype=np.int32)
    for first in range(0, 600, 37):
        for past in (first + 1, first + 20, first + 256, first + 257, 600):
            ranges = block.chunk_ranges(rows, int(ts[first]), int(ts[min(past, 600) - 1]))
            begin, end, found_ts, values = block.decode(ranges, 0, len(content))
            for row, (_, whole) in enumerate(content):
                assert np.array_equal(found_ts[begin[row] : end[row]], ts[first:past])
                assert np.array_equal(values[begin[row] : end[row]], whole[first:past])
    block.release()


@settings(max_examples=12, deadline=None)
@given(rows(), st.sampled_from([5, 300, 960]))
def test_the_bytes_are_those_that_are_documented(content: Rows, most: int) -> None:
    encoder = DenseEncoder(source_mint := Source(content).mint, Source(content).maxt, most)
    chunks = encoder.encode(*joined(content))
    found = encoder.columns()
    columns = [dense_twin.times(ctypes.string_at(address, length), count) for address, length, count
               in zip(found.address.tolist(), found.length.tolist(), found.samples.tolist(), strict=True)]
    every = [
        dense_twin.samples(ctypes.string_at(address, length), count, mint, maxt, columns)
        for address, length, count, mint, maxt in zip(
            chunks.address.tolist(), chunks.length.tolist(), chunks.samples.tolist(), chunks.mint.tolist(),
            chunks.maxt.tolist(), strict=True)
    ]
    number = 0
    for row, (ts, values) in enumerate(content):
        its: list[tuple[int, int]] = []
        for _ in range(int(chunks.series[row])):
            assert its == [] or its[-1] < every[number][0]
            its += every[number]
            number += 1
        assert its == list(zip(ts.tolist(), values.tolist(), strict=True)), source_mint


def test_times_that_series_share_stand_once(tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    jitter = GRID + chance.integers(-5, 6, GRID.size)
    values = bits(np.cumsum(chance.poisson(9, GRID.size)))

    def columns(*content: NDArray[np.int64]) -> int:
        block = written(Source([(ts, values[: ts.size]) for ts in content]), tmp_path)
        read = block.decode(block.chunk_ranges(np.arange(len(content), dtype=np.int32), 0, 1 << 60), 0, len(content))
        assert read[2].tolist() == np.concatenate(content).tolist()
        found = block.index.columns
        block.release()
        return found

    assert columns(GRID) == 0, "they are even"
    whole = columns(jitter)
    assert whole == 3
    assert columns(*[jitter] * 7) == whole
    assert columns(jitter, jitter[:1990], jitter[5:]) == whole, "it began later, or ended earlier"
    sparse = np.concatenate([part[::40] for part in np.split(jitter, 4)])
    assert columns(jitter, sparse, np.delete(jitter, [3, 700])) <= whole + 3
    assert columns(jitter, jitter + 1) == 2 * whole


def test_chunks_of_a_target_end_together() -> None:
    """Also where a series began in the middle, or misses samples; not in a burst."""
    encoder = DenseEncoder(0, 6 * HOUR)
    grid = np.arange(1440, dtype=np.int64) * 15_000 + 3
    burst = np.arange(4000, dtype=np.int64)
    rows = [grid, grid[777:], np.delete(grid, slice(40, 400)), grid[::2], grid[::8], burst, grid[:1], grid[:0]]
    chunks = encoder.encode(*joined([(ts, bits(ts)) for ts in rows]))
    assert chunks.series.tolist() == [2, 1, 2, 1, 1, 5, 1, 0]
    assert chunks.samples.tolist() == [720, 720, 663, 360, 720, 720, 180, 879, 879, 879, 879, 484, 1]


def test_many_columns(tmp_path: Path) -> None:
    """More than there is room for at first: the tables grow."""
    chance = np.random.default_rng(2)
    content = [(np.unique(chance.integers(0, HOUR, 12)), bits(np.arange(12)[:12])) for _ in range(3000)]
    content = [(ts, values[: ts.size]) for ts, values in content]
    block = written(Source(content), tmp_path)
    assert block.index.columns > 2900
    *_, ts, values = block.decode(block.chunk_ranges(np.arange(3000, dtype=np.int32), 0, HOUR), 0, 3000)
    assert ts.tolist() == np.concatenate([ts for ts, _ in content]).tolist()
    assert values.tolist() == np.concatenate([values for _, values in content]).tolist()
    block.release()


@settings(max_examples=60, deadline=None)
@given(rows(), st.integers(0, 1 << 32))
def test_hostile_bytes_stay_within_bounds(content: Rows, seed: int) -> None:
    """They have the right checksums, so that they are decoded: something else, or damage, but nothing beyond."""
    with tempfile.TemporaryDirectory() as folder:
        block = written(Source(content, 300, spoil=seed), folder)
        ranges = block.chunk_ranges(np.arange(len(block), dtype=np.int32), -(1 << 62), 1 << 62)
        for row in range(len(block)):
            size = int(ranges.samples[row])
            words = np.full(SCRATCH_WORDS + 64, 0xAA, np.uint64)
            ts, values = np.full(size + 64, -7, np.int64), np.full(size + 64, 7, np.uint64)
            out = np.zeros(1, np.int64)
            decode_rows(block.columns, ranges.begin[row : row + 1], ranges.end[row : row + 1], -(1 << 62), 1 << 62,
                        np.empty(24, np.uint8), words[:SCRATCH_WORDS], out, out.copy(), ts[:size], values[:size])
            assert (words[SCRATCH_WORDS:] == 0xAA).all() and (ts[size:] == -7).all() and (values[size:] == 7).all()
        block.release()


@pytest.mark.parametrize("column", [0, 1])
def test_a_damaged_column_is_damage_of_the_chunks_that_name_it(column: int, tmp_path: Path) -> None:
    jitter = GRID[:1440] + np.random.default_rng(3).integers(-5, 6, 1440)
    source = Source([(ts, bits(np.arange(ts.size))) for ts in (jitter, jitter, GRID[:100])])
    block = written(source, tmp_path)
    place = int(block.index["column_offset"].array[column]) + 20
    assert block.index.columns == 2
    block.release()
    path = block.path / "chunks"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    block = Block.open(FS, block.path)
    assert block.damaged_chunks(9) == [column, 2 + column]
    ranges = block.chunk_ranges(np.arange(3, dtype=np.int32), 0, 1 << 60)
    with pytest.raises(Corruption, match=f"chunk {column} is damaged"):
        block.decode(ranges, 0, 3)
    assert block.decode(ranges, 2, 3)[2].tolist() == GRID[:100].tolist()

    meta = write_block(FS, tmp_path, Rescue(block, np.array(block.damaged_chunks(9))))  # of what is sound
    rescued = Block.open(FS, tmp_path / meta.ulid)
    assert meta.stats.chunks == 3 and rescued.damaged_chunks(9) == []
    *_, ts, values = rescued.decode(rescued.chunk_ranges(np.arange(3, dtype=np.int32), 0, 1 << 60), 0, 3)
    part = slice(720, 1440) if column == 0 else slice(0, 720)
    assert ts.tolist() == [*jitter[part].tolist() * 2, *GRID[:100].tolist()]
    assert values.tolist() == bits(np.concatenate([*[np.arange(1440)[part]] * 2, np.arange(100)])).tolist()
    rescued.release()
    block.release()
