"""The order of label sets: label after label, by name, then value; a shorter set first; UTF-8 bytes, as Prometheus."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tsdb.model.tiles import SeriesSet

FEW_LABELS = 128
"""Labels of all rows together, up to which Python's sort is quicker than a dozen calls of numpy."""


def label_order(series: SeriesSet, first: int = 0) -> NDArray[np.int64]:
    """Row numbers i64[n] that sort a series set by labels. Stable. Only the `first` ones, and perhaps some more, where
    that is not 0."""
    rows = len(series)
    if rows < 2 or series.names.size == 0:
        return np.arange(rows, dtype=np.int64)
    if series.names.size <= FEW_LABELS and rows <= FEW_LABELS:
        labels = _labels(series)
        return np.array(sorted(range(rows), key=labels.__getitem__), np.int64)
    counts = np.diff(series.offsets)
    width = int(counts.max())
    size = int(max(series.names.max(), series.values.max())) + 1
    used = np.zeros(size, np.bool_)
    used[series.names] = used[series.values] = True
    symbols = np.flatnonzero(used)
    texts = series.symbols.texts(symbols.tolist())
    # Code points sort as their UTF-8 bytes do.
    order = np.array(sorted(range(len(texts)), key=texts.__getitem__), np.int64)
    rank = np.zeros(size, np.uint64)
    rank[symbols[order]] = np.arange(1, order.size + 1, dtype=np.uint64)
    row = np.repeat(np.arange(rows), counts)
    place = np.arange(series.names.size) - np.repeat(series.offsets[:-1], counts)
    keys = np.zeros((width, rows), np.uint64)
    keys[place, row] = rank[series.names] << np.uint64(32) | rank[series.values]
    keys = keys[(keys != keys[:, :1]).any(axis=1)]
    if not len(keys):
        return np.arange(rows, dtype=np.int64)
    if 0 < first < rows // 2:
        chosen = np.flatnonzero(keys[0] <= np.partition(keys[0], first)[first])
        return chosen[np.lexsort(keys[::-1, chosen])]
    return np.lexsort(keys[::-1]).astype(np.int64)


def _labels(series: SeriesSet) -> list[list[tuple[str, str]]]:
    """Names and values of each row. Texts sort as their UTF-8 bytes do."""
    text = series.symbols.text
    pairs = list(zip(map(text, series.names.tolist()), map(text, series.values.tolist()), strict=True))
    return [pairs[begin:end] for begin, end in pairwise(series.offsets.tolist())]


def take(series: SeriesSet, rows: NDArray[np.int64]) -> SeriesSet:
    """The given rows of a series set, in the given order."""
    begin = series.offsets[rows]
    counts = series.offsets[rows + 1] - begin
    offsets = np.zeros(rows.size + 1, np.int64)
    counts.cumsum(out=offsets[1:])
    source = (begin - offsets[:-1]).repeat(counts) + np.arange(offsets[-1])
    drop = None if series.drop_name is None else series.drop_name[rows]
    return SeriesSet(offsets, series.names[source], series.values[source], series.symbols, drop)
