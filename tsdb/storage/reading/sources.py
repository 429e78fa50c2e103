"""Where the samples of a selection come from: the head, late samples, and blocks, each for the rows that it has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import Corruption
from tsdb.model.matchers import Matcher
from tsdb.model.native_histograms import is_boxed
from tsdb.storage.block import Block, ChunkRanges
from tsdb.storage.block.chunk_kernels import SOUND, TOO_MANY, new_scratch
from tsdb.storage.block.histogram_chunk_kernels import find_histograms
from tsdb.storage.block.histogram_reading import Places, decode_kinds
from tsdb.storage.head.payloads import Lost, PayloadView, resolve
from tsdb.storage.late.late import LateView
from tsdb.storage.query_symbols import QuerySymbols
from tsdb.storage.reading import block_kernels, merge_kernels
from tsdb.storage.reading.block_texts import BlockTexts
from tsdb.storage.starts.runs import StartRuns
from tsdb.storage.tombstones import Tombstones

Damaged = Callable[[Block, Corruption], None]
"""Told of a block that was found damaged."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Decoded samples of the rows of a tile: those of row i are at begin[i]:end[i] of `ts` (ms) and `values` (bits).

    A boxed value holds, instead of an offset, the address in memory of its histogram: whole, and checked."""

    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    ts: NDArray[np.int64]
    values: NDArray[np.uint64]
    histograms: tuple[object, ...] = ()
    """Whose memory that is. None: all samples are floats."""
    starts: NDArray[np.int64] | None = None
    """i64[] beside `ts`, ms: start times, 0: none. None: none at all, or nobody asked."""


class Source(Protocol):
    """Samples of rows of a result."""

    def count(self, samples: NDArray[np.int64]) -> None:
        """Adds to `samples` i64[rows] about how many samples it has of each."""
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

    def at(self, places: NDArray[np.int64], rows: int) -> Deleted:
        """The same for `rows` rows, of which these are places[i] (i64[n])."""
        first, past = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
        first[places], past[places] = self.first, self.past
        return Deleted(self.tombstones, first, past)

    def drop(self, first: int, begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64],
             values: NDArray[np.uint64]) -> None:
        """Takes what is deleted out of decoded samples of the rows from `first` on, in place."""
        part = slice(first, first + begin.size)
        merge_kernels.drop_deleted(begin, end, ts, values, self.first[part], self.past[part], self.tombstones.mint,
                                   self.tombstones.maxt)


@dataclass(frozen=True, slots=True)
class BlockStarts:
    """Start times of n rows, from one block: the runs of row i are at first[i]:past[i]."""

    runs: StartRuns
    first: NDArray[np.int64]
    past: NDArray[np.int64]
    mint: int
    """ms: they are those of samples with mint <= ts < maxt."""
    maxt: int

    def at(self, places: NDArray[np.int64], rows: int) -> BlockStarts:
        """The same for `rows` rows, of which these are places[i] (i64[n])."""
        first, past = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
        first[places], past[places] = self.first, self.past
        return replace(self, first=first, past=past)

    def fill(self, first: int, columns: Columns, out: NDArray[np.int64]) -> None:
        """Those of samples of the rows from `first` on, to `out` i64[] (ms) beside `ts`."""
        part = slice(first, first + columns.begin.size)
        self.runs.fill(self.first[part], self.past[part], self.mint, self.maxt, columns.begin, columns.end, columns.ts,
                       out)


def padded(numbers: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """With zeros behind, up to so many."""
    return numbers if numbers.size == rows else np.concatenate((numbers, np.zeros(rows - numbers.size, np.int64)))


class LateSource:
    """Late samples of slots, which are the first rows."""

    def __init__(self, view: LateView, payloads: PayloadView | None, slots: NDArray[np.int32], mint: int, maxt: int,
                 left_out: Callable[[Lost], None], *, start_times: bool = False) -> None:
        """`left_out` is told of samples whose histograms are damaged."""
        self._begin, self._end, self._ts, self._values, starts = view.collect(slots, mint, maxt)
        self._histograms: tuple[object, ...] = ()
        if payloads is not None and is_boxed(self._values).any():
            self._histograms = (payloads,)
            lost = resolve(self._begin, self._end, self._ts, self._values, starts, payloads)
            if lost is not None:
                left_out(lost)
        self._starts = starts if start_times else None

    def __len__(self) -> int:
        """Samples."""
        return int(self._ts.size)

    def count(self, samples: NDArray[np.int64]) -> None:
        samples[: self._begin.size] += self._end - self._begin

    def decode(self, first: int, end: int) -> Columns | None:
        begin, past = padded(self._begin[first:end], end - first), padded(self._end[first:end], end - first)
        some = begin < past
        if not some.any():
            return None
        if not self._histograms:
            return Columns(begin, past, self._ts, self._values, (), self._starts)
        own = slice(int(begin[some].min()), int(past.max()))  # whoever makes a tile changes the values
        return Columns(begin - own.start, past - own.start, self._ts[own], self._values[own].copy(), self._histograms,
                       None if self._starts is None else self._starts[own])


@contextmanager
def told(block: Block, damaged: Damaged | None) -> Iterator[None]:
    """Around reading a block: Corruption is told of, and raised."""
    try:
        yield
    except Corruption as problem:
        if damaged is not None:
            damaged(block, problem)
        raise


def texts_of(block: Block, label: str | None, rows: NDArray[np.int32] | None, damaged: Damaged | None) -> list[str]:
    """Values of a label (None: names of labels) of rows of a block (None: all). Corruption."""
    with told(block, damaged):
        return block.label_names(rows) if label is None else block.label_values(label, rows)


class BlockRows:
    """Series of one block that have chunks which touch mint..maxt (ms, inclusive) and are not deleted."""

    def __init__(self, block: Block, tombstones: Tombstones, matcher_sets: Sequence[Sequence[Matcher]], mint: int,
                 maxt: int, damaged: Damaged | None) -> None:
        """Those that satisfy any of the matcher sets (none: all series). Raises Corruption, BadData."""
        self.block, self.damaged = block, damaged
        self.deleted: Deleted | None = None
        with told(block, damaged):
            self.rows, self.ranges = self._found(tombstones, matcher_sets, mint, maxt)

    @classmethod
    def of(cls, block: Block, rows: NDArray[np.int32], ranges: ChunkRanges, tombstones: Tombstones,
           damaged: Damaged | None) -> Self:
        """Given rows (i32[n]) of a block and their chunks."""
        found = cls.__new__(cls)
        found.block, found.damaged, found.rows, found.ranges = block, damaged, rows, ranges
        found.deleted = Deleted.of(tombstones, rows)
        return found

    def fingerprints(self) -> NDArray[np.uint64]:
        """u64[n, 2]. Corruption."""
        with told(self.block, self.damaged):
            return self.block.fingerprints(self.rows).view(np.uint64)

    def starts(self) -> BlockStarts | None:
        """Start times of their samples; None: there are none. Corruption."""
        with told(self.block, self.damaged):
            runs = self.block.starts(self.rows)
        return BlockStarts(runs, *runs.of(self.rows), self.block.meta.mint, self.block.meta.maxt) if len(runs) else None

    def labels(self, chosen: NDArray[np.int64], symbols: QuerySymbols, texts: BlockTexts,
               ) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.uint32]]:
        """(offsets i64[n + 1], names u32[], values u32[]) of some of them, as in a `SeriesSet` of `symbols`."""
        with told(self.block, self.damaged):
            return self._labels(self.rows[chosen], symbols, texts)

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
    """Samples of blocks that do not overlap."""

    def __init__(self, found: Sequence[BlockRows], places: Sequence[NDArray[np.int64]], rows: int, *,
                 start_times: bool = False) -> None:
        """Blocks in order of time. `places` i64[n] of each: which of the `rows` of the result its series are. Only a
        block that is alone may have deleted samples. Raises Corruption."""
        self._found = found
        self._columns = np.stack([each.block.columns for each in found])
        self._samples, self._likely = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
        for each, place in zip(found, places, strict=True):
            self._samples[place] += each.ranges.samples
            self._likely[place] += each.ranges.likely
        every = np.concatenate(places)
        self._offsets = np.zeros(rows + 2, np.int64)
        self._block = np.empty(every.size, np.int32)
        self._begin, self._end = np.empty(every.size, np.int64), np.empty(every.size, np.int64)
        block_kernels.by_row(
            every, np.cumsum([place.size for place in places]), np.concatenate([each.ranges.begin for each in found]),
            np.concatenate([each.ranges.end for each in found]), self._offsets, self._block, self._begin, self._end,
        )
        self._histograms = np.zeros(rows, np.bool_)
        if any(each.block.meta.stats.histograms for each in found):
            find_histograms(self._columns, self._offsets, self._block, self._begin, self._end, self._histograms)
        deleted = found[0].deleted
        self._deleted = None if deleted is None else deleted.at(places[0], rows)
        self._scratch: list[NDArray[np.uint64]] = []  # that no thread has: columns of times, once read, serve all tiles
        self._starts = [starts.at(place, rows) for each, place in zip(found, places, strict=True)
                        if start_times and (starts := each.starts()) is not None]

    @property
    def names(self) -> Sequence[str]:
        """Ids of the blocks."""
        return [each.block.meta.ulid for each in self._found]

    @property
    def histograms(self) -> NDArray[np.bool_]:
        """bool[rows]: which have chunks of histograms."""
        return self._histograms

    def count(self, samples: NDArray[np.int64]) -> None:
        samples += self._likely

    def decode(self, first: int, end: int) -> Columns | None:
        if self._offsets[first] == self._offsets[end]:
            return None
        if self._histograms[first:end].any():
            return self._decode_kinds(first, end)
        nothing = np.zeros(end - first, np.int64)
        found = self.decode_before(Columns(nothing, nothing, nothing[:0], nothing[:0].view(np.uint64)), first, end)
        if found is None or not self._starts:
            return found
        return replace(found, starts=self._start_times(first, found))

    def decode_before(self, later: Columns, first: int, end: int) -> Columns | None:
        """The samples of the rows first:end, and behind them those of another source; None: these are not all later, or
        histograms are among the first."""
        if self._histograms[first:end].any():
            return None
        samples, likely = self._samples[first:end], self._likely[first:end]
        most, after = int(samples.sum()), int((later.end - later.begin).sum())
        # A chunk is decoded where it will be, whole, before what is not wanted is left out.
        room = min(most, int(likely.sum()) + int((samples - likely).max()))
        found = self._decode(first, end, later, room + after)
        if found[0] == TOO_MANY and room < most:  # it was not as likely
            found = self._decode(first, end, later, most + after)
        state, place, chunk, columns = found
        if state == block_kernels.OVERLAP:
            return None
        self._check(state, place, chunk)
        if self._deleted is not None:
            self._deleted.drop(first, columns.begin, columns.end, columns.ts, columns.values)
        return columns

    def _decode(self, first: int, end: int, later: Columns, room: int) -> tuple[int, int, int, Columns]:
        """(state, block, chunk, samples) of the rows first:end, as `block_kernels.decode_blocks` has them."""
        ranges = self._found[0].ranges
        begin, stop = np.empty(end - first, np.int64), np.empty(end - first, np.int64)
        ts, values = np.empty(room, np.int64), np.empty(room, np.uint64)
        try:
            scratch = self._scratch.pop()
        except IndexError:
            scratch = new_scratch()
        state, place, chunk = block_kernels.decode_blocks(
            self._columns, self._offsets, self._block, self._begin, self._end, first, self._order(first, end),
            ranges.mint, ranges.maxt, later.begin, later.end, later.ts, later.values, np.empty(24, np.uint8), scratch,
            begin, stop, ts, values,
        )
        self._scratch.append(scratch)
        return state, place, chunk, Columns(begin, stop, ts, values, later.histograms)

    def _order(self, first: int, end: int) -> NDArray[np.int64]:
        """i64[rows]: the rows first:end, less `first`, as they stand in the (first) block."""
        at = np.minimum(self._offsets[first:end], self._begin.size - 1)
        return self._begin[at].argsort()

    def _decode_kinds(self, first: int, end: int) -> Columns:
        ranges = self._found[0].ranges
        places = Places(self._columns, self._offsets, self._block, self._begin, self._end)
        found, state, place, chunk = decode_kinds(places, first, end, ranges.mint, ranges.maxt,
                                                  int(self._samples[first:end].sum()))
        self._check(state, place, chunk)
        if self._deleted is not None:
            self._deleted.drop(first, found.begin, found.end, found.ts, found.values)
        columns = Columns(found.begin, found.end, found.ts, found.values,
                          () if found.payload is None else (found.payload,))
        return replace(columns, starts=self._start_times(first, columns))

    def _start_times(self, first: int, found: Columns) -> NDArray[np.int64] | None:
        """Beside `ts` of the rows from `first` on."""
        if not self._starts:
            return None
        out = np.zeros(found.ts.size, np.int64)
        for starts in self._starts:
            starts.fill(first, found, out)
        return out

    def _check(self, state: int, place: int, chunk: int) -> None:
        """Raises what a kernel's state says of a chunk."""
        if state != SOUND:
            found = self._found[place]
            with told(found.block, found.damaged):
                raise found.block.problem(state, chunk)
