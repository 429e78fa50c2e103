"""Functions of instant vectors, against tables and against Python's own arithmetic, dates and sorting."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.promql.vector.literal import (
    Literal,
    Row,
    Vector,
    as_dict,
    assert_same,
    environment,
    numbers,
    read,
    same_number,
    scalar,
    vector,
    vectors,
)
from tsdb.model.errors import ExecutionError
from tsdb.model.matchers import Matcher, MatchType
from tsdb.promql import ast
from tsdb.promql.functions import FUNCTIONS
from tsdb.promql.functions.function import Call
from tsdb.promql.functions.sorting import natural_compare
from tsdb.promql.operators.binary import build_negation
from tsdb.promql.operators.selectors import SampleBudget
from tsdb.promql.operators.vector import Environment, Operator
from tsdb.testing.memory_storage import labels_of

NAN, INF = math.nan, math.inf


def call(env: Environment, name: str, *args: Operator | str, nodes: Sequence[ast.Expr] = ()) -> Operator:
    given_nodes = tuple(nodes) or tuple(ast.NumberLiteral(0) for _ in args)
    return FUNCTIONS[name].build(Call(ast.Call(name, given_nodes), args, env, env.steps, SampleBudget(env.context)))


def per_cell(name: str, values: Sequence[float], *more: float) -> Row:
    env = environment(len(values))
    child = vector(env, ({"__name__": "m", "a": "x"}, list(values)))
    (labels, row), = read(call(env, name, child, *(scalar(env, number) for number in more)))
    assert labels == (("a", "x"),)
    return row


@pytest.mark.parametrize(
    ("name", "values", "wanted"),
    [
        ("abs", [-1.5, 0, NAN, -INF], [1.5, 0, NAN, INF]),
        ("ceil", [1.2, -1.2, NAN, INF], [2, -1, NAN, INF]),
        ("floor", [1.8, -1.2], [1, -2]),
        ("sqrt", [4, -1, INF], [2, NAN, INF]),
        ("exp", [0, 1, -INF, INF], [1, math.e, 0, INF]),
        ("ln", [1, 0, -1, INF], [0, -INF, NAN, INF]),
        ("log2", [8, 0], [3, -INF]),
        ("log10", [1000, -1], [3, NAN]),
        ("sgn", [-3, 0, 5, NAN, -INF], [-1, 0, 1, NAN, -1]),
        ("sin", [0, math.pi / 2, INF], [0, 1, NAN]),
        ("cos", [0, math.pi], [1, -1]),
        ("tan", [0], [0]),
        ("asin", [1, 2], [math.pi / 2, NAN]),
        ("acos", [1, 2], [0, NAN]),
        ("atan", [1, INF], [math.pi / 4, math.pi / 2]),
        ("sinh", [0, INF], [0, INF]),
        ("cosh", [0], [1]),
        ("tanh", [INF], [1]),
        ("asinh", [0], [0]),
        ("acosh", [1, 0], [0, NAN]),
        ("atanh", [0, 1, 2], [0, INF, NAN]),
        ("deg", [math.pi], [180]),
        ("rad", [180], [math.pi]),
    ],
)
def test_arithmetic(name: str, values: list[float], wanted: list[float]) -> None:
    assert all(same_number(a, b, 1e-15) for a, b in zip(per_cell(name, values), wanted, strict=True))


@pytest.mark.parametrize(
    ("name", "more", "values", "wanted"),
    [
        ("round", (), [2.5, -2.5, 2.4, NAN], [3, -2, 2, NAN]),
        ("round", (0.1,), [0.25, 1.04], [0.3, 1.0]),
        ("round", (5,), [7, 8], [5, 10]),
        ("clamp", (0, 5), [-1, 3, 9, NAN], [0, 3, 5, NAN]),
        ("clamp", (5, 0), [1, 2], [None, None]),
        ("clamp", (NAN, 5), [1], [NAN]),
        ("clamp_min", (1,), [0, 2, -INF], [1, 2, 1]),
        ("clamp_max", (1,), [0, 2, INF], [0, 1, 1]),
        ("clamp_max", (NAN,), [1, -INF], [NAN, -INF]),
        ("clamp_min", (INF,), [NAN, 3], [INF, INF]),
        ("clamp_min", (0,), [-0.0, 0.0], [0.0, 0.0]),
        ("clamp_max", (0,), [-0.0, 0.0], [-0.0, 0.0]),
    ],
)
def test_with_scalars(name: str, more: tuple[float, ...], values: list[float], wanted: list[float | None]) -> None:
    got = per_cell(name, values, *more)
    assert all(same_number(a, b, 1e-15) for a, b in zip(got, wanted, strict=True))
    zeros = [(a, b) for a, b in zip(got, wanted, strict=True) if b == 0 and a is not None]
    assert all(math.copysign(1, a) == math.copysign(1, b) for a, b in zeros if b is not None)


@settings(max_examples=60, deadline=None)
@given(times=st.lists(st.integers(-62_135_596_800, 253_402_300_799), min_size=1, max_size=4))
def test_calendar(times: list[int]) -> None:
    parts: dict[str, Callable[[datetime], int]] = {
        "year": lambda t: t.year, "month": lambda t: t.month, "day_of_month": lambda t: t.day,
        "day_of_week": lambda t: t.isoweekday() % 7, "day_of_year": lambda t: t.timetuple().tm_yday,
        "hour": lambda t: t.hour, "minute": lambda t: t.minute,
    }
    for name, part in parts.items():
        assert per_cell(name, times) == [part(datetime.fromtimestamp(time, UTC)) for time in times]


def test_calendar_of_now_and_of_what_is_no_time() -> None:
    env = environment(2)
    assert read(call(env, "hour")) == [((), [0.0, 0.0])]
    assert per_cell("days_in_month", [1454284800, 1485907200]) == [29, 28]
    assert per_cell("minute", [-0.5, 59.9, 60]) == [0, 0, 1]
    assert per_cell("year", [NAN, INF, -1e300]) == [292277026596] * 3 and per_cell("hour", [NAN]) == [15]


def test_time_pi_vector_timestamp() -> None:
    env = environment(3)
    assert read(call(env, "time")) == [((), [0, 1, 2])]
    assert read(call(env, "pi")) == [((), [math.pi] * 3)]
    for name, wanted in (("min_of", [1, NAN, -INF]), ("max_of", [4, NAN, 3])):
        made = call(env, name, scalar(env, 1, NAN, 3), scalar(env, 4, 2, -INF))
        assert made.type == ast.ValueType.SCALAR and repr(read(made)[0][1]) == repr([float(x) for x in wanted])
    made = call(env, "vector", scalar(env, 1, 2, 3))
    assert made.type == ast.ValueType.VECTOR and read(made) == [((), [1, 2, 3])]
    assert read(call(env, "timestamp", vector(env, ({"a": "x"}, [7, None, 7])))) == [((("a", "x"),), [0, None, 2])]


def test_scalar_needs_exactly_one_cell() -> None:
    env = environment(4)
    rows = vector(env, ({"a": "1"}, [1, None, 3, None]), ({"a": "2"}, [None, 5, 6, None]), ({"a": "3"}, [None] * 4),
                  ({"a": "4"}, [None] * 4))
    made = call(env, "scalar", rows)
    assert made.type == ast.ValueType.SCALAR
    (_, row), = read(made)
    assert [repr(value) for value in row] == ["1.0", "5.0", "nan", "nan"]


def minus(child: Operator, env: Environment) -> Operator:
    return build_negation(ast.Unary("-", ast.NumberLiteral(0)), child, env)


def test_unary_minus_drops_the_name_and_merges_rows_that_take_turns() -> None:
    env = environment(2)
    rows = vector(env, ({"__name__": "p", "a": "x"}, [2, None]), ({"__name__": "q", "a": "x"}, [None, 4]))
    assert read(minus(rows, env)) == [((("a", "x"),), [-2, -4])]
    with pytest.raises(ExecutionError, match="vector cannot contain metrics with the same labelset"):
        both = vector(env, ({"__name__": "p", "a": "x"}, [2, None]), ({"__name__": "q", "a": "x"}, [3, 4]))
        read(minus(both, env))


def selector(*matchers: Matcher) -> ast.VectorSelector:
    return ast.VectorSelector("m", (Matcher(MatchType.EQUAL, "__name__", "m"), *matchers))


@pytest.mark.parametrize(
    ("argument", "labels"),
    [
        (selector(Matcher(MatchType.EQUAL, "job", "a"), Matcher(MatchType.REGEX, "x", ".*")), {"job": "a"}),
        (selector(Matcher(MatchType.EQUAL, "job", "a"), Matcher(MatchType.EQUAL, "job", "b"),
                  Matcher(MatchType.EQUAL, "foo", "bar")), {"foo": "bar"}),
        (selector(Matcher(MatchType.EQUAL, "z", "1"), Matcher(MatchType.EQUAL, "b", "2")), {"b": "2", "z": "1"}),
        (ast.Aggregate("sum", selector(Matcher(MatchType.EQUAL, "job", "a"))), {}),
    ],
)
def test_absent(argument: ast.Expr, labels: dict[str, str]) -> None:
    env = environment(3)
    child = vector(env, ({"a": "1"}, [1, None, None]), ({"a": "2"}, [2, NAN, None]))
    assert read(call(env, "absent", child, nodes=[argument])) == [(labels_of(labels), [None, None, 1])]


@pytest.mark.parametrize(("name", "wanted"), [("sort", "bdca"), ("sort_desc", "cdba")])
def test_sort_orders_one_step_and_puts_nan_last(name: str, wanted: str) -> None:
    env = environment(1)
    values = {"a": NAN, "b": -1, "c": INF, "d": 2, "e": None}
    rows = vector(env, *(({"i": name}, [value]) for name, value in values.items()))
    assert [dict(labels)["i"] for labels, _ in read(call(env, name, rows))] == list(wanted)
    env = environment(2)
    rows = vector(env, ({"i": "b"}, [5, 6]), ({"i": "a"}, [1, 2]))
    assert [dict(labels)["i"] for labels, _ in read(call(env, name, rows))] == ["b", "a"]


def test_sort_by_label() -> None:
    env = environment(1)
    rows = vector(env, *(({"cpu": cpu, "m": mode}, [1.0]) for cpu in ("10", "9", "100") for mode in ("b", "a")))

    def order(name: str, *labels: str) -> list[str]:
        return ["".join(dict(row).values()) for row, _ in read(call(env, name, rows, *labels))]

    assert order("sort_by_label", "cpu") == ["9a", "9b", "10a", "10b", "100a", "100b"]
    assert order("sort_by_label_desc", "cpu") == ["100b", "100a", "10b", "10a", "9b", "9a"]
    assert order("sort_by_label", "m", "cpu") == ["9a", "10a", "100a", "9b", "10b", "100b"]


def test_natural_order() -> None:
    texts = ["1.111.3", "1.2.3", "4m1000", "4m600", "4m5", "", "a", "a1", "b", "01"]
    assert sorted(texts, key=functools.cmp_to_key(natural_compare)) == [
        "", "01", "1.2.3", "1.111.3", "4m5", "4m600", "4m1000", "a", "a1", "b"
    ]


@pytest.mark.parametrize(
    ("target", "template", "source", "regex", "wanted"),
    [
        ("dst", "$1", "src", "source-value-(.*)", {"dst": "10", "src": "source-value-10"}),
        ("dst", "${1}x$2", "src", "(source)-value-(.*)", {"dst": "sourcex10", "src": "source-value-10"}),
        ("dst", "$1x", "src", "(.*)", {"src": "source-value-10"}),
        ("dst", "$name-$$", "src", "(?P<name>s)ource.*", {"dst": "s-$", "src": "source-value-10"}),
        ("dst", "$ ${ ${a-b}", "src", ".*", {"dst": "$ ${ ${a-b}", "src": "source-value-10"}),
        ("dst", "$1² ${1²} $1ä", "src", "(s).*", {"dst": "s² ${1²} ", "src": "source-value-10"}),
        ("dst", "[$1$2]", "src", "(x)?s(.*)-10", {"dst": "[ource-value]", "src": "source-value-10"}),
        ("dst", "value", "src", "value", {"src": "source-value-10", "dst": "old"}),
        ("dst", "", "src", ".*", {"src": "source-value-10"}),
        ("dst", "got it", "missing", "", {"dst": "got it", "src": "source-value-10"}),
        ("src", "$1", "src", ".*-(.*)", {"dst": "old", "src": "10"}),
        ("\xff", "v", "src", ".*", {"src": "source-value-10", "dst": "old", "\xff": "v"}),
    ],
)
def test_label_replace(target: str, template: str, source: str, regex: str, wanted: dict[str, str]) -> None:
    env = environment(1)
    old = {"dst": "old"} if target != "dst" or "old" in wanted.values() else {}
    child = vector(env, ({"src": "source-value-10", **old}, [1]))
    assert read(call(env, "label_replace", child, target, template, source, regex)) == [(labels_of(wanted), [1])]


def test_label_replace_may_not_make_rows_equal() -> None:
    env = environment(1)
    child = vector(env, ({"src": "a"}, [1]), ({"src": "b"}, [2]))
    with pytest.raises(ExecutionError, match="vector cannot contain metrics with the same labelset"):
        read(call(env, "label_replace", child, "src", "", "", ""))


@pytest.mark.parametrize(
    ("name", "texts", "message"),
    [
        ("label_replace", ("dst", "v", "src", "(.*"), "invalid regular expression in label_replace(): (.*"),
        ("label_replace", ("", "v", "src", "(.*)"), "invalid destination label name in label_replace(): "),
        ("label_join", ("", "-", "src"), "invalid destination label name in label_join(): "),
        ("label_join", ("dst", "-", ""), "invalid source label name in label_join(): "),
    ],
)
def test_wrong_labels(name: str, texts: tuple[str, ...], message: str) -> None:
    env = environment(1)
    with pytest.raises(ExecutionError) as caught:
        call(env, name, vector(env), *texts)
    assert str(caught.value) == message


def test_label_join() -> None:
    env = environment(1)
    child = vector(env, ({"a": "1", "b": "2"}, [1]), ({"a": "1"}, [2]), ({}, [3]))
    assert read(call(env, "label_join", child, "dst", "-", "a", "b", "a")) == [
        (labels_of({"a": "1", "b": "2", "dst": "1-2-1"}), [1]), (labels_of({"a": "1", "dst": "1--1"}), [2]),
        (labels_of({"dst": "--"}), [3]),
    ]
    emptied = vector(env, ({"a": "1", "b": "2"}, [1]), ({"a": "1"}, [2]))
    assert read(call(env, "label_join", emptied, "a", "", "b")) == [(labels_of({"a": "2", "b": "2"}), [1]), ((), [2])]


@settings(max_examples=40, deadline=None)
@given(rows=vectors(3, numbers), separator=st.sampled_from(["", "-"]))
def test_label_join_of_any_rows(rows: Vector, separator: str) -> None:
    env = environment(3)
    wanted = []
    for labels, row in rows:
        values = dict(labels)
        joined = separator.join(values.get(name, "") for name in ("a", "c"))
        wanted.append((labels_of({**values, "j": joined}), row))
    assert_same(read(call(env, "label_join", Literal(rows, env), "j", separator, "a", "c")), wanted)


def test_names_that_are_set_on_purpose_stay_under_delayed_removal() -> None:
    env = environment(1, delayed=True)
    child = minus(vector(env, ({"__name__": "m", "a": "x"}, [1])), env)
    replaced = call(env, "label_replace", child, "__name__", "n", "a", "x").series()
    assert replaced.labels(0)["__name__"] == "n"
    assert replaced.drop_name is not None and not replaced.drop_name.any()


def test_what_asks_native_histograms_has_nothing_of_floats() -> None:
    env = environment(1)
    assert as_dict(read(call(env, "histogram_count", vector(env, ({"a": "x"}, [1]))))) == {}


def test_empty_vectors() -> None:
    env = environment(2)
    for name, args in {"abs": (), "sort": (), "label_join": ("d", "-", "a"), "label_replace": ("d", "", "a", ""),
                       "sort_by_label": ("a",)}.items():
        assert as_dict(read(call(env, name, vector(env), *args))) == {}
