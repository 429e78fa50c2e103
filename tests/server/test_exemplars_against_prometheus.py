"""Exemplars and metadata in a real Prometheus and in ours, from the same scrapes and the same remote_write requests:
what the API tells is equal, byte for byte."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.client import REMOTE_WRITE_HEADERS, Answer, Client
from tests.ingest.messages import V1
from tests.ingest.sender import compress
from tests.ingest.test_metric_families import COUNTER, HISTOGRAM, Bucket, Exemplar, Family, Metric
from tests.processes import TSDB, Process, free_port, wait_until

pytestmark = pytest.mark.peer

OPENMETRICS = """# HELP size_bytes Sizes of \\"all\\" things.
# TYPE size_bytes histogram
# UNIT size_bytes bytes
size_bytes_bucket{{le="0.5"}} 2 # {{trace_id="a"}} 0.25 {0}.125
size_bytes_bucket{{le="1"}} 3 # {{trace_id="b",span_id="<&>"}} 1e-09 {0}.1
size_bytes_bucket{{le="+Inf"}} 4 # {{}} 12345678901234567890123 {0}
size_bytes_count 4
size_bytes_sum 9
# TYPE requests counter
# HELP requests Requests.
requests_total{{code="200",instance="mine"}} 7 # {{trace_id="{1}"}} 7 {2}
requests_total{{code="500",z="ü"}} 8 # {{trace_id="ü"}} +Inf {0}
requests_total{{code="too long"}} 8 # {{trace_id="{3}"}} 1 {0}
# TYPE level gauge
level 1
# TYPE state stateset
state{{state="on"}} 1
# TYPE build info
build_info{{version="1"}} 1
# HELP other Other.
other 1
# EOF
"""

CONFIG = """
global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}
storage: {{exemplars: {{max_exemplars: 60}}}}
scrape_configs:
- job_name: text
  static_configs: [{{targets: ['127.0.0.1:{port}']}}]
- job_name: messages
  scrape_protocols: [PrometheusProto]
  static_configs: [{{targets: ['127.0.0.1:{port}']}}]
