"""Functions that take no range vector: arithmetic per cell, calendar, sorting, absent, to and from scalars …"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import NotSupported
from tsdb.model.labels import METRIC_NAME
from tsdb.model.matchers import MatchType
from tsdb.model.tiles import SeriesSet
from tsdb.promql import ast
from tsdb.promql.ast import ValueType
from tsdb.promql.cells import Mapped, Scalar, VectorOperator, scalar_values, unique
from tsdb.promql.groups import no_labels, with_label
from tsdb.promql.histogram import build_histogram_call
from tsdb.promql.instant_functions_calendar import CALENDAR
from tsdb.promql.instant_functions_sort import SortedByLabel, SortedByValue
from tsdb.promql.label_functions import label_join, label_replace
from tsdb.promql.vector import Cells, Environment, Operator

Numbers = NDArray[np.float64]


def _sgn(v: Numbers) -> Numbers:
    return np.where(v < 0, -1.0, np.where(v > 0, 1.0, v))


_MATH: dict[str, Callable[[Numbers], Numbers]] = {
    "abs": np.abs, "ceil": np.ceil, "floor": np.floor, "exp": np.exp, "ln": np.log, "log2": np.log2, "log10": np.log10,
    "sqrt": np.sqrt, "sgn": _sgn, "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos,
    "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "asinh": np.arcsinh, "acosh": np.arccosh,
    "atanh": np.arctanh, "deg": lambda v: v * 180 / math.pi, "rad": lambda v: v * math.pi / 180,
}
_CLAMPS = ("clamp", "clamp_min", "clamp_max")
_HISTOGRAMS = ("histogram_quantile", "histogram_quantiles", "histogram_fraction")


def build_call(node: ast.Call, args: Sequence[Operator | str], env: Environment) -> Operator:
    """The operator of a function without a range vector among its arguments; strings come as such. ``timestamp`` of a
    selector is the caller's. Raises NotSupported, and ExecutionError for arguments that no data can make right."""
    name = node.function
    operators = [arg for arg in args if not isinstance(arg, str)]
    texts = [arg for arg in args if isinstance(arg, str)]
    if name in _MATH:
        return _per_cell(env, operators[0], _MATH[name])
    if name in CALENDAR:
        return _calendar(env, operators, CALENDAR[name])
    if name in _CLAMPS:
        return _clamp(env, name, operators)
    if name in _HISTOGRAMS:
        return build_histogram_call(node, args, env)
    match name:
        case "round":
            return _round(env, operators)
        case "time":
            return Scalar(env, lambda: env.steps.times() / 1000)
        case "pi":
            return Scalar(env, lambda: np.full(env.steps.count, math.pi))
        case "min_of" | "max_of":
            pick = _go_min if name == "min_of" else _go_max
            return Scalar(env, lambda: pick(scalar_values(operators[0]), scalar_values(operators[1])))
        case "vector":
            return Scalar(env, lambda: scalar_values(operators[0]), ValueType.VECTOR)
        case "scalar":
            return Scalar(env, lambda: _only_value(env, operators[0]))
        case "timestamp":
            times = env.steps.times() / 1000
            return _per_cell(env, operators[0], lambda v: np.broadcast_to(times, v.shape).copy())
        case "absent":
            return Absent(env, operators[0], node.args[0])
        case "sort" | "sort_desc":
            return SortedByValue(env, operators[0], name == "sort_desc")
        case "sort_by_label" | "sort_by_label_desc":
            return SortedByLabel(env, operators[0], texts, name == "sort_by_label_desc")
        case "label_replace":
            return label_replace(env, operators[0], *texts)
        case "label_join":
            return label_join(env, operators[0], texts[0], texts[1], texts[2:])
    raise NotSupported(f"function {name} is not supported yet")


def build_unary(child: Operator, env: Environment) -> Operator:
    """Unary minus. No NaN gets a sign: some bits of negative ones mean native histograms."""
    return _per_cell(env, child, lambda v: np.where(np.isnan(v), np.nan, -v))


