"""A real Prometheus scrapes, stores and remote-writes; what it answers from its own storage, we answer too."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.client import Client
from tests.conftest import Start, StartTsdb
from tests.processes import free_port, wait_until

QUERIES = [
    (kind, text.strip())
    for line in (Path(__file__).parent / "queries.txt").read_text().splitlines()
    if line and not line.startswith("#")
    for kind, _, text in [line.partition(" ")]
]

CONFIG = """
global: {{scrape_interval: 500ms, scrape_timeout: 450ms}}
scrape_configs:
  - {{job_name: prometheus, static_configs: [{{targets: ["127.0.0.1:{prometheus}"]}}]}}
  - {{job_name: node, static_configs: [{{targets: ["127.0.0.1:{node}"]}}]}}
remote_write:
  - url: http://127.0.0.1:{receiver}/api/v1/write
    queue_config: {{batch_send_deadline: 250ms}}
    metadata_config: {{send_interval: 2s}}
"""

TOLERANCE = 1e-9


def test_queries_are_ten_fifteen_and_five() -> None:
    kinds = [kind for kind, _ in QUERIES]
    assert {kind: kinds.count(kind) for kind in kinds} == {"instant": 10, "range": 15, "metadata": 5}


@pytest.mark.peer
@pytest.mark.parametrize("seconds", [32, pytest.param(600, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_answers_agree_with_prometheus(
    seconds: int, peer: Callable[[str], Path], start: Start, start_tsdb: StartTsdb, tmp_path: Path
) -> None:
    exporter, server = peer("prometheus-node-exporter"), peer("prometheus")
    subject = start_tsdb()
    ports = {"prometheus": free_port(), "node": free_port(), "receiver": subject.port}
    (tmp_path / "prometheus.yml").write_text(CONFIG.format(**ports))
    node_argv = [
        exporter, f"--web.listen-address=127.0.0.1:{ports['node']}",
        "--no-collector.textfile", "--no-collector.systemd", "--log.level=warn",
    ]
    node = start(node_argv, ports["node"]).wait_ready("/metrics")
    prometheus = start(
        [server, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/prometheus",
         f"--web.listen-address=127.0.0.1:{ports['prometheus']}", "--log.level=warn"], ports["prometheus"],
    ).wait_ready()

    began = time.time()
    live(prometheus.client, seconds / 3)
    node.stop()                                   # a failed scrape: up 0, stale markers; then counters from zero
    live(prometheus.client, 5)
    node = start(node_argv, ports["node"]).wait_ready("/metrics")
    live(prometheus.client, began + seconds - time.time())

    end = math.floor(time.time()) - 2.0
    span = f"{math.floor(end - began)}s"
    both = prometheus.client, subject.client
    wait_until(lambda: arrived(both, end), "all samples have arrived", timeout=60, every=0.2)

    wrong = [f"raw samples: {problem}" for problem in differences(*(raw(client, span, end) for client in both))[:5]]
    for kind, text in QUERIES:
        theirs, ours = (ask(client, kind, text, math.ceil(began), end) for client in both)
        assert theirs["status"] == "success", f"{text}: {theirs}"
        if kind != "metadata" and "nonexistent" not in text:
            wrong += [] if theirs["data"]["result"] else [f"{text}: Prometheus itself has nothing to say"]
        wrong += [f"{kind} {text}: {problem}" for problem in differences(theirs, ours)[:3]]
    assert not wrong, "\n".join(wrong)


def live(prometheus: Client, seconds: float) -> None:
    """Lets time pass, and gives the histograms of Prometheus' own HTTP handlers something to count."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        prometheus.get("/api/v1/query", {"query": "up"})
        prometheus.get("/api/v1/query", {"query": "sum("})
        time.sleep(0.1)


def raw(client: Client, span: str, end: float) -> Any:
    """Every sample of the run, as it was stored."""
    return client.get("/api/v1/query", {"query": f'{{job=~".+"}}[{span}]', "time": end}).json()


def arrived(both: tuple[Client, Client], end: float) -> bool:
    theirs, ours = (raw(client, "10s", end) for client in both)
    return points(theirs) == points(ours)


def points(answer: Any) -> int:
    return sum(len(row["values"]) for row in answer.get("data", {}).get("result", []))


def ask(client: Client, kind: str, text: str, start: float, end: float) -> Any:
    if kind == "instant":
        return client.get("/api/v1/query", {"query": text, "time": end}).json()
    if kind == "range":
        return client.get("/api/v1/query_range", {"query": text, "start": start, "end": end, "step": 1}).json()
    path, _, query = text.partition("?")
    pairs = [item.partition("=") for item in query.split("&") if item]
    params: dict[str, Any] = {"start": start, "end": end} if path != "metadata" else {}
    for name, _, value in pairs:
        params.setdefault(name, []).append(value)
    return client.get("/api/v1/" + path, params).json()


def differences(theirs: Any, ours: Any) -> list[str]:
    """What differs between two whole answers, in words."""
    out = [
        f"{key}: Prometheus {theirs.get(key)!r}, we {ours.get(key)!r}"
        for key in ("status", "errorType", "error", "warnings", "infos")
        if theirs.get(key) != ours.get(key)
    ]
    if ours.get("status") != "success":
        return out
    left, right = theirs["data"], ours["data"]
    if not isinstance(left, dict) or "resultType" not in left:
        return out if left == right else [*out, f"Prometheus {str(left)[:400]}, we {str(right)[:400]}"]
    if left["resultType"] != right["resultType"]:
        return [*out, f"resultType: Prometheus {left['resultType']}, we {right['resultType']}"]
    rows, others = ({frozenset(row["metric"].items()): row for row in side["result"]} for side in (left, right))
    out += [f"only Prometheus has {dict(key)}" for key in rows.keys() - others.keys()]
    out += [f"only we have {dict(key)}" for key in others.keys() - rows.keys()]
    for key in rows.keys() & others.keys():
        out += cell_differences(dict(key), samples(rows[key]), samples(others[key]))
    return out


def samples(row: Any) -> dict[float, float]:
    return {float(t): float(v) for t, v in (row["values"] if "values" in row else [row["value"]])}


def cell_differences(labels: dict[str, str], theirs: dict[float, float], ours: dict[float, float]) -> list[str]:
    if theirs.keys() != ours.keys():
        missing, extra = sorted(theirs.keys() - ours.keys()), sorted(ours.keys() - theirs.keys())
        return [f"{labels}: we lack {len(missing)} times {missing[:3]}, have {len(extra)} more {extra[:3]}"]
    return [
        f"{labels} at {t}: Prometheus {theirs[t]!r}, we {ours[t]!r}" for t in theirs if not close(theirs[t], ours[t])
    ][:1]


def close(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=0.0)
