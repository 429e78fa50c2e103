"""Texts of series, from texts of their label pairs; and what becomes of a tile's samples beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from tsdb.exports.losses import Losses
from tsdb.exports.reading import PART_BYTES, Rows, pair_ids
from tsdb.exports.text_kernels import HISTOGRAMS, NAN_BITS, STALE_MARKERS, START_TIMES
from tsdb.model.tiles import SeriesSet

NO_BYTES = np.empty(0, np.uint8)
NO_TIMES = np.empty(0, np.int64)

T = TypeVar("T")
Bytes = NDArray[np.uint8]
Longs = NDArray[np.int64]
Columns = tuple[Bytes, Longs, Longs, Longs, Longs, NDArray[np.uint64], Bytes, Longs]
"""What the kernels read: (texts, offsets, begin, end, ts, values, payload, starts)."""
Write = Callable[[Columns, Longs, Bytes], int]
"""Writes lines of a tile's rows: (columns, place, out), as the kernels have them; returns the bytes."""


class Texts(Generic[T]):
    """The texts of series, tile by tile. Those of label pairs are made once for a series set."""

    def __init__(self, pair: Callable[[str, str], T], whole: Callable[[Sequence[T]], str]) -> None:
        """`pair`: of a label's name and value; `whole`: of a series, of its pairs in the order of the labels."""
        self._pair = pair
        self._whole = whole
        self._series: SeriesSet | None = None
        self._ids: list[int] = []
        self._known: dict[int, T] = {}

    def of(self, rows: Rows) -> tuple[Bytes, Longs]:
        """(u8[bytes and eight to spare], i64[rows + 1]): the text of row i is at offsets[i]:offsets[i + 1]."""
        series, tile = rows.series, rows.tile
        if series is not self._series:
            self._series, self._known = series, {}
        offsets = series.offsets[tile.first_row : tile.first_row + tile.rows + 1]
        first = int(offsets[0])
        ids = pair_ids(_labels(series, first, int(offsets[-1]))).tolist()
        known = self._known
        fresh = {each for each in ids if each not in known}
        if fresh:
            texts = series.symbols.texts([symbol for each in fresh for symbol in (each >> 32, each & 0xFFFF_FFFF)])
            known.update(zip(fresh, map(self._pair, texts[::2], texts[1::2]), strict=True))
        pairs = [known[each] for each in ids]
        borders = (offsets - first).tolist()
        encoded = [self._whole(pairs[borders[row] : borders[row + 1]]).encode() for row in range(tile.rows)]
        places = np.fromiter(accumulate(map(len, encoded), initial=0), np.int64, tile.rows + 1)
        return np.frombuffer(b"".join(encoded) + bytes(8), np.uint8), places


def _labels(series: SeriesSet, first: int, past: int) -> SeriesSet:
    return SeriesSet(series.offsets, series.names[first:past], series.values[first:past], series.symbols)


class Parts:
    """Collects bytes into parts of about `PART_BYTES`."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []
        self._size = 0
        self._out = np.empty(PART_BYTES, np.uint8)

    def add(self, piece: bytes) -> Iterator[bytes]:
        if self._size + len(piece) > PART_BYTES:
            yield from self.end()
        self._waiting.append(piece)
        self._size += len(piece)

    def end(self) -> Iterator[bytes]:
        """What is left."""
        if self._size:
            yield b"".join(self._waiting)
        self._waiting, self._size = [], 0

    def write(self, rows: Rows, texts: Bytes, offsets: Longs, write: Write) -> Iterator[bytes]:
        """All lines of a tile, by a kernel that stops where a line may not fit."""
        tile = rows.tile
        payload = NO_BYTES if tile.payload is None else tile.payload
        starts = NO_TIMES if tile.start_ts is None else tile.start_ts
        columns = (texts, offsets, rows.begin, tile.end, tile.ts, tile.values.view(np.uint64), payload, starts)
        place = np.zeros(2, np.int64)
        while place[0] < tile.rows:
            size = write(columns, place, self._out)
            if size:
                yield from self.add(self._out[:size].tobytes())
            elif place[0] < tile.rows:
                self._out = np.empty(2 * self._out.size, np.uint8)


def lost_counts() -> Longs:
    """As `write_lines` counts them."""
    return np.zeros(4, np.int64)


def counted(lost: Longs, losses: Losses) -> None:
    """Takes over what `write_lines` has counted."""
    losses.histograms, losses.stale_markers = int(lost[HISTOGRAMS]), int(lost[STALE_MARKERS])
    losses.nan_bits, losses.start_times = int(lost[NAN_BITS]), int(lost[START_TIMES])
