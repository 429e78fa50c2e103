"""How many different hashes there were."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Distinct:
    """Of u64 hashes: 8 bytes each, and a look-up in a sorted array for each that is given."""

    def __init__(self) -> None:
        self._known = np.empty(0, np.uint64)
        self._fresh: list[NDArray[np.uint64]] = []
        self._waiting = 0

    @property
    def count(self) -> int:
        self._merge()
        return self._known.size

    def add(self, hashes: NDArray[np.uint64]) -> None:
        if self._known.size:
            at = np.searchsorted(self._known, hashes)
            at[at == self._known.size] = 0
            hashes = hashes[self._known[at] != hashes]
        if hashes.size:
            self._fresh.append(hashes.copy())
            self._waiting += hashes.size
            if self._waiting > self._known.size // 4:
                self._merge()

    def _merge(self) -> None:
        if self._fresh:
            self._known = np.unique(np.concatenate([self._known, *self._fresh]))
            self._fresh, self._waiting = [], 0