def _per_cell(env: Environment, child: Operator, function: Callable[[Numbers], Numbers]) -> Operator:
    def compute(tile: Cells) -> Cells:
        return Cells(tile.first_row, function(tile.values), tile.present)

    return unique(env, Mapped(env, child, compute, keep_name=child.type == ValueType.SCALAR))


def _calendar(env: Environment, operators: Sequence[Operator], function: Callable[[Numbers], Numbers]) -> Operator:
    if operators:
        return _per_cell(env, operators[0], function)
    return Scalar(env, lambda: function((env.steps.times() // 1000).astype(np.float64)), ValueType.VECTOR)


def _round(env: Environment, operators: Sequence[Operator]) -> Operator:
    def nearest(tile: Cells, to: Numbers | float = 1.0) -> Cells:
        inverse = 1.0 / to  # as Prometheus: that loses less
        return Cells(tile.first_row, np.floor(tile.values * inverse + 0.5) / inverse, tile.present)

    return unique(env, Mapped(env, operators[0], nearest, operators[1:]))


def _clamp(env: Environment, name: str, operators: Sequence[Operator]) -> Operator:
    """Where the minimum is above the maximum there is nothing."""
    nowhere = np.full(env.steps.count, math.inf)

    def compute(tile: Cells, *numbers: Numbers) -> Cells:
        low = -nowhere if name == "clamp_max" else numbers[0]
        high = nowhere if name == "clamp_min" else numbers[-1]
        values = _go_max(low, _go_min(high, tile.values))
        return Cells(tile.first_row, values, tile.present & ~(high < low))

    return unique(env, Mapped(env, operators[0], compute, operators[1:]))


def _go_min(a: Numbers, b: Numbers) -> Numbers:
    """Go's math.Min: NaN wins, but -Inf wins over that, and -0 is below 0."""
    return -_go_max(-a, -b)


def _go_max(a: Numbers, b: Numbers) -> Numbers:
    larger = np.where((a == 0) & (b == 0), a + b, np.maximum(a, b))
    return np.where((a == math.inf) | (b == math.inf), math.inf, larger)


def _only_value(env: Environment, child: Operator) -> Numbers:
    """f64[steps]: the value of the only cell of each step, NaN where there is none or more than one."""
    values, count = np.full(env.steps.count, math.nan), np.zeros(env.steps.count, np.int64)
    for tile in child.cells():
        row = tile.present.argmax(axis=0)
        here = tile.present.any(axis=0)
        values = np.where(here, tile.values[row, np.arange(env.steps.count)], values)
        count += tile.present.sum(axis=0)
    values[count != 1] = math.nan
    return values


class Absent(VectorOperator):
    """1 where the child has no cell, with the labels that a selector asks for by equality."""

    def __init__(self, env: Environment, child: Operator, argument: ast.Expr) -> None:
        super().__init__(env)
        self._child, self._argument = child, argument

    def _label(self) -> SeriesSet:
        series = no_labels(self.env.symbols)
        for name, value in absent_labels(self._argument).items():
            series = with_label(series, name, np.array([self.env.symbols.intern(value)], np.uint32))
        return series

    def cells(self) -> Iterator[Cells]:
        seen = np.zeros(self.env.steps.count, np.bool_)
        for tile in self._child.cells():
            seen |= tile.present.any(axis=0)
        yield Cells(0, np.ones((1, seen.size)), ~seen.reshape(1, -1))


def absent_labels(argument: ast.Expr) -> dict[str, str]:
    """The labels of ``absent(argument)``: those of a selector that have exactly one matcher, an equality."""
    while isinstance(argument, ast.Paren):
        argument = argument.expr
    if isinstance(argument, ast.MatrixSelector):
        argument = argument.vector
    if not isinstance(argument, ast.VectorSelector):
        return {}
    labels: dict[str, str] = {}
    seen: set[str] = set()
    for matcher in argument.written or argument.matchers:
        if matcher.name == METRIC_NAME:
            continue
        if matcher.type == MatchType.EQUAL and matcher.name not in seen:
            labels[matcher.name] = matcher.value
            seen.add(matcher.name)
        else:
            labels.pop(matcher.name, None)
    return {name: value for name, value in labels.items() if value}
