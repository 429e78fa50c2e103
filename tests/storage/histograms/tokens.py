"""Histograms as numbers, for models: bits that are a box stand for the one histogram that follows from them."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from tests.storage.batches import FOREVER, everything
from tests.storage.histograms.payload import Value, plain, with_payload
from tsdb.model.batch import Batch
from tsdb.model.context import RequestContext
from tsdb.model.matchers import Matcher
from tsdb.model.native_histograms import BOX, OFFSET_MASK, NativeHistogram, ResetHint
from tsdb.model.tiles import Queryable, Selection


def token(number: int) -> int:
    """Of a number below 2^48."""
    return BOX | number


def histogram_of(number: int) -> NativeHistogram:
    """`number` can be told from the count."""
    chance = random.Random(number)
    buckets = tuple(range(chance.randint(0, 6)))
    return NativeHistogram(
        chance.randint(-4, 8), chance.random(), number + sum(buckets), zero_count=number,
        positive_spans=((chance.randint(-9, 9), len(buckets)),) if buckets else (), positive=buckets,
        floats=bool(number & 1), hint=chance.choice(list(ResetHint)))


def number_of(histogram: NativeHistogram) -> int:
    """The greatest one: it is none of `histogram_of`."""
    number = int(histogram.zero_count)
    return number if histogram_of(number) == histogram else OFFSET_MASK


def with_histograms(batch: Batch) -> Batch:
    """The same with histograms for the tokens among the values."""
    values: list[Value] = [histogram_of(value & OFFSET_MASK) if value >= BOX else value
                           for value in batch.values.tolist()]
    batch.values, payload = with_payload(values)
    batch.payload = payload if payload.size else None
    return batch


def read(storage: Queryable, matchers: Sequence[Matcher] | None = None, mint: int = -FOREVER, maxt: int = FOREVER,
         ) -> dict[tuple[tuple[str, str], ...], list[tuple[int, int]]]:
    """As `tests.storage.batches.read`, with tokens."""
    selection = Selection(tuple(matchers) if matchers is not None else everything(), mint, maxt)
    found: dict[tuple[tuple[str, str], ...], list[tuple[int, int]]] = {}
    with storage.capture([selection], RequestContext()) as capture:
        selected = capture.selected[0]
        for index in range(len(selected.tile_rows) - 1):
            tile = selected.tile(index)
            for row in range(tile.rows):
                own = slice(int(tile.begin[row]), int(tile.end[row]))
                if own.start < own.stop:
                    labels = tuple(sorted(selected.series.labels(tile.first_row + row).items()))
                    assert labels not in found
                    values = [token(number_of(value)) if isinstance(value, NativeHistogram) else value
                              for value in plain(tile.values[own].view(np.uint64), tile.payload)]
                    found[labels] = list(zip(tile.ts[own].tolist(), values, strict=True))
    return found
