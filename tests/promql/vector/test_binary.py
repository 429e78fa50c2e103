"""Binary operators against a slow twin that works on one step at a time, as Prometheus' engine does."""

from __future__ import annotations

import math
from collections.abc import Callable

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
    numbers,
    read,
    same_number,
    scalar,
    vector,
    vectors,
)
from tsdb.model.errors import ExecutionError
from tsdb.promql import ast
from tsdb.promql.ast import Card, VectorMatching
from tsdb.promql.operators.binary import build_binary
from tsdb.testing.memory_storage import Labels, labels_of

STEPS = 4


def go_pow(x: float, y: float) -> float:
    try:
        return math.pow(x, y)
    except OverflowError:
        odd = y == math.floor(y) and math.fmod(y, 2) != 0
        return -math.inf if x < 0 and odd else math.inf
    except ValueError:  # 0 ** negative, or a negative number to a fraction
        if x != 0:
            return math.nan
        odd = y == math.floor(y) and math.fmod(y, 2) != 0
        return math.copysign(math.inf, x) if odd else math.inf


def go_mod(x: float, y: float) -> float:
    if y == 0 or math.isinf(x) or math.isnan(x) or math.isnan(y):
        return math.nan
    return math.fmod(x, y)


def divide(x: float, y: float) -> float:
    if y == 0:
        return math.nan if x == 0 or math.isnan(x) else math.copysign(math.inf, x) * math.copysign(1, y)
    return x / y


ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "/": divide,
    "%": go_mod,
    "^": go_pow,
    "atan2": math.atan2,
}
COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "==": lambda x, y: x == y,
    "!=": lambda x, y: x != y,
    "<": lambda x, y: x < y,
    "<=": lambda x, y: x <= y,
    ">": lambda x, y: x > y,
    ">=": lambda x, y: x >= y,
}
NAMES = ("__name__", "__type__", "__unit__")


def signature(labels: Labels, matching: VectorMatching) -> Labels:
    if matching.on:
        return tuple(label for label in labels if label[0] in matching.labels)
    return tuple(label for label in labels if label[0] not in matching.labels and label[0] != "__name__")


def element(op: str, x: float, y: float) -> tuple[float, bool]:
    return (ARITHMETIC[op](x, y), True) if op in ARITHMETIC else (x, COMPARISONS[op](x, y))


def result_labels(op: str, many: Labels, one: Labels, matching: VectorMatching, return_bool: bool) -> Labels:
    labels = dict(many)
    if op in ARITHMETIC:
        labels = {n: v for n, v in labels.items() if n not in NAMES}
    if matching.card == Card.ONE_TO_ONE:
        labels = {n: v for n, v in labels.items() if (n in matching.labels) == matching.on}
    for name in matching.include:
        labels[name] = dict(one).get(name, "")
    if return_bool:
        labels = {n: v for n, v in labels.items() if n not in NAMES}
    return labels_of(labels)


def slow_step(op: str, left: list[tuple[Labels, float]], right: list[tuple[Labels, float]], matching: VectorMatching,
              return_bool: bool) -> dict[Labels, float]:
    """One step; raises ValueError("crowd" | "repeated" | "grouping" | "same") where Prometheus has an error."""
    many_fill, one_fill = matching.fill_left, matching.fill_right
    if (not left or not right) and many_fill is None and one_fill is None:
        return {}
    swapped = matching.card == Card.ONE_TO_MANY
    many, one = (right, left) if swapped else (left, right)
    partners: dict[Labels, tuple[Labels, float]] = {}
    for labels, value in one:
        if signature(labels, matching) in partners:
            raise ValueError("crowd")
        partners[signature(labels, matching)] = labels, value
    matched: dict[Labels, set[Labels]] = {}
    out: dict[Labels, float] = {}
    same = False
    pairs = [(signature(labels, matching), labels, value) for labels, value in many]
    keys = {key for key, _, _ in pairs}
    if many_fill is not None:
        pairs += [(key, key, many_fill) for key in partners if key not in keys]
    for key, labels, value in pairs:
        if key not in partners and one_fill is None:
            continue
        other_labels, other = partners.get(key, (key, one_fill or 0.0))
        result, keep = element(op, *((other, value) if swapped else (value, other)))
        if return_bool:
            result, keep = float(keep), True
        made = result_labels(op, labels, other_labels, matching, return_bool)
        if key in matched and matching.card == Card.ONE_TO_ONE:
            raise ValueError("repeated")
        if made in matched.setdefault(key, set()):
            raise ValueError("grouping")
        matched[key].add(made)
        if keep:
            same |= made in out
            out[made] = result
    if same:  # what is ambiguous was looked at first
        raise ValueError("same")
    return out


