"""Samples with start times, of plain Python values."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tests.storage.batches import everything, make_batch
from tsdb.model.context import RequestContext
from tsdb.model.tiles import Selection
from tsdb.storage.storage import Storage

Starts = dict[tuple[int, int], int]
"""Start time by (number of the series, time), both ms."""


def labels_of(number: int) -> dict[str, str]:
    return {"__name__": "m", "n": str(number)}


def write(storage: Storage, samples: Sequence[tuple[int, int, int | None]], *, series: int = 4) -> list[int]:
    """(series, ms, start time) each, the value being a function of both; None for all: a batch without. Their codes."""
    batch = make_batch(storage.secret, [labels_of(number) for number in range(series)],
                       [(number, ts, number << 40 | ts % 1000) for number, ts, _ in samples])
    if any(start is not None for _, _, start in samples):
        batch.start_ts = np.array([start or 0 for _, _, start in samples], np.int64)
    return list(storage.submit(batch).result(20).codes.tolist())


def read(storage: Storage, mint: int = -(1 << 60), maxt: int = 1 << 60) -> Starts:
    """Of all samples. Those without are there with 0."""
    found: Starts = {}
    selection = Selection(everything(), mint, maxt, start_times=True)
    without = dataclasses.replace(selection, start_times=False)
    with storage.capture([selection, without], RequestContext()) as capture:
        selected, plain = capture.selected
        for index in range(len(selected.tile_rows) - 1):
            tile, same = selected.tile(index), plain.tile(index)
            assert same.start_ts is None
            starts = np.zeros(tile.ts.size, np.int64) if tile.start_ts is None else tile.start_ts
            for row in range(tile.rows):
                part = slice(int(tile.begin[row]), int(tile.end[row]))
                own = slice(int(same.begin[row]), int(same.end[row]))
                assert tile.ts[part].tolist() == same.ts[own].tolist()
                assert tile.values[part].tobytes() == same.values[own].tobytes()
                number = int(selected.series.labels(tile.first_row + row)["n"])
                found |= {(number, ts): start for ts, start in zip(tile.ts[part].tolist(), starts[part].tolist(),
                                                                   strict=True)}
    return found
