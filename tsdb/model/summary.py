"""A summary of observations: how many, their sum, and quantiles of the recent ones."""

from __future__ import annotations

import math
import threading
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

MOST = 1024
"""Observations kept: 16 bytes each."""
AGE_S = 600.0
"""Older ones are left out of quantiles, as in Prometheus' own summaries."""


@dataclass(frozen=True, slots=True)
class Summarized:
    """A summary at one moment."""

    count: int
    """All observations since the start."""
    sum: float
    quantiles: dict[float, float]
    """NaN where nothing was observed of late."""


class Summary:
    """Quantiles are exact over the newest 1,024 observations that are at most ten minutes old; Prometheus estimates
    them over all of ten minutes. Memory is bounded. Thread-safe."""

    __slots__ = ("_clock", "_count", "_lock", "_quantiles", "_sum", "_times", "_values")

    def __init__(self, quantiles: tuple[float, ...] = (0.5, 0.9, 0.99), clock: Callable[[], float] = time.monotonic,
                 ) -> None:
        self._quantiles = quantiles
        self._clock = clock
        self._lock = threading.Lock()
        self._count = 0
        self._sum = 0.0
        self._values = array("d")
        self._times = array("d")

    def observe(self, value: float) -> None:
        with self._lock:
            place = self._count % MOST
            self._count += 1
            self._sum += value
            if place == len(self._values):
                self._values.append(value)
                self._times.append(self._clock())
            else:
                self._values[place] = value
                self._times[place] = self._clock()

    @property
    def count(self) -> int:
        """Observations since the start."""
        return self._count

    def read(self) -> Summarized:
        oldest = self._clock() - AGE_S
        with self._lock:
            count, total = self._count, self._sum
            values, times = np.array(self._values), np.array(self._times)
        recent = values[times >= oldest]
        recent.sort()
        last = recent.size - 1
        found = {q: float(recent[min(max(math.ceil(q * recent.size) - 1, 0), last)]) if last >= 0 else math.nan
                 for q in self._quantiles}
        return Summarized(count, total, found)
