"""/api/v1/query and query_range: parameters, envelopes, errors, limits, cancelling. The engine is a script."""

from __future__ import annotations

import functools
import gzip
import http.client
import io
import json
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import zstandard

from tests.processes import wait_until
from tests.server.conftest import Begin, Running
from tests.server.scripted_engine import ScriptedEngine, busy, one_at_a_time, until_cancelled
from tsdb.config import Config
from tsdb.model.context import RequestContext
from tsdb.model.errors import (
    ExecutionError,
    LimitExceeded,
    NotSupported,
    ParseError,
    QueryCanceled,
    QueryError,
    TsdbError,
)
from tsdb.model.settings import Duration
from tsdb.model.tiles import Selection, Tile
from tsdb.promql import Engine, EngineOptions
from tsdb.server.config import QueryConfig
from tsdb.testing.memory_storage import MemoryCapture, MemoryStorage


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def running(begin: Begin, engine: ScriptedEngine) -> Running:
    return one_at_a_time(begin, engine)


def test_the_envelope(running: Running) -> None:
    answer = running.client.get("/api/v1/query", {"query": "up", "time": "5"})
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.body == (
        b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{"row":"0"},"value":[5,"1"]}]},'
        rb'"warnings":["look \u003cout\u003e"],"infos":["fyi"]}'
    )


def test_what_the_engine_is_asked(running: Running, engine: ScriptedEngine) -> None:
    client = running.client
    client.get("/api/v1/query", {"query": "a+b", "time": "1.5"})
    client.get("/api/v1/query", {"query": "a", "time": "2015-06-03T13:21:58Z", "lookback_delta": "1m"})
    client.get("/api/v1/query_range", {"query": "c", "start": "0", "end": "10", "step": "5s", "lookback_delta": "-1"})
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    client.request("POST", "/api/v1/query_range?step=7", b"query=%C3%A9&start=1&end=2&step=1", form)
    assert engine.asked == [
        ("a+b", 1500, 300_000), ("a", 1433337718000, 60_000), ("c", 0, 10_000, 5000, 300_000),
        ("é", 1000, 2000, 1000, 300_000),
    ]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("query?query=up&time=x",
         'invalid parameter "time": invalid time value for \'time\': cannot parse "x" to a valid timestamp'),
        ("query?query=up&timeout=x", 'invalid parameter "timeout": cannot parse "x" to a valid duration'),
        ("query?query=up&limit=x", 'invalid parameter "limit": strconv.Atoi: parsing "x": invalid syntax'),
        ("query?query=up&limit=-1", 'invalid parameter "limit": limit must be non-negative'),
        ("query?query=up&lookback_delta=x",
         'error parsing lookback delta duration: cannot parse "x" to a valid duration'),
        ("query_range?query=up", 'invalid parameter "start": cannot parse "" to a valid timestamp'),
        ("query_range?query=up&start=5", 'invalid parameter "end": cannot parse "" to a valid timestamp'),
        ("query_range?query=up&start=5&end=6", 'invalid parameter "step": cannot parse "" to a valid duration'),
        ("query_range?query=up&start=5&end=4&step=x",
         'invalid parameter "end": end timestamp must not be before start time'),
        ("query_range?query=up&start=5&end=6&step=0",
         'invalid parameter "step": zero or negative query resolution step widths are not accepted. '
         "Try a positive integer"),
        ("query_range?query=up&start=5&end=6&step=-1",
         'invalid parameter "step": zero or negative query resolution step widths are not accepted. '
         "Try a positive integer"),
        ("query_range?query=up&start=0&end=11001&step=1",
         "exceeded maximum resolution of 11,000 points per timeseries. "
         "Try decreasing the query resolution (?step=XX)"),
        ("query?query=up&time=1e16", 'invalid parameter "time": "1e16" is too far away: times are seconds since 1970'),
    ],
)
def test_wrong_parameters(running: Running, engine: ScriptedEngine, path: str, message: str) -> None:
    answer = running.client.get("/api/v1/" + path)
    assert answer.status == 400
    assert answer.json() == {"status": "error", "errorType": "bad_data", "error": message}
    assert not engine.asked


