"""Several blocks as the source of one: series joined, samples merged, what was deleted left out, chunks encoded anew.

In memory are the labels of all series, four bytes for each series and block, and tiles of samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.hash_kernels import new_secret
from tsdb.model.matchers import Matcher
from tsdb.storage.block import Block, ChunkRanges, Chunks, SeriesLabels, TimeColumns
from tsdb.storage.block.dictionary import read_only
from tsdb.storage.block.encoding import DenseEncoder
from tsdb.storage.block.families import families
from tsdb.storage.block.histogram_encoding import encode_kinds
from tsdb.storage.block.histogram_reading import Decoded
from tsdb.storage.block.layout import HISTOGRAMS
from tsdb.storage.block.text_kernels import sort_texts
from tsdb.storage.blocks import precedence
from tsdb.storage.reading.join import Join
from tsdb.storage.reading.merge_kernels import drop_deleted, merge
from tsdb.storage.starts.runs import StartRuns
from tsdb.storage.upkeep.compaction_kernels import number_texts
from tsdb.storage.upkeep.stored_histograms import SAMPLES_AT_ONCE, gathered

ROWS = 4096
"""Series whose chunks are looked up at once."""
TILE_SAMPLES = 1 << 18
"""Samples decoded, merged and encoded at once, unless a series has more: some milliseconds of each kernel."""
HISTOGRAM_WEIGHT = TILE_SAMPLES // SAMPLES_AT_ONCE
EARLIEST, LATEST = -(1 << 63), (1 << 63) - 1


class CompactionSource:
    """Blocks may overlap: of samples with equal times that of the first block in `precedence` stays."""

    def __init__(self, blocks: Sequence[Block], pause: Callable[[], None], *, mint: int | None = None,
                 maxt: int | None = None) -> None:
        """Samples with mint <= ts < maxt (ms); None: from the first, to the last. `pause` is called between tiles and
        may raise."""
        self.mint = min(block.meta.mint for block in blocks) if mint is None else mint
        self.maxt = max(block.meta.maxt for block in blocks) if maxt is None else maxt
        self._blocks = sorted(blocks, key=precedence)
        self._pause = pause
        self._rows: list[NDArray[np.int32]] = []
        """By block, i32[series]: the row of each series in it, -1: it has none."""
        self._families = np.zeros(0, np.uint64)

    def series(self) -> SeriesLabels:
        blocks = self._blocks
        offset, length, data = _texts(blocks)
        order = np.arange(offset.size, dtype=np.int32)
        sort_texts(read_only(data), offset, length, order, np.empty(offset.size, np.uint64),
                   np.empty((256, 3), np.int64))
        symbols, first = np.empty(offset.size, np.uint32), np.empty(offset.size, np.int64)
        first = first[: number_texts(read_only(data), offset, length, order, symbols, first)]
        self._pause()
        pair_name, pair_value, pair_of = _pairs(blocks, symbols)
        self._pause()
        join = Join(new_secret())
        found, offsets = [], [np.zeros(1, np.int64)]
        labels: list[NDArray[np.uint32]] = []
        for block, pairs in zip(blocks, pair_of, strict=True):
            before = join.rows
            prints = block.fingerprints(np.arange(len(block), dtype=np.int32))
            numbers = join.add(np.ascontiguousarray(prints).view(np.uint64).reshape(-1, 2))
            found.append(numbers)
            own_offsets, own_pairs = block.pairs(np.flatnonzero(numbers >= before).astype(np.int32))
            offsets.append(own_offsets[1:] + sum(part.size for part in labels))
            labels.append(pairs[own_pairs])
            self._pause()
        for numbers in found:
            rows = np.full(join.rows, -1, np.int32)
            rows[numbers] = np.arange(numbers.size, dtype=np.int32)
            self._rows.append(rows)
        series = SeriesLabels(data, offset[first], length[first], pair_name, pair_value, np.concatenate(offsets),
                              np.concatenate(labels))
        self._families = families(series)
        return series

    def matching(self, matchers: Sequence[Matcher]) -> NDArray[np.int32]:
        """Rows of `series()`, once that was asked for, that satisfy all matchers: i32[n], sorted. BadData."""
        found = [rows >= 0 for rows in self._rows]
        for block, rows, own in zip(self._blocks, self._rows, found, strict=True):
            satisfies = np.zeros(len(block), np.bool_)
            satisfies[block.find(matchers)] = True
            own[own] = satisfies[rows[own]]
        return np.flatnonzero(np.logical_or.reduce(found)).astype(np.int32)

    def chunks(self, order: NDArray[np.int32]) -> Iterator[Chunks | TimeColumns | StartRuns]:
        encoder = DenseEncoder(self.mint, self.maxt)
        number = 0
        for tile in self.tiles(order, self.mint, self.maxt - 1):
            begin, end, ts, values = tile.columns
            if tile.payload is None:
                own = self._families[order[tile.first : tile.past]]
                chunks = encoder.encode(begin, end, ts, values, families=own, number=number)
            else:
                chunks = encode_kinds(begin, end, ts, values, tile.payload, encoder.encode)
            number += chunks.mint.size
            yield chunks
            if tile.starts is not None:
                runs = StartRuns.of_samples(begin, end, ts, tile.starts)
                yield replace(runs, series=runs.series + np.int32(tile.first))
            self._pause()
        yield encoder.columns()

    def tiles(self, order: NDArray[np.int32], mint: int = EARLIEST, maxt: int = LATEST) -> Iterator[MergedTile]:
        """The samples with mint <= ts <= maxt (ms) of `series()` in the given order (rows, i32[n])."""
        for start in range(0, order.size, ROWS):
            part = order[start : start + ROWS]
            sources = [_Rows(block, rows[part], mint, maxt)
                       for block, rows in zip(self._blocks, self._rows, strict=True)]
            ends = np.cumsum(sum((source.weights for source in sources), np.zeros(part.size, np.int64)))
            first = 0
            while first < part.size:
                before = int(ends[first - 1]) if first else 0
                past = max(int(np.searchsorted(ends, before + TILE_SAMPLES, side="right")), first + 1)
                tiles = [source.tile(first, past) for source in sources]
                starts = [source.starts(first, tile) for source, tile in zip(sources, tiles, strict=True)]
                columns = _merged(tiles)
                begin, end, _, values = columns
                payload = gathered(begin, end, values) if any(tile.payload is not None for tile in tiles) else None
                merged_starts = _merged_starts(tiles, starts) if any(each is not None for each in starts) else None
                yield MergedTile(start + first, start + past, columns, payload, merged_starts)
                first = past


Columns = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]
"""begin i64[rows], end i64[rows], ts i64[] ms, values u64[] bits, boxed ones with addresses."""


@dataclass(frozen=True, slots=True)
class MergedTile:
    """The samples of the series first:past of an order, merged."""

    first: int
    past: int
    columns: Columns
    payload: NDArray[np.uint8] | None
    """u8[bytes]: histograms. None: all are floats."""
    starts: NDArray[np.int64] | None
    """i64[samples] beside `ts`, ms: start times. None: there are none."""


class _Rows:
    """Some series in one of the blocks."""

    def __init__(self, block: Block, rows: NDArray[np.int32], mint: int, maxt: int) -> None:
        """`rows` i32[n]: -1 where the block does not have the series. Samples with mint <= ts <= maxt (ms) count."""
        self._block = block
        self._there = np.flatnonzero(rows >= 0)
        self._rows = rows[self._there]
        self._ranges: ChunkRanges = block.chunk_ranges(self._rows, mint, maxt)
        self.weights = np.zeros(rows.size, np.int64)
        """i64[n]: samples; where histograms are among them, as many as take the same memory."""
        self.weights[self._there] = self._ranges.samples * np.where(self._some_histograms(), HISTOGRAM_WEIGHT, 1)

    def _some_histograms(self) -> NDArray[np.bool_]:
        """Which of the series that the block has have chunks of histograms."""
        begin, end = self._ranges.begin, self._ranges.end
        if not self._block.meta.stats.histograms or not begin.size:
            return np.zeros(begin.size, np.bool_)
        low = int(begin.min())
        sums = np.zeros(int(end.max()) - low + 1, np.int64)
        np.cumsum(self._block.index["chunk_form"].part(low, low + sums.size - 1) == HISTOGRAMS, out=sums[1:])
        found: NDArray[np.bool_] = sums[end - low] > sums[begin - low]
        return found

    def tile(self, first: int, past: int) -> Decoded:
        """The samples of series first:past that are not deleted."""
        low, high = np.searchsorted(self._there, (first, past)).tolist()
        found = self._block.decode_kinds(self._ranges, low, high)
        tombstones = self._block.tombstones
        if len(tombstones):
            drop_deleted(found.begin, found.end, found.ts, found.values, *tombstones.of(self._rows[low:high]),
                         tombstones.mint, tombstones.maxt)
        all_begin, all_end = np.zeros(past - first, np.int64), np.zeros(past - first, np.int64)
        at = self._there[low:high] - first
        all_begin[at], all_end[at] = found.begin, found.end
        return replace(found, begin=all_begin, end=all_end)

    def starts(self, first: int, tile: Decoded) -> NDArray[np.int64] | None:
        """Start times beside `ts` of the tile of the series from `first` on; None: there are none."""
        low, high = np.searchsorted(self._there, (first, first + tile.begin.size)).tolist()
        runs = self._block.starts(self._rows[low:high])
        if not len(runs):
            return None
        out, at, meta = np.zeros(tile.ts.size, np.int64), self._there[low:high] - first, self._block.meta
        runs.fill(*runs.of(self._rows[low:high]), meta.mint, meta.maxt, tile.begin[at], tile.end[at], tile.ts, out)
        return out


def _merged_starts(tiles: Sequence[Decoded], starts: Sequence[NDArray[np.int64] | None]) -> NDArray[np.int64]:
    """Merged as the tiles' values are."""
    columns = [replace(tile, values=np.zeros(tile.ts.size, np.uint64) if own is None else own.view(np.uint64))
               for tile, own in zip(tiles, starts, strict=True)]
    return _merged(columns)[3].view(np.int64)


