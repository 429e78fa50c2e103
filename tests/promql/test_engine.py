"""The engine over storage in memory: what the steps see, what results look like, limits, errors."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from tsdb.model.context import Limits, RequestContext
from tsdb.model.errors import (
    BadData,
    ExecutionError,
    LimitExceeded,
    ParseError,
    QueryCanceled,
    QueryError,
    QueryTimeout,
)
from tsdb.model.tiles import Selection
from tsdb.promql import Engine, EngineOptions, QueryResult
from tsdb.promql.ast import ValueType
from tsdb.testing.memory_storage import MemoryCapture, MemoryStorage

MINUTE = 60_000


def storage_of(**series: tuple[Sequence[float], Sequence[float]]) -> MemoryStorage:
    """Metrics by name: times in seconds, values."""
    storage = MemoryStorage()
    for name, (times, values) in series.items():
        storage.add({"__name__": name}, [round(at * 1000) for at in times], values)
    return storage


@pytest.fixture
def storage() -> MemoryStorage:
    """`x_total` of 7 series in 2 jobs, every 15 s for an hour; series i grows by i a minute."""
    made = MemoryStorage()
    times = np.arange(0, 3600_000, 15_000)
    for i in range(7):
        labels = {"__name__": "x_total", "job": "ab"[i % 2], "instance": f"host-{i}"}
        made.add(labels, times, times / MINUTE * i)
    return made


@pytest.fixture
def engine(storage: MemoryStorage) -> Iterator[Engine]:
    with Engine(storage) as made:
        yield made


def cells(result: QueryResult) -> list[list[float | None]]:
    return [[float(v) if p else None for v, p in zip(values, present, strict=True)]
            for values, present in zip(result.values, result.present, strict=True)]


def single(result: QueryResult) -> list[float | None]:
    (row,) = cells(result) or [[]]
    return row


@pytest.mark.parametrize(("expr", "at", "expected"), [
    ("x", 10, [1]),
    ("x", 9.999, []),
    ("x", 309.999, [1]),
    ("x", 310, []),  # the lookback is open on the left
    ("x offset 1m", 70, [1]),
    ("x offset -1m", -50, [1]),
    ("x @ 10", 5000, [1]),
    ("x @ 10.5 offset 500ms", 5000, [1]),
    ("count_over_time(y[10s])", 20, [1]),  # so is a range
    ("count_over_time(y[10001ms])", 20, [2]),
    ("count_over_time(y[1m] offset 10s)", 20, [2]),
    ("count_over_time(y[1m])", 35, [3]),  # 0, 10, 20; the stale marker at 30 is no sample
    ("y", 35, []),  # but it ends the series
    ("y", 29, [3]),
    ("y", 40, [5]),
    ("sum_over_time(y[1m:10s])", 20, [1 + 2 + 3]),
    ("sum_over_time(y[20s:10s])", 20, [2 + 3]),
    ("sum_over_time(y[20s:10s])", 25, [2 + 3]),  # steps are multiples of 10 s since the epoch
    ("sum_over_time(y[20s:10s] @ 20)", 5000, [2 + 3]),
    ("sum_over_time(y[20s:10s] offset 1s)", 21, [2 + 3]),
    ("count_over_time(y[5s:10s])", 29, []),  # no step in the range
    ("timestamp(y)", 29, [20]),
    ("timestamp(y offset 5s)", 29, [20]),
    ("timestamp(y @ 29)", 5000, [20]),
    ("timestamp(y + 0)", 29, [29]),
    ("predict_linear(y[25s] @ 20, 10)", 30, [5]),  # seconds ahead of the evaluation time, not of @
    ("1 + 2 * 3", 0, [7]),
    ("start() + end() + step() + range()", 7, [14]),
])
def test_instant_queries(expr: str, at: float, expected: list[float]) -> None:
    storage = storage_of(x=([10], [1]), y=([0, 10, 20, 40], [1, 2, 3, 5]))
    storage.add_stale({"__name__": "y"}, 30_000)
    with Engine(storage) as engine:
        result = engine.query(expr, round(at * 1000))
    assert result.type in (ValueType.VECTOR, ValueType.SCALAR)
    assert single(result) == pytest.approx(expected)
    assert result.times.tolist() == [round(at * 1000)]


@pytest.mark.parametrize(("expr", "expected"), [
    ("y", [1, 2, 3]),
    ("y @ 10", [2, 2, 2]),
    ("y @ start()", [1, 1, 1]),
    ("y @ end()", [3, 3, 3]),
    ("y offset 10s", [None, 1, 2]),
    ("timestamp(y)", [0, 10, 20]),
    ("timestamp(y @ 10)", [10, 10, 10]),
    ("last_over_time(y[10s])", [1, 2, 3]),
    ("sum_over_time(y[20s:10s] @ end())", [5, 5, 5]),
    ("max_over_time((y @ 10)[20s:10s])", [2, 2, 2]),
    ("start() + end() + step() + range()", [50, 50, 50]),
    ("3", [3, 3, 3]),
    ("absent_over_time(y[5s])", [None, None, None]),
    ('absent_over_time(z{a="1", b=~"2"}[5s])', [1, 1, 1]),
])
def test_range_queries(expr: str, expected: list[float | None]) -> None:
    with Engine(storage_of(y=([0, 10, 20], [1, 2, 3]))) as engine:
        result = engine.query_range(expr, 0, 20_000, 10_000)
    assert result.type == ValueType.MATRIX
    assert result.times.tolist() == [0, 10_000, 20_000]
    assert single(result) == [value for value in expected if any(v is not None for v in expected)]


def test_the_lookback_of_a_query(storage: MemoryStorage) -> None:
    with Engine(storage_of(x=([0], [1])), EngineOptions(lookback_delta_ms=10_000)) as engine:
        assert single(engine.query("x", 9_999)) == [1]
        assert single(engine.query("x", 10_000)) == []
        assert single(engine.query("x", 10_000, lookback_delta_ms=10_001)) == [1]


def test_rows_of_a_matrix_are_sorted_and_have_cells(engine: Engine) -> None:
    result = engine.query_range('sum by (instance, job) (x_total) > 2', 0, 2 * MINUTE, MINUTE)
    assert result.series is not None
    labels = [result.series.labels(row) for row in range(len(result.series))]
    assert labels == [{"instance": f"host-{i}", "job": "ab"[i % 2]} for i in range(2, 7)]
    assert cells(result) == [[None, i if i > 2 else None, 2 * i] for i in range(2, 7)]


def test_raw_samples(engine: Engine) -> None:
    result = engine.query('x_total{instance=~"host-(2|1)"}[30s]', MINUTE)
    assert result.type == ValueType.MATRIX and result.samples is not None and result.series is not None
    assert [result.series.labels(row)["instance"] for row in range(2)] == ["host-1", "host-2"]
    assert [(ts.tolist(), values.tolist()) for ts, values in result.samples] == [
        ([45_000, 60_000], [0.75, 1.0]), ([45_000, 60_000], [1.5, 2.0])]
    subquery = engine.query('x_total{instance="host-1"}[1m:20s]', MINUTE)
    assert subquery.samples is not None
    assert [ts.tolist() for ts, _ in subquery.samples] == [[20_000, 40_000, 60_000]]


def test_strings_and_scalars(engine: Engine) -> None:
    text = engine.query('"a"', 1000)
    assert (text.type, text.text, text.series) == (ValueType.STRING, "a", None)
    scalar = engine.query("-7", 1000)
    assert (scalar.type, scalar.scalar) == (ValueType.SCALAR, -7.0)


QUERIES = ["x_total", "rate(x_total[5m])", "sum by (job) (rate(x_total[5m]))", "topk(2, x_total)", "x_total / 2 > 1",
           "max_over_time(rate(x_total[1m])[5m:30s])", "x_total - on (instance) x_total offset 1m",
           "sort_desc(x_total)", "histogram_quantile(0.5, x_total)", "quantile_over_time(0.3, x_total[7m])"]


@pytest.mark.parametrize("expr", QUERIES)
def test_results_do_not_depend_on_threads_and_tiles(storage: MemoryStorage, expr: str) -> None:
    found = []
    for threads, rows_per_tile in ((1, 100), (2, 1), (4, 2)):
        storage.rows_per_tile = rows_per_tile
        with Engine(storage, EngineOptions(threads=threads)) as engine:
            context = RequestContext(threads=threads)
            result = engine.query_range(expr, 20 * MINUTE, 30 * MINUTE, 30_000, context)
        assert result.series is not None
        labels = [result.series.labels(row) for row in range(len(result.series))]
        found.append((labels, cells(result)))
    assert repr(found[0]) == repr(found[1]) == repr(found[2])


def test_a_query_makes_one_capture_of_its_distinct_selections(storage: MemoryStorage) -> None:
    asked: list[Sequence[Selection]] = []

    class Watched(MemoryStorage):
        def capture(self, selections: Sequence[Selection], context: RequestContext) -> MemoryCapture:
            asked.append(selections)
            return super().capture(selections, context)

    with Engine(Watched(columns=storage.columns)) as engine:
        engine.query("rate(x_total[5m]) / rate(x_total[5m]) + rate(x_total[5m] offset 1m) > bool x_total", 10 * MINUTE)
    assert [[(s.mint, s.maxt) for s in selections] for selections in asked] == [
        [(5 * MINUTE + 1, 10 * MINUTE), (4 * MINUTE + 1, 9 * MINUTE)]]


def test_captures_are_closed_whatever_happens(storage: MemoryStorage, engine: Engine) -> None:
    engine.query("x_total", MINUTE)
    with pytest.raises(ExecutionError):
        engine.query('{__name__="x_total"} + ignoring (instance) x_total', MINUTE)
    assert [capture.closed for capture in storage.captures] == [True, True]


@pytest.mark.parametrize(("expr", "error", "message"), [
    ("sum(", ParseError, "parse error"),
    ("x_total + on (job) x_total", ExecutionError, "duplicate series"),
    ('rate({__name__=~"a|b"}[5m])', ExecutionError, "vector cannot contain metrics with the same labelset"),
    ('-{__name__=~"a|b"}', ExecutionError, "vector cannot contain metrics with the same labelset"),
    ("resets(x_total[5m] smoothed)", ExecutionError, "smoothed modifier can only be used with: delta, increase, rate"),
    ("rate(x_total[1m - 1m])", QueryError, "duration must be greater than 0"),
    ("double_exponential_smoothing(x_total[1m], 2, 0.1)", ExecutionError, "invalid smoothing factor"),
])
def test_errors(storage: MemoryStorage, engine: Engine, expr: str, error: type[QueryError], message: str) -> None:
    for name in "ab":
        storage.add({"__name__": name}, [0, 15_000, 30_000], [1, 2, 3])
    with pytest.raises(error, match=message):
        engine.query(expr, MINUTE)
    with pytest.raises(error, match=message):
        engine.query_range(expr, MINUTE, 2 * MINUTE, MINUTE)


def test_equal_labels_are_no_error_where_only_one_has_samples() -> None:
    storage = storage_of(a=([0, 15], [1, 2]), b=([1000, 1015], [1, 2]))
    with Engine(storage) as engine:
        assert single(engine.query('delta({__name__=~"a|b"}[15001ms])', 1015_000)) == pytest.approx([1.0], rel=1e-3)
        merged = engine.query_range('-{__name__=~"a|b"}', 10_000, 1010_000, 500_000)
        assert single(merged) == [-1, None, -1]
        with pytest.raises(ExecutionError, match="same labelset"):
            engine.query_range('rate({__name__=~"a|b"}[1m])', 20_000, 1020_000, 500_000)


@pytest.mark.parametrize(("start", "end", "step", "expr", "message"), [
    (0, 10, 0, "x", "zero or negative"),
    (10, 0, 1, "x", "end timestamp"),
    (0, 10, 1, "x[1m]", 'invalid expression type "range vector" for range query'),
    (0, 10, 1, '"x"', 'invalid expression type "string" for range query'),
])
def test_range_queries_that_make_no_sense(engine: Engine, start: int, end: int, step: int, expr: str,
                                          message: str) -> None:
    with pytest.raises(BadData, match=message):
        engine.query_range(expr, start, end, step)


def test_infos_say_where(engine: Engine, storage: MemoryStorage) -> None:
    storage.add({"__name__": "gauge"}, [0, 15_000, 30_000], [1, 2, 3])
    assert engine.query("sum(\n  rate(gauge[1m])) + sum(rate(x_total[1m]))", MINUTE).infos == [
        'PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "gauge" (2:8)']
    assert engine.query("rate(gauge[1m])", 60 * MINUTE).infos == []
    assert engine.query("quantile_over_time(2, gauge[1m])", MINUTE).warnings == [
        "PromQL warning: quantile value should be between 0 and 1, got 2 (1:20)"]


def test_limits(engine: Engine) -> None:
    samples = RequestContext(limits=Limits(max_samples=20))
    assert len(engine.query_range("x_total", 0, MINUTE, MINUTE, samples).values) == 7
    with pytest.raises(LimitExceeded, match="too many samples"):
        engine.query_range("x_total", 0, 3 * MINUTE, MINUTE, RequestContext(limits=Limits(max_samples=20)))
    with pytest.raises(LimitExceeded, match="memory"):
        engine.query_range("x_total", 0, 59 * MINUTE, 1000, RequestContext(limits=Limits(max_bytes=100_000)))


def test_a_subquery_of_too_many_steps(engine: Engine) -> None:
    for expr in ("x_total", "vector(time())"):
        with pytest.raises(LimitExceeded, match="too many samples"):
            engine.query(f"sum_over_time({expr}[100y:1ms])", 10 * MINUTE)


def test_statistics(engine: Engine) -> None:
    context = RequestContext()
    engine.query("rate(x_total[1m])", 10 * MINUTE, context)
    assert (context.statistics.series_selected, context.statistics.samples_read) == (7, 28)
    assert context.statistics.tiles_read == 3


def test_timeouts_and_cancellation(engine: Engine) -> None:
    late = RequestContext(deadline=time.monotonic() - 1, timeout_s=3)
    with pytest.raises(QueryTimeout, match="3s"):
        engine.query("x_total", MINUTE, late)
    cancelled = RequestContext()
    cancelled.cancelled.set()
    with pytest.raises(QueryCanceled):
        engine.query("x_total", MINUTE, cancelled)


def test_cancelled_between_tiles(storage: MemoryStorage) -> None:
    context = RequestContext(threads=2)
    symbols_read = 0

    class Watched(MemoryStorage):
        def capture(self, selections: Sequence[Selection], context: RequestContext) -> MemoryCapture:
            capture = super().capture(selections, context)
            for selected in capture.selected:
                read = selected.tile

                def tile(index: int, read: object = read) -> object:
                    nonlocal symbols_read
                    symbols_read += 1
                    context.cancelled.set()
                    return read(index)  # type: ignore[operator]

                selected.tile = tile  # type: ignore[method-assign, assignment]
            return capture

    with Engine(Watched(rows_per_tile=1, columns=storage.columns)) as engine, pytest.raises(QueryCanceled):
        engine.query("sum(rate(x_total[5m]))", 10 * MINUTE, context)
    assert 1 <= symbols_read <= 3


def test_no_tile_is_decoded_after_the_capture_is_closed(storage: MemoryStorage) -> None:
    decoding, late = threading.Event(), []

    class Slow(MemoryStorage):
        def capture(self, selections: Sequence[Selection], context: RequestContext) -> MemoryCapture:
            capture = super().capture(selections, context)

            def tile(index: int) -> object:
                if index == 0:
                    assert decoding.wait(10)
                    raise ExecutionError("broken")
                decoding.set()
                time.sleep(0.05)
                late.append(capture.closed)
                return None

            capture.selected[0].tile = tile  # type: ignore[method-assign, assignment]
            return capture

    slow = Slow(rows_per_tile=1, columns=storage.columns)
    with Engine(slow) as engine, pytest.raises(ExecutionError, match="broken"):
        engine.query("x_total", MINUTE, RequestContext(threads=2))
    assert late and not any(late)


def test_delayed_name_removal() -> None:
    storage = storage_of(a_total=([0, 60], [0, 60]))
    expr = 'label_replace(rate(a_total[2m]), "__name__", "${1}_rate", "__name__", "(.*)_total")'
    with Engine(storage, EngineOptions(delayed_name_removal=True)) as engine:
        series = engine.query(expr, MINUTE).series
        assert series is not None and series.labels(0) == {"__name__": "a_rate"}
        series = engine.query("rate(a_total[2m])", MINUTE).series
        assert series is not None and series.labels(0) == {}


def test_nan_is_a_value() -> None:
    with Engine(storage_of(x=([0], [math.nan]))) as engine:
        (value,) = single(engine.query("x", 0))
    assert value is not None and math.isnan(value)


def test_what_the_storage_warns_of_comes_first(storage: MemoryStorage) -> None:
    class Damaged(MemoryStorage):
        def capture(self, selections: Sequence[Selection], context: RequestContext) -> MemoryCapture:
            capture = super().capture(selections, context)
            capture.warnings = ["samples may be missing"]
            return capture

    with Engine(Damaged(columns=storage.columns)) as engine:
        found = engine.query("quantile_over_time(2, x_total[1m])", MINUTE).warnings
        assert found[0] == "samples may be missing"
        assert len(found) == 2
