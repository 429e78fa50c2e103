"""What operators on instant vectors share: a base class, whole matrices, rows that have become equal."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tsdb.model.context import RequestContext
from tsdb.model.errors import ExecutionError
from tsdb.model.native_histograms import is_boxed
from tsdb.model.tiles import SeriesSet
from tsdb.promql.ast import ValueType
from tsdb.promql.kernels.aggregate_kernels import COUNT, GROUP, accumulate
from tsdb.promql.kernels.cells_kernels import merge_rows
from tsdb.promql.native_histograms import Histograms
from tsdb.promql.operators.groups import drop_marked_names, drop_metric_name, group_rows, no_labels, take
from tsdb.promql.operators.vector import Cells, Environment, Operator

SAME_LABELS = "vector cannot contain metrics with the same labelset"

_ROWS = 128
"""Rows of the tiles that a whole matrix is handed on in: few enough to stay in cache."""

_STEPS = 64
"""A multiple of eight, so that parts of the steps begin at cache lines."""


class VectorOperator(ABC):
    """An operator that works out its series once, when first asked."""

    type = ValueType.VECTOR

    def __init__(self, env: Environment) -> None:
        self.env = env
        self._series: SeriesSet | None = None

    def series(self) -> SeriesSet:
        if self._series is None:
            self._series = self._label()
        return self._series

    @abstractmethod
    def _label(self) -> SeriesSet: ...

    @abstractmethod
    def cells(self) -> Iterator[Cells]: ...


class Scalar(VectorOperator):
    """A scalar, or a vector of one row without labels: `compute()` gives f64[steps]."""

    def __init__(self, env: Environment, compute: Callable[[], NDArray[np.float64]],
                 type: ValueType = ValueType.SCALAR) -> None:
        super().__init__(env)
        self.type = type
        self._compute = compute

    def _label(self) -> SeriesSet:
        return no_labels(self.env.symbols)

    def cells(self) -> Iterator[Cells]:
        values = self._compute().reshape(1, -1)
        yield Cells(0, values, np.ones(values.shape, np.bool_))


def constant(env: Environment, value: float) -> Operator:
    """A scalar that is the same at every step."""
    return Scalar(env, lambda: np.full(env.steps.count, value))


class Nothing(VectorOperator):
    """No rows. The child is evaluated all the same: an error in it is one of the query."""

    def __init__(self, env: Environment, child: Operator) -> None:
        super().__init__(env)
        self.child = child

    def _label(self) -> SeriesSet:
        return no_labels(self.env.symbols, 0)

    def cells(self) -> Iterator[Cells]:
        for _ in self.child.cells():
            pass
        return iter(())


class Computed(VectorOperator):
    """An operator that must compute its cells to know its rows."""

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        self._values = np.zeros((0, env.steps.count))
        self._present = np.zeros((0, env.steps.count), np.bool_)
        self._reserved = 0
        self._payload: NDArray[np.uint8] | None = None

    def cells(self) -> Iterator[Cells]:
        self.series()
        yield from tiles_of(self._values, self._present, self._payload)
        self.env.context.reserve(-self._reserved)

    def _make_room(self, rows: int, payload: NDArray[np.uint8] | None = None) -> None:
        """`payload`: to which values will lead."""
        self._payload = payload
        self._reserved = 9 * rows * self.env.steps.count + (0 if payload is None else payload.size)
        self.env.context.reserve(self._reserved)
        self._values = np.zeros((rows, self.env.steps.count))
        self._present = np.zeros(self._values.shape, np.bool_)


class Mapped(VectorOperator):
    """Cell by cell: row i of the result is made of row i of the child, and of scalars: compute(tile, *f64[steps])."""

    def __init__(self, env: Environment, child: Operator, compute: Callable[..., Cells],
                 scalars: Sequence[Operator] = (), *, keep_name: bool = False) -> None:
        super().__init__(env)
        self.type = child.type
        self._child, self._compute, self._scalars, self._keep_name = child, compute, scalars, keep_name

    def _label(self) -> SeriesSet:
        series = self._child.series()
        return series if self._keep_name else drop_metric_name(series, self.env)

    def cells(self) -> Iterator[Cells]:
        numbers = [scalar_values(scalar) for scalar in self._scalars]
        for tile in self._child.cells():
            with np.errstate(all="ignore"):
                made = self._compute(tile, *numbers)
            yield made


class Relabeled(VectorOperator):
    """The child's cells under other labels; `relabel` may make rows equal."""

    def __init__(self, env: Environment, child: Operator, relabel: Callable[[SeriesSet], SeriesSet]) -> None:
        super().__init__(env)
        self._child, self._relabel = child, relabel

    def _label(self) -> SeriesSet:
        return self._relabel(self._child.series())

    def cells(self) -> Iterator[Cells]:
        return self._child.cells()


