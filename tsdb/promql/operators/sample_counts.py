"""Which samples each step sees, and how many: what ``stats=all`` tells, for who asks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsdb.model.batch import STALE_NAN
from tsdb.model.tiles import Tile
from tsdb.promql.native_histograms import in_rows
from tsdb.promql.operators.vector import Environment


@dataclass(frozen=True, slots=True)
class Window:
    """The samples of step i are those in (end - width, end], end = first + i * step (ms). A window that @ pins has
    step 0. Of an anchored or smoothed one, samples `before` and `after` it are looked at, too."""

    first: int
    step: int
    width: int
    before: int = 0
    after: int = 0

    def mint(self) -> int:
        return self.first - self.width - self.before + 1

    def maxt(self, steps: int) -> int:
        return self.first + self.step * (steps - 1) + self.after


def count_cells(env: Environment, present: NDArray[np.bool_]) -> None:
    """Counts the samples that a selector gives: those of present bool[rows, steps]. As in Prometheus, those within a
    subquery are not counted, but what it gives is."""
    if env.context.statistics.by_step is not None and not env.subquery:
        env.context.count_samples(present.sum(axis=0), env.counted)


def count_windows(env: Environment, tile: Tile, window: Window) -> None:
    """Counts the samples of a tile that the windows of the steps look at, each as often as one does."""
    if env.context.statistics.by_step is None or env.subquery:
        return
    ts = tile.ts[in_rows(tile) & (tile.values.view(np.uint64) != STALE_NAN)] - (window.first + window.after)
    width, steps = window.before + window.width + window.after, env.steps.count
    if window.step <= 0:
        inside = np.count_nonzero((ts > -width) & (ts <= 0))
        env.context.count_samples(np.full(steps, inside), env.counted)
        return
    first = np.maximum(-(-ts // window.step), 0)
    past = np.minimum((ts + width - 1) // window.step, steps - 1) + 1
    seen = first < past
    change = np.bincount(first[seen], minlength=steps + 1) - np.bincount(past[seen], minlength=steps + 1)
    env.context.count_samples(change.cumsum()[:steps], env.counted)
