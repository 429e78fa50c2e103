"""Where the samples of a selection come from: the head, late samples, and blocks, each for the rows that it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import Corruption
from tsdb.model.matchers import Matcher
from tsdb.storage.block import Block, ChunkRanges
from tsdb.storage.late.late import LateView
from tsdb.storage.query_symbols import QuerySymbols
from tsdb.storage.reading import merge_kernels
from tsdb.storage.reading.block_texts import BlockTexts
from tsdb.storage.tombstones import Tombstones

R = TypeVar("R")

Damaged = Callable[[Block, Corruption], None]
"""Told of a block that was found damaged."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Decoded samples of some rows: those of rows[i] are at begin[i]:end[i] of `ts` (ms) and `values` (bits)."""

    rows: slice | NDArray[np.int64]
    """Within the tile."""
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    ts: NDArray[np.int64]
    values: NDArray[np.uint64]


class Source(Protocol):
    """Samples of rows of a result."""

    def count(self, most: NDArray[np.int64]) -> None:
        """Adds to `most` i64[rows] how many samples it has of each, at the most."""
        ...

    def decode(self, first: int, end: int) -> Columns | None:
        """The samples of the rows first:end; None: there are none."""
        ...


@dataclass(frozen=True, slots=True)
class Deleted:
    """Tombstones of n rows: those of row i are at first[i]:past[i]."""

    tombstones: Tombstones
    first: NDArray[np.int64]
    past: NDArray[np.int64]

    @classmethod
    def of(cls, tombstones: Tombstones, series: NDArray[np.int32]) -> Deleted | None:
        """None: none of the series (slots or rows of a block, i32[n]) has any."""
        if not len(tombstones):
            return None
        first, past = tombstones.of(series)
        return cls(tombstones, first, past) if (first < past).any() else None

    def drop(self, first: int, begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64],
             values: NDArray[np.uint64]) -> None:
        """Takes what is deleted out of decoded samples of the rows from `first` on, in place."""
        part = slice(first, first + begin.size)
        merge_kernels.drop_deleted(begin, end, ts, values, self.first[part], self.past[part], self.tombstones.mint,
                                   self.tombstones.maxt)


class LateSource:
    """Late samples of slots, which are the first rows."""

    def __init__(self, view: LateView, slots: NDArray[np.int32], mint: int, maxt: int) -> None:
        self._begin, self._end, self._ts, self._values = view.collect(slots, mint, maxt)

    def __len__(self) -> int:
        """Samples."""
        return int(self._ts.size)

    def count(self, most: NDArray[np.int64]) -> None:
        most[: self._begin.size] += self._end - self._begin

    def decode(self, first: int, end: int) -> Columns | None:
        begin, past = self._begin[first:end], self._end[first:end]
        if not (begin < past).any():
            return None
        return Columns(slice(0, begin.size), begin, past, self._ts, self._values)


def guarded(block: Block, damaged: Damaged | None, read: Callable[[], R]) -> R:
    """What `read` gives. Corruption is told of, and raised."""
    try:
        return read()
    except Corruption as problem:
        if damaged is not None:
            damaged(block, problem)
        raise


def texts_of(block: Block, label: str | None, rows: NDArray[np.int32] | None, damaged: Damaged | None) -> list[str]:
    """Values of a label (None: names of labels) of rows of a block (None: all). Corruption."""
    if label is None:
        return guarded(block, damaged, lambda: block.label_names(rows))
    return guarded(block, damaged, lambda: block.label_values(label, rows))


