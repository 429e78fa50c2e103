"""What aggregations of one row per group share."""

from __future__ import annotations

from tsdb.model.tiles import SeriesSet
from tsdb.promql.aggregations.aggregation import Grouping
from tsdb.promql.operators.cells import VectorOperator
from tsdb.promql.operators.groups import Groups, group_by


class Grouped(VectorOperator):
    """An aggregation of one row per group."""

    def __init__(self, call: Grouping) -> None:
        super().__init__(call.env)
        self._node, self._child = call.node, call.child
        self._groups: Groups | None = None

    def _label(self) -> SeriesSet:
        self._groups, labels = group_by(self._child.series(), self._node.grouping, self._node.without)
        return labels

    @property
    def groups(self) -> Groups:
        self.series()
        assert self._groups is not None
        return self._groups
