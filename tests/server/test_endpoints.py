"""Endpoints beside queries, in one process: what Prometheus 3.5 has not got, and what needs a state that is hard to
make from outside."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from openapi_spec_validator import validate

from scraper.scraper import Scraper
from scraper.status import DroppedTarget, PoolStatus, TargetStatus
from tests.client import Client
from tests.processes import wait_until
from tests.server.conftest import Begin, Running
from tsdb import config as config_file
from tsdb.flags import Flags
from tsdb.model.batch import Metadata
from tsdb.model.errors import ConfigError
from tsdb.server.api.escaping import SCHEMES, escaped, negotiated, written
from tsdb.server.api.features import features
from tsdb.server.api.global_url import global_url
from tsdb.server.api.openapi import document
from tsdb.server.api.routes import ROUTES
from tsdb.server.http.answer import rfc3339

# ---- Targets


def scraped(running: Running) -> None:
    """Gives the server a scraper with a target of each kind."""
    labels = {"instance": "a:1", "job": "node"}
    up = TargetStatus("node", "http://a:1/metrics", labels, {"__address__": "a:1", "job": "node"}, 15_000, 10_000,
                      health="up", last_scrape_ms=1_700_000_000_120, last_duration_s=0.25,
                      read_metadata=lambda _: {"b": Metadata("b", "gauge", "B.", "s"),
                                               "a": Metadata("a", "counter", "A.", "")})
    new = TargetStatus("node", "http://b:1/metrics", {"instance": "b:1", "job": "node"}, {"__address__": "b:1"}, 90_000,
                       10_000)
    pools = [PoolStatus("node", [up, new], [], 0),
             PoolStatus("all", [], [DroppedTarget("all", {"__address__": "c:1"})], 7)]
    running.server.services.scraper = cast(Scraper, SimpleNamespace(pools=lambda: pools, stop=nothing))


async def nothing() -> None:
    pass


def test_targets(running: Running) -> None:
    scraped(running)
    assert running.client.data("targets") == {
        "activeTargets": [
            {
                "discoveredLabels": {"__address__": "a:1", "job": "node"}, "labels": {"instance": "a:1", "job": "node"},
                "scrapePool": "node", "scrapeUrl": "http://a:1/metrics", "globalUrl": "http://a:1/metrics",
                "lastError": "", "lastScrape": "2023-11-14T22:13:20.12Z", "lastScrapeDuration": 0.25, "health": "up",
                "scrapeInterval": "15s", "scrapeTimeout": "10s",
            },
            {
                "discoveredLabels": {"__address__": "b:1"}, "labels": {"instance": "b:1", "job": "node"},
                "scrapePool": "node", "scrapeUrl": "http://b:1/metrics", "globalUrl": "http://b:1/metrics",
                "lastError": "", "lastScrape": "0001-01-01T00:00:00Z", "lastScrapeDuration": 0.0, "health": "unknown",
                "scrapeInterval": "1m30s", "scrapeTimeout": "10s",
            },
        ],
        "droppedTargets": [{"discoveredLabels": {"__address__": "c:1"}, "scrapePool": "all"}],
        "droppedTargetCounts": {"all": 7, "node": 0},
    }


def test_metadata_of_targets(running: Running) -> None:
    scraped(running)
    target = {"instance": "a:1", "job": "node"}
    entries = [{"target": target, "metric": "b", "type": "gauge", "help": "B.", "unit": "s"},
               {"target": target, "metric": "a", "type": "counter", "help": "A.", "unit": ""}]
    assert running.client.data("targets/metadata") == entries
    assert running.client.data("targets/metadata", {"limit": 1}) == entries  # no target is cut
    one = {"metric": "a", "match_target": '{instance!="b:1"}'}
    assert running.client.data("targets/metadata", one) == [
        {name: value for name, value in entries[1].items() if name != "metric"}
    ]


JOBS = """
scrape_configs:
- job_name: node
  basic_auth: {username: u, password: hidden}
  relabel_configs:
  - {source_labels: [a, b], separator: "-", target_label: c}
  - {source_labels: [c], regex: "1-.*", action: drop}
  - {target_label: d, replacement: e}
