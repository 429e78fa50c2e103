"""Which blocks samples go to: as compaction would leave them, so that nothing is compacted again soon."""

from __future__ import annotations

from tsdb.storage.upkeep.planner import SMALLEST_RANGE_MS, block_ranges

Range = tuple[int, int]
"""mint <= ts < maxt, ms"""


def split(mint: int, maxt: int, retention_ms: int = 0) -> list[Range]:
    """Aligned ranges, in order, that hold mint <= ts <= maxt (ms): each the longest of `block_ranges` that ends with
    the two hours of `maxt` or before. The first begins with the two hours of `mint`."""
    lengths = block_ranges(retention_ms)
    past = (maxt // SMALLEST_RANGE_MS + 1) * SMALLEST_RANGE_MS
    at = mint // SMALLEST_RANGE_MS * SMALLEST_RANGE_MS
    found = []
    while at < past:
        end = max((at // length + 1) * length for length in lengths if (at // length + 1) * length <= past)
        found.append((at, end))
        at = end
    return found
