"""Operators on native histograms: ours and the real Prometheus' answer over the same samples, annotations too."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client import Client
from tests.ingest.messages import V1, histogram_message
from tests.ingest.sender import compress
from tests.server.beside_prometheus import both_servers
from tests.server.test_native_histograms_against_prometheus import HEADERS, STALE, STEP, made, ordered
from tsdb.model.native_histograms import CUSTOM_SCHEMA, NativeHistogram, ResetHint

pytestmark = [pytest.mark.peer, pytest.mark.slow]

STEPS = 30
QUERIES = [
    "a + b", "a - b", "b - a", "a + on () group_left () c", "a * 2", "-a", "a * -0.5", "a / 3", "2 * a", "a / 0",
    "a * 0", "a == a", "a == b", "a != b", "a == bool a", "a != bool b", "a == 1", "a > 1", "a < bool b", "1 == a",
    "a + 1", "1 - a", "1 / a", "a ^ 2", "a % 2", "a atan2 b", "a * b", "a / b", "a * on (n) f", "f * on (n) a",
    "f / on (n) a",
    "a / on (n) f", "f + on (n) a", "a > on (n) f", "a and b", "a unless on (n) f", "f or a", "a or f", "a + (b * 0)",
    "a * on () group_left () (f{n='2'} * 0.25)", "a + a + a - a", "--a", "(a - b) + (b - a)", "histogram_count(a + b)",
]


@pytest.fixture(scope="module")
def both(peer: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Client]]:
    folder = tmp_path_factory.mktemp("operators")
    (folder / "prometheus.yml").write_text("global: {scrape_interval: 1h}\n")
    flags = ["--web.enable-remote-write-receiver", "--enable-feature=native-histograms"]
    with both_servers(peer("prometheus"), folder, flags) as clients:
        yield clients


def sent(name: str, chance: random.Random) -> list[list[NativeHistogram | float | None]]:
    """Samples of five series: counters, gauges, custom buckets with the same bounds everywhere, mixtures, few."""
    total = 0
    rows: list[list[NativeHistogram | float | None]] = [[], [], [], [], []]
    for at in range(STEPS):
        total = 3 if chance.random() < 0.15 else total + chance.randrange(5)
        rows[0].append(NativeHistogram(1 if at % 9 else 0, total / 2, 2 * total, 0.001, 0, ((-2, 2),), ((1, 1),),
                                       (total, total - total // 2), (total // 2,)))
        rows[1].append(made(chance, at % 2 == 0, False))
        custom = made(chance, False, True)
        counts = tuple(chance.randrange(9) for _ in range(5))
        rows[2].append(NativeHistogram(CUSTOM_SCHEMA, custom.sum, sum(counts), positive_spans=((0, 5),),
                                       positive=counts, custom_values=(-1.0, 0.0, 2.5, 7.0)))
        rows[3].append(chance.choice((1.5, None, made(chance, False, False), rows[2][-1], math.nan)))
        rows[4].append(made(chance, True, False) if chance.random() < 0.3 else None)
    return rows


def test_operators(both: tuple[Client, Client]) -> None:
    chance = random.Random(3)
    start = int(time.time()) * 1000 // STEP * STEP - 40 * STEP
    rows: dict[tuple[str, int], list[NativeHistogram | float | None]] = {
        (name, n): row for name in "ab" for n, row in enumerate(sent(name, chance))}
    gauge = NativeHistogram(0, 1.0, 6, 0.3, 1, ((0, 2),), ((0, 1),), (1, 2), (2,), hint=ResetHint.GAUGE)
    rows["c", 0] = [gauge] * STEPS
    for n in range(5):
        rows["f", n] = [chance.choice((1.0, -2.5, 0.0, math.inf, math.nan)) for _ in range(STEPS)]
    for step in range(STEPS):
        request = V1["WriteRequest"]()
        for (name, n), samples in rows.items():
            series = request.timeseries.add()
            series.labels.add(name="__name__", value=name)
            series.labels.add(name="n", value=str(n))
            one = samples[step]
            if isinstance(one, float):
                series.samples.add(value=one, timestamp=start + step * STEP)
            else:
                series.histograms.append(histogram_message(one or STALE, start + step * STEP))
        for client in both:
            answer = client.request("POST", "/api/v1/write", compress(request.SerializeToString()), HEADERS)
            assert answer.status == 204, answer.body
    problems = []
    for expr in QUERIES:
        theirs, ours = (client.get("/api/v1/query_range", {
            "query": expr, "start": f"{start / 1000}", "end": f"{start / 1000 + STEPS * STEP // 1000}", "step": "15",
        }).json() for client in both)
        assert "data" in ours and "data" in theirs, (expr, ours, theirs)
        if not same(ours, theirs):
            problems.append((expr, ours, theirs))
    assert not problems, problems[0]


def same(ours: Any, theirs: Any) -> bool:
    """Results, warnings and infos; numbers that were added up in another order differ in the last places."""
    said = [{key: sorted(answer.get(key, [])) for key in ("status", "warnings", "infos")} for answer in (ours, theirs)]
    return said[0] == said[1] and close(*(ordered(answer["data"]["result"]) for answer in (ours, theirs)))


def close(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(close(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(close, a, b))
    if isinstance(a, str) and isinstance(b, str) and a != b:
        return math.isclose(float(a), float(b), rel_tol=1e-9, abs_tol=1e-9)
    return bool(a == b)
