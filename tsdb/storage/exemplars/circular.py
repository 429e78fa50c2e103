"""The newest exemplars of all series together, in a ring; as CircularExemplarStorage of Prometheus (tsdb/exemplar.go).

Series are known by canonical key, so that exemplars stay when their series leaves the head and are joined with what
comes when it is back. An exemplar takes 24 bytes of columns and its labels, about 100 bytes in all; a series, while it
has any, its key and about 150.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tsdb.wal import ExemplarColumns

AT_ONCE = 4096
"""Exemplars of one piece of `columns`."""
Place = tuple[int, int, bytes]
"""Of an exemplar in the order of its series': ts in ms, float bits, labels encoded as a canonical key."""
_NONE = -1
_FLOAT = struct.Struct("<d")
_BITS = struct.Struct("<Q")


@dataclass(slots=True)
class StoredSeries:
    """The exemplars of a series, oldest first."""

    key: bytes
    ts: list[int]
    """ms"""
    values: list[float]
    labels: list[bytes]
    """Encoded as a canonical key."""


@dataclass(frozen=True, slots=True)
class ExemplarStatistics:
    """Gauges, and counters since the start."""

    most: int = 0
    """How many are kept."""
    stored: int = 0
    series: int = 0
    """That have some."""
    oldest_ts: int | None = None
    """Of the one that goes next, ms; None: there is none."""
    appended: int = 0
    out_of_order: int = 0


