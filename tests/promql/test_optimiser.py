"""What the optimiser's rules save, and that answers do not change with them."""

from __future__ import annotations

import numpy as np
import pytest

from tsdb.model.context import RequestContext
from tsdb.promql import Engine, EngineOptions, QueryResult
from tsdb.promql.operators import shared
from tsdb.testing.memory_storage import MemoryStorage

RATE = "sum by (a) (rate(x_total[2m]))"
PINNED = "sum by (a) (rate(x_total[2m] @ 300))"


@pytest.fixture
def engine() -> Engine:
    storage = MemoryStorage()
    for number in range(8):
        times = np.arange(0, 600_000, 15_000)
        storage.add({"__name__": "x_total", "a": str(number % 2), "b": str(number)}, times, times / 1000.0 * number)
    return Engine(storage, EngineOptions(threads=1))


def ask(engine: Engine, expr: str) -> tuple[QueryResult, RequestContext]:
    context = RequestContext()
    return engine.query_range(expr, 120_000, 540_000, 60_000, context), context


@pytest.mark.parametrize(("expr", "times"), [
    (f"{RATE} / {RATE}", 1),
    (f"{RATE} / ({RATE} + ({RATE}))", 1),
    (f"abs({RATE}) + abs({RATE}) * {RATE}", 1),
    (f"topk(scalar(max({RATE})), {RATE})", 1),
    (f"max_over_time({RATE}[2m:1m]) / max_over_time({RATE}[2m:1m])", 1),
    (f"{RATE} / sum by (a) (rate(x_total[3m]))", 2),
    (f"{RATE} / sum by (a) (rate(x_total[2m] offset 1m))", 2),
    (f"{RATE} / max_over_time({RATE}[2m:1m])", 2),
    (f"{RATE} / sum without (b) (rate(x_total[2m]))", 1),
    ("x_total / x_total", 2),
    ("timestamp(x_total) - timestamp(x_total)", 1),
])
def test_equal_parts_are_computed_once(engine: Engine, expr: str, times: int) -> None:
    once = ask(engine, RATE)[1].statistics.tiles_read
    assert ask(engine, expr)[1].statistics.tiles_read == times * once


@pytest.mark.parametrize("expr", [
    f"{RATE} / {RATE}", "rate(x_total[2m]) / (rate(x_total[2m]) + rate(x_total[2m]))",
    "timestamp(x_total) - ignoring () count_over_time(x_total[1m]) / timestamp(x_total)",
    f"scalar(max({RATE})) - scalar(max({RATE})) + {PINNED} / {PINNED}",
    f"{RATE} or {RATE} unless {RATE}", "sum(rate(x_total[2m])) / count(rate(x_total[2m]))",
])
def test_answers_are_those_of_parts_computed_each_for_itself(engine: Engine, expr: str,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    together, context = ask(engine, expr)
    assert context.bytes_reserved <= 9 * together.values.size
    monkeypatch.setattr(shared, "MOST_KEPT_BYTES", 0)
    apart, _ = ask(engine, expr)
    assert together.series is not None and apart.series is not None
    assert [together.series.labels(row) for row in range(len(together.series))] == [
        apart.series.labels(row) for row in range(len(apart.series))]
    np.testing.assert_array_equal(together.present, apart.present)
    np.testing.assert_array_equal(together.values[together.present], apart.values[apart.present])


def test_a_warning_gives_the_place_of_the_last_equal_part(engine: Engine) -> None:
    result, _ = ask(engine, "quantile(2, x_total) + quantile(2, x_total)")
    assert result.warnings == ["PromQL warning: quantile value should be between 0 and 1, got 2 (1:33)"]


def test_what_is_pinned_is_evaluated_at_one_step(engine: Engine) -> None:
    result, context = ask(engine, "sum(x_total @ 300)")
    assert result.values.tolist() == [[8400.0] * 8]
    assert context.statistics.peak_samples <= 8
