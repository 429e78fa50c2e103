"""A query sees a prefix of the commits: never half of a request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from tests.client import Client
from tests.conftest import StartTsdb

INSTANCES = 40
BUCKETS = ("0.1", "1", "+Inf")

EMPTY = [
    '(h_bucket{le="+Inf"} - ignoring (le) h_count) != 0',
    'h_bucket{le="+Inf"} unless ignoring (le) h_count',
    'h_count unless ignoring (le) h_bucket{le="+Inf"}',
    'sum(h_bucket{le="+Inf"}) - sum(h_count) != 0',
]
"""Without an answer as long as every answer has a request whole or not at all."""


def write(client: Client, done: threading.Event, writer: str, problems: list[str]) -> None:
    """Histograms whose buckets and counts move together, and in each request a new one."""
    k = 0
    while not done.is_set():
        k += 1
        now = round(time.time() * 1000)
        series = []
        for instance in [*range(INSTANCES), 1000 + k]:
            labels = {"job": writer, "instance": str(instance)}
            series += [({"__name__": "h_bucket", "le": le, **labels}, [(now, float(k * 10))]) for le in BUCKETS]
            series += [({"__name__": "h_count", **labels}, [(now, float(k * 10))])]
            series += [({"__name__": "h_sum", **labels}, [(now, k * 1.5)])]
        answer = client.write(series)
        if answer.status // 100 != 2:
            problems.append(f"write: {answer.status} {answer.body[:200]!r}")
        time.sleep(0.002)


def read(client: Client, done: threading.Event, counted: list[int], problems: list[str]) -> None:
    asked = 0
    while not done.is_set():
        now = time.time()
        answers: list[Callable[[str], object]] = [
            lambda expr, at=now: client.query(expr, at),  # type: ignore[misc]
            lambda expr, at=now: client.query_range(expr, at - 2, at, 0.1),  # type: ignore[misc]
        ]
        for expr in EMPTY:
            for answer in answers:
                asked += 1
                if wrong := answer(expr):
                    problems.append(f"{expr}: {str(wrong)[:300]}")
    counted.append(asked)


@pytest.mark.parametrize("seconds", [4, pytest.param(60, marks=pytest.mark.slow)])
def test_every_answer_has_a_request_whole_or_not_at_all(seconds: float, start_tsdb: StartTsdb) -> None:
    server = start_tsdb()
    done = threading.Event()
    problems: list[str] = []
    counted: list[int] = []
    threads = [
        *(threading.Thread(target=write, args=(server.client, done, f"w{i}", problems)) for i in range(2)),
        *(threading.Thread(target=read, args=(server.client, done, counted, problems)) for _ in range(2)),
    ]
    for thread in threads:
        thread.start()
    done.wait(seconds)
    done.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not problems, f"{len(problems)} wrong, such as {problems[:3]}"
    assert len(counted) == 2 and sum(counted) > 0
    assert server.client.query("count(h_count)", time.time())
