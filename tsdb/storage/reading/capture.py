"""Captures: a consistent view for one query, and tiles decoded out of it.

In one hold of the head's lock the open chunks and the newest places in the windows' chains are copied, and the blocks
are checked to be those that were acquired. All else is immutable, and is read without the lock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import Corruption
from tsdb.model.native_histograms import is_boxed
from tsdb.model.tiles import Selected, Selection, SeriesSet, Symbols, Tile
from tsdb.storage.block import Block
from tsdb.storage.head import index_kernels, payload_kernels
from tsdb.storage.head.head import NO_PAYLOAD, Head
from tsdb.storage.head.layout import CHUNK_WORDS
from tsdb.storage.head.payloads import resolve
from tsdb.storage.head.series_table import SeriesTable
from tsdb.storage.query_symbols import QuerySymbols
from tsdb.storage.reading import capture_kernels
from tsdb.storage.reading.sources import Columns, Deleted, padded
from tsdb.storage.starts.live import StartChains

TILE_SAMPLES = 1 << 16
"""Samples of a tile, about: times and values stay in the cache of one core."""
TILE_ROWS = 1024
TILE_CELLS = 1 << 17
"""Rows times steps, of a tile of more than one row."""
ONE_TILE_ROWS = 256
"""Are not worth handing over to another thread."""
SLOT_BYTES = CHUNK_WORDS * 8 + 32
"""Copied for each slot, at the most."""


class HeadSelected:
    """A selection of which all samples are in the head; and the head as a source of others."""

    def __init__(self, selection: Selection, slots: NDArray[np.int32], head: Head) -> None:
        self.selection = selection
        self.slots = slots
        """i32[n]: of its rows."""
        self._mint, self._maxt = selection.mint, selection.maxt
        self._head = head
        self._series: SeriesSet | None = None
        self._tile_rows: NDArray[np.int64] | None = None
        self._deleted: Deleted | None = None
        self._starts: StartChains | None = None

    def copy(self, symbols: QuerySymbols) -> None:
        """Copies what may change. The caller holds the head's lock."""
        self._symbols = symbols
        head, n = self._head, self.slots.size
        places = head.windows.overlapping(self._mint, self._maxt)
        table = head.windows.table
        self._addresses = table.addresses[places]
        self._payloads = head.payloads.view()
        self._keep_alive = [window.array for window in table.windows[places]]
        self._inside = np.array([window.mint >= self._mint and window.maxt <= self._maxt
                                 for window in table.windows[places]], np.bool_)
        self._heads = np.empty(n * len(self._keep_alive), np.uint64)
        self._first_ts = np.empty(n, np.int64)
        self._counts = np.empty(n, np.uint32)
        self._word_offset = np.empty(n, np.int64)
        self._words = np.empty(n * CHUNK_WORDS + 2, np.uint64)
        capture_kernels.copy_open(
            self.slots, head.records, head.chunks, self._mint, self._maxt, table.chains[places], self._heads,
            self._first_ts, self._counts, self._word_offset, self._words,
        )
        if len(head.tombstones):
            self._deleted = Deleted.of(head.tombstones, self.slots)
        if self.selection.start_times:
            self._starts = head.starts.view(self.slots)

    @property
    def series(self) -> SeriesSet:
        if self._series is None:
            self._series = label_sets(self.slots, self._head.table, self._symbols)
        return self._series

    @property
    def sources(self) -> Sequence[str]:
        return ("head",) if self.slots.size else ()

    @property
    def tile_rows(self) -> NDArray[np.int64]:
        if self._tile_rows is None:
            self._ends = self._samples().cumsum()
            self._tile_rows = cut(self._ends, self.selection.steps)
        return self._tile_rows

    def tile(self, index: int) -> Tile:
        first, end = int(self.tile_rows[index]), int(self.tile_rows[index + 1])
        room = int(self._ends[end - 1]) - (int(self._ends[first - 1]) if first else 0)
        return tile_of(first, self._decode(first, end, room))

    def count(self, samples: NDArray[np.int64]) -> None:
        """As a source."""
        self._most = self._samples()
        samples[: self.slots.size] += self._most

    def decode(self, first: int, end: int) -> Columns | None:
        """As a source."""
        rows, end = end - first, min(end, self.slots.size)
        room = int(self._most[first:end].sum()) if first < end else 0
        if not room:
            return None
        found = self._decode(first, end, room)
        return replace(found, begin=padded(found.begin, rows), end=padded(found.end, rows))

    def _samples(self) -> NDArray[np.int64]:
        """i64[n]: how many each row has, at the most."""
        n = self.slots.size
        most = np.empty(n, np.int64)
        capture_kernels.count_samples(n, self._mint, self._maxt, self._heads, self._addresses, self._inside,
                                      self._counts, most)
        return most

    def _decode(self, first: int, end: int, room: int) -> Columns:
        begin_at, end_at = np.empty(end - first, np.int64), np.empty(end - first, np.int64)
        ts, values = np.empty(room, np.int64), np.empty(room, np.uint64)
        wrong = capture_kernels.decode_rows(
            self.slots.size, first, end, self._mint, self._maxt, self._heads, self._addresses, self._first_ts,
            self._counts, self._word_offset, self._words, np.empty(1 << 16, np.uint64), begin_at, end_at, ts, values,
        )
        if wrong >= 0:
            raise self._damaged(wrong)
        payloads = self._payloads
        if payloads is not None and not is_boxed(values[: int(end_at[-1])]).any():
            payloads = None
        if self._deleted is not None:
            self._deleted.drop(first, begin_at, end_at, ts, values)
        if payloads is not None:
            lost = resolve(begin_at, end_at, ts, values, None, payloads)
            if lost is not None:
                self._head.payloads.left_out(lost)
        starts = None if self._starts is None else self._starts.fill(first, begin_at, end_at, ts)
        return Columns(begin_at, end_at, ts, values, () if payloads is None else (payloads,), starts)

    def _damaged(self, row: int) -> Corruption:
        return self._head.windows.damaged(Corruption(
            f"a sealed chunk of {self.series.labels(row)} is damaged: a file in the data directory was changed or cut; "
            "a restart takes its samples from the log, if they are of the last hours"))


