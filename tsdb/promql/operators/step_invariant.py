"""What is the same at every step, computed at one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from tsdb.model.tiles import SeriesSet
from tsdb.promql.ast import ValueType
from tsdb.promql.operators.cells import VectorOperator
from tsdb.promql.operators.measured import Measured
from tsdb.promql.operators.selectors import InstantSelector
from tsdb.promql.operators.vector import Cells, Environment, Operator


class StepInvariant(VectorOperator):
    """The one step of the child at every step."""

    def __init__(self, env: Environment, child: Operator) -> None:
        super().__init__(env)
        self.type: ValueType = child.type
        self.child = child

    def _label(self) -> SeriesSet:
        return self.child.series()

    def cells(self) -> Iterator[Cells]:
        steps = self.env.steps.count
        for cells in self.child.cells():
            values = np.repeat(cells.values, steps, axis=1)
            yield Cells(cells.first_row, values, np.repeat(cells.present, steps, axis=1), cells.payload)


def sample_times(operator: Operator) -> Operator | None:
    """An operator with the times of the samples that a selector gives, instead of their values; None: it is none, or
    gives times already."""
    return of_selector(operator, lambda selector: selector.timestamps())


def of_selector(operator: Operator, change: Callable[[InstantSelector], Operator]) -> Operator | None:
    """An operator with what `change` makes of a selector; None: it is none, or gives times already."""
    if isinstance(operator, Measured):
        changed = of_selector(operator.child, change)
        return None if changed is None else operator.of(changed)
    if isinstance(operator, StepInvariant):
        changed = of_selector(operator.child, change)
        return None if changed is None else StepInvariant(operator.env, changed)
    return change(operator) if isinstance(operator, InstantSelector) and not operator.gives_times else None
