"""Rows of cells put into the rows of another matrix."""
# mypy: disable-error-code="return-value,assignment"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.registry import kernel


@kernel("int64(Array(float64, 2, 'C', readonly=True), Array(boolean, 2, 'C', readonly=True), "
        "Array(int64, 1, 'C', readonly=True), float64[:, ::1], boolean[:, ::1])", stage="query")
def merge_rows(values: NDArray[np.float64], present: NDArray[np.bool_], target: NDArray[np.int64],
               out_values: NDArray[np.float64], out_present: NDArray[np.bool_]) -> int:
    """Copies the present cells of row i into row target[i] of the output, and leaves the others there alone.

    values f64 and present bool[rows, steps], target i64[rows]; out f64 and bool[targets, steps]. Returns the first step
    where a target had a cell already (the new one wins), or -1.
    """
    steps = values.shape[1]
    conflict = steps
    for row in range(target.size):
        v, p = values[row], present[row]
        out_v, out_p = out_values[target[row]], out_present[target[row]]
        both = np.uint8(0)
        for step in range(steps):
            both |= np.uint8(p[step]) & np.uint8(out_p[step])
        if both != 0:
            for step in range(steps):
                if p[step] and out_p[step] and step < conflict:
                    conflict = step
        for step in range(steps):
            out_v[step] = v[step] if p[step] else out_v[step]
        for step in range(steps):
            out_p[step] |= p[step]
    return conflict if conflict < steps else -1
