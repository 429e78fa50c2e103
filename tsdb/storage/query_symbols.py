"""Symbols of one query: those of the head or of a block, and the texts that the query makes behind them."""

from __future__ import annotations

from typing import Protocol

OWN_SYMBOLS = 1 << 31
"""Ids from here on are texts that the query made."""


class Texts(Protocol):
    """A table of symbols."""

    def text(self, symbol: int) -> str: ...

    def find_symbol(self, text: str) -> int:
        """-1: there is none."""
        ...


class QuerySymbols:
    """`tsdb.model.tiles.Symbols` over a table."""

    def __init__(self, table: Texts) -> None:
        self._table = table
        self._texts: dict[int, str] = {}
        self._own: dict[str, int] = {}

    def text(self, symbol: int) -> str:
        found = self._texts.get(symbol)
        if found is None:
            found = self._texts[symbol] = self._table.text(symbol)
        return found

    def intern(self, text: str) -> int:
        found = self.find(text)
        if found < 0:
            found = OWN_SYMBOLS + len(self._own)
            self._own[text] = found
            self._texts[found] = text
        return found

    def find(self, text: str) -> int:
        own = self._own.get(text)
        return self._table.find_symbol(text) if own is None else own
