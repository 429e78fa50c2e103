"""The values that operators pass on, and what all operators of one evaluation share."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from tsdb.model.context import RequestContext
from tsdb.model.tiles import SeriesSet, Symbols
from tsdb.promql.ast import Span, ValueType

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Steps:
    """The evaluation times start, start + step, … <= end (ms). An instant query has one step."""

    start: int
    end: int
    step: int

    @property
    def count(self) -> int:
        return 1 if self.step <= 0 else (self.end - self.start) // self.step + 1

    def times(self) -> NDArray[np.int64]:
        if self.step <= 0:
            return np.array([self.start], np.int64)
        return np.arange(self.start, self.end + 1, self.step, dtype=np.int64)


@dataclass(slots=True)
class Cells:
    """Values of consecutive rows of an operator's series, at every step."""

    first_row: int
    values: NDArray[np.float64]
    """f64[rows, steps], C order"""
    present: NDArray[np.bool_]
    """bool[rows, steps]: where False, the value means nothing. (NaN is a value like any other.)"""
    payload: NDArray[np.uint8] | None = None
    """u8[bytes]: the histograms to which boxed values lead (`tsdb.model.native_histograms`). None: all are floats."""


@dataclass(slots=True)
class Annotations:
    """Warnings and infos of a query, each text once, in order of appearance, with the place where Prometheus says it
    last: it evaluates operands from left to right, then what they are operands of."""

    query: str = ""
    """Text of the query, for line and column."""
    part: int = 0
    """Of two parts that say the same, the one of the higher number is evaluated later by Prometheus."""
    _warnings: dict[str, tuple[int, Span | None]] = field(default_factory=dict)
    _infos: dict[str, tuple[int, Span | None, str]] = field(default_factory=dict)

    def said_by(self, part: int) -> Annotations:
        """The same annotations, for a part of the query to add to."""
        return Annotations(self.query, part, self._warnings, self._infos)

    def warn(self, text: str, span: Span | None = None) -> None:
        """`text` as Prometheus words it, with "PromQL warning: " in front; `span` is where in the query."""
        before = self._warnings.get(text)
        if before is None or before[0] <= self.part:
            self._warnings[text] = self.part, span

    def inform(self, text: str, span: Span | None = None, details: str = "") -> None:
        """As `warn`, with "PromQL info: ". Of the details behind a text, too, those that were said last count."""
        before = self._infos.get(text)
        if before is None or before[0] <= self.part:
            self._infos[text] = self.part, span, details

    @property
    def warnings(self) -> list[str]:
        return [text + self._place(span) for text, (_, span) in self._warnings.items()]

    @property
    def infos(self) -> list[str]:
        return [text + details + self._place(span) for text, (_, span, details) in self._infos.items()]

    def _place(self, span: Span | None) -> str:
        if span is None or not self.query:
            return ""
        before = self.query[: span.start]
        return f" ({before.count(chr(10)) + 1}:{span.start - before.rfind(chr(10))})"


@dataclass(frozen=True, slots=True)
class Environment:
    """What the operators of one evaluation share. A subquery makes one with its own steps."""

    steps: Steps
    context: RequestContext
    symbols: Symbols
    annotations: Annotations
    executor: Executor | None = None
    delayed_name_removal: bool = False
    """Metric names are dropped at the end of the query (Prometheus' feature promql-delayed-name-removal): operators
    mark rows in `SeriesSet.drop_name` and keep the name. `operators.groups.drop_metric_name` does either."""
    subquery: bool = False
    """Whether this is within a subquery."""
    start_timestamps: bool = False
    """Whether functions use since when samples have been counting (Prometheus' feature use-start-timestamps)."""
    counted: slice = field(default_factory=partial(slice, None))
    """Which of the query's steps these are, or stand for."""

    def map_tiles(self, count: int, function: Callable[[int], T]) -> Iterator[T]:
        """function(0), … function(count - 1) in this order, computed by `context.threads` threads, a few ahead of the
        reader, so that results do not depend on the number of threads. Checks the context before each."""

        def work(index: int) -> T:
            self.context.check()
            return function(index)

        if self.executor is None or self.context.threads <= 1 or count <= 1:
            yield from map(work, range(count))
            return
        ahead: deque[Future[T]] = deque()
        try:
            for index in range(count):
                ahead.append(self.executor.submit(work, index))
                if len(ahead) > self.context.threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


class Operator(Protocol):
    """A node of the plan: first its series, so that outputs are sized before any work, then its cells.

    A scalar is an operator of type SCALAR with one row without labels, present at every step.
    """

    @property
    def type(self) -> ValueType: ...

    def series(self) -> SeriesSet:
        """Label sets of the rows, final for this operator. May be called more than once."""
        ...

    def cells(self) -> Iterator[Cells]:
        """All rows, each once, tiles in row order. May be called once."""
        ...
