"""The index of the head: matchers to slots.

An immutable *base* holds the postings of the first slots as flat arrays; series made since are the *delta*, whose
label lists are scanned. `refresh` builds a new base and publishes it by one reference swap; readers work on the base
and the number of series they have read once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsdb.model.matchers import Matcher, MatchType
from tsdb.storage.head import index_kernels
from tsdb.storage.head.series_table import SeriesTable
from tsdb.storage.regexes import ValueFilter

LARGEST_DELTA = 100_000
"""Series: scanning the labels of so many takes about a millisecond."""
MOST_KNOWN = 1000
"""Matchers whose pairs are kept."""
MOST_KEPT = 500
"""Selections that are kept, each of at most `LARGEST_KEPT` slots: 2 MB together."""
LARGEST_KEPT = 1000
QUICK_POSTINGS = 2000
"""Slots that can be filtered in microseconds."""
NOTHING = np.zeros(0, np.uint8)


@dataclass(frozen=True, slots=True)
class Base:
    """Postings of the slots below `slots` and the pairs below `pairs`."""

    slots: int
    pairs: int
    offsets: NDArray[np.int64]
    """i64[pairs + 1]"""
    postings: NDArray[np.int32]
    """i32[]: slots of pair p at offsets[p]:offsets[p + 1], sorted"""
    name_offsets: NDArray[np.int64]
    """i64[symbols + 1]"""
    name_pairs: NDArray[np.int32]
    """i32[pairs]: pairs with the name n at name_offsets[n]:name_offsets[n + 1]"""


@dataclass(frozen=True, slots=True)
class Condition:
    """A matcher in terms of pairs: those of the label `name` that satisfy it, and whether series without it do."""

    name: int
    """Symbol, or -1: no series has the label."""
    pairs: NDArray[np.int32]
    absent: bool


@dataclass(frozen=True, slots=True)
class Known:
    """What a matcher was found to mean for the label pairs below `pairs`."""

    filter: ValueFilter
    condition: Condition
    pairs: int


class Index:
    """Resolves matchers. Any thread may; `refresh` belongs to the appender."""

    def __init__(self, table: SeriesTable) -> None:
        self._table = table
        self._known: dict[Matcher, Known] = {}
        self._kept: dict[tuple[Matcher, ...], tuple[int, NDArray[np.int32]]] = {}
        """Small selections, each with how many slots there were when it was made."""
        self._base = Base(0, 0, np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(1, np.int64),
                          np.zeros(0, np.int32))

    def refresh(self, *, force: bool = False) -> None:
        """Builds a new base where the delta has become large (`force`: where there is one)."""
        table, base = self._table, self._base
        slots = table.size
        if slots == base.slots or not (force or slots - base.slots > min(LARGEST_DELTA, base.slots // 4 + 1000)):
            return
        pairs, symbols = table.pairs, table.symbols  # in this order: what the pairs name is counted
        total = int(table.label_offset[slots - 1]) + int(table.label_count[slots - 1])
        offsets = np.zeros(pairs + 2, np.int64)
        postings = np.empty(total, np.int32)
        index_kernels.build_postings(slots, table.labels, table.label_offset, table.label_count, offsets, postings)
        names = table.pair_name[:pairs]
        name_pairs = np.argsort(names, kind="stable").astype(np.int32)
        name_offsets = np.zeros(symbols + 1, np.int64)
        np.cumsum(np.bincount(names, minlength=symbols), out=name_offsets[1:])
        self._base = Base(slots, pairs, offsets[: pairs + 1], postings, name_offsets, name_pairs)

    def select(self, matchers: Sequence[Matcher]) -> NDArray[np.int32]:
        """Slots of the series that satisfy all matchers: i32, sorted. The caller's own.

        A small selection is kept until there are new series, for the same query comes again and again."""
        key = tuple(matchers)
        slots = self._table.size
        kept = self._kept.get(key)
        if kept is not None and kept[0] == slots:
            return kept[1].copy()
        found = self._select(key)
        if found.size <= LARGEST_KEPT:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[key] = (slots, found.copy())
        return found

    def _select(self, matchers: Sequence[Matcher]) -> NDArray[np.int32]:
        base, slots, pairs = self._base, self._table.size, self._table.pairs
        conditions = []
        for matcher in matchers:
            condition = self._condition(matcher, base, pairs)
            if not condition.absent and condition.pairs.size == 0:
                return np.zeros(0, np.int32)
            conditions.append(condition)
        first: Condition | None = None
        least = slots + 1
        for condition in conditions:
            if not condition.absent:
                size = self._size(condition, base)
                if size < least:
                    first, least = condition, size
        if first is None:
            found = np.arange(slots, dtype=np.int32)
        else:
            found = self._collect(first, base, slots, pairs)
        table = self._table
        for condition in conditions:
            if condition is first or found.size == 0:
                continue
            only = int(condition.pairs[0]) if condition.pairs.size == 1 else -1
            wanted = NOTHING if only >= 0 else self._wanted(condition, pairs)
            kept = index_kernels.keep_matching(
                found, condition.name, only, wanted, condition.absent, table.pair_name, table.labels,
                table.label_offset, table.label_count,
            )
            found = found[:kept]
        return found

    def at_most(self, matchers: Sequence[Matcher], enough: int) -> int:
        """How many slots `select` finds; where postings are too long to tell quickly, some number above `enough`."""
        base, slots, pairs = self._base, self._table.size, self._table.pairs
        least = slots
        for matcher in matchers:
            if matcher.type == MatchType.EQUAL and matcher.value:
                least = min(least, self._size(self._condition(matcher, base, pairs), base) + slots - base.slots)
        return least if least <= enough or least > QUICK_POSTINGS else int(self.select(matchers).size)

    def pairs_of(self, name: int) -> NDArray[np.int32]:
        """All label pairs with the name (symbol), i32."""
        return self._pairs_of(name, self._base, self._table.pairs)

    def used_pairs(self, slots: NDArray[np.int32]) -> NDArray[np.int32]:
        """The label pairs that any of the slots has, i32."""
        table = self._table
        used = np.zeros(table.pairs, np.uint8)
        index_kernels.mark_pairs(slots, table.labels, table.label_offset, table.label_count, used)
        return np.flatnonzero(used).astype(np.int32)

    def _size(self, condition: Condition, base: Base) -> int:
        if condition.pairs.size == 1:
            pair = int(condition.pairs[0])
            return int(base.offsets[pair + 1] - base.offsets[pair]) if pair < base.pairs else 0
        known = condition.pairs[condition.pairs < base.pairs]
        return int((base.offsets[known + 1] - base.offsets[known]).sum())

    def _wanted(self, condition: Condition, pairs: int) -> NDArray[np.uint8]:
        wanted = np.zeros(pairs, np.uint8)
        wanted[condition.pairs[condition.pairs < pairs]] = 1  # a condition may know pairs added since
        return wanted

    def _collect(self, condition: Condition, base: Base, slots: int, pairs: int) -> NDArray[np.int32]:
        known = condition.pairs[condition.pairs < base.pairs]
        parts = [base.postings[base.offsets[pair] : base.offsets[pair + 1]] for pair in known.tolist()]
        if slots > base.slots:
            out = np.empty(slots - base.slots, np.int32)
            table = self._table
            found = index_kernels.scan_labels(
                base.slots, slots, self._wanted(condition, pairs), table.labels, table.label_offset,
                table.label_count, out,
            )
            parts.append(out[:found])
        if len(parts) == 1:
            return parts[0].copy()
        return np.sort(np.concatenate(parts)) if parts else np.zeros(0, np.int32)

    def _pairs_of(self, name: int, base: Base, pairs: int) -> NDArray[np.int32]:
        parts = []
        if name + 1 < base.name_offsets.size:
            parts.append(base.name_pairs[base.name_offsets[name] : base.name_offsets[name + 1]])
        if pairs > base.pairs:
            names = self._table.pair_name[base.pairs : pairs]
            parts.append((np.flatnonzero(names == name) + base.pairs).astype(np.int32))
        return np.concatenate(parts) if parts else np.zeros(0, np.int32)

    def _condition(self, matcher: Matcher, base: Base, pairs: int) -> Condition:
        """The matcher over all label pairs. What was found is kept: pairs are only ever added, so that a matcher that
        comes again is evaluated over those that are new."""
        known = self._known.get(matcher)
        if known is not None and known.pairs >= pairs:  # more, where another query was here since
            return known.condition
        table = self._table
        value_filter = known.filter if known is not None else ValueFilter(matcher)
        name = known.condition.name if known is not None else -1
        if name < 0:
            name = table.find_symbol(matcher.name)
        absent = value_filter.matches("") if known is None else known.condition.absent
        if name < 0:
            condition = Condition(-1, np.zeros(0, np.int32), absent)
        elif value_filter.literals is not None and not matcher.negative:
            symbols = [table.find_symbol(text) for text in value_filter.literals if text]
            found = [table.find_pair(name, symbol) for symbol in symbols if symbol >= 0]
            condition = Condition(name, np.array(sorted({pair for pair in found if pair >= 0}), np.int32), absent)
        elif known is not None and known.condition.name == name:
            fresh = (np.flatnonzero(table.pair_name[known.pairs : pairs] == name) + known.pairs).astype(np.int32)
            kept = fresh[self._satisfying(value_filter, fresh)]
            condition = Condition(name, np.concatenate((known.condition.pairs, kept)), absent)
        else:
            every = self._pairs_of(name, base, pairs)
            condition = Condition(name, every[self._satisfying(value_filter, every)], absent)
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[matcher] = Known(value_filter, condition, pairs)
        return condition

    def _satisfying(self, value_filter: ValueFilter, pairs: NDArray[np.int32]) -> NDArray[np.bool_]:
        """bool[pairs]: whose value satisfies the filter."""
        if value_filter.all_non_empty:
            return np.ones(pairs.size, np.bool_)
        table = self._table
        return value_filter.among([table.text_bytes(symbol) for symbol in table.pair_value[pairs].tolist()])
