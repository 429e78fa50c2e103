"""The functions that take a range vector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import ExecutionError
from tsdb.model.labels import METRIC_NAME
from tsdb.model.matchers import Matcher, MatchType
from tsdb.model.tiles import SeriesSet, Symbols, Tile
from tsdb.promql import range_kernels as kernels
from tsdb.promql import rare_range_kernels as rare
from tsdb.promql.ast import Span
from tsdb.promql.cells import SAME_LABELS, VectorOperator, scalar_values
from tsdb.promql.groups import NO_SYMBOL, drop_metric_name, group_rows, label_values
from tsdb.promql.literals import quote
from tsdb.promql.number_text import go_g
from tsdb.promql.selectors import SampleBudget, TileSource, Window, new_cells
from tsdb.promql.vector import Cells, Environment, Operator


@dataclass(frozen=True, slots=True)
class RangeFunction:
    """Which kernel, and which of its operations."""

    kernel: str
    op: int
    keep_name: bool = False
    rescans: bool = False
    """Looks at all samples of the window at every step."""


def _table() -> dict[str, RangeFunction]:
    table = {name: RangeFunction("rates", op) for name, op in (
        ("rate", kernels.RATE), ("increase", kernels.INCREASE), ("delta", kernels.DELTA), ("irate", kernels.IRATE),
        ("idelta", kernels.IDELTA))}
    table |= {f"{name}_over_time": RangeFunction("over_time", op) for name, op in (
        ("sum", kernels.SUM), ("avg", kernels.AVG), ("min", kernels.MIN), ("max", kernels.MAX),
        ("count", kernels.COUNT), ("present", kernels.PRESENT))}
    table |= {
        "last_over_time": RangeFunction("over_time", kernels.LAST, keep_name=True),
        "first_over_time": RangeFunction("over_time", kernels.FIRST, keep_name=True),
        "stddev_over_time": RangeFunction("over_time", kernels.STDDEV, rescans=True),
        "stdvar_over_time": RangeFunction("over_time", kernels.STDVAR, rescans=True),
        "absent_over_time": RangeFunction("over_time", kernels.PRESENT, keep_name=True),
        "changes": RangeFunction("over_time", kernels.CHANGES),
        "resets": RangeFunction("over_time", kernels.RESETS),
    }
    return table | {name: RangeFunction("rare", op, rescans=True) for name, op in (
        ("quantile_over_time", rare.QUANTILE), ("mad_over_time", rare.MAD), ("deriv", rare.DERIV),
        ("predict_linear", rare.PREDICT), ("ts_of_first_over_time", rare.TS_FIRST),
        ("ts_of_last_over_time", rare.TS_LAST), ("ts_of_min_over_time", rare.TS_MIN),
        ("ts_of_max_over_time", rare.TS_MAX), ("double_exponential_smoothing", rare.SMOOTH))}


RANGE_FUNCTIONS: Final[Mapping[str, RangeFunction]] = MappingProxyType(_table())

_COUNTER_SUFFIXES = ("_total", "_sum", "_count", "_bucket")

_VISITS_PER_CALL = 1 << 24
"""Samples that a kernel looks at in one call, about: some 0.1 s, between which the deadline is checked."""


class RangeCall(VectorOperator):
    """A range function over the samples of a source. `span` is the place that annotations give."""

    def __init__(self, env: Environment, name: str, source: TileSource, window: Window, budget: SampleBudget,
                 params: Sequence[Operator], span: Span) -> None:
        super().__init__(env)
        self._name, self._function = name, RANGE_FUNCTIONS[name]
        self._source, self._window, self._budget = source, window, budget
        self._operators, self._span = params, span
        self._params: list[NDArray[np.float64]] = []

    def _label(self) -> SeriesSet:
        series = self._source.series()
        return series if self._function.keep_name else drop_metric_name(series, self.env)

    def cells(self) -> Iterator[Cells]:
        self._params = [scalar_values(operator) for operator in self._operators]
        self._check_params()
        names = label_values(self._source.series(), METRIC_NAME)
        seen = _Seen(self._source.series(), names, self.series(), self.env)
        found: dict[int, None] = {}
        for cells, count in self._source.map(self._evaluate):
            self._budget.hold(count)
            seen.check(cells)
            if self._name in ("rate", "increase"):
                rows = cells.first_row + np.flatnonzero(cells.present.any(axis=1))
                found |= dict.fromkeys(np.unique(names[rows]).tolist())
            if self._name == "quantile_over_time":
                self._warn_of_quantiles(cells)
            yield cells
        for symbol in found:
            self._inform_of_name("" if symbol == NO_SYMBOL else self.env.symbols.text(symbol))

    def _evaluate(self, tile: Tile) -> tuple[Cells, int]:
        values, present = new_cells(tile.rows, self.env)
        at_once = self._rows_per_call(tile)
        count = 0
        for first in range(0, tile.rows, at_once):
            if first:
                self.env.context.check()
            rows = slice(first, first + at_once)
            count += self._compute(tile, rows, values[rows], present[rows])
        return Cells(tile.first_row, values, present), count

    def _rows_per_call(self, tile: Tile) -> int:
        window, steps = self._window, self.env.steps.count
        visits = tile.ts.size
        if self._function.rescans:
            visits += tile.ts.size * steps * window.width // (window.maxt(steps) - window.mint() + 1)
        return max(1, tile.rows * _VISITS_PER_CALL // max(visits, 1))

    def _compute(self, tile: Tile, rows: slice, values: NDArray[np.float64], present: NDArray[np.bool_]) -> int:
        function, window, steps = self._function, self._window, self.env.steps
        begin, end = tile.begin[rows], tile.end[rows]
        where = (begin, end, tile.ts, tile.values, window.first, window.step, window.width)
        longest = int((end - begin).max(initial=0))
        live = np.empty(longest, np.int64), np.empty(longest)
        if function.kernel == "rates":
            borders, windows = np.empty((2, steps.count), np.uint64), np.empty((6, steps.count))
            return kernels.rates(function.op, *where, *live, np.empty(longest, np.int64), borders, windows, values,
                                 present)
        if function.kernel == "over_time":
            return kernels.over_time(function.op, *where, *live, np.empty(longest, np.int64), values, present)
        nothing = np.zeros(steps.count)
        first, second, *_ = [*self._params, nothing, nothing]
        return rare.over_time_rare(function.op, *where, steps.start, max(steps.step, 0), first, second, *live,
                                   np.empty(longest), np.empty(longest), values, present)

    def _check_params(self) -> None:
        if self._name == "double_exponential_smoothing" and len(self._source.series()):
            for what, values in zip(("smoothing", "trend"), self._params, strict=True):
                wrong = values[(values <= 0) | (values >= 1)]
                if wrong.size:
                    raise ExecutionError(f"invalid {what} factor. Expected: 0 < {what[0]}f < 1, got: {wrong[0]:f}")

    def _warn_of_quantiles(self, cells: Cells) -> None:
        used = self._params[0][cells.present.any(axis=0)]
        for value in np.unique(used[~((used >= 0) & (used <= 1))]).tolist():
            text = f"PromQL warning: quantile value should be between 0 and 1, got {go_g(value)}"
            self.env.annotations.warn(text, self._span)

    def _inform_of_name(self, name: str) -> None:
        if name and not name.endswith(_COUNTER_SUFFIXES):
            self.env.annotations.inform(
                "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "
                + quote(name), self._span)


class _Seen:
    """Refuses two rows of equal labels that both have cells, as names that were dropped may leave them."""

    def __init__(self, before: SeriesSet, names: NDArray[np.uint32], series: SeriesSet, env: Environment) -> None:
        """`names`: metric names of `before`."""
        self._group: NDArray[np.int64] | None = None
        if not env.delayed_name_removal and not _only_one_name_lost(before, names, series):
            groups = group_rows(series)
            if len(groups) < len(series):
                self._group = groups.group
                self._rows = np.zeros(len(groups), np.int64)

    def check(self, cells: Cells) -> None:
        if self._group is None:
            return
        rows = cells.first_row + np.flatnonzero(cells.present.any(axis=1))
        np.add.at(self._rows, self._group[rows], 1)
        if (self._rows > 1).any():
            raise ExecutionError(SAME_LABELS)


def _only_one_name_lost(before: SeriesSet, names: NDArray[np.uint32], after: SeriesSet) -> bool:
    """Whether the rows, which were distinct, lost nothing but one and the same metric name."""
    if after is before:
        return True
    one = names.size > 0 and names[0] != NO_SYMBOL and bool((names == names[0]).all())
    return one and before.names.size - after.names.size == names.size


class AbsentOverTime(VectorOperator):
    """1 at the steps where no row of the child has a cell. `matchers` are the selector's, for the labels."""

    def __init__(self, env: Environment, child: Operator, matchers: Sequence[Matcher]) -> None:
        super().__init__(env)
        self._child, self._matchers = child, matchers

    def _label(self) -> SeriesSet:
        return absent_labels(self._matchers, self.env.symbols)

    def cells(self) -> Iterator[Cells]:
        present = np.zeros(self.env.steps.count, np.bool_)
        for cells in self._child.cells():
            present |= cells.present.any(axis=0)
        yield Cells(0, np.ones((1, present.size)), ~present.reshape(1, -1))


def absent_labels(matchers: Sequence[Matcher], symbols: Symbols) -> SeriesSet:
    """One row: the labels that the matchers say must have one value, but for the metric's name."""
    wanted: dict[str, str] = {}
    once: set[str] = set()
    for matcher in matchers:
        if matcher.name == METRIC_NAME:
            continue
        if matcher.type == MatchType.EQUAL and matcher.name not in once:
            wanted[matcher.name] = matcher.value
            once.add(matcher.name)
        else:
            wanted.pop(matcher.name, None)
    labels = sorted(((n, v) for n, v in wanted.items() if v), key=lambda label: label[0].encode())
    return SeriesSet(
        np.array([0, len(labels)], np.int64),
        np.array([symbols.intern(name) for name, _ in labels], np.uint32),
        np.array([symbols.intern(value) for _, value in labels], np.uint32),
        symbols,
    )
