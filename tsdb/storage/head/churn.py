"""Which metrics' series come and go: how many were made and removed over the last hour and the last day.

Counted in memory since the storage was opened, in buckets of ten minutes. Series that a start brings back are not
counted; one that comes back after it has left the head is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tsdb.storage.head import churn_kernels
from tsdb.storage.head.churn_kernels import OTHERS

if TYPE_CHECKING:
    from tsdb.storage.head.series_table import SeriesTable

BUCKET_S = 600
HOUR, DAY = 7, 145
"""Buckets: those of so many minutes, and the one that has begun."""
ROWS = 2048
"""Metrics that are told apart, and one row for all others."""
PLACES = 2 * ROWS
LONGEST = 200
"""Bytes of a metric's name that are kept."""

CREATED, REMOVED = range(2)
KINDS = 2


@dataclass(frozen=True, slots=True)
class Churned:
    """Of one metric."""

    metric: str
    created: int
    removed: int

    @property
    def total(self) -> int:
        return self.created + self.removed


class Churn:
    """Of one series table: `count` belongs to its thread, `top` to any. 2.9 MB where there are very many metrics, some
    1,400 bytes for each."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives Unix seconds."""
        self._clock = clock
        self.since = clock()
        """When counting began, Unix s."""
        self._lock = threading.Lock()
        self._bucket = int(self.since // BUCKET_S)
        self._used = 1
        self._places = np.zeros(PLACES, np.int32)
        self._hashes = np.zeros(ROWS, np.uint64)
        self._texts = np.zeros((ROWS, LONGEST), np.uint8)
        self._lengths = np.zeros(ROWS, np.uint16)
        self._counts = np.zeros((ROWS, KINDS, DAY), np.uint32)
        """u32[rows, kinds, buckets]; the n-th bucket of all time is at n % DAY."""

    def count(self, table: SeriesTable, slots: NDArray[np.int32], kind: int) -> None:
        """`slots` i32[] were CREATED, or REMOVED with their labels still there."""
        if not slots.size:
            return
        name = table.find_symbol("__name__")
        with self._lock:
            self._advance()
            if self._used == ROWS:
                self._forget_some()
            self._used = churn_kernels.count_churn(
                slots, kind, self._bucket % DAY, name, table.secret, table.labels, table.label_offset,
                table.label_count, table.pair_name, table.pair_value, table.symbol_bytes, table.symbol_offset,
                table.symbol_length, self._places, self._hashes, self._texts, self._lengths, self._used, self._counts,
            )

    def top(self, most: int, buckets: int) -> list[Churned]:
        """The `most` metrics with the most series created and removed over the last `buckets` (HOUR, DAY), the largest
        number first, then by name."""
        with self._lock:
            self._advance()
            recent = (self._bucket - np.arange(buckets)) % DAY
            counts = self._counts[: self._used][:, :, recent].sum(axis=2, dtype=np.int64)
            totals = counts.sum(axis=1)
            totals[OTHERS] = 0
            rows = np.flatnonzero(totals)
            if rows.size > most:
                rows = rows[np.argpartition(totals[rows], rows.size - most)[rows.size - most :]]
            found = [Churned(self._text(row), *counts[row].tolist()) for row in rows.tolist()]
        return sorted(found, key=lambda each: (-each.total, each.metric))

    def _text(self, row: int) -> str:
        length = int(self._lengths[row])
        text = self._texts[row, : min(length, LONGEST)].tobytes().decode(errors="ignore")
        return text if length <= LONGEST else text + "…"

    def _advance(self) -> None:
        """Empties the buckets that begin. A clock that goes back stays in the bucket that it was in."""
        now = int(self._clock() // BUCKET_S)
        for bucket in range(max(self._bucket + 1, now - DAY + 1), now + 1):
            self._counts[: self._used, :, bucket % DAY] = 0
        self._bucket = max(self._bucket, now)

    def _forget_some(self) -> None:
        """All rows are taken: only the half with the most churn stays, what the others had goes to the row of all
        others."""
        totals = self._counts.sum(axis=(1, 2), dtype=np.int64)
        order = 1 + np.argsort(totals[1:], kind="stable")
        gone, kept = order[: ROWS // 2], np.sort(order[ROWS // 2 :])
        kept = kept[totals[kept] > 0]
        self._counts[OTHERS] += self._counts[gone].sum(axis=0, dtype=np.uint32)
        self._used = 1 + kept.size
        for column in (self._hashes, self._texts, self._lengths, self._counts):
            column[1 : self._used] = column[kept]
            column[self._used :] = 0
        self._places[:] = 0
        churn_kernels.place_rows(self._hashes, self._places, self._used)
