"""Random expressions, asked of a real Prometheus and of our engine over the same samples: same labels, values, order of
topk, warnings, and whether it is an error."""

from __future__ import annotations

import functools
import math
import re
import struct
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from tests.client import Client
from tests.conftest import Start
from tests.processes import free_port
from tests.promql.vector.expressions import STEPS, Expressions, random_series
from tsdb.model.errors import QueryError
from tsdb.promql import Engine, EngineOptions, QueryResult
from tsdb.testing.memory_storage import Labels, MemoryStorage

QUERIES = 250
STEP_MS = 60_000
BESIDES = re.compile(r' for metric name "[^"]*"| \(\d+:\d+\)$')
"""Prometheus 3.5 names the metric of a bad bucket, later ones only where names are dropped late. Of a text that is said
at several places, one place is told."""

Rows = list[tuple[Labels, dict[int, float]]]


def theirs(data: dict[str, Any]) -> Rows:
    rows = []
    for row in data["result"]:
        cells = {round(at * 1000): float(value) for at, value in row.get("values") or [row["value"]]}
        rows.append((tuple(sorted(row["metric"].items())), cells))
    return rows


def ours(result: QueryResult) -> Rows:
    assert result.series is not None
    rows = []
    for row in range(len(result.series)):
        cells = zip(result.times.tolist(), result.values[row].tolist(), result.present[row].tolist(), strict=True)
        labels = tuple(sorted(result.series.labels(row).items()))
        rows.append((labels, {at: value for at, value, here in cells if here}))
    return rows


def same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b)) or abs(a - b) <= 1e-9 * max(abs(a), abs(b))


def difference(mine: Rows, reference: Rows) -> str:
    left, right = dict(mine), dict(reference)
    if left.keys() != right.keys():
        return f"labels {sorted(left.keys() ^ right.keys())}"
    for labels in left:
        a, b = left[labels], right[labels]
        if a.keys() != b.keys() or not all(same(a[at], b[at]) for at in a):
            return f"{labels}: ours {a}, Prometheus {b}"
    return ""


@pytest.mark.peer
@pytest.mark.parametrize("seed", range(4))
def test_random_expressions(seed: int, peer: Callable[[str], Path], start: Start, tmp_path: Path) -> None:
    random = Random(seed)
    (tmp_path / "prometheus.yml").write_text("global: {}\n")
    port = free_port()
    client = start([
        peer("prometheus"), f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver", "--log.level=error",
    ], port).wait_ready().client
    begin = (int(time.time()) - 3600) // 60 * 60_000
    memory = load(client, random, begin)
    expressions = Expressions(random)
    with Engine(memory, EngineOptions(threads=1)) as engine:
        for _ in range(QUERIES):
            text = expressions.vector(random.randint(1, 3))
            end = begin + (STEPS - 1) * STEP_MS
            answer = client.get("/api/v1/query_range", {"query": text, "start": begin / 1000, "end": end / 1000,
                                                        "step": STEP_MS / 1000}).json()
            check(answer, functools.partial(engine.query_range, text, begin, end, STEP_MS), text)
            at = begin + random.randrange(STEPS) * STEP_MS
            answer = client.get("/api/v1/query", {"query": text, "time": at / 1000}).json()
            result = check(answer, functools.partial(engine.query, text, at), text)
            if result is not None and text.startswith(("topk", "bottomk")):
                assert [labels for labels, _ in ours(result)] == [labels for labels, _ in theirs(answer["data"])], text


def load(client: Client, random: Random, begin: int) -> MemoryStorage:
    memory, series = MemoryStorage(rows_per_tile=3), []
    for labels, samples in random_series(random).items():
        times = [begin + step * STEP_MS for step in samples]
        series.append((dict(labels), list(zip(times, samples.values(), strict=True))))
        bits = [struct.unpack("<Q", struct.pack("<d", value))[0] for value in samples.values()]
        memory.add(dict(labels), times, np.array(bits, np.uint64))
    assert client.write(series).status == 204
    return memory


def check(answer: dict[str, Any], evaluate: Callable[[], QueryResult], text: str) -> QueryResult | None:
    try:
        result = evaluate()
    except QueryError as problem:
        # Prometheus 3.5 looks for repetition after a comparison has filtered, later ones before.
        assert answer["status"] == "error" or "multiple matches for labels" in str(problem), f"{text}: {problem}"
        return None
    assert answer["status"] == "success", f"{text}: only Prometheus: {answer.get('error')}"
    found = difference(ours(result), theirs(answer["data"]))
    assert not found, f"{text}: {found}"
    reference = {BESIDES.sub("", warning) for warning in answer.get("warnings", [])}
    assert {BESIDES.sub("", warning) for warning in result.warnings} == reference or len(reference) >= 10, text
    assert bool(result.infos) == bool(answer.get("infos")), text
    return result
