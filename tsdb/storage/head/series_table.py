"""The series table: canonical keys to slots, and each series' labels as ids of symbols and pairs.

Only the appender's thread changes it. Readers use it without a lock: arrays never move, and what counts births grows
after what it counts is written. Slots, pairs and symbols of series that are gone are used again
(`tsdb.storage.head.collector`), not before all readers that might have seen them have left `readers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsdb.model.batch import Batch
from tsdb.model.errors import Corruption, Unavailable
from tsdb.storage.head import arena, layout, series_kernels, table_kernels
from tsdb.storage.head.churn import Churn
from tsdb.storage.head.limits import NO_RULES, Rules
from tsdb.storage.head.readers import Readers
from tsdb.storage.head.series_kernels import (
    FULL,
    GROW_BIRTHS,
    GROW_PAIR_BIRTHS,
    GROW_PAIRS,
    GROW_SERIES,
    GROW_SYMBOLS,
    MALFORMED,
)
from tsdb.storage.regexes import Texts

FIRST_TABLE = 1 << 14
FIRST_RING = 1 << 13
MOST_FOUND = 1000
"""Texts whose symbols, or that they have none, are kept at hand."""
MOST_TEXTS = 20_000
"""Texts of symbols that are kept as Python has them: some 2 MB."""
NEW_SERIES_PER_STEP = 2000
"""New series made by one kernel call: well below 5 ms."""


class SeriesTable:
    """All series of the head. Arrays of the table are indexed by slot, symbol or pair."""

    def __init__(self, secret: NDArray[np.uint64], records: NDArray[np.void]) -> None:
        self.secret = secret
        self.records = records
        self.readers = Readers()
        self.churn = Churn()
        self.generation = 0
        """Grows whenever ids vanish or are used again: what is kept by slot, pair or symbol holds in one generation."""
        self.forget()
        self.counters = np.zeros(series_kernels.COUNTERS, np.int64)
        self.counters[series_kernels.NEXT_REF] = 1
        self.free = np.zeros((3, table_kernels.CLASSES), np.int64)
        """Heads of the lists of free room."""
        self.births = np.zeros(FIRST_RING, np.int32)
        """i32[power of two]: slots of the newest series; the n-th ever made is at n % size."""
        self.pair_births = np.zeros(FIRST_RING, np.int32)
        """Likewise, pairs that got their first series."""
        self.table = np.zeros(FIRST_TABLE, np.uint64)
        self.key_bytes = arena.reserve("keys", layout.MAX_KEY_BYTES, np.uint8)
        self.key_offset = arena.reserve("key-offsets", layout.MAX_SERIES, np.uint64)
        self.key_length = arena.reserve("key-lengths", layout.MAX_SERIES, np.uint32)
        self.symbol_table = np.zeros(FIRST_TABLE, np.uint64)
        self.symbol_bytes = arena.reserve("symbols", layout.MAX_SYMBOL_BYTES, np.uint8)
        self._readable = self.symbol_bytes.view()
        self._readable.flags.writeable = False
        self.symbol_offset = arena.reserve("symbol-offsets", layout.MAX_SYMBOLS, np.uint64)
        self.symbol_length = arena.reserve("symbol-lengths", layout.MAX_SYMBOLS, np.uint32)
        self.symbol_uses = arena.reserve("symbol-uses", layout.MAX_SYMBOLS, np.uint32)
        """Pairs that have it."""
        self.pair_table = np.zeros(FIRST_TABLE, np.uint64)
        self.pair_name = arena.reserve("pair-names", layout.MAX_PAIRS, np.uint32)
        self.pair_value = arena.reserve("pair-values", layout.MAX_PAIRS, np.uint32)
        self.pair_uses = arena.reserve("pair-uses", layout.MAX_PAIRS, np.uint32)
        """Series that have it; 0: none any more, and the id may be free."""
        self.name_values = arena.reserve("name-values", layout.MAX_SYMBOLS, np.uint32)
        """By symbol of a label name: how many of its pairs are in use."""
        self.labels = arena.reserve("labels", layout.MAX_LABELS, np.uint32)
        self.label_offset = arena.reserve("label-offsets", layout.MAX_SERIES, np.uint64)
        self.label_count = arena.reserve("label-counts", layout.MAX_SERIES, np.uint16)

    @property
    def size(self) -> int:
        """All slots are below; those whose record has the ref 0 are free."""
        return int(self.counters[series_kernels.SLOTS])

    @property
    def pairs(self) -> int:
        """All pairs are below."""
        return int(self.counters[series_kernels.PAIRS])

    @property
    def symbols(self) -> int:
        """All symbols are below."""
        return int(self.counters[series_kernels.SYMBOLS])

    @property
    def series(self) -> int:
        """How many series there are."""
        return int(self.counters[series_kernels.BIRTHS] - self.counters[series_kernels.DEATHS])

    @property
    def made(self) -> int:
        """How many series were ever made. While it stays, nothing is new."""
        return int(self.counters[series_kernels.BIRTHS])

    @property
    def removed(self) -> int:
        """How many series were ever removed."""
        return int(self.counters[series_kernels.DEATHS])

    @property
    def pairs_made(self) -> int:
        """How often a pair got its first series."""
        return int(self.counters[series_kernels.PAIR_BIRTHS])

    @property
    def pairs_in_use(self) -> int:
        return int(self.counters[series_kernels.PAIRS] - self.counters[series_kernels.FREE_PAIRS])

    @property
    def symbols_in_use(self) -> int:
        return int(self.counters[series_kernels.SYMBOLS] - self.counters[series_kernels.FREE_SYMBOLS])

    def live(self) -> NDArray[np.int32]:
        """Slots of all series, i32, sorted. Between commits."""
        return np.flatnonzero(self.records["ref"][: self.size]).astype(np.int32)

    def unlogged(self) -> NDArray[np.int32]:
        """Slots i32[] of series made since `logged`. Of the appender's thread."""
        counters = self.counters
        return _part(self.births, int(counters[series_kernels.LOGGED]), int(counters[series_kernels.BIRTHS]))

    def logged(self) -> None:
        """All series are in the log."""
        self.counters[series_kernels.LOGGED] = self.counters[series_kernels.BIRTHS]

    def born(self, since: int, until: int) -> NDArray[np.int32] | None:
        """Slots i32[] of the series since:until of all ever made, `until` at most `made`; None: too long ago."""
        found = _part(self.births, since, until)
        return None if self.counters[series_kernels.INDEXED] > since else found

    def pairs_born(self, since: int, until: int) -> NDArray[np.int32] | None:
        """Likewise, pairs; one that lost its last series and got another one may be there again."""
        found = _part(self.pair_births, since, until)
        return None if self.counters[series_kernels.INDEXED_PAIRS] > since else found

    def indexed(self, made: int, pairs_made: int) -> None:
        """Births before these need not be remembered."""
        self.counters[series_kernels.INDEXED] = made
        self.counters[series_kernels.INDEXED_PAIRS] = pairs_made

    def forget(self) -> None:
        """Begins a generation."""
        self.generation += 1
        self._found: dict[str, int] = {}
        self._missing: dict[str, int] = {}
        """Texts without a symbol, each with how many series had been made."""
        self._texts: dict[int, str] = {}

    def resolve(self, batch: Batch) -> tuple[NDArray[np.int32], int]:
        """(slot i32 of every row of a batch, -1 where it is new; how many are new)."""
        out = np.empty(batch.row_hash.size, np.int32)
        missing = series_kernels.lookup(
            batch.row_hash, batch.keys, batch.row_offset, batch.row_length, self.table, self.key_bytes,
            self.key_offset, self.key_length, out,
        )
        return out, missing

    def create(
        self, hashes: NDArray[np.uint64], keys: NDArray[np.uint8], offsets: NDArray[np.uint32],
        lengths: NDArray[np.uint32], slots: NDArray[np.int32], given: NDArray[np.uint64] | None = None,
        rules: Rules = NO_RULES,
    ) -> None:
        """Makes series for all rows whose slot is -1 and fills it in. `given` u64[rows]: refs on replay. What `rules`
        do not allow is not made: see `series_kernels.create`.

        Raises Unavailable where the head is full, Corruption for a key that is not canonical.
        """
        if given is None:
            given = np.zeros(hashes.size, np.uint64)
        self._shrink_rings()
        row = 0
        while row < hashes.size:
            reason, row = series_kernels.create(
                hashes, keys, offsets, lengths, slots, given, self.secret, row, NEW_SERIES_PER_STEP, self.counters,
                self.free, self.table, self.key_bytes, self.key_offset, self.key_length,
                self.symbol_table, self.symbol_bytes, self.symbol_offset, self.symbol_length, self.symbol_uses,
                self.pair_table, self.pair_name, self.pair_value, self.pair_uses, self.name_values,
                self.labels, self.label_offset, self.label_count, self.records, self.births, self.pair_births,
                rules.rows, rules.names,
            )
            counters = self.counters
            if reason == GROW_SERIES:
                self.table, counters[series_kernels.TABLE_USED] = _rehashed(
                    self.table, int(counters[series_kernels.TABLE_USED]) - self.series)
            elif reason == GROW_SYMBOLS:
                self.symbol_table, counters[series_kernels.SYMBOL_TABLE_USED] = _rehashed(
                    self.symbol_table, int(counters[series_kernels.SYMBOL_TABLE_USED]) - self.symbols_in_use)
            elif reason == GROW_PAIRS:
                self.pair_table, counters[series_kernels.PAIR_TABLE_USED] = _rehashed(
                    self.pair_table, int(counters[series_kernels.PAIR_TABLE_USED]) - self.pairs_in_use)
            elif reason == GROW_BIRTHS:
                self.births = np.concatenate((self.births, self.births))
            elif reason == GROW_PAIR_BIRTHS:
                self.pair_births = np.concatenate((self.pair_births, self.pair_births))
            elif reason == FULL:
                raise Unavailable(f"the head holds {self.series} series and can take no more of this kind")
            elif reason == MALFORMED:
                raise Corruption(f"the key of row {row} is not canonical")

    def _shrink_rings(self) -> None:
        """After many series were made at once: the rings need not stay so large."""
        counters = self.counters
        needed = int(counters[series_kernels.BIRTHS]
                     - min(counters[series_kernels.LOGGED], counters[series_kernels.INDEXED]))
        if self.births.size > max(FIRST_RING, 16 * needed):
            self.births = _ring(self.births, self.made - needed, self.made, FIRST_RING)
        needed = int(counters[series_kernels.PAIR_BIRTHS] - counters[series_kernels.INDEXED_PAIRS])
        if self.pair_births.size > max(FIRST_RING, 16 * needed):
            self.pair_births = _ring(self.pair_births, self.pairs_made - needed, self.pairs_made, FIRST_RING)

    def reserve_refs(self, last: int) -> None:
        """New series get refs above `last`: a chunk may outlive the log records that named its series."""
        self.counters[series_kernels.NEXT_REF] = max(int(self.counters[series_kernels.NEXT_REF]), last + 1)

    @property
    def next_ref(self) -> int:
        return int(self.counters[series_kernels.NEXT_REF])

    def make_room(self, series: int, symbols: int, pairs: int) -> None:
        """Hash tables for so many, while there are none."""
        self.table, self.symbol_table, self.pair_table = (
            np.zeros(max(FIRST_TABLE, 1 << (2 * most).bit_length()), np.uint64) for most in (series, symbols, pairs)
        )

    def restored(self, series: int, symbols: int, pairs: int) -> None:
        """Arrays and hash tables have been filled, slots, symbols and pairs from 0 on: now they count. All series are
        in the log."""
        counters = self.counters
        for place, count in (
            (series_kernels.SLOTS, series), (series_kernels.BIRTHS, series), (series_kernels.LOGGED, series),
            (series_kernels.TABLE_USED, series),
            (series_kernels.SYMBOLS, symbols), (series_kernels.SYMBOL_TABLE_USED, symbols),
            (series_kernels.PAIRS, pairs), (series_kernels.PAIR_BIRTHS, pairs), (series_kernels.PAIR_TABLE_USED, pairs),
        ):
            counters[place] = count
        values = np.bincount(self.pair_name[:pairs])
        names = np.flatnonzero(values)
        self.name_values[names] = values[names]
        self.births = np.arange(max(FIRST_RING, 1 << series.bit_length()), dtype=np.int32)
        self.pair_births = np.arange(max(FIRST_RING, 1 << pairs.bit_length()), dtype=np.int32)

    def key(self, slot: int) -> bytes:
        """The canonical key of one series, for messages and tests."""
        at = int(self.key_offset[slot])
        return self.key_bytes[at : at + int(self.key_length[slot])].tobytes()

    def find_symbol(self, text: str) -> int:
        """The symbol of a text, or -1."""
        kept, missing = self._found, self._missing
        found = kept.get(text)
        if found is not None:
            return found
        made = self.made
        if missing.get(text) == made:
            return -1
        data = np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)
        found = series_kernels.find_symbol(
            self.secret, self.symbol_table, self.symbol_bytes, self.symbol_offset, self.symbol_length, data
        )
        value = found
        if found < 0:
            kept, value = missing, made
        if len(kept) >= MOST_FOUND:
            kept.clear()
        kept[text] = value
        return found

    def find_pair(self, name: int, value: int) -> int:
        """The pair of two symbols, or -1."""
        return series_kernels.find_label(self.secret, self.pair_table, self.pair_name, self.pair_value, name, value)

    def text_bytes(self, symbol: int) -> bytes:
        at = int(self.symbol_offset[symbol])
        return self.symbol_bytes[at : at + int(self.symbol_length[symbol])].tobytes()

    def text(self, symbol: int) -> str:
        kept = self._texts
        found = kept.get(symbol)
        if found is None:
            found = self.text_bytes(symbol).decode()
            if len(kept) >= MOST_TEXTS:
                kept.clear()
            kept[symbol] = found
        return found

    def texts(self, symbols: NDArray[np.integer[Any]]) -> Texts:
        """Of many symbols, as kernels take them."""
        return Texts(self._readable, self.symbol_offset[symbols].astype(np.int64),
                     self.symbol_length[symbols].astype(np.int64))

    def texts_of(self, symbols: Sequence[int]) -> list[str]:
        """Of many symbols: quicker than one by one, and not kept."""
        return self.texts(np.array(symbols, np.int64)).strings()


def _part(ring: NDArray[np.int32], since: int, until: int) -> NDArray[np.int32]:
    """A copy of since:until."""
    begin, end = since % ring.size, until % ring.size
    if begin < end or since == until:
        return ring[begin:end].copy()
    return np.concatenate((ring[begin:], ring[:end]))


def _ring(ring: NDArray[np.int32], since: int, until: int, least: int) -> NDArray[np.int32]:
    """A smaller ring with since:until."""
    size = max(least, 1 << (2 * (until - since)).bit_length())
    found = np.zeros(size, np.int32)
    found[np.arange(since, until) % size] = _part(ring, since, until)
    return found


def _rehashed(table: NDArray[np.uint64], removed: int) -> tuple[NDArray[np.uint64], int]:
    """The table without its removed entries, and twice as large unless these took much of it; how many it has now."""
    larger = np.zeros(table.size * (1 if removed * 8 > table.size else 2), np.uint64)
    return larger, table_kernels.rehash(table, larger)
