"""Which rows of two vectors meet in arithmetic and comparisons, and the cells of the side that is looked up.

One side has at most one row per signature at a step (the "one" side), the other is streamed (the "many" side; the left
one unless ``group_right``). Prometheus looks for ambiguities step by step, among the cells that are there; so do we,
but only where the label sets allow them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tsdb.model.tiles import SeriesSet
from tsdb.promql import ast
from tsdb.promql.operators.cells import Matrix, collect, concatenated
from tsdb.promql.operators.groups import label_values, match_groups
from tsdb.promql.operators.vector import Cells, Environment, Operator


@dataclass(frozen=True, slots=True)
class Pairs:
    """The rows of the result: each is a row of the many side and a *partner*, one or more rows of the one side."""

    many: NDArray[np.int64]
    """i64[pairs], ascending"""
    partner: NDArray[np.int64]
    """i64[pairs]"""
    first_one: NDArray[np.int64]
    """i64[partners]: a row of the one side that stands for the partner in labels."""
    partner_of: NDArray[np.int64] | None
    """i64[one rows]; None: each row is its own partner."""
    many_signature: NDArray[np.int64]
    """i64[many rows]"""
    one_signature: NDArray[np.int64]
    """i64[one rows]"""
    signatures: int
    signature_labels: SeriesSet
    """Of many rows, then one rows."""


def match(many: SeriesSet, one: SeriesSet, matching: ast.VectorMatching) -> Pairs:
    """Finds the pairs. Rows of the one side with the same signature and the same included labels become one partner."""
    groups, labels = match_groups(many, one, matching.labels, matching.on)
    many_signature, one_signature = groups.group[: len(many)], groups.group[len(many) :]
    partner_of = None
    first_one = np.arange(len(one))
    if np.bincount(one_signature, minlength=len(groups)).max(initial=0) > 1:
        keys = np.stack([one_signature, *(label_values(one, name).astype(np.int64) for name in matching.include)])
        _, first_one, partner_of = np.unique(keys, axis=1, return_index=True, return_inverse=True)
        partner_of = partner_of.reshape(-1)
    order = np.argsort(one_signature[first_one], kind="stable")
    count = np.bincount(one_signature[first_one], minlength=len(groups))
    begin = np.cumsum(count) - count
    partners = count[many_signature]
    pair_many = np.repeat(np.arange(len(many)), partners)
    before = np.repeat(np.cumsum(partners) - partners, partners)
    place = np.repeat(begin[many_signature], partners) + np.arange(pair_many.size) - before
    return Pairs(pair_many, order[place], first_one, partner_of, many_signature, one_signature, len(groups), labels)


class Partners(Protocol):
    """The cells of the partners."""

    def rows(self, first: int, last: int) -> Cells:
        """Partners first to last, and maybe more around them. `first` never decreases between calls if pairs ascend."""
        ...

    def close(self) -> None: ...


class Streamed:
    """Each row of the one side is its own partner, and they are asked for in ascending order: few rows are kept."""

    def __init__(self, env: Environment, operator: Operator) -> None:
        self._context = env.context
        self._tiles = operator.cells()
        self._held: list[Cells] = []
        self._size = 0

    def rows(self, first: int, last: int) -> Cells:
        held = [tile for tile in self._held if _end(tile) > first]
        while not held or _end(held[-1]) <= last:
            tile = next(self._tiles)
            if _end(tile) > first:
                held.append(tile)
        self._account(sum(tile.values.size for tile in held) * (9 if len(held) == 1 else 18))
        if len(held) > 1:
            head, begin = held[0], first - held[0].first_row
            rest = Cells(first, head.values[begin:], head.present[begin:], head.payload)
            held = [concatenated(self._context, [rest, *held[1:]])]
        self._held = held
        return held[0]

    def close(self) -> None:
        """Evaluates the rows that nothing was asked of: an error in them is one of the query."""
        self._held = []
        self._account(0)
        for _ in self._tiles:
            pass

    def _account(self, size: int) -> None:
        self._context.reserve(size - self._size)
        self._size = size


def _end(tile: Cells) -> int:
    return tile.first_row + len(tile.values)


class Kept:
    """All rows of the one side in memory, and the partners made of them."""

    def __init__(self, env: Environment, operator: Operator, pairs: Pairs) -> None:
        self.whole = self._partners = collect(env, operator)
        if pairs.partner_of is not None:
            self._partners = Matrix(env, pairs.first_one.size)
            whole = Cells(0, self.whole.values, self.whole.present, self.whole.payload())
            self._partners.merge(whole, pairs.partner_of)

    def rows(self, first: int, last: int) -> Cells:
        return Cells(0, self._partners.values, self._partners.present, self._partners.payload())

    def close(self) -> None:
        """Gives the bytes back to the query's budget."""
        self.whole.close()
        self._partners.close()
