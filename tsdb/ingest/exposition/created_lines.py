"""Since when the samples of an OpenMetrics scrape count: what its ``_created`` lines say. They are series as well."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.exposition import exposition_kernels as kernels
from tsdb.ingest.exposition.created_kernels import link_created
from tsdb.ingest.exposition.scrape import ScrapeArrays
from tsdb.ingest.exposition.series_cache import SeriesCache
from tsdb.ingest.exposition.series_cache_kernels import DROPPED, FLAGS, SEEN

_NONE = np.empty(0, np.int32)


class CreatedLines:
    """Which of a target's series has which line."""

    def __init__(self, cache: SeriesCache) -> None:
        self._cache = cache
        self._linked = (0, 0)  # of how many entries, and after how many times that they got other numbers
        self._created = _NONE  # i32[entries]: the entry of the line, or 0; empty where there is no such line
        self._lines = _NONE  # entries of such lines

    @property
    def memory(self) -> int:
        """Bytes."""
        return self._created.nbytes + self._lines.nbytes

    def note_start_times(self, arrays: ScrapeArrays, number: int) -> None:
        """Sets `start_ts` of what the kernel read of the scrape with that number, where it has such lines."""
        cache = self._cache
        if self._linked != (cache.count, cache.renumbered):
            self._link()
        if not self._lines.size:
            return
        samples = int(arrays.state[kernels.SAMPLES])
        entry = arrays.entry[:samples]
        line = self._created[entry]
        start_of = np.zeros(cache.count, np.int64)
        said = np.flatnonzero(line == entry)
        start_of[entry[said]] = _milliseconds(arrays.values[said])
        dropped = self._lines[(cache.fields[self._lines, FLAGS] & DROPPED != 0)
                              & (cache.fields[self._lines, SEEN] == number)]
        start_of[dropped] = _milliseconds(cache.refs[dropped])
        arrays.start_ts = np.zeros(arrays.values.size, np.int64)
        arrays.start_ts[:samples] = start_of[line]
        arrays.start_ts[said] = 0

    def _link(self) -> None:
        cache = self._cache
        created = np.empty(cache.count, np.int32)
        table = np.zeros(1 << (2 * cache.count).bit_length(), np.int32)
        found = link_created(cache.secret, cache.texts, cache.fields, cache.count, np.empty(cache.count, np.uint64),
                             table, created)
        self._created, self._lines = (created, np.flatnonzero(created == np.arange(cache.count)).astype(np.int32)[1:]) \
            if found else (_NONE, _NONE)
        self._linked = cache.count, cache.renumbered


def _milliseconds(bits: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Of seconds since 1970, f64 bits, cut off as in Go; 0 where they are no time."""
    ms = bits.view(np.float64) * 1000
    return np.where(np.abs(ms) < 9e18, ms, 0).astype(np.int64)
