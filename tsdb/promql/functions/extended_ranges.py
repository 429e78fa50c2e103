"""The functions that know anchored and smoothed ranges: ``rate(x[5m] anchored)``. Others refuse them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tsdb.promql.functions.function import Build, Call
from tsdb.promql.functions.histogram_ranges import compared_since
from tsdb.promql.functions.histogram_ranges import extended as extended_histograms
from tsdb.promql.functions.range_call import RangeCall, Windows
from tsdb.promql.functions.rates import CounterRate
from tsdb.promql.kernels.extended_range_kernels import CHANGES, DELTA, INCREASE, RATE, RESETS, extended


class Extended(RangeCall):
    """A change within such a range."""

    def __init__(self, call: Call, op: int) -> None:
        super().__init__(call, op)
        self._smoothed = call.samples.smoothed
        self._of_histograms = compared_since if op >= CHANGES else extended_histograms(self._smoothed)

    def _compute(self, windows: Windows, steps: slice, values: NDArray[np.float64], present: NDArray[np.bool_]) -> int:
        places = np.empty(windows[-1].size, np.int64)
        return extended(self.op, self._smoothed, *windows, self.window.before, places, values, present)


class ExtendedCounter(Extended, CounterRate):
    """The change of a counter, or a rate of it."""


def _of(kind: type[Extended], op: int) -> Build:
    return lambda call: kind(call, op)


_CHANGES: Final = {
    "rate": _of(ExtendedCounter, RATE), "increase": _of(ExtendedCounter, INCREASE), "delta": _of(Extended, DELTA),
}

EXTENDED: Final[Mapping[str, Mapping[str, Build]]] = {
    "anchored": _CHANGES | {"changes": _of(Extended, CHANGES), "resets": _of(Extended, RESETS)},
    "smoothed": _CHANGES,
}
"""By modifier and function, how the call is computed."""
