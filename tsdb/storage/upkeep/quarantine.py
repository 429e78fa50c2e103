"""Damaged blocks: what is sound in one stands in a new block, and the damaged one is set aside."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import Corruption, FormatTooNew
from tsdb.model.labels import format_series
from tsdb.storage.block import Block, Chunks, Parent, SeriesLabels, TierMeta, TimeColumns, write_block
from tsdb.storage.block.layout import CHUNKS_NAME, INDEX_NAME, RELATIVE_FLOATS
from tsdb.storage.block.relative import moved
from tsdb.storage.block.sections import without_remedy
from tsdb.storage.block.tombstones_file import write_tombstones
from tsdb.storage.blocks import Blocks
from tsdb.storage.damage import Damage
from tsdb.storage.query_symbols import QuerySymbols
from tsdb.storage.starts.runs import StartRuns
from tsdb.storage.tombstones import Tombstones
from tsdb.wal.files import FileSystem

log = logging.getLogger(__name__)

ROWS = 10_000
"""Series whose chunks are looked at by one kernel call."""
NAMED = 3
"""Series that are named in the log."""


class Quarantine:
    """`take_out` is called in the maintenance's thread, `report` in any."""

    def __init__(self, fs: FileSystem, blocks: Blocks, damage: Damage) -> None:
        self._fs = fs
        self._blocks = blocks
        self._damage = damage
        self._lock = threading.Lock()
        self._reported: set[str] = set()

    def is_news(self, block: Block) -> bool:
        """Whether nobody has asked that of this block before: one `take_out` is enough."""
        with self._lock:
            news = block.meta.ulid not in self._reported
            self._reported.add(block.meta.ulid)
        return news

    def take_out(self, block: Block, problem: Corruption) -> None:
        """Replaces a block by one without its damaged chunks, or by none where its index is damaged. The samples that
        are lost are noted. Raises nothing but what is a mistake of ours."""
        if not any(each is block for each in self._blocks.every):
            return
        lost = (block.meta.mint, block.meta.maxt)
        reason, added = problem, []
        block.acquire()
        try:
            if not any(True for _ in block.index.problems(needed=True)):
                damaged = damaged_chunks(block)
                made = write_sound(self._fs, self._blocks.folder, block, damaged)
                added = [] if made is None else [made]
                lost = times_of(block, damaged) if damaged.size else (0, 0)
                reason = _about(block, damaged) if damaged.size else problem
        except (OSError, Corruption, FormatTooNew, ValueError) as failure:
            lost, reason, added = (block.meta.mint, block.meta.maxt), problem, []
            log.error("%s: what is sound in it could not be taken over: %s", block.path, failure)
        finally:
            block.release()
        reason = Corruption(without_remedy(reason))
        self._damage.set_aside(block.path, reason, *lost)  # before: no query shall miss samples without a warning
        self._blocks.take_out(block, added)

    def mend(self) -> None:
        """Writes indexes as they were, of which readers have found parts that are damaged and follow from others.
        Raises OSError."""
        for block in self._blocks.every:
            if block.write_mended():
                self._damage.is_mended(block.path / INDEX_NAME)


def write_sound(fs: FileSystem, folder: Path, block: Block, without: NDArray[np.int64], *,
                tier: TierMeta | None = None) -> Block | None:
    """Writes a block that takes the place of another, without some of its chunks (numbers, i64[]), and opens it; None:
    there are no others. Raises OSError, Corruption, FormatTooNew, ValueError."""
    meta = block.meta
    source = Rescue(block, without)
    if not source.kept.any():
        return None

    def tombstones(temporary: Path) -> None:
        found = block.tombstones
        left = source.has_chunks[found.series]
        if left.any():
            rows = (np.cumsum(source.has_chunks) - 1)[found.series[left]].astype(np.int32)
            write_tombstones(fs, temporary, Tombstones(rows, found.mint[left], found.maxt[left]))

    made = write_block(
        fs, folder, source, level=meta.compaction.level, sources=meta.compaction.sources,
        parents=[Parent(meta.ulid, meta.mint, meta.maxt)], hints=meta.compaction.hints,
        windows=meta.compaction.windows, border=meta.compaction.border, ranges=meta.compaction.ranges, tier=tier,
        beside=tombstones,
    )
    log.info("block %s has the %d samples of %s that are sound", made.ulid, made.stats.samples, meta.ulid)
    return Block.open(fs, folder / made.ulid)