def test_eleven_thousand_points(running: Running) -> None:
    assert len(running.client.query_range("up", 0, 11_000, 1)[0]["values"]) == 11_001


@pytest.mark.parametrize(
    ("error", "status", "kind", "message"),
    [
        (ParseError("1:1: parse error: oh <no>"), 400, "bad_data",
         'invalid parameter "query": 1:1: parse error: oh <no>'),
        (ExecutionError("many-to-many"), 422, "execution", "many-to-many"),
        (NotSupported("not supported yet"), 422, "execution", "not supported yet"),
        (LimitExceeded("too much"), 422, "execution", "too much"),
        (QueryCanceled("query was canceled"), 499, "canceled", "query was canceled"),
        (QueryError("?"), 500, "internal", "?"),
        (TsdbError("!"), 500, "internal", "!"),
    ],
)
def test_errors_of_the_engine(running: Running, engine: ScriptedEngine, error: Exception, status: int, kind: str,
                              message: str) -> None:
    def script(context: RequestContext) -> None:
        raise error

    engine.script = script
    answer = running.client.get("/api/v1/query", {"query": "up"})
    assert answer.status == status
    assert answer.json() == {"status": "error", "errorType": kind, "error": message}


def test_limit(running: Running, engine: ScriptedEngine) -> None:
    engine.rows = 3
    for limit, rows in ((0, 3), (2, 2), (3, 3)):
        answer = running.client.get("/api/v1/query", {"query": "up", "limit": limit}).json()
        assert len(answer["data"]["result"]) == rows
        assert ("results truncated due to limit" in answer["warnings"]) == (rows < 3)


def test_stats(running: Running) -> None:
    stats = running.client.data("query", {"query": "up", "stats": "true"})["stats"]
    assert set(stats) == {"timings", "samples"}
    assert set(stats["timings"]) == {
        "evalTotalTime", "resultSortTime", "queryPreparationTime", "innerEvalTime", "execQueueTime", "execTotalTime",
    }
    assert set(stats["samples"]) == {"totalQueryableSamples", "peakSamples"}


def test_explain(running: Running) -> None:
    for path, steps in (("query?query=x&time=1", 1), ("query_range?query=x&start=0&end=10&step=5", 3)):
        told = running.client.get(f"/api/v1/{path}&explain=true").json()["data"]["explain"]
        assert told == {"node": "all", "start": 0, "end": 3, "steps": steps}
        assert "explain" not in running.client.get(f"/api/v1/{path}&explain=0").json()["data"]
    refused = running.client.get("/api/v1/query?query=x&explain=maybe")
    assert refused.status == 400
    assert refused.json()["error"] == ('invalid parameter "explain": explain is not a boolean: '
                                       'strconv.ParseBool: parsing "maybe": invalid syntax')


def test_timeout(running: Running, engine: ScriptedEngine) -> None:
    engine.script = until_cancelled
    answer = running.client.get("/api/v1/query", {"query": "up", "timeout": "50ms"})
    assert answer.status == 503
    assert answer.json()["errorType"] == "timeout"


def test_the_config_s_timeout_is_the_longest(begin: Begin, engine: ScriptedEngine) -> None:
    running = begin(Config(query=QueryConfig(timeout=Duration(50))))
    scripted: Any = engine
    engine.script = until_cancelled
    running.open(lambda services: (scripted, scripted))
    assert running.client.get("/api/v1/query", {"query": "up", "timeout": "1h"}).json()["errorType"] == "timeout"


def test_waiting_counts(running: Running, engine: ScriptedEngine) -> None:
    """A query that waits behind another until its time is over is answered then, and never begun."""
    with busy(running, engine):
        answer = running.client.get("/api/v1/query", {"query": "second", "timeout": "0.05"})
        assert (answer.status, answer.json()["errorType"]) == (503, "timeout")
        assert answer.json()["error"].startswith("query timed out in query queue: it took longer than 0.05s")
    assert [asked[0] for asked in engine.asked] == ["first"]


