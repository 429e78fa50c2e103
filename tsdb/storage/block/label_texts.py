"""Names of labels, and values of each, of all series of a block."""

from __future__ import annotations

from tsdb.storage.block.sections import Index
from tsdb.storage.block.symbols import SymbolTable

MOST_KEPT = 20
"""Lists that are kept, each of at most `LONGEST_KEPT` texts: some 20 MB if all are so long."""
LONGEST_KEPT = 10_000


class LabelTexts:
    """Of one block. Any thread may ask; what is given is not to be changed."""

    def __init__(self, index: Index, symbols: SymbolTable) -> None:
        self._index = index
        self._symbols = symbols
        self._kept: dict[str | None, list[str]] = {}

    def every(self, label: str | None) -> list[str]:
        """Sorted values of a label; None: the names of all labels. Corruption."""
        texts = self._kept.get(label)
        if texts is None:
            texts = self._read(label)
            if len(texts) <= LONGEST_KEPT:
                if len(self._kept) >= MOST_KEPT:
                    self._kept.clear()
                self._kept[label] = texts
        return texts

    def _read(self, label: str | None) -> list[str]:
        symbols = self._symbols
        if label is None:
            return symbols.texts_of(symbols.names().tolist())
        low, high = symbols.pairs_of(label.encode("utf-8", "surrogateescape"))
        return symbols.texts_of(self._index["pair_value"].part(low, high).tolist())
