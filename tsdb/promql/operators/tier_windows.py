"""Windows of a downsampling tier as the samples of selectors: `tsdb.model.tiers` says what is kept of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final, TypeVar

import numpy as np

from tsdb.model.batch import STALE_NAN
from tsdb.model.tiers import Field
from tsdb.model.tiles import SeriesSet, Tile
from tsdb.promql.kernels.range_kernels import VALUE, instant
from tsdb.promql.operators.sample_counts import Window, count_cells
from tsdb.promql.operators.selectors import InstantSelector, SampleBudget, TileSource, new_cells
from tsdb.promql.operators.tier_fields import TierWindows, stale_where
from tsdb.promql.operators.vector import Cells, Environment

T = TypeVar("T")

NEWEST: Final = (Field.LAST, Field.STALE)
NEWEST_WITH_TIMES: Final = (*NEWEST, Field.LAST_TS)
"""What an instant vector selector reads."""
LAST_SAMPLES: Final = (Field.LAST, Field.LAST_TS, Field.COUNT)
"""What is read for who must have samples."""


class NewestValues:
    """Tiles of windows as the newest samples in them, at the ends of the windows; a stale marker is such, too."""

    def __init__(self, tiles: TileSource, windows: TierWindows) -> None:
        self._tiles, self.windows = tiles, windows

    def series(self) -> SeriesSet:
        return self._tiles.series()

    def map(self, function: Callable[[Tile], T]) -> Iterator[T]:
        return self._tiles.map(lambda tile: function(self._samples(tile)))

    def _samples(self, tile: Tile) -> Tile:
        values = self.windows.field(tile, Field.LAST)
        return replace(tile, values=stale_where(values, self.windows.field(tile, Field.STALE) != 0))


class LastSamples(NewestValues):
    """Tiles of windows as the newest sample of each, when it was taken: what there is of samples where these are
    needed."""

    def _samples(self, tile: Tile) -> Tile:
        windows = self.windows
        empty = windows.field(tile, Field.COUNT) == 0
        ts = np.where(empty, tile.ts, windows.times(tile, Field.LAST_TS))
        return Tile(tile.first_row, tile.begin, tile.end, ts, stale_where(windows.field(tile, Field.LAST), empty),
                    tile.payload)


class WindowSelector(InstantSelector):
    """An instant vector selector over `NewestValues`."""

    def timestamps(self) -> InstantSelector:
        return WindowTimes(self.env, self._source, self._window, self._budget, timestamps=True)


class WindowTimes(InstantSelector):
    """When the samples that it gives were taken, in seconds."""

    def _evaluate(self, tile: Tile) -> tuple[Cells, int]:
        assert isinstance(self._source, NewestValues)
        values, present = new_cells(tile.rows, self.env)
        with self.env.context.reserved(2 * tile.ts.nbytes):
            times = self._source.windows.times(tile, Field.LAST_TS) / 1000.0
            times = stale_where(times, tile.values.view(np.uint64) == STALE_NAN)
            count = instant(VALUE, tile.begin, tile.end, tile.ts, times, self._window.first, self._window.step,
                            self._window.width, values, present)
        count_cells(self.env, present)
        return Cells(tile.first_row, values, present), count


def window_selector(env: Environment, tiles: TileSource, windows: TierWindows, window: Window, budget: SampleBudget,
                    ) -> InstantSelector:
    """The newest sample of the windows with ends within the lookback of each step."""
    return WindowSelector(env, NewestValues(tiles, windows), window, budget)
