"""Columns that samples are decoded into, and the batches that they become."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.histogram_kernels import DETAILS, FIELDS, HISTOGRAM_PROBLEMS
from tsdb.ingest.histogram_messages import REASONS
from tsdb.kernels.hash_kernels import hash_rows
from tsdb.model.batch import Batch
from tsdb.prometheus_data.notes import Notes

SAMPLES = 1 << 17
"""Of a batch at most; a chunk has up to 65,535."""
PAYLOAD_BYTES = 8 << 20


class Columns:
    """Room for the samples of one batch, and scratch for histograms."""

    def __init__(self) -> None:
        self.grow_samples(SAMPLES)
        self.payload = np.empty(0, np.uint8)
        self.scratch = np.empty(1 << 12, np.uint8)
        self.fields = np.zeros(FIELDS, np.int64)
        self.details = np.zeros(DETAILS, np.int64)
        self.refused = np.zeros((2, HISTOGRAM_PROBLEMS), np.int64)
        """Row 0: histograms that are not valid, by what is wrong."""
        self.grow_lists(512)

    def grow_samples(self, capacity: int) -> None:
        """Makes room for so many; what there is goes."""
        self.row = np.empty(capacity, np.uint32)
        self.ts = np.empty(capacity, np.int64)
        self.values = np.empty(capacity, np.uint64)
        self.starts = np.zeros(capacity, np.int64)

    def grow_lists(self, capacity: int) -> None:
        """Makes room for so many buckets, spans and custom values of a histogram."""
        self.spans = np.zeros((2, capacity, 2), np.int64)
        self.lists = np.zeros((3, capacity), np.int64)
        self.changes = np.zeros((2, 2, capacity), np.int64)

    def grow_payload(self) -> None:
        self.payload = np.empty(max(PAYLOAD_BYTES, 2 * self.payload.size), np.uint8)

    def note_refused(self, notes: Notes) -> None:
        for code in np.flatnonzero(self.refused[0]).tolist():
            notes.refused_histograms[REASONS[code]] += int(self.refused[0, code])
        self.refused[0] = 0


def make_batch(keys: NDArray[np.uint8], offset: NDArray[np.uint32], length: NDArray[np.uint32],
               row: NDArray[np.uint32], ts: NDArray[np.int64], values: NDArray[np.uint64],
               payload: NDArray[np.uint8] | None, starts: NDArray[np.int64] | None,
               secret: NDArray[np.uint64]) -> Batch:
    """A batch of history. `keys` is the caller's no more; what else it is given is copied before."""
    hashes = np.empty(offset.size, np.uint64)
    readable = keys.view()
    readable.flags.writeable = False
    hash_rows(secret, readable, offset, length, hashes)
    return Batch(keys, hashes, offset, length, row, ts, values, history=True, payload=payload, start_ts=starts)
