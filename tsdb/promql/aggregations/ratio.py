"""limit_ratio: a share of the series, the same ones at each step and in each query, as their labels' hash decides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import ExecutionError
from tsdb.model.tiles import SeriesSet
from tsdb.promql.aggregations.aggregation import Aggregation, Grouping
from tsdb.promql.ast import ValueType
from tsdb.promql.kernels.label_hash_kernels import hash_label_sets
from tsdb.promql.number_text import go_g
from tsdb.promql.operators.cells import VectorOperator, scalar_values
from tsdb.promql.operators.groups import take
from tsdb.promql.operators.vector import Cells


class LimitRatio(VectorOperator):
    """The rows whose hash, 0 to 1, is below the ratio; for a negative one those at or above 1 + ratio, so that r and
    r - 1 share all rows between them."""

    def __init__(self, call: Grouping) -> None:
        super().__init__(call.env)
        self._node, self._child, self._parameter = call.node, call.child, call.parameter
        self._rows = np.zeros(0, np.int64)
        self._share = self._ratios = np.zeros(0)

    def _label(self) -> SeriesSet:
        series = self._child.series()
        ratio = self._ratio()
        share = hash_series(series).astype(np.float64) / 2.0**64
        ever = (share < ratio.max()) | ((share >= 1.0 + ratio.min()) & (ratio.min() < 0))
        self._rows = np.flatnonzero(ever)
        self._share, self._ratios = share[self._rows], ratio
        return series if self._rows.size == len(series) else take(series, self._rows)

    def _ratio(self) -> NDArray[np.float64]:
        """f64[steps], within -1 to 1. Raises ExecutionError for NaN."""
        ratio = scalar_values(self._parameter)
        if np.isnan(ratio).any():
            raise ExecutionError("Ratio value is NaN")
        for value, border in ((ratio.max(), 1.0), (ratio.min(), -1.0)):
            if abs(value) > 1.0 and (value > 0) == (border > 0):
                self.env.annotations.warn(
                    f"PromQL warning: ratio value should be between -1 and 1, got {go_g(float(value))}, capping to "
                    f"{go_g(border)}", self._node.param.span if self._node.param else None)
        return ratio.clip(-1.0, 1.0)

    def cells(self) -> Iterator[Cells]:
        self.series()
        for tile in self._child.cells():
            begin, end = np.searchsorted(self._rows, (tile.first_row, tile.first_row + len(tile.values)))
            if begin == end:
                continue
            inside = self._rows[begin:end] - tile.first_row
            share = self._share[begin:end, np.newaxis]
            chosen = np.where(self._ratios >= 0, share < self._ratios, share >= 1.0 + self._ratios)
            yield Cells(int(begin), tile.values[inside], tile.present[inside] & chosen, tile.payload)


def hash_series(series: SeriesSet) -> NDArray[np.uint64]:
    """u64[n]: Prometheus' hash of each label set."""
    symbols, place = np.unique(np.concatenate([series.names, series.values]), return_inverse=True)
    texts = [text.encode(errors="surrogateescape") for text in series.symbols.texts(symbols.tolist())]
    lengths = np.array([len(text) for text in texts], np.int64)
    begins = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    names, values = np.split(place.astype(np.int64), [series.names.size])
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths[names] + lengths[values] + 8)])
    longest = int((before[series.offsets[1:]] - before[series.offsets[:-1]]).max(initial=0))
    hashes = np.empty(len(series), np.uint64)
    hash_label_sets(series.offsets, names, values, begins, np.frombuffer(b"".join(texts), np.uint8),
                    np.empty(longest, np.uint8), hashes)
    return hashes


AGGREGATIONS: Final = (
    Aggregation(name="limit_ratio", parameter=ValueType.SCALAR, experimental=True, build=LimitRatio,
                doc="A share of the series, between 0 and 1, always the same ones; r and r - 1 complement each other."),
)
