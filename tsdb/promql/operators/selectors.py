"""Selectors: what samples each step sees, and the operator of an instant vector selector."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from tsdb.model.batch import STALE_NAN
from tsdb.model.context import RequestContext
from tsdb.model.errors import LimitExceeded
from tsdb.model.tiles import Selected, SeriesSet, Tile
from tsdb.promql.histograms.reset_hints import with_reset_hints
from tsdb.promql.kernels.range_kernels import TIMESTAMP, VALUE, instant
from tsdb.promql.native_histograms import Histograms, HistogramUse, held_samples, in_rows
from tsdb.promql.operators.cells import VectorOperator
from tsdb.promql.operators.groups import drop_metric_name
from tsdb.promql.operators.sample_counts import Window as Window
from tsdb.promql.operators.sample_counts import count_cells, count_windows
from tsdb.promql.operators.tier_fields import TierWindows
from tsdb.promql.operators.vector import Cells, Environment

T = TypeVar("T")

CELL_BYTES = 9
"""A value, and whether it is there."""
SAMPLE_BYTES = 16
"""Time and value."""
ROW_BYTES = 400
"""Two arrays, in Python."""


class Reading(Protocol):
    """What an explanation tells of a selector."""

    series: int | None
    sources: Sequence[str] | None
    samples: int
    bytes: int
    decoding: float


@dataclass(slots=True)
class SampleBudget:
    """Counts the samples that a query holds, roughly as Prometheus does: those that its selectors put out."""

    context: RequestContext
    lock: threading.Lock = field(default_factory=threading.Lock)
    held: int = 0

    def read(self, tiles: int, samples: int) -> None:
        """Accounts for samples that were decoded."""
        with self.lock:
            self.context.statistics.tiles_read += tiles
            self.context.statistics.samples_read += samples

    def note(self, measure: Reading, tile: Tile, seconds: float) -> None:
        """A tile that was decoded, and how long it took."""
        with self.lock:
            measure.samples += int((tile.end - tile.begin).sum())
            measure.bytes += SAMPLE_BYTES * tile.ts.size + (0 if tile.payload is None else tile.payload.size)
            measure.decoding += seconds

    def hold(self, samples: int) -> None:
        """Raises LimitExceeded over `limits.max_samples`."""
        with self.lock:
            self.held += samples
            self.allow(self.held)
            self.context.statistics.peak_samples = max(self.context.statistics.peak_samples, self.held)

    def allow(self, samples: int) -> None:
        """Raises LimitExceeded if so many at once are over `limits.max_samples`."""
        if samples > self.context.limits.max_samples:
            raise LimitExceeded(
                "query processing would load too many samples into memory in query execution: more than "
                f"{self.context.limits.max_samples} (query.max_samples); select fewer series, a shorter range or a "
                "longer step, or raise the limit")


class TileSource(Protocol):
    """Where a range function gets its samples: storage, or a subquery."""

    def series(self) -> SeriesSet: ...

    def map(self, function: Callable[[Tile], T]) -> Iterator[T]:
        """function(tile) of all tiles, in row order. May be called once."""
        ...


@dataclass(frozen=True, slots=True)
class RangeVector:
    """A range vector: where its samples are, and which of them each step sees."""

    source: TileSource
    window: Window
    smoothed: bool = False
    windows: TierWindows | None = None
    """Tiles have windows of a downsampling tier. None: samples."""


class StoredTiles:
    """The tiles of one selection, decoded by the engine's threads. With native histograms only for who can use them."""

    def __init__(self, selected: Selected, env: Environment, budget: SampleBudget, use: HistogramUse,
                 measure: Reading | None = None) -> None:
        """`measure`: is told what is read, if somebody wants to know."""
        self._selected, self._env, self._budget, self._use, self._measure = selected, env, budget, use, measure
        if measure is not None:
            measure.series = max(measure.series or 0, len(selected.series))
            measure.sources = [*(measure.sources or ()), *selected.sources]

    def series(self) -> SeriesSet:
        return self._selected.series

    def map(self, function: Callable[[Tile], T]) -> Iterator[T]:
        context, rows = self._env.context, self._selected.tile_rows

        def work(index: int) -> T:
            began = time.perf_counter()
            tile = self._selected.tile(index)
            if self._measure is not None:
                self._budget.note(self._measure, tile, time.perf_counter() - began)
            fields = 0 if tile.fields is None else len(tile.fields)
            with context.reserved((SAMPLE_BYTES + 8 * fields) * tile.ts.size):
                self._budget.read(1, tile.ts.size)
                self._use.check(tile)
                if self._use.finds_resets:
                    tile = with_reset_hints(context, tile)
                return function(tile)

        tiles = rows.size - 1
        most = int(rows[-1]) if tiles < 2 else int(np.diff(rows).max())
        under_way = min(tiles, context.threads + 2)
        with context.reserved(CELL_BYTES * self._env.steps.count * most * under_way):
            yield from self._env.map_tiles(tiles, work)


