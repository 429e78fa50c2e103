"""What the head and compaction do: chunks are copied into a block from the head's windows, and from other blocks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.storage.batches import bits, make_batch
from tests.storage.block.plain import Content, PlainSource, expected, read_block
from tsdb.model.batch import STALE_NAN
from tsdb.storage.block import Block, Chunks, SeriesLabels, write_block
from tsdb.storage.block.layout import FLOATS
from tsdb.storage.head.head import Bounds, Head
from tsdb.storage.head.layout import SEALED_HEADER_WORDS, WINDOW_MS
from tsdb.storage.head.windows import Window, Windows
from tsdb.wal.files import LocalFileSystem

FS = LocalFileSystem()


class HeadWindow:
    """The slow obvious way from a window of the head to a block."""

    def __init__(self, head: Head, window: Window) -> None:
        self.mint, self.maxt = window.mint, window.maxt + 1
        self._table, self._window = head.table, window

    def series(self) -> SeriesLabels:
        table, n = self._table, self._table.size
        labels = int(table.label_count[:n].sum())
        return SeriesLabels(
            table.symbol_bytes, table.symbol_offset[: table.symbols], table.symbol_length[: table.symbols],
            table.pair_name[: table.pairs], table.pair_value[: table.pairs],
            np.append(table.label_offset[:n], labels).astype(np.int64), table.labels[:labels],
        )

    def chunks(self, order: NDArray[np.int32]) -> Iterator[Chunks]:
        words = self._window.array[: self._window.array.size // 8 * 8].view(np.uint64)
        counts: list[int] = []
        places: list[int] = []
        for slot in order.tolist():
            place, chain = int(self._window.chain[slot]), []
            while place:
                chain.append(place)
                place = int(words[place // 8 + 4]) & 0xFFFFFFFFFF
            counts.append(len(chain))
            places += chain[::-1]
        at = np.array(places, np.int64) // 8
        mint = words[at + 2].astype(np.int64)
        used = (words[at + 3] >> np.uint64(32)).astype(np.int64) & 0xFFFF
        yield Chunks(
            np.array(counts), mint, mint + (words[at + 3].astype(np.int64) & 0xFFFFFFFF),
            (words[at] >> np.uint64(48)).astype(np.int64), np.full(at.size, FLOATS, np.uint8),
            np.uint64(self._window.address) + (at + SEALED_HEADER_WORDS).astype(np.uint64) * np.uint64(8),
            (used + 7) // 8, self._window.array,
        )


class OtherBlock:
    """A block as a source: as compaction takes chunks over without decoding them."""

    def __init__(self, block: Block) -> None:
        self.mint, self.maxt = block.meta.mint, block.meta.maxt
        self._block = block

    def series(self) -> SeriesLabels:
        index = self._block.index
        ends = index["symbol_offset"].all().astype(np.int64)
        return SeriesLabels(
            index["symbol_bytes"].all(), ends[:-1], np.diff(ends), index["pair_name"].all(), index["pair_value"].all(),
            index["label_offset"].all().astype(np.int64), index["label_pair"].all().astype(np.uint32),
        )

    def chunks(self, order: NDArray[np.int32]) -> Iterator[Chunks]:
        index, base = self._block.index, np.uint64(self._block.chunks.__array_interface__["data"][0])
        ends = index["series_chunk"].all().astype(np.int64)
        for row in order.tolist():
            part = slice(ends[row], ends[row + 1])
            offset = index["chunk_offset"].all().astype(np.int64)
            yield Chunks(
                np.diff(ends[row : row + 2]), index["chunk_mint"].all()[part].astype(np.int64) + self.mint,
                index["chunk_maxt"].all()[part].astype(np.int64) + self.mint,
                index["chunk_samples"].all()[part].astype(np.int64), index["chunk_form"].all()[part],
                base + offset[:-1][part].astype(np.uint64) + np.uint64(4), np.diff(offset)[part] - 4, self._block,
            )


def test_chunks_of_the_head(tmp_path: Path) -> None:
    head = Head(Windows(FS, tmp_path / "chunks", read_only=False))
    series = [{"__name__": f"m{n % 3}", "job": "é" * (n % 4), "n": str(n)} for n in range(20)]
    chance = np.random.default_rng(1)
    samples = []
    for n in range(0, 20, 2):  # every second series has samples in this window
        for ts in np.cumsum(chance.integers(1, 40_000, 100)).tolist():
            value = STALE_NAN if ts % 11 == 0 else bits(chance.choice([0.25, 1e300, float(ts), float("nan")]))
            samples.append((n, ts, value))
    batch = make_batch(head.table.secret, series, samples)
    rows, _ = head.table.resolve(batch)
    head.table.create(batch.row_hash, batch.keys, batch.row_offset, batch.row_length, rows)
    head.windows.ensure(0, 1 << 19)
    _, judged = head.judge(rows[batch.sample_row], batch.ts, batch.values, [(batch.samples, Bounds())])
    head.apply(judged)
    head.seal_before(WINDOW_MS)
    head.windows.settle()
    window = head.windows.table.windows[0]

    meta = write_block(FS, tmp_path / "blocks", HeadWindow(head, window))
    assert (meta.mint, meta.maxt) == (0, WINDOW_MS)
    assert meta.stats.samples == len(samples)
    assert meta.stats.series == 10
    assert meta.stats.chunks == window.sealed > 10
    block = Block.open(FS, tmp_path / "blocks" / meta.ulid)
    block.verify()
    wanted: dict[object, list[tuple[int, int]]] = {}
    for n, ts, value in samples:
        labels = tuple((name, text) for name, text in sorted(series[n].items()) if text)
        wanted.setdefault(labels, []).append((ts, value))
    assert read_block(block) == wanted
    assert block.label_values("n") == sorted(str(n) for n in range(0, 20, 2))


def test_chunks_of_another_block(tmp_path: Path) -> None:
    content: Content = {(("__name__", "m"), ("n", str(n))): [[(100 * k + i, n) for i in range(9)] for k in range(n)]
                        for n in range(1, 30)}
    first = write_block(FS, tmp_path, PlainSource(content))
    block = Block.open(FS, tmp_path / first.ulid)
    second = write_block(FS, tmp_path, OtherBlock(block), level=2, sources=[first.ulid])
    assert second.stats == first.stats
    copy = Block.open(FS, tmp_path / second.ulid)
    assert read_block(copy) == expected(content)
    one, two = ((tmp_path / meta.ulid / "chunks").read_bytes() for meta in (first, second))
    assert one == two
