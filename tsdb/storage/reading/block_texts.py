"""Texts of blocks that the head does not have, and symbols of blocks as ids of a query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tsdb.storage.block import Block
from tsdb.storage.head import series_kernels, table_kernels
from tsdb.storage.head.series_table import SeriesTable
from tsdb.storage.reading import join_kernels
from tsdb.storage.reading.join_kernels import SYMBOL_BYTES, SYMBOLS

FIRST_ROOM = 64

T = TypeVar("T", bound=np.generic)


class BlockTexts:
    """`tsdb.storage.query_symbols.Texts` of one query: what its blocks have and the head has not."""

    def __init__(self, table: SeriesTable) -> None:
        self._head = table
        self._counters = np.zeros(2, np.int64)
        self._table = np.zeros(0, np.uint64)
        self._bytes = np.empty(0, np.uint8)
        self._offset = np.empty(0, np.uint64)
        self._length = np.empty(0, np.uint32)

    @property
    def symbols(self) -> int:
        return int(self._counters[SYMBOLS])

    def text(self, symbol: int) -> str:
        at = int(self._offset[symbol])
        return self._bytes[at : at + int(self._length[symbol])].tobytes().decode()

    def texts_of(self, symbols: Sequence[int]) -> list[str]:
        """Of many."""
        return list(map(self.text, symbols))

    def find_symbol(self, text: str) -> int:
        if not self.symbols:
            return -1
        data = np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)
        return series_kernels.find_symbol(self._head.secret, self._table, self._bytes, self._offset, self._length, data)

    def add(self, block: Block, symbols: NDArray[np.int64], limit: int) -> NDArray[np.uint32]:
        """Ids u32[n] of symbols of a block (i64[n]): those of the head below `limit`, then own ones. Corruption."""
        offset, texts = block.index["symbol_offset"], block.index["symbol_bytes"]
        texts.check_spans(offset.at(symbols), offset.at(symbols + 1))
        head = self._head
        out = np.empty(symbols.size, np.uint32)
        done = 0
        while True:
            if self._table.size:
                done = join_kernels.map_symbols(
                    symbols, done, texts.raw, offset.raw, offset.width, head.secret, head.symbol_table,
                    head.symbol_bytes, head.symbol_offset, head.symbol_length, limit, self._table, self._bytes,
                    self._offset, self._length, self._counters, out,
                )
                if done == symbols.size:
                    return out
            self._grow(block, symbols[done:])

    def _grow(self, block: Block, symbols: NDArray[np.int64]) -> None:
        """Room for all that is left."""
        offset = block.index["symbol_offset"]
        size = int((offset.at(symbols + 1).astype(np.int64) - offset.at(symbols)).sum())
        room = 1 << max(FIRST_ROOM, self.symbols + symbols.size).bit_length()
        table = np.zeros(2 * room, np.uint64)
        table_kernels.rehash(self._table, table)
        self._table = table
        self._bytes = _grown(self._bytes, int(self._counters[SYMBOL_BYTES]) + size + 8)
        self._offset, self._length = _grown(self._offset, room), _grown(self._length, room)


def _grown(array: NDArray[T], size: int) -> NDArray[T]:
    out = np.empty(max(size, array.size), array.dtype)
    out[: array.size] = array
    return out
