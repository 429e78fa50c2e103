"""The collector: series without a sample in the head are taken out, and what they used is used again.

Nobody waits for anybody. A series that is *buried* cannot be found any more; readers that may have found it before
look at it until they leave `SeriesTable.readers`. Then its slot is free, with the room of its key and its label list.
Label pairs that only such series had can still be found until then, so that a text keeps its symbol; now they and
their texts go the same way: out of the tables, wait for the readers, free.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tsdb.model.summary import Summary
from tsdb.storage.head import collector_kernels, deleted, start_times
from tsdb.storage.head.churn import REMOVED
from tsdb.storage.head.head import Head
from tsdb.storage.head.index import Index
from tsdb.storage.head.layout import NO_TS, WINDOW_MS

LOOK_AT_ONCE = 100_000
"""Slots looked at between two commits: a few ms."""
BURY_AT_ONCE = 5_000
"""Series buried between two commits, and pairs removed: some 10 ms at the most."""
FREE_AT_ONCE = 20_000
MOST_LABELS = 1 << 17
"""Room for pairs: more than a series has labels."""
NONE = np.zeros(0, np.int32)


class Appender(Protocol):
    """`tsdb.storage.appender.Appender`, as far as it is needed."""

    @property
    def holds_samples(self) -> bool: ...

    def run_between_commits(self, work: Callable[[], None]) -> Future[Any]: ...


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection did."""

    series: int
    """Taken out."""
    seconds: float


@dataclass(frozen=True, slots=True)
class _Buried:
    """Waits for the readers of an epoch."""

    epoch: int
    slots: NDArray[np.int32]
    pairs: NDArray[np.int32]
    """Had no series any more; they may have one again."""


@dataclass(frozen=True, slots=True)
class _Removed:
    """Likewise; taken out of the tables."""

    epoch: int
    pairs: NDArray[np.int32]
    symbols: NDArray[np.int32]


class Collector:
    """Of one head. Its methods belong to one thread, the one that also refreshes the index."""

    def __init__(self, head: Head, index: Index) -> None:
        self._head = head
        self._table = head.table
        self._index = index
        self._waiting: deque[_Buried | _Removed] = deque()
        self.seconds = Summary()
        """How long collections took."""

    @property
    def waiting(self) -> bool:
        """Whether there is something to be freed once readers have left."""
        return bool(self._waiting)

    def collect(self, appender: Appender) -> Collected:
        """Takes out the series that have no sample in the head (open chunks, windows, late samples) and none within the
        last hour of the newest sample, in steps between commits. Raises StorageError where the appender has ended."""
        began = time.perf_counter()
        self.recycle(appender)
        head, table = self._head, self._table
        slots: list[NDArray[np.int32]] = []
        pairs: list[NDArray[np.int32]] = []
        at = 0
        out_slots, out_pairs = np.empty(BURY_AT_ONCE, np.int32), np.empty(MOST_LABELS, np.int32)

        def bury() -> None:
            nonlocal at
            if appender.holds_samples or table.unlogged().size or head.max_ts == NO_TS:
                at = table.size  # not now
                return
            late = np.zeros(table.size, np.uint8)
            late[head.late.slots()] = 1
            end = min(at + LOOK_AT_ONCE, table.size)
            at, found, ended = collector_kernels.bury(
                at, end, head.max_ts - WINDOW_MS // 2, late, head.records, head.windows.table.chains, table.secret,
                table.counters, table.table, table.key_bytes, table.key_offset, table.key_length, table.labels,
                table.label_offset, table.label_count, table.pair_uses, table.pair_name, table.name_values,
                out_slots, out_pairs,
            )
            slots.append(out_slots[:found].copy())
            table.churn.count(table, slots[-1], REMOVED)
            pairs.append(out_pairs[:ended].copy())

        try:
            while at < table.size:
                appender.run_between_commits(bury).result()
        finally:
            found = np.concatenate([NONE, *slots])
            if found.size:
                self._index.refresh(force=True)
                table.forget()
                self._waiting.append(_Buried(table.readers.advance(), found, np.concatenate([NONE, *pairs])))
        self.recycle(appender)
        collected = Collected(found.size, time.perf_counter() - began)
        self.seconds.observe(collected.seconds)
        return collected

    def recycle(self, appender: Appender) -> None:
        """Frees what no reader looks at any more. Costs nothing where there is nothing. Raises as `collect`."""
        while self._waiting and self._waiting[0].epoch < self._table.readers.oldest():
            gone = self._waiting.popleft()
            if isinstance(gone, _Removed):
                self._free_names(appender, gone)
                continue
            self._free_slots(appender, gone.slots)
            removed = self._remove_pairs(appender, gone.pairs)
            if removed is not None:
                self._waiting.append(removed)

    def _free_slots(self, appender: Appender, slots: NDArray[np.int32]) -> None:
        head, table = self._head, self._table

        def forget() -> None:
            with head.lock:
                deleted.forget(head)
            start_times.forget(head)

        appender.run_between_commits(forget).result()
        for start in range(0, slots.size, FREE_AT_ONCE):
            part = slots[start : start + FREE_AT_ONCE]

            def free(part: NDArray[np.int32] = part) -> None:
                collector_kernels.free_slots(part, table.counters, table.free, table.key_bytes, table.key_offset,
                                             table.key_length, table.labels, table.label_offset, table.label_count)

            appender.run_between_commits(free).result()

    def _remove_pairs(self, appender: Appender, pairs: NDArray[np.int32]) -> _Removed | None:
        table = self._table
        gone, symbols = [NONE], [NONE]
        for start in range(0, pairs.size, BURY_AT_ONCE):
            part = pairs[start : start + BURY_AT_ONCE]
            out = np.empty(2 * part.size, np.int32)

            def remove(part: NDArray[np.int32] = part, out: NDArray[np.int32] = out) -> None:
                removed, found = collector_kernels.remove_pairs(
                    part, table.secret, table.pair_table, table.pair_name, table.pair_value, table.pair_uses,
                    table.symbol_table, table.symbol_bytes, table.symbol_offset, table.symbol_length,
                    table.symbol_uses, out,
                )
                gone.append(part[:removed])
                symbols.append(out[:found])

            appender.run_between_commits(remove).result()
        every = np.concatenate(gone)
        if not every.size:
            return None
        table.forget()
        return _Removed(table.readers.advance(), every, np.concatenate(symbols))

    def _free_names(self, appender: Appender, gone: _Removed) -> None:
        table = self._table
        table.forget()  # a reader of before may have kept their texts
        for start in range(0, max(gone.pairs.size, gone.symbols.size), FREE_AT_ONCE):
            part = slice(start, start + FREE_AT_ONCE)

            def free(part: slice = part) -> None:
                collector_kernels.free_names(gone.pairs[part], gone.symbols[part], table.counters, table.free,
                                             table.pair_value, table.symbol_bytes, table.symbol_offset,
                                             table.symbol_length)

            appender.run_between_commits(free).result()
