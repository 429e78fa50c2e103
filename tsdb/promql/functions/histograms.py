"""Functions of histograms: of native ones, and of classic ones, whose buckets are series with a label ``le``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tsdb.model.labels import METRIC_NAME
from tsdb.model.native_histograms import is_boxed
from tsdb.model.tiles import SeriesSet
from tsdb.promql import ast
from tsdb.promql.functions.function import SCALAR, STRING, VECTOR, Call, Function
from tsdb.promql.functions.native_estimates import NOTES, NativeEstimates, Numbers, Scratch
from tsdb.promql.histograms.statistics_kernels import (
    OF_AVERAGE,
    OF_COUNT,
    OF_DEVIATION,
    OF_SUM,
    OF_VARIANCE,
    describe_native,
)
from tsdb.promql.kernels.histogram_kernels import (
    FORCED_FIRST,
    FORCED_HIGHEST,
    FORCED_LAST,
    FORCED_LOWEST,
    FORCED_MOST,
    FORCED_SAMPLES,
    FRACTION,
    QUANTILE,
    evaluate_buckets,
)
from tsdb.promql.literals import quote
from tsdb.promql.number_text import go_g
from tsdb.promql.operators.cells import (
    Computed,
    Mapped,
    Matrix,
    Unique,
    scalar_values,
    step_ranges,
    unique,
)
from tsdb.promql.operators.groups import (
    NO_SYMBOL,
    concatenate,
    drop_metric_name,
    group_rows,
    label_values,
    take,
    with_label,
    without_labels,
)
from tsdb.promql.operators.vector import Cells, Environment, Operator

_FORCED = (
    "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see "
    "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)"
)
_MIXED = "PromQL warning: vector contains a mix of classic and native histograms"

_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_HEXADECIMAL = re.compile(r"[+-]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][+-]?[0-9]+")
_WORDS = {"inf": math.inf, "+inf": math.inf, "-inf": -math.inf, "infinity": math.inf, "+infinity": math.inf,
          "-infinity": -math.inf, "nan": math.nan}


def parse_bound(text: str) -> float | None:
    """An upper bound as Go's strconv.ParseFloat reads it; None where it does not."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        if _DECIMAL.fullmatch(text):
            value = float(text)
        elif _HEXADECIMAL.fullmatch(text):
            value = float.fromhex(text)
        else:
            return None
    except OverflowError:
        return None
    return None if math.isinf(value) else value


@dataclass(frozen=True, slots=True)
class Layout:
    """Which rows of the child are the buckets of which histogram."""

    order: NDArray[np.int64]
    """i64[buckets]: rows by histogram, then by bound."""
    bounds: NDArray[np.float64]
    """f64[buckets]: upper bounds, in that order."""
    begin: NDArray[np.int64]
    """i64[histograms + 1]"""
    labels: SeriesSet
    """Of the histograms, without ``le``, the name still there."""
    refused: NDArray[np.int64]
    """i64[]: rows whose ``le`` is no number, or missing."""


def lay_out(series: SeriesSet) -> Layout:
    """Groups buckets by their labels without ``le``, and sorts them. Each distinct bound is parsed once."""
    column = label_values(series, "le")
    symbols, place = np.unique(column, return_inverse=True)
    texts = ["" if symbol == NO_SYMBOL else series.symbols.text(symbol) for symbol in symbols.tolist()]
    parsed = [parse_bound(text) for text in texts]
    good = np.array([bound is not None for bound in parsed], np.bool_)[place]
    bound = np.array([math.nan if bound is None else bound for bound in parsed])[place]
    rows = np.flatnonzero(good)
    rest = without_labels(take(series, rows), ("le",))
    groups = group_rows(rest)
    order = np.lexsort((bound[rows], groups.group))
    begin = np.zeros(len(groups) + 1, np.int64)
    np.cumsum(np.bincount(groups.group, minlength=len(groups)), out=begin[1:])
    return Layout(rows[order], bound[rows][order], begin, take(rest, groups.first), np.flatnonzero(~good))