class FloatsOnly(VectorOperator):
    """The child's cells without native histograms. `dropped` is called with each tile of the child that has some, and
    bool[rows, steps], where they are."""

    def __init__(self, env: Environment, child: Operator,
                 dropped: Callable[[Cells, NDArray[np.bool_]], None] | None = None) -> None:
        super().__init__(env)
        self.type = child.type
        self._child, self._dropped = child, dropped

    def _label(self) -> SeriesSet:
        return self._child.series()

    def cells(self) -> Iterator[Cells]:
        for tile in self._child.cells():
            if tile.payload is None:
                yield tile
                continue
            boxed = is_boxed(tile.values.view(np.uint64)) & tile.present
            if self._dropped is not None and boxed.any():
                self._dropped(tile, boxed)
            yield Cells(tile.first_row, tile.values, tile.present & ~boxed)


class Unique(VectorOperator):
    """Merges the child's rows of equal labels, which may not have cells at the same step (ExecutionError)."""

    def __init__(self, env: Environment, child: Operator) -> None:
        super().__init__(env)
        self._child = child
        self._target: NDArray[np.int64] | None = None

    def _label(self) -> SeriesSet:
        series = self._child.series()
        groups = group_rows(series)
        if len(groups) == len(series):
            return series
        self._target = groups.group
        return take(series, groups.first)

    def cells(self) -> Iterator[Cells]:
        rows = len(self.series())
        if self._target is None:
            yield from self._child.cells()
            return
        with Matrix(self.env, rows) as matrix:
            for tile in self._child.cells():
                if matrix.merge(tile, self._target[tile.first_row : tile.first_row + len(tile.values)]) >= 0:
                    raise ExecutionError(SAME_LABELS)
            yield from matrix.tiles()


def unique(env: Environment, operator: Operator) -> Operator:
    """`operator`, which has dropped metric names, without rows of equal labels."""
    return operator if env.delayed_name_removal or operator.type != ValueType.VECTOR else Unique(env, operator)


def finish_names(env: Environment, root: Operator) -> Operator:
    """The root of a query's plan with the names dropped that were put off (see `Environment.delayed_name_removal`)."""
    if not env.delayed_name_removal or root.type != ValueType.VECTOR:
        return root
    return Unique(env, Relabeled(env, root, drop_marked_names))


