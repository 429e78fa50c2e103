"""Which metrics, label names and label pairs make the most series: what /api/v1/status/tsdb shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tsdb.storage.head import index_kernels
from tsdb.storage.head.churn import DAY, HOUR, Churned
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


@dataclass(frozen=True, slots=True)
class HeadChurn:
    """Metrics with the most series created and removed; see `tsdb.storage.head.churn`."""

    since: float
    """When counting began, Unix s."""
    last_hour: list[Churned] = field(default_factory=list)
    last_day: list[Churned] = field(default_factory=list)


def cardinality(table: SeriesTable, most: int, slots: NDArray[np.int32] | None = None) -> Cardinality:
    """The `most` largest of each, of all series or of `slots` (i32[]). Any thread may, inside `SeriesTable.readers`; a
    hundred thousand pairs, or a million series of `slots`, take some milliseconds."""
    if slots is None:
        series = table.pair_uses[: table.pairs].astype(np.int64)
    else:
        uses = np.zeros(table.pairs, np.uint32)
        index_kernels.count_pairs(slots, table.labels, table.label_offset, table.label_count, uses)
        series = uses.astype(np.int64)
    pairs = np.flatnonzero(series)
    symbols = table.symbols  # after the pairs: what they name is counted
    series, names, values = series[pairs], table.pair_name[pairs], table.pair_value[pairs]
    lengths = table.symbol_length[:symbols].astype(np.int64)
    value_bytes = np.bincount(names, weights=(lengths[names] + lengths[values] + 2) * series, minlength=symbols)
    value_count = np.bincount(names, minlength=symbols)
    metrics = np.flatnonzero(names == table.find_symbol("__name__"))
    return Cardinality(
        series=table.series if slots is None else slots.size,
        label_pairs=pairs.size,
        series_by_metric=top(series[metrics], most, lambda place: table.text(int(values[metrics[place]]))),
        values_by_name=top(value_count, most, table.text),
        bytes_by_name=top(value_bytes.astype(np.int64), most, table.text),
        series_by_pair=top(
            series, most, lambda pair: f"{table.text(int(names[pair]))}={table.text(int(values[pair]))}"
        ),
    )


def churn(table: SeriesTable, most: int) -> HeadChurn:
    """The `most` metrics whose series come and go most. Any thread may."""
    counted = table.churn
    return HeadChurn(counted.since, counted.top(most, HOUR), counted.top(most, DAY))


def top(counts: NDArray[np.int64], most: int, text: Callable[[int], str]) -> Top:
    """The `most` largest counts above 0; only these have their text looked up."""
    found = np.flatnonzero(counts)
    if found.size > most:
        found = found[np.argpartition(counts[found], found.size - most)[found.size - most :]]
    return sorted(((text(int(place)), int(counts[place])) for place in found), key=lambda row: (-row[1], row[0]))
