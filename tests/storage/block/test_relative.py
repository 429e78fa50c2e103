"""Relative chunks: to the bit, as documented, small where histograms are; and they end with their bases."""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.storage.block import dense_twin
from tests.storage.block.plain import Labels, series_labels
from tests.storage.block.test_dense import FS, GAPS, GRID, HOUR, SHAPES, Rows, Source, bits, joined, written
from tsdb.model.errors import Corruption
from tsdb.model.native_histograms import BOX
from tsdb.storage.block import Block, Chunks, SeriesLabels, TimeColumns, write_block
from tsdb.storage.block.chunk_kernels import SCRATCH_WORDS, decode_rows
from tsdb.storage.block.encoding import DenseEncoder
from tsdb.storage.block.families import families
from tsdb.storage.block.layout import DENSE_FLOATS, RELATIVE_FLOATS
from tsdb.storage.upkeep.compaction_source import CompactionSource
from tsdb.storage.upkeep.quarantine import Rescue

STALE = 0x7FF0000000000002
BOUNDS = ("+Inf", "0.1", "1", "10", "5")


class Histograms(Source):
    """Series i of `content` is bucket i % 5 of histogram i // 5."""

    def series(self) -> SeriesLabels:
        return series_labels([(("__name__", "s_bucket"), ("instance", f"{n // 5:03}"), ("le", BOUNDS[n % 5]))
                              for n in range(len(self._content))])

    def chunks(self, order: NDArray[np.int32]) -> Iterator[Chunks | TimeColumns]:
        found = families(self.series())
        encoder = DenseEncoder(self.mint, self.maxt, self._most)
        number = 0
        for start in range(0, order.size, 3):
            rows = order[start : start + 3]
            chunks = encoder.encode(*joined([self._content[row] for row in rows]), families=found[rows], number=number)
            number += chunks.mint.size
            yield self._spoiled(chunks)
        yield self._spoiled(encoder.columns())


@st.composite
def histograms(draw: st.DrawFn) -> Rows:
    out = []
    for _ in range(draw(st.integers(1, 4))):
        chance = np.random.default_rng(draw(st.integers(0, 1 << 32)))
        ts = GAPS[draw(st.sampled_from(sorted(GAPS)))](chance, draw(st.sampled_from([1, 2, 17, 300, 900])))
        whole = np.cumsum(chance.poisson(20, ts.size)).astype(np.float64)
        part = np.zeros(ts.size)
        for _ in range(5):
            kind = draw(st.sampled_from(["all", "part", "part", "other", "stale", "late"]))
            part = np.minimum(part + np.cumsum(chance.poisson(draw(st.sampled_from([0.01, 1, 9])), ts.size)), whole)
            values = bits(whole if kind == "all" else part).copy()
            if kind == "other":
                values = SHAPES[draw(st.sampled_from(sorted(SHAPES)))](chance, ts.size).astype(np.uint64)
            elif kind == "stale":
                values[-1:] = STALE
            late = ts.size // 3 if kind == "late" else 0
            out.append((ts[late:], np.minimum(values, np.uint64(BOX - 1))[late:]))
    return out


def read(block: Block, mint: int, maxt: int, at_once: int) -> list[tuple[list[int], list[int]]]:
    ranges = block.chunk_ranges(np.arange(len(block), dtype=np.int32), mint, maxt)
    out = []
    for first in range(0, len(block), at_once):
        past = min(first + at_once, len(block))
        begin, end, ts, values = block.decode(ranges, first, past)
        out += [(ts[begin[i] : end[i]].tolist(), values[begin[i] : end[i]].tolist()) for i in range(past - first)]
    return out


@settings(max_examples=12, deadline=None)
@given(histograms(), st.sampled_from([5, 300, 960]), st.floats(0, 1), st.floats(0, 1), st.sampled_from([400, 1 << 20]))
def test_all_samples_come_back(content: Rows, most: int, low: float, high: float, kept: int) -> None:
    with tempfile.TemporaryDirectory() as folder, patch("tsdb.storage.block.encoding.KEPT", kept):
        block = written(source := Histograms(content, most), folder)
        block.verify()
        span = source.maxt - source.mint
        for mint, maxt in ((source.mint, source.maxt),
                           (source.mint + int(span * low), source.mint + int(span * max(low, high)))):
            expected = []
            for ts, values in content:
                inside = (ts >= mint) & (ts <= maxt)
                expected.append((ts[inside].tolist(), values[inside].tolist()))
            for at_once in (1, 4, 99):
                assert read(block, mint, maxt, at_once) == expected
        block.release()


