"""Samples of random times, and samples that contradict each other, sent to a real Prometheus and to us: answers and
what is stored are equal, in windows for samples out of order that a reload changes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client import Client
from tests.server.beside_prometheus import both_servers

pytestmark = pytest.mark.peer

WINDOWS = ("0s", "30m", "2h", "0s")
SERIES = 4
REQUESTS = 120
REASONS = ("out of order sample", "duplicate sample for timestamp", "out of bounds", "too old sample")


def config(window: str) -> str:
    return f"storage: {{tsdb: {{out_of_order_time_window: {window}}}}}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("late")


@pytest.fixture(scope="module")
def both(peer: Callable[[str], Path], folder: Path) -> Iterator[tuple[Client, Client]]:
    """Prometheus, and us."""
    (folder / "prometheus.yml").write_text(config(WINDOWS[0]))
    flags = "--web.enable-lifecycle", "--web.enable-remote-write-receiver"
    with both_servers(peer("prometheus"), folder, flags) as clients:
        yield clients


def reason(text: str) -> str:
    found = [each for each in REASONS if each in text]
    assert len(found) == 1, text
    return found[0]


def set_window(both: tuple[Client, Client], folder: Path, window: str) -> None:
    (folder / "prometheus.yml").write_text(config(window))
    for client in both:
        assert client.request("POST", "/-/reload").status == 200


def stored(client: Client, until: int, selector: str = "late") -> list[Any]:
    data = client.data("query", {"query": f"{selector}[1d]", "time": f"{until / 1000:.3f}"})
    return sorted((sorted(each["metric"].items()), each["values"]) for each in data["result"])


def test_the_same_samples_are_taken(both: tuple[Client, Client], folder: Path) -> None:
    chance = random.Random(4)
    newest = (int(time.time()) - 3600) * 1000
    seen: set[str] = set()
    for window in WINDOWS:
        set_window(both, folder, window)
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


MINUTE = 60_000
CONFLICTS: dict[str, list[list[tuple[int, float]]]] = {
    "another value in one request": [[(0, 1), (0, 2)]],
    "the same twice in one request": [[(0, 1), (0, 1)]],
    "out of order in one request": [[(1000, 1), (0, 2), (2000, 3)]],
    "far out of order in one request": [[(0, 1), (-40 * MINUTE, 2)]],
    "another value in two requests": [[(0, 1)], [(0, 2)]],
    "the same in two requests": [[(0, 1)], [(0, 1)]],
    "out of order in two requests": [[(0, 1)], [(-1000, 2)]],
    "far out of order in two requests": [[(0, 1)], [(-40 * MINUTE, 2)]],
    "another value twice": [[(0, 1)], [(2000, 1), (2000, 2)]],
    "another value for a late one": [[(5000, 1)], [(0, 1)], [(0, 2)]],
    "another value for a late one in one request": [[(5000, 1)], [(0, 1), (0, 2)]],
    "the newest again behind a newer one": [[(0, 1)], [(2000, 1), (1000, 2), (0, 1), (4000, 1)]],
}
"""Requests, with the samples of one series."""
PARTLY: dict[str, list[list[tuple[int, float]]]] = {
    "another value and a good one": [[(0, 1)], [(0, 2), (1000, 5)]],
    "out of order for earlier ones and for itself": [[(4000, 1)], [(3000, 2), (6000, 1), (5000, 1)]],
}
"""Prometheus keeps nothing of such a request where it refuses it; we keep what is good."""


@pytest.mark.parametrize("window", ["0s", "30m"])
def test_conflicts_in_a_request_and_with_earlier_ones(both: tuple[Client, Client], folder: Path, window: str) -> None:
    set_window(both, folder, window)
    now = (int(time.time()) - 600) * 1000
    for number, (what, requests) in enumerate([*CONFLICTS.items(), *PARTLY.items()]):
        name = f"conflict_{window}_{number}"
        for request in requests:
            for rows in (1, len(request)):  # in one series of the request, and in several
                parts = [request] if rows == 1 else [[sample] for sample in request]
                sent = [({"__name__": name, "rows": str(rows > 1)}, [(now + ts, value) for ts, value in part])
                        for part in parts]
                theirs, ours = (client.write(sent) for client in both)
                assert ours.status == theirs.status, (window, what, request, theirs, ours)
                if theirs.status != 204:
                    assert reason(theirs.body.decode()) in ours.body.decode(), (window, what, request)
        mine, others = (stored(client, now + 10_000, name) for client in reversed(both))
        if what in CONFLICTS:
            assert mine == others, (window, what)
        else:
            good = [dict(samples) for _, samples in mine]
            assert all(max(ts for ts, _ in requests[-1]) + now == round(max(each) * 1000) for each in good), what
