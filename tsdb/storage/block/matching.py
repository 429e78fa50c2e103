"""Matchers to rows: what each means in terms of label pairs, then algebra of posting lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsdb.model.matchers import Matcher
from tsdb.storage.block.match_kernels import keep_labelled, mark_rows
from tsdb.storage.block.sections import Index, damaged
from tsdb.storage.block.symbols import SymbolTable
from tsdb.storage.head.index_kernels import keep_listed
from tsdb.storage.regexes import ValueFilter

MOST_KNOWN = 64
"""Matchers whose pairs are kept."""
MOST_KNOWN_PAIRS = 1 << 18
"""Pairs of all of these together: some 2 MB."""
MOST_KEPT = 200
"""Selections that are kept, each of at most `LARGEST_KEPT` rows: 1 MB together."""
LARGEST_KEPT = 1000
LISTED_PER_ROW = 32
"""Marking so many rows of lists takes as long as looking through the labels of one."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A matcher in terms of the pairs low:high of its label."""

    low: int
    wanted: NDArray[np.uint8]
    """u8[high - low]: which pairs satisfy it"""
    absent: bool
    """Whether a series without the label does."""
    lists: NDArray[np.int64]
    """Pairs i64[]: the series are those on these lists; where `absent`, those that are not."""
    size: int
    """Rows on these lists."""


class Matching:
    """Resolves matchers over one block. Any thread may."""

    def __init__(self, index: Index, symbols: SymbolTable) -> None:
        self._index = index
        self._symbols = symbols
        self._offset, self._posting = index["posting_offset"], index["posting"]
        self._known: dict[Matcher, Condition] = {}
        self._known_pairs = 0
        self._kept: dict[tuple[Matcher, ...], NDArray[np.int32]] = {}

    def find(self, matchers: Sequence[Matcher]) -> NDArray[np.int32]:
        """Rows of the series that satisfy all matchers: i32, sorted, the caller's own. Raises BadData for a regex that
        is none. Small selections are kept, for the same query comes again and again."""
        key = tuple(matchers)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._find(key)
            if kept.size > LARGEST_KEPT:
                return kept
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[key] = kept
        return kept.copy()

    def _find(self, matchers: Sequence[Matcher]) -> NDArray[np.int32]:
        conditions = [self._condition(matcher) for matcher in matchers]
        including = sorted((each for each in conditions if not each.absent), key=lambda each: each.size)
        excluding = sorted((each for each in conditions if each.absent and each.size), key=lambda each: -each.size)
        if including and including[0].size == 0:
            return np.zeros(0, np.int32)
        found = self._collect(including[0]) if including else np.arange(self._index.series, dtype=np.int32)
        for condition in [*including[1:], *excluding]:
            if found.size:
                found = self._narrowed(found, condition)
        return found

    def _condition(self, matcher: Matcher) -> Condition:
        found = self._known.get(matcher)
        if found is None:
            found = self._resolve(matcher)
            if len(self._known) >= MOST_KNOWN or self._known_pairs > MOST_KNOWN_PAIRS:
                self._known.clear()
                self._known_pairs = 0
            self._known_pairs += found.wanted.size
            self._known[matcher] = found
        return found

    def _resolve(self, matcher: Matcher) -> Condition:
        tested = ValueFilter(matcher)
        absent = tested.matches("")
        low, high = self._symbols.pairs_of(matcher.name.encode("utf-8", "surrogateescape"))
        if tested.all_non_empty is not None:
            wanted = np.full(high - low, tested.all_non_empty, np.uint8)
        elif tested.literals is not None:
            wanted = np.full(high - low, matcher.negative, np.uint8)
            for text in tested.literals:
                pair = self._symbols.find_pair(low, high, text.encode("utf-8", "surrogateescape"))
                if pair >= 0:
                    wanted[pair - low] = not matcher.negative
        else:
            wanted = tested.among(self._symbols.value_texts(low, high)).astype(np.uint8)
        lists = low + np.flatnonzero(wanted == 0 if absent else wanted)
        size = int((self._offset.at(lists + 1).astype(np.int64) - self._offset.at(lists)).sum())
        return Condition(low, wanted, absent, lists, size)

    def _collect(self, condition: Condition) -> NDArray[np.int32]:
        if condition.lists.size == 1:
            rows = self._list(int(condition.lists[0])).astype(np.int32)
            if rows.size and not 0 <= int(rows.min()) <= int(rows.max()) < self._index.series:
                raise self._beyond()
            return rows
        return np.flatnonzero(self._marked(condition)).astype(np.int32)

    def _marked(self, condition: Condition) -> NDArray[np.bool_]:
        """bool[series]: rows that are on the lists."""
        self._posting.check_spans(self._offset.at(condition.lists), self._offset.at(condition.lists + 1))
        marks = np.zeros(self._index.series, np.uint8)
        if not mark_rows(condition.lists, self._offset.array, self._posting.raw, self._posting.width, marks):
            raise self._beyond()
        return marks.view(np.bool_)

    def _narrowed(self, rows: NDArray[np.int32], condition: Condition) -> NDArray[np.int32]:
        if condition.lists.size == 1:
            return rows[: keep_listed(rows, self._list(int(condition.lists[0])), not condition.absent)]
        if condition.size <= LISTED_PER_ROW * rows.size:
            return np.asarray(rows[self._marked(condition)[rows] != condition.absent], np.int32)
        offset, pairs = self._index["label_offset"], self._index["label_pair"]
        at = rows.astype(np.int64)
        pairs.check_spans(offset.at(at), offset.at(at + 1))
        kept = keep_labelled(rows, condition.low, condition.wanted, condition.absent, offset.array, pairs.raw,
                             pairs.width)
        return rows[:kept]

    def _list(self, pair: int) -> NDArray[np.uint32]:
        begin, end = self._offset.part(pair, pair + 2).tolist()
        return self._posting.part(begin, end).astype(np.uint32, copy=False)

    def _beyond(self) -> Exception:
        return damaged(self._index.path, "section posting names series that there are not")