@settings(max_examples=8, deadline=None)
@given(histograms(), st.sampled_from([5, 300, 960]))
def test_the_bytes_are_those_that_are_documented(content: Rows, most: int) -> None:
    source = Histograms(content, most)
    encoder = DenseEncoder(source.mint, source.maxt, most)
    chunks = encoder.encode(*joined(content), families=families(source.series()), number=7)
    found = encoder.columns()
    columns = [dense_twin.times(ctypes.string_at(address, length), count) for address, length, count
               in zip(found.address.tolist(), found.length.tolist(), found.samples.tolist(), strict=True)]
    every: list[list[tuple[int, int]]] = []
    for number in range(chunks.mint.size):
        data = ctypes.string_at(int(chunks.address[number]), int(chunks.length[number]))
        if chunks.form[number] == RELATIVE_FLOATS:
            every.append(dense_twin.relative(data, every))
        else:
            every.append(dense_twin.samples(data, int(chunks.samples[number]), int(chunks.mint[number]),
                                            int(chunks.maxt[number]), columns))
    number = 0
    for row, (ts, values) in enumerate(content):
        its = [sample for chunk in every[number : number + int(chunks.series[row])] for sample in chunk]
        number += int(chunks.series[row])
        assert its == list(zip(ts.tolist(), values.tolist(), strict=True))


def scraped(histograms: int, samples: int = 1440) -> Rows:
    """What is usual: +Inf has most, others fewer."""
    chance = np.random.default_rng(4)
    out = []
    for _ in range(histograms):
        ts = GRID[:samples] + chance.integers(-5, 6, samples)
        hits = [np.cumsum(chance.poisson(rate, samples)) for rate in (0.01, 2, 30, 5, 0.3)]
        out += [(ts, bits(np.sum(hits[: k + 1], axis=0))) for k in (4, 0, 1, 3, 2)]
    return out


def test_they_are_smaller(tmp_path: Path) -> None:
    content = scraped(4)
    related = written(Histograms(content), tmp_path)
    alone = written(Source(content), tmp_path)
    forms = related.index["chunk_form"].all()
    assert np.count_nonzero(forms == RELATIVE_FLOATS) == 16, "two of each histogram, twice"
    assert related.chunks.size < alone.chunks.size * 0.8
    assert read(related, 0, 1 << 60, 99) == read(alone, 0, 1 << 60, 99)
    for block in (related, alone):
        block.release()


