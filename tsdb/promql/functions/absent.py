"""absent and absent_over_time: 1 where there is nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from tsdb.model.labels import METRIC_NAME
from tsdb.model.matchers import Matcher, MatchType
from tsdb.model.tiles import SeriesSet
from tsdb.promql import ast
from tsdb.promql.functions.function import MATRIX, VECTOR, Call, Function
from tsdb.promql.functions.over_time import presence
from tsdb.promql.operators.cells import VectorOperator
from tsdb.promql.operators.groups import no_labels, with_label
from tsdb.promql.operators.vector import Cells, Environment, Operator


class Absent(VectorOperator):
    """1 at the steps where no row of the child has a cell, with the labels that a selector asks for by equality."""

    def __init__(self, env: Environment, child: Operator, matchers: Sequence[Matcher]) -> None:
        super().__init__(env)
        self._child, self._matchers = child, matchers

    def _label(self) -> SeriesSet:
        series = no_labels(self.env.symbols)
        for name, value in absent_labels(self._matchers).items():
            series = with_label(series, name, np.array([self.env.symbols.intern(value)], np.uint32))
        return series

    def cells(self) -> Iterator[Cells]:
        seen = np.zeros(self.env.steps.count, np.bool_)
        for tile in self._child.cells():
            seen |= tile.present.any(axis=0)
        yield Cells(0, np.ones((1, seen.size)), ~seen.reshape(1, -1))


def absent_labels(matchers: Sequence[Matcher]) -> dict[str, str]:
    """Labels that have exactly one matcher, an equality; never the metric's name."""
    labels: dict[str, str] = {}
    seen: set[str] = set()
    for matcher in matchers:
        if matcher.name == METRIC_NAME:
            continue
        if matcher.type == MatchType.EQUAL and matcher.name not in seen:
            labels[matcher.name] = matcher.value
            seen.add(matcher.name)
        else:
            labels.pop(matcher.name, None)
    return {name: value for name, value in labels.items() if value}


def _matchers(argument: ast.Expr) -> Sequence[Matcher]:
    """In the order in which they are written: that decides which of several count."""
    if isinstance(argument, ast.MatrixSelector):
        argument = argument.vector
    return (argument.written or argument.matchers) if isinstance(argument, ast.VectorSelector) else ()


def absent_of(call: Call, child: Operator) -> Operator:
    """1 where `child` has nothing, with labels as the call's argument says."""
    return Absent(call.env, child, _matchers(call.node.args[0]))


def _absent(call: Call) -> Operator:
    return absent_of(call, call.operators[0])


def _absent_over_time(call: Call) -> Operator:
    return absent_of(call, presence(call))


FUNCTIONS: Final = (
    Function(name="absent", arg_types=(VECTOR,), build=_absent,
             doc="1 where the vector is empty, with the labels that its selector asks for by equality."),
    Function(name="absent_over_time", arg_types=(MATRIX,), build=_absent_over_time,
             doc="1 where no series has a sample in the range, with labels as of absent."),
)