class Rescue:
    """A block without some of its chunks, as a source; the others are taken over as they are."""

    def __init__(self, block: Block, without: NDArray[np.int64]) -> None:
        self.mint, self.maxt = block.meta.mint, block.meta.maxt
        self._block = block
        self.kept = np.ones(block.index.chunks, np.bool_)
        """bool[chunks]"""
        self.kept[without] = False
        self._borders = block.index["series_chunk"].all().astype(np.int64)
        self._sums: NDArray[np.int64] = np.concatenate((np.zeros(1, np.int64), np.cumsum(self.kept)))
        self.has_chunks = np.diff(self._sums[self._borders]) > 0
        """bool[series]"""

    def series(self) -> SeriesLabels:
        index = self._block.index
        offset = index["symbol_offset"].all().astype(np.int64)
        labels, pairs = self._block.pairs(np.arange(len(self._block), dtype=np.int32))
        data = np.concatenate((index["symbol_bytes"].all(), np.zeros(8, np.uint8)))
        return SeriesLabels(data, offset[:-1], np.diff(offset), index["pair_name"].all(), index["pair_value"].all(),
                            labels, pairs)

    def chunks(self, order: NDArray[np.int32]) -> Iterator[Chunks | TimeColumns | StartRuns]:
        index, block = self._block.index, self._block
        address = block.chunks.__array_interface__["data"][0]
        for start in range(0, order.size, ROWS):
            rows = order[start : start + ROWS].astype(np.int64)
            counts = self._borders[rows + 1] - self._borders[rows]
            ends = np.cumsum(counts)
            numbers = np.repeat(self._borders[rows] - (ends - counts), counts) + np.arange(int(counts.sum()))
            kept = self.kept[numbers]
            series = np.bincount(np.repeat(np.arange(rows.size), counts)[kept], minlength=rows.size)
            numbers = numbers[kept]
            begin = index["chunk_offset"].at(numbers).astype(np.int64) + 4
            end, form = index["chunk_offset"].at(numbers + 1).astype(np.int64), index["chunk_form"].at(numbers)
            addresses, length = begin.astype(np.uint64) + np.uint64(address), end - begin
            relative = np.flatnonzero(form == RELATIVE_FLOATS)
            which, contents = moved(block.chunks, begin[relative], end[relative],
                                    numbers[relative].astype(np.int64), self._sums)
            anew = np.frombuffer(b"".join(contents), np.uint8)
            sizes = np.array([len(content) for content in contents], np.int64)
            addresses[relative[which]] = (anew.ctypes.data + np.cumsum(sizes) - sizes).astype(np.uint64)
            length[relative[which]] = sizes
            yield Chunks(
                series, index["chunk_mint"].at(numbers).astype(np.int64) + self.mint,
                index["chunk_maxt"].at(numbers).astype(np.int64) + self.mint,
                index["chunk_samples"].at(numbers).astype(np.int64), form, addresses, length, (block.chunks, anew),
            )
            try:
                runs = block.starts(order[start : start + ROWS]).take(order[start : start + ROWS])
            except Corruption as problem:
                log.error("start times of %d series are lost: %s", rows.size, without_remedy(problem))
            else:
                yield replace(runs, series=runs.series + np.int32(start))
        if index.columns:  # also those that only damaged chunks named: numbers stay as they are
            begin = index["column_offset"].all().astype(np.int64)
            inside = np.minimum(begin, block.chunks.size)  # of a file that is cut
            yield TimeColumns(index["column_samples"].all().astype(np.int64),
                              inside[:-1].astype(np.uint64) + np.uint64(address + 4),
                              np.maximum(np.diff(inside) - 4, 1), block.chunks)


def damaged_chunks(block: Block) -> NDArray[np.int64]:
    """Numbers of all chunks of a block whose checksum is wrong, i64[]. The index must be sound."""
    found: list[int] = []
    for first in range(0, block.index.chunks, ROWS):
        found += block.damaged_chunks(ROWS, first, min(first + ROWS, block.index.chunks))
    return np.array(found, np.int64)


def times_of(block: Block, chunks: NDArray[np.int64]) -> tuple[int, int]:
    """(first time, the one behind the last) of some chunks of a block, ms."""
    index = block.index
    return (block.meta.mint + int(index["chunk_mint"].at(chunks).min()),
            block.meta.mint + int(index["chunk_maxt"].at(chunks).max()) + 1)


def series_of(block: Block, chunks: NDArray[np.int64]) -> NDArray[np.int32]:
    """Rows of the series that some chunks (i64[], sorted) belong to, each once, i32[]."""
    borders = block.index["series_chunk"].all()
    return np.unique(np.searchsorted(borders, chunks, side="right") - 1).astype(np.int32)


def named(block: Block, rows: NDArray[np.int32], most: int) -> Sequence[str]:
    """Series as a query would write them; at most so many."""
    found = block.series_set(rows[:most], QuerySymbols(block.symbols))
    return [format_series(found.labels(row).items()) for row in range(len(found))]


def _about(block: Block, damaged: NDArray[np.int64]) -> Corruption:
    rows = series_of(block, damaged)
    more = f" and {rows.size - NAMED} more" if rows.size > NAMED else ""
    return Corruption(f"{block.path / CHUNKS_NAME}: {damaged.size} of {block.index.chunks} chunks are damaged, of "
                      f"{', '.join(named(block, rows, NAMED))}{more}; all others stand in a new block")
