"""Samples of random times sent to a real Prometheus and to us: answers and what is stored are equal, in windows for
samples out of order that a reload changes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client import Client
from tests.processes import TSDB, Process, free_port

pytestmark = pytest.mark.peer

WINDOWS = ("0s", "30m", "2h", "0s")
SERIES = 4
REQUESTS = 120
REASONS = ("out of order sample", "duplicate sample for timestamp", "out of bounds", "too old sample")


def config(window: str) -> str:
    return f"storage: {{tsdb: {{out_of_order_time_window: {window}}}}}\n"


@pytest.fixture
def both(peer: Callable[[str], Path], tmp_path: Path) -> Iterator[tuple[Client, Client]]:
    ports = free_port(), free_port()
    file = tmp_path / "prometheus.yml"
    file.write_text(config(WINDOWS[0]))
    shared = [f"--config.file={file}", "--web.enable-lifecycle", "--web.enable-remote-write-receiver"]
    processes = [
        Process([peer("prometheus"), *shared, f"--storage.tsdb.path={tmp_path}/prometheus", "--log.level=warn",
                 f"--web.listen-address=127.0.0.1:{ports[0]}"], tmp_path / "prometheus.log", ports[0]),
        Process([TSDB, "serve", *shared, f"--storage.tsdb.path={tmp_path}/data",
                 f"--web.listen-address=127.0.0.1:{ports[1]}"], tmp_path / "tsdb.log", ports[1]),
    ]
    try:
        clients = [process.wait_ready().client for process in processes]
        yield clients[0], clients[1]
    finally:
        for process in processes:
            process.kill()


def reason(text: str) -> str:
    found = [each for each in REASONS if each in text]
    assert len(found) == 1, text
    return found[0]


def stored(client: Client, until: int) -> list[Any]:
    data = client.data("query", {"query": "late[1d]", "time": f"{until / 1000:.3f}"})
    return sorted((sorted(each["metric"].items()), each["values"]) for each in data["result"])


def test_the_same_samples_are_taken(both: tuple[Client, Client], tmp_path: Path) -> None:
    chance = random.Random(4)
    newest = (int(time.time()) - 3600) * 1000
    seen: set[str] = set()
    for window in WINDOWS:
        (tmp_path / "prometheus.yml").write_text(config(window))
        for client in both:
            assert client.request("POST", "/-/reload").status == 200
        taken = 0
        for _ in range(REQUESTS):
            back = chance.choice((0, 60, 1200, 1790, 1810, 3590, 3610, 7190, 7210, 11_000))
            at = newest - back * 1000 + chance.choice((0, 0, 1, 17, 5000, 6000))
            newest = max(newest, at)
            sample = [({"__name__": "late", "n": str(chance.randrange(SERIES))}, [(at, float(chance.randrange(3)))])]
            theirs, ours = (client.write(sample) for client in both)
            assert ours.status == theirs.status, (window, sample, newest, theirs, ours)
            if theirs.status != 204:
                seen.add(reason(theirs.body.decode()))
                assert reason(ours.body.decode()) == reason(theirs.body.decode()), (window, sample, newest)
            taken += theirs.status == 204
        assert 0 < taken < REQUESTS
        assert stored(both[1], newest) == stored(both[0], newest), window
    assert seen == set(REASONS)
