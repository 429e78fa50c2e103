"""Start times in the simulator: each sample has the one that follows from its series and its time."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence, Set

import numpy as np

from tests.storage.batches import FOREVER, everything
from tsdb.model.batch import Batch
from tsdb.model.context import RequestContext
from tsdb.model.tiles import Selection
from tsdb.storage.storage import Storage

PERIOD = 5 * 3_600_000
"""How long a series has one, or none; ms."""


def start_of(number: int, ts: int) -> int:
    """Of a sample, both ms; 0: it has none."""
    if number % 4 == 0:
        return 0
    period = (ts + number * PERIOD // 3) // PERIOD
    return random.Random(number << 40 | period).choice((0, period * PERIOD - number * PERIOD // 3 - 1))


def with_starts(batch: Batch, samples: Sequence[tuple[int, int, int]]) -> Batch:
    """The same with those of its samples: (series, ms, value)."""
    starts = np.array([start_of(number, ts) for number, ts, _ in samples], np.int64)
    batch.start_ts = starts if starts.any() else None
    return batch


def start_problems(storage: Storage, but: Set[tuple[int, int]]) -> Iterator[str]:
    """What is wrong; of samples that are not among some (series, ms)."""
    with storage.capture([Selection(everything(), -FOREVER, FOREVER, start_times=True)], RequestContext()) as capture:
        selected = capture.selected[0]
        for index in range(len(selected.tile_rows) - 1):
            tile = selected.tile(index)
            starts = np.zeros(tile.ts.size, np.int64) if tile.start_ts is None else tile.start_ts
            for row in range(tile.rows):
                number = int(selected.series.labels(tile.first_row + row)["n"])
                own = slice(int(tile.begin[row]), int(tile.end[row]))
                for ts, start in zip(tile.ts[own].tolist(), starts[own].tolist(), strict=True):
                    if start != start_of(number, ts) and (number, ts) not in but:
                        yield f"{number} at {ts}: start time {start} instead of {start_of(number, ts)}"