MESSAGES = {
    "crowd": "found duplicate series for the match group",
    "repeated": "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
    "grouping": "multiple matches for labels: grouping labels must ensure unique matches",
    "same": "vector cannot contain metrics with the same labelset",
}


def node(op: str, matching: VectorMatching | None = None, return_bool: bool = False) -> ast.Binary:
    return ast.Binary(op, ast.NumberLiteral(0), ast.NumberLiteral(0), return_bool, matching)


names = st.lists(st.sampled_from(["a", "b", "missing", "__name__"]), max_size=3, unique=True).map(tuple)


@st.composite
def matchings(draw: st.DrawFn) -> VectorMatching:
    card = draw(st.sampled_from([Card.ONE_TO_ONE, Card.MANY_TO_ONE, Card.ONE_TO_MANY]))
    labels = draw(names)
    include = () if card == Card.ONE_TO_ONE else tuple(n for n in draw(names) if n not in labels)
    fills = st.none() | st.sampled_from([0.0, 2.0, math.nan])
    return VectorMatching(card, labels, draw(st.booleans()), include, draw(fills), draw(fills))


@settings(max_examples=150, deadline=None)
@given(op=st.sampled_from([*ARITHMETIC, *COMPARISONS]), left=vectors(STEPS, max_rows=5),
       right=vectors(STEPS, max_rows=5), matching=matchings(), return_bool=st.booleans())
def test_between_vectors(op: str, left: Vector, right: Vector, matching: VectorMatching, return_bool: bool) -> None:
    env = environment(STEPS)
    return_bool = return_bool and op in COMPARISONS
    operator = build_binary(node(op, matching, return_bool), Literal(left, env), Literal(right, env), env)
    errors, steps = set(), []
    for step in range(STEPS):
        try:
            steps.append(slow_step(op, at_step(left, step), at_step(right, step), matching, return_bool))
        except ValueError as problem:
            errors.add(str(problem))
    if errors:
        with pytest.raises(ExecutionError) as caught:
            read(operator)
        assert any(str(caught.value).startswith(MESSAGES[error]) for error in errors)
    else:
        assert_same(read(operator), from_steps(steps), 1e-15)


@settings(max_examples=150, deadline=None)
@given(op=st.sampled_from(["and", "or", "unless"]), left=vectors(STEPS), right=vectors(STEPS), labels=names,
       on=st.booleans())
def test_set_operators(op: str, left: Vector, right: Vector, labels: tuple[str, ...], on: bool) -> None:
    env = environment(STEPS)
    matching = VectorMatching(Card.MANY_TO_MANY, labels, on)
    steps: list[dict[Labels, float]] = []
    for step in range(STEPS):
        mine, other = at_step(left, step), at_step(right, step)
        left_keys = {signature(row, matching) for row, _ in mine}
        right_keys = {signature(row, matching) for row, _ in other}
        if op == "or":
            kept = mine + [(row, value) for row, value in other if signature(row, matching) not in left_keys]
        else:
            kept = [(row, value) for row, value in mine if (signature(row, matching) in right_keys) == (op == "and")]
        steps.append(dict(kept))
    got = read(build_binary(node(op, matching), Literal(left, env), Literal(right, env), env))
    assert_same(got, from_steps(steps))


@settings(max_examples=60, deadline=None)
@given(op=st.sampled_from([*ARITHMETIC, *COMPARISONS]), values=st.lists(numbers, min_size=STEPS, max_size=STEPS),
       number=st.lists(numbers, min_size=STEPS, max_size=STEPS), swapped=st.booleans(), return_bool=st.booleans())
