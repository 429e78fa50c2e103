"""Windows of a selection: fields of a tier's blocks, side by side in tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import Corruption
from tsdb.model.matchers import Matcher, MatchType
from tsdb.model.native_histograms import only_floats
from tsdb.model.tiers import Field, quantile_field
from tsdb.model.tiles import Selection, SeriesSet, Tile
from tsdb.storage.block import Block
from tsdb.storage.head import payload_kernels
from tsdb.storage.head.head import NO_PAYLOAD
from tsdb.storage.query_symbols import QuerySymbols
from tsdb.storage.reading.block_texts import BlockTexts
from tsdb.storage.reading.capture import cut
from tsdb.storage.reading.join import Joins
from tsdb.storage.reading.merged import block_sources, merged, with_blocks
from tsdb.storage.reading.sources import BlockRows, BlockSource, Columns, Damaged, told
from tsdb.storage.tiers.fields import DENSE, FIELD_LABEL, SPARSE
from tsdb.storage.tiers.rule import TierRule
from tsdb.storage.tombstones import Tombstones
from tsdb.storage.upkeep.compaction_source import HISTOGRAM_WEIGHT

T = TypeVar("T", bound=np.generic)

NO_ROWS = np.zeros(0, np.int32)
MOST_ROWS = 4
"""Of a tile's samples, at most so many fields' worth are decoded at once."""


def of_field(matchers: Sequence[Matcher], field: str) -> tuple[Matcher, ...]:
    """Matchers of the series with one field of those that satisfy `matchers`."""
    return (*matchers, Matcher(MatchType.EQUAL, FIELD_LABEL, field))


class FieldRows:
    """The rows of the fields of a block's series, from those of the first one: these are neighbours, sorted."""

    def __init__(self, block: Block, matchers: Sequence[Matcher], quantiles: Sequence[float]) -> None:
        """Series that satisfy all matchers. Corruption, BadData."""
        self._dense = sorted([*DENSE, *map(quantile_field, quantiles)], key=str.encode)
        self.first = block.find(of_field(matchers, self._dense[0]))
        """i32[n], sorted"""
        self._sparse = {field: block.find(of_field(matchers, field)) for field in SPARSE} if self.first.size else {}

    def of(self, field: str, chosen: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """(which of the `chosen` series, i64[n], have the field: i64[k]; the rows of the block, i32[k])."""
        if field in self._sparse:
            rows = self._sparse[Field(field)]
            series = np.searchsorted(self.first, rows, side="right") - 1
            place = np.full(self.first.size, -1, np.int64)
            place[series] = np.arange(rows.size)
            found = np.flatnonzero(place[chosen] >= 0)
            return found, rows[place[chosen[found]]]
        before = np.full(chosen.size, self._dense.index(field), np.int32)
        for other, rows in self._sparse.items():
            if other.encode() < field.encode() and rows.size:
                has = np.zeros(self.first.size, np.int32)
                has[np.searchsorted(self.first, rows, side="right") - 1] = 1
                before += has[chosen]
        return np.arange(chosen.size), self.first[chosen] + before


class WindowsSelected:
    """One selection of windows of a capture."""

    def __init__(self, selection: Selection, rule: TierRule | None, blocks: Sequence[tuple[Block, Tombstones]],
                 symbols: QuerySymbols, texts: BlockTexts, joins: Joins, damaged: Damaged | None) -> None:
        """`blocks` are those of the tier, in order of time, each with what is deleted of it. None: there is no such
        tier. Corruption, BadData."""
        assert selection.tier is not None
        self._name = "" if rule is None else rule.name
        quantiles = () if rule is None else rule.quantiles
        self._fields = selection.tier.fields
        base = next((field for field in self._fields if field not in SPARSE), Field.COUNT)
        wanted = dict.fromkeys([base, *self._fields])
        found: dict[str, list[BlockRows]] = {field: [] for field in wanted}
        places: dict[str, list[NDArray[np.int64]]] = {field: [] for field in wanted}
        chosen = []
        for block, tombstones in blocks:
            with told(block, damaged):
                rows = FieldRows(block, selection.matchers, quantiles)
                ranges = block.chunk_ranges(rows.of(base, np.arange(rows.first.size))[1], selection.mint,
                                            selection.maxt)
                kept = np.flatnonzero(ranges.samples)
                if kept.size:
                    chosen.append((block, tombstones, rows, kept))
        first = [_of(block, tombstones, rows.first[kept], selection, damaged)
                 for block, tombstones, rows, kept in chosen]
        of_result, fresh = joins.of(NO_ROWS, first)
        nothing = SeriesSet(np.zeros(1, np.int64), np.zeros(0, np.uint32), np.zeros(0, np.uint32), symbols)
        self._series = without_field(with_blocks(nothing, first, fresh, symbols, texts))
        for (block, tombstones, rows, kept), place in zip(chosen, of_result, strict=True):
            for field in wanted:
                have, at = rows.of(field, kept)
                if have.size:
                    found[field].append(_of(block, tombstones, at, selection, damaged))
                    places[field].append(place[have])
        self._base = base
        self._sources = {field: _Source(found[field], places[field], len(self._series)) for field in wanted}
        self._blocks = [block.meta.ulid for block, *_ in chosen]
        samples = np.zeros(len(self._series), np.int64)
        self._sources[base].count(samples)
        weights = np.zeros(samples.size, np.int64)
        for field in self._fields:
            weights += np.where(self._sources[field].histograms(samples.size), HISTOGRAM_WEIGHT, 1)
        self._tile_rows = cut((samples * np.maximum(1, weights // MOST_ROWS)).cumsum(), selection.steps)

    @property
    def series(self) -> SeriesSet:
        return self._series

    @property
    def sources(self) -> Sequence[str]:
        return [f"tier {self._name} {ulid}" for ulid in self._blocks]

    @property
    def tile_rows(self) -> NDArray[np.int64]:
        return self._tile_rows

    def tile(self, index: int) -> Tile:
        first, past = int(self._tile_rows[index]), int(self._tile_rows[index + 1])
        base = self._sources[self._base].decode(first, past)
        sizes = base.end - base.begin
        end = np.cumsum(sizes)
        begin, total = end - sizes, int(end[-1])
        ts = _laid_out(base.ts, base, begin, total)
        out = np.zeros((len(self._fields), total), np.uint64)
        owners: list[object] = []
        boxed = np.zeros(len(self._fields), np.bool_)
        for number, field in enumerate(self._fields):
            columns = base if field == self._base else self._sources[field].decode(first, past)
            if field in SPARSE:
                _fill(columns, begin, end, ts, out[number])
            elif ((columns.end - columns.begin) != sizes).any():
                raise Corruption(f"windows of tier {self._name} lack the field {field} that others of their series "
                                 "have: `tsdb check data` says more")
            else:
                out[number] = _laid_out(columns.values, columns, begin, total)
            boxed[number] = bool(columns.histograms)
            owners.append(columns.histograms)
        payload = None
        if boxed.any():  # what only looks like an address is none
            for number in np.flatnonzero(~boxed).tolist():
                out[number] = only_floats(out[number])
            shift = (np.arange(len(self._fields)) * total)[:, None]
            begins, ends, flat = (begin + shift).ravel(), (end + shift).ravel(), out.ravel()
            size = payload_kernels.gather(begins, ends, flat, NO_PAYLOAD)
            payload = np.empty(size, np.uint8)
            payload_kernels.gather(begins, ends, flat, payload)
        fields = out.view(np.float64)
        return Tile(first, begin, end, ts, fields[0], payload, None, fields)


def without_field(series: SeriesSet) -> SeriesSet:
    """Series of a block without their last label, `FIELD_LABEL`."""
    kept = np.ones(series.names.size, np.bool_)
    kept[series.offsets[1:] - 1] = False
    return SeriesSet(series.offsets - np.arange(series.offsets.size), series.names[kept], series.values[kept],
                     series.symbols)


class _Source:
    """One field of the rows of a result."""

    def __init__(self, found: Sequence[BlockRows], places: Sequence[NDArray[np.int64]], rows: int) -> None:
        self._parts: list[BlockSource] = []
        if found:
            apart, others = block_sources(found, places, rows)
            self._parts = [*([] if apart is None else [apart]), *others]

    def count(self, samples: NDArray[np.int64]) -> None:
        for part in self._parts:
            part.count(samples)

    def histograms(self, rows: int) -> NDArray[np.bool_]:
        """Which of the rows have some."""
        found = np.zeros(rows, np.bool_)
        for part in self._parts:
            found |= part.histograms
        return found

    def decode(self, first: int, past: int) -> Columns:
        parts = [columns for part in self._parts if (columns := part.decode(first, past)) is not None]
        if parts:
            return merged(parts, past - first)
        nothing = np.zeros(past - first, np.int64)
        return Columns(nothing, nothing, nothing[:0], nothing[:0].view(np.uint64))


def _of(block: Block, tombstones: Tombstones, rows: NDArray[np.int32], selection: Selection,
        damaged: Damaged | None) -> BlockRows:
    with told(block, damaged):
        return BlockRows.of(block, rows, block.chunk_ranges(rows, selection.mint, selection.maxt), tombstones, damaged)


def _laid_out(column: NDArray[T], columns: Columns, begin: NDArray[np.int64], total: int) -> NDArray[T]:
    """The samples of a column row after row, those of row i from begin[i] on."""
    if np.array_equal(columns.begin, begin):
        return column[:total]
    at = np.repeat(columns.begin - begin, columns.end - columns.begin) + np.arange(total)
    return column[at]


def _fill(columns: Columns, begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64],
          out: NDArray[np.uint64]) -> None:
    """The samples of a sparse field beside the windows (`ts`, row after row) that they are of."""
    sizes = columns.end - columns.begin
    total = int(sizes.sum())
    if not total or not ts.size:
        return
    own = np.cumsum(sizes) - sizes
    low = int(ts.min())
    width = int(ts.max()) - low + 1
    keys = np.repeat(np.arange(begin.size), end - begin) * width + (ts - low)
    wanted = np.repeat(np.arange(begin.size), sizes) * width + (_laid_out(columns.ts, columns, own, total) - low)
    at = np.searchsorted(keys, wanted)
    values = _laid_out(columns.values, columns, own, total)
    there = (at < keys.size) & (keys[np.minimum(at, keys.size - 1)] == wanted)
    out[at[there]] = values[there]
