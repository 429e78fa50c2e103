"""The series table: canonical keys to slots, and each series' labels as ids of symbols and pairs.

Only the appender adds to it. Readers use it without a lock: arrays never move, and `SeriesTable.size` grows after
what it counts is written.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.model.batch import Batch
from tsdb.model.errors import Corruption, Unavailable
from tsdb.storage.head import arena, layout, series_kernels
from tsdb.storage.head.series_kernels import FULL, GROW_PAIRS, GROW_SERIES, GROW_SYMBOLS, MALFORMED

FIRST_TABLE = 1 << 14
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
        self._found: dict[str, int] = {}
        self._missing: dict[str, int] = {}
        """Texts without a symbol, each with how many series there were."""
        self._texts: dict[int, str] = {}
        self.counters = np.zeros(7, np.int64)
        self.counters[series_kernels.NEXT_REF] = 1
        self.table = np.zeros(FIRST_TABLE, np.uint64)
        self.key_bytes = arena.reserve("keys", layout.MAX_KEY_BYTES, np.uint8)
        self.key_offset = arena.reserve("key-offsets", layout.MAX_SERIES, np.uint64)
        self.key_length = arena.reserve("key-lengths", layout.MAX_SERIES, np.uint32)
        self.symbol_table = np.zeros(FIRST_TABLE, np.uint64)
        self.symbol_bytes = arena.reserve("symbols", layout.MAX_SYMBOL_BYTES, np.uint8)
        self.symbol_offset = arena.reserve("symbol-offsets", layout.MAX_SYMBOLS, np.uint64)
        self.symbol_length = arena.reserve("symbol-lengths", layout.MAX_SYMBOLS, np.uint32)
        self.pair_table = np.zeros(FIRST_TABLE, np.uint64)
        self.pair_name = arena.reserve("pair-names", layout.MAX_PAIRS, np.uint32)
        self.pair_value = arena.reserve("pair-values", layout.MAX_PAIRS, np.uint32)
        self.labels = arena.reserve("labels", layout.MAX_LABELS, np.uint32)
        self.label_offset = arena.reserve("label-offsets", layout.MAX_SERIES, np.uint64)
        self.label_count = arena.reserve("label-counts", layout.MAX_SERIES, np.uint16)
        self.slot_of_ref = arena.reserve("slot-of-ref", layout.MAX_REF, np.uint32)

    @property
    def size(self) -> int:
        """Slots in use: 0 … size - 1."""
        return int(self.counters[series_kernels.SLOTS])

    @property
    def pairs(self) -> int:
        return int(self.counters[series_kernels.PAIRS])

    @property
    def symbols(self) -> int:
        return int(self.counters[series_kernels.SYMBOLS])

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
    ) -> None:
        """Makes series for all rows whose slot is -1 and fills it in. `given` u64[rows]: refs on replay.

        Raises Unavailable where the head is full, Corruption for a key that is not canonical.
        """
        if given is None:
            given = np.zeros(hashes.size, np.uint64)
        row = 0
        while row < hashes.size:
            reason, row = series_kernels.create(
                hashes, keys, offsets, lengths, slots, given, self.secret, row, NEW_SERIES_PER_STEP, self.counters,
                self.table, self.key_bytes, self.key_offset, self.key_length,
                self.symbol_table, self.symbol_bytes, self.symbol_offset, self.symbol_length,
                self.pair_table, self.pair_name, self.pair_value, self.labels, self.label_offset, self.label_count,
                self.records, self.slot_of_ref,
            )
            if reason == GROW_SERIES:
                self.table = _grown(self.table)
            elif reason == GROW_SYMBOLS:
                self.symbol_table = _grown(self.symbol_table)
            elif reason == GROW_PAIRS:
                self.pair_table = _grown(self.pair_table)
            elif reason == FULL:
                raise Unavailable(f"the head holds {self.size} series and can take no more of this kind")
            elif reason == MALFORMED:
                raise Corruption(f"the key of row {row} is not canonical")

    def reserve_refs(self, last: int) -> None:
        """New series get refs above `last`: a chunk may outlive the log records that named its series."""
        self.counters[series_kernels.NEXT_REF] = max(int(self.counters[series_kernels.NEXT_REF]), last + 1)

    def key(self, slot: int) -> bytes:
        """The canonical key of one series, for messages and tests."""
        at = int(self.key_offset[slot])
        return self.key_bytes[at : at + int(self.key_length[slot])].tobytes()

    def find_symbol(self, text: str) -> int:
        """The symbol of a text, or -1."""
        found = self._found.get(text)
        if found is not None:
            return found
        size = self.size
        if self._missing.get(text) == size:
            return -1
        data = np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)
        found = series_kernels.find_symbol(
            self.secret, self.symbol_table, self.symbol_bytes, self.symbol_offset, self.symbol_length, data
        )
        kept, value = (self._found, found) if found >= 0 else (self._missing, size)
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
        found = self._texts.get(symbol)
        if found is None:
            found = self.text_bytes(symbol).decode()
            if len(self._texts) >= MOST_TEXTS:
                self._texts.clear()
            self._texts[symbol] = found
        return found


def _grown(table: NDArray[np.uint64]) -> NDArray[np.uint64]:
    larger = np.zeros(table.size * 2, np.uint64)
    series_kernels.rehash(table, larger)
    return larger
