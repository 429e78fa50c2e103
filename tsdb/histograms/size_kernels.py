# mypy: disable-error-code="no-any-return,assignment,arg-type,operator,return-value,call-overload"
"""How large the rows (`tsdb.histograms.row`) of native histograms in cells must be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import float_bits
from tsdb.kernels.registry import kernel
from tsdb.kernels.varint_kernels import take_varint
from tsdb.model.native_histograms import BOX, HEADER_BYTES, OFFSET_MASK

_VALUES = "Array(float64, 2, 'C', readonly=True)"
_PRESENT = "Array(boolean, 2, 'C', readonly=True)"
_PAYLOAD = "Array(uint8, 1, 'C', readonly=True)"
FIRST_BOX, OFFSET = np.uint64(BOX), np.uint64(OFFSET_MASK)


@kernel(f"int64({_VALUES}, {_PRESENT}, {_PAYLOAD})", stage="later")
def widest(values: NDArray[np.float64], present: NDArray[np.bool_], payload: NDArray[np.uint8]) -> int:
    """The most buckets or custom values, empty buckets, too, of the histograms in a payload u8[] to which those of the
    values f64[rows, n] lead that are present (bool[rows, n]). -1: none does."""
    most = np.int64(-1)
    for row in range(values.shape[0]):
        for i in range(values.shape[1]):
            bits = float_bits(values[row, i])
            if not present[row, i] or bits < FIRST_BOX:
                continue
            at = np.int64(bits & OFFSET) + HEADER_BYTES
            buckets = np.int64(0)
            for _ in range(2):
                spans, at = take_varint(payload, at)
                for _ in range(np.int64(spans)):
                    _, at = take_varint(payload, at)
                    length, at = take_varint(payload, at)
                    buckets += np.int64(length)
            custom, at = take_varint(payload, at)
            most = max(most, buckets, np.int64(custom))
    return most
