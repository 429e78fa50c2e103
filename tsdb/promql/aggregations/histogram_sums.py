"""Sums and averages of native histograms: one row of buckets for each group and step, whatever the series are many."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.model.labels import METRIC_NAME
from tsdb.promql.aggregations.aggregation import Grouping
from tsdb.promql.histograms.aggregate_kernels import (
    ARENA,
    DONE,
    HAS_FLOAT,
    HAS_HISTOGRAM,
    INCOMPATIBLE,
    MET_INCOMPATIBLE,
    MET_RECONCILED,
    ROW,
    SAW_NO_RESET,
    SAW_RESET,
    accumulate_histograms,
    finish_histograms,
)
from tsdb.promql.literals import quote
from tsdb.promql.operators.groups import NO_SYMBOL, label_values
from tsdb.promql.operators.vector import Cells

_CELLS_AT_ONCE = 1 << 13
"""For a kernel: some milliseconds."""
_FIRST_ROW, _FIRST_ARENA = 1024, 1 << 16
"""Numbers of a row, and of all rows, that there is room for at first."""


class HistogramSums:
    """What a sum, or an average, makes of the native histograms among its cells.

    Raises LimitExceeded where the sums are larger than the query's byte budget.
    """

    def __init__(self, call: Grouping, groups: int, *, average: bool) -> None:
        self._env, self._place, self._child, self._average = call.env, call.place, call.child, average
        shape = (groups, call.env.steps.count)
        self._reserved = 0
        self._reserve(21 * groups * call.env.steps.count + 8 * (3 * _FIRST_ROW + _FIRST_ARENA))
        self._scratch, self._arena = np.empty((3, _FIRST_ROW)), np.empty(_FIRST_ARENA)
        self._used = self._result_bytes = 0
        self._begin, self._length = np.full(shape, -1), np.zeros(shape, np.int32)
        self._number, self._state = np.zeros(shape), np.zeros(shape, np.uint8)

    def _reserve(self, size: int) -> None:
        self._env.context.reserve(size)
        self._reserved += size

    def take(self, tile: Cells, group: NDArray[np.int64], floats: NDArray[np.uint8]) -> None:
        """Adds a tile's histograms to the groups i64[rows] of its rows. floats u8[groups, steps]: not 0 where a group
        has met floats in the tiles before."""
        assert tile.payload is not None
        met = np.unique(group)
        mixed = (floats[met] > 0) & (self._state[met] & INCOMPATIBLE == 0)
        self._state[met] |= np.where(mixed, HAS_FLOAT, 0).astype(np.uint8)
        bits, notes = tile.values.view(np.uint64), np.zeros(len(group), np.uint8)
        at_once = max(1, _CELLS_AT_ONCE // max(1, bits.shape[1]))
        cursor = np.array([0, 0, self._used], np.int64)
        while cursor[ROW] < len(group):
            end = min(len(group), int(cursor[ROW]) + at_once)
            result = accumulate_histograms(self._average, bits, tile.present, tile.payload, group, end, cursor,
                                           self._scratch, self._arena, self._begin, self._length, self._number,
                                           self._state, notes)
            if result == ARENA:
                self._reserve(self._arena.nbytes)
                arena = np.empty(2 * self._arena.size)
                arena[: cursor[2]] = self._arena[: cursor[2]]
                self._arena = arena
            elif result != DONE:
                self._reserve(self._scratch.nbytes)
                self._scratch = np.empty((3, 2 * self._scratch.shape[1]))
            self._env.context.check()
        self._used = int(cursor[2])
        self._say(notes, tile.first_row)

    def _say(self, notes: NDArray[np.uint8], first_row: int) -> None:
        annotations = self._env.annotations
        rows = first_row + np.flatnonzero(notes & MET_INCOMPATIBLE)
        if rows.size:
            series = self._child.series()
            for symbol in np.unique(label_values(series, METRIC_NAME)[rows]).tolist():
                name = "" if symbol == NO_SYMBOL else series.symbols.text(symbol)
                annotations.warn("PromQL warning: vector contains a mix of histograms with exponential and custom "
                                 f"buckets schemas for metric name {quote(name)}", self._place)
        if (notes & MET_RECONCILED).any():
            annotations.inform("PromQL info: mismatched custom buckets were reconciled during aggregation", self._place)

    def result(self, floats: Cells) -> Cells:
        """The cells of some groups, of which those without histograms are given."""
        part = slice(floats.first_row, floats.first_row + len(floats.values))
        state, annotations = self._state[part], self._env.annotations
        native, incompatible = state & HAS_HISTOGRAM > 0, state & INCOMPATIBLE > 0
        mixed = native & ((state & HAS_FLOAT > 0) | (floats.present & ~incompatible))
        if mixed.any():
            annotations.warn("PromQL warning: encountered a mix of histograms and floats for aggregation", self._place)
        wanted = native & ~mixed & ~incompatible
        if ((state & (SAW_RESET | SAW_NO_RESET) == SAW_RESET | SAW_NO_RESET) & wanted).any():
            annotations.warn("PromQL warning: conflicting counter resets during histogram aggregation", self._place)
        present = (floats.present & ~native) | wanted
        if not wanted.any():
            return Cells(floats.first_row, floats.values, present)
        bits = floats.values.view(np.uint64).copy()
        payload = np.empty(0, np.uint8)
        for _ in range(2):
            size = finish_histograms(self._average, self._arena, self._begin[part], self._length[part],
                                     self._number[part], state, wanted, payload, bits)
            if not payload.size:
                self._reserve(size - self._result_bytes)
                self._result_bytes = size
                payload = np.empty(size, np.uint8)
        return Cells(floats.first_row, bits.view(np.float64), present, payload[:size].copy())

    def close(self) -> None:
        """Lets go of the sums, and gives the bytes back to the query's budget."""
        self._arena, self._scratch = np.empty(0), np.empty((3, 0))
        self._env.context.reserve(-self._reserved)
        self._reserved = 0