"""


class Target(BaseHTTPRequestHandler):
    began = int(time.time()) - 60
    trace, moved = "t0", 0

    def do_GET(self) -> None:
        protobuf = "protobuf" in self.headers["Accept"].split(",")[0]
        body = self.messages() if protobuf else OPENMETRICS.format(
            self.began, self.trace, f"{self.began + self.moved}.5", "x" * 121).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; "
                         "encoding=delimited" if protobuf else "application/openmetrics-text; version=1.0.0")
        self.end_headers()
        self.wfile.write(body)

    def messages(self) -> bytes:
        at = (self.began, 250_000_000)
        buckets = (Bucket(0.5, 1, exemplar=Exemplar((("trace_id", "p"), ("a", "")), 0.25, at)), Bucket(1.0, 2))
        families = [
            Family("hits_total", COUNTER, (Metric((("code", "1"),), value=3.0, exemplar=Exemplar(
                (("z", "1"), ("trace_id", "ü")), 3.5, at)),), help="Hits."),
            Family("lag", HISTOGRAM, (Metric((), count=3, value=1.5, buckets=buckets),)),
        ]
        return b"".join(family.encode() for family in families)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@dataclass
class Both:
    prometheus: Client
    tsdb: Client
    target: type[Target]
    restart: Callable[[], None]

    def get(self, path: str) -> tuple[Answer, Answer]:
        return self.prometheus.get("/api/v1/" + path), self.tsdb.get("/api/v1/" + path)


@pytest.fixture(scope="module")
def both(peer: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("exemplars")
    handler = type("Target", (Target,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (folder / "prometheus.yml").write_text(CONFIG.format(port=server.server_port))
    ports = [free_port(), free_port()]
    processes: list[Process] = []

    def start() -> None:
        commands: tuple[list[Any], list[Any]] = [peer("prometheus")], [TSDB, "serve"]
        for argv, port in zip(commands, ports, strict=True):
            name = Path(argv[0]).name
            processes.append(Process([
                *argv, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/{name}",
                f"--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver",
                "--enable-feature=exemplar-storage",
            ], folder / f"{name}.log", port))
        for process in processes:
            process.wait_ready()

    def restart() -> None:
        while processes:
            processes.pop().kill()
        start()

    try:
        start()
        made = Both(Client(ports[0]), Client(ports[1]), handler, restart)
        yield made
    finally:
        for process in processes:
            process.kill()
        server.shutdown()


def write(both: Both, rows: list[dict[str, Any]], metadata: Sequence[dict[str, Any]] = ()) -> list[int]:
    body = compress(V1["WriteRequest"](timeseries=rows, metadata=metadata).SerializeToString())
    return [client.request("POST", "/api/v1/write", body, REMOTE_WRITE_HEADERS).status
            for client in (both.prometheus, both.tsdb)]


def labels(**pairs: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in sorted(pairs.items())]


def row(name: str, samples: int, *exemplars: tuple[str, float, int], **pairs: str) -> dict[str, Any]:
    """Exemplars are (trace id, value, ms)."""
    now = int(time.time() * 1000)
    return {"labels": labels(__name__=name, **pairs),
            "samples": [{"value": 1, "timestamp": now + number} for number in range(samples)],
            "exemplars": [{"labels": labels(trace_id=trace), "value": value, "timestamp": at}
                          for trace, value, at in exemplars]}


def exemplars(both: Both, query: str, more: str = "") -> tuple[bytes, bytes]:
    answers = both.get(f"query_exemplars?query={quote(query)}{more}")
    return answers[0].body, answers[1].body


def seen(both: Both, query: str, text: str) -> None:
    wait_until(lambda: all(text.encode() in body for body in exemplars(both, query)), f"{text} is in both")


QUERIES = [
    "size_bytes_bucket",
    'sum by (le) (rate(size_bytes_bucket{job="text"}[5m])) / ignoring(le) requests_total',
    "requests_total or hits_total or lag_bucket",
    '{__name__=~".+"}',
    'requests_total{code!="200"}',
    'requests_total{code=~"2..|1"}',
    'requests_total{nothing=""}',
    "rate(hits_total[5m:1m] offset 1h)",
    "hits_total @ 5",
    "nothing_here",
    "level",
]


def test_scraped(both: Both) -> None:
    for text in ('"trace_id":"t0"', '"trace_id":"p"', "e+22", '"z":"1"', '"b"'):
        seen(both, '{__name__=~".+"}', text)
    began = both.target.began
    for query in QUERIES:
        for more in ("", f"&start={began}.126", f"&end={began}.125", f"&start={began}&end={began}.1",
                     f"&start={began + 10}"):
            theirs, ours = exemplars(both, query, more)
            assert ours == theirs, (query, more)
    for number in range(1, 4):
        both.target.moved, both.target.trace = number, f"t{number}"
        seen(both, "requests_total", f't{number}')
    both.target.moved = 1
    both.target.trace = "older"
    time.sleep(1.2)
    theirs, ours = exemplars(both, "requests_total")
    assert ours == theirs and b"older" not in ours


def test_written(both: Both) -> None:
    now = int(time.time() * 1000)
    requests = [
        [row("w_bucket", 1, ("a", 1.5, now), ("b", 2.5, now + 1), le="1"), row("w_bucket", 1, le="2")],
        [row("w_bucket", 0, ("c", -0.0, now), ("d", 2.5, now + 2), le="1"), row("unknown", 0, ("c", 1.0, now))],
        [row("w_bucket", 1, ("d", 2.5, now + 2), ("e", 2.0, now + 2), ("f", 3.0, now + 2), le="1")],
        [row("w_bucket", 1, ("x" * 121, 1.0, now + 9), ("far", 1.0, now + 700_000), ("", 1.0, now + 10), le="1")],
    ]
    for request in requests:
        assert write(both, request) == [204, 204]
        theirs, ours = exemplars(both, 'w_bucket or {__name__="unknown"}')
        assert ours == theirs and b'"a"' in ours
    for later in range(0, 500, 100):  # a scrape that comes between write and query takes room, on one side by chance
        each = [(str(n), n, now + later + n) for n in range(40)]
        many = [row("w_bucket", 1, *each, le=str(le)) for le in range(3, 8)]
        assert write(both, many) == [204, 204]
        theirs, ours = exemplars(both, "w_bucket")
        if ours == theirs and ours.count(b'"timestamp"') == 60:
            return
    assert ours == theirs and ours.count(b'"timestamp"') == 60


@pytest.mark.slow
def test_killed(both: Both) -> None:
    now = int(time.time() * 1000)
    assert write(both, [row("k_bucket", 1, ("a", 1.5, now), ("b", 2.5, now + 1), le="1")]) == [204, 204]
    both.restart()
    theirs, ours = exemplars(both, "k_bucket")
    assert ours == theirs and b'"b"' in ours


METADATA = [
    "metadata", "metadata?limit=2", "metadata?limit=0", "metadata?limit=-1", "metadata?limit=x",
    "metadata?metric=requests", "metadata?metric=requests_total", "metadata?metric=nothing",
    "metadata?limit_per_metric=1", "metadata?limit_per_metric=0", "metadata?limit_per_metric=-1",
    "metadata?limit_per_metric=x", "metadata?metric=hits_total&limit=0", "metadata?metric=nothing&limit=5",
    "targets/metadata", "targets/metadata?limit=0", "targets/metadata?limit=-5",
    "targets/metadata?limit=x", "targets/metadata?metric=size_bytes", "targets/metadata?metric=nothing",
    "targets/metadata?match_target={job=%22text%22}", "targets/metadata?match_target={job=",
    "targets/metadata?match_target={job=%22no%22}", "targets/metadata?match_target={}&metric=hits_total",
]


@pytest.mark.parametrize("path", METADATA)
def test_metadata(both: Both, path: str) -> None:
    assert write(both, [row("written", 1)],
                 [{"type": 2, "metric_family_name": "written", "help": "W.", "unit": ""}]) == [204, 204]
    wait_until(partial(has_metadata, both), "metadata of both jobs")
    theirs, ours = (compared(answer, path) for answer in both.get(path))
    assert ours == theirs


def has_metadata(both: Both) -> bool:
    return all(b"hits_total" in answer.body and b"size_bytes" in answer.body for answer in both.get("metadata"))


def compared(answer: Answer, path: str) -> Any:
    """Go's maps have no order: what a limit leaves is only counted. Ours also tells what came by remote_write."""
    found = answer.json()
    data = found.get("data")
    if isinstance(data, dict):
        data.pop("written", None)
    elif isinstance(data, list):
        data.sort(key=str)
    if "limit=" in path and data is not None:
        found["data"] = len(data)
    return answer.status, found


def test_metadata_that_was_written(both: Both) -> None:
    ours = both.get("metadata?metric=written")[1]
    assert ours.json()["data"] == {"written": [{"type": "gauge", "unit": "", "help": "W."}]}
