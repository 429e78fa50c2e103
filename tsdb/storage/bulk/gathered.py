"""Samples in memory, in the order in which they came, and sorted as the source of a block."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tsdb.model.batch import Batch
from tsdb.model.native_histograms import is_boxed, only_floats
from tsdb.storage.block import Chunks, SeriesLabels
from tsdb.storage.block.encoding import encode
from tsdb.storage.block.histogram_encoding import encode_kinds
from tsdb.storage.bulk import sorting_kernels
from tsdb.storage.head import arena, layout
from tsdb.storage.head.series_table import SeriesTable
from tsdb.storage.starts.runs import StartRuns
from tsdb.storage.upkeep.cutting import series_labels

SAMPLE_BYTES = 64
"""Of memory for each sample: as it came, and sorted."""
AT_ONCE, HISTOGRAMS_AT_ONCE = 200_000, 20_000
"""Samples that are encoded at once."""


class Gathered:
    """For one thread."""

    def __init__(self, secret: NDArray[np.uint64]) -> None:
        """`secret` u64[2]: what keys of batches are hashed with."""
        self._table = SeriesTable(secret, arena.reserve("records", layout.MAX_SERIES, layout.HEAD))
        self.clear()

    def clear(self) -> None:
        """Samples go; series stay known."""
        self._slots: list[NDArray[np.int32]] = []
        self._ts: list[NDArray[np.int64]] = []
        self._values: list[NDArray[np.uint64]] = []
        self._starts: list[NDArray[np.int64] | None] = []
        self._payload: list[NDArray[np.uint8]] = []
        self._payload_bytes = 0
        self.samples = 0

    @property
    def bytes(self) -> int:
        """Of memory that the samples take, about."""
        return self.samples * SAMPLE_BYTES + 2 * self._payload_bytes

    def add(self, batch: Batch, newest: int) -> int:
        """Takes the samples that are not newer than `newest` (ms); how many. Raises Corruption for a key that is not
        canonical, Unavailable for too many series."""
        table = self._table
        slots, missing = table.resolve(batch)
        if missing:
            table.create(batch.row_hash, batch.keys, batch.row_offset, batch.row_length, slots)
            table.logged()
            table.indexed(table.made, table.pairs_made)
        own, ts, values, starts = slots[batch.sample_row], batch.ts, batch.values, batch.start_ts
        if batch.payload is None:
            values = only_floats(values)
        else:
            values = values + np.uint64(self._payload_bytes) * is_boxed(values)
            self._payload.append(batch.payload)
            self._payload_bytes += batch.payload.size
        if ts.size and int(ts.max()) > newest:
            kept = ts <= newest
            own, ts, values = own[kept], ts[kept], values[kept]
            starts = None if starts is None else starts[kept]
        self._slots.append(own)
        self._ts.append(ts)
        self._values.append(values)
        self._starts.append(starts)
        self.samples += ts.size
        return int(ts.size)

    def sorted(self) -> Sorted | None:
        """Of samples of a series with equal times the first one. None: there are no samples."""
        if not self.samples:
            return None
        slots, ts, values = np.concatenate(self._slots), np.concatenate(self._ts), np.concatenate(self._values)
        starts = None
        if any(part is not None for part in self._starts):
            starts = np.concatenate([np.zeros(own.size, np.int64) if part is None else part
                                     for own, part in zip(self._ts, self._starts, strict=True)])
        payload = np.concatenate(self._payload) if self._payload else None
        return Sorted(self._table, slots, ts, values, starts, payload)


class Sorted:
    """`BlockSource`: samples of the series of a table."""

    def __init__(self, table: SeriesTable, slots: NDArray[np.int32], ts: NDArray[np.int64],
                 values: NDArray[np.uint64], starts: NDArray[np.int64] | None,
                 payload: NDArray[np.uint8] | None) -> None:
        """n samples in any order (i32[n], i64[n] ms, u64[n], i64[n] ms or None); boxed values are offsets in
        `payload`."""
        self._table, self._payload = table, payload
        self.mint, self.maxt = int(ts.min()), int(ts.max()) + 1
        counts = np.bincount(slots, minlength=table.size)
        self._slots = np.flatnonzero(counts).astype(np.int32)
        ends = np.cumsum(counts)
        place = ends - counts
        self._begin = place[self._slots]
        order = np.empty(ts.size, np.int64)
        unsorted = sorting_kernels.place(slots, ts, place.copy(), np.full(table.size, -(1 << 63), np.int64), order)
        if unsorted:
            order = np.lexsort((ts, slots))
        ts = ts[order]
        self._end = np.empty(self._slots.size, np.int64)
        kept = sorting_kernels.drop_repeated(self._begin, ends[self._slots], ts, order, self._end)
        self._ts, self._values = ts, values[order]
        self._starts = None if starts is None else starts[order]
        self.repeated = int(ts.size) - kept
        """Samples that are left out for a first one with the same time."""

    def series(self) -> SeriesLabels:
        return series_labels(self._table, self._slots)

    def chunks(self, order: NDArray[np.int32]) -> Iterator[Chunks | StartRuns]:
        begin, end = self._begin[order], self._end[order]
        samples = np.cumsum(end - begin)
        at_once = AT_ONCE if self._payload is None else HISTOGRAMS_AT_ONCE
        first = 0
        while first < order.size:
            before = int(samples[first - 1]) if first else 0
            past = max(first + 1, int(np.searchsorted(samples, before + at_once, side="right")))
            yield encode_kinds(begin[first:past], end[first:past], self._ts, self._values, self._payload, encode)
            first = past
        if self._starts is not None:
            yield StartRuns.of_samples(begin, end, self._ts, self._starts)
