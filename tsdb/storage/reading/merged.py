"""Selections whose samples come from several sources: the head, blocks, late samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tsdb.model.native_histograms import only_floats
from tsdb.model.tiles import SeriesSet, Tile
from tsdb.storage.head.layout import NO_TS
from tsdb.storage.query_symbols import QuerySymbols
from tsdb.storage.reading import merge_kernels
from tsdb.storage.reading.block_texts import BlockTexts
from tsdb.storage.reading.capture import HeadSelected, cut, tile_of
from tsdb.storage.reading.sources import BlockRows, BlockSource, Columns, LateSource, Source


class MergedSelected:
    """One selection of a capture: rows of the head first, then the series that only blocks have."""

    def __init__(self, series: SeriesSet, head: HeadSelected, apart: BlockSource | None,
                 overlapping: Sequence[BlockSource], late: LateSource | None) -> None:
        """`apart`: blocks that no other one overlaps. Where times are equal the head's sample counts, then that of the
        first of the `overlapping` blocks, last late ones."""
        self._series = series
        self._apart = apart
        self._before: Sequence[Source] = [head, *overlapping]
        self._blocks = [source for source in (apart, *overlapping) if source is not None]
        self._head = head
        self._late = late
        self._start_times = head.selection.start_times
        samples = np.zeros(len(series), np.int64)
        for source in (*self._before, apart, late):
            if source is not None:
                source.count(samples)
        self._tile_rows = cut(samples.cumsum(), head.selection.steps)

    @property
    def series(self) -> SeriesSet:
        return self._series

    @property
    def sources(self) -> Sequence[str]:
        late = () if self._late is None else ("late",)
        return (*self._head.sources, *late, *(name for source in self._blocks for name in source.names))

    @property
    def tile_rows(self) -> NDArray[np.int64]:
        return self._tile_rows

    def tile(self, index: int) -> Tile:
        first, past = int(self._tile_rows[index]), int(self._tile_rows[index + 1])
        parts = [part for source in self._before if (part := source.decode(first, past)) is not None]
        late = None if self._late is None else self._late.decode(first, past)
        whole = None
        if self._apart is not None:
            # as a rule: blocks, then the head
            if len(parts) == 1 and late is None and not parts[0].histograms and not self._start_times:
                whole = self._apart.decode_before(parts[0], first, past)
            if whole is None and (part := self._apart.decode(first, past)) is not None:
                parts.append(part)
        if late is not None:
            parts.append(late)
        whole = whole or merged(parts, past - first)
        return tile_of(first, whole)


def merged(parts: Sequence[Columns], rows: int) -> Columns:
    """The samples of several sources. Where times are equal the first part's sample counts."""
    if len(parts) == 1:
        return parts[0]
    k = len(parts)
    owners: tuple[object, ...] = sum((part.histograms for part in parts), ())
    if owners:  # what only looks like an address is none
        parts = [part if part.histograms else replace(part, values=only_floats(part.values)) for part in parts]
    begin, end = np.zeros((k, rows), np.int64), np.zeros((k, rows), np.int64)
    for i, part in enumerate(parts):
        begin[i], end[i] = part.begin, part.end
    room = int((end - begin).sum())
    out = Columns(np.empty(rows, np.int64), np.empty(rows, np.int64), np.empty(room, np.int64),
                  np.empty(room, np.uint64), owners)
    times = np.array([_address(part.ts) for part in parts], np.uint64)

    def merge(columns: Sequence[NDArray[np.generic]], to: NDArray[np.uint64]) -> None:
        merge_kernels.merge(begin, end, times, np.array([_address(column) for column in columns], np.uint64),
                            np.empty(k, np.int64), np.empty(k, np.int64), out.begin, out.end, out.ts, to)

    merge([part.values for part in parts], out.values)
    if all(part.starts is None for part in parts):
        return out
    starts = np.empty(room, np.int64)  # merged as the values are
    merge([np.zeros(part.ts.size, np.int64) if part.starts is None else part.starts for part in parts],
          starts.view(np.uint64))
    return replace(out, starts=starts)


def block_sources(found: Sequence[BlockRows], places: Sequence[NDArray[np.int64]], rows: int, *,
                  start_times: bool = False) -> tuple[BlockSource | None, list[BlockSource]]:
    """(blocks that no other one overlaps, together; each of the others, in the order given). Those with deleted samples
    are among the others."""
    by_time = sorted(range(len(found)), key=lambda i: found[i].block.meta.mint)
    apart, reached = [], NO_TS
    for place, i in enumerate(by_time):
        meta = found[i].block.meta
        after = found[by_time[place + 1]].block.meta.mint if place + 1 < len(by_time) else meta.maxt
        if reached <= meta.mint and meta.maxt <= after and found[i].deleted is None:
            apart.append(i)
        reached = max(reached, meta.maxt)
    others = [BlockSource([found[i]], [places[i]], rows, start_times=start_times)
              for i in range(len(found)) if i not in apart]
    if not apart:
        return None, others
    return BlockSource([found[i] for i in apart], [places[i] for i in apart], rows, start_times=start_times), others


def with_blocks(series: SeriesSet, found: Sequence[BlockRows], fresh: Sequence[NDArray[np.int64]],
                symbols: QuerySymbols, texts: BlockTexts) -> SeriesSet:
    """The label sets of `series`, and behind them those of the `fresh` series of each block."""
    offsets, names, values = [series.offsets], [series.names], [series.values]
    for each, chosen in zip(found, fresh, strict=True):
        if chosen.size:
            more, more_names, more_values = each.labels(chosen, symbols, texts)
            offsets.append(more[1:] + offsets[-1][-1])
            names.append(more_names)
            values.append(more_values)
    if len(offsets) == 1:
        return series
    return SeriesSet(np.concatenate(offsets), np.concatenate(names), np.concatenate(values), symbols)


def _address(array: NDArray[np.generic]) -> int:
    return int(array.__array_interface__["data"][0])
