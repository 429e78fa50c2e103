"""POST /api/v1/write and what the lookups tell of it, over a real data directory."""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import Any

import pytest

from tests.client import REMOTE_WRITE_HEADERS, remote_write_body
from tests.server.conftest import Begin, Running
from tsdb.kernels.hash_kernels import new_secret
from tsdb.model.batch import Appended, Batch, Metadata
from tsdb.model.errors import Unavailable


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_samples_are_taken(running: Running) -> None:
    client, now = running.client, now_ms()
    series = [({"__name__": "up", "job": job}, [(now - 1000, 1.0), (now, 0.0)]) for job in ("a", "b")]
    answer = client.write(series)
    assert (answer.status, answer.body) == (204, b"")
    assert client.data("labels") == ["__name__", "job"]
    assert client.data("label/job/values") == ["a", "b"]
    assert client.data("series", {"match[]": 'up{job="b"}'}) == [{"__name__": "up", "job": "b"}]
    text = client.get("/metrics").body.decode()
    assert 'prometheus_tsdb_head_samples_appended_total{type="float"} 4.0' in text
    assert "prometheus_tsdb_head_series 2.0" in text
    assert "tsdb_remote_write_samples_total 4.0" in text


def test_lookups(running: Running) -> None:
    client, now = running.client, now_ms()
    client.write([({"__name__": "m", "a": str(i), "b.c": "x"}, [(now, 1.0)]) for i in range(3)])
    assert client.get("/api/v1/labels", {"limit": 2}).json() == {
        "status": "success", "data": ["__name__", "a"], "warnings": ["results truncated due to limit"],
    }
    assert client.get("/api/v1/label/a/values", {"limit": 1}).json()["data"] == ["0"]
    assert client.get("/api/v1/series", {"match[]": "m", "limit": 1}).json() == {
        "status": "success", "data": [{"__name__": "m", "a": "0", "b.c": "x"}],
        "warnings": ["results truncated due to limit"],
    }
    assert client.data("label/U__b_2e_c/values") == ["x"]
    assert client.data("label/b.c/values") == ["x"]
    assert client.data("labels", {"match[]": ["m", "nothere"]}) == ["__name__", "a", "b.c"]
    assert client.data("labels", {"match[]": "nothere"}) == []
    assert client.data("label/a/values", {"match[]": 'm{a=~"1|2"}'}) == ["1", "2"]
    assert client.data("label/a/values", {"end": now / 1000 - 86400}) == []
    assert client.data("series", {"match[]": "m", "start": now / 1000 + 86400}) == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("series", "no match[] parameter provided"),
        ("series?match[]={a=~%22.*%22}",
         'invalid parameter "match[]": match[] must contain at least one non-empty matcher'),
        ("labels?match[]={a=%22%22}", "match[] must contain at least one non-empty matcher"),
        ("labels?match[]=x{", "1:3: parse error: unexpected end of input inside braces"),
        ("label/job/values?match[]=x{", "1:3: parse error: unexpected end of input inside braces"),
        ("series?match[]=x{",
         'invalid parameter "match[]": 1:3: parse error: unexpected end of input inside braces'),
        ("labels?start=x",
         'invalid parameter "start": invalid time value for \'start\': cannot parse "x" to a valid timestamp'),
        ("label/%ff/values", 'invalid label name: "\\xff"'),
        ("label/U__/values", 'invalid label name: ""'),
        ("label/job/values?limit=-1", 'invalid parameter "limit": limit must be non-negative'),
        ("metadata?limit=x", "limit must be a number"),
    ],
)
def test_wrong_lookups(running: Running, path: str, message: str) -> None:
    answer = running.client.get("/api/v1/" + path)
    assert answer.json() == {"status": "error", "errorType": "bad_data", "error": message}
    assert answer.status == 400


