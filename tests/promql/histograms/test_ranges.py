"""Range functions of native histograms, and of floats beside them, in windows that slide, beside a twin."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.native_histograms import histograms
from tests.promql.histograms.float_histogram import FloatHistogram, compacted, from_native
from tests.promql.histograms.range_functions import evaluate
from tests.promql.histograms.test_arithmetic import assert_close
from tsdb.model.context import Limits, RequestContext
from tsdb.model.errors import LimitExceeded, QueryCanceled
from tsdb.model.native_histograms import CUSTOM_SCHEMA, NativeHistogram, ResetHint, decode, is_boxed, offsets
from tsdb.promql import Engine, QueryResult
from tsdb.testing.memory_storage import MemoryStorage

STEP = 15_000
FUNCTIONS = ("rate", "increase", "delta", "irate", "idelta", "sum_over_time", "avg_over_time", "changes", "resets")
PLAIN = NativeHistogram(0, 18.4, 12, 0.001, 2, ((0, 2), (1, 2)), ((0, 2),), (1, 2, 1, 1), (3, 2))
Value = NativeHistogram | float | None


def grown(h: NativeHistogram, by: int) -> NativeHistogram:
    """With more observations in each bucket."""
    to_zero = 0 if h.schema == CUSTOM_SCHEMA else by
    return replace(h, positive=tuple(count + by for count in h.positive), sum=h.sum + by,
                   negative=tuple(count + by for count in h.negative), zero_count=h.zero_count + to_zero,
                   count=h.count + to_zero + by * (len(h.positive) + len(h.negative)))


@st.composite
def series(draw: st.DrawFn) -> list[Value]:
    """Of one or two kinds of histograms, which grow for a while, with floats and gaps in between."""
    kinds = draw(st.lists(histograms(), min_size=1, max_size=2))
    if kinds[0].schema != kinds[-1].schema:  # other zero buckets at another resolution: Prometheus counts some twice
        kinds = [replace(kind, zero_threshold=0.0) for kind in kinds]
    mixed = draw(st.booleans())
    made: list[Value] = []
    for at in range(draw(st.integers(1, 14))):
        what = draw(st.integers(0, 9))
        if what == 9 and mixed:
            made.append(draw(st.sampled_from([1.0, 2.5])))
        elif what == 8:
            made.append(None)
        else:
            one = draw(st.sampled_from(kinds))
            if what < 7:
                one = replace(one, hint=ResetHint.UNKNOWN if one.hint != ResetHint.GAUGE else ResetHint.GAUGE)
            made.append(grown(one, at if what < 6 else 0))
    return made


def stored(values: list[Value]) -> MemoryStorage:
    storage = MemoryStorage()
    labels = {"__name__": "h"}
    for at, value in enumerate(values, 1):
        if isinstance(value, NativeHistogram):
            storage.add_histogram(labels, at * STEP, value)
        elif value is not None:
            storage.add(labels, [at * STEP], [value])
        elif at % 3 == 0:
            storage.add_stale(labels, at * STEP)
    return storage


def cell(result: QueryResult, step: int) -> FloatHistogram | float | None:
    if not len(result.values) or not result.present[0, step]:
        return None
    bits = result.values.view("u8")[0]
    if not is_boxed(bits)[step]:
        return float(result.values[0, step])
    assert result.payload is not None
    return from_native(decode(result.payload, int(offsets(bits)[step])))


@settings(max_examples=80, deadline=None)
@given(series(), st.sampled_from(FUNCTIONS), st.integers(1, 6), st.sampled_from([STEP, 2 * STEP, 7000]))
def test_windows(values: list[Value], name: str, samples: int, step: int) -> None:
    width = samples * STEP
    with Engine(stored(values)) as engine:
        expr = f"{name}(h[{width // 1000}s])"
        result = engine.query_range(expr, STEP, (len(values) + 2) * STEP, step)
        assert tells_places(result)
    said: set[str] = set()
    for i, stop in enumerate(result.times.tolist()):
        window = [(at * STEP, from_native(value) if isinstance(value, NativeHistogram) else value)
                  for at, value in enumerate(values, 1) if value is not None and stop - width < at * STEP <= stop]
        found = cell(result, i)
        if not any(isinstance(value, FloatHistogram) for _, value in window):
            continue
        expected, words = evaluate(name, window, stop - width, stop)
        said |= words
        if isinstance(expected, FloatHistogram):
            assert isinstance(found, FloatHistogram), (expected, found)
            assert_close(compacted(found), compacted(expected))
        elif any(isinstance(value, FloatHistogram) for _, value in window[-2:]):
            assert found == expected
    texts = [text for text in (*result.warnings, *result.infos) if "might not be" not in text]
    assert len(texts) == len(said) and all(any(word in text for text in texts) for word in said), (texts, said)


def tells_places(result: QueryResult) -> bool:
    return all(re.search(r"\(1:\d+\)$", text) for text in (*result.warnings, *result.infos))


FLOAT_FUNCTIONS = [f"{name}_over_time(h[2m])" for name in ("min", "max", "stddev", "stdvar", "mad", "ts_of_min")] + [
    "quantile_over_time(0.3, h[2m])", "deriv(h[2m])", "predict_linear(h[2m], 60)",
    "double_exponential_smoothing(h[2m], 0.3, 0.6)"]


@pytest.mark.parametrize("expr", FLOAT_FUNCTIONS)
def test_functions_of_floats_leave_histograms_out(expr: str) -> None:
    """The answer is that of the floats alone, with an info where windows have both."""
    values: list[Value] = [PLAIN, PLAIN, *(float(i * i % 7) for i in range(12)), PLAIN, 3.0, PLAIN, *[PLAIN] * 10]
    answers = []
    only_floats: list[Value] = [value if isinstance(value, float) else None for value in values]
    for kept in (values, only_floats):
        with Engine(stored(kept)) as engine:
            answers.append(engine.query_range(expr, STEP, 30 * STEP, STEP))
    mixed, floats = answers
    assert (mixed.present == floats.present).all()
    assert (mixed.values[mixed.present] == floats.values[floats.present]).all()
    assert not floats.infos and not mixed.warnings
    (info,) = mixed.infos
    assert 'ignored histograms in a range containing both floats and histograms for metric name "h" (1:' in info


def test_results_grow_and_the_query_may_be_stopped() -> None:
    """More results than there is room for at first, of series whose histograms differ in size; limits hold."""
    storage = MemoryStorage(rows_per_tile=5)
    for series_number in range(5):
        for at in range(40):
            buckets = 1 + (at + series_number) % 60
            storage.add_histogram({"__name__": "h", "n": str(series_number)}, at * STEP, NativeHistogram(
                0, 1.0, buckets, positive_spans=((0, buckets),), positive=(1,) * buckets))
    with Engine(storage) as engine:
        result = engine.query_range("sum_over_time(h[5m])", 0, 40 * STEP, 1000)
        sums = engine.query_range("sum(histogram_count(sum_over_time(h[5m])))", 0, 40 * STEP, 1000)
        assert result.payload is not None and result.present.sum() == 5 * 601
        assert sums.present.all() and sums.values.max() > 1000
        context = RequestContext(limits=Limits(max_bytes=200_000))
        with pytest.raises(LimitExceeded):
            engine.query_range("sum_over_time(h[5m])", 0, 40 * STEP, 1000, context)
        context = RequestContext()
        context.cancelled.set()
        with pytest.raises(QueryCanceled):
            engine.query("rate(h[5m])", 40 * STEP, context)
