"""The same prometheus.yml in a real Prometheus and in ours: what the API tells about targets, config, expressions and
the server itself is equal, the order of keys included. What must differ is masked, in a table."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.client import Answer, Client
from tests.processes import TSDB, Process, free_port, wait_until

pytestmark = pytest.mark.peer

FORM = {"Content-Type": "application/x-www-form-urlencoded"}

METRICS = b"""# HELP requests_total Requests, "by" code.
# TYPE requests_total counter
requests_total{code="200",instance="mine"} 7
requests_total{code="500"} 1234567
# TYPE size_bytes histogram
size_bytes_bucket{le="1"} 1
size_bytes_bucket{le="+Inf"} 3
size_bytes_sum 1e-05
size_bytes_count 3
# HELP temperature Degrees,\\nmany.
# TYPE temperature gauge
temperature -12.5
odd{value="nan"} NaN
odd{value="inf"} +Inf
odd{value="small"} 0.00001
odd{value="large"} 123456789
text{quote="a\\"b\\\\c\\nd"} 1
"""

CONFIG = """
global:
  scrape_interval: 1s
  external_labels: {{region: eu, code: none}}
scrape_configs:
- job_name: static
  params: {{module: [a, b]}}
  static_configs:
  - targets: ['127.0.0.1:{target}']
    labels: {{env: test, __meta_x: y}}
- job_name: dead
  scrape_timeout: 500ms
  static_configs: [{{targets: ['localhost:{dead}']}}]
- job_name: files
  metrics_path: /other
  file_sd_configs: [{{files: ['targets*.json']}}]
  relabel_configs:
  - {{action: labelmap, regex: __meta_(filepath)}}
  - {{source_labels: [number], target_label: next, regex: (.+), replacement: "n$1"}}
- job_name: dropped
  keep_dropped_targets: 1
  relabel_configs:
  - {{source_labels: [__address__], regex: 'x.*', action: drop}}
  static_configs: [{{targets: ['x:1', 'x:2']}}]
"""


class Target(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(METRICS)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@dataclass
class Both:
    prometheus: Client
    tsdb: Client

    def __iter__(self) -> Iterator[Client]:
        return iter((self.prometheus, self.tsdb))


@pytest.fixture(scope="module")
def both(peer: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("endpoints")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Target)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (folder / "targets.json").write_text(json.dumps(
        [{"targets": [f"127.0.0.1:{server.server_port}"], "labels": {"number": "1"}}]
    ))
    (folder / "prometheus.yml").write_text(CONFIG.format(target=server.server_port, dead=free_port()))
    common = [
        f"--config.file={folder}/prometheus.yml", "--web.external-url=http://example.org:1234/",
        "--web.enable-lifecycle", "--web.cors.origin=https?://(a|b)\\.com", "--log.level=warn",
    ]
    processes = []
    for argv in ([peer("prometheus")], [TSDB, "serve"]):
        name, port = Path(argv[0]).name, free_port()
        argv = [*argv, *common, f"--storage.tsdb.path={folder}/{name}", f"--web.listen-address=127.0.0.1:{port}"]
        processes.append(Process(argv, folder / f"{name}.log", port))
    try:
        clients = [process.wait_ready().client for process in processes]
        for client in clients:
            wait_until(partial(settled, client), "all targets are scraped")
        yield Both(*clients)
    finally:
        for process in processes:
            process.kill()
        server.shutdown()


def settled(client: Client) -> bool:
    """Whether all targets were scraped and what they gave can be queried."""
    active = client.data("targets")["activeTargets"]
    up = client.data("query", {"query": "count(up) + count(temperature)"})["result"]
    return (len(active) == 3 and all(target["health"] != "unknown" for target in active)
            and bool(up) and up[0]["value"][1] == "5")


SAME = [
    # targets
    "targets",
    "targets?state=active",
    "targets?state=dropped",
    "targets?state=any",
    "targets?state=ACTIVE&scrapePool=static",
    "targets?state=active&scrapePool=dead",
    "targets?state=active&scrapePool=files",
    "targets?state=dropped&scrapePool=dropped",
    "targets?state=nonsense",
    "targets?scrapePool=nothere",
    "scrape_pools",
    "targets/metadata",
    "targets/metadata?limit=0",
    "targets/metadata?limit=x",
    "targets/metadata?metric=requests_total",
    "targets/metadata?metric=temperature&match_target={job='static'}",
    "targets/metadata?metric=size_bytes&match_target={env=~'.+'}",
    "targets/metadata?match_target={job='nothere'}",
    "targets/metadata?match_target={",
    "targets/metadata?metric=nothere",
    "metadata",
    "metadata?metric=temperature",
    "metadata?limit=1&metric=temperature",
    "metadata?limit=0",
    # rules and alerts
    "rules",
    "rules?type=alert",
    "rules?type=RECORD",
    "rules?type=foo",
    "rules?exclude_alerts=true",
    "rules?exclude_alerts=maybe",
    "rules?group_limit=2",
    "rules?group_limit=0",
    "rules?group_limit=x",
    "rules?group_limit=99999999999",
    "rules?group_next_token=abc",
    "rules?group_limit=1&group_next_token=abc",
    "rules?match[]={",
    "rules?match[]=",
    "rules?match[]={a=''}",
    "rules?rule_name[]=a&rule_group[]=b&file[]=c",
    "alerts",
    "alertmanagers",
    # the server
    "status/config",
    "status/buildinfo",
    "status/runtimeinfo",
    "status/walreplay",
    "status/tsdb?limit=1",
    "status/tsdb?limit=0",
    "status/tsdb?limit=x",
    "notifications",
    # expressions
    "format_query?query=sum(x)by(a)",
    "format_query?query=sum by () (rate(x{{b='c',a=~'d'}}[5m] offset 1h)) / on(a) group_left(b) y @ end() > bool 5",
    "format_query?query=-sum without(a,b)(topk(3, x[1h:5m] @ 5.123))",
    "format_query?query=",
    "format_query",
    "format_query?query=sum(",
    "format_query?query=foo bar",
    "format_query?query={{'a.b',\"c.d\"='e'}}",
    f"format_query?query=label_replace({'x' * 50},'{'a' * 30}','b','c','d') and (sum(rate({'y' * 70}[5m])) by (a) > z)",
    f"format_query?query=quantile by ({'a' * 25}) (0.5,-({'x' * 50}+{'y' * 40}))",
    f"format_query?query=max_over_time(({'x' * 50}+{'y' * 60})[1h:5m] offset 5m)",
    "parse_query?query=1",
    "parse_query?query='a<b>'",
    "parse_query?query=-x{{a!='b'}} offset -5m",
    "parse_query?query=sum by (a) (rate(x{{b=~'c'}}[5m] @ start()))",
    "parse_query?query=count_values('v', x[1h:] offset 1d)",
    "parse_query?query=(x) / ignoring(a,b) group_right(c) y",
    "parse_query?query=x >= bool 1e300",
    "parse_query?query=topk(5,label_join(x,'a','b','c','d'))",
    "parse_query?query=time() % Inf",
    "parse_query?query=histogram_quantile(0.9,x)",
    "parse_query?query=",
    "parse_query?query=rate(x)",
    "query_exemplars?query=up",
    "query_exemplars?query=1",
    "query_exemplars?query=",
    "query_exemplars?query=up(",
    "query_exemplars?query=up&start=x",
    "query_exemplars?query=up&start=5&end=4",
    # parameters of lookups
    "labels?match[]=",
    "labels?match[]=up{{__name__='down'}}",
    "labels?limit=99999999999999999999",
    "series?match[]=",
    "series?match[]=%20",
    "series?match[]={{}}",
    "series?match[]=up&match[]={{a=~'|b'}}",
    "label/job/values?match[]={{job=~'st.*',env!=''}}",
    "label/env/values?match[]=temperature&match[]=up",
    "series?match[]=text",
]

FEDERATED = [
    "?match[]=up",
    "?match[]={{job='static'}}",
    "?match[]=requests_total&match[]={{__name__=~'req.*|odd'}}",
    "?match[]={{code='500'}}",
    "?match[]={{__name__=~'.*',job='files',__name__!~'scrape_.*'}}",
    "?match[]=nothere",
    "",
    "?match[]={{",
    "?match[]=",
    "?match[]=text",
]

MASKS: tuple[tuple[str, str], ...] = (
    # what is masked, in which answers
    ("lastScrape lastScrapeDuration", "targets"),
    ("lastError", "targets"),  # compared on its own
    ("CWD GOMEMLIMIT GOGC goroutineCount hostname lastConfigTime serverTime startTime", "status/runtimeinfo"),
    ("version revision branch buildUser buildDate goVersion tsdbVersion pythonVersion", "status/buildinfo"),
    ("max current", "status/walreplay"),
    ("chunkCount minTime maxTime numSeries numLabelPairs name value", "status/tsdb"),
)

ORDERED_BY: dict[str, Callable[[Any], Any]] = {
    "activeTargets": lambda row: row["scrapeUrl"],
    "droppedTargets": lambda row: str(row["discoveredLabels"]),
}
"""Lists that Prometheus gives in the order of Go's maps."""


@pytest.mark.parametrize("path", SAME)
def test_same_answer(both: Both, path: str) -> None:
    theirs, ours = (client.get(target(path)) for client in both)
    assert ours.status == theirs.status, (ours, theirs)
    assert ours.headers.get("content-type") == theirs.headers.get("content-type")
    assert comparable(path, ours) == comparable(path, theirs)
    if not path.startswith(tuple(prefix for _, prefix in MASKS)):
        assert sorted(ours.body) == sorted(theirs.body), "the same bytes, whatever the order of rows"


def target(path: str) -> str:
    head, _, query = path.replace("{{", "{").replace("}}", "}").partition("?")
    return f"/api/v1/{head}" + (f"?{quote(query, safe='=&%[]')}" if query else "")


def comparable(path: str, answer: Answer) -> str:
    """The JSON, keys in their order, numbers as they are written; masked."""
    if not answer.body:
        return ""
    masked = {name for names, prefix in MASKS if path.startswith(prefix) for name in names.split()}
    loaded = json.loads(answer.body, parse_float=str, parse_int=str)
    if path.startswith(("targets/metadata", "series")) and isinstance(loaded.get("data"), list):
        loaded["data"].sort(key=json.dumps)
    return json.dumps(mask(loaded, masked), indent=1)


def mask(value: Any, masked: set[str]) -> Any:
    if isinstance(value, dict):
        kept = {name: "masked" if name in masked else mask(item, masked) for name, item in value.items()}
        return {name: item for name, item in kept.items() if not (name.startswith("tsdb") or name == "pythonVersion")}
    if isinstance(value, list):
        return [mask(item, masked) for item in value]
    return value


def test_same_errors_of_targets(both: Both) -> None:
    theirs, ours = (
        {row["scrapeUrl"]: row["lastError"] for row in client.data("targets")["activeTargets"]}
        for client in both
    )
    assert ours == theirs


@pytest.mark.parametrize("accept", ["", "text/plain;version=0.0.4;escaping=allow-utf-8", "text/plain;escaping=dots",
                                    "application/openmetrics-text;version=1.0.0,*/*;q=0.1;escaping=values"])
@pytest.mark.parametrize("query", FEDERATED)
def test_same_federation(both: Both, query: str, accept: str) -> None:
    path = f"/federate?{target(query).partition('?')[2]}"
    theirs, ours = (client.request("GET", path, headers={"Accept": accept} if accept else {}) for client in both)
    assert ours.status == theirs.status
    assert ours.headers["content-type"] == theirs.headers["content-type"]
    assert federated(ours.body) == federated(theirs.body)


UNLIKE = re.compile("scrape_duration_seconds|scrape_series_added")


def federated(body: bytes) -> list[str]:
    """Lines without their times, and without values that no two scrapes share."""
    lines = []
    for line in body.decode().splitlines():
        line = re.sub(r" \d{13}$", " <time>", line)
        lines.append(re.sub(r" \S+ <time>$", " <value> <time>", line) if UNLIKE.search(line) else line)
    return sorted(lines) if body.startswith(b"#") else lines


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v1/format_query", b"query=sum(x)by(a)"),
        ("POST", "/api/v1/format_query?query=y", b"query=sum(x)by(a)"),
        ("POST", "/api/v1/parse_query", b"query=1"),
        ("POST", "/api/v1/query_exemplars", b"query=up&start=1&end=2"),
        ("POST", "/api/v1/rules", b""),
        ("POST", "/api/v1/targets", b""),
        ("DELETE", "/api/v1/series", None),
        ("POST", "/api/v1/admin/tsdb/delete_series", b"match[]=up"),
        ("PUT", "/api/v1/admin/tsdb/delete_series?match[]=up", None),
        ("POST", "/api/v1/admin/tsdb/clean_tombstones", b""),
        ("PUT", "/api/v1/admin/tsdb/snapshot", b""),
        ("GET", "/api/v1/admin/tsdb/snapshot", None),
        ("GET", "/-/reload", None),
        ("GET", "/-/quit", None),
        ("DELETE", "/-/reload", None),
        ("POST", "/federate", b"match[]=up"),
        ("OPTIONS", "/federate", None),
        ("OPTIONS", "/api/v1/targets", None),
        ("OPTIONS", "/api/v1/nothere", None),
        ("HEAD", "/api/v1/targets", None),
        ("GET", "/nothere", None),
        ("GET", "/-/healthy/", None),
    ],
)
def test_same_answer_to_methods(both: Both, method: str, path: str, body: bytes | None) -> None:
    theirs, ours = (
        client.request(method, path, body, {**(FORM if body is not None else {}), "Origin": "https://a.com"})
        for client in both
    )
    assert (ours.status, ours.body) == (theirs.status, theirs.body)
    for name in ("allow", "vary", "location", "x-content-type-options", "access-control-allow-origin",
                 "access-control-allow-methods", "access-control-allow-headers", "access-control-expose-headers"):
        assert ours.headers.get(name) == theirs.headers.get(name), name