def test_rejected_samples_are_named_and_the_rest_is_kept(running: Running) -> None:
    client, now = running.client, now_ms()
    labels = {"__name__": "up", "job": "a"}
    assert client.write([(labels, [(now, 1.0)])]).status == 204
    answer = client.write([
        (labels, [(now - 2_400_000 - i, 1.0) for i in range(5)]),
        (labels, [(now, 2.0)]),
        (labels, [(now, 1.0)]),
        (labels, [(now + 3_600_000, 1.0)]),
        ({"job": "nameless"}, [(now, 1.0)]),
        ({"__name__": "new"}, [(now, 1.0)]),
    ])
    assert answer.status == 400
    text = answer.body.decode()
    assert text.startswith("8 of 10 samples rejected, 2 kept: ")
    assert 'series without a metric name: {job="nameless"} (1 series, 1 samples rejected)' in text
    first = f'up{{job="a"}} at {now / 1000 - 2400:.3f}'
    assert f"too old sample: {first} (1 series, 5 samples rejected): it is older than the newest" in text
    one = "(1 series, 1 samples rejected)"
    assert f'duplicate sample for timestamp: up{{job="a"}} at {now / 1000:.3f} {one}: the series has another' in text
    assert f'too far in the future: up{{job="a"}} at {now / 1000 + 3600:.3f} {one}: samples may be 10 minutes' in text
    assert client.data("label/__name__/values") == ["new", "up"]
    metrics = client.get("/metrics").body.decode()
    assert 'tsdb_ingest_rejected_samples_total{reason="too old sample"} 5.0' in metrics


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, b"", 400),
        ({"Content-Type": "text/plain"}, b"", 415),
        ({"Content-Encoding": "gzip"}, b"", 415),
        ({}, b"\xff\xff\xff\xff\x0f", 413),
        ({}, b"nonsense", 400),
    ],
)
def test_what_is_no_write_request(running: Running, headers: dict[str, str], body: bytes, status: int) -> None:
    answer = running.client.request("POST", "/api/v1/write", body, headers)
    assert answer.status == status
    assert answer.headers["content-type"].startswith("text/plain") and answer.body


class Refusing:
    """A database that takes nothing now."""

    def __init__(self) -> None:
        self.secret = new_secret()
        self.late = False

    def submit(self, batch: Batch) -> Future[Appended]:
        error = Unavailable("no space left on device", retry_after=7)
        if not self.late:
            raise error
        refused: Future[Appended] = Future()
        refused.set_exception(error)
        return refused

    def metadata(self, family: str | None) -> dict[str, list[Metadata]]:
        entries = {"a": [Metadata("a", "counter", "help <b>", "s"), Metadata("a", "gauge", "", "")], "b": []}
        return {name: entries[name] for name in entries if family in (None, name)}

    def statistics(self) -> Any:
        raise NotImplementedError

    def follow_damage(self, _: Any) -> None:
        pass

    def end_upkeep(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_what_can_be_retried(begin: Begin) -> None:
    running, refusing = begin(), Refusing()
    database: Any = refusing
    running.open(lambda services: (database, database))
    body = remote_write_body([({"__name__": "up"}, [(now_ms(), 1.0)])])
    for refusing.late in (False, True):
        answer = running.client.request("POST", "/api/v1/write", body, REMOTE_WRITE_HEADERS)
        assert (answer.status, answer.headers["retry-after"]) == (503, "7")
        assert answer.body == b"no space left on device\n"


def test_metadata(begin: Begin) -> None:
    running = begin()
    database: Any = Refusing()
    running.open(lambda services: (database, database))
    client = running.client
    counter = {"type": "counter", "unit": "s", "help": "help <b>"}
    gauge = {"type": "gauge", "unit": "", "help": ""}
    assert client.data("metadata") == {"a": [counter, gauge], "b": []}
    assert client.data("metadata", {"metric": "a", "limit_per_metric": 1}) == {"a": [counter]}
    assert client.data("metadata", {"limit": 1}) == {"a": [counter, gauge]}
    assert client.data("metadata", {"limit": 0}) == {}
