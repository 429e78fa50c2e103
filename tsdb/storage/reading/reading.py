"""Queries and label lookups over all that is stored: the head, late samples and blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tsdb.model.context import RequestContext
from tsdb.model.label_order import label_order, take
from tsdb.model.matchers import Matcher
from tsdb.model.tiles import Capture, Selection, SeriesSet
from tsdb.storage.blocks import Blocks
from tsdb.storage.head.head import Head
from tsdb.storage.head.index import Index
from tsdb.storage.head.names import Names
from tsdb.storage.query_symbols import QuerySymbols
from tsdb.storage.reading.capture import HeadCapture, find_slots, label_sets


class Reading:
    """Any thread may ask. `tsdb.model.tiles.Queryable` has the docstrings."""

    def __init__(self, head: Head, index: Index, blocks: Blocks) -> None:
        self._head = head
        self._index = index
        self._blocks = blocks
        self._names = Names(head, index)

    def capture(self, selections: Sequence[Selection], context: RequestContext) -> Capture:
        return HeadCapture(self._head, self._index, selections, context)

    def series_at_most(self, matchers: Sequence[Matcher], enough: int) -> int:
        return self._index.at_most(matchers, enough)

    def label_names(self, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int, context: RequestContext,
                    ) -> list[str]:
        """Sorted names of labels of series with a chunk that touches mint..maxt (ms)."""
        table = self._head.table
        if not matcher_sets and self._names.all_touch(mint, maxt):
            return list(self._names.every(None))
        slots = find_slots(self._head, self._index, matcher_sets, mint, maxt)
        names = np.unique(table.pair_name[self._index.used_pairs(slots)])
        return sorted(map(table.text, names.tolist()))

    def label_values(self, name: str, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int,
                     context: RequestContext) -> list[str]:
        """Sorted values of one label of such series."""
        table = self._head.table
        symbol = table.find_symbol(name)
        if symbol < 0:
            return []
        if not matcher_sets and self._names.all_touch(mint, maxt):
            return list(self._names.every(name))
        pairs = self._index.used_pairs(find_slots(self._head, self._index, matcher_sets, mint, maxt))
        pairs = pairs[table.pair_name[pairs] == symbol]
        return sorted(map(table.text, table.pair_value[pairs].tolist()))

    def names_at_hand(self, label: str | None, mint: int, maxt: int) -> list[str] | None:
        """What `label_values` (None: `label_names`) gives without matchers, where it is known from the last time and
        takes no work; else None."""
        names = self._names.at_hand(label, mint, maxt)
        return None if names is None else list(names)

    def series(self, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int, context: RequestContext,
               ) -> SeriesSet:
        """Label sets of such series, sorted by labels."""
        slots = find_slots(self._head, self._index, matcher_sets, mint, maxt)
        found = label_sets(slots, self._head.table, QuerySymbols(self._head.table))
        return take(found, label_order(found))

