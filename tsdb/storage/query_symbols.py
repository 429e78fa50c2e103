"""Symbols of one query: those of the head or of a block, and behind them the texts that only the query has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

MANY = 64


class Texts(Protocol):
    """A table of symbols."""

    @property
    def symbols(self) -> int:
        """How many ids are in use: 0 … symbols - 1."""
        ...

    def text(self, symbol: int) -> str: ...

    def texts_of(self, symbols: Sequence[int]) -> list[str]:
        """Of many."""
        ...

    def find_symbol(self, text: str) -> int:
        """-1: there is none."""
        ...


class QuerySymbols:
    """`tsdb.model.tiles.Symbols` over a table.

    Ids of the query's own texts follow those that the table has when this is made. What the table gets later it does
    not have for this query, so that an id never means two texts, nor a text two ids.
    """

    def __init__(self, table: Texts, more: Texts | None = None, alive: object = None) -> None:
        """`more`: texts that the table lacks, complete before the query makes any of its own. `alive` lives as long as
        this does."""
        self.first_own = table.symbols
        self._table = table
        self._more = more
        self._alive = alive
        self._texts: dict[int, str] = {}
        self._own: dict[str, int] = {}

    def text(self, symbol: int) -> str:
        found = self._texts.get(symbol)
        if found is None:
            if symbol < self.first_own or self._more is None:
                found = self._table.text(symbol)
            else:
                found = self._more.text(symbol - self.first_own)
            self._texts[symbol] = found
        return found

    def texts(self, symbols: Sequence[int]) -> list[str]:
        """Of many: quicker than one by one, and not kept."""
        if len(symbols) < MANY:
            return list(map(self.text, symbols))
        if max(symbols) < self.first_own:
            return self._table.texts_of(symbols)
        own = {place: self.text(symbol) for place, symbol in enumerate(symbols) if symbol >= self.first_own}
        others = iter(self._table.texts_of([symbol for symbol in symbols if symbol < self.first_own]))
        return [own[place] if place in own else next(others) for place in range(len(symbols))]

    def intern(self, text: str) -> int:
        found = self.find(text)
        if found < 0:
            found = self.first_own + len(self._own) + (0 if self._more is None else self._more.symbols)
            self._own[text] = found
            self._texts[found] = text
        return found

    def find(self, text: str) -> int:
        own = self._own.get(text)
        if own is not None:
            return own
        if self._more is not None:
            found = self._more.find_symbol(text)
            if found >= 0:
                return self.first_own + found
        found = self._table.find_symbol(text)
        return found if found < self.first_own else -1
