"""A part of a query whose cells are wanted more than once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tsdb.model.tiles import SeriesSet
from tsdb.promql.operators.cells import VectorOperator
from tsdb.promql.operators.selectors import CELL_BYTES
from tsdb.promql.operators.vector import Cells, Environment, Operator

MOST_KEPT_BYTES = 8 << 20
"""Of one part. Larger ones are computed again: that costs time, but streams."""


class Shared:
    """What several readers read. `build` makes the operator."""

    def __init__(self, env: Environment, build: Callable[[], Operator]) -> None:
        self.env, self._build = env, build
        self.operator = build()
        self._begun = False
        self._tiles: list[Cells] | None = None
        self._readers = 0

    def reader(self) -> Operator:
        self._readers += 1
        return _Reader(self)

    def cells(self) -> Iterator[Cells]:
        size = CELL_BYTES * len(self.operator.series()) * self.env.steps.count
        if size > MOST_KEPT_BYTES or self._readers <= 0:
            yield from self._compute()
            return
        if self._tiles is None:
            self.env.context.reserve(size)
            self._tiles = list(self._compute())
        try:
            yield from self._tiles
        finally:
            self._readers -= 1
            if self._readers == 0:
                self._tiles = None
                self.env.context.reserve(-size)

    def _compute(self) -> Iterator[Cells]:
        """Anew each time: an operator gives its cells once."""
        operator = self._build() if self._begun else self.operator
        self._begun = True
        return operator.cells()


class _Reader(VectorOperator):
    def __init__(self, shared: Shared) -> None:
        super().__init__(shared.env)
        self.type = shared.operator.type
        self._shared = shared

    def _label(self) -> SeriesSet:
        return self._shared.operator.series()

    def cells(self) -> Iterator[Cells]:
        return self._shared.cells()
