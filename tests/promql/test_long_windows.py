"""Functions that look at all samples of long windows at every step are computed in parts, so that a deadline, or a
client that leaves, ends them soon."""

from __future__ import annotations

import numpy as np
import pytest

from tsdb.model.context import RequestContext
from tsdb.model.errors import QueryCanceled
from tsdb.promql import Engine
from tsdb.promql.functions import range_call
from tsdb.testing.memory_storage import MemoryStorage

EXPRESSIONS = [
    "stddev_over_time(x[2m])", "stdvar_over_time(x[5m] offset 30s)", "quantile_over_time(scalar(y) / 50, x[3m])",
    "mad_over_time(x[2m])", "deriv(x[2m])", "predict_linear(x[5m], time() - 100)", "predict_linear(x[5m] @ 300, 10)",
    "double_exponential_smoothing(x[3m], 0.3, 0.4)", "ts_of_max_over_time(x[4m])", "rate(x[1m])",
    "max_over_time(x[1m])",
]


@pytest.fixture
def engine() -> Engine:
    storage = MemoryStorage()
    times = np.arange(0, 600_000, 5000)
    for row in range(3):
        values = np.random.default_rng(row).normal(size=times.size)
        values[row::17] = float.fromhex("0x1.8p1") if row else np.nan
        storage.add({"__name__": "x", "row": str(row)}, times, values)
    storage.add({"__name__": "y"}, times, times / 10_000)
    return Engine(storage)


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_parts_make_the_whole(engine: Engine, expr: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with engine:
        whole = engine.query_range(expr, 60_000, 590_000, 7000)
        for visits in (1, 40, 3000):
            monkeypatch.setattr(range_call, "_VISITS_PER_CALL", visits)
            parts = engine.query_range(expr, 60_000, 590_000, 7000)
            assert np.array_equal(parts.present, whole.present)
            assert np.array_equal(parts.values[parts.present], whole.values[whole.present], equal_nan=True)


def test_cancelled_within_a_row(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(range_call, "_VISITS_PER_CALL", 100)
    context = RequestContext()
    calls = 0
    compute = range_call.RangeCall._evaluate

    def once(self: range_call.RangeCall, tile: object) -> object:
        nonlocal calls
        calls += 1
        context.cancelled.set()
        return compute(self, tile)  # type: ignore[arg-type]

    monkeypatch.setattr(range_call.RangeCall, "_evaluate", once)
    with engine, pytest.raises(QueryCanceled):
        engine.query_range('mad_over_time(x{row="1"}[5m])', 60_000, 590_000, 1000, context)
    assert calls == 1
