"""Histograms with fixed buckets, as Prometheus' clients expose them."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True)
class Histogram:
    """Observed by one thread; others read it as it is."""

    bounds: tuple[float, ...]
    """Upper ones, inclusive, ascending; beyond the last there is one bucket more."""
    counts: list[int]
    """Of each bucket."""
    sum: float = 0.0

    @classmethod
    def exponential(cls, first: float, factor: float, count: int) -> Histogram:
        """As client_golang's ExponentialBuckets."""
        return cls(tuple(first * factor**i for i in range(count)), [0] * (count + 1))

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def observe_all(self, values: NDArray[Any]) -> None:
        found = np.bincount(np.searchsorted(self.bounds, values), minlength=len(self.counts))
        self.counts = [before + more for before, more in zip(self.counts, found.tolist(), strict=True)]
        self.sum += float(values.sum())

    def cumulative(self) -> list[tuple[float, int]]:
        """(upper bound, observations up to it), infinity last."""
        return list(zip((*self.bounds, math.inf), np.cumsum(self.counts).tolist(), strict=True))
