"""Which of the newest queries were asked most often, and which took the most time and memory."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

KEPT: Final = 20_000
"""Queries that are remembered."""
LEAST_S: Final = 0.001
"""Quicker ones are not, as in VictoriaMetrics."""
LONGEST_TEXT: Final = 1000
"""Characters; of longer queries the beginning is remembered."""


class _Ran(NamedTuple):
    ended: float
    text: str
    range_s: int
    seconds: float
    peak_bytes: int


class TopQueries:
    """Any thread may add."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ran: deque[_Ran] = deque(maxlen=KEPT)

    def add(self, text: str, range_ms: int, seconds: float, peak_bytes: int) -> None:
        if seconds >= LEAST_S:
            with self._lock:
                self._ran.append(_Ran(self._clock(), text[:LONGEST_TEXT], range_ms // 1000, seconds, peak_bytes))

    def tables(self, most: int, age_s: float) -> dict[str, list[dict[str, Any]]]:
        """The `most` of the queries of the last `age_s` seconds by each measure, as VictoriaMetrics names them."""
        oldest = self._clock() - age_s
        with self._lock:
            ran = [each for each in self._ran if each.ended >= oldest]
        together: dict[tuple[str, int], list[float]] = {}
        for each in ran:
            sums = together.setdefault((each.text, each.range_s), [0, 0.0, 0])
            sums[0] += 1
            sums[1] += each.seconds
            sums[2] += each.peak_bytes
        rows = [({"query": text, "timeRangeSeconds": range_s}, int(count), seconds, peak)
                for (text, range_s), (count, seconds, peak) in together.items()]

        def table(measure: Callable[[int, float, float], float], name: str | None) -> list[dict[str, Any]]:
            found = sorted(rows, key=lambda row: measure(*row[1:]), reverse=True)[:most]
            return [{**key, **({} if name is None else {name: measure(count, *used)}), "count": count}
                    for key, count, *used in found]

        return {
            "topByCount": table(lambda count, seconds, peak: count, None),
            "topByAvgDuration": table(lambda count, seconds, peak: seconds / count, "avgDurationSeconds"),
            "topBySumDuration": table(lambda count, seconds, peak: seconds, "sumDurationSeconds"),
            "topByAvgMemoryUsage": table(lambda count, seconds, peak: peak // count, "avgMemoryBytes"),
        }
