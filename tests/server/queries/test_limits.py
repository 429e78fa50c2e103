"""Each limit of a query, in a server with low ones: the message names the limit, its value and the remedy."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.processes import wait_until
from tests.server.conftest import Running
from tsdb.config import Config
from tsdb.model.settings import Bytes
from tsdb.server.config import QueryConfig
from tsdb.server.queries import startup
from tsdb.server.server import open_storage

LIMITS = QueryConfig(max_samples=2000, max_series=50, max_points=100, max_memory=Bytes(150_000), max_concurrency=1)


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, int]]:
    """40 series `few` and 60 `many`, every second for 20 s up to the time given (s)."""
    running = Running(Config(query=LIMITS))
    try:
        running.open(open_storage(tmp_path_factory.mktemp("limits") / "data", None))
        end = int(time.time())
        series = [({"__name__": name, "i": str(i)}, [((end - ago) * 1000, 1.0) for ago in range(20, 0, -1)])
                  for name, count in (("few", 40), ("many", 60)) for i in range(count)]
        assert running.client.write(series).status == 204
        yield running, end
    finally:
        running.stop()


@pytest.mark.parametrize(("expr", "steps", "status", "kind", "message"), [
    ("few", 11, 200, "", ""),
    ("many", 1, 422, "execution", "query selects 60 series, more than 50 (query.max_series): narrow its selectors, or "
                                  "raise the limit"),
    ("few + few", 1, 200, "", ""),
    ('few{i=~"1."} + few', 1, 200, "", ""),
    ('few + few{i=~".*[1-9]"}', 1, 422, "execution",
     "query selects 76 series, more than 50 (query.max_series): narrow its selectors, or raise the limit"),
    ("few", 101, 200, "", ""),
    ("few", 102, 400, "bad_data", "exceeded maximum resolution of 100 points per timeseries. Try decreasing the query "
                                  "resolution (?step=XX)"),
    ("sum_over_time(few[1h:1s])", 2, 422, "execution",
     "query processing would load too many samples into memory in query execution: more than 2000 (query.max_samples); "
     "select fewer series, a shorter range or a longer step, or raise the limit"),
    ('count_values by (i) ("v", few)', 101, 422, "execution",
     "query needs more than 0.1431 MiB of memory (query.max_memory): select fewer series, a shorter range or a longer "
     "step, or raise the limit"),
])
def test_limits(limited: tuple[Running, int], expr: str, steps: int, status: int, kind: str, message: str) -> None:
    running, end = limited
    parameters = {"query": expr, "start": end, "end": end + (steps - 1) * 10, "step": 10}
    answer = running.client.get("/api/v1/query_range", parameters)
    assert answer.status == status, answer
    if message:
        assert answer.json() == {"status": "error", "errorType": kind, "error": message}


def test_a_query_s_time(running: Running) -> None:
    slow = "sum(" + " + ".join(["quantile_over_time(0.5, vector(time())[1h:1s])"] * 60) + ")"
    asked = {"query": slow, "start": 1_600_000_000, "end": 1_600_010_000, "step": 1, "timeout": "0.01"}
    answer = running.client.get("/api/v1/query_range", asked)
    assert (answer.status, answer.json()["errorType"]) == (503, "timeout")
    assert answer.json()["error"] == (
        "query timed out in query execution: it took longer than 0.01s; narrow the range, or raise the timeout "
        "(parameter timeout, query.timeout)")


def test_memory_that_is_shared_by_the_queries_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    gib = 1 << 30
    for machine, concurrency, each in ((64, 8, 4), (64, 20, 1.6), (16, 20, 1), (1, 2, 0.5)):
        monkeypatch.setattr(startup, "memory", lambda size=machine: size * gib)
        assert startup.query_memory(concurrency) == int(each * gib)


def test_all_is_given_back(limited: tuple[Running, int]) -> None:
    """Nothing of a query that was refused stands in the way of the next."""
    running, end = limited
    for _ in range(3):
        assert running.client.get("/api/v1/query", {"query": "many", "time": end}).status == 422
        assert running.client.get("/api/v1/query", {"query": "few", "time": end}).status == 200
    wait_until(lambda: running.server.services.running.now() == [], "all have ended")
