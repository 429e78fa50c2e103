"""Which metrics, label names and label pairs make the most series: what /api/v1/status/tsdb shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsdb.storage.head.series_table import SeriesTable

Top = list[tuple[str, int]]
"""(name, count), the largest count first, then by name."""


@dataclass(frozen=True, slots=True)
class Cardinality:
    series: int
    label_pairs: int
    series_by_metric: Top
    values_by_name: Top
    """How many values each label name has."""
    bytes_by_name: Top
    """What the series that have a label spend on it: the bytes of name and value, and two for their lengths."""
    series_by_pair: Top
    """Names are ``name=value``."""


def cardinality(table: SeriesTable, most: int) -> Cardinality:
    """The `most` largest of each. Any thread may, inside `SeriesTable.readers`; a hundred thousand pairs take some
    milliseconds."""
    series = table.pair_uses[: table.pairs].astype(np.int64)
    pairs = np.flatnonzero(series)
    symbols = table.symbols  # after the pairs: what they name is counted
    series, names, values = series[pairs], table.pair_name[pairs], table.pair_value[pairs]
    lengths = table.symbol_length[:symbols].astype(np.int64)
    value_bytes = np.bincount(names, weights=(lengths[names] + lengths[values] + 2) * series, minlength=symbols)
    value_count = np.bincount(names, minlength=symbols)
    metrics = np.flatnonzero(names == table.find_symbol("__name__"))
    return Cardinality(
        series=table.series,
        label_pairs=pairs.size,
        series_by_metric=_top(series[metrics], most, lambda place: table.text(int(values[metrics[place]]))),
        values_by_name=_top(value_count, most, table.text),
        bytes_by_name=_top(value_bytes.astype(np.int64), most, table.text),
        series_by_pair=_top(
            series, most, lambda pair: f"{table.text(int(names[pair]))}={table.text(int(values[pair]))}"
        ),
    )


def _top(counts: NDArray[np.int64], most: int, text: Callable[[int], str]) -> Top:
    """The `most` largest counts above 0; only these have their text looked up."""
    found = np.flatnonzero(counts)
    if found.size > most:
        found = found[np.argpartition(counts[found], found.size - most)[found.size - most :]]
    return sorted(((text(int(place)), int(counts[place])) for place in found), key=lambda row: (-row[1], row[0]))
