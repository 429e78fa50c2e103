"""The common ``*_over_time``, changes and resets: one number for the samples of the range."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tsdb.promql.functions.function import MATRIX, Call, Function
from tsdb.promql.functions.histogram_ranges import compared, ignored, kept, summed
from tsdb.promql.functions.range_call import OfHistogramTile, RangeCall, Windows
from tsdb.promql.kernels.range_kernels import (
    AVG,
    CHANGES,
    COUNT,
    FIRST,
    LAST,
    MAX,
    MIN,
    PRESENT,
    RESETS,
    STDDEV,
    STDVAR,
    SUM,
    over_time,
)


class OverTime(RangeCall):
    def _compute(self, windows: Windows, steps: slice, values: NDArray[np.float64], present: NDArray[np.bool_]) -> int:
        return over_time(self.op, *windows, np.empty(windows[-1].size, np.int64), values, present)


def presence(call: Call) -> RangeCall:
    """1 where a series has a sample in the range."""
    return OverTime(call, PRESENT, keep_name=True)


def _row(name: str, op: int, doc: str, *, keep_name: bool = False, rescans: bool = False, experimental: bool = False,
         tiles: OfHistogramTile | None = ignored) -> Function:
    """`tiles`: what becomes of those with histograms."""
    def build(call: Call) -> OverTime:
        return OverTime(call, op, keep_name=keep_name, rescans=rescans, of_histograms=tiles)

    return Function(name=name, arg_types=(MATRIX,), experimental=experimental, build=build, doc=doc)


FUNCTIONS: Final = (
    _row("avg_over_time", AVG, "The average of the samples.", tiles=summed),
    _row("sum_over_time", SUM, "The sum of the samples.", tiles=summed),
    _row("min_over_time", MIN, "The smallest sample."),
    _row("max_over_time", MAX, "The largest sample."),
    _row("count_over_time", COUNT, "How many samples there are.", tiles=None),
    _row("present_over_time", PRESENT, "1 where there is a sample.", tiles=None),
    _row("last_over_time", LAST, "The newest sample; the metric's name stays.", keep_name=True, tiles=kept),
    _row("first_over_time", FIRST, "The oldest sample; the metric's name stays.", keep_name=True, experimental=True,
         tiles=kept),
    _row("stddev_over_time", STDDEV, "The standard deviation of the samples, as of a whole population.", rescans=True),
    _row("stdvar_over_time", STDVAR, "The variance of the samples, as of a whole population.", rescans=True),
    _row("changes", CHANGES, "How often the value changes.", tiles=compared),
    _row("resets", RESETS, "How often a counter falls.", tiles=compared),
)
