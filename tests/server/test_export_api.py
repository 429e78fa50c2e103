"""/api/v1/export: its parameters, its limits, and what becomes of an export that nobody reads on."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import time
from pathlib import Path

import numpy as np
import orjson
import pytest
from click.testing import CliRunner

from tests.client import REMOTE_WRITE_HEADERS, Client, remote_write_body
from tests.exports.test_jsonl import parsed
from tests.processes import wait_until
from tests.server.conftest import Begin, Running
from tests.storage.batches import make_batch
from tsdb.cli import cli
from tsdb.config import load
from tsdb.server.server import open_storage

NOW = int(time.time()) // 60 * 60_000
SERIES, SAMPLES = 6, 60_000
"""Of an export that no buffer of a socket takes."""


def fill(client: Client, series: int = 3, samples: int = 5) -> None:
    rows = [({"__name__": "a", "n": str(n)}, [(NOW - 1000 * at, float(at)) for at in range(samples)][::-1])
            for n in range(series)]
    assert client.request("POST", "/api/v1/write", remote_write_body(rows), REMOTE_WRITE_HEADERS).status == 204


@pytest.fixture
def filled(running: Running) -> Running:
    fill(running.client)
    return running


def test_get_and_post_and_compressed(filled: Running) -> None:
    answer = filled.client.get("/api/v1/export", {"match[]": ["a", '{n="1"}']})
    assert answer.status == 200 and answer.headers["content-type"] == "application/stream+json; charset=utf-8"
    found = parsed(answer.body)
    assert len(found) == 3 and all(len(column) == 5 for column in found.values())
    posted = filled.client.request("POST", "/api/v1/export", b"match[]=a&max_rows_per_line=2",
                                   {"Content-Type": "application/x-www-form-urlencoded"})
    assert parsed(posted.body) == found and posted.body.count(b"\n") == 9
    some = filled.client.get("/api/v1/export", {"match[]": '{n="2"}', "start": NOW / 1000 - 3, "end": NOW / 1000 - 1})
    assert json.loads(some.body)["timestamps"] == [NOW - 3000, NOW - 2000, NOW - 1000]
    assert filled.client.get("/api/v1/export", {"match[]": "nothing"}).body == b""
    packed = filled.client.request("GET", "/api/v1/export?match[]=a", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"


@pytest.mark.parametrize("parameters, problem", [
    ({}, "no match[] parameter provided"),
    ({"match[]": "{"}, 'invalid parameter "match[]"'),
    ({"match[]": "a", "format": "excel"}, 'invalid format "excel": it is one of jsonl'),
    ({"match[]": "a", "start": "yesterday"}, "invalid time value for 'start'"),
    ({"match[]": "a", "max_rows_per_line": "many"}, "max_rows_per_line must be a number"),
])
def test_what_is_wrong_is_said(filled: Running, parameters: dict[str, str], problem: str) -> None:
    answer = filled.client.get("/api/v1/export", parameters)
    assert answer.status == 400 and problem in answer.json()["error"]


def test_other_formats(filled: Running) -> None:
    asked = {"match[]": '{n="2"}', "end": NOW / 1000 - 4}
    csv = filled.client.get("/api/v1/export", {**asked, "format": "csv", "time_format": "s"})
    assert csv.headers["content-type"] == "text/csv; charset=utf-8"
    assert csv.body == f"timestamp,value,__name__,n\n{NOW // 1000 - 4},4,a,2\n".encode()
    text = filled.client.get("/api/v1/export", {**asked, "format": "openmetrics"})
    assert text.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert text.body == f'a{{n="2"}} 4 {NOW // 1000 - 4}\n# EOF\n'.encode()


def test_it_is_logged_and_counted_as_a_query(begin: Begin, tmp_path: Path) -> None:
    log = tmp_path / "queries.log"
    (tmp_path / "tsdb.yml").write_text(f"global: {{query_log_file: {log}}}")
    server = begin(load(tmp_path / "tsdb.yml").config)
    server.open(open_storage(tmp_path / "data", None))
    fill(server.client)
    assert server.client.get("/api/v1/export", {"match[]": ["a", "b"], "end": "9e12"}).status == 200
    assert server.client.get("/api/v1/export", {"match[]": "c", "start": "9e12"}).status == 200
    wait_until(lambda: log.exists() and log.read_text().count("\n") == 2, "two lines in the log")
    first, second = (json.loads(line) for line in log.read_text().splitlines())
    assert first["params"]["query"] == "a or b" and first["params"]["end"].startswith("20")
    assert second["params"]["query"] == "c" and "error" not in second
    records = server.client.get("/api/v1/status/metric_names_stats").json()["records"]
    assert {each["metricName"]: each["queryRequestsCount"] for each in records} == {"a": 1}


def test_the_command_asks_a_server(filled: Running, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{filled.port}"
    done = CliRunner().invoke(cli, ["export", "jsonl", "--url", url, "-o", str(tmp_path / "all.jsonl.gz")])
    assert done.exit_code == 0 and "all.jsonl.gz: " in done.stderr
    assert len(parsed(gzip.decompress((tmp_path / "all.jsonl.gz").read_bytes()))) == 3
    csv = CliRunner().invoke(cli, ["export", "csv", "--url", url, "--match", "a", "--end", str(NOW / 1000 - 4)])
    assert csv.stdout == "timestamp,value,__name__,n\n" + "".join(f"{NOW - 4000},4,a,{n}\n" for n in range(3))
    assert csv.stderr == "tsdb: what this format cannot carry is counted in the server's log\n"


class Reader:
    """A client that takes its time, with a small window."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(20)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(b"GET /api/v1/export?match[]=a HTTP/1.1\r\nHost: x\r\n\r\n")
        assert self.socket.recv(20).startswith(b"HTTP/1.1 200")