def _merged(tiles: Sequence[Decoded]) -> Columns:
    tiles = [tile for tile in tiles if tile.ts.size] or list(tiles[:1])
    if len(tiles) == 1:
        return tiles[0].begin, tiles[0].end, tiles[0].ts, tiles[0].values
    begin, end = np.stack([tile.begin for tile in tiles]), np.stack([tile.end for tile in tiles])
    rows, room = begin.shape[1], sum(tile.ts.size for tile in tiles)
    out_begin, out_end = np.empty(rows, np.int64), np.empty(rows, np.int64)
    ts, values = np.empty(room, np.int64), np.empty(room, np.uint64)
    at, source = np.empty(len(tiles), np.int64), np.empty(len(tiles), np.int64)
    merge(begin, end, _addresses([tile.ts for tile in tiles]), _addresses([tile.values for tile in tiles]), at, source,
          out_begin, out_end, ts, values)
    return out_begin, out_end, ts, values


def _addresses(arrays: Sequence[NDArray[Any]]) -> NDArray[np.uint64]:
    return np.array([array.__array_interface__["data"][0] for array in arrays], np.uint64)


def _texts(blocks: Sequence[Block]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
    """(offset i64[n], length i64[n], bytes u8[]) of the symbols of all blocks, one after the other."""
    offsets, lengths, parts = [], [], []
    at = 0
    for block in blocks:
        ends = block.index["symbol_offset"].all().astype(np.int64)
        offsets.append(ends[:-1] + at)
        lengths.append(np.diff(ends))
        parts.append(block.index["symbol_bytes"].all())
        at += parts[-1].size
    return np.concatenate(offsets), np.concatenate(lengths), np.concatenate([*parts, np.zeros(8, np.uint8)])


def _pairs(blocks: Sequence[Block], symbols: NDArray[np.uint32],
           ) -> tuple[NDArray[np.uint32], NDArray[np.uint32], list[NDArray[np.uint32]]]:
    """(name u32[pairs], value u32[pairs], by block u32[its pairs]: which pair each of its own is). `symbols`: of the
    symbols of all blocks, one after the other."""
    keys = []
    at = 0
    for block in blocks:
        own = symbols[at : at + len(block.symbols)].astype(np.uint64)
        at += own.size
        keys.append(own[block.index["pair_name"].all()] << np.uint64(32) | own[block.index["pair_value"].all()])
    every, numbers = np.unique(np.concatenate(keys), return_inverse=True)
    borders = np.cumsum([key.size for key in keys])[:-1]
    return ((every >> np.uint64(32)).astype(np.uint32), every.astype(np.uint32),
            np.split(numbers.astype(np.uint32), borders))
