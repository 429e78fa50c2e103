"""Symbols, names and pairs of a block: all sorted, found by bisection."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tsdb.storage.block.sections import Index
from tsdb.storage.regexes import Texts


class SymbolTable:
    """The texts of a block. Ids order as their texts do."""

    def __init__(self, index: Index) -> None:
        self._offset, self._bytes = index["symbol_offset"], index["symbol_bytes"]
        self._names, self._ranges = index["name_symbol"], index["name_pair"]
        self._values = index["pair_value"]

    def __len__(self) -> int:
        return self._offset.size - 1

    @property
    def symbols(self) -> int:
        return len(self)

    def text(self, symbol: int) -> str:
        return self._text(symbol).decode()

    def texts_of(self, symbols: Sequence[int]) -> list[str]:
        """Of many."""
        return [text.decode() for text in self.texts(np.array(symbols, np.int64))]

    def find_symbol(self, text: str) -> int:
        """The symbol of a text, or -1."""
        return self.find(text.encode("utf-8", "surrogateescape"))

    def texts(self, symbols: NDArray[np.int64]) -> list[bytes]:
        """Of many symbols."""
        begin, end = self._offset.at(symbols), self._offset.at(symbols + 1)
        self._bytes.check_spans(begin, end)
        if symbols.size * 8 < len(self):
            parts = self._bytes.raw.data
            return [bytes(parts[i:j]) for i, j in zip(begin.tolist(), end.tolist(), strict=True)]
        data = self._bytes.raw.tobytes()
        return [data[i:j] for i, j in zip(begin.tolist(), end.tolist(), strict=True)]

    def find(self, text: bytes) -> int:
        """The symbol of a text, or -1."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self._text(middle) < text:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self) and self._text(low) == text else -1

    def names(self) -> NDArray[np.uint32]:
        """Symbols of all label names, u32, sorted."""
        return self._names.all()

    def pairs_of(self, name: bytes) -> tuple[int, int]:
        """The pairs of a label name: first, and the one behind the last; sorted by value."""
        symbol = self.find(name)
        names = self.names()
        at = int(np.searchsorted(names, symbol)) if symbol >= 0 else names.size
        if at == names.size or int(names[at]) != symbol:
            return 0, 0
        low, high = self._ranges.part(at, at + 2).tolist()
        return low, high

    def find_pair(self, low: int, high: int, value: bytes) -> int:
        """The pair with that value among the pairs low:high of a name, or -1."""
        symbol = self.find(value)
        if symbol < 0:
            return -1
        values = self._values.part(low, high)
        at = int(np.searchsorted(values, symbol))
        return low + at if at < values.size and int(values[at]) == symbol else -1

    def values(self, low: int, high: int) -> list[bytes]:
        """The values of the pairs low:high, sorted."""
        return self.texts(self._values.part(low, high).astype(np.int64))

    def value_texts(self, low: int, high: int) -> Texts:
        """The same, as kernels take them."""
        symbols = self._values.part(low, high).astype(np.int64)
        begin, end = self._offset.at(symbols).astype(np.int64), self._offset.at(symbols + 1).astype(np.int64)
        self._bytes.check_spans(begin, end)
        return Texts(self._bytes.raw, begin, end - begin)

    def _text(self, symbol: int) -> bytes:
        begin, end = self._offset.part(symbol, symbol + 2).tolist()
        return self._bytes.part(begin, end).tobytes()
