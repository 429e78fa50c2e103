"""Functions of native histograms that give numbers, and sums over series, beside twins in plain Python."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.native_histograms import histograms
from tests.promql.histogram_json import bound
from tests.promql.histograms.float_histogram import FloatHistogram, combined, compacted, from_native, scaled
from tests.promql.histograms.test_arithmetic import assert_close
from tsdb.model.context import Limits, RequestContext
from tsdb.model.errors import LimitExceeded
from tsdb.model.native_histograms import CUSTOM_SCHEMA, NativeHistogram, decode, is_boxed, offsets
from tsdb.promql import Engine, QueryResult
from tsdb.promql.histograms.text import histogram_text
from tsdb.testing.compare import almost_equal
from tsdb.testing.memory_storage import MemoryStorage

PLAIN = NativeHistogram(0, 18.4, 12, 0.001, 2, ((0, 2), (1, 2)), ((0, 2),), (1, 2, 1, 1), (3, 2))
CUSTOM = NativeHistogram(CUSTOM_SCHEMA, 7, 6, positive_spans=((0, 3),), positive=(1, 2, 3), custom_values=(0.5, 1.0))
Bucket = tuple[float, float, float]
"""Lower bound, upper bound, count"""


def buckets(h: NativeHistogram) -> list[Bucket]:
    """From the lowest on; those beside the zero bucket end where it begins."""
    floats, edge = from_native(h), h.zero_threshold
    found = [(-bound(i, h), min(-bound(i - 1, h), -edge), floats.negative[i]) for i in sorted(floats.negative)][::-1]
    if h.zero_count > 0:
        found.append((-edge, edge, float(h.zero_count)))
    for i in sorted(floats.positive):
        lower, upper = bound(i - 1, h), bound(i, h)
        found.append((max(lower, edge) if h.schema != CUSTOM_SCHEMA else lower, upper, floats.positive[i]))
    return found


def spread(h: NativeHistogram, lower: float, upper: float) -> tuple[float, float]:
    """Where observations of a bucket can be: zero bounds one of a histogram with one side only."""
    if h.schema == CUSTOM_SCHEMA or not lower < 0 < upper:
        return lower, upper
    return (lower if h.negative or not h.positive else 0.0), (upper if h.positive or not h.negative else 0.0)


def quantile(q: float, h: NativeHistogram) -> float:
    if not 0 <= q <= 1:
        return math.copysign(math.inf, q)
    full = [bucket for bucket in buckets(h) if bucket[2] != 0]
    if not full or h.count == 0:
        return math.nan
    below, rank = 0.0, q * h.count
    for lower, upper, count in full:
        if below + count >= rank or (lower, upper, count) == full[-1]:
            break
        below += count
    if h.schema == CUSTOM_SCHEMA:
        if lower == -math.inf:
            if upper <= 0:
                return upper
            lower = 0.0
        elif upper == math.inf:
            return lower
    lower, upper = spread(h, lower, upper)
    return between(h, lower, upper, (rank - below) / count)


def between(h: NativeHistogram, lower: float, upper: float, share: float) -> float:
    if h.schema == CUSTOM_SCHEMA or lower <= 0 <= upper:
        return lower + (upper - lower) * share
    return math.copysign(abs(lower) ** (1 - share) * abs(upper) ** share, lower)


def deviation(h: NativeHistogram) -> float:
    if h.count == 0:
        return math.nan
    total, mean = 0.0, h.sum / h.count
    for lower, upper, count in buckets(h):
        if h.schema == CUSTOM_SCHEMA:
            middle = (lower + upper) / 2
        else:
            middle = 0.0 if lower <= 0 <= upper else math.copysign(math.sqrt(lower * upper), lower)
        total += count * (middle - mean) * (middle - mean) if count else 0.0
    return math.sqrt(total / h.count)


def stored(*values: NativeHistogram | float) -> MemoryStorage:
    storage = MemoryStorage(rows_per_tile=2)
    for row, value in enumerate(values):
        labels = {"__name__": "h", "row": str(row)}
        if isinstance(value, NativeHistogram):
            storage.add_histogram(labels, 0, value)
        else:
            storage.add(labels, [0], [value])
    return storage


def ask(expr: str, *values: NativeHistogram | float) -> QueryResult:
    with Engine(stored(*values)) as engine:
        return engine.query(expr, 0)


def numbers(result: QueryResult) -> dict[str, float]:
    assert result.series is not None
    return {result.series.labels(row).get("row", ""): float(result.values[row, 0])
            for row in range(len(result.series))}


def only(result: QueryResult) -> NativeHistogram:
    bits = result.values[:1, 0].view(np.uint64)
    assert len(result.values) == 1 and result.payload is not None and is_boxed(bits)[0]
    return decode(result.payload, int(offsets(bits)[0]))


@settings(max_examples=60)
@given(st.lists(histograms(), min_size=1, max_size=4), st.floats(0, 1) | st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0]))
def test_quantiles(values: list[NativeHistogram], q: float) -> None:
    found = numbers(ask(f"histogram_quantile({q!r}, h)", *values))
    for row, h in enumerate(values):
        if lopsided(h):
            continue
        expected, answer = quantile(q, h), found[str(row)]
        close = almost_equal(expected, answer) or math.isclose(expected, answer, rel_tol=1e-4)
        assert close or near(h, expected, answer)


def lopsided(h: NativeHistogram) -> bool:
    """Whether a bucket has so small a share of all observations that ranks within it are lost in rounding."""
    return any(0 < count < 1e-4 * h.count for _, _, count in buckets(h))


def near(h: NativeHistogram, expected: float, answer: float) -> bool:
    """Where a rank falls onto a border, rounding decides which bucket it is in: both ends are right."""
    edges = [edge for lower, upper, count in buckets(h) if count for edge in (lower, upper)]
    return any(math.isclose(expected, edge, rel_tol=1e-6) for edge in [*edges, 0.0]) and any(
        math.isclose(answer, edge, rel_tol=1e-6) for edge in [*edges, 0.0])


@settings(max_examples=60)
@given(histograms(), st.floats(0.01, 0.99))
def test_fractions_are_the_inverse_of_quantiles(h: NativeHistogram, q: float) -> None:
    """Where no bucket is without end, and none, even an empty one, lies within the zero bucket: they are looked through
    in their order, the zero bucket between the negative and the positive ones."""
    value = quantile(q, h)
    within = any(0 < min(abs(lower), abs(upper)) < h.zero_threshold for lower, upper, _ in buckets(h))
    if h.count == 0 or h.schema == CUSTOM_SCHEMA or value == 0 or within:
        return
    found = numbers(ask(f"histogram_fraction(-Inf, {value!r}, h)", h))["0"]
    assert math.isclose(found, q, abs_tol=1e-6)
    whole = numbers(ask("histogram_fraction(-Inf, Inf, h)", h))["0"]
    assert math.isclose(whole, 1.0, rel_tol=1e-9)


@settings(max_examples=60)
@given(st.lists(histograms(), min_size=1, max_size=4))
def test_counts_sums_and_deviations(values: list[NativeHistogram]) -> None:
    with Engine(stored(*values, 3.0)) as engine:
        for name in ("count", "sum", "avg", "stddev"):
            found = numbers(engine.query(f"histogram_{name}(h)", 0))
            assert set(found) == {str(row) for row in range(len(values))}
            for row, h in enumerate(values):
                expected = {"count": float(h.count), "sum": h.sum, "stddev": deviation(h),
                            "avg": h.sum / h.count if h.count else math.nan}[name]
                assert almost_equal(expected, found[str(row)]) or (name == "avg" and h.count == 0)


@settings(max_examples=100)
@given(st.lists(histograms(), min_size=1, max_size=6), st.booleans(), st.booleans())
def test_sums_and_averages(values: list[NativeHistogram], average: bool, alike: bool) -> None:
    if alike:  # the same buckets, as mostly
        first = replace(values[0], floats=True)
        values = [replace(first, sum=first.sum + i) for i in range(len(values))]
    result = ask("avg(h)" if average else "sum(h)", *values)
    total: FloatHistogram | None = from_native(values[0])
    for h in values[1:]:
        added = None if total is None else combined(total, from_native(h), 1)
        total = None if added is None else added[0]
    if total is None:
        assert len(result.values) == 0
        assert "mix of histograms with exponential and custom buckets" in result.warnings[0]
        return
    expected = scaled(total, 1 / len(values)) if average else total
    assert_close(compacted(from_native(only(result))), compacted(expected))


def test_averages_do_not_overflow() -> None:
    huge = replace(PLAIN, sum=1.5e308, floats=True)
    assert math.isclose(only(ask("avg(h)", huge, huge, huge)).sum, 1.5e308, rel_tol=1e-12)
    assert only(ask("sum(h)", huge, huge, huge)).sum == math.inf


SAID = [
    ("sum(h)", (PLAIN, 1.0), [], ["encountered a mix of histograms and floats for aggregation (1:5)"], []),
    ("sum(h)", (PLAIN, CUSTOM, 1.0), [], ["vector contains a mix of histograms with exponential and custom buckets "
                                          'schemas for metric name "h" (1:5)'], []),
    ("sum by (row) (h)", (PLAIN, CUSTOM, 1.0), ["0", "1", "2"], [], []),
    ("count(sum(h))", (CUSTOM, replace(CUSTOM, custom_values=(0.5, 2.0))), [""], [],
     ["mismatched custom buckets were reconciled during aggregation (1:11)"]),
    *((f"{op}(h)", (PLAIN, 1.0), [""], [], [f"ignored histogram in {op} aggregation (1:{len(op) + 2})"])
      for op in ("min", "max", "stddev", "stdvar")),
    ("topk(2, h)", (PLAIN, 1.0), ["1"], [], ["ignored histogram in topk aggregation (1:1)"]),
    ("quantile(0.5, h)", (PLAIN, 1.0), [""], [], ["ignored histogram in quantile aggregation (1:15)"]),
    ("max(h)", (PLAIN,), [], [], ["ignored histogram in max aggregation (1:5)"]),
    ("limitk(1, h)", (PLAIN, 1.0), ["0"], [], []), ("count(h)", (PLAIN, 1.0), [""], [], []),
    ("abs(h)", (PLAIN, 1.0), ["1"], [], []), ("sort(h)", (PLAIN, 1.0), ["1"], [], []),
    ("timestamp(abs(h) or h)", (PLAIN, 1.0), ["0", "1"], [], []), ("vector(scalar(h))", (PLAIN, 1.0), [""], [], []),
]


@pytest.mark.parametrize(("expr", "values", "rows", "warnings", "infos"), SAID, ids=[str(row[0]) for row in SAID])
def test_what_is_said(expr: str, values: tuple[NativeHistogram | float, ...], rows: list[str], warnings: list[str],
                      infos: list[str]) -> None:
    result = ask(expr, *values)
    assert sorted(numbers(result)) == rows
    assert [text.removeprefix("PromQL warning: ") for text in result.warnings] == warnings
    assert [text.removeprefix("PromQL info: ") for text in result.infos] == infos


def test_classic_and_native_ones_of_the_same_labels_do_not_count() -> None:
    storage = stored(PLAIN, PLAIN)
    for le, count in (("1", 1.0), ("+Inf", 2.0)):
        storage.add({"__name__": "h", "row": "1", "le": le}, [0], [count])
        storage.add({"__name__": "h", "row": "2", "le": le}, [0], [count])
    with Engine(storage) as engine:
        result = engine.query("histogram_quantile(0.5, h)", 0)
    assert set(numbers(result)) == {"0", "2"}
    assert result.warnings == ["PromQL warning: vector contains a mix of classic and native histograms (1:25)"]


def test_values_are_counted_by_their_text() -> None:
    text = "{count:12, sum:18.4, [-2,-1):2, [-1,-0.5):3, [-0.001,0.001]:2, (0.5,1]:1, (1,2]:2, (4,8]:1, (8,16]:1}"
    assert histogram_text(PLAIN) == text
    assert histogram_text(CUSTOM) == "{count:6, sum:7, [-Inf,0.5]:1, (0.5,1]:2, (1,+Inf]:3}"
    result = ask('count_values("v", h)', PLAIN, CUSTOM, PLAIN, 1.0)
    assert result.series is not None
    found = {result.series.labels(row)["v"]: float(result.values[row, 0]) for row in range(len(result.values))}
    assert found == {text: 2.0, histogram_text(CUSTOM): 1.0, "1": 1.0}


def wide(buckets: int) -> Iterator[NativeHistogram]:
    """Histograms with fewer and fewer buckets in common."""
    for first in range(0, 600, 60):
        yield NativeHistogram(8, 1.0, buckets, positive_spans=((first, buckets),), positive=(1,) * buckets)


def test_sums_grow_with_the_buckets_and_within_the_budget() -> None:
    storage = stored(*wide(700))
    with Engine(storage) as engine:
        total = only(engine.query("sum(h)", 0))
        assert total.count == 7000 and sum(total.positive) == 7000
        context = RequestContext(limits=Limits(max_bytes=4 << 20))
        with pytest.raises(LimitExceeded):
            engine.query_range("sum by (row) (h)", 0, 299_000, 1000, context)
