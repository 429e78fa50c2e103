"""The same expression evaluated at parts of the steps, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tsdb.model.tiles import SeriesSet
from tsdb.promql.operators.cells import Matrix, VectorOperator, unique
from tsdb.promql.operators.groups import concatenate, group_rows, take
from tsdb.promql.operators.vector import Cells, Environment, Operator


class Joined(VectorOperator):
    """Rows of equal labels become one. The parts follow each other, and have all steps together."""

    def __init__(self, env: Environment, parts: Sequence[tuple[Environment, Operator]]) -> None:
        super().__init__(env)
        self.type = parts[0][1].type
        self._parts = [(own.steps.count, unique(own, operator)) for own, operator in parts]

    def _label(self) -> SeriesSet:
        every = self._parts[0][1].series()
        for _, part in self._parts[1:]:
            every = concatenate(every, part.series())
        groups = group_rows(every)
        self._rows = groups.group
        return take(every, groups.first)

    def cells(self) -> Iterator[Cells]:
        row, step = 0, 0
        with Matrix(self.env, len(self.series())) as matrix:
            for steps, part in self._parts:
                for tile in part.cells():
                    first = row + tile.first_row
                    matrix.fill(tile, self._rows[first : first + len(tile.values)], slice(step, step + steps))
                row, step = row + len(part.series()), step + steps
            yield from matrix.tiles()
