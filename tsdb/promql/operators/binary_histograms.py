"""Binary operators where native histograms are among the operands: what becomes of cells, and what there is to say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.histograms.row import WIDTH
from tsdb.promql import ast
from tsdb.promql.histograms.binary_kernels import (
    BOUNDS_RECONCILED,
    CELL,
    DONE,
    FLOAT_FLOAT,
    FLOAT_HISTOGRAM,
    FULL,
    HISTOGRAM_FLOAT,
    HISTOGRAM_HISTOGRAM,
    NARROW,
    PROGRESS,
    RESETS_COLLIDED,
    SCHEMAS_DIFFER,
    USED,
    combine_histograms,
)
from tsdb.promql.kernels.binary_kernels import COMPARE, TRIM_LOWER, TRIM_UPPER, combine_rows
from tsdb.promql.literals import quote
from tsdb.promql.operators.vector import Cells, Environment

_NO_PAYLOAD = np.zeros(0, np.uint8)
_INCOMPATIBLE = {FLOAT_FLOAT: ("float", "float"), FLOAT_HISTOGRAM: ("float", "histogram"),
                 HISTOGRAM_FLOAT: ("histogram", "float"), HISTOGRAM_HISTOGRAM: ("histogram", "histogram")}
_OPERATIONS = {"+": "addition", "-": "subtraction"}


class Combination:
    """One arithmetic operator or comparison, of tile after tile."""

    def __init__(self, op: int, return_bool: bool, swapped: bool, node: ast.Binary | ast.Unary, env: Environment,
                 ) -> None:
        self._op, self._return_bool, self._swapped, self._node, self._env = op, return_bool, swapped, node, env
        self._said = np.zeros(env.steps.count, np.uint8)
        self._capacity = 160
        self._reserved = 0

    def combine(self, first_row: int, many: Cells, one: Cells, many_row: NDArray[np.int64], one_row: NDArray[np.int64],
                *, keep_many: bool = False) -> Cells:
        """As `combine_rows`. The payload of the last tile must not be needed any more."""
        shape = many_row.size, self._env.steps.count
        out = Cells(first_row, np.empty(shape), np.empty(shape, np.bool_))
        combine_rows(self._op, self._swapped, keep_many, self._return_bool, many.values, many.present, one.values,
                     one.present, many_row, one_row, out.values, out.present)
        if many.payload is not None or one.payload is not None or self._op in (TRIM_LOWER, TRIM_UPPER):
            self._combine_histograms(out, many, one, many_row, one_row)
        return out

    def _combine_histograms(self, out: Cells, many: Cells, one: Cells, many_row: NDArray[np.int64],
                            one_row: NDArray[np.int64]) -> None:
        payload = self._make_room(_NO_PAYLOAD, 1 << 12)
        rows = np.empty((3, WIDTH + 4 * self._capacity))
        progress = np.zeros(PROGRESS, np.int64)
        while True:
            self._env.context.check()
            status = combine_histograms(
                self._op, self._swapped, self._return_bool, many.values, many.present,
                _NO_PAYLOAD if many.payload is None else many.payload, one.values, one.present,
                _NO_PAYLOAD if one.payload is None else one.payload, many_row, one_row, out.values, out.present,
                self._said, rows, payload, progress)
            if status == DONE:
                break
            if status == NARROW:
                self._capacity *= 2
                rows = np.empty((3, WIDTH + 4 * self._capacity))
            elif status == FULL:
                share = int(progress[CELL]) / out.values.size
                payload = self._make_room(payload, int(payload.size * min(16.0, max(2.0, 1.2 / max(share, 0.01)))))
        if self._op >= COMPARE << 4:
            left = one if self._swapped else many
            out.payload = None if self._return_bool else left.payload
        elif progress[USED]:
            out.payload = payload

    def _make_room(self, payload: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        self._env.context.reserve(size)
        larger = np.empty(size, np.uint8)
        larger[: payload.size] = payload
        self._env.context.reserve(-self._reserved)
        self._reserved = size
        return larger

    def close(self) -> None:
        """Says what there is to say of all tiles: of each step, only the last, as Prometheus does."""
        self._env.context.reserve(-self._reserved)
        self._reserved = 0
        op, say = self._node.op, self._env.annotations
        for met in np.unique(self._said).tolist():
            if met in _INCOMPATIBLE:
                left, right = _INCOMPATIBLE[met]
                say.inform(f"PromQL info: incompatible sample types encountered for binary operator {quote(op)}: "
                           f"{left} {op} {right}", self._node.span)
            elif met == BOUNDS_RECONCILED:
                say.inform(f"PromQL info: mismatched custom buckets were reconciled during {_OPERATIONS[op]}",
                           self._node.span)
            elif met == RESETS_COLLIDED:
                say.warn(f"PromQL warning: conflicting counter resets during histogram {_OPERATIONS[op]}",
                         self._node.span)
            elif met == SCHEMAS_DIFFER:
                say.warn(f"PromQL warning: incompatible bucket layout encountered for binary operator {op}",
                         self._node.span)
