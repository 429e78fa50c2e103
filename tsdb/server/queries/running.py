"""The queries of one server that wait or run now."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tsdb.model.context import RequestContext
from tsdb.model.durations import format_duration
from tsdb.model.errors import BadData, QueryError
from tsdb.model.summary import Summary
from tsdb.server.queries.active_file import ActiveFile
from tsdb.server.queries.query_log import QueryLog
from tsdb.server.queries.top import TopQueries
from tsdb.server.usage.source import UNKNOWN, Source
from tsdb.server.usage.usage import Usage

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Query:
    """One query. Times of the range are ms; an instant query has one time, and step 0."""

    text: str
    start: int
    end: int
    step: int
    context: RequestContext
    remote: str = ""
    """``host:port`` of the client."""
    origin: Mapping[str, Any] = field(default_factory=dict)
    """Who asked, as the log has it: ``httpRequest`` with clientIP, method and path."""
    source: Source = UNKNOWN
    """Who asked, as usage has it."""
    per_step: bool = False
    """Whether the client wants samples step by step."""
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    arrived: float = field(default_factory=time.perf_counter)
    began: float | None = None
    """When it left the queue. None: it waits."""
    ended: float | None = None
    """When it had its result or its error. None: it has neither."""
    future: Future[Any] | None = None
    """Of its work in a thread."""

    @property
    def queue_seconds(self) -> float:
        return (self.began or self.ended or time.perf_counter()) - self.arrived

    @property
    def eval_seconds(self) -> float:
        return 0.0 if self.began is None else (self.ended or time.perf_counter()) - self.began

    @property
    def total_seconds(self) -> float:
        return (self.ended or time.perf_counter()) - self.arrived

    def cancel(self) -> None:
        """It ends with QueryCanceled: between two tiles, or at once if it waits."""
        self.context.cancelled.set()
        if self.future is not None:
            self.future.cancel()


Counted = Callable[[int], None]
"""Called with 1 when a query arrives, with -1 when it is gone."""


class Queries:
    """Registers queries, and tells file, log and tables of them. Any thread may call."""

    def __init__(self, seconds: Mapping[str, Summary], counted: Counted, later: Executor) -> None:
        """`seconds`: where times are observed, by the names of parts. What takes a while is done by `later`."""
        self._seconds = seconds
        self._counted = counted
        self._later = later
        self._running: dict[str, Query] = {}
        self._lock = threading.Lock()
        self.active: ActiveFile | None = None
        self.log: QueryLog | None = None
        self.top = TopQueries()
        self.usage: Usage | None = None

    def arrive(self, query: Query) -> None:
        with self._lock:
            self._running[query.id] = query
        query.context.query_id = query.id
        self._counted(1)

    @contextmanager
    def evaluation(self, query: Query) -> Iterator[None]:
        """Around the evaluation, in the thread that does it. A query whose time is over, or that was cancelled, is not
        begun: raises QueryTimeout, QueryCanceled."""
        query.began, query.ended = time.perf_counter(), None
        self._seconds["queue_time"].observe(query.queue_seconds)
        query.context.check()
        slot = self.active.insert(query.text) if self.active is not None else None
        try:
            yield
        finally:
            query.ended = time.perf_counter()
            if slot is not None and self.active is not None:
                self.active.remove(slot)
            used = query.context.statistics
            self._seconds["prepare_time"].observe(used.prepare_seconds)
            self._seconds["result_sort"].observe(used.sort_seconds)
            self._seconds["inner_eval"].observe(inner_seconds(query))

    def leave(self, query: Query, problem: BaseException | None) -> None:
        """The query has a result, or a `problem`."""
        with self._lock:
            if self._running.pop(query.id, None) is None:
                return
        self._counted(-1)
        if query.ended is None:
            query.ended = time.perf_counter()
        if isinstance(problem, BadData):
            return  # what is no query is not logged, as in Prometheus
        if query.began is not None:
            self.top.add(query.text, query.end - query.start, query.eval_seconds, query.context.statistics.peak_bytes)
            if self.usage is not None:
                self.usage.note(query.text, query.source, query.start, query.end)
        log = self.log
        if log is not None:
            self._log(log, query, problem)

    def now(self) -> list[Query]:
        """Those that wait or run, the oldest first."""
        with self._lock:
            return sorted(self._running.values(), key=lambda query: query.arrived)

    def find(self, id: str) -> Query | None:
        with self._lock:
            return self._running.get(id)

    def close(self) -> None:
        if self.active is not None:
            self.active.close()
        if self.log is not None:
            self.log.close()
        if self.usage is not None:
            self.usage.close()
        self.active = self.log = self.usage = None

    def _log(self, log: QueryLog, query: Query, problem: BaseException | None) -> None:
        error = None
        if problem is not None:
            error = str(problem) if isinstance(problem, QueryError) else "query was canceled in query execution"
        line = log.line(query.text, query.start, query.end, query.step, shape(query), query.origin, error)
        try:
            self._later.submit(log.write, line)
        except RuntimeError:  # the server stops, and takes no more work: as called by a future nobody would hear of it
            log.write(line)


def inner_seconds(query: Query) -> float:
    """What the evaluation took besides planning and sorting."""
    used = query.context.statistics
    return max(0.0, query.eval_seconds - used.prepare_seconds - used.sort_seconds)


def shape(query: Query, tiers: Sequence[int] = ()) -> dict[str, Any]:
    """Timings (seconds) and samples of a query, as Prometheus names them; which downsampling tiers it read, if any
    (resolutions in ms, 0: samples)."""
    used = query.context.statistics
    samples: dict[str, Any] = {}
    if query.per_step and used.by_step is not None:
        times = range(query.start, query.end + 1, query.step or 1)
        samples["totalQueryableSamplesPerStep"] = [
            [at // 1000 if at % 1000 == 0 else at / 1000, count]
            for at, count in zip(times, used.by_step.tolist(), strict=True)
        ]
    total = used.samples_read if used.by_step is None else int(used.by_step.sum())
    samples |= {"totalQueryableSamples": total, "peakSamples": used.peak_samples}
    read = {"tiers": [format_duration(tier) if tier else "samples" for tier in tiers]} if any(tiers) else {}
    return {
        **read,
        "timings": {
            "evalTotalTime": query.eval_seconds,
            "resultSortTime": used.sort_seconds,
            "queryPreparationTime": used.prepare_seconds,
            "innerEvalTime": inner_seconds(query),
            "execQueueTime": query.queue_seconds,
            "execTotalTime": query.total_seconds,
        },
        "samples": samples,
    }
