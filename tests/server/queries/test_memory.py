"""Queries stay within their byte budget, or are refused before they leave it: of each, the most that Python and numpy
hold at once is measured."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest

from tests.storage.batches import bits, make_batch
from tsdb.model.context import Limits, RequestContext
from tsdb.model.errors import LimitExceeded
from tsdb.promql import Engine, EngineOptions
from tsdb.server.api.json_result import encode_result, encode_series
from tsdb.storage import Storage, StorageOptions

SERIES = 2000
END = 1_700_000_000_000
BEGIN = END - 600_000
STEPS = 500
SMALL, LARGE = 6 << 20, 1 << 30
FACTOR, FIXED = 1.2, 2 << 20
"""What may be held besides: a part of the budget, and bytes."""


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """`m_bucket` of 2000 series in 200 jobs, each with `le`, every 30 s for 10 min."""
    storage = Storage.open(tmp_path_factory.mktemp("memory") / "data", StorageOptions(wal_sync="os"))
    times = range(END - 600_000, END, 30_000)
    series = [{"__name__": "m_bucket", "job": f"j{i // 10}", "instance": f"host-{i}", "le": str(i % 10)}
              for i in range(SERIES)]
    samples = [(row, at, bits(float(at % 777 + row))) for at in times for row in range(SERIES)]
    storage.submit(make_batch(storage.secret, series, samples)).result()
    yield storage
    storage.close()


@pytest.fixture(scope="module")
def engine(storage: Storage) -> Iterator[Engine]:
    with Engine(storage, EngineOptions(threads=2)) as made:
        yield made


HEAVY = [
    "m_bucket",
    "-m_bucket > 5",
    "rate(m_bucket[2m])",
    "sum(m_bucket)",
    "sum by (instance) (m_bucket)",
    "stddev by (instance, job) (rate(m_bucket[2m]))",
    "avg without (le) (m_bucket)",
    "topk(2000, m_bucket)",
    "bottomk by (job) (9, m_bucket)",
    "quantile(0.5, m_bucket)",
    "quantile by (instance) (0.5, m_bucket)",
    'count_values("v", m_bucket)',
    "m_bucket + m_bucket",
    "m_bucket / on (job) group_left () sum by (job) (m_bucket)",
    "m_bucket and m_bucket",
    "m_bucket unless on (instance) m_bucket",
    "m_bucket or -m_bucket",
    "histogram_quantile(0.9, m_bucket)",
    "histogram_fraction(0, 5, rate(m_bucket[2m]))",
    'label_replace(m_bucket, "job", "x", "", "")',
    "sort(m_bucket)",
    "max_over_time(m_bucket[10m:1s])",
    "sum(max_over_time(rate(m_bucket[1m])[10m:2s]))",
    "absent(m_bucket)",
    "scalar(m_bucket) + m_bucket",
    "m_bucket @ end()",
    'm_bucket{le="1"} + on (instance) fill (0) m_bucket{le!="1"}',
    "limit_ratio(0.9, m_bucket)",
    'm_bucket{le="1"} + m_bucket{le="1"} * m_bucket{le="1"}',
]

INSTANT = ["m_bucket[10m]", "m_bucket[10m:1s]", "sort_desc(m_bucket)", "m_bucket", "topk(2000, m_bucket)"]


def measured(engine: Engine, expr: str, budget: int, instant: bool) -> tuple[int, int, bool]:
    """(the most bytes held at once, the most that were accounted for, whether there was an answer)."""
    context = RequestContext(threads=2, limits=Limits(max_bytes=budget))
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    answered = True
    try:
        if instant:
            result = engine.query(expr, END, context)
        else:
            result = engine.query_range(expr, BEGIN, BEGIN + (STEPS - 1) * 1000, 1000, context)
        parts, _ = encode_result(result, 0, context.reserve)
        for _ in parts:
            pass
    except LimitExceeded:
        answered = False
    return tracemalloc.get_traced_memory()[1] - before, context.statistics.peak_bytes, answered


@pytest.mark.parametrize("budget", [SMALL, pytest.param(LARGE, marks=pytest.mark.slow)])
def test_memory_stays_within_the_budget(engine: Engine, budget: int) -> None:
    queries = [(expr, False) for expr in HEAVY] + [(expr, True) for expr in INSTANT]
    measured(engine, "rate(m_bucket[2m])", LARGE, True)  # what is made once
    tracemalloc.start()
    try:
        found = {(expr, instant): measured(engine, expr, budget, instant) for expr, instant in queries}
    finally:
        tracemalloc.stop()
    too_much = {key: peak for key, (peak, reserved, _) in found.items() if peak > reserved * FACTOR + FIXED}
    assert not too_much
    answered = {key for key, (_, _, answered) in found.items() if answered}
    assert ("sum(m_bucket)", False) in answered
    assert (("m_bucket", False) in answered) == (budget == LARGE)


def test_memory_of_lookups(storage: Storage) -> None:
    def find(budget: int) -> RequestContext:
        context = RequestContext(limits=Limits(max_bytes=budget))
        parts, _ = encode_series(storage.series([], BEGIN, END, context), 0, context.reserve)
        for _ in parts:
            pass
        return context

    find(LARGE)
    tracemalloc.start()
    try:
        reserved = find(LARGE).statistics.peak_bytes
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < reserved * FACTOR + FIXED
    with pytest.raises(LimitExceeded):
        find(reserved // 2)
