"""Aggregations against slow twins that work on one step at a time, as Prometheus' engine does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.promql.vector.literal import (
    Literal,
    Vector,
    as_dict,
    assert_same,
    at_step,
    environment,
    from_steps,
    label_sets,
    read,
    scalar,
    vector,
    vectors,
)
from tsdb.model.errors import ExecutionError, LimitExceeded
from tsdb.promql import ast
from tsdb.promql.aggregations import AGGREGATIONS
from tsdb.promql.aggregations.aggregation import Grouping
from tsdb.promql.aggregations.ratio import hash_series
from tsdb.promql.literals import format_number
from tsdb.promql.operators.vector import Environment, Operator
from tsdb.testing.memory_storage import Labels, MemorySymbols, labels_of, series_set

STEPS = 5


def group_labels(labels: Labels, grouping: Sequence[str], without: bool) -> Labels:
    if without:
        return tuple((n, v) for n, v in labels if n not in grouping and n != "__name__")
    return tuple((n, v) for n, v in labels if n in grouping)


def kahan(value: float, total: float, lost: float) -> tuple[float, float]:
    new = total + value
    if math.isinf(new):
        return new, 0.0
    if abs(total) >= abs(value):
        return new, lost + ((total - new) + value)
    return new, lost + ((value - new) + total)


def slow_sum(values: list[float]) -> float:
    total, lost = values[0], 0.0
    for value in values[1:]:
        total, lost = kahan(value, total, lost)
    return total + lost


def slow_avg(values: list[float]) -> float:
    total, lost, mean, incremental, count = values[0], 0.0, values[0], False, 1.0
    for value in values[1:]:
        count += 1
        if not incremental:
            new_total, new_lost = kahan(value, total, lost)
            if not math.isinf(new_total):
                total, lost = new_total, new_lost
                continue
            incremental = True
            mean = total / (count - 1)
            lost /= count - 1
        q = (count - 1) / count
        mean, lost = kahan(value / count, q * mean, q * lost)
    return mean + lost if incremental else total / count + lost / count


def slow_extreme(values: list[float], sign: int) -> float:
    best = values[0]
    for value in values[1:]:
        if sign * best < sign * value or math.isnan(best):
            best = value
    return best


def slow_variance(values: list[float]) -> float:
    count, mean = 1.0, values[0]
    total = math.nan if math.isnan(mean) or math.isinf(mean) else 0.0
    for value in values[1:]:
        count += 1
        delta = value - mean
        mean += delta / count
        total += delta * (value - mean)
    return total / count


def slow_deviation(values: list[float]) -> float:
    variance = slow_variance(values)
    return math.nan if variance < 0 else math.sqrt(variance)


def slow_quantile(q: float, values: list[float]) -> float:
    if math.isnan(q):
        return math.nan
    if q < 0 or q > 1:
        return math.copysign(math.inf, q)
    ordered = sorted(values, key=lambda value: (not math.isnan(value), value))
    rank = q * (len(values) - 1)
    lower = int(max(0, math.floor(rank)))
    upper = min(len(values) - 1, lower + 1)
    weight = rank - math.floor(rank)
    return ordered[lower] * (1 - weight) + ordered[upper] * weight


SLOW: dict[str, Callable[[list[float]], float]] = {
    "sum": slow_sum,
    "avg": slow_avg,
    "min": lambda values: slow_extreme(values, -1),
    "max": lambda values: slow_extreme(values, 1),
    "count": lambda values: float(len(values)),
    "group": lambda values: 1.0,
    "stdvar": slow_variance,
    "stddev": slow_deviation,
}


def slow_groups(rows: Vector, step: int, grouping: Sequence[str], without: bool) -> dict[Labels, list[float]]:
    groups: dict[Labels, list[float]] = {}
    for labels, value in at_step(rows, step):
        groups.setdefault(group_labels(labels, grouping, without), []).append(value)
    return groups


def build_aggregate(node: ast.Aggregate, child: Operator, param: Operator | str | None, env: Environment) -> Operator:
    if isinstance(param, str):
        return AGGREGATIONS[node.op].build(Grouping(node, child, env, text=param))
    return AGGREGATIONS[node.op].build(Grouping(node, child, env, param))


def node(op: str, grouping: Sequence[str] = (), without: bool = False, param: ast.Expr | None = None) -> ast.Aggregate:
    return ast.Aggregate(op, ast.NumberLiteral(0), param, tuple(grouping), without)


groupings = st.lists(st.sampled_from(["a", "b", "missing", "__name__"]), max_size=3, unique=True)


@pytest.mark.parametrize("op", SLOW)
@settings(max_examples=40, deadline=None)
@given(rows=vectors(STEPS), grouping=groupings, without=st.booleans())
def test_simple_aggregations(op: str, rows: Vector, grouping: list[str], without: bool) -> None:
    env = environment(STEPS)
    wanted = from_steps([
        {labels: SLOW[op](values) for labels, values in slow_groups(rows, step, grouping, without).items()}
        for step in range(STEPS)
    ])
    assert_same(read(build_aggregate(node(op, grouping, without), Literal(rows, env), None, env)), wanted)


@settings(max_examples=40, deadline=None)
@given(rows=vectors(STEPS), grouping=groupings, without=st.booleans(),
       q=st.lists(st.sampled_from([-0.5, 0, 0.1, 0.5, 0.99, 1, 1.5, math.nan]), min_size=STEPS, max_size=STEPS))
def test_quantile(rows: Vector, grouping: list[str], without: bool, q: list[float]) -> None:
    env = environment(STEPS)
    wanted = from_steps([
        {key: slow_quantile(q[step], values) for key, values in slow_groups(rows, step, grouping, without).items()}
        for step in range(STEPS)
    ])
    operator = build_aggregate(node("quantile", grouping, without), Literal(rows, env), scalar(env, *q), env)
    assert_same(read(operator), wanted)


@settings(max_examples=40, deadline=None)
@given(rows=vectors(STEPS), grouping=groupings, without=st.booleans(), label=st.sampled_from(["value", "a", "b"]))
def test_count_values(rows: Vector, grouping: list[str], without: bool, label: str) -> None:
    env = environment(STEPS)
    steps = []
    for step in range(STEPS):
        counts: dict[Labels, float] = {}
        for labels, value in at_step(rows, step):
            named = tuple(sorted({**dict(labels), label: format_number(value)}.items()))
            key = group_labels(named, grouping if without else [*grouping, label], without)
            counts[key] = counts.get(key, 0.0) + 1
        steps.append(counts)
    operator = build_aggregate(node("count_values", grouping, without), Literal(rows, env), label, env)
    assert_same(read(operator), from_steps(steps))


@pytest.mark.parametrize("op", ["topk", "bottomk"])
@settings(max_examples=40, deadline=None)
@given(rows=vectors(STEPS), grouping=groupings, without=st.booleans(),
       k=st.lists(st.sampled_from([-1, 0, 1, 2, 3, 5.5, 1e9]), min_size=STEPS, max_size=STEPS))
def test_best_k(op: str, rows: Vector, grouping: list[str], without: bool, k: list[float]) -> None:
    """Which of several equal cells stay is Go's heap's business; how many and of what value is not."""
    env = environment(STEPS)
    got = read(build_aggregate(node(op, grouping, without), Literal(rows, env), scalar(env, *k), env))
    sign = 1 if op == "bottomk" else -1
    for step in range(STEPS):
        kept = at_step(got, step)
        original = dict(at_step(rows, step))
        assert all(repr(original[labels]) == repr(value) for labels, value in kept)
        for labels, values in slow_groups(rows, step, grouping, without).items():
            ordered = sorted(values, key=lambda value: (math.isnan(value), sign * value))[: max(0, int(k[step]))]
            mine = [value for row, value in kept if group_labels(row, grouping, without) == labels]
            assert sorted(map(repr, mine)) == sorted(map(repr, ordered)) or sorted(mine) == sorted(ordered)


def test_best_k_at_one_step_comes_best_first_group_by_group() -> None:
    env = environment(1)
    cells = [("2", "-", None), ("1", "a", 1), ("2", "b", 5), ("1", "c", 3), ("1", "d", math.nan), ("2", "e", 4),
             ("1", "f", 2)]
    child = vector(env, *(({"g": group, "i": name}, [value]) for group, name, value in cells))
    got = [dict(labels)["i"] for labels, _ in read(build_aggregate(node("topk", ["g"]), child, scalar(env, 3), env))]
    assert got == ["c", "f", "a", "b", "e"]
    got = [dict(labels)["i"] for labels, _ in read(build_aggregate(node("bottomk", ["g"]), child, scalar(env, 4), env))]
    assert got == ["a", "f", "c", "d", "e", "b"]


@pytest.mark.parametrize(
    ("op", "param", "message"),
    [
        ("topk", math.nan, "Parameter value is NaN"),
        ("topk", 1e20, "Scalar value 1e+20 overflows int64"),
        ("count_values", "", 'invalid label name ""'),
        ("count_values", "a\udcc5z", r'invalid label name "a\xc5z"'),
    ],
)
def test_bad_parameters(op: str, param: float | str, message: str) -> None:
    env = environment(2)
    with pytest.raises(ExecutionError) as caught:
        given_param = param if isinstance(param, str) else scalar(env, param)
        read(build_aggregate(node(op), vector(env, ({"a": "x"}, [1, 2])), given_param, env))
    assert str(caught.value) == message


def test_a_quantile_out_of_range_is_warned_about_with_its_place() -> None:
    env = environment(2, query="quantile(1.5, x)")
    param = ast.NumberLiteral(1.5, span=ast.Span(9, 12))
    read(build_aggregate(node("quantile", param=param), vector(env, ({"a": "x"}, [1, 2])), scalar(env, 1.5), env))
    assert env.annotations.warnings == [
        "PromQL warning: quantile value should be between 0 and 1, got 1.5 (1:10)"
    ]


def test_limitk_keeps_the_first_rows_of_each_step() -> None:
    env = environment(3)
    child = vector(env, ({"g": "1", "i": "a"}, [None, 5, 7]), ({"g": "1", "i": "b"}, [math.nan, 6, 7]),
                   ({"g": "2", "i": "c"}, [1, None, None]), ({"g": "1", "i": "d"}, [9, 9, 9]))
    got = {dict(labels)["i"]: row for labels, row in
           read(build_aggregate(node("limitk", ["g"]), child, scalar(env, 2, 1, 0), env))}
    assert repr(got) == repr({"a": [None, 5.0, None], "b": [math.nan, None, None], "c": [1.0, None, None],
                              "d": [9.0, None, None]})


@given(st.lists(label_sets(), max_size=20, unique=True), st.floats(-1, 1))
def test_limit_ratio_goes_by_the_hash_of_the_labels(labels: list[Labels], ratio: float) -> None:
    env = environment(2)
    child = Literal([(each, [1.0, None]) for each in labels], env)
    share = {each: slow_hash(each) / 2**64 for each in labels}
    wanted = {each for each in labels if (share[each] < ratio if ratio >= 0 else share[each] >= 1 + ratio)}
    assert as_dict(read(build_aggregate(node("limit_ratio"), child, scalar(env, ratio), env))).keys() == wanted


def xxhash64(data: bytes) -> int:
    """After the specification of xxHash."""
    word = (1 << 64) - 1
    p1, p2, p3, p4, p5 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63,
                          0x27D4EB2F165667C5)

    def rotated(x: int, bits: int) -> int:
        return (x << bits | x >> (64 - bits)) & word

    def turned(lane: int, part: bytes) -> int:
        return rotated((lane + int.from_bytes(part, "little") * p2) & word, 31) * p1 & word

    at, h = 0, p5
    if len(data) >= 32:
        lanes = [(p1 + p2) & word, p2, 0, -p1 & word]
        for at in range(0, len(data) - len(data) % 32, 32):
            lanes = [turned(lane, data[at + 8 * i : at + 8 * i + 8]) for i, lane in enumerate(lanes)]
        at = len(data) - len(data) % 32
        h = sum(rotated(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18), strict=True)) & word
        for lane in lanes:
            h = ((h ^ turned(0, lane.to_bytes(8, "little"))) * p1 + p4) & word
    h = (h + len(data)) & word
    for word_at in range(at, len(data) - 7, 8):
        h = (rotated(h ^ turned(0, data[word_at : word_at + 8]), 27) * p1 + p4) & word
    at = len(data) - len(data) % 8
    if len(data) - at >= 4:
        h = (rotated(h ^ int.from_bytes(data[at : at + 4], "little") * p1 & word, 23) * p2 + p3) & word
        at += 4
    for byte in data[at:]:
        h = rotated(h ^ byte * p5 & word, 11) * p1 & word
    h = (h ^ h >> 33) * p2 & word
    h = (h ^ h >> 29) * p3 & word
    return h ^ h >> 32


def slow_hash(labels: Labels) -> int:
    texts = [text.encode() for label in labels for text in label]
    sizes = [bytes((len(text),)) if len(text) < 255 else b"\xff" + len(text).to_bytes(3, "little") for text in texts]
    return xxhash64(b"".join(size + text for size, text in zip(sizes, texts, strict=True)))


@pytest.mark.parametrize("length", [0, 1, 3, 4, 7, 8, 31, 32, 33, 63, 64, 254, 255, 300, 70_000])
def test_hashes_of_labels_of_all_lengths(length: int) -> None:
    symbols = MemorySymbols()
    labels = [(("a" * (length + 1), "x"), ("b", "y" * (length + 1))), ()]
    assert hash_series(series_set(labels, symbols)).tolist() == [slow_hash(each) for each in labels]


def test_the_hash_is_that_of_prometheus() -> None:
    """As Prometheus 3.5 has chosen."""
    labels = [labels_of({"__name__": "lr2", "i": str(i)}) for i in range(12)]
    shares = hash_series(series_set(labels, MemorySymbols())).astype(np.float64) / 2**64
    assert np.flatnonzero(shares < 0.3).tolist() == [1, 8, 10]


def test_names_put_off_stay_marked_through_groups() -> None:
    env = environment(1, delayed=True)
    child = vector(env, ({"__name__": "m", "a": "x"}, [1]))
    from tsdb.promql.operators.groups import drop_metric_name

    marked = drop_metric_name(child.series(), env)
    child.series = lambda: marked  # type: ignore[method-assign]
    labels = build_aggregate(node("sum", ["__name__"]), child, None, env).series()
    assert labels.labels(0) == {"__name__": "m"}
    assert labels.drop_name is not None and labels.drop_name.tolist() == [True]


def test_buffers_count_against_the_query() -> None:
    env = environment(1000)
    env.context.limits.max_bytes = 10_000
    with pytest.raises(LimitExceeded, match="select fewer series"):
        read(build_aggregate(node("sum", ["a"]), vector(env, ({"a": "x"}, [1.0] * 1000)), None, env))


def test_accounts_are_settled() -> None:
    env = environment(4)
    for op in ("sum", "quantile", "topk", "count_values"):
        param = None if op == "sum" else "v" if op == "count_values" else scalar(env, 1)
        assert as_dict(read(build_aggregate(node(op), vector(env, ({"a": "x"}, [1, 2, None, 4])), param, env)))
    assert env.context.bytes_reserved == 0
