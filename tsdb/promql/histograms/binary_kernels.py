# mypy: disable-error-code="no-any-return,assignment,arg-type,operator,return-value,call-overload,index"
"""Binary operations of matched rows in which native histograms take part."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.histograms.row import HINT
from tsdb.histograms.row_kernels import GAUGE, divide, equal, load, room, scale, store
from tsdb.histograms.sum_kernels import COLLISION, INCOMPATIBLE, NO_ROOM, RECONCILED, add, subtract
from tsdb.kernels.intrinsics import bits_float, float_bits
from tsdb.kernels.registry import device, kernel
from tsdb.model.native_histograms import BOX, OFFSET_MASK
from tsdb.promql.histograms.trim_kernels import trim_lower, trim_upper
from tsdb.promql.kernels.binary_kernels import (
    ADD,
    COMPARE,
    DIV,
    EQUAL,
    GREATER,
    LESS,
    MUL,
    SUB,
    TRIM_LOWER,
    TRIM_UPPER,
    UNORDERED,
)

DONE, PAUSED, NARROW, FULL = range(4)
"""What `combine_histograms` returns."""
(NOTHING, FLOAT_FLOAT, FLOAT_HISTOGRAM, HISTOGRAM_FLOAT, HISTOGRAM_HISTOGRAM, BOUNDS_RECONCILED, RESETS_COLLIDED,
 SCHEMAS_DIFFER) = range(8)
"""What there is to say of a step: what the operator cannot be used between, or what happened."""
CELL, USED, PROGRESS = range(3)
"""`progress` i64[PROGRESS]: how many cells are done, how many bytes of the payload are written."""

_VALUES = "Array(float64, 2, 'C', readonly=True)"
_PRESENT = "Array(boolean, 2, 'C', readonly=True)"
_I64 = "Array(int64, 1, 'C', readonly=True)"
_PAYLOAD = "Array(uint8, 1, 'C', readonly=True)"
_FIRST_BOX, _OFFSET = np.uint64(BOX), np.uint64(OFFSET_MASK)
_AT_ONCE = 4096


@kernel(f"int64(int64, boolean, boolean, {_VALUES}, {_PRESENT}, {_PAYLOAD}, {_VALUES}, {_PRESENT}, {_PAYLOAD}, {_I64}, "
        f"{_I64}, float64[:, ::1], boolean[:, ::1], uint8[::1], float64[:, ::1], uint8[::1], int64[::1])",
        stage="later")
def combine_histograms(op: int, swapped: bool, return_bool: bool, many: NDArray[np.float64],
                       many_present: NDArray[np.bool_], many_payload: NDArray[np.uint8], one: NDArray[np.float64],
                       one_present: NDArray[np.bool_], one_payload: NDArray[np.uint8], many_row: NDArray[np.int64],
                       one_row: NDArray[np.int64], out: NDArray[np.float64], out_present: NDArray[np.bool_],
                       said: NDArray[np.uint8], rows: NDArray[np.float64], payload: NDArray[np.uint8],
                       progress: NDArray[np.int64]) -> int:
    """What `combine_rows` leaves to do, of the same arguments: the cells in which an operand is a histogram, and those
    of the operators that no float has.

    Comparisons keep the left operand, which leads to its own payload; what arithmetic makes leads to `payload` u8[], to
    which it is appended. said u8[steps] gets the last there is to say of a step. rows f64[3, WIDTH + 4 * capacity].
    DONE; or it is to be called again: PAUSED, with other `rows` of a larger capacity (NARROW), with a larger copy of
    `payload` (FULL)."""
    steps = out.shape[1]
    truth = op & 15
    compares = op >= COMPARE << 4
    a, b, work = rows[0], rows[1], rows[2]
    pause = np.int64(_AT_ONCE)
    for cell in range(progress[CELL], many_row.size * steps):
        pair, s = cell // steps, cell % steps
        progress[CELL] = cell
        if not (many_present[many_row[pair], s] and one_present[one_row[pair], s]):
            continue
        x, y = many[many_row[pair], s], one[one_row[pair], s]
        if swapped:
            x, y = y, x
        left, right = float_bits(x) >= _FIRST_BOX, float_bits(y) >= _FIRST_BOX
        if not left and not right:
            if op == TRIM_LOWER or op == TRIM_UPPER:
                out_present[pair, s] = False
                said[s] = FLOAT_FLOAT
            continue
        if pause == 0:
            return PAUSED
        pause -= 1
        of_left, of_right = (one_payload, many_payload) if swapped else (many_payload, one_payload)
        if left and not load(of_left, np.int64(float_bits(x) & _OFFSET), a):
            return NARROW
        if right and not load(of_right, np.int64(float_bits(y) & _OFFSET), b if left else a):
            return NARROW
        out_present[pair, s] = True
        if left and right and compares and (truth == EQUAL or truth == (LESS | GREATER | UNORDERED)):
            holds = equal(a, b) == (truth == EQUAL)
            out[pair, s] = np.float64(holds) if return_bool else x
            out_present[pair, s] = holds or return_bool
            continue
        result = _compute(op, left, right, a, b, work, x, y)
        if result == NO_ROOM:
            return NARROW
        if result > NOTHING:
            said[s] = result
        if result > NOTHING and result != BOUNDS_RECONCILED:
            out_present[pair, s] = False
            continue
        if payload.size - progress[USED] < room(a):
            return FULL
        out[pair, s] = bits_float(np.uint64(progress[USED]) | _FIRST_BOX)
        progress[USED] = store(a, payload, progress[USED])
    progress[CELL] = many_row.size * steps
    return DONE


@device
def _compute(op: int, left: bool, right: bool, a: NDArray[np.float64], b: NDArray[np.float64],
             work: NDArray[np.float64], x: float, y: float) -> int:
    """Arithmetic, into `a`, which holds the histogram where only one operand is one. What there is to say, or NO_ROOM.
    """
    if left and right:
        if op != ADD and op != SUB:
            return HISTOGRAM_HISTOGRAM
        result = add(a, b, work) if op == ADD else subtract(a, b, work)
        if result == NO_ROOM:
            return NO_ROOM
        if op == SUB:
            a[HINT] = GAUGE
        if result == INCOMPATIBLE:
            return SCHEMAS_DIFFER
        if result & COLLISION:
            return RESETS_COLLIDED
        return BOUNDS_RECONCILED if result & RECONCILED else NOTHING
    if op == MUL:
        scale(a, y if left else x)
    elif right:
        return FLOAT_HISTOGRAM
    elif op == DIV:
        divide(a, y)
    elif op == TRIM_UPPER:
        trim_upper(a, y)
    elif op == TRIM_LOWER:
        trim_lower(a, y)
    else:
        return HISTOGRAM_FLOAT
    return NOTHING
