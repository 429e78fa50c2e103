"""Series of a target that the appender has not made, most often for a limit: each scrape offers them again, with the
keys that were made for them once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.exposition.series_cache import SeriesCache
from tsdb.ingest.exposition.series_keys import KeyedRows, WrongSeries, joined
from tsdb.model.batch import Appended, RefusedRows

_NONE = np.empty(0, np.int64)


class RefusedSeries:
    """Those of the last scrape that succeeded."""

    def __init__(self, cache: SeriesCache) -> None:
        self._cache = cache
        self._entries = _NONE
        self._order = _NONE  # of the entries
        self._rows: KeyedRows | None = None
        self._renumbered = 0
        self._for_limits: RefusedRows | None = None

    @property
    def memory(self) -> int:
        """Bytes."""
        return 0 if self._rows is None else self._rows.keys.nbytes + 32 * self._entries.size

    def remember(self, entries: NDArray[np.int64], rows: KeyedRows, appended: Appended) -> None:
        """Those among entries i64[n], whose keys are `rows`, the first keyed ones of a batch, that were not made."""
        assert appended.keyed is not None
        refused = appended.keyed.slot[: entries.size] < 0
        by = appended.refused
        self._for_limits = None
        if by is not None and (by.by[: entries.size][refused] >= 0).all():
            self._for_limits = RefusedRows(by.state, by.by[: entries.size][refused])
        if rows is self._rows and refused.all():
            return
        self._entries, self._rows = entries[refused], rows.some(refused).compacted() if refused.any() else None
        self._order = np.argsort(self._entries)
        self._renumbered = self._cache.renumbered

    def forget(self) -> None:
        self._entries, self._order, self._rows = _NONE, _NONE, None

    def for_limits(self, rows: KeyedRows | None) -> RefusedRows | None:
        """Why `rows` were refused, if they are all that is remembered, and it was for limits."""
        return self._for_limits if rows is not None and rows is self._rows else None

    def keys_of(self, entries: NDArray[np.int64], make: Callable[[NDArray[np.int64]], KeyedRows]) -> KeyedRows:
        """Keys of entries i64[n], of those that are not known by `make`. Raises WrongSeries."""
        known = self._rows
        if known is None or self._renumbered != self._cache.renumbered:
            return make(entries)
        if np.array_equal(entries, self._entries):
            return known
        place = np.searchsorted(self._entries, entries, sorter=self._order)
        row = self._order[np.minimum(place, self._order.size - 1)]
        hit = self._entries[row] == entries
        if not hit.any():
            return make(entries)
        if hit.all():
            return known.some(row)
        new = np.flatnonzero(~hit)
        try:
            made = make(entries[new])
        except WrongSeries as problem:
            problem.row = int(new[problem.row])
            raise
        order = np.argsort(np.concatenate([np.flatnonzero(hit), new]))
        return joined([known.some(row[hit]), made]).some(order)
