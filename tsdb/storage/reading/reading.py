"""Queries and label lookups over all that is stored: the head, late samples and blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tsdb.model.context import RequestContext
from tsdb.model.label_order import label_order, take
from tsdb.model.matchers import Matcher
from tsdb.model.tiers import Tiers
from tsdb.model.tiles import Selected, Selection, SeriesSet
from tsdb.storage.block import Block
from tsdb.storage.blocks import Blocks, precedence
from tsdb.storage.damage import Damage
from tsdb.storage.head.head import Head
from tsdb.storage.head.index import Index
from tsdb.storage.head.names import Names
from tsdb.storage.head.payloads import PayloadView
from tsdb.storage.late.late import LateView
from tsdb.storage.query_symbols import QuerySymbols
from tsdb.storage.reading.block_texts import BlockTexts
from tsdb.storage.reading.capture import SLOT_BYTES, Capture, HeadSelected, label_sets
from tsdb.storage.reading.join import Joins
from tsdb.storage.reading.lookups import Lookup
from tsdb.storage.reading.merged import MergedSelected, block_sources, with_blocks
from tsdb.storage.reading.sources import BlockRows, BlockSource, Damaged, LateSource
from tsdb.storage.reading.view import View, Views
from tsdb.storage.reading.windows import WindowReading, WindowsView
from tsdb.storage.tombstones import Tombstones

R = TypeVar("R")

ROW_BYTES = 40
"""Kept for each series of a block, about."""
LABEL_BYTES = 128
"""Label sets of a series, about, in the few forms that a query makes of them."""
LATE_BYTES = 16
"""Of each late sample."""
GREATEST = (1 << 63) - 1


class Reading:
    """Any thread may ask. `tsdb.model.tiles.Queryable` has the docstrings."""

    def __init__(self, head: Head, index: Index, blocks: Blocks, damage: Damage | None = None,
                 damaged: Damaged | None = None) -> None:
        """`damage` tells which samples may be missing. `damaged` is told, in the reader's thread, of a block in which
        damage was found; the query fails with Corruption all the same."""
        self._head = head
        self._index = index
        self._blocks = blocks
        self._damage = damage
        self._damaged = damaged
        self.windows: WindowReading | None = None
        """None: there are no downsampling tiers."""
        self._names = Names(head, index)
        self._views = Views(head, blocks)
        self._joins = Joins(head)

    def capture(self, selections: Sequence[Selection], context: RequestContext) -> Capture:
        mint = min([selection.mint for selection in selections], default=GREATEST)
        maxt = max([selection.maxt for selection in selections], default=-GREATEST)
        of_tiers = self.windows is not None and any(selection.tier is not None for selection in selections)
        while True:
            windows = self.windows.take(selections) if self.windows is not None and of_tiers else None
            view = self._views.take(mint, maxt)
            try:
                found = self._captured(view, windows, selections, mint, maxt, context)
            except BaseException:
                view.release()
                if windows is not None:
                    windows.release()
                raise
            if found is not None:
                return found
            view.release()
            if windows is not None:
                windows.release()

    def _captured(self, view: View, windows: WindowsView | None, selections: Sequence[Selection], mint: int, maxt: int,
                  context: RequestContext) -> Capture | None:
        """None: the view is stale."""
        head, total, every = self._head, 0, selections
        if windows is not None:
            selections = [selection for selection in every if selection.tier is None]
        heads = []
        for selection in selections:
            context.check()
            slots = self._index.select(selection.matchers)
            total += slots.size
            context.select(slots.size)
            context.reserve(slots.size * (SLOT_BYTES + LABEL_BYTES))
            heads.append(HeadSelected(selection, slots, head))
        texts = BlockTexts(head.table) if view.blocks or windows is not None else None
        symbols = QuerySymbols(head.table, texts, view.alive)  # after all slots are found: it has all of their symbols
        with head.lock:
            if view.is_stale(self._blocks) or (windows is not None and not windows.freeze()):
                context.reserve(-total * (SLOT_BYTES + LABEL_BYTES))
                context.select(-total)
                return None
            for each in heads:
                each.copy(symbols)
            late = None if head.late.empty else head.late.view()
            payloads = head.payloads.view()
            blocks = [(block, block.tombstones) for block in view.blocks]
        selected: Sequence[Selected] = heads
        if blocks or late is not None:
            blocks.sort(key=lambda each: precedence(each[0]))
            selected = [self._merged(each, blocks, late, payloads, symbols, texts, context) for each in heads]
        acquired: Sequence[Block] = view.blocks
        if windows is not None and texts is not None:
            raw = iter(selected)
            selected = [next(raw) if selection.tier is None
                        else windows.select(selection, symbols, texts, self._joins, context) for selection in every]
            acquired = [*acquired, *windows.blocks]
        return Capture(selected, symbols, acquired, lambda: self._warnings(mint, maxt))

    def _warnings(self, mint: int, maxt: int) -> Sequence[str]:
        return () if self._damage is None or not self._damage.known else self._damage.warnings(mint, maxt)

    def _merged(self, head: HeadSelected, blocks: Sequence[tuple[Block, Tombstones]], late: LateView | None,
                payloads: PayloadView | None, symbols: QuerySymbols, texts: BlockTexts | None, context: RequestContext,
                ) -> HeadSelected | MergedSelected:
        mint, maxt, matchers = head.selection.mint, head.selection.maxt, head.selection.matchers
        found = []
        for block, tombstones in blocks:
            if block.meta.mint <= maxt and block.meta.maxt > mint:
                context.check()
                rows = BlockRows(block, tombstones, (matchers,), mint, maxt, self._damaged)
                if rows.rows.size:
                    context.reserve(rows.rows.size * ROW_BYTES)
                    found.append(rows)
        late_source = None
        if late is not None:
            late_source = LateSource(late, payloads, head.slots, mint, maxt, self._head.payloads.left_out,
                                     start_times=head.selection.start_times)
            context.reserve(len(late_source) * LATE_BYTES)
        if not found and not late_source:
            return head
        series = label_sets(head.slots, self._head.table, symbols)
        apart: BlockSource | None = None
        overlapping: list[BlockSource] = []
        if found and texts is not None:
            places, fresh = self._joins.of(head.slots, found)
            series = with_blocks(series, found, fresh, symbols, texts)
            context.select(len(series) - head.slots.size)
            apart, overlapping = block_sources(found, places, len(series), start_times=head.selection.start_times)
        return MergedSelected(series, head, apart, overlapping, late_source or None)

    def tiers(self) -> Tiers:
        """Which downsampling tiers there are now."""
        return Tiers() if self.windows is None else self.windows.tiers()

    def label_names(self, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int, context: RequestContext,
                    ) -> list[str]:
        """Sorted names of labels of series with a chunk that touches mint..maxt (ms)."""
        return self._texts(None, matcher_sets, mint, maxt, context)

    def label_values(self, name: str, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int,
                     context: RequestContext) -> list[str]:
        """Sorted values of one label of such series."""
        return self._texts(name, matcher_sets, mint, maxt, context)

    def names_at_hand(self, label: str | None, mint: int, maxt: int) -> list[str] | None:
        """What `label_values` (None: `label_names`) gives without matchers, where it is known from the last time and
        takes no work; else None."""
        if self._views.touches_blocks(mint) or len(self._head.tombstones) or self._reaching(mint) is not None:
            return None
        names = self._names.at_hand(label, mint, maxt)
        return None if names is None else list(names)

    def series(self, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int, context: RequestContext,
               first: int = 0) -> SeriesSet:
        """Label sets of such series, sorted by labels; where `first` is not 0, so many of them suffice."""
        lookup = Lookup(matcher_sets, mint, maxt)

        def find(view: View) -> SeriesSet | None:
            table = self._head.table
            slots = self._slots(lookup, view)
            if slots is None:
                return None
            found, windows = lookup.blocks(view, context, self._damaged), self._reaching(mint)
            context.reserve(LABEL_BYTES * (slots.size + sum(rows.rows.size for rows in found)))
            texts = BlockTexts(table)
            symbols = QuerySymbols(table, texts, view.alive)
            series = label_sets(slots, table, symbols)
            if found:
                _, fresh = self._joins.of(slots, found)
                series = with_blocks(series, found, fresh, symbols, texts)
            if windows is not None:
                series = windows.with_series(series, matcher_sets, mint, maxt, symbols, texts, self._joins, context)
            return take(series, label_order(series, first))

        return self._viewing(mint, maxt, find)

    def _texts(self, label: str | None, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int,
               context: RequestContext) -> list[str]:
        """Sorted values of a label; None: names of labels."""
        lookup = Lookup(matcher_sets, mint, maxt)

        def find(view: View) -> list[str] | None:
            if (not matcher_sets and not len(self._head.tombstones) and self._names.all_touch(mint, maxt)
                    and not any(len(block.tombstones) for block in view.blocks)):
                texts = self._names.every(label)
            else:
                slots = self._slots(lookup, view)
                if slots is None:
                    return None
                texts = self._texts_of(label, slots)
            windows = self._reaching(mint)
            if not view.blocks and windows is None:
                return list(texts)
            every = set(texts)
            if windows is not None:
                every |= windows.texts(label, matcher_sets, mint, maxt, context)
            for part in lookup.texts_of_blocks(label, view, context, self._damaged):
                every.update(part)
            return sorted(every)

        return self._viewing(mint, maxt, find)

    def _reaching(self, mint: int) -> WindowReading | None:
        """Where there may be series at `mint` (ms) or later that only downsampling tiers have: who reads them."""
        return self.windows if self.windows is not None and self.windows.reaches(mint) else None

    def _texts_of(self, label: str | None, slots: NDArray[np.int32]) -> list[str]:
        table = self._head.table
        pairs = self._index.used_pairs(slots)
        if label is None:
            symbols = np.unique(table.pair_name[pairs])
        else:
            symbols = table.pair_value[pairs[table.pair_name[pairs] == table.find_symbol(label)]]
        return sorted(table.texts_of(symbols.tolist()))

    def _slots(self, lookup: Lookup, view: View) -> NDArray[np.int32] | None:
        return lookup.slots(view, self._head, self._index, self._blocks)

    def _viewing(self, mint: int, maxt: int, find: Callable[[View], R | None]) -> R:
        """What `find` gives for a view of mint..maxt (ms); another one where it gives None."""
        while True:
            view = self._views.take(mint, maxt)
            try:
                found = find(view)
            finally:
                view.release()
            if found is not None:
                return found
