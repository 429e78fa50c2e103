"""Every odd body over HTTP, against real storage: the answer, and exactly what is kept."""

from __future__ import annotations

import random
import re
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.client import Client
from tests.ingest.bodies import HEADERS, Body, bodies
from tests.ingest.sender import compress, series
from tests.processes import wait_until
from tests.server.conftest import Begin, Running
from tsdb.config import Config
from tsdb.model.settings import Bytes
from tsdb.promql import Engine, EngineOptions
from tsdb.server.config import ServerConfig
from tsdb.server.server import open_storage
from tsdb.server.services import Phase
from tsdb.storage import Storage, StorageOptions

NOW = time.time_ns() // 1_000_000
BODIES = bodies(NOW)

BEFORE = {"__name__": "before", "job": "t"}
STORED = {"one value twice": 2}
"""Samples that are there afterwards, where not all that was accepted is new."""
TOO_OLD = {"value and time zero left out": "too old sample"}
"""Decoding takes them, and so would an empty head: 1970 is too old for one with a sample of now."""

Samples = set[tuple[str, int, str]]
"""(series, ms, value)"""


def stored(client: Client) -> Samples:
    found = client.query('{__name__=~".+"}[200y]', (NOW + 3_600_000) / 1000)
    return {
        (series_text(each["metric"]), round(ts * 1000), value)
        for each in found for ts, value in each["values"]
    }


def series_text(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.name)
def test_body(running: Running, body: Body) -> None:
    client = running.client
    assert client.write([(BEFORE, [(NOW, 7.0)])]).status == 204
    before = stored(client)
    assert before == {(series_text(BEFORE), NOW, "7")}
    status, message, kept = body.status, body.message, body.kept
    if body.name in TOO_OLD:
        status, message, kept = 400, TOO_OLD[body.name], kept - 1

    answer = client.request("POST", "/api/v1/write", body.body, body.headers)

    text = answer.body.decode()
    assert (answer.status, "retry-after" in answer.headers) == (status, False), text
    if status == 204:
        assert not text
    else:
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert re.search(message, text, re.DOTALL), text
        assert len(text) < 3000 and text.count("\n") == 1
    if body.stage in ("series", "storage"):
        counts = re.match(r"(\d+) of (\d+) samples rejected, (\d+) kept: ", text)
        assert status == 204 or (counts and int(counts[3]) == int(counts[2]) - int(counts[1]) == body.kept), text
        assert 'good{job="t"}' not in text
    if body.stage == "storage" and status == 400:
        assert re.search(r'bad{job="t"} at -?\d+\.\d{3} \(1 series, 1 samples rejected\): .{20}', text), text
    after = stored(client)
    assert before <= after
    assert len(after - before) == STORED.get(body.name, kept)
    if kept and body.name not in ("keys crafted against the hash",):
        assert ("__name__=good,job=t", NOW, "1") in after

    assert client.write([(BEFORE, [(NOW + 1, 8.0)])]).status == 204
    assert stored(client) == after | {(series_text(BEFORE), NOW + 1, "8")}


@pytest.mark.parametrize(
    ("scale", "unit"), [(1e-3, "seconds"), (1e3, "microseconds"), (1e6, "nanoseconds")], ids=lambda each: str(each)
)
def test_times_in_the_wrong_unit_are_told(running: Running, scale: float, unit: str) -> None:
    client = running.client
    client.write([(BEFORE, [(NOW, 7.0)])])
    wrong = int(NOW * scale)
    answer = client.write([({"__name__": "bad", "i": str(i)}, [(wrong, 1.0), (wrong + 1, 1.0)]) for i in range(5)])
    text = answer.body.decode()
    assert answer.status == 400
    assert text.startswith("10 of 10 samples rejected, 0 kept: ")
    named = ", ".join(f'bad{{i="{i}"}} at {wrong / 1000:.3f}' for i in range(3))
    assert f": {named}, … (5 series, 10 samples rejected): " in text
    assert text.endswith(f"the timestamp {wrong} looks like {unit}: remote_write takes milliseconds\n")
    assert client.data("label/__name__/values") == ["before"]


def limited(begin: Begin, path: Path, **limits: int) -> Running:
    sizes = {name: Bytes(size) for name, size in limits.items()}
    running = begin(Config(server=ServerConfig(**sizes)))  # type: ignore[arg-type]
    running.open(open_storage(path / "data", None))
    return running


