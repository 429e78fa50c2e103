"""Windows of a downsampling tier, followed by those that are not built yet: made of samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from tsdb.histograms.windows import put_histograms
from tsdb.kernels.window_kernels import windows
from tsdb.model.tiers import Field, TierRead
from tsdb.model.tiles import SeriesSet, Tile
from tsdb.promql.native_histograms import Histograms
from tsdb.promql.operators.cells import row_parts
from tsdb.promql.operators.groups import concatenate, group_rows, take
from tsdb.promql.operators.selectors import TileSource
from tsdb.promql.operators.vector import Environment

T = TypeVar("T")

_MADE: Final = list(Field)
"""The rows that the kernel fills."""


@dataclass(frozen=True, slots=True)
class _Windows:
    """Those of row i are at begin[i]:end[i] of ts i64[] (ms, their ends) and fields f64[fields, windows], whose boxed
    values lead to the payload."""

    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    ts: NDArray[np.int64]
    fields: NDArray[np.float64]
    payload: NDArray[np.uint8] | None = None


class TailedWindows:
    """Tiles of windows: those of a tier, and behind them, in (after, through] (ms), those of samples. The latter are
    made first and kept in memory: few windows of each series."""

    def __init__(self, env: Environment, of_tier: TileSource, samples: TileSource, read: TierRead, after: int,
                 through: int) -> None:
        self._env, self._of_tier, self._samples = env, of_tier, samples
        self._read, self._after, self._through = read, after, through
        self._known: SeriesSet | None = None
        self._place = np.zeros(0, np.int64)
        self._size = 8 * (1 + len(read.fields))
        """Bytes of a window."""

    def series(self) -> SeriesSet:
        if self._known is None:
            of_tier = self._of_tier.series()
            every = concatenate(of_tier, self._samples.series())
            groups = group_rows(every)
            self._place = groups.group[len(of_tier) :]
            self._known = take(every, groups.first)
        return self._known

    def map(self, function: Callable[[Tile], T]) -> Iterator[T]:
        context = self._env.context
        first, rows = len(self._of_tier.series()), len(self.series())
        histograms = Histograms(context)
        tail = self._tail(rows, histograms)

        def followed(tile: Tile) -> T:
            windows = tile.ts.size + int((tail.end - tail.begin)[tile.first_row : tile.first_row + tile.rows].sum())
            of_both = Histograms(context)
            with context.reserved(self._size * windows):
                made = function(_followed(tile, tail, of_both))
            of_both.close()
            return made

        with context.reserved(self._size * tail.ts.size):
            yield from self._of_tier.map(followed)
            for part in row_parts(rows - first):
                yield function(_alone(tail, first + part.start, first + part.stop))
        histograms.close()

    def _tail(self, rows: int, histograms: Histograms) -> _Windows:
        """Of all rows."""
        found = list(self._samples.map(lambda tile: self._made(tile, histograms)))
        begin, end = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
        row = first = 0
        for made in found:
            place = self._place[row : row + made.begin.size]
            begin[place], end[place] = made.begin + first, made.end + first
            row, first = row + made.begin.size, first + made.ts.size
        nothing = np.zeros((len(self._read.fields), 0))
        with self._env.context.reserved(self._size * first):
            ts = np.concatenate([nothing[0].astype(np.int64), *(made.ts for made in found)])
            fields = np.concatenate([nothing, *(made.fields for made in found)], axis=1)
        self._env.context.reserve(-self._size * first)
        return _Windows(begin, end, ts, fields, histograms.payload())

    def _made(self, tile: Tile, histograms: Histograms) -> _Windows:
        context, room, payload = self._env.context, tile.ts.size, tile.payload
        with context.reserved((len(_MADE) + 1) * 8 * room):
            begin, end = np.empty(tile.rows, np.int64), np.empty(tile.rows, np.int64)
            ts, out = np.empty(room, np.int64), np.empty((len(_MADE), room))
            resolution = self._read.resolution_ms
            made = windows(tile.begin, tile.end, tile.ts, tile.values, self._after, self._through, resolution, begin,
                           end, ts, out)
            if payload is not None:
                payload = put_histograms(tile.begin, tile.end, tile.ts, tile.values, payload, resolution, begin, end,
                                         ts, out)
            fields = out[[_MADE.index(Field(field)) for field in self._read.fields], :made]
            context.reserve(self._size * made)
            fields = histograms.keep(fields, np.ones(fields.shape, np.bool_), payload)
            return _Windows(begin, end, ts[:made].copy(), fields)


def _alone(tail: _Windows, first: int, past: int) -> Tile:
    """Rows that the tier does not have, which lie one behind the other."""
    begin, end = tail.begin[first:past], tail.end[first:past]
    of = slice(int(begin.min()), int(end.max()))
    fields = np.ascontiguousarray(tail.fields[:, of])
    return Tile(first, begin - of.start, end - of.start, tail.ts[of], fields[0], tail.payload, None, fields)


def _followed(tile: Tile, tail: _Windows, histograms: Histograms) -> Tile:
    """A tile with the windows of its rows in `tail` behind its own. `histograms` keeps those of both."""
    rows = slice(tile.first_row, tile.first_row + tile.rows)
    more = tail.end[rows] - tail.begin[rows]
    if not more.any():
        return tile
    assert tile.fields is not None
    own = tile.end - tile.begin
    end = np.cumsum(own + more)
    begin = end - own - more
    ts, fields = np.empty(int(end[-1]), np.int64), np.empty((len(tile.fields), int(end[-1])))
    of_tile = _Windows(tile.begin, tile.end, tile.ts, tile.fields, tile.payload)
    for source, first, sizes, at in ((of_tile, tile.begin, own, begin), (tail, tail.begin[rows], more, begin + own)):
        number = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        there, here = np.repeat(first, sizes) + number, np.repeat(at, sizes) + number
        column = np.ascontiguousarray(source.fields[:, there])
        ts[here] = source.ts[there]
        fields[:, here] = histograms.keep(column, np.ones(column.shape, np.bool_), source.payload)
    return Tile(tile.first_row, begin, end, ts, fields[0], histograms.payload(), None, fields)
