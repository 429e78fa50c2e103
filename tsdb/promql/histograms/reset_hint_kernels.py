# mypy: disable-error-code="no-any-return,assignment,arg-type,call-overload,operator"
"""Counter reset hints of native histograms that have none, found by comparing each with the one before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.histograms.sum_kernels import NOT_RESET, RESET, UNKNOWN
from tsdb.kernels.registry import kernel
from tsdb.model.native_histograms import HINT_SHIFT
from tsdb.promql.histograms.decoded_kernels import (
    DONE,
    HINT_OF,
    PLACE,
    ROW,
    ROWS_TOO_SMALL,
    TIRED,
    histogram_at,
    survey,
    was_reset,
)


@kernel("int64(int64[::1], int64[::1], int64[::1], float64[::1], int64[::1], uint8[::1], int64, int64[:, ::1], "
        "float64[:, ::1], int64[::1], float64[:, ::1], int64[::1])", stage="later")
def set_reset_hints(begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64],
                    values: NDArray[np.float64], starts: NDArray[np.int64], payload: NDArray[np.uint8], limit: int,
                    facts: NDArray[np.int64], slots: NDArray[np.float64], tags: NDArray[np.int64],
                    scratch: NDArray[np.float64], state: NDArray[np.int64]) -> int:
    """Sets hints in the payload, of each row's histograms but the first. Arguments, what it returns and `state` as of
    `rate_kernels.histogram_rates`."""
    looked = 0
    for row in range(state[ROW], begin.size):
        state[ROW] = row
        if looked > limit:
            return TIRED
        count = survey(values, begin[row], end[row], payload, False, facts, tags)
        looked += 2 * count
        for k in range(1, count):
            if facts[HINT_OF, k] != UNKNOWN:
                continue
            reset = was_reset(k, ts, values, starts, payload, facts, slots, tags, scratch[0])
            if reset < 0:
                return ROWS_TOO_SMALL
            at = histogram_at(values[facts[PLACE, k]])
            if at != histogram_at(values[facts[PLACE, k - 1]]):
                payload[at + 4] |= np.uint8((RESET if reset else NOT_RESET) << HINT_SHIFT)
    return DONE