def post(running: Running, raw: bytes) -> tuple[int, str]:
    answer = running.client.request("POST", "/api/v1/write", compress(raw), HEADERS)
    return answer.status, answer.body.decode()


def test_the_size_after_decompression_is_limited(begin: Begin, tmp_path: Path) -> None:
    running = limited(begin, tmp_path, max_decompressed_size=1000)
    good = series([("__name__", "good")], [(NOW, 1.0)])
    assert post(running, good)[0] == 204
    status, text = post(running, good * 100)
    assert status == 413 and "decompressed, the limit is 1000" in text
    assert post(running, good)[0] == 204


def begun(port: int, declared: int, sent: bytes) -> socket.socket:
    """A connection with a request that is not sent wholly."""
    made = socket.create_connection(("127.0.0.1", port), 30)
    made.sendall(b"POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % declared + sent)
    return made


def test_what_requests_hold_together_is_limited(begin: Begin, tmp_path: Path) -> None:
    running = limited(begin, tmp_path, max_bodies_size=1 << 20)
    good = series([("__name__", "good")], [(NOW, 1.0)])
    with begun(running.port, 8 << 20, b""):
        assert post(running, good)[0] == 204  # words alone hold nothing
    # alone a request may be larger than the limit
    large = random.Random(1).randbytes(2 << 20)
    assert post(running, large)[0] == 400
    with begun(running.port, 8 << 20, bytes(1 << 20)):
        wait_until(lambda: running.server.services.memory.held == 1 << 20, "the beginning of the body", timeout=30)
        answer = running.client.request("POST", "/api/v1/write", compress(good), HEADERS)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert b"are over the limit of 1048576 (server.max_bodies_size): send again later" in answer.body
        with begun(running.port, 10 << 20, b"") as one:
            assert b" 503 " in one.recv(1000)
        assert running.client.get("/api/v1/labels").status == 200

    wait_until(lambda: running.server.services.memory.held == 0, "room again", timeout=30)
    with begun(running.port, 100, b"abc") as one:
        assert post(running, good)[0] == 204
        # small on the wire, large in memory
        status, text = post(running, bytes(2 << 20))
        assert status == 503 and "2097152 more are over the limit of 1048576" in text
        one.sendall(bytes(97))
        assert b" 400 " in one.recv(1000)
    assert post(running, bytes(2 << 20))[0] == 400
    assert running.server.services.memory.held == 0


def test_a_server_that_starts_or_stops_says_when_to_come_again(begin: Begin, tmp_path: Path) -> None:
    running = begin()
    body = compress(series([("__name__", "good")], [(NOW, 1.0)]))

    def refusal() -> str:
        answer = running.client.request("POST", "/api/v1/write", body, HEADERS)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        return answer.body.decode()

    assert refusal().startswith("tsdb is starting: ")
    running.open(open_storage(tmp_path / "data", None))
    running.server.services.phase = Phase.STOPPING
    assert refusal().startswith("tsdb is stopping: ")
    running.server.services.phase = Phase.READY
    running.server.services.storage.close()
    answer = running.client.request("POST", "/api/v1/write", body, HEADERS)
    assert (answer.status, answer.body) == (503, b"the storage is shutting down: send again later\n")


def test_a_full_queue(begin: Begin, tmp_path: Path) -> None:
    """The appender is kept busy; whoever sends more than it may keep waiting has to come again."""
    running = begin()
    storage = Storage.open(tmp_path / "data", StorageOptions(queue_samples=1000))
    engine = Engine(storage, EngineOptions())
    running.open(lambda services: (storage, engine))
    entered, leave = threading.Event(), threading.Event()

    def busy() -> None:
        entered.set()
        assert leave.wait(30)

    appender = storage._appender
    assert appender is not None
    appender.run_between_commits(busy)
    assert entered.wait(30)
    answers: list[int] = []
    many = series([("__name__", "many")], [(NOW + i, 1.0) for i in range(1001)])
    waiting = threading.Thread(target=lambda: answers.append(post(running, many)[0]))
    waiting.start()
    wait_until(lambda: appender._queued == 1001, "the first request in the queue", timeout=30)
    good = compress(series([("__name__", "good")], [(NOW, 1.0)]))
    refused = running.client.request("POST", "/api/v1/write", good, HEADERS)
    leave.set()
    waiting.join(30)
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert refused.body == b"1001 samples wait to be written already: send again later\n"
    assert answers == [204]
    assert running.client.request("POST", "/api/v1/write", good, HEADERS).status == 204
    assert len(stored(running.client)) == 1002
