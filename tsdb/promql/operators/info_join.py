"""Labels of info series, joined at each step to the rows of a vector that they are about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import ExecutionError
from tsdb.model.labels import METRIC_NAME
from tsdb.model.matchers import Matcher
from tsdb.model.tiles import SeriesSet
from tsdb.promql.number_text import labels_text
from tsdb.promql.operators.cells import Computed, Matrix, collect
from tsdb.promql.operators.groups import (
    NO_SYMBOL,
    label_values,
    match_groups,
    only_labels,
    rows_of_labels,
    take,
    without_labels,
)
from tsdb.promql.operators.vector import Environment, Operator
from tsdb.promql.regexes import accepts

IDENTIFYING = ("instance", "job")
"""The labels that say what an info series is about."""

_ROWS_AT_ONCE = 1024


class InfoJoin(Computed):
    """The rows of `base` with the labels of the info series that have the same `IDENTIFYING` labels at that step. A row
    whose info changes becomes several; rows of the result may be equal.

    `times` has the info series, and as values the times of their samples, of which the newest counts; `names` are the
    matchers of the info metric's name, `data` those of other labels.
    """

    def __init__(self, env: Environment, base: Operator, times: Operator, names: Sequence[Matcher],
                 data: Sequence[Matcher]) -> None:
        super().__init__(env)
        self._base, self._times, self._names, self._data = base, times, names, data

    def _label(self) -> SeriesSet:
        series, infos = self._base.series(), self._times.series()
        with collect(self.env, self._base) as base, collect(self.env, self._times) as times:
            passed = self._are_infos(series)
            enriched = np.flatnonzero(base.present.any(axis=1) & ~passed)
            found = np.flatnonzero(times.present.any(axis=1) & _about_the_same(series, enriched, infos))
            groups, _ = match_groups(series, infos, IDENTIFYING, True)
            size = 40 * len(groups) * self.env.steps.count
            self.env.context.reserve(size)
            group = groups.group[: len(series)]
            variants = _variants(infos, found, groups.group[len(series) :], len(groups), times,
                                 np.asarray(base.present.any(axis=0)))
            if not all(accepts(matcher, "") for matcher in self._data):
                variants.group[(variants.infos < 0).all(axis=1)] = -1  # no label that could match
            rows, variant, present = _pairs(base.present, enriched, group, variants)
            self.env.context.reserve(-size)
            untouched = np.flatnonzero(passed)
            self._make_room(rows.size + untouched.size, base.payload())
            self._present[: rows.size], self._present[rows.size :] = present, base.present[untouched]
            rows = np.concatenate([rows, untouched])
            self._values[:] = base.values[rows]
        added = np.full((rows.size, variants.infos.shape[1]), -1)
        added[: variant.size] = variants.infos[variant]
        return _with_labels(series, rows, infos, added, [matcher.name for matcher in self._data])

    def _are_infos(self, series: SeriesSet) -> NDArray[np.bool_]:
        """bool[n]: rows that are info series themselves, to which nothing is added."""
        symbols, place = np.unique(label_values(series, METRIC_NAME), return_inverse=True)
        texts = ["" if symbol == NO_SYMBOL else series.symbols.text(symbol) for symbol in symbols.tolist()]
        wanted = [bool(self._names) and all(accepts(matcher, text) for matcher in self._names) for text in texts]
        return np.array(wanted, np.bool_)[place]


def _about_the_same(series: SeriesSet, rows: NDArray[np.int64], infos: SeriesSet) -> NDArray[np.bool_]:
    """bool[infos]: which have values of the identifying labels that the rows have, too."""
    same, known = np.ones(len(infos), np.bool_), False
    for label in IDENTIFYING:
        values = np.unique(label_values(series, label)[rows])
        values = values[values != NO_SYMBOL]
        if values.size:
            same &= np.isin(label_values(infos, label), values)
            known = True
    return same & known


@dataclass(slots=True)
class _Variants:
    """What is known of a group of rows at a step: of each info metric one series, or none."""

    number: NDArray[np.int64]
    """i64[groups, steps]"""
    group: NDArray[np.int64]
    """i64[variants]"""
    infos: NDArray[np.int64]
    """i64[variants, metrics]: rows of info series; -1: none."""


def _variants(infos: SeriesSet, found: NDArray[np.int64], group: NDArray[np.int64], groups: int, times: Matrix,
              asked: NDArray[np.bool_]) -> _Variants:
    """Of the info series `found`, in groups i64[infos]; `asked` bool[steps]: where there is something to add to."""
    metric = label_values(infos, METRIC_NAME)[found]
    number = np.repeat(np.arange(groups)[:, np.newaxis], asked.size, axis=1)
    variants = _Variants(number, np.arange(groups), np.empty((groups, 0), np.int64))
    for name in np.unique(metric):
        newest = _newest(infos, found[metric == name], group, groups, times, asked)
        code = variants.number * (len(infos) + 1) + newest + 1
        change = np.ones(code.shape, np.bool_)
        np.not_equal(code[:, 1:], code[:, :-1], out=change[:, 1:])
        codes, place = np.unique(code[change], return_inverse=True)
        before, row = codes // (len(infos) + 1), codes % (len(infos) + 1) - 1
        number = place.reshape(-1)[np.cumsum(change.reshape(-1)) - 1].reshape(code.shape)
        variants = _Variants(number, variants.group[before], np.column_stack([variants.infos[before], row]))
    return variants


def _newest(infos: SeriesSet, rows: NDArray[np.int64], group: NDArray[np.int64], groups: int, times: Matrix,
            asked: NDArray[np.bool_]) -> NDArray[np.int64]:
    """i64[groups, steps]: which of the info series `rows`, all of one metric, has the newest sample; -1: none has any.
    Raises ExecutionError where two are equally new."""
    newest = np.full((groups, asked.size), -1)
    latest = np.full(newest.shape, -np.inf)
    rows = rows[np.argsort(group[rows], kind="stable")]
    _, first, size = np.unique(group[rows], return_index=True, return_counts=True)
    rank = np.arange(rows.size) - np.repeat(first, size)
    for turn in range(int(rank.max(initial=-1)) + 1):
        now = rows[rank == turn]
        at, there, seen = group[now], times.present[now], times.values[now]
        tied = there & (seen == latest[at]) & asked
        if tied.any():
            one, step = np.argwhere(tied)[0].tolist()
            both = (int(newest[at[one], step]), int(now[one]))
            old, new = (f"{labels_text(infos.labels(row))} @ {round(1000 * float(seen[one, step]))}" for row in both)
            raise ExecutionError(f"found duplicate series for info metric: existing {old}, new {new}")
        newer = there & (seen > latest[at])
        newest[at] = np.where(newer, now[:, np.newaxis], newest[at])
        latest[at] = np.where(newer, seen, latest[at])
    return newest


def _pairs(present: NDArray[np.bool_], rows: NDArray[np.int64], group: NDArray[np.int64], variants: _Variants,
           ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """The rows with each variant that they meet at a step: row and variant i64[pairs], and bool[pairs, steps]."""
    by_group = np.argsort(variants.group, kind="stable")
    begin, end = (np.searchsorted(variants.group[by_group], group[rows], side) for side in ("left", "right"))
    many = end - begin
    before = np.repeat(np.cumsum(many) - many, many)
    row = np.repeat(rows, many)
    variant = by_group[np.repeat(begin, many) + np.arange(row.size) - before]
    found = np.empty((row.size, present.shape[1]), np.bool_)
    for first in range(0, row.size, _ROWS_AT_ONCE):
        part = slice(first, first + _ROWS_AT_ONCE)
        found[part] = present[row[part]] & (variants.number[group[row[part]]] == variant[part, np.newaxis])
    met = found.any(axis=1)
    return row[met], variant[met], found[met]


def _with_labels(series: SeriesSet, rows: NDArray[np.int64], infos: SeriesSet, added: NDArray[np.int64],
                 data: Sequence[str]) -> SeriesSet:
    """The rows with labels of the info series added i64[rows, metrics] (-1: none): those named in `data`, or all.
    Labels that a row has stay as they are. Raises ExecutionError where info metrics contradict each other."""
    base = take(series, rows)
    infos = only_labels(infos, [*data]) if data else infos
    infos = without_labels(infos, (METRIC_NAME,))
    owner, names, values = [rows_of_labels(base)], [base.names], [base.values]
    source = [np.zeros(base.names.size, np.int64)]
    for metric in range(added.shape[1]):
        at = np.flatnonzero(added[:, metric] >= 0)
        part = take(infos, added[at, metric])
        owner.append(at[rows_of_labels(part)])
        names.append(part.names)
        values.append(part.values)
        source.append(np.full(part.names.size, metric + 1))
    owners, sources = np.concatenate(owner), np.concatenate(source)
    name, value = np.concatenate(names), np.concatenate(values)
    order = np.lexsort((sources, _ranks(name, base), owners))
    owners, name, value, sources = owners[order], name[order], value[order], sources[order]
    first = np.ones(name.size, np.bool_)
    first[1:] = (owners[1:] != owners[:-1]) | (name[1:] != name[:-1])
    head = np.flatnonzero(first)[np.cumsum(first) - 1]
    contradicting = np.flatnonzero((sources[head] > 0) & (value != value[head]))
    if contradicting.size:
        raise ExecutionError(f"conflicting label: {base.symbols.text(int(name[contradicting[0]]))}")
    offsets = np.zeros(rows.size + 1, np.int64)
    np.cumsum(np.bincount(owners[first], minlength=rows.size), out=offsets[1:])
    return SeriesSet(offsets, name[first], value[first], base.symbols, base.drop_name)


def _ranks(names: NDArray[np.uint32], series: SeriesSet) -> NDArray[np.int64]:
    """i64[labels]: by their UTF-8 bytes."""
    symbols, place = np.unique(names, return_inverse=True)
    texts = [series.symbols.text(symbol).encode(errors="surrogateescape") for symbol in symbols.tolist()]
    rank = np.empty(len(texts), np.int64)
    rank[sorted(range(len(texts)), key=texts.__getitem__)] = np.arange(len(texts))
    return rank[place]
