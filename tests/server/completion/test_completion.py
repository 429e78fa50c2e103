"""/api/tsdb/v1/completion: candidates for the cursor, which is | here."""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client import REMOTE_WRITE_HEADERS
from tests.ingest.sender import encode
from tests.server.conftest import Running
from tsdb.config import Config
from tsdb.model.batch import Metadata
from tsdb.promql.aggregations import AGGREGATIONS
from tsdb.promql.functions import FUNCTIONS
from tsdb.server.completion.candidates import signature
from tsdb.server.completion.complete import Index
from tsdb.server.completion.complete import complete as complete_text
from tsdb.server.completion.fuzzy_kernels import SUBSEQUENCE
from tsdb.server.completion.known import Known
from tsdb.server.completion.texts import Texts
from tsdb.server.server import open_storage

SERIES = [
    {"__name__": "http_requests_total", "job": "api", "code": "200", "path": "/a.b"},
    {"__name__": "http_requests_total", "job": "web", "code": "500", "path": '/"q"'},
    {"__name__": "http_request_seconds_bucket", "job": "api", "le": "+Inf"},
    {"__name__": "up", "job": "api", "instance": "a:1"},
    {"__name__": "my.metric", "the.label": "x"},
    {"__name__": "rates_changed", "job": "ops"},
]
METADATA = [Metadata("http_requests_total", "counter", "Requests.", ""),
            Metadata("http_request_seconds", "histogram", "Time of requests.", "seconds")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(Config())
    running.open(open_storage(Path(tmp_path_factory.mktemp("data")), None))
    now = time.time_ns() // 1_000_000
    body = encode([(labels, [(now, 1.0)]) for labels in SERIES], METADATA)
    assert running.client.request("POST", "/api/v1/write", body, REMOTE_WRITE_HEADERS).status == 204
    yield running
    running.stop()


def complete(server: Running, text: str, **parameters: Any) -> dict[str, Any]:
    parameters |= {"query": text.replace("|", "", 1), "cursor": text.index("|")}
    answer = server.client.get("/api/tsdb/v1/completion", parameters)
    assert answer.status == 200, answer.body
    data: dict[str, Any] = answer.json()["data"]
    return data


def inserted(server: Running, text: str) -> list[str]:
    """The text with each candidate in its place."""
    data = complete(server, text)
    whole = text.replace("|", "", 1)
    return [whole[: data["from"]] + each["insert"] + whole[data["to"] :] for each in data["candidates"]]


@pytest.mark.parametrize(("text", "first"), [
    ("htt|", ["http_requests_total", "http_request_seconds_bucket"]),
    ("HTT|", ["http_requests_total", "http_request_seconds_bucket"]),
    ("sum(hrt|)", ["sum(http_request_seconds_bucket)", "sum(http_requests_total)"]),
    ("sum(http_r|equests)", ["sum(http_requests_total)", "sum(http_request_seconds_bucket)"]),
    ("rate|", ["rate", "rates_changed"]),
    ("my.m|", []),
    ("mymet|", ['{"my.metric"}']),
    ("up{|}", ["up{__name__}", "up{instance}", "up{job}"]),
    ("up{i|", ["up{instance"]),
    ('http_requests_total{code="200",|}', [
        'http_requests_total{code="200",__name__}', 'http_requests_total{code="200",code}',
        'http_requests_total{code="200",job}', 'http_requests_total{code="200",path}']),
    ('{"my.metric",th|', ['{"my.metric","the.label"']),
    ("sum by (|) (up)", ["sum by (__name__) (up)", "sum by (instance) (up)", "sum by (job) (up)"]),
    ("sum(up) by (in|", ["sum(up) by (instance"]),
    ('up{job="|"}', ['up{job="api"}']),
    ('http_requests_total{job="|"}', ['http_requests_total{job="api"}', 'http_requests_total{job="web"}']),
    ('http_requests_total{job="|",code="500"}', ['http_requests_total{job="web",code="500"}']),
    ('http_requests_total{job=~"api|"}', ['http_requests_total{job=~"api"}']),
    ("http_requests_total{job=|", ['http_requests_total{job="api"', 'http_requests_total{job="web"']),
    ('http_requests_total{path=~"/a|"}', ['http_requests_total{path=~"/a\\\\.b"}']),
    ('http_requests_total{code="500",path="|', ['http_requests_total{code="500",path="/\\"q\\"']),
    ("http_requests_total{code='500',path='|", ["http_requests_total{code='500',path='/\"q\""]),
    ("up{job|", ["up{job"]),
    ("up{job |", ["up{job =", "up{job =~", "up{job !=", "up{job !~"]),
    ("up offs|", ["up offset"]),
    ("sum b|", ["sum by"]),
    ("up[5|", ["up[5d", "up[5h", "up[5m"]),
    ("up @ e|", ["up @ end()"]),
    ("up == bo|", ["up == bool"]),
    ("# htt|", []),
])
def test_candidates(server: Running, text: str, first: list[str]) -> None:
    found = inserted(server, text)
    if "[5" in text:
        assert set(first) <= set(found)
    else:
        assert found[: len(first)] == first and (first or not found)


def test_what_is_told_of_them(server: Running) -> None:
    rows = {each["label"]: each for text in ("http|", "rat|", "topk|", "up of|", "up{jo|", 'up{job="|')
            for each in complete(server, text)["candidates"]}
    assert rows["http_requests_total"] == {
        "label": "http_requests_total", "insert": "http_requests_total", "kind": "metric", "type": "counter",
        "help": "Requests.", "score": 1.0}
    assert (rows["http_request_seconds_bucket"]["type"], rows["http_request_seconds_bucket"]["unit"]) == (
        "histogram", "seconds")
    assert rows["rate"]["signature"] == "rate(range vector) instant vector"
    assert rows["rate"]["doc"] == FUNCTIONS["rate"].doc
    assert rows["topk"]["signature"] == "topk(scalar, instant vector) instant vector"
    assert rows["offset"]["kind"] == "keyword" and rows["job"]["kind"] == "label_name"
    assert rows["api"]["kind"] == "label_value"


@pytest.mark.parametrize(("name", "shown"), [
    ("round", "round(instant vector[, scalar]) instant vector"),
    ("time", "time() scalar"),
    ("hour", "hour([instant vector]) instant vector"),
    ("label_join", "label_join(instant vector, string, string[, string…]) instant vector"),
])
def test_signatures(name: str, shown: str) -> None:
    assert signature(FUNCTIONS[name]) == shown


def test_nothing_is_written_yet(server: Running) -> None:
    data = complete(server, "|", limit=500)
    labels = [each["label"] for each in data["candidates"]]
    assert set(labels) >= {"up", *FUNCTIONS, *AGGREGATIONS} and not data["hasMore"]
    assert (data["expected"], data["from"], data["to"]) == ("operand", 0, 0)
    few = complete(server, "|", limit=4)
    assert len(few["candidates"]) == 4 and few["hasMore"]


def test_metrics_that_are_queried_come_first(server: Running) -> None:
    assert server.client.get("/api/v1/query", {"query": "http_request_seconds_bucket"}).status == 200
    usage = server.server.services.running.usage
    assert usage is not None
    usage.report()
    usage._counts = (-1000.0, {})
    assert inserted(server, "htt|")[0] == "http_request_seconds_bucket"


def test_the_commands_of_the_page_run(server: Running) -> None:
    page = (Path(__file__).parents[3] / "docs" / "completion.md").read_text()
    lines = [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    assert len(lines) == 3
    for line in lines:
        argv = shlex.split(line.replace(":9090", f":{server.port}"))
        argv[1:1] = ["-sS", "--fail"]
        printed = subprocess.run(argv, timeout=60, check=True, capture_output=True).stdout
        assert b'"status":"success"' in printed


def test_wrong_parameters(server: Running) -> None:
    for parameters in ({"query": "up", "cursor": 3}, {"query": "up", "cursor": "x"}, {"query": "x" * 300_000}):
        body = "&".join(f"{name}={value}" for name, value in parameters.items()).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        assert server.client.request("POST", "/api/tsdb/v1/completion", body, headers).status == 400


def test_a_hundred_thousand_metrics() -> None:
    """From what is remembered of names: nothing is read again, and each candidate is right."""
    names = sorted(f"{word}_{n % 97}_seconds_{n}" for n in range(50_000) for word in ("http", "node"))
    texts, asked = Texts(names), []

    def read() -> list[str]:
        asked.append(1)
        return names

    known = Known(clock=lambda: 1000.0)
    index = Index(lambda: known.metrics(read, lambda _: None), lambda _: [], lambda *_: [], dict, dict, lambda: None)
    for word in ("h", "http_5", "h5s49", "nodesec99", "zzz"):
        found = complete_text(f"sum(rate({word}", len(word) + 9, 100, index)
        expected = texts.scores(word, SUBSEQUENCE, 0.0, lambda: None, fold=True)
        metrics = [each for each in found.candidates if each["kind"] == "metric"]
        assert len(metrics) <= 100 and found.more == ((expected >= 0).sum() > 100)
        best = sorted(expected[expected >= 0], reverse=True)[: len(metrics)]
        assert [each["score"] for each in metrics] == [round(score, 4) for score in best]
    assert asked == [1]
