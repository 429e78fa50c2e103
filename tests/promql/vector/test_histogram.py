"""Functions of classic histograms against a slow twin that follows Prometheus' quantile.go step by step."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.promql.vector.literal import (
    Literal,
    Vector,
    assert_same,
    at_step,
    environment,
    from_steps,
    read,
    scalar,
    vector,
)
from tsdb.promql import ast
from tsdb.promql.functions import FUNCTIONS
from tsdb.promql.functions.function import Call
from tsdb.promql.functions.histograms import parse_bound
from tsdb.promql.operators.selectors import SampleBudget
from tsdb.promql.operators.vector import Environment, Operator
from tsdb.testing.memory_storage import Labels, labels_of

NAN, INF = math.nan, math.inf
STEPS = 3


def almost_equal(a: float, b: float) -> bool:
    if math.isnan(a) and math.isnan(b):
        return True
    total, difference = abs(a) + abs(b), abs(a - b)
    if a == 0 or b == 0 or total < 2.0**-1022:
        return difference < 1e-12 * 2.0**-1022
    return difference / min(total, 1.7976931348623157e308) < 1e-12


def coalesced(buckets: list[tuple[float, float]]) -> list[list[float]]:
    merged: list[list[float]] = []
    for bound, count in sorted(buckets, key=lambda bucket: bucket[0]):
        if merged and merged[-1][0] == bound:
            merged[-1][1] += count
        else:
            merged.append([bound, count])
    return merged


def slow_quantile(q: float, buckets: list[tuple[float, float]]) -> float:
    if math.isnan(q):
        return NAN
    if q < 0 or q > 1:
        return math.copysign(INF, q)
    merged = coalesced(buckets)
    if merged[-1][0] != INF:
        return NAN
    before = merged[0][1]
    for bucket in merged[1:]:
        if bucket[1] != before and (almost_equal(before, bucket[1]) or bucket[1] < before):
            bucket[1] = before
        before = bucket[1]
    if len(merged) < 2 or merged[-1][1] == 0:
        return NAN
    rank = q * merged[-1][1]
    at = next((i for i, bucket in enumerate(merged[:-1]) if bucket[1] >= rank), len(merged) - 1)
    if at == len(merged) - 1:
        return merged[-2][0]
    if at == 0 and merged[0][0] <= 0:
        return merged[0][0]
    start, end, count = 0.0, merged[at][0], merged[at][1]
    if at > 0:
        start = merged[at - 1][0]
        count -= merged[at - 1][1]
        rank -= merged[at - 1][1]
    return start + (end - start) * (rank / count if count else NAN)


def slow_fraction(lower: float, upper: float, buckets: list[tuple[float, float]]) -> float:
    merged = coalesced(buckets)
    count = merged[-1][1]
    if merged[-1][0] != INF or count == 0 or math.isnan(lower) or math.isnan(upper):
        return NAN
    if lower >= upper:
        return 0
    ranks: dict[float, float] = {}
    for value in (lower, upper):
        rank, start = 0.0, -INF if merged[0][0] <= 0 else 0.0
        for i, (bound, cumulative) in enumerate(merged):
            if i > 0:
                start = merged[i - 1][0]
            if start >= value:
                ranks[value] = rank
                break
            if bound > value:
                inside = cumulative
                if start != -INF:
                    inside = rank + (cumulative - rank) * (value - start) / (bound - start)
                ranks[value] = inside
                break
            rank = cumulative
        if value not in ranks or ranks[value] > count:
            ranks[value] = count
    return (ranks[upper] - ranks[lower]) / count


counts = st.one_of(st.integers(0, 6).map(float), st.sampled_from([0.1, 1 / 3, 1e15, 1e15 + 1]))


@st.composite
def histograms(draw: st.DrawFn) -> Vector:
    rows: Vector = []
    for job in draw(st.lists(st.sampled_from(["a", "b", "c"]), unique=True)):
        bounds = draw(st.lists(st.sampled_from(["-1", "0", "0.5", "1", "1.0", "5", "1e1", "+Inf", "Inf"]), unique=True))
        rows += [(labels_of({"__name__": "h", "job": job, "le": le}),
                  draw(st.lists(st.one_of(st.none(), counts), min_size=STEPS, max_size=STEPS))) for le in bounds]
    return draw(st.permutations(rows))


def grouped(rows: Vector, step: int) -> dict[Labels, list[tuple[float, float]]]:
    groups: dict[Labels, list[tuple[float, float]]] = {}
    for labels, value in at_step(rows, step):
        values = dict(labels)
        groups.setdefault((("job", values["job"]),), []).append((float(values["le"]), value))
    return groups


def call(env: Environment, name: str, *args: Operator | str) -> Operator:
    nodes = tuple(ast.NumberLiteral(0, span=ast.Span(place, place)) for place in range(len(args)))
    return FUNCTIONS[name].build(Call(ast.Call(name, nodes), tuple(args), env, env.steps, SampleBudget(env.context)))


@settings(max_examples=80, deadline=None)
@given(rows=histograms(),
       q=st.lists(st.sampled_from([NAN, -1, 0, 0.2, 0.5, 0.99, 1, 2]), min_size=STEPS, max_size=STEPS))
def test_quantile(rows: Vector, q: list[float]) -> None:
    env = environment(STEPS)
    wanted = from_steps([
        {labels: slow_quantile(q[step], buckets) for labels, buckets in grouped(rows, step).items()}
        for step in range(STEPS)
    ])
    assert_same(read(call(env, "histogram_quantile", scalar(env, *q), Literal(rows, env))), wanted, 1e-14)


edges = st.lists(st.sampled_from([NAN, -INF, -2, 0, 0.2, 0.5, 3, 10, 100, INF]), min_size=STEPS, max_size=STEPS)


@settings(max_examples=80, deadline=None)
@given(rows=histograms(), lower=edges, upper=edges)
def test_fraction(rows: Vector, lower: list[float], upper: list[float]) -> None:
    env = environment(STEPS)
    wanted = from_steps([
        {labels: slow_fraction(lower[step], upper[step], buckets) for labels, buckets in grouped(rows, step).items()}
        for step in range(STEPS)
    ])
    operator = call(env, "histogram_fraction", scalar(env, *lower), scalar(env, *upper), Literal(rows, env))
    assert_same(read(operator), wanted, 1e-14)


def test_several_quantiles_at_once() -> None:
    env = environment(1)
    rows = vector(env, ({"le": "1"}, [2]), ({"le": "2"}, [4]), ({"le": "+Inf"}, [4]))
    operator = call(env, "histogram_quantiles", rows, "q", scalar(env, 0.25), scalar(env, 1))
    assert_same(read(operator), [((("q", "0.25"),), [0.5]), ((("q", "1.0"),), [2])])


@pytest.mark.parametrize("delayed", [False, True])
def test_what_is_wrong_with_the_buckets_is_told(delayed: bool) -> None:
    env = environment(2, delayed=delayed, query="h(0, x)")
    rows = vector(env, ({"__name__": "h", "le": "1"}, [3, 1]), ({"__name__": "h", "le": "2"}, [2.5, 1]),
                  ({"__name__": "h", "le": "+Inf"}, [4, 4]), ({"__name__": "h", "le": "Hello World"}, [1, None]),
                  ({"__name__": "h", "le": "unseen"}, [None, None]), ({"__name__": "h"}, [None, 1]))
    read(call(env, "histogram_quantile", scalar(env, 1.5, 0.5), rows))
    metric = ' for metric name "h"' if delayed else ""
    assert env.annotations.warnings == [
        "PromQL warning: quantile value should be between 0 and 1, got 1.5 (1:1)",
        f'PromQL warning: bucket label "le" is missing or has a malformed value of "Hello World"{metric} (1:2)',
        f'PromQL warning: bucket label "le" is missing or has a malformed value of ""{metric} (1:2)',
    ]
    assert not env.annotations.infos
    read(call(env, "histogram_quantile", scalar(env, 0.5, 0.5), rows))
    assert env.annotations.infos == [
        "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/"
        f"prometheus/latest/querying/functions/#histogram_quantile){metric}, from buckets 2 to 2, with a max diff of "
        "0.5, over 1 samples from 1970-01-01T00:00:00Z to 1970-01-01T00:00:00Z (1:2)"
    ]


@pytest.mark.parametrize(
    ("text", "bound"),
    [("1", 1), ("+Inf", INF), ("-inf", -INF), ("Infinity", INF), ("1e3", 1000), (".5", 0.5), ("5.", 5),
     ("0x1p-2", 0.25), ("", None), (" 1", None), ("1_0", None), ("1e400", None), ("0x10", None),
     ("Hello", None), ("\uff11", None)],
)
def test_bounds_are_read_as_go_does(text: str, bound: float | None) -> None:
    assert parse_bound(text) == bound


def test_accounts_are_settled() -> None:
    env = environment(1)
    read(call(env, "histogram_quantile", scalar(env, 0.5), vector(env, ({"le": "+Inf"}, [1]))))
    assert env.context.bytes_reserved == 0
