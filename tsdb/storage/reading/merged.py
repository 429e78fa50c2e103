"""Selections whose samples come from several sources: the head, blocks, late samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tsdb.model.tiles import SeriesSet, Tile
from tsdb.storage.query_symbols import QuerySymbols
from tsdb.storage.reading import merge_kernels
from tsdb.storage.reading.block_texts import BlockTexts
from tsdb.storage.reading.capture import cut
from tsdb.storage.reading.join import HeadFingerprints, Join
from tsdb.storage.reading.sources import BlockRows, Source


class MergedSelected:
    """One selection of a capture: rows of the head first, then the series that only blocks have."""

    def __init__(self, series: SeriesSet, sources: Sequence[Source]) -> None:
        """Of equal times, the sample of the first source stays."""
        self._sources = sources
        self._series = series
        most = np.zeros(len(series), np.int64)
        for source in sources:
            source.count(most)
        self._tile_rows = cut(most.cumsum())

    @property
    def series(self) -> SeriesSet:
        return self._series

    @property
    def tile_rows(self) -> NDArray[np.int64]:
        return self._tile_rows

    def tile(self, index: int) -> Tile:
        first, past = int(self._tile_rows[index]), int(self._tile_rows[index + 1])
        parts = [part for source in self._sources if (part := source.decode(first, past)) is not None]
        k, rows = len(parts), past - first
        begin, end = np.zeros((k, rows), np.int64), np.zeros((k, rows), np.int64)
        for i, part in enumerate(parts):
            begin[i, part.rows], end[i, part.rows] = part.begin, part.end
        if k == 1:
            return Tile(first, begin[0], end[0], parts[0].ts, parts[0].values.view(np.float64))
        room = int((end - begin).sum())
        out_begin, out_end = np.empty(rows, np.int64), np.empty(rows, np.int64)
        ts, values = np.empty(room, np.int64), np.empty(room, np.uint64)
        merge_kernels.merge(
            begin, end, np.array([_address(part.ts) for part in parts], np.uint64),
            np.array([_address(part.values) for part in parts], np.uint64), np.empty(k, np.int64),
            np.empty(k, np.int64), out_begin, out_end, ts, values,
        )
        return Tile(first, out_begin, out_end, ts, values.view(np.float64))


def join_rows(slots: NDArray[np.int32], found: Sequence[BlockRows], fingerprints: HeadFingerprints,
              secret: NDArray[np.uint64]) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    """For each block, the rows of the result that its series are (i64[n]), and which of its series no slot and no
    block before has: those get the rows behind the slots, in their order."""
    join = Join(secret)
    join.add(fingerprints.of(slots))
    rows, fresh = [], []
    for each in found:
        before = join.rows
        rows.append(join.add(each.fingerprints()))
        fresh.append(np.flatnonzero(rows[-1] >= before))
    return rows, fresh


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
