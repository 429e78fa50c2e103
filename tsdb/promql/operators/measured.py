"""An operator of which a query's explanation tells what it gave, and how long that took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Protocol

from tsdb.model.tiles import SeriesSet
from tsdb.promql.operators.vector import Cells, Operator


class Measure(Protocol):
    """What is added up."""

    series: int | None
    cells: int | None
    seconds: float


class Measured:
    """The child, measured."""

    def __init__(self, child: Operator, measure: Measure) -> None:
        self.child, self._measure = child, measure
        self.type = child.type

    def of(self, child: Operator) -> Measured:
        """Another in the child's place."""
        return Measured(child, self._measure)

    def series(self) -> SeriesSet:
        began = time.perf_counter()
        series = self.child.series()
        self._measure.seconds += time.perf_counter() - began
        self._measure.series = len(series)
        return series

    def cells(self) -> Iterator[Cells]:
        measure, tiles = self._measure, self.child.cells()
        measure.cells = measure.cells or 0
        began = time.perf_counter()
        while (tile := next(tiles, None)) is not None:
            measure.seconds += time.perf_counter() - began
            measure.cells += int(tile.present.sum())
            yield tile
            began = time.perf_counter()
        measure.seconds += time.perf_counter() - began
