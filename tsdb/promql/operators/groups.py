"""Label work on whole `SeriesSet`s: keeping, dropping and setting labels, and which rows are equal. Ids only, no text
per row: the cost of a function is a few passes over the label arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.hash_kernels import new_secret
from tsdb.model.label_order import take as take
from tsdb.model.labels import METRIC_NAME
from tsdb.model.tiles import SeriesSet, Symbols
from tsdb.promql.kernels.groups_kernels import group_equal_rows, select_labels
from tsdb.promql.operators.vector import Environment

METADATA_LABELS = (METRIC_NAME, "__type__", "__unit__")
"""What an operation that changes the meaning of a metric removes."""

NO_SYMBOL = 0xFFFFFFFF
"""In a column of values: the row lacks the label."""


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows by equal label sets, numbered in order of appearance."""

    group: NDArray[np.int64]
    """i64[n]: the group of each row."""
    first: NDArray[np.int64]
    """i64[groups]: the first row of each group."""

    def __len__(self) -> int:
        return int(self.first.size)


def no_labels(symbols: Symbols, rows: int = 1) -> SeriesSet:
    """`rows` rows without labels."""
    nothing = np.zeros(0, np.uint32)
    return SeriesSet(np.zeros(rows + 1, np.int64), nothing, nothing, symbols)


def group_rows(series: SeriesSet) -> Groups:
    """Which rows have equal labels."""
    rows = len(series)
    if rows < 2:
        return Groups(np.zeros(rows, np.int64), np.zeros(rows, np.int64))
    table, hashes = np.full(1 << max(4, (2 * rows).bit_length()), -1, np.int64), np.empty(rows, np.uint64)
    group, first = np.empty(rows, np.int64), np.empty(rows, np.int64)
    count = group_equal_rows(new_secret(), series.offsets, series.names, series.values, table, hashes, group, first)
    return Groups(group, first[:count].copy())


def _named(series: SeriesSet, names: Sequence[str]) -> NDArray[np.bool_]:
    """bool[labels]: whether the label has one of the names."""
    chosen = np.zeros(series.names.size, np.bool_)
    for name in set(names):
        symbol = series.symbols.find(name)
        if symbol >= 0:
            chosen |= series.names == symbol
    return chosen


def _select(series: SeriesSet, kept: NDArray[np.bool_]) -> SeriesSet:
    if kept.all():
        return series
    offsets, size = np.empty_like(series.offsets), series.names.size
    names, values = np.empty(size, np.uint32), np.empty(size, np.uint32)
    size = select_labels(series.offsets, series.names, series.values, kept, offsets, names, values)
    return replace(series, offsets=offsets, names=names[:size], values=values[:size])


def only_labels(series: SeriesSet, names: Sequence[str]) -> SeriesSet:
    """The rows with the named labels only."""
    return _select(series, _named(series, names))


def without_labels(series: SeriesSet, names: Sequence[str]) -> SeriesSet:
    """The rows without the named labels; the same object where no row has any."""
    return _select(series, ~_named(series, names))


def drop_metric_name(series: SeriesSet, env: Environment) -> SeriesSet:
    """The rows without name, type and unit of the metric: now, or marked to go at the end of the query if
    `env.delayed_name_removal`. The same object where there is nothing to do. Rows may become equal."""
    if env.delayed_name_removal:
        if series.drop_name is not None and series.drop_name.all():
            return series
        return replace(series, drop_name=np.ones(len(series), np.bool_))
    return without_labels(series, METADATA_LABELS)


def drop_marked_names(series: SeriesSet) -> SeriesSet:
    """What `drop_metric_name` has put off."""
    if series.drop_name is None:
        return series
    marked = np.repeat(series.drop_name, np.diff(series.offsets))
    return replace(_select(series, ~(marked & _named(series, METADATA_LABELS))), drop_name=None)


