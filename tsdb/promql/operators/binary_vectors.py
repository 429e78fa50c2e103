"""Arithmetic and comparisons between two vectors: labels and cells of the result, errors where it is ambiguous."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import ExecutionError
from tsdb.model.tiles import SeriesSet
from tsdb.promql import ast
from tsdb.promql.ast import Card
from tsdb.promql.kernels.binary_kernels import TRIM_UPPER
from tsdb.promql.number_text import labels_text
from tsdb.promql.operators.binary_histograms import Combination
from tsdb.promql.operators.cells import VectorOperator, count_present
from tsdb.promql.operators.groups import (
    METADATA_LABELS,
    drop_metric_name,
    group_rows,
    label_values,
    only_labels,
    take,
    with_label,
    without_labels,
)
from tsdb.promql.operators.matching import Kept, Pairs, Partners, Streamed, match
from tsdb.promql.operators.vector import Cells, Environment, Operator


class VectorBinary(VectorOperator):
    """An arithmetic operator or comparison between vectors. Rows of the result may be equal."""

    def __init__(self, op: int, node: ast.Binary, matching: ast.VectorMatching, left: Operator, right: Operator,
                 env: Environment) -> None:
        super().__init__(env)
        self._op, self._return_bool, self._matching = op, node.return_bool, matching
        self._swapped = matching.card == Card.ONE_TO_MANY
        self._many, self._one = (right, left) if self._swapped else (left, right)
        self._combination = Combination(op, node.return_bool, self._swapped, node, env)
        self._found: Pairs | None = None

    @property
    def _pairs(self) -> Pairs:
        self.series()
        assert self._found is not None
        return self._found

    def _label(self) -> SeriesSet:
        many, one = self._many.series(), self._one.series()
        pairs = self._found = match(many, one, self._matching)
        series = many if np.array_equal(pairs.many, np.arange(len(many))) else take(many, pairs.many)
        if self._op < TRIM_UPPER:
            series = replace(without_labels(series, METADATA_LABELS), drop_name=None)
        if self._matching.card == Card.ONE_TO_ONE:
            names = self._matching.labels
            series = only_labels(series, names) if self._matching.on else without_labels(series, names)
        for name in self._matching.include:
            series = with_label(series, name, label_values(one, name)[pairs.first_one][pairs.partner])
        return drop_metric_name(series, self.env) if self._return_bool else series

    def cells(self) -> Iterator[Cells]:
        pairs = self._pairs
        if pairs.partner_of is None and bool((pairs.partner[1:] >= pairs.partner[:-1]).all()):
            yield from self._combine(self._many.cells(), Streamed(self.env, self._one))
        else:
            kept = Kept(self.env, self._one, pairs)
            yield from self._combine(self._without_crowd(kept.whole.present), kept)

    def _combine(self, tiles: Iterator[Cells], partners: Partners) -> Iterator[Cells]:
        pairs = self._pairs
        doubtful, contested = self._doubtful()
        classes = int(contested.max(initial=-1)) + 1
        self.env.context.reserve(8 * classes * self.env.steps.count)
        hits = np.zeros((classes, self.env.steps.count))
        for tile in tiles:
            first = tile.first_row
            begin, end = (int(at) for at in np.searchsorted(pairs.many, (first, first + len(tile.values))))
            if begin == end:
                continue
            rows, partner = pairs.many[begin:end] - first, pairs.partner[begin:end]
            one = partners.rows(int(partner.min()), int(partner.max()))
            partner = partner - one.first_row
            out = self._combination.combine(begin, tile, one, rows, partner)
            if doubtful.size:
                among = slice(*np.searchsorted(doubtful, (begin, end)))
                inside = doubtful[among] - begin
                count_present(tile.present[rows[inside]] & one.present[partner[inside]], contested[among], hits)
                self._refuse_repetition(hits)
            yield out
        partners.close()
        self._combination.close()
        self.env.context.reserve(-hits.nbytes)

    def _doubtful(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pairs of which only one may have a cell at a step, because of others of the same class: ascending, with the
        number of the class. Both i64[], mostly empty. A class is the pairs of one signature, if those may differ
        (not one-to-one) with equal labels in the result."""
        pairs, series = self._pairs, self.series()
        classes = pairs.many_signature[pairs.many]
        if self._matching.card != Card.ONE_TO_ONE:
            equal = group_rows(series)
            if len(equal) == len(series):
                return np.zeros(0, np.int64), np.zeros(0, np.int64)
            classes = np.unique(classes * len(equal) + equal.group, return_inverse=True)[1].reshape(-1)
        shared = np.flatnonzero((np.bincount(classes) > 1)[classes])
        return shared, np.unique(classes[shared], return_inverse=True)[1].reshape(-1)

    def _refuse_repetition(self, hits: NDArray[np.float64]) -> None:
        if (hits > 1).any():
            raise ExecutionError("multiple matches for labels: " + (
                "many-to-one matching must be explicit (group_left/group_right)"
                if self._matching.card == Card.ONE_TO_ONE else "grouping labels must ensure unique matches"
            ))

    def _without_crowd(self, present: NDArray[np.bool_]) -> Iterator[Cells]:
        """The tiles of the many side; ExecutionError where one has a cell at a step at which several rows of the one
        side, present bool[rows, steps], have the same signature."""
        pairs = self._pairs
        if pairs.partner_of is None:
            yield from self._many.cells()
            return
        with self.env.context.reserved(9 * pairs.signatures * self.env.steps.count):
            count = np.zeros((pairs.signatures, self.env.steps.count))
            count_present(present, pairs.one_signature, count)
            crowded = (count > 1).any(axis=0)
            del count
        filled = (self._matching.fill_left, self._matching.fill_right) != (None, None)
        if filled and crowded.any():  # where there is nothing to match, too
            raise self._crowd(np.flatnonzero(present[:, crowded.argmax()]))
        for tile in self._many.cells():
            steps = np.flatnonzero(crowded & tile.present.any(axis=0))
            if steps.size:
                raise self._crowd(np.flatnonzero(present[:, steps[0]]))
            yield tile

    def _crowd(self, rows: NDArray[np.int64]) -> ExecutionError:
        """The first two of the one side's rows that have the same signature make the message."""
        pairs, one = self._pairs, self._one.series()
        signatures = pairs.one_signature[rows]
        _, first = np.unique(signatures, return_index=True)
        repeated = np.setdiff1d(np.arange(rows.size), first)[0]
        twins = rows[signatures == signatures[repeated]][:2]
        shown = sorted((one.labels(int(row)) for row in twins), key=lambda labels: list(labels.items()))
        group = pairs.signature_labels.labels(pairs.many_signature.size + int(twins[0]))
        side = "left" if self._swapped else "right"
        return ExecutionError(
            f"found duplicate series for the match group {labels_text(group)} on the {side} hand-side of the "
            f"operation: [{', '.join(map(labels_text, shown))}];many-to-many matching not allowed: matching labels "
            "must be unique on one side"
        )
