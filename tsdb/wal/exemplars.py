"""Exemplars as the log and the saved head have them: each names its series by key, so that it explains itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgpack
import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import Corruption

MAX_EXEMPLARS: Final = 1 << 14
"""Of one record."""


@dataclass(frozen=True, slots=True)
class ExemplarColumns:
    """n exemplars, in the order in which they were accepted."""

    keys: list[bytes]
    """Canonical keys of series (`tsdb.model.labels`)."""
    series: NDArray[np.uint32]
    """u32[n]: number of the key"""
    ts: NDArray[np.int64]
    """i64[n], ms"""
    values: NDArray[np.uint64]
    """u64[n], float bits"""
    labels: list[bytes]
    """Of each, encoded as a canonical key."""

    def pieces(self, most: int = MAX_EXEMPLARS) -> Iterator[ExemplarColumns]:
        """Those that fit into one record each."""
        for start in range(0, len(self.labels), most):
            rows = slice(start, start + most)
            numbers, series = np.unique(self.series[rows], return_inverse=True)
            yield ExemplarColumns([self.keys[number] for number in numbers.tolist()], series.astype(np.uint32),
                                  self.ts[rows], self.values[rows], self.labels[rows])

    def to_bytes(self) -> bytes:
        packed: bytes = msgpack.packb([self.keys, self.series.tobytes(), self.ts.tobytes(), self.values.tobytes(),
                                       self.labels])
        return packed

    @classmethod
    def from_bytes(cls, packed: bytes | memoryview) -> ExemplarColumns:
        """Raises Corruption."""
        try:
            keys, series, ts, values, labels = msgpack.unpackb(packed)
            columns = cls(list(keys), np.frombuffer(series, np.uint32), np.frombuffer(ts, np.int64),
                          np.frombuffer(values, np.uint64), list(labels))
        except (TypeError, ValueError, msgpack.exceptions.UnpackException) as problem:
            raise Corruption(f"malformed exemplars: {problem}") from None
        size = len(columns.labels)
        if not columns.series.size == columns.ts.size == columns.values.size == size \
                or int(columns.series.max(initial=0)) >= max(len(columns.keys), 1) \
                or not all(type(each) is bytes for each in (*columns.keys, *columns.labels)):
            raise Corruption(f"malformed exemplars: {size} of {len(columns.keys)} series")
        return columns
