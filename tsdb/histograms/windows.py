"""Windows of a downsampling tier (`tsdb.model.tiers`) that have native histograms."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tsdb.histograms.row import WIDTH
from tsdb.histograms.size_kernels import widest
from tsdb.histograms.window_kernels import DONE, OUTPUT_FULL, ROWS, ROWS_TOO_SMALL, USED, histogram_windows

_LOOKED_AT_BYTES: Final = 1 << 25
"""Of rows that the kernel adds in one call, about: some 10 ms."""
_RESULT_BYTES: Final = 1 << 20
"""Of results for which there is room at first."""


def put_histograms(begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64],
                   values: NDArray[np.float64], payload: NDArray[np.uint8], resolution: int,
                   window_begin: NDArray[np.int64], window_end: NDArray[np.int64], window_ts: NDArray[np.int64],
                   out: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Sets the fields of windows with histograms in `out` f64[12, room], which `window_kernels.windows` has filled; the
    other arguments are as there (`resolution` in ms, window_begin:window_end of `window_ts` are a row's windows).

    Boxed values among the samples begin:end lead to `payload` u8[]; those of `out` lead to the result: the same, and
    sums behind it.
    """
    change = np.zeros(values.size + 1, np.int32)
    np.add.at(change, begin, 1)
    np.add.at(change, end, -1)
    inside = change.cumsum()[:-1] > 0
    size = WIDTH + 4 * (max(1, widest(values[None], inside[None], payload)) + 8)
    rows, made, state = np.empty((ROWS, size)), np.empty(_RESULT_BYTES, np.uint8), np.zeros(4, np.int64)
    while (reason := histogram_windows(begin, end, ts, values, payload, resolution, _LOOKED_AT_BYTES // (8 * size),
                                       window_begin, window_end, window_ts, out, rows, made, state)) != DONE:
        if reason == OUTPUT_FULL:
            larger = np.empty(2 * made.size, np.uint8)
            larger[: state[USED]] = made[: state[USED]]
            made = larger
        elif reason == ROWS_TOO_SMALL:
            size *= 2
            rows = np.empty((ROWS, size))
    return np.concatenate((payload, made[: state[USED]]))