class BlockRows:
    """Series of one block that have chunks which touch mint..maxt (ms, inclusive) and are not deleted."""

    def __init__(self, block: Block, tombstones: Tombstones, matcher_sets: Sequence[Sequence[Matcher]], mint: int,
                 maxt: int, damaged: Damaged | None) -> None:
        """Those that satisfy any of the matcher sets (none: all series). Raises Corruption, BadData."""
        self.block, self.damaged = block, damaged
        self.deleted: Deleted | None = None
        self.rows, self.ranges = guarded(block, damaged, lambda: self._found(tombstones, matcher_sets, mint, maxt))

    def fingerprints(self) -> NDArray[np.uint64]:
        """u64[n, 2]. Corruption."""
        return guarded(self.block, self.damaged, lambda: self.block.fingerprints(self.rows)).view(np.uint64)

    def labels(self, chosen: NDArray[np.int64], symbols: QuerySymbols, texts: BlockTexts,
               ) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.uint32]]:
        """(offsets i64[n + 1], names u32[], values u32[]) of some of them, as in a `SeriesSet` of `symbols`."""
        return guarded(self.block, self.damaged, lambda: self._labels(self.rows[chosen], symbols, texts))

    def _found(self, tombstones: Tombstones, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int,
               ) -> tuple[NDArray[np.int32], ChunkRanges]:
        block = self.block
        if matcher_sets:
            found = [block.find(matchers) for matchers in matcher_sets]
            rows = found[0] if len(found) == 1 else np.unique(np.concatenate(found))
        else:
            rows = np.arange(len(block), dtype=np.int32)
        ranges = block.chunk_ranges(rows, mint, maxt)
        kept = np.flatnonzero(ranges.samples)
        deleted = Deleted.of(tombstones, rows)
        if deleted is not None:
            kept = kept[self._undeleted(ranges.take(kept), deleted.first[kept], deleted.past[kept], tombstones)]
            self.deleted = Deleted.of(tombstones, rows[kept])
        if kept.size < rows.size:
            rows, ranges = rows[kept], ranges.take(kept)
        return rows, ranges

    def _labels(self, rows: NDArray[np.int32], symbols: QuerySymbols, texts: BlockTexts,
                ) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.uint32]]:
        index = self.block.index
        offsets, pairs = self.block.pairs(rows)
        used = np.zeros(index["pair_name"].size, np.bool_)
        used[pairs] = True
        distinct = np.flatnonzero(used)
        spelled = np.concatenate((index["pair_name"].at(distinct), index["pair_value"].at(distinct)))
        in_block, place = np.unique(spelled, return_inverse=True)
        ids = texts.add(self.block, in_block.astype(np.int64), symbols.first_own)[place]
        id_of_pair = np.empty((2, used.size), np.uint32)
        id_of_pair[:, distinct] = ids.reshape(2, -1)
        return offsets, id_of_pair[0][pairs], id_of_pair[1][pairs]

    def _undeleted(self, ranges: ChunkRanges, first: NDArray[np.int64], past: NDArray[np.int64],
                   tombstones: Tombstones) -> NDArray[np.int64]:
        index = self.block.index
        kept = np.empty(first.size, np.int64)
        count = merge_kernels.keep_undeleted(
            ranges.begin, ranges.end, index["chunk_mint"].raw, index["chunk_maxt"].raw, index["chunk_mint"].width,
            self.block.meta.mint, first, past, tombstones.mint, tombstones.maxt, kept,
        )
        return kept[:count]


class BlockSource:
    """Samples of one block."""

    def __init__(self, found: BlockRows, rows: NDArray[np.int64]) -> None:
        """`rows` i64[n]: which rows of the result those that were found are."""
        order = np.argsort(rows)
        self._rows = rows[order]
        self._found = found
        self._ranges = found.ranges.take(order)
        self._deleted = None if found.deleted is None else Deleted(
            found.deleted.tombstones, found.deleted.first[order], found.deleted.past[order])

    def count(self, most: NDArray[np.int64]) -> None:
        most[self._rows] += self._ranges.samples

    def decode(self, first: int, end: int) -> Columns | None:
        at, past = np.searchsorted(self._rows, (first, end)).tolist()
        if at == past:
            return None
        found, block = self._found, self._found.block
        begin, stop, ts, values = guarded(block, found.damaged, lambda: block.decode(self._ranges, at, past))
        if self._deleted is not None:
            self._deleted.drop(at, begin, stop, ts, values)
        return Columns(self._rows[at:past] - first, begin, stop, ts, values)
