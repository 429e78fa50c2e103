"""Native histograms in cells: boxed values that lead to the payload beside them (`vector.Cells.payload`).

A boxed value is a NaN to whoever computes with floats. What cannot use histograms yet has the selectors below it refuse
them where tiles come in (`selectors.StoredTiles`).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsdb.model.context import RequestContext
from tsdb.model.errors import ExecutionError
from tsdb.model.native_histograms import BOX, is_boxed, offsets
from tsdb.model.tiles import Tile


@dataclass(frozen=True, slots=True)
class HistogramUse:
    """What becomes of the histograms that a selector finds."""

    error: str = ""
    """What is wrong with them, where they may not be."""
    finds_resets: bool = False
    """Whether hints are found that they do not have."""

    def check(self, tile: Tile) -> None:
        """Raises ExecutionError for a tile with histograms where they may not be."""
        if self.error and tile.payload is not None and is_boxed(tile.values.view(np.uint64)[in_rows(tile)]).any():
            raise ExecutionError(self.error)


def in_rows(tile: Tile) -> NDArray[np.bool_]:
    """bool[]: which of a tile's values are samples of its rows; the others may be anything, boxed values, too."""
    change = np.zeros(tile.values.size + 1, np.int32)
    np.add.at(change, tile.begin, 1)
    np.add.at(change, tile.end, -1)
    return change.cumsum()[:-1] > 0


def without_histograms(tile: Tile) -> Tile:
    """The tile with its floats only."""
    keep = ~is_boxed(tile.values.view(np.uint64))
    place = np.concatenate([np.zeros(1, np.int64), np.cumsum(keep)])
    starts = None if tile.start_ts is None else tile.start_ts[keep]
    return Tile(tile.first_row, place[tile.begin], place[tile.end], tile.ts[keep], tile.values[keep], None, starts)


_GATHERED_AT_ONCE = 1 << 18
"""Bytes: places of them take sixteen times as much."""


def held_samples(values: NDArray[np.float64], there: NDArray[np.bool_], payload: NDArray[np.uint8] | None) -> int:
    """How many floats with times the histograms would be as large as to which those of the values lead that are `there`
    (of the same shape): so Prometheus counts histograms where it limits samples."""
    if payload is None:
        return 0
    bits = values.view(np.uint64)
    return int((_lengths(payload, offsets(bits[is_boxed(bits) & there])) // 16).sum())


def _lengths(payload: NDArray[np.uint8], begin: NDArray[np.int64]) -> NDArray[np.int64]:
    lengths: NDArray[np.uint32] = payload[begin[:, np.newaxis] + np.arange(4)].view("<u4")
    return lengths.reshape(-1).astype(np.int64)


class Histograms:
    """The histograms that cells of several tiles lead to, in one payload. Thread-safe."""

    def __init__(self, context: RequestContext) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._parts: list[NDArray[np.uint8]] = []
        self._size = 0

    def keep(self, values: NDArray[np.float64], there: NDArray[np.bool_], payload: NDArray[np.uint8] | None,
             ) -> NDArray[np.float64]:
        """Copies the histograms of `payload` to which those of the values lead that are `there` (of the same shape).
        Returns the values, as new ones if there are such: they lead to the copies. Raises LimitExceeded."""
        if payload is None:
            return values
        bits = values.view(np.uint64)
        boxes = is_boxed(bits) & there
        begin, place = np.unique(offsets(bits[boxes]), return_inverse=True)
        if not begin.size:
            return values
        lengths = _lengths(payload, begin)
        end = np.cumsum(lengths)
        if 2 * int(end[-1]) >= payload.size:
            at, size = begin, payload.size
        else:
            at, size = end - lengths, int(end[-1])
        with self._lock:
            self._context.reserve(size)
            first = self._size
            self._parts.append(payload if at is begin else _gathered(payload, begin, end))
            self._size += size
        bits = bits.copy()
        bits[boxes] = (at + first).view(np.uint64)[place.reshape(-1)] | np.uint64(BOX)
        return bits.view(np.float64)

    def payload(self) -> NDArray[np.uint8] | None:
        """u8[bytes] of all that was kept; None: nothing."""
        if len(self._parts) > 1:
            with self._context.reserved(self._size):
                self._parts = [np.concatenate(self._parts)]
        return self._parts[0] if self._parts else None

    def close(self) -> None:
        """Gives the bytes back to the query's budget. May be called twice."""
        self._parts = []
        self._context.reserve(-self._size)
        self._size = 0


def _gathered(payload: NDArray[np.uint8], begin: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The histograms that begin at `begin`, up to `end` of the result."""
    made = np.empty(int(end[-1]), np.uint8)
    at = np.concatenate([np.zeros(1, np.int64), end[:-1]])
    first = 0
    while first < begin.size:
        last = max(first + 1, int(np.searchsorted(end, at[first] + _GATHERED_AT_ONCE, "right")))
        rows = slice(first, last)
        places = np.arange(at[first], end[last - 1])
        made[at[first] : end[last - 1]] = payload[places + np.repeat(begin[rows] - at[rows], end[rows] - at[rows])]
        first = last
    return made
