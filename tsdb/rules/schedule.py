"""When rules are evaluated: each group at its own moment within the interval, which its name and file decide, so that
not all are evaluated at once and a restart changes nothing.

The moments are Prometheus' own: `Group.EvalTimestamp` in rules/group.go.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.promql.kernels.label_hash_kernels import hash_label_sets

NS = 1_000_000


def offset_ms(file: str, name: str, interval_ms: int) -> float:
    """How long after a multiple of the interval the group is evaluated: 0 <= ms < interval."""
    words = [word.encode("utf-8", "surrogateescape") for word in ("file", file, "name", name)]
    ends = np.cumsum([0, *map(len, words)], dtype=np.int64)
    out = np.empty(1, np.uint64)
    hash_label_sets(np.array([0, 2], np.int64), np.array([0, 2], np.int64), np.array([1, 3], np.int64), ends,
                    np.frombuffer(b"".join(words), np.uint8), np.empty(int(ends[-1]) + 16, np.uint8), out)
    return int(out[0]) % (interval_ms * NS) / NS


def evaluation_times(file: str, name: str, interval_ms: int, start: int, end: int) -> NDArray[np.int64]:
    """i64[]: the times (ms) from start to end, both inclusive, at which the group is evaluated."""
    offset = int(offset_ms(file, name, interval_ms))  # Prometheus cuts off what is below a millisecond
    first = -((offset - start) // interval_ms) * interval_ms + offset
    return np.arange(first, end + 1, interval_ms, dtype=np.int64)
