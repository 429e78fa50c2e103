"""The table of aggregations: a row for each, in the module that computes it.

A row has the parameter's type (all that the parser looks at), the line for docs/promql.md, and how it is computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from tsdb.promql.aggregations import accumulated, best, count_values, quantile, ratio
from tsdb.promql.aggregations.aggregation import Aggregation as Aggregation

FAMILIES = (accumulated, best, ratio, quantile, count_values)

AGGREGATIONS: Final[Mapping[str, Aggregation]] = MappingProxyType(
    {aggregation.name: aggregation for family in FAMILIES for aggregation in family.AGGREGATIONS}
)