class Matrix:
    """Cells of all rows at once, accounted for in the query's byte budget while its ``with`` lasts. No cell is present
    at first; of an `empty` matrix nothing is known until all rows are filled."""

    def __init__(self, env: Environment, rows: int, *, empty: bool = False) -> None:
        self._env = env
        shape = (rows, env.steps.count)
        self._size = 9 * rows * env.steps.count
        self._histograms = Histograms(env.context)
        env.context.reserve(self._size)
        self.values = np.empty(shape, np.float64)
        self.present = np.empty(shape, np.bool_) if empty else np.zeros(shape, np.bool_)

    def __enter__(self) -> Matrix:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the cells, and gives the bytes back to the budget. May be called twice."""
        self.values, self.present = np.empty((0, 0)), np.empty((0, 0), np.bool_)
        self._env.context.reserve(-self._size)
        self._size = 0
        self._histograms.close()

    def payload(self) -> NDArray[np.uint8] | None:
        """u8[bytes]: the histograms to which boxed values lead; None: there are none."""
        return self._histograms.payload()

    def fill(self, tile: Cells, target: NDArray[np.int64] | None = None, steps: slice = slice(None)) -> None:
        """Puts a tile where it belongs, or into the rows `target`; at some of the steps."""
        rows = slice(tile.first_row, tile.first_row + len(tile.values)) if target is None else target
        self.values[rows, steps] = self._histograms.keep(tile.values, tile.present, tile.payload)
        self.present[rows, steps] = tile.present

    def merge(self, tile: Cells, target: NDArray[np.int64]) -> int:
        """Puts the tile's rows into the rows `target`; the first step where two cells met there, or -1."""
        values = self._histograms.keep(tile.values, tile.present, tile.payload)
        return merge_rows(values, tile.present, target, self.values, self.present)

    def keep_rows(self, rows: NDArray[np.int64]) -> None:
        """Leaves out all others. `rows` ascend, so that they can move forward in place."""
        for part in row_parts(rows.size):
            self.values[part], self.present[part] = self.values[rows[part]], self.present[rows[part]]
        self.values, self.present = self.values[: rows.size], self.present[: rows.size]

    def tiles(self) -> Iterator[Cells]:
        return tiles_of(self.values, self.present, self.payload())


def collect(env: Environment, operator: Operator) -> Matrix:
    """All cells of an operator."""
    matrix = Matrix(env, len(operator.series()), empty=True)
    for tile in operator.cells():
        matrix.fill(tile)
    return matrix


def concatenated(context: RequestContext, tiles: Sequence[Cells]) -> Cells:
    """Tiles of consecutive rows as one."""
    histograms = Histograms(context)
    values = np.concatenate([histograms.keep(tile.values, tile.present, tile.payload) for tile in tiles])
    payload = histograms.payload()
    histograms.close()
    return Cells(tiles[0].first_row, values, np.concatenate([tile.present for tile in tiles]), payload)


def tiles_of(values: NDArray[np.float64], present: NDArray[np.bool_], payload: NDArray[np.uint8] | None = None,
             ) -> Iterator[Cells]:
    """A matrix in tiles of a size that suits the cache."""
    for rows in row_parts(len(values)):
        yield Cells(rows.start, values[rows], present[rows], payload)


def row_parts(rows: int) -> Iterator[slice]:
    """The rows of such tiles."""
    for first in range(0, rows, _ROWS):
        yield slice(first, min(first + _ROWS, rows))


def step_ranges(env: Environment) -> Iterator[tuple[int, int]]:
    """Parts of the steps, for kernels that would be busy too long with all of them. Checks the context before each."""
    for first in range(0, env.steps.count, _STEPS):
        env.context.check()
        yield first, min(first + _STEPS, env.steps.count)


def scalar_values(operator: Operator) -> NDArray[np.float64]:
    """f64[steps] of a scalar operator."""
    return np.ascontiguousarray(next(iter(operator.cells())).values.reshape(-1))


def count_present(present: NDArray[np.bool_], group: NDArray[np.int64], count: NDArray[np.float64]) -> None:
    """Adds the rows of present bool[rows, steps] to the counts f64[groups, steps] of their groups i64[rows]."""
    nothing = np.zeros((0, 0))
    values = np.empty(present.shape)
    accumulate(COUNT, values, present, group, nothing, nothing, count, np.zeros((0, 0), np.uint8))


def mark_present(present: NDArray[np.bool_], group: NDArray[np.int64], seen: NDArray[np.uint8]) -> None:
    """Sets seen u8[groups, steps] where a row of the group has a cell."""
    nothing = np.zeros((0, 0))
    accumulate(GROUP, np.empty(present.shape), present, group, nothing, nothing, nothing, seen)


def value_order_keys(values: NDArray[np.float64], *, descending: bool) -> tuple[NDArray[np.generic], ...]:
    """Keys for np.lexsort that sort f64[n] with NaN last. Equal values stay as they lie, NaNs come in reverse: so
    Prometheus' comparison, for which a NaN is less than another, leaves up to 12 rows."""
    nan, place = np.isnan(values), np.arange(values.size)
    keys = np.where(nan, 0.0, -values if descending else values)
    return np.where(nan, -place, place), keys, nan
