"""Which queries are answered where they arrive, on the event loop, rather than by a query thread.

Handing a query to a thread and back costs a third of the time of a query for one series. A query is *small* if it
surely takes about a millisecond: plain selectors, rates, usual aggregations and operators over few samples, all of
them in memory.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tsdb.model.errors import QueryError
from tsdb.model.matchers import Matcher
from tsdb.promql import ast
from tsdb.promql.syntax.parser import parse

if TYPE_CHECKING:
    from tsdb.server.services import Database

LONGEST_TEXT = 500
MOST_SERIES = 100
MOST_WORK = 20_000
"""Samples read and cells made, about: 20 to 50 ns each."""
SAMPLE_MS = 10_000
"""A guess at the time between samples."""
CHUNK_SAMPLES = 120
"""Read at least of each series, however short the range."""

_FUNCTIONS = frozenset({"rate", "increase", "irate", "delta", "idelta"})
_AGGREGATIONS = frozenset({"sum", "avg", "min", "max", "count", "group"})

Shape = tuple[tuple[tuple[Matcher, ...], int, int], ...]
"""Matchers, range (ms; 0: the lookback) and offset (ms) of each selector."""


class SmallQueries:
    """Tells small queries. `ready` once the kernels they use are loaded: the event loop must not wait for these."""

    def __init__(self) -> None:
        self.ready = False
        self._shape = functools.lru_cache(1000)(_shape)

    def is_small(self, database: Database, expr: str, start: int, end: int, step: int, lookback: int) -> bool:
        """`start` to `end` in steps of `step` (0: one step), `lookback`: all ms."""
        if not self.ready or len(expr) > LONGEST_TEXT:
            return False
        shape = self._shape(expr)
        if shape is None:
            return False
        steps = 1 if step <= 0 else (end - start) // step + 1
        room = MOST_WORK
        for matchers, width, offset in shape:
            each = (end - start + (width or lookback)) // SAMPLE_MS + CHUNK_SAMPLES + steps
            enough = min(MOST_SERIES, room // each)
            series = database.series_at_most(matchers, enough, start - (width or lookback) - offset)
            if series > enough:
                return False
            room -= series * each
        return steps <= MOST_WORK


def _shape(expr: str) -> Shape | None:
    """None: not a query that may be small."""
    try:
        tree = parse(expr)
    except QueryError:
        return None  # the query thread tells what is wrong with it
    found: list[tuple[tuple[Matcher, ...], int, int]] = []
    ranges: dict[ast.VectorSelector, int] = {}
    for node in ast.walk(tree):
        match node:
            case ast.MatrixSelector(vector, int(width)):
                ranges[vector] = width
            case ast.VectorSelector(_, matchers, int(offset), at):
                if at is not None or offset < 0 or not _narrow(matchers):
                    return None
                found.append((matchers, ranges.get(node, 0), offset))
            case ast.Call(function) if function in _FUNCTIONS:
                pass
            case ast.Aggregate(op) if op in _AGGREGATIONS:
                pass
            case ast.Binary() | ast.Unary() | ast.Paren() | ast.NumberLiteral():
                pass
            case _:
                return None
    return tuple(found)


def _narrow(matchers: Sequence[Matcher]) -> bool:
    """Only equality matchers: resolving a regex may take long the first time."""
    return all(not matcher.regex for matcher in matchers)
