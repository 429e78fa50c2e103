"""Range functions with parameters, and rarer ones: quantiles, deviations, regression, smoothing, times of samples."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import ExecutionError
from tsdb.promql.ast import ValueType
from tsdb.promql.functions.function import MATRIX, SCALAR, Call, Function
from tsdb.promql.functions.histogram_ranges import ignored
from tsdb.promql.functions.range_call import OfHistogramTile, RangeCall, Windows
from tsdb.promql.kernels.rare_range_kernels import (
    DERIV,
    MAD,
    PREDICT,
    QUANTILE,
    SMOOTH,
    TS_FIRST,
    TS_LAST,
    TS_MAX,
    TS_MIN,
    over_time_rare,
)
from tsdb.promql.number_text import go_g
from tsdb.promql.operators.cells import scalar_values
from tsdb.promql.operators.vector import Cells


class Statistic(RangeCall):
    """A function with up to two scalars."""

    def __init__(self, call: Call, op: int, of_histograms: OfHistogramTile | None = ignored) -> None:
        super().__init__(call, op, rescans=True, of_histograms=of_histograms)
        self._operators = call.operators
        self._parameters: list[NDArray[np.float64]] = []

    def _begin(self) -> None:
        self._parameters = [scalar_values(operator) for operator in self._operators]

    def _compute(self, windows: Windows, steps: slice, values: NDArray[np.float64], present: NDArray[np.bool_]) -> int:
        every, longest = self.env.steps, windows[-1].size
        nothing, step = np.zeros(values.shape[1]), max(every.step, 0)
        first, second, *_ = [*(values[steps] for values in self._parameters), nothing, nothing]
        return over_time_rare(self.op, *windows[:-2], every.start + steps.start * step, step, first, second,
                              *windows[-2:], np.empty(longest), np.empty(longest), values, present)


class Quantile(Statistic):
    """A warning names quantiles that are none."""

    def _saw(self, cells: Cells) -> None:
        used = self._parameters[0][cells.present.any(axis=0)]
        for value in np.unique(used[~((used >= 0) & (used <= 1))]).tolist():
            text = f"PromQL warning: quantile value should be between 0 and 1, got {go_g(value)}"
            self.env.annotations.warn(text, self.span)


class Smoothing(Statistic):
    """Raises ExecutionError where a factor is not between 0 and 1."""

    def _begin(self) -> None:
        super()._begin()
        if len(self.source.series()):
            for what, values in zip(("smoothing", "trend"), self._parameters, strict=True):
                wrong = values[(values <= 0) | (values >= 1)]
                if wrong.size:
                    raise ExecutionError(f"invalid {what} factor. Expected: 0 < {what[0]}f < 1, got: {wrong[0]:f}")


def _row(name: str, op: int, doc: str, *arg_types: ValueType, kind: type[Statistic] = Statistic,
         experimental: bool = False, each_step: bool = False, tiles: OfHistogramTile | None = ignored) -> Function:
    """`tiles`: what becomes of those with histograms."""
    def build(call: Call) -> Statistic:
        return kind(call, op, tiles)

    return Function(name=name, arg_types=arg_types or (MATRIX,), experimental=experimental, each_step=each_step,
                    build=build, doc=doc)


FUNCTIONS: Final = (
    _row("quantile_over_time", QUANTILE, "The quantile, 0 to 1, of the samples, interpolated between neighbours.",
         SCALAR, MATRIX, kind=Quantile),
    _row("mad_over_time", MAD, "The median absolute deviation from the samples' median.", experimental=True),
    _row("deriv", DERIV, "The slope per second, by linear regression."),
    _row("predict_linear", PREDICT, "The value so many seconds after the evaluation time, by linear regression.",
         MATRIX, SCALAR, each_step=True),
    _row("double_exponential_smoothing", SMOOTH, "Smoothed by a smoothing and a trend factor, both between 0 and 1 "
         "(Holt's linear method).", MATRIX, SCALAR, SCALAR, kind=Smoothing, experimental=True),
    _row("ts_of_first_over_time", TS_FIRST, "When the oldest sample was taken, in seconds since 1970.",
         experimental=True, tiles=None),
    _row("ts_of_last_over_time", TS_LAST, "When the newest sample was taken, in seconds since 1970.",
         experimental=True, tiles=None),
    _row("ts_of_min_over_time", TS_MIN, "When the smallest sample was taken, the last of equal ones, in seconds since "
         "1970.", experimental=True),
    _row("ts_of_max_over_time", TS_MAX, "When the largest sample was taken, the last of equal ones, in seconds since "
         "1970.", experimental=True),
)
