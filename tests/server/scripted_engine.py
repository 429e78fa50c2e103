"""A query engine, and a database, that do what a test tells them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tests.server.conftest import Begin, Running
from tsdb.config import Config
from tsdb.model.context import RequestContext
from tsdb.promql.ast import Span, ValueType
from tsdb.promql.plan.explanation import Node
from tsdb.promql.result import QueryResult
from tsdb.server.config import QueryConfig
from tsdb.testing.memory_storage import MemorySymbols, labels_of, series_set

Script = Callable[[RequestContext], None]


class ScriptedEngine:
    """Answers with one row for every step, and remembers what it was asked."""

    secret = None

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.script: Script | None = None
        self.rows = 1

    def query(self, expr: str, time: int, context: RequestContext, lookback_delta_ms: int | None = None, *,
              explain: bool = False, max_source_resolution_ms: int | None = None) -> QueryResult:
        return self._answer(ValueType.VECTOR, (expr, time, lookback_delta_ms), [time], context, explain)

    def query_range(self, expr: str, start: int, end: int, step: int, context: RequestContext,
                    lookback_delta_ms: int | None = None, *, explain: bool = False,
                    max_source_resolution_ms: int | None = None) -> QueryResult:
        asked = (expr, start, end, step, lookback_delta_ms)
        return self._answer(ValueType.MATRIX, asked, list(range(start, end + 1, step)), context, explain)

    def _answer(self, kind: ValueType, asked: tuple[Any, ...], times: list[int],
                context: RequestContext, explain: bool) -> QueryResult:
        self.asked.append(asked)
        if self.script is not None:
            self.script(context)
        shape = (self.rows, len(times))
        rows = [labels_of({"row": str(row)}) for row in range(self.rows)]
        return QueryResult(kind, series_set(rows, MemorySymbols()), np.array(times, np.int64), np.ones(shape),
                           np.ones(shape, np.bool_), warnings=["look <out>"], infos=["fyi"],
                           explanation=Node("all", Span(0, 3), len(times)) if explain else None)

    def statistics(self) -> Any:
        raise NotImplementedError

    def follow_damage(self, told: Callable[[list[str]], None]) -> None:
        pass

    def end_upkeep(self) -> None:
        pass

    def close(self) -> None:
        pass


def until_cancelled(context: RequestContext) -> None:
    for _ in range(3000):
        context.check()
        context.cancelled.wait(0.01)
    raise AssertionError("nobody cancelled")


def one_at_a_time(begin: Begin, engine: ScriptedEngine) -> Running:
    """A server with that engine, which runs one query at a time."""
    made = begin(Config(query=QueryConfig(max_concurrency=1)))
    scripted: Any = engine
    made.open(lambda services: (scripted, scripted))
    return made


@contextmanager
def busy(running: Running, engine: ScriptedEngine) -> Iterator[None]:
    """The only query thread has a query that does not end."""
    entered, leave = threading.Event(), threading.Event()

    def script(context: RequestContext) -> None:
        entered.set()
        assert leave.wait(30)

    engine.script = script
    first = threading.Thread(target=running.client.get, args=("/api/v1/query", {"query": "first"}))
    first.start()
    try:
        assert entered.wait(30)
        yield
    finally:
        leave.set()
        first.join(30)
