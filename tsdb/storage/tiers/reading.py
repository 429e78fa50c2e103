"""Reading windows: which tiers a query may use, and its view of their blocks."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from tsdb.model.context import RequestContext
from tsdb.model.durations import format_duration
from tsdb.model.errors import TiersChanged
from tsdb.model.matchers import Matcher
from tsdb.model.tiers import Field, Tier, Tiers, quantile_field
from tsdb.model.tiles import Selection, SeriesSet
from tsdb.storage.block import Block
from tsdb.storage.blocks import Blocks
from tsdb.storage.head.head import Head
from tsdb.storage.head.layout import NO_TS
from tsdb.storage.query_symbols import QuerySymbols
from tsdb.storage.reading.block_texts import BlockTexts
from tsdb.storage.reading.join import Joins
from tsdb.storage.reading.merged import with_blocks
from tsdb.storage.reading.sources import BlockRows, Damaged, texts_of
from tsdb.storage.tiers.coverage import Samples, Span, spans
from tsdb.storage.tiers.fields import FIELD_LABEL
from tsdb.storage.tiers.selected import WindowsSelected, of_field, without_field
from tsdb.storage.tiers.store import StoredTier, TierStore
from tsdb.storage.tombstones import Tombstones

FOREVER = (1 << 63) - 1
SERIES_BYTES = 128
"""Label sets of a series, about."""
ROW_BYTES = 40
"""Kept for each field of a series of a block, about."""


class TierReading:
    """Any thread may ask."""

    def __init__(self, store: TierStore, blocks: Blocks, head: Head, damaged: Damaged | None = None) -> None:
        """`blocks`: those of samples. `damaged` as for `Reading`."""
        self._store = store
        self._blocks = blocks
        self._head = head
        self._damaged = damaged
        self._known: tuple[tuple[object, ...], Tiers] = ((), Tiers())
        self._samples: tuple[object, Samples] = ((), Samples(()))
        self._told = threading.local()

    def tiers(self) -> Tiers:
        """Which downsampling tiers there are now. The same object as long as nothing has changed."""
        found = self._tiers()
        self._told.tiers = found
        return found

    def take(self, selections: Sequence[Selection]) -> View:
        """For those that want windows. Raises TiersChanged where this thread has been told of windows that are no
        longer there, or not as the samples are."""
        self._check(selections)
        view = View(self._damaged)
        try:
            for selection in selections:
                if selection.tier is not None:
                    view.acquire(selection, self._tier_for(selection))
        except BaseException:
            view.release()
            raise
        return view

    def reaches(self, mint: int) -> bool:
        """Whether there may be series at `mint` (ms) or later that only tiers have."""
        return mint < self._store.raw_from and bool(self._store.tiers)

    def texts(self, label: str | None, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int,
              context: RequestContext) -> set[str]:
        """Values of a label (None: names of labels) of series with a window before `raw_from` that touches mint..maxt
        (ms)."""
        found: set[str] = set()
        with self._rows(matcher_sets, mint, maxt, context) as every:
            for rows in every:
                found.update(texts_of(rows.block, label, rows.rows, self._damaged))
        return found - {FIELD_LABEL} if label is None else found

    def with_series(self, series: SeriesSet, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int,
                    symbols: QuerySymbols, texts: BlockTexts, joins: Joins, context: RequestContext) -> SeriesSet:
        """`series`, and such series that are not among them."""
        with self._rows(matcher_sets, mint, maxt, context) as every:
            context.reserve(SERIES_BYTES * sum(rows.rows.size for rows in every))
            _, fresh = joins.of(np.zeros(0, np.int32), every)
            nothing = SeriesSet(np.zeros(1, np.int64), np.zeros(0, np.uint32), np.zeros(0, np.uint32), symbols)
            more = without_field(with_blocks(nothing, every, fresh, symbols, texts))
        return distinct(series, more)

    @contextmanager
    def _rows(self, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int, context: RequestContext,
              ) -> Iterator[list[BlockRows]]:
        """One row for each series of each block."""
        last = min(maxt, self._store.raw_from - 1)
        sets = [of_field(matchers, Field.COUNT) for matchers in matcher_sets or [()]]
        taken: list[Block] = []
        try:
            for tier in self._store.tiers:
                # a window may reach from before `raw_from` to behind it
                taken += tier.blocks.acquire(mint, min(maxt, last + tier.rule.resolution_ms))[1]
            found = []
            for block in taken:
                context.check()
                rows = BlockRows(block, block.tombstones, sets, mint, maxt, self._damaged)
                if rows.rows.size:
                    found.append(rows)
            yield found
        finally:
            for block in taken:
                block.release()

    def _tiers(self) -> Tiers:
        store, head = self._store, self._head
        if not store.tiers:
            return Tiers()
        samples, late = self._blocks.every, head.late.mint
        before = FOREVER if late is None else late
        if head.border == NO_TS or not samples:  # nothing says yet that what is in the head is not older
            with head.lock:
                if head.min_ts <= head.max_ts:
                    before = min(before, head.min_ts)
        tiers = store.tiers
        key = (samples, before, store.raw_from, tiers, *(tier.blocks.every for tier in tiers),
               *(tier.rule for tier in tiers))
        known, found = self._known
        if _same(known, key):
            return found
        if self._samples[0] is not samples:
            self._samples = samples, Samples(samples)
        found = Tiers(tuple(
            Tier(tier.rule.resolution_ms, spans(tier.blocks.every, self._samples[1], store.raw_from, before),
                 tier.rule.matchers, tier.rule.quantiles) for tier in tiers), store.raw_from)
        self._known = key, found
        return found

    def _check(self, selections: Sequence[Selection]) -> None:
        told: Tiers | None = getattr(self._told, "tiers", None)
        now = self._tiers()
        if told is None or told is now:
            return
        for selection in selections:
            if selection.tier is not None:
                for before in told.tiers:
                    if before.resolution_ms == selection.tier.resolution_ms and _covers(before.spans, selection):
                        after = [tier for tier in now.tiers if (tier.resolution_ms, tier.matchers, tier.quantiles)
                                 == (before.resolution_ms, before.matchers, before.quantiles)]
                        if not after or not _covers(after[0].spans, selection):
                            raise TiersChanged(f"windows of {format_duration(before.resolution_ms)} were built anew, "
                                               "or dropped, while a query began that takes them: ask again")

    def _tier_for(self, selection: Selection) -> StoredTier | None:
        """Of those with the resolution and all fields, the one for all of these series with most of the times."""
        assert selection.tier is not None
        wanted = selection.tier
        best: tuple[tuple[bool, int], StoredTier] | None = None
        for tier in self._store.tiers:
            rule = tier.rule
            fields = {*Field, *map(quantile_field, rule.quantiles)}
            if rule.resolution_ms != wanted.resolution_ms or not fields.issuperset(wanted.fields):
                continue
            there = sum(max(0, min(block.meta.maxt - 1, selection.maxt) - max(block.meta.mint, selection.mint) + 1)
                        for block in tier.blocks.every)
            rank = set(rule.matchers) <= set(selection.matchers), there
            if best is None or rank > best[0]:
                best = rank, tier
        return None if best is None else best[1]


@dataclass(slots=True)
class _Taken:
    tier: StoredTier
    of: tuple[Block, ...]
    blocks: list[Block]
    deleted: list[Tombstones] = field(default_factory=list)


class View:
    """`tsdb.storage.reading.windows.WindowsView`."""

    def __init__(self, damaged: Damaged | None) -> None:
        self._damaged = damaged
        self._taken: dict[int, _Taken | None] = {}
        """By the selection's identity."""
        self.blocks: list[Block] = []
        """Acquired."""

    def acquire(self, selection: Selection, tier: StoredTier | None) -> None:
        if tier is None:
            self._taken[id(selection)] = None
            return
        every, touched = tier.blocks.acquire(selection.mint, selection.maxt)
        self.blocks += touched
        self._taken[id(selection)] = _Taken(tier, every, touched)

    def freeze(self) -> bool:
        """Keeps what is deleted of them now. False: the blocks are others now. The caller holds the head's lock."""
        for taken in self._taken.values():
            if taken is not None:
                if taken.tier.blocks.every is not taken.of:
                    return False
                taken.deleted = [block.tombstones for block in taken.blocks]
        return True

    def select(self, selection: Selection, symbols: QuerySymbols, texts: BlockTexts, joins: Joins,
               context: RequestContext) -> WindowsSelected:
        context.check()
        assert selection.tier is not None
        taken = self._taken[id(selection)]
        rule = None if taken is None else taken.tier.rule
        blocks = [] if taken is None else list(zip(taken.blocks, taken.deleted, strict=True))
        found = WindowsSelected(selection, rule, blocks, symbols, texts, joins, self._damaged)
        context.select(len(found.series))
        context.reserve(len(found.series) * (SERIES_BYTES + ROW_BYTES * len(blocks) * len(selection.tier.fields)))
        return found

    def release(self) -> None:
        blocks, self.blocks = self.blocks, []
        for block in blocks:
            block.release()


