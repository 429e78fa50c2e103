"""What makes series many, over all that is stored or in one block: what ``tsdb analyze`` shows.

As `promtool tsdb analyze` counts it: the *churn* of a label is the time during which the series that have it had no
sample, summed over them, in units of the time that is looked at. Ten series that were there for a tenth of it each make
a churn of 9.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsdb.model.context import RequestContext
from tsdb.model.matchers import Matcher
from tsdb.model.tiles import SeriesSet
from tsdb.storage.block import Block
from tsdb.storage.blocks import Blocks
from tsdb.storage.head.cardinality import Top, top
from tsdb.storage.head.head import Head
from tsdb.storage.head.index import Index
from tsdb.storage.query_symbols import QuerySymbols
from tsdb.storage.reading import span_kernels
from tsdb.storage.reading.block_texts import BlockTexts
from tsdb.storage.reading.capture import label_sets
from tsdb.storage.reading.join import Joins
from tsdb.storage.reading.lookups import AT_ONCE, Lookup
from tsdb.storage.reading.merged import with_blocks
from tsdb.storage.reading.sources import BlockRows
from tsdb.storage.reading.view import View, Views

LONG_AGO, FAR = -(1 << 62), 1 << 62
"""ms"""


@dataclass(frozen=True, slots=True)
class Analysis:
    """Of n series. Tables are those of `most` rows, the largest first, then by name."""

    mint: int
    """ms; the time that is looked at: from here …"""
    maxt: int
    """ms; … to here."""
    series: int
    label_names: int
    label_pairs: int
    labels: int
    """Of all series together."""
    churn_by_pair: Top
    """Names are ``name=value``."""
    churn_by_name: Top
    series_by_pair: Top
    value_bytes_by_name: Top
    """How long all values of a label are together."""
    values_by_name: Top
    series_by_metric: Top


def analyze_block(block: Block, matcher_sets: Sequence[Sequence[Matcher]], most: int) -> Analysis:
    """Of the series of a block that satisfy any of the matcher sets (none: all). Raises Corruption, BadData."""
    found = [block.find(matchers) for matchers in matcher_sets] or [np.arange(len(block), dtype=np.int32)]
    rows = np.unique(np.concatenate(found))
    first, last = block.spans(rows)
    return _analysis(block.series_set(rows), first, last, block.meta.mint, block.meta.maxt, most)


def analyze_all(head: Head, index: Index, blocks: Blocks, matcher_sets: Sequence[Sequence[Matcher]], most: int,
                ) -> Analysis:
    """Likewise, of the head and of all blocks: a series that several have is one. Some 600 bytes of memory for each.
    Raises Corruption, BadData."""
    views = Views(head, blocks)
    while True:
        view = views.take(LONG_AGO, FAR)
        try:
            found = _spans(head, index, blocks, view, Lookup(matcher_sets, LONG_AGO, FAR))
            if found is not None:
                series, first, last = found
                mint, maxt = (int(first.min()), int(last.max())) if len(series) else (0, 0)
                return _analysis(series, first, last, mint, maxt, most)
        finally:
            view.release()


def _spans(head: Head, index: Index, blocks: Blocks, view: View, lookup: Lookup,
           ) -> tuple[SeriesSet, NDArray[np.int64], NDArray[np.int64]] | None:
    """(series, their first and last times i64[n], ms); None: the view is stale."""
    table = head.table
    slots = lookup.slots(view, head, index, blocks)
    if slots is None:
        return None
    found = lookup.blocks(view, RequestContext(), None)
    texts = BlockTexts(table)
    symbols = QuerySymbols(table, texts, view.alive)
    series = label_sets(slots, table, symbols)
    places, fresh = Joins(head).of(slots, found)
    series = with_blocks(series, found, fresh, symbols, texts)
    first, last = np.full(len(series), FAR), np.full(len(series), LONG_AGO)
    if not _head_spans(head, blocks, view, slots, first, last):
        return None
    for each, rows in zip(found, places, strict=True):
        _lower(first, last, rows, *_block_spans(each))
    return series, first, last


def _head_spans(head: Head, blocks: Blocks, view: View, slots: NDArray[np.int32], first: NDArray[np.int64],
                last: NDArray[np.int64]) -> bool:
    """Of slots, which are the first rows. False: the view is stale."""
    late = None
    for start in range(0, slots.size, AT_ONCE):
        part = slice(start, min(start + AT_ONCE, slots.size))
        with head.lock:
            if view.is_stale(blocks):
                return False
            table = head.windows.table
            span_kernels.find_spans(slots[part], head.records, table.addresses, table.chains, first[part], last[part])
            late = None if head.late.empty else head.late.view()
    if late is not None:
        begin, end, ts = late.collect(slots, LONG_AGO, FAR)[:3]
        some = np.flatnonzero(begin < end)
        _lower(first, last, some, ts[begin[some]], ts[end[some] - 1])
    return True


def _block_spans(found: BlockRows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return found.block.spans(found.rows)


def _lower(first: NDArray[np.int64], last: NDArray[np.int64], rows: NDArray[np.int64], more_first: NDArray[np.int64],
           more_last: NDArray[np.int64]) -> None:
    first[rows] = np.minimum(first[rows], more_first)
    last[rows] = np.maximum(last[rows], more_last)


def _analysis(series: SeriesSet, first: NDArray[np.int64], last: NDArray[np.int64], mint: int, maxt: int, most: int,
              ) -> Analysis:
    symbols = series.symbols
    keys, of_label = np.unique(series.names.astype(np.uint64) << np.uint64(32) | series.values, return_inverse=True)
    names, values = keys >> np.uint64(32), keys & np.uint64(0xFFFF_FFFF)
    absent = np.repeat((maxt - mint) - (last - first), np.diff(series.offsets)) / max(maxt - mint, 1)
    counts = np.bincount(of_label, minlength=keys.size)
    churn = np.bincount(of_label, weights=absent, minlength=keys.size)
    distinct, of_name = np.unique(names, return_inverse=True)
    lengths = np.array([len(text.encode()) for text in symbols.texts(values.tolist())], np.int64)
    metrics = np.flatnonzero(names == symbols.find("__name__"))

    def name(place: int) -> str:
        return symbols.text(int(distinct[place]))

    def pair(place: int) -> str:
        return f"{symbols.text(int(names[place]))}={symbols.text(int(values[place]))}"

    def by_name(weights: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.int64]:
        return np.bincount(of_name, weights=weights, minlength=distinct.size).astype(np.int64)

    return Analysis(
        mint=mint, maxt=maxt, series=len(series), label_names=distinct.size, label_pairs=keys.size,
        labels=of_label.size,
        churn_by_pair=top(churn.astype(np.int64), most, pair),
        churn_by_name=top(by_name(churn), most, name),
        series_by_pair=top(counts, most, pair),
        value_bytes_by_name=top(by_name(lengths), most, name),
        values_by_name=top(np.bincount(of_name, minlength=distinct.size), most, name),
        series_by_metric=top(counts[metrics], most, lambda place: symbols.text(int(values[metrics[place]]))),
    )