def tile_of(first_row: int, columns: Columns) -> Tile:
    """With a payload of its own, where there are histograms. The values are the columns' no more."""
    begin, end, values = columns.begin, columns.end, columns.values
    payload = None
    if columns.histograms and (size := payload_kernels.gather(begin, end, values, NO_PAYLOAD)):
        payload = np.empty(size, np.uint8)
        payload_kernels.gather(begin, end, values, payload)
    return Tile(first_row, begin, end, columns.ts, values.view(np.float64), payload, columns.starts)


class Capture:
    """Several selections, captured at one moment between two commits."""

    def __init__(self, selected: Sequence[Selected], symbols: QuerySymbols, blocks: Sequence[Block] = (),
                 warnings: Callable[[], Sequence[str]] = tuple) -> None:
        """`blocks` are acquired. `warnings` is asked when the tiles have been read, too: more may be known then."""
        self._selected = selected
        self._symbols = symbols
        self._blocks = blocks
        self._warnings = warnings

    @property
    def selected(self) -> Sequence[Selected]:
        return self._selected

    @property
    def symbols(self) -> Symbols:
        return self._symbols

    @property
    def warnings(self) -> Sequence[str]:
        return self._warnings()

    def close(self) -> None:
        """May be called twice."""
        self._selected = ()
        blocks, self._blocks = self._blocks, ()
        for block in blocks:
            block.release()

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


def cut(ends: NDArray[np.int64], steps: int) -> NDArray[np.int64]:
    """Borders of tiles: at most TILE_ROWS rows, TILE_CELLS cells at so many steps, and about TILE_SAMPLES samples;
    `ends` i64[rows] is cumulative. Where samples are few, an even number of tiles of about as many rows, for two
    threads."""
    rows = ends.size
    if 0 < rows <= ONE_TILE_ROWS and ends[-1] <= TILE_SAMPLES and rows * steps <= TILE_CELLS:
        return np.array([0, rows], np.int64)
    pairs = -(-rows // (2 * TILE_ROWS))
    most = min(-(-rows // (2 * pairs)) if rows else 0, max(1, TILE_CELLS // steps))
    borders = [0]
    while borders[-1] < rows:
        first = borders[-1]
        before = int(ends[first - 1]) if first else 0
        end = int(ends.searchsorted(before + TILE_SAMPLES, side="right"))
        borders.append(min(max(end, first + 1), first + most, rows))
    return np.array(borders, np.int64)
