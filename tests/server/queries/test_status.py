"""Which queries wait and run, the end of one by its id, and which cost most."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest

from tests.processes import wait_until
from tests.server.conftest import Begin, Running
from tests.server.scripted_engine import ScriptedEngine, busy, one_at_a_time, until_cancelled
from tsdb.server.queries.top import KEPT, TopQueries


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def running(begin: Begin, engine: ScriptedEngine) -> Running:
    return one_at_a_time(begin, engine)


def active(running: Running) -> list[dict[str, Any]]:
    answer = running.client.get("/api/v1/status/active_queries").json()
    assert answer["status"] == "ok"
    rows: list[dict[str, Any]] = answer["data"]
    return rows


class Asked:
    """A query in a thread of its own."""

    def __init__(self, running: Running, **parameters: str) -> None:
        self.answer: Any = None
        self._running = running
        self._parameters = parameters
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        path = "/api/v1/query_range" if "step" in self._parameters else "/api/v1/query"
        self.answer = self._running.client.get(path, self._parameters)

    def end(self) -> Any:
        self._thread.join(30)
        return self.answer


def test_active_queries(running: Running, engine: ScriptedEngine) -> None:
    assert active(running) == []
    with busy(running, engine):
        second = Asked(running, query="second<b>", start="1", end="3.5", step="2")
        wait_until(lambda: len(active(running)) == 2, "both are there")
        first, waiting = active(running)
        assert (first["query"], first["state"], first["step"]) == ("first", "running", 0)
        assert {name: waiting[name] for name in ("query", "state", "start", "end", "step", "memory_bytes")} == {
            "query": "second<b>", "state": "waiting", "start": 1000, "end": 3500, "step": 2000, "memory_bytes": 0,
        }
        assert re.fullmatch(r"\d+\.\d{3}s", first["duration"])
        assert re.fullmatch(r"[0-9a-f]{16}", first["id"]) and first["id"] != waiting["id"]
        assert first["remote_addr"].startswith("127.0.0.1:")
    assert second.end().status == 200
    wait_until(lambda: active(running) == [], "both are gone")


def cancel(running: Running, id: str) -> Any:
    return running.client.request("POST", f"/api/tsdb/v1/queries/{id}/cancel")


def test_cancelling_a_query_that_runs(running: Running, engine: ScriptedEngine) -> None:
    engine.script = until_cancelled
    asked = Asked(running, query="long")
    wait_until(lambda: bool(engine.asked), "it runs")
    [row] = active(running)
    assert cancel(running, row["id"]).json() == {"status": "success", "data": {"id": row["id"], "query": "long"}}
    answer = asked.end()
    assert (answer.status, answer.json()["errorType"]) == (499, "canceled")
    assert answer.json()["error"] == "query was canceled in query execution"
    wait_until(lambda: active(running) == [], "it is gone")


def test_cancelling_a_query_that_waits(running: Running, engine: ScriptedEngine) -> None:
    with busy(running, engine):
        asked = Asked(running, query="second")
        wait_until(lambda: len(active(running)) == 2, "it waits")
        cancel(running, active(running)[1]["id"])
        assert asked.end().json()["errorType"] == "canceled"
        assert len(active(running)) == 1
    assert [query[0] for query in engine.asked] == ["first"]


def test_cancelling_what_is_not_there(running: Running) -> None:
    answer = cancel(running, "abc")
    assert (answer.status, answer.json()["errorType"]) == (404, "not_found")
    assert running.client.get("/api/tsdb/v1/queries/abc/cancel").status == 405


def test_a_client_that_leaves_while_its_query_waits(running: Running, engine: ScriptedEngine) -> None:
    with busy(running, engine):
        with pytest.raises(TimeoutError):
            running.client.get("/api/v1/query", {"query": "second"}, timeout=0.2)
        wait_until(lambda: len(active(running)) == 1, "it waits no more")
    assert [query[0] for query in engine.asked] == ["first"]


def test_top_queries(running: Running, engine: ScriptedEngine) -> None:
    def script(context: Any) -> None:
        context.reserve(1000)
        threading.Event().wait(0.003)

    engine.script = script
    for query in ("a", "b", "a"):
        running.client.get("/api/v1/query", {"query": query})
    running.client.get("/api/v1/query_range", {"query": "a", "start": "0", "end": "60", "step": "30"})
    wait_until(lambda: active(running) == [], "all have ended")
    found = running.client.get("/api/v1/status/top_queries", {"topN": "2"}).json()
    assert (found["topN"], found["maxLifetime"]) == ("2", "10m0s")
    assert found["topByCount"][0] == {"query": "a", "timeRangeSeconds": 0, "count": 2}
    assert set(found["topBySumDuration"][0]) == {"query", "timeRangeSeconds", "sumDurationSeconds", "count"}
    assert set(found["topByAvgDuration"][0]) == {"query", "timeRangeSeconds", "avgDurationSeconds", "count"}
    assert all(1000 <= row["avgMemoryBytes"] < 5000 for row in found["topByAvgMemoryUsage"])
    assert running.client.get("/api/v1/status/top_queries?topN=x").status == 400
    assert running.client.get("/api/v1/status/top_queries?maxLifetime=x").status == 400


def test_tables_of_the_newest_queries() -> None:
    now = 0.0
    top = TopQueries(lambda: now)
    top.add("old", 0, 5, 10)
    now = 100.0
    top.add("x" * 5000, 7000, 2, 30)
    for seconds in (1.0, 3.0):
        top.add("twice", 0, seconds, 20)
    top.add("quick", 0, 0.0001, 1 << 40)
    tables = top.tables(10, 50)
    long = "x" * 1000
    assert [row["query"] for row in tables["topByCount"]] == ["twice", long]
    sums = [(row["query"], row["sumDurationSeconds"]) for row in tables["topBySumDuration"]]
    assert sums == [("twice", 4), (long, 2)]
    assert [row["avgDurationSeconds"] for row in tables["topByAvgDuration"]] == [2, 2]
    assert [row["avgMemoryBytes"] for row in tables["topByAvgMemoryUsage"]] == [30, 20]
    assert top.tables(1, 1000)["topByAvgDuration"] == [
        {"query": "old", "timeRangeSeconds": 0, "avgDurationSeconds": 5, "count": 1}]
    for _ in range(KEPT):
        top.add("many", 0, 1, 1)
    assert [row["query"] for row in top.tables(10, 1000)["topByCount"]] == ["many"]
