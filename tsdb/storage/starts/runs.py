"""Runs of start times, sorted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tsdb.storage.starts import start_kernels


@dataclass(frozen=True, slots=True)
class StartRuns:
    """Immutable. What comes before a series' first run has no start time."""

    series: NDArray[np.int32]
    """i32[n], sorted: rows of a block or of a tile, or slots of the head."""
    ts: NDArray[np.int64]
    """i64[n], ms, ascending within a series: from when on."""
    starts: NDArray[np.int64]
    """i64[n], ms; 0: none."""

    @classmethod
    def none(cls) -> Self:
        return cls(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.int64))

    @classmethod
    def of_samples(cls, begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64],
                   starts: NDArray[np.int64]) -> Self:
        """Of rows whose samples are at begin[i]:end[i] (i64[rows]) of `ts` and `starts` (i64[] ms)."""
        room = int((end - begin).sum())
        row, run_ts, run_start = np.empty(room, np.int32), np.empty(room, np.int64), np.empty(room, np.int64)
        found = start_kernels.find_runs(begin, end, ts, starts, row, run_ts, run_start)
        return cls(row[:found].copy(), run_ts[:found].copy(), run_start[:found].copy())

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """Series of a later part come behind those of an earlier one."""
        return cls(*(np.concatenate([getattr(part, name) for part in [cls.none(), *parts]])
                     for name in ("series", "ts", "starts")))

    def __len__(self) -> int:
        return int(self.series.size)

    def of(self, series: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(begin i64[k], end i64[k]) of k series in any order: the runs of series[i] are at begin[i]:end[i]."""
        return (np.searchsorted(self.series, series, "left").astype(np.int64),
                np.searchsorted(self.series, series, "right").astype(np.int64))

    def take(self, series: NDArray[np.int32]) -> StartRuns:
        """Those of k series (i32[k], each once) as series 0 … k - 1."""
        begin, end = self.of(series)
        counts = end - begin
        at = np.repeat(begin - counts.cumsum() + counts, counts) + np.arange(int(counts.sum()))
        return StartRuns(np.repeat(np.arange(series.size, dtype=np.int32), counts), self.ts[at], self.starts[at])

    def within(self, mint: int, maxt: int) -> StartRuns:
        """For samples with mint <= ts < maxt (ms): what is in force at mint begins there."""
        following = np.append(self.ts[1:], maxt)[: len(self)]
        last = np.append(self.series[1:] != self.series[:-1], True)[: len(self)]
        inside = (np.where(last, maxt, following) > mint) & (self.ts < maxt)
        kept = StartRuns(self.series[inside], np.maximum(self.ts[inside], mint), self.starts[inside])
        return kept.merged()

    def merged(self) -> StartRuns:
        """Without those that say what was in force before."""
        if not len(self):
            return self
        same = self.series[1:] == self.series[:-1]
        before = np.concatenate(([0], np.where(same, self.starts[:-1], 0)))
        kept = self.starts != before
        return self if kept.all() else StartRuns(self.series[kept], self.ts[kept], self.starts[kept])

    def fill(self, first: NDArray[np.int64], past: NDArray[np.int64], mint: int, maxt: int, begin: NDArray[np.int64],
             end: NDArray[np.int64], ts: NDArray[np.int64], out: NDArray[np.int64]) -> None:
        """Writes the start times of the samples with mint <= ts < maxt (ms) of n rows to `out` i64[] beside `ts` i64[]:
        those of row i are at begin[i]:end[i] (i64[n]), its runs at first[i]:past[i] (i64[n]) of these."""
        start_kernels.fill(first, past, self.ts, self.starts, mint, maxt, begin, end, ts, out)
