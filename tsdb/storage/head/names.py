"""Names of labels, and values of each, of all series: sorted once and kept, for label pairs are only ever added."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tsdb.storage.head.head import Head
from tsdb.storage.head.index import Index

MOST_KEPT = 20
"""Lists that are kept, each of at most `LONGEST_KEPT` texts: some 20 MB if all are so long."""
LONGEST_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Kept:
    """A list, right as long as there are so many label pairs."""

    pairs: int
    texts: list[str]


class Names:
    """Of one head. Any thread may ask."""

    def __init__(self, head: Head, index: Index) -> None:
        self._head, self._table, self._index = head, head.table, index
        self._kept: dict[str | None, Kept] = {}
        self._newest = (0, -1)
        """(n, ms): each of the first n series has a sample then or later; that stays true."""

    def every(self, label: str | None) -> list[str]:
        """All values of a label; None: the names of all labels. Not to be changed."""
        kept = self._kept.get(label)
        pairs = self._table.pairs
        if kept is not None and kept.pairs == pairs:
            return kept.texts
        texts = sorted(map(self._table.text, self._symbols(label, pairs)))
        if len(texts) <= LONGEST_KEPT:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[label] = Kept(pairs, texts)
        return texts

    def at_hand(self, label: str | None, mint: int, maxt: int) -> list[str] | None:
        """As `every`, where it is known without work, and known to hold for series with a sample in mint..maxt (ms)."""
        kept = self._kept.get(label)
        slots, newest = self._newest
        if kept is None or kept.pairs != self._table.pairs or slots != self._table.size:
            return None
        return kept.texts if mint <= newest and self._head.max_ts <= maxt else None

    def all_touch(self, mint: int, maxt: int) -> bool:
        """Whether surely every series has a sample within mint..maxt (ms): its newest one."""
        head, size = self._head, self._table.size
        slots, newest = self._newest
        if head.max_ts > maxt or not size:
            return False
        if slots < size or newest < mint:
            newest = int(head.records["last_ts"][:size].min())
            self._newest = size, newest
        return newest >= mint

    def _symbols(self, label: str | None, pairs: int) -> list[int]:
        table = self._table
        if label is None:
            names: list[int] = np.unique(table.pair_name[:pairs]).tolist()
            return names
        symbol = table.find_symbol(label)
        values: list[int] = table.pair_value[self._index.pairs_of(symbol)].tolist() if symbol >= 0 else []
        return values
