"""Subqueries: the cells of an expression at steps of its own, as the samples of a range vector."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from tsdb.model.tiles import SeriesSet, Symbols, Tile
from tsdb.promql.operators.groups import no_labels
from tsdb.promql.operators.selectors import SAMPLE_BYTES, Window
from tsdb.promql.operators.vector import Cells, Environment, Operator, Steps

T = TypeVar("T")


def inner_steps(window: Window, step: int, outer: int) -> Steps:
    """The steps of a subquery whose results `outer` steps see through `window`: the multiples of `step` (ms, counted
    from the epoch) after the beginning of the first window, up to the end of the last one. There may be none."""
    oldest = window.first - window.width
    start = (oldest // step + 1) * step
    return Steps(start, window.maxt(outer), step)


class SubqueryTiles:
    """The cells of an operator as tiles, one after the other as they are made: the whole is never in memory."""

    def __init__(self, inner: Operator, env: Environment) -> None:
        self._inner, self._env = inner, env
        self._times = env.steps.times()

    def series(self) -> SeriesSet:
        return self._inner.series()

    def map(self, function: Callable[[Tile], T]) -> Iterator[T]:
        context = self._env.context
        for cells in self._inner.cells():
            context.check()
            with context.reserved((SAMPLE_BYTES + 1) * cells.present.size):
                made = function(self._tile(cells))
            yield made

    def _tile(self, cells: Cells) -> Tile:
        end = np.cumsum(cells.present.sum(axis=1, dtype=np.int64))
        begin = np.concatenate([np.zeros(1, np.int64), end[:-1]])
        ts = np.broadcast_to(self._times, cells.present.shape)[cells.present]
        return Tile(cells.first_row, begin, end, ts, cells.values[cells.present], cells.payload)


class NoTiles:
    """A subquery without a step in its range."""

    def __init__(self, symbols: Symbols) -> None:
        self._symbols = symbols

    def series(self) -> SeriesSet:
        return no_labels(self._symbols, 0)

    def map(self, function: Callable[[Tile], T]) -> Iterator[T]:
        return iter(())