class Estimated(Computed):
    """histogram_quantile, histogram_quantiles, histogram_fraction; rows of the result may be equal where names have
    been dropped. Which rows there are depends on the cells: any series may have native histograms.

    `numbers` are the scalars with their expressions: a quantile, or the two ends of a fraction, or, with `label`,
    several quantiles, whose values become values of that label.
    """

    def __init__(self, env: Environment, child: Operator, place: ast.Expr, numbers: list[tuple[Operator, ast.Expr]], *,
                 fraction: bool = False, label: str | None = None) -> None:
        super().__init__(env)
        self._child, self._place, self._numbers = child, place, numbers
        self._fraction, self._label_name = fraction, label
        self._scalars: list[NDArray[np.float64]] = []

    def _label(self) -> SeriesSet:
        series = self._child.series()
        layout = lay_out(series)
        self._scalars = [scalar_values(number) for number, _ in self._numbers]
        if not self._fraction:
            self._warn_of_quantiles()
        wanted = self._wanted()
        native = NativeEstimates(self.env, FRACTION if self._fraction else QUANTILE, wanted)
        with Matrix(self.env, len(series) if layout.order.size else 0) as matrix:
            self._read(matrix, layout, native)
            rows, there, notes = native.rows, native.present(), native.notes
            if rows.size and layout.order.size:
                self._take_out_mixed(matrix, layout, take(series, rows), there)
            classic = len(layout.labels)
            self._make_room(len(wanted) * (classic + rows.size))
            for index, numbers in enumerate(wanted):
                begin = index * (classic + rows.size)
                middle, end = begin + classic, begin + classic + rows.size
                if classic:
                    self._evaluate(matrix, layout, numbers, begin)
                native.fill(index, self._values[middle:end])
                self._present[middle:end] = there
                if numbers.steps is not None:
                    self._present[begin:end] &= numbers.steps
        native.close()
        self._say_notes(take(series, rows[notes > 0]), notes[notes > 0])
        labels = concatenate(layout.labels, take(series, rows)) if rows.size else layout.labels
        return self._named(drop_metric_name(labels, self.env), wanted)

    def _wanted(self) -> list[Numbers]:
        if self._label_name is None:
            return [Numbers(self._scalars[0], self._scalars[-1])]
        wanted = []
        for column in self._scalars:
            for value in np.unique(column).tolist():
                steps = np.isnan(column) if math.isnan(value) else column == value
                numbers = np.full(column.size, value)
                wanted.append(Numbers(numbers, numbers, steps))
        return wanted

    def _named(self, labels: SeriesSet, wanted: list[Numbers]) -> SeriesSet:
        """The labels, once for each of the numbers wanted."""
        if self._label_name is None:
            return labels
        result = take(labels, np.zeros(0, np.int64))
        for numbers in wanted:
            symbol = self.env.symbols.intern(_quantile_text(float(numbers.first[0])))
            column = np.full(len(labels), symbol, np.uint32)
            result = concatenate(result, with_label(labels, self._label_name, column))
        return result

    def _read(self, matrix: Matrix, layout: Layout, native: NativeEstimates) -> None:
        """All of the child: floats become cells of the matrix, if it has rows."""
        refused = np.zeros(len(self._child.series()), np.bool_)
        refused[layout.refused] = True
        seen = np.zeros(refused.size, np.bool_)
        for tile in self._child.cells():
            floats = native.take(tile)
            rows = slice(tile.first_row, tile.first_row + len(floats))
            if refused[rows].any():
                seen[rows] = refused[rows] & floats.any(axis=1)
            if layout.order.size:
                matrix.fill(Cells(tile.first_row, tile.values, floats))
        self._warn_of_bounds(np.flatnonzero(seen))

    def _take_out_mixed(self, matrix: Matrix, layout: Layout, native: SeriesSet, there: NDArray[np.bool_]) -> None:
        """Where a classic and a native histogram have the same labels at the same step, neither counts."""
        classic = len(layout.labels)
        same = group_rows(concatenate(layout.labels, native)).group[classic:]
        rows = np.flatnonzero(same < classic)
        if not rows.size:
            return
        mixed = np.zeros((classic, self.env.steps.count), np.bool_)
        buckets = matrix.present[layout.order]
        mixed[same[rows]] = np.logical_or.reduceat(buckets, layout.begin[:-1])[same[rows]] & there[rows]
        there[rows] &= ~mixed[same[rows]]
        matrix.present[layout.order] = buckets & ~np.repeat(mixed, np.diff(layout.begin), axis=0)
        for row in np.flatnonzero(mixed.any(axis=1)).tolist():
            metric = self._metric(layout.labels.labels(row).get(METRIC_NAME, ""))
            self.env.annotations.warn(f"{_MIXED}{metric}", _span(self._place))

    def _evaluate(self, matrix: Matrix, layout: Layout, numbers: Numbers, first_row: int) -> None:
        """The classic histograms, into rows of the result."""
        histograms = len(layout.labels)
        forced_steps = np.zeros((histograms, 3), np.int64)
        forced_buckets = np.tile(np.array([math.inf, -math.inf, 0.0]), (histograms, 1))
        scratch = np.empty((2, int(np.diff(layout.begin).max(initial=1))))
        op = FRACTION if self._fraction else QUANTILE
        rows = slice(first_row, first_row + histograms)
        for begin, end in step_ranges(self.env):
            evaluate_buckets(op, numbers.first, numbers.second, matrix.values, matrix.present, layout.order,
                             layout.bounds, layout.begin, scratch, begin, end, self._values[rows],
                             self._present[rows], forced_steps, forced_buckets)
        self._inform_of_forcing(layout, forced_steps, forced_buckets)

    def _say_notes(self, series: SeriesSet, notes: NDArray[np.uint8]) -> None:
        """What observations that are NaN did to the rows of `series`, once for each metric."""
        symbols = label_values(series, METRIC_NAME)
        for symbol in np.unique(symbols):
            rows = np.flatnonzero(symbols == symbol)
            metric = self._metric(series.labels(int(rows[0])).get(METRIC_NAME, ""))
            for bit, text in NOTES.items():
                if (notes[rows] & bit).any():
                    self.env.annotations.inform(text + metric, _span(self._place))

    def _warn_of_quantiles(self) -> None:
        for column, (_, place) in zip(self._scalars, self._numbers, strict=True):
            for value in np.unique(column[~((column >= 0) & (column <= 1))]).tolist():
                text = f"PromQL warning: quantile value should be between 0 and 1, got {go_g(value)}"
                self.env.annotations.warn(text, _span(place))

    def _warn_of_bounds(self, rows: NDArray[np.int64]) -> None:
        series = self._child.series()
        for row in rows.tolist():
            labels = series.labels(row)
            bound, metric = quote(labels.get("le", "")), self._metric(labels.get(METRIC_NAME, ""))
            text = f'PromQL warning: bucket label "le" is missing or has a malformed value of {bound}{metric}'
            self.env.annotations.warn(text, _span(self._place))

    def _inform_of_forcing(self, layout: Layout, steps: NDArray[np.int64], buckets: NDArray[np.float64]) -> None:
        """One info for each metric: where, how far and when counts were raised."""
        forced = np.flatnonzero(steps[:, FORCED_SAMPLES])
        names = np.array([self._metric(layout.labels.labels(row).get(METRIC_NAME, "")) for row in forced.tolist()])
        times = self.env.steps.times()
        for name in dict.fromkeys(names.tolist()):
            rows = forced[names == name]
            first, last = (
                datetime.fromtimestamp(int(times[step]) // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                for step in (steps[rows, FORCED_FIRST].min(), steps[rows, FORCED_LAST].max())
            )
            self.env.annotations.inform(
                f"{_FORCED}{name}", _span(self._place),
                f", from buckets {go_g(buckets[rows, FORCED_LOWEST].min())} to "
                f"{go_g(buckets[rows, FORCED_HIGHEST].max())}, with a max diff of "
                f"{go_g(buckets[rows, FORCED_MOST].max(), 2)}, over {steps[rows, FORCED_SAMPLES].sum()} samples from "
                f"{first} to {last}")

    def _metric(self, name: str) -> str:
        """Prometheus names the metric only where names are dropped late."""
        return f" for metric name {quote(name)}" if name and self.env.delayed_name_removal else ""


def _span(expr: ast.Expr) -> ast.Span:
    while isinstance(expr, ast.Paren):
        expr = expr.expr
    return expr.span


def _quantile_text(value: float) -> str:
    """As OpenMetrics writes a label ``quantile``."""
    text = go_g(value)
    return text if math.isnan(value) or math.isinf(value) or "." in text or "e" in text else text + ".0"


def _quantile(call: Call) -> Operator:
    quantile, buckets = call.operators
    place, child = call.node.args
    return Unique(call.env, Estimated(call.env, buckets, child, [(quantile, place)]))


def _quantiles(call: Call) -> Operator:
    buckets, *quantiles = call.operators
    child, _, *places = call.node.args
    numbers = list(zip(quantiles, places, strict=True))
    return Unique(call.env, Estimated(call.env, buckets, child, numbers, label=call.texts[0]))


def _fraction(call: Call) -> Operator:
    lower, upper, buckets = call.operators
    first, last, child = call.node.args
    numbers = [(lower, first), (upper, last)]
    return Unique(call.env, Estimated(call.env, buckets, child, numbers, fraction=True))


def _of_native(name: str, op: int, doc: str) -> Function:
    def build(call: Call) -> Operator:
        scratch = Scratch()

        def describe(tile: Cells) -> Cells:
            values, payload = np.empty(tile.values.shape), tile.payload
            if payload is None:
                return Cells(tile.first_row, values, np.zeros(tile.present.shape, np.bool_))
            bits = tile.values.view(np.uint64)

            def kernel(row: int, end: int, whole: NDArray[np.int64], real: NDArray[np.float64]) -> int:
                return describe_native(op, bits, tile.present, payload, row, end, whole, real, values)

            scratch.rows(tile, kernel)
            return Cells(tile.first_row, values, tile.present & is_boxed(bits))

        return unique(call.env, Mapped(call.env, call.operators[0], describe))

    return Function(name=name, arg_types=(VECTOR,), doc=f"{doc} Nothing for floats.", build=build)


FUNCTIONS: Final = (
    Function(name="histogram_quantile", arg_types=(SCALAR, VECTOR), build=_quantile,
             doc="The quantile, 0 to 1, of native histograms, and of those whose buckets are series with a label le."),
    Function(name="histogram_quantiles", arg_types=(VECTOR, STRING, SCALAR, SCALAR), variadic=9, experimental=True,
             build=_quantiles,
             doc="Several quantiles, told apart by a label of the given name."),
    Function(name="histogram_fraction", arg_types=(SCALAR, SCALAR, VECTOR), build=_fraction,
             doc="The share of observations between two values."),
    _of_native("histogram_avg", OF_AVERAGE, "The average of a native histogram's observations."),
    _of_native("histogram_count", OF_COUNT, "How many observations a native histogram has."),
    _of_native("histogram_sum", OF_SUM, "The sum of a native histogram's observations."),
    _of_native("histogram_stddev", OF_DEVIATION,
               "The estimated standard deviation of a native histogram's observations."),
    _of_native("histogram_stdvar", OF_VARIANCE, "The estimated variance of a native histogram's observations."),
)
