"""Captures: a consistent view of the head for one query, and tiles decoded out of it.

A query resolves its matchers first; then, in one hold of the head's lock, it copies the open chunks and the newest
places in the windows' chains. All else is immutable, and is read without the lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tsdb.model.context import RequestContext
from tsdb.model.errors import Corruption
from tsdb.model.matchers import Matcher
from tsdb.model.tiles import Selection, SeriesSet, Tile
from tsdb.storage.head import index_kernels
from tsdb.storage.head.head import Head
from tsdb.storage.head.index import Index
from tsdb.storage.head.layout import CHUNK_WORDS
from tsdb.storage.head.series_table import SeriesTable
from tsdb.storage.query_symbols import QuerySymbols
from tsdb.storage.reading import capture_kernels

TILE_SAMPLES = 1 << 16
"""Samples of a tile, about: times and values stay in the cache of one core."""
TILE_ROWS = 256


class HeadSelected:
    """One selection of a capture."""

    def __init__(self, selection: Selection, slots: NDArray[np.int32], head: Head, symbols: QuerySymbols) -> None:
        self._mint, self._maxt = selection.mint, selection.maxt
        self._slots = slots
        self._head = head
        self._symbols = symbols
        self._series: SeriesSet | None = None
        self._tile_rows: NDArray[np.int64] | None = None

    def copy(self) -> None:
        """Copies what may change. The caller holds the head's lock."""
        head, n = self._head, self._slots.size
        places = head.windows.overlapping(self._mint, self._maxt)
        table = head.windows.table
        self._addresses = table.addresses[places]
        self._keep_alive = [window.array for window in table.windows[places]]
        self._inside = np.array([window.mint >= self._mint and window.maxt <= self._maxt
                                 for window in table.windows[places]], np.bool_)
        self._heads = np.empty(n * len(self._keep_alive), np.uint64)
        self._first_ts = np.empty(n, np.int64)
        self._counts = np.empty(n, np.uint32)
        self._word_offset = np.empty(n, np.int64)
        self._words = np.empty(n * CHUNK_WORDS + 2, np.uint64)
        capture_kernels.copy_open(
            self._slots, head.records, head.chunks, self._mint, self._maxt, table.chains[places], self._heads,
            self._first_ts, self._counts, self._word_offset, self._words,
        )

    @property
    def series(self) -> SeriesSet:
        if self._series is None:
            self._series = label_sets(self._slots, self._head.table, self._symbols)
        return self._series

    @property
    def tile_rows(self) -> NDArray[np.int64]:
        if self._tile_rows is None:
            n = self._slots.size
            most = np.empty(n, np.int64)
            capture_kernels.count_samples(n, self._mint, self._maxt, self._heads, self._addresses, self._inside,
                                          self._counts, most)
            self._ends = most.cumsum()
            self._tile_rows = _cut(self._ends)
        return self._tile_rows

    def tile(self, index: int) -> Tile:
        first, end = int(self.tile_rows[index]), int(self.tile_rows[index + 1])
        room = int(self._ends[end - 1]) - (int(self._ends[first - 1]) if first else 0)
        begin_at, end_at = np.empty(end - first, np.int64), np.empty(end - first, np.int64)
        ts, values = np.empty(room, np.int64), np.empty(room, np.uint64)
        wrong = capture_kernels.decode_rows(
            self._slots.size, first, end, self._mint, self._maxt, self._heads, self._addresses, self._first_ts,
            self._counts, self._word_offset, self._words, np.empty(1 << 16, np.uint64), begin_at, end_at, ts, values,
        )
        if wrong >= 0:
            raise Corruption(f"sealed chunks of {self.series.labels(wrong)} hold more samples than their headers say: "
                             "a file in the data directory was changed or cut while it was open")
        return Tile(first, begin_at, end_at, ts, values.view(np.float64))


class HeadCapture:
    """Several selections, copied at one moment between two commits."""

    def __init__(self, head: Head, index: Index, selections: Sequence[Selection], context: RequestContext) -> None:
        self._symbols = QuerySymbols(head.table)
        self._selected = []
        for selection in selections:
            context.check()
            slots = index.select(selection.matchers)
            context.reserve(slots.size * (CHUNK_WORDS * 8 + 32))
            context.statistics.series_selected += slots.size
            self._selected.append(HeadSelected(selection, slots, head, self._symbols))
        with head.lock:
            for each in self._selected:
                each.copy()

    @property
    def selected(self) -> Sequence[HeadSelected]:
        return self._selected

    @property
    def symbols(self) -> QuerySymbols:
        return self._symbols

    def close(self) -> None:
        self._selected = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def label_sets(slots: NDArray[np.int32], table: SeriesTable, symbols: QuerySymbols) -> SeriesSet:
    """The label sets of slots."""
    offsets = np.zeros(slots.size + 1, np.int64)
    table.label_count[slots].astype(np.int64).cumsum(out=offsets[1:])  # casting within cumsum takes 10 us
    labels = int(offsets[-1])
    names, values = np.empty(labels, np.uint32), np.empty(labels, np.uint32)
    index_kernels.gather_labels(
        slots, table.labels, table.label_offset, table.label_count, table.pair_name, table.pair_value, offsets,
        names, values,
    )
    return SeriesSet(offsets, names, values, symbols)


def find_slots(head: Head, index: Index, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int,
               ) -> NDArray[np.int32]:
    """Slots that satisfy any of the matcher sets (none: all slots) and have a chunk that touches mint..maxt (ms)."""
    if matcher_sets:
        found = [index.select(matchers) for matchers in matcher_sets]
        slots = found[0] if len(found) == 1 else np.unique(np.concatenate(found))
    else:
        slots = np.arange(head.table.size, dtype=np.int32)
    with head.lock:
        table = head.windows.table
        places = head.windows.overlapping(mint, maxt)
        kept = capture_kernels.keep_touching(
            slots, mint, maxt, head.records, table.addresses[places], table.chains[places]
        )
    return slots[:kept]


def _cut(ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Borders of tiles: at most TILE_ROWS rows, and about TILE_SAMPLES samples; `ends` i64[rows] is cumulative."""
    rows = ends.size
    if 0 < rows <= TILE_ROWS and ends[-1] <= TILE_SAMPLES:
        return np.array([0, rows], np.int64)
    borders = [0]
    while borders[-1] < rows:
        first = borders[-1]
        before = int(ends[first - 1]) if first else 0
        end = int(np.searchsorted(ends, before + TILE_SAMPLES, side="right"))
        borders.append(min(max(end, first + 1), first + TILE_ROWS, rows))
    return np.array(borders, np.int64)
