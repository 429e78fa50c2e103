"""Lists of texts, laid out for the kernel that scores them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tsdb.server.completion.fuzzy_kernels import score_texts

AT_ONCE = 20_000
"""Texts that one call of the kernel looks at: some milliseconds."""


class Texts:
    """Immutable; any thread may ask."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self._plain: _Codes | None = None
        self._folded: _Codes | None = None
        self._lengths: NDArray[np.int64] | None = None

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Characters of each, i64[n]."""
        if self._lengths is None:
            self._lengths = np.fromiter(map(len, self.texts), np.int64, len(self.texts))
        return self._lengths

    def place(self, text: str) -> int | None:
        """Where it stands, if the texts are sorted; None: nowhere."""
        at = bisect_left(self.texts, text)
        return at if at < len(self.texts) and self.texts[at] == text else None

    def scores(self, pattern: str, algorithm: int, threshold: float, check: Callable[[], None], *, fold: bool,
               ) -> NDArray[np.float64]:
        """f64[n], as `score_texts` has them. `fold`: upper case is no difference. `check` is called every few
        milliseconds, and what it raises ends the search."""
        if not pattern:
            return np.ones(len(self.texts))
        if fold:
            codes = self._folded = self._folded or _Codes([text.lower() for text in self.texts])
            pattern = pattern.lower()
        else:
            codes = self._plain = self._plain or _Codes(self.texts)
        return codes.scores(_codes(pattern), algorithm, threshold, check)


class _Codes:
    """Characters of all texts, one behind the other."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.codes = _codes("".join(texts))
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        self.offsets = np.concatenate([np.zeros(1, np.int64), lengths.cumsum()])
        self.longest = int(lengths.max(initial=0))

    def scores(self, pattern: NDArray[np.uint32], algorithm: int, threshold: float, check: Callable[[], None],
               ) -> NDArray[np.float64]:
        scores = np.empty(self.offsets.size - 1)
        marks = np.empty(self.longest + pattern.size, np.uint8)
        for first in range(0, scores.size, AT_ONCE):
            check()
            part = slice(first, first + AT_ONCE)
            offsets = self.offsets[first : first + AT_ONCE + 1]
            score_texts(pattern, self.codes, offsets, algorithm, threshold, marks, scores[part])
        return scores


def _codes(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