def distinct(series: SeriesSet, more: SeriesSet) -> SeriesSet:
    """`series`, and those of `more` that are not among them, each once."""
    if not len(more):
        return series
    offsets = np.concatenate((series.offsets, more.offsets[1:] + series.offsets[-1]))
    names, values = np.concatenate((series.names, more.names)), np.concatenate((series.values, more.values))
    lengths = np.diff(offsets)
    labels = np.zeros((lengths.size, int(lengths.max(initial=0))), np.uint64)
    rows = np.repeat(np.arange(lengths.size), lengths)
    labels[rows, np.arange(names.size) - np.repeat(offsets[:-1], lengths)] = (
        names.astype(np.uint64) + np.uint64(1) << np.uint64(32) | values)
    _, first = np.unique(labels, axis=0, return_index=True)
    kept = np.sort(first)
    inside = np.isin(rows, kept)
    return SeriesSet(np.concatenate(([0], np.cumsum(lengths[kept]))), names[inside], values[inside], series.symbols)


def _covers(there: Sequence[Span], selection: Selection) -> bool:
    """Whether all windows are there whose ends a selection names."""
    return any(after < selection.mint and selection.maxt <= through for after, through in there)


def _same(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    return len(one) == len(other) and all(a is b or (isinstance(a, int) and a == b)
                                          for a, b in zip(one, other, strict=True))
