"""Which series of the head and of blocks are the same: joined by the fingerprints of their canonical keys."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tsdb.storage.head import arena
from tsdb.storage.head.head import Head
from tsdb.storage.head.layout import MAX_SERIES
from tsdb.storage.reading import join_kernels
from tsdb.storage.reading.sources import BlockRows

AT_ONCE = 10_000
"""Slots fingerprinted by one kernel call: at most 10 ms."""
MOST_KEPT = 200
"""Joins that are kept, each of at most `LARGEST_KEPT` series: some 5 MB together."""
LARGEST_KEPT = 1000

Joined = tuple[Sequence[NDArray[np.int64]], Sequence[NDArray[np.int64]]]


class HeadFingerprints:
    """Fingerprints of the head's series: computed when a query over blocks asks for them, then kept. Thread-safe."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self._lock = threading.Lock()
        self._refs = arena.reserve("fingerprint-refs", MAX_SERIES, np.uint64)
        self._known = arena.reserve("fingerprints", (MAX_SERIES, 2), np.uint64)

    def of(self, slots: NDArray[np.int32]) -> NDArray[np.uint64]:
        """u64[n, 2] of slots (i32[n]). The caller is among the head's readers."""
        table = self._head.table
        out = np.empty((slots.size, 2), np.uint64)
        for start in range(0, slots.size, AT_ONCE):
            part = slots[start : start + AT_ONCE]
            key = np.empty(int(table.key_length[part].max()) + 256, np.uint8)
            with self._lock:
                join_kernels.fingerprint_slots(part, self._head.records, table.key_bytes, table.key_offset,
                                               table.key_length, self._refs, self._known, key,
                                               np.empty(8, np.uint64), out[start : start + AT_ONCE])
        return out


class Join:
    """Rows of a result by fingerprint, numbered as they are added."""

    def __init__(self, secret: NDArray[np.uint64]) -> None:
        """`secret` u64[2]: nobody can craft labels that collide in the table."""
        self._secret = secret
        self._known = np.empty((0, 2), np.uint64)
        self._table = np.empty(0, np.int32)
        self.rows = 0

    def add(self, fingerprints: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Rows i64[n] of fingerprints u64[n, 2]; new ones get the next rows in their order."""
        rows = np.empty(len(fingerprints), np.int64)
        self._make_room(self.rows + rows.size)
        self.rows = join_kernels.join(self._secret, fingerprints, self._table, self._known, self.rows, rows)
        return rows

    def _make_room(self, rows: int) -> None:
        if rows > len(self._known):
            known = np.empty((max(rows, 2 * self.rows), 2), np.uint64)
            known[: self.rows] = self._known[: self.rows]
            self._known = known
        if 2 * rows > self._table.size:
            self._table = np.full(1 << (2 * rows).bit_length(), -1, np.int32)
            known = self._known[: self.rows]
            join_kernels.join(self._secret, known, self._table, self._known, 0, np.empty(self.rows, np.int64))


class Joins:
    """Joins series of the head with those of blocks. A small join is kept until series come or go, for the same query
    comes again and again. Any thread may ask."""

    def __init__(self, head: Head) -> None:
        self._table = head.table
        self._fingerprints = HeadFingerprints(head)
        self._kept: dict[tuple[object, ...], Joined] = {}

    def of(self, slots: NDArray[np.int32], found: Sequence[BlockRows]) -> Joined:
        """For each block, the rows of the result that its series are (i64[n]), and which of its series no slot and no
        block before has: those get the rows behind the slots, in their order. Not to be changed. The caller is among
        the head's readers. Corruption."""
        if slots.size + sum(each.rows.size for each in found) > LARGEST_KEPT:
            return self._joined(slots, found)
        table = self._table
        key = (table.generation, table.made, table.removed, slots.tobytes(),
               *((each.block.index.ulid, each.rows.tobytes()) for each in found))
        joined = self._kept.get(key)
        if joined is None:
            joined = self._joined(slots, found)
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[key] = joined
        return joined

    def _joined(self, slots: NDArray[np.int32], found: Sequence[BlockRows]) -> Joined:
        join = Join(self._table.secret)
        join.add(self._fingerprints.of(slots))
        rows, fresh = [], []
        for each in found:
            before = join.rows
            rows.append(join.add(each.fingerprints()))
            fresh.append(np.flatnonzero(rows[-1] >= before))
        return rows, fresh
