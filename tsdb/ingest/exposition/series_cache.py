"""Arrays of what is remembered of one target's lines: for `series_cache_kernels`, which says what is in them."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.exposition.series_cache_kernels import FIELDS, FLAGS, OFFSET, SLOT, UNKNOWN_SLOT, rebuild_cache

T = TypeVar("T", bound=np.generic)


class SeriesCache:
    """Entries 1 to `count` - 1, by text. Some 40 bytes for each, and the text."""

    def __init__(self, secret: NDArray[np.uint64]) -> None:
        self.secret = secret
        self.count = 1
        self.texts = np.empty(0, np.uint8)
        self.fields = np.zeros((2, FIELDS), np.int32)
        self.refs = np.zeros(2, np.uint64)
        self.tracked = np.zeros(2, np.uint8)
        """u8[capacity]: 1 where the disappearance of the series is to be marked."""
        self.table = np.zeros(4, np.int32)
        self.renumbered = 0
        """How often entries have been."""

    @property
    def text_bytes(self) -> int:
        return int(self.fields[self.count, OFFSET])

    @property
    def memory(self) -> int:
        """Bytes of all arrays."""
        return sum(each.nbytes for each in (self.texts, self.fields, self.refs, self.tracked, self.table))

    @property
    def slack(self) -> float:
        """How many times as large as needed the arrays are."""
        return max(self.fields.shape[0] / (self.count + 64), self.texts.size / (self.text_bytes + 4096))

    def text(self, entries: NDArray[np.integer]) -> list[bytes]:
        """Texts of some entries."""
        begins, ends = self.fields[entries, OFFSET].tolist(), self.fields[entries + 1, OFFSET].tolist()
        first = min(begins, default=0)
        raw = self.texts[first : max(ends, default=0)].tobytes()
        return [raw[begin - first : end - first] for begin, end in zip(begins, ends, strict=True)]

    def reserve(self, entries: int, text_bytes: int) -> None:
        """Makes room for so many entries and bytes of text in all."""
        self._resize(max(entries, self.count + 1) + 1, max(text_bytes, self.text_bytes))
        if self.table.size < self._places():
            self.drop(np.zeros(self.count, np.bool_))

    def drop(self, gone: NDArray[np.bool_]) -> None:
        """Forgets entries, bool[count]. Those that stay are renumbered."""
        keep = (~gone).view(np.uint8)
        self.renumbered += 1
        self.table = np.zeros(self._places(), np.int32)
        self.count = int(rebuild_cache(self.secret, keep, self.texts, self.fields, self.refs, self.tracked, self.table,
                                       np.empty(self.count, np.int32), self.count))

    def trim(self) -> None:
        """Gives back room that is not needed."""
        entries, size = self.count + self.count // 16 + 16, self.text_bytes + self.text_bytes // 16 + 256
        self._resize(min(entries, self.fields.shape[0]), min(size, self.texts.size))
        if self.table.size > self._places():
            self.drop(np.zeros(self.count, np.bool_))

    def forget_slots(self) -> None:
        """No series has a slot any more."""
        self.fields[: self.count, SLOT] = UNKNOWN_SLOT

    def flagged(self, flags: int) -> NDArray[np.bool_]:
        """bool[count]: entries with one of these flags."""
        found: NDArray[np.bool_] = (self.fields[: self.count, FLAGS] & flags) != 0
        return found

    def _places(self) -> int:
        """Size of the table: three quarters of it suffice for all there is room for."""
        return 1 << (4 * self.fields.shape[0] // 3).bit_length()

    def _resize(self, capacity: int, text_bytes: int) -> None:
        self.texts = resized(self.texts, text_bytes)
        self.fields = resized(self.fields, capacity)
        self.refs = resized(self.refs, capacity)
        self.tracked = resized(self.tracked, capacity)


def resized(array: NDArray[T], length: int) -> NDArray[T]:
    """The first `length` rows of an array, in a new one where it has another number of them."""
    if array.shape[0] == length:
        return array
    made = np.empty((length, *array.shape[1:]), array.dtype)
    common = min(length, array.shape[0])
    made[:common] = array[:common]
    return made