class CircularExemplars:
    """Written by one thread at a time; read by any."""

    def __init__(self, most: int) -> None:
        """`most` are kept, then the oldest goes for each new one; 0: none are."""
        self._lock = threading.Lock()
        self._most = max(most, 0)
        self._added = 0  # ever
        self._series = np.empty(self._most, np.int32)  # pages of it are taken from the system when they are written
        self._following = np.empty(self._most, np.int32)
        self._ts = np.empty(self._most, np.int64)
        self._value = np.empty(self._most, np.uint64)
        self._labels: list[bytes] = []
        self._next = 0
        self._number: dict[bytes, int] = {}  # of each series
        self._keys: list[bytes] = []
        self._oldest: list[int] = []
        self._newest: list[int] = []
        self._free: list[int] = []  # numbers of series that have none any more
        self.appended = 0
        self.out_of_order = 0
        """Refused as such."""

    @property
    def most(self) -> int:
        return self._most

    def resize(self, most: int) -> None:
        """From now on `most` are kept: the newest of those that there are. Others read and write meanwhile: the new
        ring is filled beside the old one."""
        with self._lock:
            if max(most, 0) == self._most:
                return
            whole, before = self._whole(), self._added
        made = CircularExemplars(most)
        made._append(whole)
        with self._lock:
            added = self._added - before
            if added > self._most:  # some of these are gone already: of what was before them none may stay
                made = CircularExemplars(most)
            if added:
                made._append(self._whole(added))
            self._most, self._next = made._most, made._next
            self._series, self._following, self._ts, self._value = made._series, made._following, made._ts, made._value
            self._labels, self._number, self._keys = made._labels, made._number, made._keys
            self._oldest, self._newest, self._free = made._oldest, made._newest, made._free

    def newest(self, key: bytes) -> Place | None:
        """Of the newest exemplar of a series."""
        with self._lock:
            return self._newest_of(key)

    def _newest_of(self, key: bytes) -> Place | None:
        number = self._number.get(key)
        if number is None:
            return None
        at = self._newest[number]
        return int(self._ts[at]), int(self._value[at]), self._labels[at]

    def append(self, columns: ExemplarColumns) -> None:
        """Takes exemplars that `judge` has accepted, in their order."""
        with self._lock:
            self._append(columns)
        self.appended += len(columns.labels)

    def restore(self, columns: ExemplarColumns) -> None:
        """Takes those of the log, or of a saved head, that are not there yet."""
        with self._lock:
            for series, ts, bits, labels in _rows(columns):
                key = columns.keys[series]
                place, newest = (ts, bits, labels), self._newest_of(key)
                if place != newest and follows(place, newest):
                    self._add(key, ts, bits, labels)

    def _append(self, columns: ExemplarColumns) -> None:
        for series, ts, bits, labels in _rows(columns):
            self._add(columns.keys[series], ts, bits, labels)

    def _add(self, key: bytes, ts: int, bits: int, labels: bytes) -> None:
        self._added += 1
        if self._most == 0:
            return
        at = self._next
        full = at < len(self._labels)
        number = self._number.get(key)
        before = _NONE
        if number is not None:
            before = self._newest[number]
            self._following[before] = at
        if full:
            gone = int(self._series[at])
            following = int(self._following[at])
            if following == _NONE:
                del self._number[self._keys[gone]]
                self._keys[gone] = b""
                self._free.append(gone)
            else:
                self._oldest[gone] = following
        if number is None:
            number = self._new_series(key, at)
        self._newest[number] = at
        self._series[at], self._following[at] = number, _NONE
        self._ts[at], self._value[at] = ts, bits
        if full:
            self._labels[at] = labels
        else:
            self._labels.append(labels)
        self._next = (at + 1) % self._most

    def _new_series(self, key: bytes, at: int) -> int:
        if self._free:
            number = self._free.pop()
            self._keys[number], self._oldest[number] = key, at
        else:
            number = len(self._keys)
            self._keys.append(key)
            self._oldest.append(at)
            self._newest.append(at)
        self._number[key] = number
        return number

    def keys(self) -> list[bytes]:
        """Of the series that have exemplars now."""
        with self._lock:
            return list(self._number)

    def select(self, keys: Sequence[bytes], mint: int, maxt: int) -> list[StoredSeries]:
        """Exemplars with mint <= ts <= maxt (ms) of those of the series that have any."""
        found = []
        with self._lock:
            for key in keys:
                number = self._number.get(key)
                if number is None:
                    continue
                series = StoredSeries(key, [], [], [])
                at = self._oldest[number]
                while at != _NONE:
                    ts = int(self._ts[at])
                    if mint <= ts <= maxt:
                        series.ts.append(ts)
                        series.values.append(float(self._value[at : at + 1].view(np.float64)[0]))
                        series.labels.append(self._labels[at])
                    at = int(self._following[at])
                if series.ts:
                    found.append(series)
        return found

    def columns(self) -> Iterator[ExemplarColumns]:
        """All that there are now, the one that goes next first, in pieces."""
        with self._lock:
            whole = self._whole()
        yield from whole.pieces(AT_ONCE)

    def _whole(self, newest: int | None = None) -> ExemplarColumns:
        size = len(self._labels)
        first = self._next if size == self._most else 0
        skip = 0 if newest is None else max(size - newest, 0)
        order = np.roll(np.arange(size), -first)[skip:]
        return ExemplarColumns(self._keys.copy(), self._series[order].astype(np.uint32), self._ts[order],
                               self._value[order], (self._labels[first:] + self._labels[:first])[skip:])

    def statistics(self) -> ExemplarStatistics:
        with self._lock:
            size = len(self._labels)
            oldest = None
            if size:
                oldest = int(self._ts[self._next if size == self._most else 0])
            return ExemplarStatistics(self._most, size, len(self._number), oldest, self.appended, self.out_of_order)


def follows(new: Place, newest: Place | None) -> bool:
    """Whether an exemplar may come behind another one, the newest of its series: later or, of one time, with a greater
    value or, of one value, greater labels. (Prometheus compares hashes of the labels.)"""
    if newest is None or new[0] != newest[0]:
        return newest is None or new[0] > newest[0]
    value, other = (_FLOAT.unpack(_BITS.pack(bits))[0] for bits in (new[1], newest[1]))
    return not value < other and (value != other or new[2] > newest[2])


def _rows(columns: ExemplarColumns) -> Iterator[tuple[int, int, int, bytes]]:
    return zip(columns.series.tolist(), columns.ts.tolist(), columns.values.tolist(), columns.labels, strict=True)
