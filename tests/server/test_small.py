"""Which work is done on the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from tests.server.conftest import Begin, Running
from tests.server.scripted_engine import ScriptedEngine
from tsdb.model.context import RequestContext
from tsdb.model.errors import ExecutionError, LimitExceeded, QueryTimeout
from tsdb.server.api.small import FRESH_S, MOST_KNOWN, MOST_S, MOVED_MS, SmallWork, confine

HOUR = 3_600_000


@pytest.mark.parametrize(
    ("start", "end", "age", "seconds", "fits"),
    [
        (0, HOUR, 0.0, 0.001, True),
        (MOVED_MS, HOUR + MOVED_MS, FRESH_S, 0.001, True),
        (MOVED_MS + 1, HOUR, 0.0, 0.001, False),
        (0, HOUR + MOVED_MS + 1, 0.0, 0.001, False),
        (-MOVED_MS - 1, HOUR, 0.0, 0.001, False),
        (0, HOUR, FRESH_S + 1, 0.001, False),
        (0, HOUR, 0.0, MOST_S, True),
        (0, HOUR, 0.0, MOST_S * 1.01, False),
    ],
)
def test_what_took_a_moment_is_small(start: int, end: int, age: float, seconds: float, fits: bool) -> None:
    now = 100.0
    small = SmallWork(lambda: now)

    async def asked() -> bool:
        assert not small.fits("q", start, end), "nobody knows"
        small.took("q", 0, HOUR, seconds)
        nonlocal now
        now += age
        return small.fits("q", start, end) and not small.fits("another", start, end)

    assert asyncio.run(asked()) == fits


def test_a_turn_of_the_loop_has_room_for_some_of_it() -> None:
    small = SmallWork()

    async def turns() -> list[int]:
        small.took("q", 0, 0, MOST_S / 2)
        fitting = []
        for _ in range(2):
            fitting.append(sum(small.fits("q", 0, 0) for _ in range(5)))
            await asyncio.sleep(0)
        return fitting

    assert asyncio.run(turns()) == [2, 2]


def test_what_has_become_slow_is_forgotten_and_so_is_the_oldest_of_many() -> None:
    small = SmallWork()

    async def fit(*keys: int) -> list[bool]:
        return [small.fits(key, 0, 0) for key in keys]

    for key in range(MOST_KNOWN + 1):
        small.took(key, 0, 0, 0.0)
    small.took(7, 0, 0, 1.0)
    assert asyncio.run(fit(0, 1, 7, MOST_KNOWN)) == [False, True, False, True]


def test_on_the_loop_work_gives_up_early() -> None:
    context = RequestContext.with_timeout(60, threads=4)
    confine(context)
    assert context.threads == 1
    with pytest.raises(LimitExceeded):
        context.select(1_000_000)
    time.sleep(0.02)
    with pytest.raises(QueryTimeout):
        context.check()


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def running(begin: Begin, engine: ScriptedEngine) -> Running:
    made = begin()
    scripted: Any = engine
    made.open(lambda services: (scripted, scripted))
    return made


def threads_of(running: Running, engine: ScriptedEngine, times: int, script: Any = None) -> list[str]:
    """Where a query, asked several times, was evaluated: loop or query."""
    seen = []

    def note(context: RequestContext) -> None:
        seen.append("loop" if threading.current_thread().name == "test-server" else "query")
        if script is not None:
            script(context)

    engine.script = note
    for _ in range(times):
        assert running.client.get("/api/v1/query", {"query": "q", "time": "7"}).status in (200, 422)
    assert running.client.get("/api/v1/status/active_queries").json()["data"] == []
    return seen


def known_as_small(running: Running) -> None:
    running.server.services.small.took(("q", 0, (300_000, None, 0)), 7000, 7000, 0.0)


def test_a_query_that_was_quick_is_answered_on_the_loop(running: Running, engine: ScriptedEngine) -> None:
    assert threads_of(running, engine, 1) == ["query"]
    known_as_small(running)
    assert threads_of(running, engine, 1) == ["loop"]


def test_one_that_is_slow_never_is(running: Running, engine: ScriptedEngine) -> None:
    assert set(threads_of(running, engine, 4, lambda context: time.sleep(2 * MOST_S))) == {"query"}


def test_one_that_has_become_too_large_is_begun_anew_in_a_thread(running: Running, engine: ScriptedEngine) -> None:
    def select(context: RequestContext) -> None:
        context.select(1_000_000)

    known_as_small(running)
    assert threads_of(running, engine, 1, select) == ["loop", "query"]
    engine.script = None
    answer = running.client.get("/api/v1/query", {"query": "q", "time": "7", "stats": "1"})
    assert answer.status == 200 and answer.json()["data"]["stats"]


def test_its_errors_are_answered_there(running: Running, engine: ScriptedEngine) -> None:
    def fail(context: RequestContext) -> None:
        raise ExecutionError("no")

    known_as_small(running)
    assert threads_of(running, engine, 1, fail) == ["loop"]
    engine.script = fail
    answer = running.client.get("/api/v1/query", {"query": "q", "time": "7"})
    assert (answer.status, answer.json()["error"]) == (422, "no")