def concatenate(first: SeriesSet, second: SeriesSet) -> SeriesSet:
    """The rows of both. They share their symbols."""
    drop_name = None
    if first.drop_name is not None or second.drop_name is not None:
        drop_name = np.concatenate([_marks(first), _marks(second)])
    return SeriesSet(
        np.concatenate([first.offsets, second.offsets[1:] + first.offsets[-1]]),
        np.concatenate([first.names, second.names]),
        np.concatenate([first.values, second.values]),
        first.symbols,
        drop_name,
    )


def _marks(series: SeriesSet) -> NDArray[np.bool_]:
    return np.zeros(len(series), np.bool_) if series.drop_name is None else series.drop_name


def rows_of_labels(series: SeriesSet) -> NDArray[np.int64]:
    """i64[labels]: the row of each label."""
    return np.repeat(np.arange(len(series)), np.diff(series.offsets))


def label_values(series: SeriesSet, name: str) -> NDArray[np.uint32]:
    """u32[n]: the value of one label in each row, `NO_SYMBOL` where a row lacks it."""
    column = np.full(len(series), NO_SYMBOL, np.uint32)
    symbol = series.symbols.find(name)
    if symbol >= 0:
        at = np.flatnonzero(series.names == symbol)
        if at.size == column.size and (series.offsets[:-1] <= at).all() and (at < series.offsets[1:]).all():
            return series.values[at]  # all rows have it
        column[np.searchsorted(series.offsets, at, side="right") - 1] = series.values[at]
    return column


def with_label(series: SeriesSet, name: str, column: NDArray[np.uint32]) -> SeriesSet:
    """The rows with one label set to column u32[n], and removed where that is `NO_SYMBOL`. Rows may become equal."""
    series = without_labels(series, (name,))
    rows = np.flatnonzero(column != NO_SYMBOL)
    if not rows.size:
        return series
    before = np.zeros(series.names.size + 1, np.int64)
    np.cumsum(_names_before(series, name), out=before[1:])
    smaller = before[series.offsets[1:]] - before[series.offsets[:-1]]
    at = series.offsets[rows] + smaller[rows]
    added = np.zeros(len(series) + 1, np.int64)
    np.cumsum(column != NO_SYMBOL, out=added[1:])
    return replace(
        series,
        offsets=series.offsets + added,
        names=np.insert(series.names, at, np.uint32(series.symbols.intern(name))),
        values=np.insert(series.values, at, column[rows]),
    )


def _names_before(series: SeriesSet, name: str) -> NDArray[np.bool_]:
    """bool[labels]: whether the label's name sorts before `name`."""
    wanted = name.encode(errors="surrogateescape")
    chosen = np.zeros(series.names.size, np.bool_)
    for symbol in np.unique(series.names).tolist():
        if series.symbols.text(symbol).encode(errors="surrogateescape") < wanted:
            chosen |= series.names == symbol
    return chosen


def group_by(series: SeriesSet, names: Sequence[str], without: bool) -> tuple[Groups, SeriesSet]:
    """The groups of an aggregation ``by (names)`` or ``without (names)``, and their labels."""
    rest = without_labels(series, (*names, METRIC_NAME)) if without else only_labels(series, names)
    groups = group_rows(rest)
    labels = take(rest, groups.first)
    if rest.drop_name is not None:
        marked = np.bincount(groups.group, weights=rest.drop_name, minlength=len(groups)) > 0
        labels = replace(labels, drop_name=marked)
    return groups, labels


def match_groups(left: SeriesSet, right: SeriesSet, names: Sequence[str], on: bool) -> tuple[Groups, SeriesSet]:
    """The signatures of a binary operation's rows, left ones first, ``on (names)`` or ``ignoring (names)``; and the
    labels of every row that its signature is made of."""
    if on:
        rest = concatenate(only_labels(left, names), only_labels(right, names))
    else:
        rest = concatenate(*(without_labels(side, (*names, METRIC_NAME)) for side in (left, right)))
    return group_rows(rest), rest
