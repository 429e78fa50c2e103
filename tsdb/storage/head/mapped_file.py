"""A file that kernels append to through its mapping, or memory where the database is read-only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.storage.head import arena
from tsdb.wal.files import File, Mapping

LARGEST_MEMORY = 1 << 34
"""Bytes of address space that stand for a file."""


class MappedFile:
    """What is written stays where it is; earlier mappings stay until their readers let go of them."""

    def __init__(self, name: str, file: File | None, mapping: Mapping | None, memory: int = LARGEST_MEMORY) -> None:
        """`name` is for the memory of that many bytes that takes the place of a file."""
        self._name = name
        self._file = file
        self._mapping = mapping
        self.array: NDArray[np.uint8] = mapping.array if mapping is not None else arena.reserve(name, memory, np.uint8)
        """u8[], all that is mapped."""

    @property
    def in_file(self) -> bool:
        return self._file is not None

    @property
    def address(self) -> int:
        """Of the array's first byte."""
        return int(self.array.__array_interface__["data"][0])

    def extend(self, size: int) -> None:
        """Makes it `size` bytes, of which the new ones are zeros. Raises OSError."""
        if self._file is None:
            raise OSError(f"{self._name} in memory is full")
        self._file.allocate(size)
        self._map(size, writable=True)

    def shorten(self, size: int) -> None:
        """Gives back what is behind `size` bytes; nothing can be added then. Raises OSError."""
        if self._file is not None:
            self._file.truncate(size)
            self._map(size, writable=False)

    def sync(self) -> None:
        """Makes durable what was written through the mapping, too. OSError."""
        if self._file is not None:
            self._file.datasync()

    def close(self) -> None:
        self.array = np.empty(0, np.uint8)
        if self._mapping is not None:
            self._mapping.close()
        if self._file is not None:
            self._file.close()

    def _map(self, size: int, *, writable: bool) -> None:
        assert self._file is not None
        old, self._mapping = self._mapping, self._file.map(size, writable=writable)
        self.array = self._mapping.array
        if old is not None:
            old.close()
