"""What kernels need to slide windows over the native histograms of a tile, and calls them until they are through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tsdb.histograms.row import WIDTH
from tsdb.histograms.size_kernels import widest
from tsdb.model.context import RequestContext
from tsdb.model.tiles import Tile
from tsdb.promql.histograms.decoded_kernels import DONE, FACTS, OUTPUT_FULL, ROWS_TOO_SMALL, USED
from tsdb.promql.native_histograms import in_rows

_SLOT_BYTES: Final = 1 << 19
"""Of decoded histograms that are kept while windows slide: they shall stay in cache."""
_RESULT_BYTES: Final = 1 << 24
"""Of results for which there is room at first, at most."""
_LOOKED_AT_BYTES: Final = 1 << 25
"""Of rows that a kernel looks at in one call, about: some 10 ms, between which the deadline is checked."""


class Decoding:
    """The arrays, for kernels that are described in `tsdb.promql.histograms.rate_kernels`. They count in the query's
    byte budget while its ``with`` lasts."""

    def __init__(self, context: RequestContext, tile: Tile, results: int = 0) -> None:
        """`results`: how many histograms come of it, at most."""
        assert tile.payload is not None
        self._context, self._reserved = context, 0
        self.payload = tile.payload
        one = (1, tile.values.size)
        buckets = max(1, widest(tile.values.reshape(one), in_rows(tile).reshape(one), tile.payload))
        longest = int((tile.end - tile.begin).max(initial=0))
        self._row = WIDTH + 4 * buckets
        slots = max(2, min(longest, _SLOT_BYTES // (8 * self._row)))
        self._results = min(results * (64 + 10 * buckets), _RESULT_BYTES)
        self._reserve(8 * (longest * (FACTS + 1) + slots * self._row + 4 * (self._row + 32)) + self._results)
        none = np.zeros(0, np.int64)
        self.starts: NDArray[np.int64] = none if tile.start_ts is None else tile.start_ts
        self.facts = np.empty((FACTS, longest), np.int64)
        self.running = np.empty(longest, np.int64)
        self.slots = np.empty((slots, self._row))
        self.tags = np.empty(slots, np.int64)
        self.scratch = np.empty((4, self._row + 32))
        self.made = np.empty(self._results, np.uint8)
        self.limit = _LOOKED_AT_BYTES // (8 * self._row)
        self.state = np.zeros(3, np.int64)

    def __enter__(self) -> Decoding:
        return self

    def __exit__(self, *_: object) -> None:
        self._context.reserve(-self._reserved)
        self._reserved = 0

    def run(self, kernel: Callable[[], int]) -> None:
        """Calls the kernel until it is DONE, with more room each time that it wants some. Raises LimitExceeded, and as
        `RequestContext.check`."""
        while (reason := kernel()) != DONE:
            self._context.check()
            if reason == OUTPUT_FULL:
                used, size = int(self.state[USED]), 2 * self.made.size + (1 << 16)
                self._reserve(size - self.made.size)
                larger = np.empty(size, np.uint8)
                larger[:used] = self.made[:used]
                self.made = larger
            elif reason == ROWS_TOO_SMALL:
                self._reserve(8 * self.scratch.size)
                self.scratch = np.empty((4, 2 * self.scratch.shape[1]))

    def results(self) -> NDArray[np.uint8] | None:
        """u8[]: the payload of the results; None: there are none."""
        used = int(self.state[USED])
        return self.made[:used] if used else None

    def _reserve(self, size: int) -> None:
        self._context.reserve(size)
        self._reserved += size
