"""The series that a reader has met: their canonical keys, as rows that batches take some of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.exposition.series_cache import resized
from tsdb.ingest.exposition.series_keys import KeyedRows
from tsdb.model.batch import Batch

FULL = 1 << 30
"""Bytes of keys that are remembered; offsets in a batch are u32."""


class SeriesRows:
    """Numbers series from 0 on. Several numbers may be the same series."""

    def __init__(self) -> None:
        self.count = 0
        self._keys = np.empty(1 << 16, np.uint8)
        self._size = 0
        self._hash = np.empty(1024, np.uint64)
        self._offset = np.empty(1024, np.uint32)
        self._length = np.empty(1024, np.uint32)

    @property
    def full(self) -> bool:
        """It is time to begin with new ones."""
        return self._size > FULL

    def add(self, rows: KeyedRows) -> int:
        """Takes rows whose keys stand one behind the other; returns the number of the first."""
        first, count, size = self.count, rows.row_length.size, rows.keys.size
        if self._size + size > self._keys.size:
            self._keys = resized(self._keys, 2 * (self._size + size))
        if first + count > self._hash.size:
            length = 2 * (first + count)
            self._hash, self._offset = resized(self._hash, length), resized(self._offset, length)
            self._length = resized(self._length, length)
        self._keys[self._size : self._size + size] = rows.keys
        self._hash[first : first + count] = rows.row_hash
        self._offset[first : first + count] = rows.row_offset + np.uint32(self._size)
        self._length[first : first + count] = rows.row_length
        self.count, self._size = first + count, self._size + size
        return first

    def batch(self, numbers: NDArray[np.integer], ts: NDArray[np.int64], values: NDArray[np.uint64], *,
              payload: NDArray[np.uint8] | None = None, start_ts: NDArray[np.int64] | None = None) -> Batch:
        """A batch of history: of each sample the number of its series, ms, and bits."""
        here = np.zeros(self.count, np.bool_)
        here[numbers] = True
        some = np.flatnonzero(here)
        row = np.empty(self.count, np.uint32)
        row[some] = np.arange(some.size, dtype=np.uint32)
        return Batch(self._keys[: self._size], self._hash[some], self._offset[some], self._length[some],
                     row[numbers], ts, values, history=True, payload=payload, start_ts=start_ts)
