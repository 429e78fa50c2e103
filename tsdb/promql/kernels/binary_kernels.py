"""Binary operations of matched rows."""
# mypy: disable-error-code="call-overload,operator,assignment,no-any-return"

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.registry import kernel

ADD, SUB, MUL, DIV, MOD, POW, ATAN2, TRIM_UPPER, TRIM_LOWER = range(9)
"""Trimming is of native histograms (`tsdb.promql.histograms`); what floats become is no matter."""
COMPARE = 16
LESS, EQUAL, GREATER, UNORDERED = 1, 2, 4, 8
"""A comparison is COMPARE << 4 | the outcomes for which it is true."""

_VALUES = "Array(float64, 2, 'C', readonly=True)"
_PRESENT = "Array(boolean, 2, 'C', readonly=True)"
_I64 = "Array(int64, 1, 'C', readonly=True)"


@kernel(f"void(int64, boolean, boolean, boolean, {_VALUES}, {_PRESENT}, {_VALUES}, {_PRESENT}, {_I64}, {_I64}, "
        "float64[:, ::1], boolean[:, ::1])", stage="query")
def combine_rows(op: int, swapped: bool, keep_many: bool, return_bool: bool, many: NDArray[np.float64],
                 many_present: NDArray[np.bool_], one: NDArray[np.float64], one_present: NDArray[np.bool_],
                 many_row: NDArray[np.int64], one_row: NDArray[np.int64], out: NDArray[np.float64],
                 out_present: NDArray[np.bool_]) -> None:
    """Row i of `out` is row many_row[i] of `many` (the left operand unless `swapped`) op row one_row[i] of `one`.

    All f64 with bool presence, [rows, steps]; the rows are i64[pairs]. A cell of `out` is present where both are. For a
    comparison without `return_bool` it must hold, too; then the cell is the left operand, or many's if `keep_many`.
    """
    steps = out.shape[1]
    truth = op & 15
    for i in range(many_row.size):
        a, a_present = many[many_row[i]], many_present[many_row[i]]
        b, b_present = one[one_row[i]], one_present[one_row[i]]
        x, y = (b, a) if swapped else (a, b)
        o, p = out[i], out_present[i]
        for s in range(steps):
            p[s] = a_present[s] & b_present[s]
        if op >= COMPARE << 4:
            less, equal = (truth & LESS) != 0, (truth & EQUAL) != 0
            greater, unordered = (truth & GREATER) != 0, (truth & UNORDERED) != 0
            if return_bool:
                for s in range(steps):
                    o[s] = np.float64(((x[s] < y[s]) & less) | ((x[s] == y[s]) & equal) | ((x[s] > y[s]) & greater)
                                      | (((x[s] != x[s]) | (y[s] != y[s])) & unordered))
            else:
                for s in range(steps):
                    p[s] &= (((x[s] < y[s]) & less) | ((x[s] == y[s]) & equal) | ((x[s] > y[s]) & greater)
                             | (((x[s] != x[s]) | (y[s] != y[s])) & unordered))
                kept = a if keep_many else x
                for s in range(steps):
                    o[s] = kept[s]
        elif op == ADD:
            for s in range(steps):
                o[s] = x[s] + y[s]
        elif op == SUB:
            for s in range(steps):
                o[s] = x[s] - y[s]
        elif op == MUL:
            for s in range(steps):
                o[s] = x[s] * y[s]
        elif op == DIV:
            for s in range(steps):
                o[s] = x[s] / y[s]
        elif op == MOD:
            for s in range(steps):
                o[s] = np.fmod(x[s], y[s])
        elif op == POW:
            for s in range(steps):
                o[s] = x[s] ** y[s]
        else:
            for s in range(steps):
                o[s] = math.atan2(x[s], y[s])
