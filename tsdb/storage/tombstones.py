"""Tombstones: what was deleted and still stands in chunks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST = -(1 << 63)


@dataclass(frozen=True, slots=True)
class Tombstones:
    """Intervals by series: rows of a block, or slots of the head. Immutable: adding makes new ones."""

    series: NDArray[np.int32]
    """i32[n], sorted; a series has as many entries as intervals, which do not touch and are in time order."""
    mint: NDArray[np.int64]
    """i64[n], ms, inclusive"""
    maxt: NDArray[np.int64]
    """i64[n], ms, inclusive"""

    @classmethod
    def none(cls) -> Tombstones:
        return cls(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.int64))

    def __len__(self) -> int:
        return int(self.series.size)

    def same_as(self, other: Tombstones) -> bool:
        return all(np.array_equal(mine, others) for mine, others in (
            (self.series, other.series), (self.mint, other.mint), (self.maxt, other.maxt)))

    def of(self, series: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(begin i64[k], end i64[k]) of k series in any order: the intervals of series[i] are at begin[i]:end[i]."""
        return (np.searchsorted(self.series, series, "left").astype(np.int64),
                np.searchsorted(self.series, series, "right").astype(np.int64))

    def adding(self, series: NDArray[np.int32], mint: NDArray[np.int64], maxt: NDArray[np.int64]) -> Tombstones:
        """With an interval (ms, inclusive) more for each of `series`; overlapping and touching ones are merged."""
        every = np.concatenate((self.series, series.astype(np.int32)))
        begins, ends = np.concatenate((self.mint, mint)), np.concatenate((self.maxt, maxt))
        order = np.lexsort((begins, every))
        every, begins, ends = every[order], begins[order], ends[order]
        if every.size == 0:
            return self
        # the greatest end so far within each series: ranks of the ends, in a lane of its own for each series
        places = np.empty(every.size, np.int64)
        places[np.argsort(ends, kind="stable")] = np.arange(every.size)
        other = np.append(True, every[1:] != every[:-1])
        lanes = np.cumsum(other) * every.size
        reached = np.sort(ends)[np.maximum.accumulate(lanes + places) - lanes]
        before = np.where(begins[1:] > LEAST, begins[1:], LEAST + 1) - 1
        first = np.flatnonzero(np.append(True, other[1:] | (before > reached[:-1])))
        last = np.append(first[1:], every.size) - 1
        return Tombstones(every[first], begins[first], reached[last])
