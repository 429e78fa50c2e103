"""The log of queries: its lines beside a real Prometheus', and its way through reloads."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.client import Client
from tests.conftest import Start
from tests.processes import TSDB, Process, free_port, wait_until
from tsdb.model.context import RequestContext
from tsdb.model.errors import QueryCanceled
from tsdb.model.summary import Summary
from tsdb.server.queries.query_log import QueryLog
from tsdb.server.queries.running import Queries, Query

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def serve(start: Start, program: list[str | Path], folder: Path, name: str) -> Process:
    port = free_port()
    argv = [*program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}", "--web.enable-lifecycle",
            "--enable-feature=promql-per-step-stats"]
    folder.mkdir()
    (folder / "prometheus.yml").write_text(f"global: {{query_log_file: {name}}}")
    return start(argv, port).wait_ready()


def ask(client: Client) -> None:
    """Queries of several kinds, one after the other."""
    client.get("/api/v1/query", {"query": "vector(1)", "time": "1700000000.25"})
    client.get("/api/v1/query_range", {"query": '"<a>" == bool 1', "start": 0, "end": 5, "step": 1})
    client.get("/api/v1/query_range", {"query": "time()", "start": 0, "end": 5, "step": 2.5, "stats": "all"})
    client.get("/api/v1/query_range", {"query": "vector(0) or\nx{a='<é>'}", "start": -5, "end": 1e9, "step": "1w"})
    client.request("POST", "/api/v1/query?time=5", b"query=label_replace(vector(1),'~','','','')%2Bfoo(", FORM)
    client.request("POST", "/api/v1/query?time=5", b"query=label_replace(vector(1),'','','','')", FORM)


def lines(file: Path, count: int) -> list[dict[str, Any]]:
    wait_until(lambda: file.exists() and file.read_bytes().count(b"\n") >= count, f"{count} lines in {file}")
    return [json.loads(line) for line in file.read_text().splitlines()]


def masked(line: dict[str, Any]) -> dict[str, Any]:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line["time"])
    timings = line["stats"]["timings"]
    assert 0 <= timings["evalTotalTime"] <= timings["execTotalTime"]
    line["stats"] = {"timings": dict.fromkeys(timings), "samples": sorted({*line["stats"]["samples"]} - {PER_STEP})}
    return {name: value for name, value in line.items() if name not in ("time", "source", "spanID")}


PER_STEP = "totalQueryableSamplesPerStep"


@pytest.mark.peer
def test_same_lines(peer: Callable[[str], Path], start: Start, tmp_path: Path) -> None:
    theirs = serve(start, [peer("prometheus")], tmp_path / "theirs", "q.log")
    ours = serve(start, [TSDB, "serve"], tmp_path / "ours", "q.log")
    found = []
    for process, folder in ((theirs, "theirs"), (ours, "ours")):
        ask(process.client)
        found.append([masked(line) for line in lines(tmp_path / folder / "q.log", 4)])
    assert json.dumps(found[1], indent=1) == json.dumps(found[0], indent=1)


def test_reloads(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "ours"
    server = serve(start, [TSDB, "serve"], folder, "a.log")
    client, config = server.client, folder / "prometheus.yml"

    def reload(text: str | None = None) -> int:
        if text is not None:
            config.write_text(text)
        return client.request("POST", "/-/reload").status

    def enabled() -> bool:
        return b"\nprometheus_engine_query_log_enabled 1" in client.get("/metrics").body

    client.get("/api/v1/query", {"query": "1"})
    lines(folder / "a.log", 1)
    (folder / "a.log").rename(folder / "a.log.1")  # as logrotate does it
    assert reload() == 200
    client.get("/api/v1/query", {"query": "2"})
    assert [line["params"]["query"] for line in lines(folder / "a.log", 1)] == ["2"]
    assert enabled()
    assert reload("global: {query_log_file: nothere/b.log}") == 500
    client.get("/api/v1/query", {"query": "3"})
    assert lines(folder / "a.log", 2)[1]["params"]["query"] == "3"
    assert reload("global: {query_log_file: b.log}") == 200
    client.get("/api/v1/query", {"query": "4"})
    assert lines(folder / "b.log", 1)[0]["params"]["query"] == "4"
    assert reload("") == 200
    assert not enabled()
    client.get("/api/v1/query", {"query": "5"})
    assert [len((folder / name).read_text().splitlines()) for name in ("a.log.1", "a.log", "b.log")] == [1, 2, 1]


def test_a_query_that_ends_when_the_server_stops_is_logged(tmp_path: Path) -> None:
    later = ThreadPoolExecutor(1)
    queries = Queries(defaultdict(Summary), lambda _: None, later)
    queries.log = QueryLog(tmp_path / "q.log", lambda: None)
    query = Query("up", 1000, 1000, 0, RequestContext())
    queries.arrive(query)
    later.shutdown()
    queries.leave(query, QueryCanceled("query was canceled"))
    assert [line["params"]["query"] for line in lines(tmp_path / "q.log", 1)] == ["up"]
    queries.close()
