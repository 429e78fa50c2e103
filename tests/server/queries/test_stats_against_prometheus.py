"""Samples that the steps of a query see, counted by a real Prometheus and by us."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client import Client
from tests.processes import TSDB, Process, free_port

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def both(peer: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Client], int]]:
    """Two servers with the same samples, until a time (s)."""
    folder = tmp_path_factory.mktemp("stats")
    (folder / "prometheus.yml").write_text("")
    processes = []
    for name, program in (("prometheus", [peer("prometheus")]), ("tsdb", [TSDB, "serve"])):
        port = free_port()
        argv = [*program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/{name}",
                f"--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver", "--log.level=warn",
                "--enable-feature=promql-per-step-stats"]
        processes.append(Process(argv, folder / f"{name}.log", port))
    try:
        end = int(time.time()) // 60 * 60
        series = [({"__name__": "x", "i": str(i)}, [((end - 600 + at * 15 + i) * 1000, float(at)) for at in range(40)
                                                    if (at + i) % 11]) for i in range(7)]
        clients = [process.wait_ready().client for process in processes]
        for client in clients:
            assert client.write(series).status == 204
        yield clients, end
    finally:
        for process in processes:
            process.kill()


QUERIES = [
    "x", "x offset 1m", "sum(x) + max(x offset 15s)", "x > 5 and x", "rate(x[1m])", "sum_over_time(x[100s] offset 30s)",
    "max_over_time(x[5m] @ end())", "x @ start()", "x + on (i) (x @ end())", "rate(x[2m:20s])", "time()", "vector(1)",
    "max_over_time(rate(x[1m])[3m:30s])", "absent_over_time(x[1s])", "quantile_over_time(0.5, x[90s])", "nothere",
    "timestamp(x)", "sum(count_over_time(x[1h]))", "avg_over_time(sum(x)[5m:15s] @ end())", "x[5m]", "x[5m:20s]",
]


@pytest.mark.parametrize("expr", QUERIES)
def test_same_samples(both: tuple[list[Client], int], expr: str) -> None:
    clients, end = both
    ranged = {"query": expr, "start": end - 500, "end": end, "step": 7.5, "stats": "all"}
    instant = {"query": expr, "time": end - 77.25, "stats": "all"}
    for path, parameters in (("query_range", ranged), ("query", instant)):
        if path == "query_range" and expr.startswith("x[5m"):
            continue
        theirs, ours = (client.data(path, parameters)["stats"] for client in clients)
        assert set(ours["timings"]) == set(theirs["timings"])
        assert list(ours["samples"]) == list(theirs["samples"])
        assert compared(ours) == compared(theirs)


def compared(stats: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in stats["samples"].items() if name != "peakSamples"}


def test_totals_without_steps(both: tuple[list[Client], int]) -> None:
    clients, end = both
    for wanted in ("true", "x"):
        theirs, ours = (client.data("query", {"query": "rate(x[1m])", "time": end, "stats": wanted})["stats"]["samples"]
                        for client in clients)
        assert set(ours) == set(theirs) == {"totalQueryableSamples", "peakSamples"}
        assert ours["totalQueryableSamples"] == theirs["totalQueryableSamples"]


def test_what_is_computed_once_is_counted_once(both: tuple[list[Client], int]) -> None:
    clients, end = both
    theirs, ours = (client.data("query", {"query": "sum(x) + sum(x)", "time": end, "stats": "true"})["stats"]["samples"]
                    for client in clients)
    assert ours["totalQueryableSamples"] * 2 == theirs["totalQueryableSamples"]
