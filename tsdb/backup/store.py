"""Where backups are kept: named objects that are written once, read, listed and removed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Found:
    """An object."""

    size: int
    """bytes"""
    age_s: float
    """Seconds since it was written."""


class Store(Protocol):
    """A folder or a bucket. Keys are paths with `/` between their parts. Operations raise StorageError with the place
    and the remedy; `get` raises FileNotFoundError where there is no such object."""

    def list(self, prefix: str) -> Mapping[str, Found]:
        """The objects whose keys begin with `<prefix>/`."""
        ...

    def put(self, key: str, pieces: Iterable[bytes], size: int) -> None:
        """Writes an object of `size` bytes: it is there as a whole, durably, or not at all. What `pieces` raises leaves
        nothing behind."""
        ...

    def get(self, key: str) -> Iterator[bytes]:
        """The content of an object, in pieces of some MiB."""
        ...

    def remove(self, keys: Sequence[str]) -> None:
        """Removes objects."""
        ...

    def place(self, key: str = "") -> str:
        """What people call an object, or the whole."""
        ...

    def in_use(self) -> AbstractContextManager[None]:
        """Held while backups are written, where the store can keep others out. Raises DirectoryLocked."""
        ...
