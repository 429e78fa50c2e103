"""Payloads of Python values, for tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tsdb.model.native_histograms import HEADER_BYTES, OFFSET_MASK, NativeHistogram, boxed, decode

Value = int | NativeHistogram
"""Bits of a float, or a histogram."""


def with_payload(values: Sequence[Value]) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """(u64[n], u8[]): histograms become boxed."""
    payload, out = bytearray(), []
    for value in values:
        if isinstance(value, NativeHistogram):
            out.append(boxed(len(payload)))
            payload += value.encode()
        else:
            out.append(value)
    return np.array(out, np.uint64), np.frombuffer(bytes(payload), np.uint8)


def plain(values: NDArray[np.uint64], payload: NDArray[np.uint8] | None) -> list[Value]:
    """The other way round."""
    if payload is None:
        return list(values.tolist())
    return [decode(payload, value & OFFSET_MASK) if value >= boxed(0) else value for value in values.tolist()]


def some_histogram(count: int, buckets: int = 3) -> NativeHistogram:
    """One of many that differ."""
    return NativeHistogram(2, float(count), count, zero_count=0, positive_spans=((0, buckets),),
                           positive=(count, *(0,) * (buckets - 1)))


assert len(some_histogram(1).encode()) >= HEADER_BYTES