def test_with_a_scalar(op: str, values: list[float], number: list[float], swapped: bool, return_bool: bool) -> None:
    env = environment(STEPS)
    return_bool = return_bool and op in COMPARISONS
    child, other = vector(env, ({"__name__": "m", "a": "x"}, values)), scalar(env, *number)
    operator = build_binary(node(op, None, return_bool), *((other, child) if swapped else (child, other)), env)
    wanted: list[float | None] = []
    for value, constant in zip(values, number, strict=True):
        result, keep = element(op, *((constant, value) if swapped else (value, constant)))
        if return_bool:
            wanted.append(float(keep))
        elif op in COMPARISONS:
            wanted.append(value if keep else None)
        else:
            wanted.append(result)
    named = {"__name__": "m", "a": "x"} if op in COMPARISONS and not return_bool else {"a": "x"}
    assert_same(read(operator), [(labels_of(named), wanted)], 1e-15)


@settings(max_examples=60, deadline=None)
@given(op=st.sampled_from([*ARITHMETIC, *COMPARISONS]), x=st.lists(numbers, min_size=STEPS, max_size=STEPS),
       y=st.lists(numbers, min_size=STEPS, max_size=STEPS))
def test_between_scalars(op: str, x: list[float], y: list[float]) -> None:
    env = environment(STEPS)
    operator = build_binary(node(op, None, op in COMPARISONS), scalar(env, *x), scalar(env, *y), env)
    assert operator.type == ast.ValueType.SCALAR
    (_, row), = read(operator)
    for got, a, b in zip(row, x, y, strict=True):
        result, keep = element(op, a, b)
        assert same_number(got, float(keep) if op in COMPARISONS else result, 1e-15)


def test_duplicates_on_the_one_side_are_named_in_order() -> None:
    env = environment(1)
    left = vector(env, ({"__name__": "m"}, [3]))
    right = vector(env, ({"__name__": "d", "l": "beta"}, [1]), ({"__name__": "d", "l": "alpha"}, [2]))
    with pytest.raises(ExecutionError) as caught:
        read(build_binary(node(">", VectorMatching(on=True)), left, right, env))
    assert str(caught.value) == (
        'found duplicate series for the match group {} on the right hand-side of the operation: [{__name__="d", '
        'l="alpha"}, {__name__="d", l="beta"}];many-to-many matching not allowed: matching labels must be unique on '
        'one side'
    )


def test_rows_of_one_signature_that_take_turns_are_no_duplicates() -> None:
    env = environment(4)
    left = vector(env, ({"a": "x"}, [1, 2, 3, 4]))
    right = vector(env, ({"a": "x", "pod": "p"}, [10, 20, None, None]), ({"a": "x", "pod": "q"}, [None, None, 30, 40]))
    matching = VectorMatching(Card.MANY_TO_ONE, ("a",), True, ("pod",))
    assert_same(read(build_binary(node("+", matching), left, right, env)), [
        ((("a", "x"), ("pod", "p")), [11, 22, None, None]),
        ((("a", "x"), ("pod", "q")), [None, None, 33, 44]),
    ])
    assert_same(read(build_binary(node("+", VectorMatching(labels=("a",), on=True)), left, right, env)), [
        ((("a", "x"),), [11, 22, 33, 44]),
    ])


def test_delayed_names_are_kept_and_marked() -> None:
    env = environment(1, delayed=True)
    child = vector(env, ({"__name__": "m", "a": "x"}, [1]))
    series = build_binary(node("+"), child, scalar(env, 1), env).series()
    assert series.labels(0) == {"__name__": "m", "a": "x"}
    assert series.drop_name is not None and series.drop_name.all()


def test_accounts_are_settled() -> None:
    env = environment(2)
    rows = ({"a": "x", "b": "1"}, [1, None]), ({"a": "x", "b": "2"}, [None, 2]), ({"a": "y"}, [5, 6])
    for op in ("and", "or", "unless", "+"):
        card = Card.ONE_TO_ONE if op == "+" else Card.MANY_TO_MANY
        read(build_binary(node(op, VectorMatching(card, ("a",), True)), vector(env, *rows), vector(env, *rows), env))
    assert env.context.bytes_reserved == 0