"""


def test_relabel_steps(begin: Begin, tmp_path: Any) -> None:
    client = started(begin, tmp_path, JOBS).client
    steps = client.data("targets/relabel_steps", {"scrapePool": "node", "labels": '{"a":"1","b":"2"}'})["steps"]
    assert [(step["keep"], step["output"]) for step in steps] == [
        (True, {"a": "1", "b": "2", "c": "1-2"}), (False, {}), (False, {}),
    ]
    assert steps[0]["rule"] == {"source_labels": ["a", "b"], "separator": "-", "regex": "(.*)", "target_label": "c",
                                "replacement": "$1", "action": "replace"}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "no scrapePool parameter provided"),
        ({"scrapePool": "node"}, "no labels parameter provided"),
        ({"scrapePool": "node", "labels": "["}, "error parsing labels: "),
        ({"scrapePool": "node", "labels": "[]"}, "error parsing labels: "),
        ({"scrapePool": "x", "labels": "{}"}, 'error retrieving scrape config: scrape pool "x" not found'),
    ],
)
def test_relabel_steps_of_what_is_not_there(begin: Begin, tmp_path: Any, params: dict[str, str], message: str) -> None:
    answer = started(begin, tmp_path, JOBS).client.get("/api/v1/targets/relabel_steps", params)
    assert answer.status == 400
    assert answer.json()["error"].startswith(message)


def test_config_of_a_pool(begin: Begin, tmp_path: Any) -> None:
    shown = started(begin, tmp_path, JOBS).client.data("scrape_pools/config", {"scrapePool": "node"})["yaml"]
    assert shown.startswith("job_name: node\n")
    assert "password: <secret>" in shown
    assert "hidden" not in shown


def started(begin: Begin, tmp_path: Any, config: str = "", flags: Flags | None = None) -> Running:
    from tsdb.server.server import open_storage

    running = begin(config_file.parse(config))
    if flags is not None:
        running.server.services.options = flags
    running.open(open_storage(tmp_path / "data", None))
    return running


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:9100/metrics?a=b", "http://example.org:9100/metrics?a=b"),
        ("http://127.0.0.1:9090/x/metrics", "https://example.org:8443/x/metrics"),
        ("https://[::1]:9100/metrics", "https://example.org:9100/metrics"),
        ("http://localhost/metrics", "http://example.org/metrics"),
        ("http://elsewhere:9090/metrics", "http://elsewhere:9090/metrics"),
        ("http://[fe80::1]:9090/metrics", "http://[fe80::1]:9090/metrics"),
    ],
)
def test_global_urls(url: str, expected: str) -> None:
    assert global_url(url, "https://example.org:8443/pre", "127.0.0.1:9090") == expected


@pytest.mark.parametrize(
    ("ns", "expected"),
    [
        (None, "0001-01-01T00:00:00Z"), (0, "1970-01-01T00:00:00Z"), (1, "1970-01-01T00:00:00.000000001Z"),
        (1_500_000_000_120_000_000, "2017-07-14T02:40:00.12Z"),
    ],
)
def test_times(ns: int | None, expected: str) -> None:
    assert rfc3339(ns) == expected


# ---- Federation


@pytest.mark.parametrize(
    ("accept", "scheme"),
    [
        ("", "underscores"),
        ("text/plain;version=0.0.4;escaping=allow-utf-8", "allow-utf-8"),
        ("text/plain;version=0.0.4;q=0.3,text/plain;escaping=values;q=0.5", "values"),
        ("application/openmetrics-text;escaping=dots,*/*;q=0.1", "dots"),
        ("text/plain;escaping=nonsense", "underscores"),
    ],
)
def test_escaping_is_negotiated(accept: str, scheme: str) -> None:
    assert negotiated(accept) == scheme


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain:name_1", ["plain:name_1"] * 4),
        ("with.dots_and", ["with.dots_and", "with_dots_and", "with_dot_dots__and", "U__with_2e_dots__and"]),
        ("1st", ["1st", "_st", "__st", "U___31_st"]),
        ("€", ["€", "_", "__", "U___20ac_"]),
    ],
)
def test_escaped_names(name: str, expected: list[str]) -> None:
    assert [escaped(name, scheme) for scheme in SCHEMES] == expected


def test_names_that_are_not_plain_are_quoted() -> None:
    assert written('a"b\\c\n', "allow-utf-8") == r'"a\"b\\c\n"'


def test_federation_of_names_that_are_not_plain(running: Running) -> None:
    now = int(time.time() * 1000)
    assert running.client.write([({"__name__": "a.b", "c.d": "e", "f": "g"}, [(now, 1.5)])]).status == 204
    path = "/federate?match%5B%5D=%7B%22a.b%22%7D"
    utf8 = running.client.request("GET", path, headers={"Accept": "text/plain;escaping=allow-utf-8"})
    assert utf8.body.decode() == f'# TYPE "a.b" untyped\n{{"a.b","c.d"="e",f="g",instance=""}} 1.5 {now}\n'
    assert running.client.get(path).body.decode() == f'# TYPE a_b untyped\na_b{{c_d="e",f="g",instance=""}} 1.5 {now}\n'


def test_federation_leaves_out_what_is_stale_or_old(running: Running) -> None:
    import numpy as np

    from tsdb.model.batch import STALE_NAN

    now = int(time.time() * 1000)
    stale = float(np.array([STALE_NAN], np.uint64).view(np.float64)[0])
    assert running.client.write([
        ({"__name__": "gone", "job": "a"}, [(now - 1000, 1.0), (now, stale)]),
        ({"__name__": "old", "job": "a"}, [(now - 400_000, 1.0)]),
        ({"__name__": "there", "job": "a"}, [(now - 1000, 1.0)]),
    ]).status == 204
    found = running.client.get("/federate", {"match[]": '{job="a"}'}).body.decode()
    assert found == f'# TYPE there untyped\nthere{{job="a",instance=""}} 1 {now - 1000}\n'


# ---- Notifications


@pytest.fixture
def events(running: Running) -> Iterator[list[dict[str, Any]]]:
    """What a client of the live list gets."""
    got: list[dict[str, Any]] = []
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)

    def listen() -> None:
        answer = connection.getresponse()
        assert answer.headers["Content-Type"] == "text/event-stream"
        while line := answer.readline():
            if line.startswith(b"data: "):
                got.append(json.loads(line[6:]))

    running.server.services.notifications.add("before")
    connection.request("GET", "/api/v1/notifications/live")
    thread = threading.Thread(target=listen)
    thread.start()
    wait_until(lambda: bool(got), "the first event")
    yield got
    running.stop()  # lets the listener go
    thread.join(30)
    assert not thread.is_alive()


def test_notifications_come_and_go(running: Running, events: list[dict[str, Any]]) -> None:
    notifications = running.server.services.notifications
    assert running.server.services.options.max_notifications_subscribers == 16
    notifications.add("again")
    notifications.add("again")
    assert [row["text"] for row in running.client.data("notifications")] == ["before", "again"]
    notifications.remove("before")
    notifications.remove("unknown")
    wait_until(lambda: len(events) == 4, "four events")
    assert [(event["text"], event["active"]) for event in events] == [
        ("before", True), ("again", True), ("again", True), ("before", False),
    ]
    assert [row["text"] for row in running.client.data("notifications")] == ["again"]


def test_only_so_many_clients_listen(begin: Begin, tmp_path: Any) -> None:
    running = started(begin, tmp_path, flags=Flags(max_notifications_subscribers=0))
    assert running.client.get("/api/v1/notifications/live").status == 204


# ---- Lifecycle and admin


def test_lifecycle_is_off_by_default(running: Running) -> None:
    for method, path in (("POST", "/-/reload"), ("PUT", "/-/reload"), ("POST", "/-/quit")):
        answer = running.client.request(method, path)
        assert (answer.status, answer.body) == (403, b"Lifecycle API is not enabled.")


def test_reload_and_quit(begin: Begin, tmp_path: Any) -> None:
    running = started(begin, tmp_path, flags=Flags(enable_lifecycle=True))
    services = running.server.services
    asked: list[str] = []

    async def reload() -> None:
        asked.append("reload")
        if len(asked) > 1:
            raise ConfigError("prometheus.yml:3: no")

    services.reload, services.quit = reload, lambda: asked.append("quit")
    answer = running.client.request("POST", "/-/reload")
    assert (answer.status, answer.body) == (200, b"")
    answer = running.client.request("PUT", "/-/reload")
    assert (answer.status, answer.body) == (500, b"failed to reload config: prometheus.yml:3: no\n")
    answer = running.client.request("POST", "/-/quit")
    assert (answer.status, answer.body) == (200, b"Requesting termination... Goodbye!")
    assert asked == ["reload", "reload", "quit"]


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("delete_series", 400, "no match[] parameter provided"),
        ("delete_series?match[]=up&start=x", 400, 'invalid parameter "start": invalid time value'),
        ("snapshot?skip_head=maybe", 400, 'invalid parameter "skip_head": unable to parse boolean: '),
    ],
)
def test_admin_says_what_is_wrong(begin: Begin, tmp_path: Any, path: str, status: int, error: str) -> None:
    client = started(begin, tmp_path, flags=Flags(enable_admin_api=True)).client
    answer = client.request("POST", f"/api/v1/admin/tsdb/{path}")
    assert answer.status == status
    assert answer.json()["error"].startswith(error)


# ---- What the server tells about itself


def test_openapi_document_is_valid(running: Running) -> None:
    import yaml

    for path in ("/openapi.yaml", "/api/v1/openapi.yaml"):
        answer = running.client.get(path)
        assert answer.headers["content-type"] == "application/yaml"
        found = yaml.safe_load(answer.body)
        validate(found)
    assert set(found["paths"]) == {route.path for route in ROUTES}
    assert set(found["paths"]["/api/v1/query"]) == {"get", "post"}


def test_every_route_is_in_the_document() -> None:
    paths = document(ROUTES, "")["paths"]
    for route in ROUTES:
        for method in route.methods:
            assert paths[route.path][method.lower()]["summary"] == route.doc


def test_self_metrics(running: Running) -> None:
    client: Client = running.client
    client.get("/-/healthy")
    found = client.data("status/self_metrics", {"metric_name_pattern": "prometheus_(ready|http_requests_total)"})
    assert [(family["name"], family["type"]) for family in found] == [
        ("prometheus_http_requests_total", "COUNTER"), ("prometheus_ready", "GAUGE"),
    ]
    assert found[1]["metric"] == [{"gauge": {"value": 1.0}}]
    healthy = next(row for row in found[0]["metric"] if {"name": "handler", "value": "/-/healthy"} in row["label"])
    assert healthy["counter"]["value"] == 1.0
    histograms = client.data("status/self_metrics", {"metric_name_pattern": ".*_duration_seconds"})
    seconds = next(f for f in histograms if f["name"] == "prometheus_http_request_duration_seconds")["metric"][0]
    assert seconds["histogram"]["bucket"][-1]["upperBound"] == "Infinity"
    assert seconds["histogram"]["bucket"][-1]["cumulativeCount"] == seconds["histogram"]["sampleCount"]
    assert client.get("/api/v1/status/self_metrics", {"metric_name_pattern": "("}).status == 400


def test_features(running: Running) -> None:
    found = running.client.data("features")
    assert found == json.loads(json.dumps(features(running.server.services)))
    assert list(found) == sorted(found)
    assert found["promql_functions"]["rate"] is True
    assert found["promql_operators"][">="] is True
    assert found["api"]["admin"] is False


def test_status_of_an_empty_storage(running: Running) -> None:
    client = running.client
    found = client.data("status/tsdb")
    churn = found.pop("tsdbSeriesChurnByMetricName")
    assert churn.pop("since").endswith("Z")
    assert churn == {"lastHour": [], "lastDay": []}
    assert found == {
        "headStats": {"numSeries": 0, "numLabelPairs": 0, "chunkCount": 0, "minTime": 2**63 - 1, "maxTime": -(2**63)},
        "seriesCountByMetricName": [], "labelValueCountByLabelName": [], "memoryInBytesByLabelName": [],
        "seriesCountByLabelValuePair": [],
    }
    assert client.data("status/tsdb/blocks") == {"blocks": []}
    info = client.data("status/runtimeinfo")
    assert info["startTime"] <= info["serverTime"]
    assert info["reloadConfigSuccess"] is True


def test_what_makes_the_most_series(running: Running) -> None:
    client, now = running.client, time.time_ns() // 1_000_000
    names = [f'a{{n="{n}"}}' for n in range(5)] + ['b{n="0"}']
    client.write([({"__name__": name[0], "n": name[5]}, [(now, 1.0)]) for name in names])
    found = client.data("status/tsdb", {"limit": 1})
    assert found["seriesCountByMetricName"] == [{"name": "a", "value": 5}]
    assert found["seriesCountByLabelValuePair"] == [{"name": "__name__=a", "value": 5}]
    assert found["tsdbSeriesChurnByMetricName"]["lastHour"] == [{"name": "a", "value": 5, "created": 5, "removed": 0}]
    found = client.data("status/tsdb", {"match[]": ["b", 'a{n="1"}']})
    assert found["headStats"]["numSeries"] == 2
    assert found["seriesCountByMetricName"] == [{"name": "a", "value": 1}, {"name": "b", "value": 1}]
    assert found["labelValueCountByLabelName"] == [{"name": "__name__", "value": 2}, {"name": "n", "value": 2}]
    assert client.get("/api/v1/status/tsdb", {"match[]": "{"}).status == 400


def test_answers_before_the_server_is_ready(begin: Begin) -> None:
    client = begin().client
    assert client.data("status/walreplay") == {"min": 0, "max": 0, "current": 0}
    assert [row["text"] for row in client.data("notifications")] == [
        "tsdb is starting and replaying the write-ahead log (WAL)."
    ]
    answer = client.get("/api/v1/targets")
    assert answer.status == 503
    assert answer.headers["x-prometheus-stopping"] == "false"


@pytest.mark.parametrize(
    ("keys", "shown"),
    [("{}", "15d"), ("{time: 30d}", "30d"), ("{size: 10GiB}", "10GiB"), ("{time: 1h30m, size: 1GiB}", "1h30m or 1GiB")],
)
def test_retention(keys: str, shown: str) -> None:
    from tsdb.server.api.runtime import retention_text

    retention = config_file.parse(f"storage: {{tsdb: {{retention: {keys}}}}}").storage.tsdb.retention
    assert retention_text(retention) == shown
