"""Operators over literal rows, and operators read back as plain Python: what the tests of vector operators build on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from tsdb.model.context import RequestContext
from tsdb.model.tiles import SeriesSet
from tsdb.promql.ast import ValueType
from tsdb.promql.operators.vector import Annotations, Cells, Environment, Operator, Steps
from tsdb.testing.memory_storage import Labels, MemorySymbols, labels_of, series_set

Row = list[float | None]
"""A value per step; None where there is no cell."""
Vector = list[tuple[Labels, Row]]


def environment(steps: int, *, delayed: bool = False, query: str = "") -> Environment:
    return Environment(Steps(0, (steps - 1) * 1000, 1000), RequestContext(), MemorySymbols(), Annotations(query=query),
                       delayed_name_removal=delayed)


@dataclass
class Literal:
    """An operator that gives what it was made of, in tiles of `tile` rows."""

    rows: Vector
    env: Environment
    tile: int = 3
    type: ValueType = ValueType.VECTOR

    def series(self) -> SeriesSet:
        return series_set([labels for labels, _ in self.rows], self.env.symbols)

    def cells(self) -> Iterator[Cells]:
        for first in range(0, len(self.rows), self.tile):
            part = [row for _, row in self.rows[first : first + self.tile]]
            present = np.array([[value is not None for value in row] for row in part], np.bool_)
            values = np.array([[7.5 if value is None else value for value in row] for row in part], np.float64)
            yield Cells(first, values, present)


def vector(env: Environment, *rows: tuple[Mapping[str, str], Sequence[float | None]]) -> Literal:
    return Literal([(labels_of(labels), list(values)) for labels, values in rows], env)


def scalar(env: Environment, *values: float) -> Literal:
    numbers = list(values) * (1 if len(values) > 1 else env.steps.count)
    return Literal([((), list(numbers))], env, type=ValueType.SCALAR)


def read(operator: Operator) -> Vector:
    """Labels and cells of an operator, in its order; checks the contract of tiles."""
    series = operator.series()
    rows: Vector = []
    for tile in operator.cells():
        assert tile.first_row == len(rows)
        assert tile.values.dtype == np.float64 and tile.values.shape == tile.present.shape
        assert tile.present.dtype == np.bool_
        assert tile.values.flags.c_contiguous and tile.present.flags.c_contiguous
        for values, present in zip(tile.values.tolist(), tile.present.tolist(), strict=True):
            labels = series.labels(len(rows))
            assert tuple(labels.items()) == labels_of(labels)
            row = [value if here else None for value, here in zip(values, present, strict=True)]
            rows.append((tuple(labels.items()), row))
    assert len(rows) == len(series)
    return rows


def as_dict(rows: Vector) -> dict[Labels, Row]:
    """Rows with at least one cell, by labels, which must differ."""
    found = {labels: row for labels, row in rows if any(value is not None for value in row)}
    assert len(found) == sum(any(value is not None for value in row) for _, row in rows)
    return found


def same_number(a: float | None, b: float | None, tolerance: float = 0.0) -> bool:
    if a is None or b is None:
        return a is b
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    if a == b:
        return True
    return abs(a - b) <= tolerance * max(abs(a), abs(b))


def assert_same(got: Vector, wanted: Vector, tolerance: float = 0.0) -> None:
    left, right = as_dict(got), as_dict(wanted)
    assert left.keys() == right.keys()
    for labels in left:
        pairs = zip(left[labels], right[labels], strict=True)
        assert all(same_number(a, b, tolerance) for a, b in pairs), (labels, left[labels], right[labels])


numbers = st.one_of(
    st.integers(-4, 4).map(float),
    st.floats(width=64),
    st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e308, -1e308, 5e-324]),
)


def label_sets(names: Sequence[str] = ("__name__", "a", "b", "c")) -> st.SearchStrategy[Labels]:
    values = st.sampled_from(["", "x", "y", "z"])
    return st.fixed_dictionaries(dict.fromkeys(names, values)).map(labels_of)


@st.composite
def vectors(draw: st.DrawFn, steps: int, values: st.SearchStrategy[float] = numbers, max_rows: int = 8) -> Vector:
    """Rows of distinct labels with sparse cells."""
    labels = draw(st.lists(label_sets(), max_size=max_rows, unique=True))
    cell = st.one_of(st.none(), values)
    return [(row, draw(st.lists(cell, min_size=steps, max_size=steps))) for row in labels]


def at_step(rows: Vector, step: int) -> list[tuple[Labels, float]]:
    """The cells of one step."""
    found = []
    for labels, row in rows:
        value = row[step]
        if value is not None:
            found.append((labels, value))
    return found


def from_steps(steps: Sequence[Mapping[Labels, float]]) -> Vector:
    """Rows from the cells of each step."""
    rows: dict[Labels, Row] = {}
    for step, cells in enumerate(steps):
        for labels, value in cells.items():
            rows.setdefault(labels, [None] * len(steps))[step] = value
    return list(rows.items())
