"""The function table: a row for each function of PromQL, in a module for each family of them.

A row has the signature (all that the parser looks at), the line for docs/promql.md, and how a call is computed. A new
function is a row in the module that computes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from tsdb.promql.functions import (
    absent,
    arithmetic,
    calendar,
    histograms,
    info,
    labels,
    over_time,
    rates,
    scalars,
    sorting,
    start_times,
    statistics,
    times,
)
from tsdb.promql.functions.function import Function as Function

FAMILIES = (
    arithmetic, calendar, times, scalars, sorting, labels, info, absent, histograms, rates, over_time, statistics,
    start_times,
)

FUNCTIONS: Final[Mapping[str, Function]] = MappingProxyType(
    {function.name: function for family in FAMILIES for function in family.FUNCTIONS}
)