@pytest.mark.parametrize("origin", ["", "http://a.com", "https://b.com", "https://c.com", "https://a.com.evil"])
def test_same_pages_may_read(both: Both, origin: str) -> None:
    theirs, ours = (client.request("GET", "/api/v1/rules", headers={"Origin": origin}) for client in both)
    names = {name for name in (*ours.headers, *theirs.headers) if name.startswith("access-control") or name == "vary"}
    assert {name: ours.headers.get(name) for name in names} == {name: theirs.headers.get(name) for name in names}


def test_same_flags(both: Both) -> None:
    theirs, ours = (client.data("status/flags") for client in both)
    assert list(ours) == sorted(ours)
    assert {name: ours.get(name) for name in ("web.enable-lifecycle", "web.external-url", "query.lookback-delta")} == {
        name: theirs[name] for name in ("web.enable-lifecycle", "web.external-url", "query.lookback-delta")
    }


def test_cardinality_has_the_same_rows(both: Both) -> None:
    theirs, ours = (
        {name: {row["name"]: row["value"] for row in rows} for name, rows in tables(client).items()} for client in both
    )
    assert ours == theirs


def tables(client: Client) -> dict[str, Any]:
    found = client.data("status/tsdb", {"limit": 10000})
    return {name: rows for name, rows in found.items() if name != "headStats" and not name.startswith("tsdb")}


def test_reloads_and_their_notifications(both: Both, tmp_path: Path) -> None:
    for client in both:
        answer = client.request("POST", "/-/reload", b"")
        assert (answer.status, answer.body) == (200, b""), answer
        assert client.data("notifications") == []