def test_a_client_that_leaves_cancels_its_query(running: Running, engine: ScriptedEngine) -> None:
    cancelled = threading.Event()

    def script(context: RequestContext) -> None:
        try:
            until_cancelled(context)
        finally:
            cancelled.set()

    engine.script = script
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
    connection.request("GET", "/api/v1/query?query=up")
    wait_until(lambda: bool(engine.asked), "the query runs")
    connection.close()
    assert cancelled.wait(30)
    engine.script = None
    assert running.client.get("/api/v1/query", {"query": "up"}).status == 200


class SlowStorage(MemoryStorage):
    """Counts the tiles that are decoded, each of which takes a while."""

    def __init__(self) -> None:
        super().__init__()
        self.decoded = 0
        self.leave: Callable[[], None] = lambda: None
        for row in range(600):
            self.add({"__name__": "up", "row": str(row)}, [0], [1])

    def capture(self, selections: Sequence[Selection], context: RequestContext) -> MemoryCapture:
        capture = super().capture(selections, context)
        for selected in capture.selected:
            selected.tile = functools.partial(self._slow, selected.tile, context)  # type: ignore[method-assign]
        return capture

    def _slow(self, decode: Callable[[int], Tile], context: RequestContext, index: int) -> Tile:
        self.decoded += 1
        if self.decoded == 5:
            self.leave()
            assert context.cancelled.wait(30), "the server notices that the client has left"
        return decode(index)


def test_a_client_that_leaves_ends_its_query_within_a_tile(begin: Begin, engine: ScriptedEngine) -> None:
    database: Any = engine
    storage = SlowStorage()
    running = begin()
    running.open(lambda services: (database, Engine(storage, EngineOptions(threads=1))))
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
    storage.leave = connection.close
    connection.request("GET", "/api/v1/query?query=sum(up)&time=5")
    wait_until(lambda: storage.decoded >= 5 and running.server.services.running.now() == [], "the query has ended")
    assert storage.decoded == 5


def test_health_beside_a_full_queue(running: Running, engine: ScriptedEngine) -> None:
    leave = threading.Event()

    def script(context: RequestContext) -> None:
        assert leave.wait(30)

    engine.script = script
    asking = [threading.Thread(target=running.client.get, args=("/api/v1/query", {"query": "up"})) for _ in range(4)]
    for thread in asking:
        thread.start()
    wait_until(lambda: bool(engine.asked), "a query runs")
    assert running.client.get("/-/healthy", timeout=10).status == 200
    leave.set()
    for thread in asking:
        thread.join(30)


@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd"])
def test_a_large_answer_is_sent_in_parts(running: Running, engine: ScriptedEngine, encoding: str) -> None:
    engine.rows = 300
    path = "/api/v1/query_range?query=up&start=0&end=1000&step=1"
    answer = running.client.request("GET", path, headers={"Accept-Encoding": encoding})
    assert answer.headers.get("content-encoding", "identity") == encoding
    assert "content-length" not in answer.headers
    body = answer.body
    if encoding == "gzip":
        body = gzip.decompress(body)
    elif encoding == "zstd":
        body = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(body)).read()
    assert len(body) > 2 << 20
    loaded = json.loads(body)
    assert loaded["warnings"] == ["look <out>"]
    assert [len(row["values"]) for row in loaded["data"]["result"]] == [1001] * 300


def test_a_large_answer_does_not_wait_for_the_queries_behind_it(running: Running, engine: ScriptedEngine) -> None:
    leave = threading.Event()
    queries = running.server.services.queries

    def crowd(context: RequestContext) -> None:
        for _ in range(20):
            queries.submit(leave.wait, 60)

    engine.rows = 300
    engine.script = crowd
    try:
        answer = running.client.get("/api/v1/query_range?query=up&start=0&end=1000&step=1", timeout=30)
        assert len(answer.json()["data"]["result"]) == 300
    finally:
        leave.set()


def test_a_client_that_leaves_a_large_answer(running: Running, engine: ScriptedEngine) -> None:
    engine.rows = 3000
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
    connection.request("GET", "/api/v1/query_range?query=up&start=0&end=1000&step=1")
    assert connection.getresponse().read(1000)
    connection.close()
    engine.rows = 1
    assert running.client.get("/api/v1/query", {"query": "up"}).status == 200
