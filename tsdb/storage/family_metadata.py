"""Metadata of metric families, bounded: senders make up names."""

from __future__ import annotations

from tsdb.model.batch import Metadata

MOST = 100_000
"""Families."""
MOST_CHARACTERS = 64 << 20
"""Of names, helps and units together."""


class FamilyMetadata(dict[str, Metadata]):
    """By family, in the order in which they changed. Over a bound the one that changed longest ago goes."""

    def __init__(self) -> None:
        super().__init__()
        self.characters = 0

    def __setitem__(self, family: str, entry: Metadata) -> None:
        self._forget(family)
        super().__setitem__(family, entry)
        self.characters += _characters(entry)
        while len(self) > MOST or (self.characters > MOST_CHARACTERS and len(self) > 1):
            self._forget(next(iter(self)))

    def _forget(self, family: str) -> None:
        gone = self.pop(family, None)
        if gone is not None:
            self.characters -= _characters(gone)


def _characters(entry: Metadata) -> int:
    return len(entry.family) + len(entry.help) + len(entry.unit)