@settings(max_examples=15, deadline=None)
@given(histograms(), st.integers(0, 1 << 32))
def test_hostile_bytes_stay_within_bounds(content: Rows, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        block = written(Histograms(content, 300, spoil=seed), folder)
        block.damaged_chunks(99)
        ranges = block.chunk_ranges(np.arange(len(block), dtype=np.int32), -(1 << 62), 1 << 62)
        for first, past in [(0, len(block)), *((row, row + 1) for row in range(len(block)))]:
            size = int(ranges.samples[first:past].sum())
            words = np.full(SCRATCH_WORDS + 64, 0xAA, np.uint64)
            ts, values = np.full(size + 64, -7, np.int64), np.full(size + 64, 7, np.uint64)
            out = np.zeros(past - first, np.int64)
            decode_rows(block.columns, ranges.begin[first:past], ranges.end[first:past], -(1 << 62), 1 << 62,
                        np.empty(24, np.uint8), words[:SCRATCH_WORDS], out, out.copy(), ts[:size], values[:size])
            assert (words[SCRATCH_WORDS:] == 0xAA).all() and (ts[size:] == -7).all() and (values[size:] == 7).all()
        block.release()


def flipped(block: Block, chunk: int) -> Block:
    """The block with a wrong bit in a chunk."""
    place = int(block.index["chunk_offset"].array[chunk]) + 9
    path = block.path / "chunks"
    block.release()
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    return Block.open(FS, block.path)


def test_a_damaged_base_is_damage_of_what_stands_relative_to_it(tmp_path: Path) -> None:
    content = scraped(3)
    block = written(Histograms(content), tmp_path)
    forms = block.index["chunk_form"].all().copy()
    assert (forms[10:12] == DENSE_FLOATS).all()
    block = flipped(flipped(block, 11), 3)  # the first base of the second histogram's afternoon; one without others
    expected = sorted({3, 11, *(11 + k for k in range(2, 10, 2) if forms[11 + k] == RELATIVE_FLOATS)})
    assert block.damaged_chunks(99) == expected
    assert len(expected) == 4
    ranges = block.chunk_ranges(np.arange(15, dtype=np.int32), 0, 1 << 60)
    last = expected[-1]
    for first in (last // 2, 5):
        with pytest.raises(Corruption, match="is damaged"):
            block.decode(ranges, first, last // 2 + 1)
    morning = block.chunk_ranges(np.arange(15, dtype=np.int32), 0, int(GRID[500]))
    assert block.decode(morning, last // 2, last // 2 + 1)[2].size

    meta = write_block(FS, tmp_path, Rescue(block, np.array(expected)))  # of what is sound
    rescued = Block.open(FS, tmp_path / meta.ulid)
    assert meta.stats.chunks == 30 - len(expected)
    assert rescued.damaged_chunks(9) == []
    assert (rescued.index["chunk_form"].all() == RELATIVE_FLOATS).sum() == (forms == RELATIVE_FLOATS).sum() - 2
    for row, (ts, values) in enumerate(content):
        border = int(block.index["chunk_mint"].array[2 * row + 1]) + block.meta.mint
        lost = [number - 2 * row for number in expected if number // 2 == row]
        kept = np.ones(ts.size, np.bool_)
        for half in lost:
            kept[(ts >= border) if half else (ts < border)] = False
        assert read(rescued, 0, 1 << 60, 1)[row] == (ts[kept].tolist(), values[kept].tolist())
    for each in (block, rescued):
        each.release()


def test_compacted_again(tmp_path: Path) -> None:
    """Blocks with relative chunks are a source as others are; what was deleted from a base is there for the others."""
    content = scraped(2, 700)
    block = written(Histograms(content), tmp_path)
    block.tombstones = block.tombstones.adding(np.array([0], np.int32), np.array([0]), content[0][0][350:351])
    for _ in range(2):
        meta = write_block(FS, tmp_path, CompactionSource([block], lambda: None))
        block.release()
        block = Block.open(FS, tmp_path / meta.ulid)
        assert (block.index["chunk_form"].all() == RELATIVE_FLOATS).any()
        block.verify()
        found = read(block, 0, 1 << 60, 99)
        assert found[1:] == [(ts.tolist(), values.tolist()) for ts, values in content[1:]]
        assert found[0] == (content[0][0][351:].tolist(), content[0][1][351:].tolist())
    assert block.meta.mint % HOUR == 0
    block.release()


SERIES: list[dict[str, str]] = [
    {"__name__": "a_bucket", "le": "1", "x": "1"},
    {"__name__": "a_bucket", "le": "+Inf", "x": "1"},
    {"__name__": "a_count", "x": "1"},
    {"__name__": "a_sum", "x": "1"},
    {"__name__": "a_bucket", "le": "1", "x": "2"},
    {"__name__": "a_bucket", "x": "1"},  # without le
    {"__name__": "a_count", "le": "1", "x": "1"},
    {"__name__": "b_bucket", "le": "1", "x": "1"},
    {"__name__": "b_bucket", "le": "2", "x": "1"},
    {"__name__": "c_count", "x": "1"},  # without buckets
    {"__name__": "_bucket", "le": "1"},
    {"le": "1"},
]


def test_families() -> None:
    def labels(series: list[dict[str, str]]) -> list[Labels]:
        return [tuple(sorted(each.items())) for each in series]

    with patch("tsdb.storage.block.families.ROWS", 5):
        found = families(series_labels(labels(SERIES))).tolist()
    assert [sorted(row for row in range(len(SERIES)) if found[row] == number) for number in dict.fromkeys(found)
            ] == [[0, 1, 2], [3, 5, 6, 9, 11], [4], [7, 8], [10]]
    assert [found[row] for row in (3, 5, 6, 9, 11)] == [0] * 5
    for without in ("le", "__name__"):
        assert not families(series_labels(labels([
            {name: value for name, value in each.items() if name != without} for each in SERIES[:5]]))).any()
    assert families(series_labels([])).size == 0
