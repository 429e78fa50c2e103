"""The admin API over HTTP: the same requests as to a real Prometheus have the same answers, and leave the same."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.client import Client
from tests.processes import TSDB, Process, free_port
from tests.storage.batches import read
from tsdb.storage import Storage

pytestmark = pytest.mark.peer

ADMIN = "/api/v1/admin/tsdb/"
SERIES = [{"__name__": name, "job": job, "n": str(n)} for name in ("m", "other") for job in "ab" for n in range(3)]
STEP_MS = 15_000
COUNT = 160


@dataclass
class Both:
    prometheus: Client
    tsdb: Client
    data: Path
    """Data directory of ours."""
    start: int
    """Time of the first samples, ms."""

    def same(self, method: str, path: str) -> tuple[int, Any]:
        """(status, body) of both."""
        answers = [client.request(method, path) for client in (self.prometheus, self.tsdb)]
        theirs, ours = answers
        assert (ours.status, ours.body) == (theirs.status, theirs.body), path
        return ours.status, ours.body

    def compare(self) -> list[Any]:
        """What is left, the same in both."""
        now = self.start / 1000 + COUNT * STEP_MS / 1000
        theirs, ours = (sorted(client.data("query", {"query": '{job=~".+"}[2h]', "time": now})["result"], key=str)
                        for client in (self.prometheus, self.tsdb))
        assert ours == theirs
        series = self.tsdb.data("series", {"match[]": '{job=~".+"}'})
        assert sorted(series, key=str) == sorted((each["metric"] for each in ours), key=str), (
            "in Prometheus, series stay in the lists as long as the head has them")
        return ours


@pytest.fixture(scope="module")
def both(peer: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("admin")
    (folder / "prometheus.yml").write_text("storage: {tsdb: {out_of_order_time_window: 0s}}\n")
    processes = []
    for argv in ([peer("prometheus")], [TSDB, "serve"]):
        name, port = Path(argv[0]).name, free_port()
        argv = [*argv, f"--config.file={folder}/prometheus.yml", "--web.enable-admin-api", "--log.level=warn",
                "--web.enable-remote-write-receiver", f"--storage.tsdb.path={folder}/{name}",
                f"--web.listen-address=127.0.0.1:{port}"]
        processes.append(Process(argv, folder / f"{name}.log", port))
    try:
        clients = [process.wait_ready().client for process in processes]
        start = int(time.time() * 1000) - COUNT * STEP_MS
        for client in clients:
            client.write([(labels, [(start + i * STEP_MS, float(i)) for i in range(COUNT)]) for labels in SERIES])
        yield Both(clients[0], clients[1], folder / Path(TSDB).name, start)
    finally:
        for process in processes:
            process.kill()


@pytest.mark.parametrize("path", [
    "delete_series", "delete_series?match[]=", "delete_series?match[]=%7B%7D", "delete_series?match[]=up&start=x",
    "delete_series?match[]=up&end=x", "delete_series?match[]=up%7B", "delete_series?match[]=up%5B5m%5D",
    "delete_series?match[]=nothing", "delete_series?match[]=m&start=10&end=5", "snapshot?skip_head=maybe",
])
def test_mistakes_are_answered_as_by_prometheus(both: Both, path: str) -> None:
    both.same("POST", f"{ADMIN}{path}")


def test_deletes_leave_the_same(both: Both) -> None:
    seconds = both.start / 1000
    left = len(both.compare())
    assert left == 12
    steps = [
        ("POST", f'delete_series?match[]=m{{n="0"}}&start={seconds + 100}&end={seconds + 1000}', 12),
        ("PUT", f'delete_series?match[]=m{{n="1"}}&start={seconds + 300.001}', 12),
        ("POST", 'delete_series?match[]={n="2",job="a"}&match[]=other{job="b"}', 7),
        ("POST", f"delete_series?match[]=m&end={seconds + 30}", 7),
        ("PUT", 'delete_series?match[]=other{n=~"0|1"}', 5),
        ("POST", "delete_series?match[]={}", 5),
        ("PUT", "clean_tombstones", 5),
    ]
    for method, path, series in steps:
        assert both.same(method, ADMIN + path.replace("{", "%7B").replace("}", "%7D").replace('"', "%22")) == (204, b"")
        assert len(both.compare()) == series, path
    newest = both.start + COUNT * STEP_MS
    for client in (both.prometheus, both.tsdb):
        client.write([(labels, [(newest, 1000.0)]) for labels in SERIES])
    assert len(both.compare()) == 12, "what comes later is there"


def test_a_snapshot_has_what_queries_have(both: Both) -> None:
    for client in (both.prometheus, both.tsdb):
        for skip in ("", "?skip_head=true"):
            answer = client.request("POST", f"{ADMIN}snapshot{skip}")
            assert answer.status == 200 and answer.json()["status"] == "success"
            (name,) = answer.json()["data"].values()
            assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{16}", name)
            if client is both.tsdb:
                copy = Storage.open(both.data / "snapshots" / name, read_only=True)
                found = read(copy)
                copy.close()
                assert len(found) == (0 if skip else len(both.compare()))
                for each in [] if skip else both.compare():
                    samples = found[tuple(sorted(each["metric"].items()))]
                    assert [[ts / 1000 for ts, _ in samples]] == [[ts for ts, _ in each["values"]]]


def test_compact(both: Both) -> None:
    """Ours alone has it. Everything is in blocks then, and is as it was."""
    before = both.compare()
    assert (both.tsdb.request("POST", f"{ADMIN}compact").status, both.tsdb.request("PUT", f"{ADMIN}compact").body) == (
        204, b"")
    assert both.compare() == before
    metrics = both.tsdb.request("GET", "/metrics").body.decode()
    found = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if line.startswith("prometheus_tsdb"))
    assert float(found["prometheus_tsdb_blocks_loaded"]) >= 1
    assert float(found["prometheus_tsdb_storage_blocks_bytes"]) > 1000
    assert float(found["prometheus_tsdb_compactions_total"]) >= 1
    assert float(found['prometheus_tsdb_compaction_chunk_samples_bucket{le="+Inf"}']) >= 12
    assert float(found["prometheus_tsdb_lowest_timestamp"]) <= both.start
    told = both.tsdb.data("status/tsdb/blocks")["blocks"]
    assert told and told == [json.loads((both.data / "blocks" / meta["ulid"] / "meta.json").read_bytes())
                             for meta in sorted(told, key=lambda meta: meta["minTime"])]
    assert list(both.data.glob("blocks/*/meta.json")) and not list(both.data.glob("chunks/*"))
    newest = both.start + (COUNT + 1) * STEP_MS
    for client in (both.prometheus, both.tsdb):
        client.write([(labels, [(newest, 5.0)]) for labels in SERIES])
    assert len(both.compare()) == 12


def test_without_the_flag(peer: Callable[[str], Path], tmp_path: Path) -> None:
    port = free_port()
    process = Process([TSDB, "serve", f"--storage.tsdb.path={tmp_path}/data", f"--web.listen-address=127.0.0.1:{port}"],
                      tmp_path / "log", port)
    try:
        client = process.wait_ready().client
        for path in ("delete_series?match[]=up", "clean_tombstones", "snapshot", "compact"):
            answer = client.request("POST", ADMIN + path)
            assert (answer.status, answer.json()["error"]) == (500, "admin APIs disabled")
    finally:
        process.kill()
