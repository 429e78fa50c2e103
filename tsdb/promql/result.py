"""What a query gives."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tsdb.model.tiles import SeriesSet
from tsdb.promql.ast import ValueType
from tsdb.promql.plan.explanation import Node


@dataclass(slots=True)
class QueryResult:
    """The answer to a query. Every row of `series` has at least one cell, or sample, and no two have equal labels.

    The rows of a matrix are sorted by labels, those of a vector are in the order in which the query puts them. The
    result of a range query is a matrix always: that of a scalar has one row without labels.
    """

    type: ValueType
    series: SeriesSet | None
    """None for a string; a scalar has one row without labels."""
    times: NDArray[np.int64]
    """i64[steps], ms; one of an instant query"""
    values: NDArray[np.float64]
    """f64[n, steps]; boxed values lead to histograms in `payload`"""
    present: NDArray[np.bool_]
    """bool[n, steps]: where False, the value means nothing"""
    samples: list[tuple[NDArray[np.int64], NDArray[np.float64]]] | None = None
    """Of an instant query for a range vector: for each row times i64[] (ms) and values f64[], and no cells. Boxed
    values as above."""
    payload: NDArray[np.uint8] | None = None
    """u8[bytes]: native histograms (`tsdb.model.native_histograms`). None: all values are floats."""
    scalar: float | str = 0.0
    """The value of a scalar or string."""
    explanation: Node | None = None
    """What the query did, where it was asked to tell."""
    tiers_used: tuple[int, ...] = ()
    """Resolutions (ms) of the downsampling tiers that were read, the finest first; 0 stands for samples. Empty: nothing
    was read."""
    warnings: list[str] = field(default_factory=list)
    infos: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The value of a string."""
        return self.scalar if isinstance(self.scalar, str) else ""
