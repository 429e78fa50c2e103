"""What tiles of a downsampling tier have: windows with fields beside each other (`tsdb.model.tiers`)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tsdb.model.batch import STALE_NAN
from tsdb.model.tiers import Field, TierRead
from tsdb.model.tiles import Tile
from tsdb.promql.ast import Span


class NeedsSamples(Exception):
    """There are native histograms in windows of which a function is only computed for floats."""

    def __init__(self, span: Span) -> None:
        """`span`: of the selector."""
        super().__init__()
        self.span = span


@dataclass(frozen=True, slots=True)
class TierWindows:
    """That a range vector's tiles have windows with these fields, and their ends as times."""

    read: TierRead
    width: int
    """Of the range that was asked for, ms; that of the range vector's window is a multiple of the resolution."""

    def field(self, tile: Tile, field: str) -> NDArray[np.float64]:
        """f64[windows]"""
        assert tile.fields is not None
        column: NDArray[np.float64] = tile.fields[self.read.fields.index(field)]
        return column

    def among_samples(self, tile: Tile, column: NDArray[np.float64], *, of_floats: bool = False) -> Tile:
        """A column of windows (f64[windows]) as a tile of samples: windows without samples (without floats, where it is
        `of_floats`) are stale markers, which no range function counts."""
        count = self.field(tile, Field.COUNT)
        column = stale_where(column, (count - self.field(tile, Field.HISTOGRAMS) if of_floats else count) == 0)
        return Tile(tile.first_row, tile.begin, tile.end, tile.ts, column, tile.payload)

    def without(self, tile: Tile, windows: NDArray[np.bool_]) -> Tile:
        """The tile with some windows, bool[windows], as if they had no samples."""
        assert tile.fields is not None
        fields = tile.fields.copy()
        fields[self.read.fields.index(Field.COUNT), windows] = 0.0
        return replace(tile, fields=fields, values=fields[0])

    def times(self, tile: Tile, field: str) -> NDArray[np.int64]:
        """i64[windows], ms, of `Field.FIRST_TS` or `Field.LAST_TS`."""
        return tile.ts - self.read.resolution_ms + self.field(tile, field).astype(np.int64)


def stale_where(column: NDArray[np.float64], stale: NDArray[np.bool_]) -> NDArray[np.float64]:
    """f64[n] with stale markers at some places; the same array where there are none."""
    if not stale.any():
        return np.ascontiguousarray(column)
    bits = column.view(np.uint64).copy()
    bits[stale] = STALE_NAN
    return bits.view(np.float64)