class InstantSelector(VectorOperator):
    """The newest sample within the lookback of each step; of ``timestamp(selector)``, its time in seconds."""

    def __init__(self, env: Environment, source: TileSource, window: Window, budget: SampleBudget, *,
                 timestamps: bool = False) -> None:
        super().__init__(env)
        self._source, self._window, self._budget, self.gives_times = source, window, budget, timestamps

    def timestamps(self) -> InstantSelector:
        """The times of the samples, instead of their values. To be asked for before anything else."""
        return InstantSelector(self.env, self._source, self._window, self._budget, timestamps=True)

    def like(self, kind: Callable[[Environment, TileSource, Window, SampleBudget], InstantSelector]) -> InstantSelector:
        """One of another kind of the same samples. To be asked for before anything else."""
        return kind(self.env, self._source, self._window, self._budget)

    def _label(self) -> SeriesSet:
        series = self._source.series()
        return drop_metric_name(series, self.env) if self.gives_times else series

    def cells(self) -> Iterator[Cells]:
        for cells, count in self._source.map(self._evaluate):
            self._budget.hold(count)
            yield cells

    def _evaluate(self, tile: Tile) -> tuple[Cells, int]:
        values, present = new_cells(tile.rows, self.env)
        what = TIMESTAMP if self.gives_times else VALUE
        window = self._window
        count = instant(what, tile.begin, tile.end, tile.ts, tile.values, window.first, window.step, window.width,
                        values, present)
        count_cells(self.env, present)
        payload = None if self.gives_times else tile.payload
        return Cells(tile.first_row, values, present, payload), count + held_samples(values, present, payload)


def new_cells(rows: int, env: Environment) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Uninitialised f64 and bool [rows, steps]; who maps tiles has accounted for them."""
    shape = (rows, env.steps.count)
    return np.empty(shape), np.empty(shape, np.bool_)


def raw_samples(source: TileSource, env: Environment, budget: SampleBudget, window: Window,
                ) -> tuple[list[tuple[NDArray[np.int64], NDArray[np.float64]]], NDArray[np.uint8] | None]:
    """The samples of each row at which the window of the one step looks, stale markers left out, and the payload to
    which boxed ones lead."""
    histograms = Histograms(env.context)

    def cut(tile: Tile) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        count_windows(env, tile, window)
        rows, cells, oldest = [], tile.values, window.mint()
        if tile.payload is not None:
            there = in_rows(tile)
            budget.hold(held_samples(cells, there, tile.payload))
            cells = histograms.keep(cells, there, tile.payload)
        for begin, end in zip(tile.begin.tolist(), tile.end.tolist(), strict=True):
            ts, values = tile.ts[begin:end], cells[begin:end]
            live = (values.view(np.uint64) != STALE_NAN) & (ts >= oldest) & (ts <= window.maxt(1))
            rows.append((ts[live], values[live]))
        return rows

    found = []
    for rows in source.map(cut):
        samples = sum(ts.size for ts, _ in rows)
        budget.hold(samples)
        env.context.reserve(2 * SAMPLE_BYTES * samples + ROW_BYTES * len(rows))  # they are put together to be printed
        found.extend(rows)
    return found, histograms.payload()
