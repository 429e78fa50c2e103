"""Names of labels, and values of each, of all series: sorted once and kept until a pair gets its first series or loses
its last."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tsdb.storage.head.head import Head
from tsdb.storage.head.index import Index

MOST_KEPT = 20
"""Lists that are kept, of `MOST_TEXTS` texts together: some 20 MB."""
MOST_TEXTS = 200_000

State = tuple[int, int]
"""Generation of the table, and births of pairs: while it stays, so do the lists."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A list, right as long as the table is in this state."""

    state: State
    texts: list[str]


class Names:
    """Of one head. Any thread may ask, inside `Head.readers`."""

    def __init__(self, head: Head, index: Index) -> None:
        self._head, self._table, self._index = head, head.table, index
        self._kept: dict[str | None, Kept] = {}
        self._newest = (-1, 0, -1)
        """(generation, n, ms): each of the first n series made has a sample then or later; that stays true."""

    def every(self, label: str | None) -> list[str]:
        """All values of a label; None: the names of all labels. Not to be changed."""
        state = self._state
        kept = self._kept.get(label)
        if kept is not None and kept.state == state:
            return kept.texts
        texts = sorted(self._table.texts_of(self._symbols(label)))
        if len(texts) <= MOST_TEXTS:
            others = sum(len(each.texts) for name, each in self._kept.items() if name != label)
            if len(self._kept) >= MOST_KEPT or others + len(texts) > MOST_TEXTS:
                self._kept.clear()
            self._kept[label] = Kept(state, texts)
        return texts

    def at_hand(self, label: str | None, mint: int, maxt: int) -> list[str] | None:
        """As `every`, where it is known without work, and known to hold for series with a sample in mint..maxt (ms)."""
        kept = self._kept.get(label)
        generation, made, newest = self._newest
        table = self._table
        if kept is None or kept.state != self._state or generation != table.generation or made != table.made:
            return None
        return kept.texts if mint <= newest and self._head.max_ts <= maxt else None

    def all_touch(self, mint: int, maxt: int) -> bool:
        """Whether surely every series has a sample within mint..maxt (ms), its newest one, in the head: those that have
        left it may be deleted."""
        head, table = self._head, self._table
        now, n = table.generation, table.made
        generation, made, newest = self._newest
        if head.max_ts > maxt or not table.series:
            return False
        mint = max(mint, head.border)
        if generation != now or made < n or newest < mint:
            records = head.records[: table.size]
            newest = int(records["last_ts"].min(where=records["ref"] != 0, initial=head.max_ts))
            self._newest = now, n, newest
        return newest >= mint

    @property
    def _state(self) -> State:
        return self._table.generation, self._table.pairs_made

    def _symbols(self, label: str | None) -> list[int]:
        table = self._table
        if label is None:
            pairs = np.flatnonzero(table.pair_uses[: table.pairs])
            names: list[int] = np.unique(table.pair_name[pairs]).tolist()
            return names
        symbol = table.find_symbol(label)
        values: list[int] = table.pair_value[self._index.pairs_of(symbol)].tolist() if symbol >= 0 else []
        return values