@pytest.fixture
def large(begin: Begin, tmp_path: Path) -> Running:
    (tmp_path / "tsdb.yml").write_text("query: {max_concurrent_exports: 1}\nserver: {shutdown_timeout: 500ms}")
    made = begin(load(tmp_path / "tsdb.yml").config)
    made.open(open_storage(tmp_path / "data", None))
    storage = made.server.services.storage
    batch = make_batch(storage.secret, [{"__name__": "a", "n": str(n)} for n in range(SERIES)], ())
    batch.sample_row = np.repeat(np.arange(SERIES, dtype=np.uint32), SAMPLES)
    batch.ts = np.tile(NOW - np.arange(SAMPLES, dtype=np.int64)[::-1], SERIES)
    batch.values = np.sqrt(batch.ts.astype(np.float64)).view(np.uint64)
    assert storage.submit(batch).result(60).accepted == batch.samples
    return made


def running_exports(server: Running) -> int:
    return len(server.client.get("/api/v1/status/active_queries").json()["data"])


def test_who_leaves_lets_go_and_one_too_many_waits(large: Running) -> None:
    reader = Reader(large.port)
    assert running_exports(large) == 1
    refused = large.client.get("/api/v1/export", {"match[]": "a"})
    assert refused.status == 503 and b"query.max_concurrent_exports" in refused.body
    assert refused.headers["retry-after"] == "10"
    assert large.client.query("count(a)", NOW / 1000)[0]["value"][1] == "6"
    reader.socket.close()
    wait_until(lambda: running_exports(large) == 0, "the export has ended")
    assert large.server.services.exporting == set()
    whole = large.client.get("/api/v1/export", {"match[]": "a"}).body
    assert sum(len(orjson.loads(line)["values"]) for line in whole.splitlines()) == SERIES * SAMPLES


def test_a_canceled_export_breaks_off(large: Running) -> None:
    reader = Reader(large.port)
    (asked,) = large.client.get("/api/v1/status/active_queries").json()["data"]
    assert asked["query"] == "a"
    assert large.client.request("POST", f"/api/tsdb/v1/queries/{asked['id']}/cancel").status == 200
    with pytest.raises(ConnectionError):
        while reader.socket.recv(1 << 20):
            pass
        raise ConnectionError("ended without the end of an answer")
    wait_until(lambda: running_exports(large) == 0, "the export has ended")


def test_an_export_that_takes_too_long_breaks_off(large: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", large.port, timeout=30)
    connection.request("GET", "/api/v1/export?match[]=a&timeout=300ms")
    answer = connection.getresponse()
    time.sleep(0.5)  # what it holds is let go when its time is over, whoever reads
    wait_until(lambda: running_exports(large) == 0, "the export has ended")
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        answer.read()


def test_a_server_stops_beside_one(large: Running) -> None:
    reader = Reader(large.port)
    large.stop()
    assert large.server.services.exporting == set()
    reader.socket.close()
