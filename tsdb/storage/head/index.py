"""The index of the head: matchers to slots.

An immutable *base* holds the postings of the series of some moment as flat arrays; the label lists of series that are
*fresh*, made since, are scanned. `refresh` builds a new base and publishes it by one reference swap. A reader takes one
`View`: a base, and the births since.

Whoever uses slots, pairs or symbols that come from here is inside `SeriesTable.readers` from before the call until it
has done with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tsdb.model.matchers import Matcher
from tsdb.storage.head import index_kernels
from tsdb.storage.head.series_table import SeriesTable
from tsdb.storage.regexes import Texts, ValueFilter

LARGEST_DELTA = 100_000
"""Series: scanning the labels of so many takes some milliseconds."""
MOST_KNOWN = 1000
"""Matchers whose pairs are kept."""
MOST_KNOWN_PAIRS = 1 << 21
"""Pairs that are kept for all of these together: 8 MB."""
MOST_KEPT = 500
"""Selections that are kept, each of at most `LARGEST_KEPT` slots: 2 MB together."""
LARGEST_KEPT = 1000
FEW_LISTED = 4096
"""Slots on several lists, which sorting brings together sooner than marking does."""
LISTED_PER_SLOT = 32
"""Marking so many slots of lists takes as long as looking through the labels of one."""
NOTHING = np.zeros(0, np.uint8)

T = TypeVar("T", bound=np.generic)
State = tuple[int, int, int]
"""Of the table: generation, series made, series removed."""
NO_SLOTS = np.zeros(0, np.int32)


@dataclass(frozen=True, slots=True)
class Base:
    """Postings of the series of a moment."""

    slots: NDArray[np.int32]
    """i32[], sorted: all of them"""
    made: int
    """`SeriesTable.made` of then"""
    pairs_made: int
    removed: int
    pairs: int
    """All pairs that these series have are below."""
    offsets: NDArray[np.uint32]
    """u32[pairs + 1]"""
    postings: NDArray[np.uint32]
    """u32[]: slots of pair p at offsets[p]:offsets[p + 1], sorted"""
    names: NDArray[np.uint32]
    """u32[], sorted: the symbols of names"""
    name_offsets: NDArray[np.int64]
    """i64[names + 1]"""
    name_pairs: NDArray[np.int32]
    """i32[]: pairs with names[n] at name_offsets[n]:name_offsets[n + 1], sorted"""


@dataclass(frozen=True, slots=True)
class View:
    """What a reader works on."""

    base: Base
    made: int
    pairs_made: int
    generation: int
    fresh: NDArray[np.int32]
    """i32[], sorted: slots of series that are not in the base"""
    fresh_pairs: NDArray[np.int32]
    """i32[]: pairs that may not be in the base"""


@dataclass(frozen=True, slots=True)
class Condition:
    """A matcher: the series that have one of these pairs, or, `excluding`, those that have none of them."""

    pairs: NDArray[np.int32]
    """i32[], each once"""
    excluding: bool


@dataclass(frozen=True, slots=True)
class Known:
    """What a matcher was found to mean."""

    filter: ValueFilter
    condition: Condition
    pairs_made: int
    generation: int


class Index:
    """Resolves matchers. Any thread may; `refresh` belongs to one."""

    def __init__(self, table: SeriesTable) -> None:
        self._table = table
        self._known: dict[Matcher, Known] = {}
        self._known_pairs = 0
        self._kept: dict[tuple[Matcher, ...], tuple[State, NDArray[np.int32]]] = {}
        """Small selections, each with the state that it holds for."""
        none = np.zeros(0, np.uint32)
        self._base = Base(NO_SLOTS, 0, 0, 0, 0, _read_only(np.zeros(1, np.uint32)), _read_only(none), none,
                          np.zeros(1, np.int64), NO_SLOTS)
        self._view = View(self._base, 0, 0, 0, NO_SLOTS, NO_SLOTS)

    def refresh(self, *, force: bool = False) -> None:
        """Builds a new base where there are many fresh series (`force`: where anything has changed). Not beside the
        collector's work between commits."""
        table, base = self._table, self._base
        removed, made = table.removed, table.made
        pairs_made = table.pairs_made  # after `made`: the pairs of those that were made are counted
        least = 0 if force else min(LARGEST_DELTA, base.slots.size // 64 + 200)
        if made - base.made <= least and not (force and removed > base.removed):
            return
        fresh = table.born(base.made, made)
        assert fresh is not None
        slots = _merged(base.slots, np.sort(fresh))
        slots = slots[table.records["ref"][slots] != 0]
        pairs = table.pairs
        offsets = np.zeros(pairs + 2, np.int64)
        postings = np.empty(int(table.label_count[slots].sum(dtype=np.int64)), np.int32)
        index_kernels.build_postings(slots, table.labels, table.label_offset, table.label_count, offsets, postings)
        used = np.flatnonzero(table.pair_uses[:pairs])  # before their names: an id gets its name before its first use
        names = table.pair_name[used]
        order = np.argsort(names, kind="stable")
        names = names[order]
        starts = np.flatnonzero(np.diff(names, prepend=np.int64(-1)))
        self._base = Base(
            slots, made, pairs_made, removed, pairs, _read_only(offsets[: pairs + 1].astype(np.uint32)),
            _read_only(postings.view(np.uint32)), names[starts], np.append(starts, names.size),
            used[order].astype(np.int32),
        )
        table.indexed(made, pairs_made)

    def view(self) -> View:
        """The index of now."""
        table = self._table
        while True:
            generation, base = table.generation, self._base
            made = table.made
            pairs_made = table.pairs_made
            last = self._view
            if (last.base is base and last.made == made and last.pairs_made == pairs_made
                    and last.generation == generation):
                return last
            fresh, pairs = table.born(base.made, made), table.pairs_born(base.pairs_made, pairs_made)
            if fresh is not None and pairs is not None:
                fresh.sort()
                self._view = found = View(base, made, pairs_made, generation, fresh, pairs)
                return found

    def select(self, matchers: Sequence[Matcher]) -> NDArray[np.int32]:
        """Slots of the series that satisfy all matchers: i32, sorted. The caller's own.

        A small selection is kept until there are new series, for the same query comes again and again."""
        key = tuple(matchers)
        table = self._table
        removed = table.removed
        kept = self._kept.get(key)
        if kept is not None and kept[0] == (table.generation, table.made, removed):
            return kept[1].copy()
        view = self.view()
        found = self._select(key, view)
        if table.removed > view.base.removed:  # else a series that is back might be there twice
            found = found[table.records["ref"][found] != 0]
        if found.size <= LARGEST_KEPT:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[key] = ((view.generation, view.made, removed), found.copy())
        return found

    def _select(self, matchers: Sequence[Matcher], view: View) -> NDArray[np.int32]:
        including: list[Condition] = []
        excluding: list[Condition] = []
        for matcher in matchers:
            condition = self._condition(matcher, view)
            if condition.pairs.size:
                (excluding if condition.excluding else including).append(condition)
            elif not condition.excluding:
                return np.zeros(0, np.int32)
        fresh = view.fresh
        for condition in (*including, *excluding):
            if fresh.size:
                fresh = self._filtered(fresh.copy(), condition)
        base = view.base
        known = [_Listed(condition, base) for condition in (*including, *excluding)]
        known.sort(key=lambda each: each.size)
        first = next((each for each in known if not each.excluding), None)
        found = base.slots.copy() if first is None else self._collect(first, base)
        for each in known:
            if found.size and each is not first:
                found = self._narrowed(found, each, base)
        return _merged(found, fresh)

    def pairs_of(self, name: int) -> NDArray[np.int32]:
        """The pairs with the name (symbol) that any series has, i32, sorted."""
        found = self._pairs_of(name, self.view())
        return found[self._table.pair_uses[found] > 0]

    def names(self) -> NDArray[np.uint32]:
        """Symbols of label names, u32, each once; some may have lost their last series."""
        view = self.view()
        return np.union1d(view.base.names, self._table.pair_name[view.fresh_pairs])

    def used_pairs(self, slots: NDArray[np.int32]) -> NDArray[np.int32]:
        """The label pairs that any of the slots has, i32."""
        table = self._table
        used = np.zeros(table.pairs, np.uint8)
        index_kernels.mark_pairs(slots, table.labels, table.label_offset, table.label_count, used)
        return np.flatnonzero(used).astype(np.int32)

    def _collect(self, listed: _Listed, base: Base) -> NDArray[np.int32]:
        """The slots on the lists, sorted."""
        lists = listed.lists
        if lists.size == 1:
            return base.postings[base.offsets[lists[0]] : base.offsets[lists[0] + 1]].astype(np.int32)
        if listed.size <= FEW_LISTED:
            parts = [base.postings[begin:end] for begin, end in
                     zip(base.offsets[lists].tolist(), base.offsets[lists + 1].tolist(), strict=True)]
            return np.sort(np.concatenate(parts)).astype(np.int32) if parts else np.zeros(0, np.int32)
        return np.flatnonzero(_marked(listed, base)).astype(np.int32)

    def _narrowed(self, found: NDArray[np.int32], listed: _Listed, base: Base) -> NDArray[np.int32]:
        lists = listed.lists
        if lists.size == 1:
            part = base.postings[base.offsets[lists[0]] : base.offsets[lists[0] + 1]]
            return found[: index_kernels.keep_listed(found, part, not listed.excluding)]
        if listed.size <= LISTED_PER_SLOT * found.size:
            kept = found[_marked(listed, base)[found] != listed.excluding]
            return np.asarray(kept, np.int32)
        return self._filtered(found, listed.condition)

    def _filtered(self, slots: NDArray[np.int32], condition: Condition) -> NDArray[np.int32]:
        """Those of the slots, which are overwritten, whose labels satisfy a condition."""
        table, pairs = self._table, condition.pairs
        if pairs.size == 1:
            only, listed = int(pairs[0]), NOTHING
        else:
            only, listed = -1, np.zeros(int(pairs.max(initial=-1)) + 1, np.uint8)
            listed[pairs] = 1
        kept = index_kernels.keep_matching(slots, only, listed, not condition.excluding, table.labels,
                                           table.label_offset, table.label_count)
        return slots[:kept]

    def _pairs_of(self, name: int, view: View) -> NDArray[np.int32]:
        """i32, sorted; some may have lost their last series."""
        base = view.base
        at = int(np.searchsorted(base.names, name))
        known = NO_SLOTS
        if at < base.names.size and base.names[at] == name:
            known = base.name_pairs[base.name_offsets[at] : base.name_offsets[at + 1]]
        fresh = view.fresh_pairs[self._table.pair_name[view.fresh_pairs] == name]
        return np.union1d(known, fresh) if fresh.size else known

    def _condition(self, matcher: Matcher, view: View) -> Condition:
        """What the matcher means. It is kept, so that a matcher that comes again is evaluated over new pairs only."""
        known = self._known.get(matcher)
        if known is not None and known.generation != view.generation:
            known = None
        if known is not None and known.pairs_made >= view.pairs_made:  # more, where another query was here since
            return known.condition
        table = self._table
        tested = ValueFilter(matcher) if known is None else known.filter
        name = table.find_symbol(matcher.name)
        excluding = tested.matches("")
        told = tested.negative == excluding  # whether literals and pattern tell what is listed, or what is not
        if name < 0:
            pairs = NO_SLOTS
        elif tested.all_non_empty is not None:
            pairs = NO_SLOTS if tested.all_non_empty == excluding else self._pairs_of(name, view)
        elif tested.literals is not None:
            pairs = self._with_values(name, tested.literals)
            if not told:
                pairs = np.setdiff1d(self._pairs_of(name, view), pairs, assume_unique=True)
        else:
            fresh = table.pairs_born(known.pairs_made, view.pairs_made) if known is not None else None
            if known is None or fresh is None:
                every = self._pairs_of(name, view)
                pairs = every[tested.among(self._values(every)) != excluding]
            else:
                fresh = fresh[table.pair_name[fresh] == name]
                fresh = fresh[tested.among(self._values(fresh)) != excluding]
                pairs = np.union1d(known.condition.pairs, fresh) if fresh.size else known.condition.pairs
        condition = Condition(pairs, excluding)
        if len(self._known) >= MOST_KNOWN or self._known_pairs > MOST_KNOWN_PAIRS:
            self._known.clear()
            self._known_pairs = 0
        self._known_pairs += pairs.size
        self._known[matcher] = Known(tested, condition, view.pairs_made, view.generation)
        return condition

    def _with_values(self, name: int, values: Sequence[str]) -> NDArray[np.int32]:
        """The pairs of a name that have any of these values."""
        table = self._table
        symbols = [table.find_symbol(text) for text in values if text]
        found = [table.find_pair(name, symbol) for symbol in symbols if symbol >= 0]
        return np.array(sorted({pair for pair in found if pair >= 0}), np.int32)

    def _values(self, pairs: NDArray[np.int32]) -> Texts:
        return self._table.texts(self._table.pair_value[pairs])


class _Listed:
    """A condition in terms of the lists of a base."""

    __slots__ = ("condition", "excluding", "lists", "size")

    def __init__(self, condition: Condition, base: Base) -> None:
        pairs = condition.pairs
        self.condition = condition
        self.excluding = condition.excluding
        if pairs.size == 1:
            pair = int(pairs[0])
            known = pair < base.pairs
            self.lists = pairs.astype(np.int64) if known else np.zeros(0, np.int64)
            self.size = int(base.offsets[pair + 1]) - int(base.offsets[pair]) if known else 0
        else:
            self.lists = pairs[pairs < base.pairs].astype(np.int64)
            self.size = int((base.offsets[self.lists + 1].astype(np.int64) - base.offsets[self.lists]).sum())


def _marked(listed: _Listed, base: Base) -> NDArray[np.bool_]:
    """bool[]: slots that are on the lists."""
    marks = np.zeros(int(base.slots[-1]) + 1 if base.slots.size else 0, np.uint8)
    index_kernels.mark_listed(listed.lists, base.offsets, base.postings, marks)
    return marks.view(np.bool_)


def _merged(a: NDArray[np.int32], b: NDArray[np.int32]) -> NDArray[np.int32]:
    """Two sorted arrays as one."""
    if not b.size:
        return a
    both = np.concatenate((a, b))
    if a.size and a[-1] > b[0]:
        both.sort(kind="stable")
    return both


def _read_only(array: NDArray[T]) -> NDArray[T]:
    array.flags.writeable = False
    return array
