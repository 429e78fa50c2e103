"""What range functions say of native histograms and start timestamps in their windows, as Prometheus words it."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tsdb.model.labels import METRIC_NAME
from tsdb.model.tiles import SeriesSet
from tsdb.promql.ast import Span
from tsdb.promql.histograms.range_kernels import (
    ADDED,
    AGGREGATED,
    COLLISION,
    IGNORED,
    MIXED_KINDS,
    MIXED_SCHEMAS,
    NOT_COUNTER,
    NOT_GAUGE,
    SUBTRACTED,
)
from tsdb.promql.kernels.start_time_kernels import OVERLAPPING
from tsdb.promql.literals import quote
from tsdb.promql.operators.groups import NO_SYMBOL, label_values
from tsdb.promql.operators.vector import Environment

_WITH_NAME: Final = (
    (MIXED_KINDS, "warning: encountered a mix of histograms and floats for metric name "),
    (NOT_COUNTER, "warning: this native histogram metric is not a counter: "),
    (NOT_GAUGE, "warning: this native histogram metric is not a gauge: "),
    (MIXED_SCHEMAS, "warning: vector contains a mix of histograms with exponential and custom buckets schemas for "
                    "metric name "),
    (OVERLAPPING, "warning: samples count since before earlier ones (overlapping start timestamps) for metric name "),
    (IGNORED, "info: ignored histograms in a range containing both floats and histograms for metric name "),
)
_WITHOUT_NAME: Final = (
    (COLLISION, "warning: conflicting counter resets during histogram aggregation"),
    (SUBTRACTED, "info: mismatched custom buckets were reconciled during subtraction"),
    (ADDED, "info: mismatched custom buckets were reconciled during addition"),
    (AGGREGATED, "info: mismatched custom buckets were reconciled during aggregation"),
)


def annotate(env: Environment, span: Span, series: SeriesSet, first_row: int, notes: NDArray[np.int64]) -> None:
    """Says what is noted, as bits of i64[rows], of the rows from `first_row` on of a range vector's series."""
    every = int(np.bitwise_or.reduce(notes)) if notes.size else 0
    if not every:
        return
    for bit, text in _WITHOUT_NAME:
        if every & bit:
            _say(env, text, span)
    if not any(every & bit for bit, _ in _WITH_NAME):
        return
    names = label_values(series, METRIC_NAME)[first_row : first_row + notes.size]
    for bit, text in _WITH_NAME:
        for symbol in np.unique(names[notes & bit != 0]).tolist():
            _say(env, text + quote("" if symbol == NO_SYMBOL else env.symbols.text(symbol)), span)


def _say(env: Environment, text: str, span: Span) -> None:
    say = env.annotations.warn if text.startswith("warning") else env.annotations.inform
    say(f"PromQL {text}", span)
