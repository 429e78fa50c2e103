"""Texts and the trees they become."""

from __future__ import annotations

import math

import pytest

from tsdb.model.matchers import Matcher, MatchType
from tsdb.promql.ast import (
    Aggregate,
    At,
    AtKind,
    Binary,
    Call,
    Card,
    DurationExpr,
    Expr,
    MatrixSelector,
    NumberLiteral,
    Paren,
    Span,
    StringLiteral,
    Subquery,
    Unary,
    VectorMatching,
    VectorSelector,
    walk,
)
from tsdb.promql.syntax.parser import parse, parse_selector


def series(name: str, *matchers: Matcher) -> VectorSelector:
    return VectorSelector(name, (equal("__name__", name), *matchers))


def equal(name: str, value: str) -> Matcher:
    return Matcher(MatchType.EQUAL, name, value)


def number(value: float) -> NumberLiteral:
    return NumberLiteral(value)


A, B, C = series("a"), series("b"), series("c")
ONE, TWO, THREE = number(1), number(2), number(3)
MATCHED, SETS = VectorMatching(), VectorMatching(Card.MANY_TO_MANY)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("1 + 2 * 3", Binary("+", ONE, Binary("*", TWO, THREE))),
        ("1 * 2 + 3", Binary("+", Binary("*", ONE, TWO), THREE)),
        ("1 - 2 - 3", Binary("-", Binary("-", ONE, TWO), THREE)),
        ("1 ^ 2 ^ 3", Binary("^", ONE, Binary("^", TWO, THREE))),
        ("-1 ^ 2", Unary("-", Binary("^", ONE, TWO))),
        ("-a ^ 2", Unary("-", Binary("^", A, TWO))),
        ("-a * b", Binary("*", Unary("-", A), B, matching=MATCHED)),
        ("2 ^ -a ^ 3", Binary("^", TWO, Unary("-", Binary("^", A, THREE)))),
        ("2 ^ -1 * 3", Binary("*", Binary("^", TWO, number(-1)), THREE)),
        ("- -a", Unary("-", Unary("-", A))),
        ("-(1)", Unary("-", Paren(ONE))),
        ("+1", ONE),
        ("1 % 2 atan2 3", Binary("atan2", Binary("%", ONE, TWO), THREE)),
        ("a > b == c", Binary("==", Binary(">", A, B, matching=MATCHED), C, matching=MATCHED)),
        ("a or b and c", Binary("or", A, Binary("and", B, C, matching=SETS), matching=SETS)),
        ("a and b unless c", Binary("unless", Binary("and", A, B, matching=SETS), C, matching=SETS)),
        ("a </ 1 + 2", Binary("</", A, Binary("+", ONE, TWO))),
        ("-a offset 1m", Unary("-", VectorSelector("a", A.matchers, 60_000))),
    ],
)
def test_precedence_and_associativity(text: str, tree: Expr) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a > bool 1", Binary(">", A, ONE, True)),
        ("a + on (x, y) b", Binary("+", A, B, matching=VectorMatching(labels=("x", "y"), on=True))),
        ("a + ignoring (x,) b", Binary("+", A, B, matching=VectorMatching(labels=("x",)))),
        (
            "a + on (x) group_left b",
            Binary("+", A, B, matching=VectorMatching(Card.MANY_TO_ONE, ("x",), True)),
        ),
        (
            "a == bool ignoring () group_right (y) b",
            Binary("==", A, B, True, VectorMatching(Card.ONE_TO_MANY, (), False, ("y",))),
        ),
        ("a + fill (0) b", Binary("+", A, B, matching=VectorMatching(fill_left=0, fill_right=0))),
        ("a + fill_left (-1) b", Binary("+", A, B, matching=VectorMatching(fill_left=-1))),
        ("a + fill_right (1) fill_left (2) b", Binary("+", A, B, matching=VectorMatching(fill_left=2, fill_right=1))),
        ("a and on (x) b", Binary("and", A, B, matching=VectorMatching(Card.MANY_TO_MANY, ("x",), True))),
        ("a + 1", Binary("+", A, ONE)),
        ("a + fill", Binary("+", A, series("fill"), matching=MATCHED)),
    ],
)
def test_vector_matching(text: str, tree: Expr) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("sum(a)", Aggregate("sum", A)),
        ("SUM BY (x) (a)", Aggregate("sum", A, grouping=("x",))),
        ("sum(a) without (x, 'y z')", Aggregate("sum", A, grouping=("x", "y z"), without=True)),
        ("topk(2, a)", Aggregate("topk", A, TWO)),
        ("count_values('v', a)", Aggregate("count_values", A, StringLiteral("v"))),
        ("limit_ratio(-1, a)", Aggregate("limit_ratio", A, number(-1))),
        ("time()", Call("time", ())),
        ("hour()", Call("hour", ())),
        ("start()", Call("start", ())),
        ("min_of(1, 2)", Call("min_of", (ONE, TWO))),
        ("label_join(a, 'x', ',', 'y', 'z')", Call("label_join", (A, *map(StringLiteral, "x,yz")))),
        ("info(a, {})", Call("info", (A, VectorSelector("", ())))),
        ('info(a, {b=""})', Call("info", (A, VectorSelector("", (equal("b", ""),))))),
    ],
)
def test_aggregations_and_calls(text: str, tree: Expr) -> None:
    assert parse(text) == tree


def rate(**changes: object) -> MatrixSelector:
    return MatrixSelector(VectorSelector("a", A.matchers, **changes), 300_000)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a{}", A),
        ('a{x="1",}', series("a", equal("x", "1"))),
        ("{'a b'}", VectorSelector("", (equal("__name__", "a b"),))),
        ("{'a b', \"x.y\"='1'}", VectorSelector("", (equal("__name__", "a b"), equal("x.y", "1")))),
        ("a[5m]", rate()),
        ("a[300]", rate()),
        ("a [ 4m60s ] ", rate()),
        ("a[0x12c]", rate()),
        ("a[5m] offset -1h", rate(offset=-3_600_000)),
        ("a offset 1.5", VectorSelector("a", A.matchers, 1500)),
        ("a @ 1.5", VectorSelector("a", A.matchers, at=At(AtKind.TIMESTAMP, 1500))),
        ("a @ -1m", VectorSelector("a", A.matchers, at=At(AtKind.TIMESTAMP, -60_000))),
        ("a[5m] @ end() offset 1s", rate(at=At(AtKind.END), offset=1000)),
        ("a[5m] offset 1s @ Start()", rate(at=At(AtKind.START), offset=1000)),
        ("a[5m] anchored", rate(anchored=True)),
        ("a smoothed", VectorSelector("a", A.matchers, smoothed=True)),
        ("a[5m:]", Subquery(A, 300_000)),
        ("a[5m:30]", Subquery(A, 300_000, 30_000)),
        (
            "sum(a)[5m:1m] @ 3 offset 1m",
            Subquery(Aggregate("sum", A), 300_000, 60_000, 60_000, At(AtKind.TIMESTAMP, 3000)),
        ),
        ("a offset 1m [5m:]", Subquery(VectorSelector("a", A.matchers, 60_000), 300_000)),
        ("(a[5m])", Paren(rate())),
        ("a offset 2 ^ 2", Binary("^", VectorSelector("a", A.matchers, 2000), TWO)),
        ("a offset -2 * 2", Binary("*", VectorSelector("a", A.matchers, -2000), TWO)),
        ("a[(5m)]", rate()),
    ],
)
def test_selectors(text: str, tree: Expr) -> None:
    assert parse(text) == tree


STEP, RANGE = DurationExpr("step()", "step"), DurationExpr("range()", "range")


@pytest.mark.parametrize(
    ("text", "range"),
    [
        ("1m + 30", DurationExpr("1m + 30", "+", (60.0, 30.0))),
        ("step()", STEP),
        ("-RANGE()", DurationExpr("-range()", "-", (RANGE,))),
        ("2 ^ 3 ^ 4", DurationExpr("2 ^ 3 ^ 4", "^", (2.0, DurationExpr("3 ^ 4", "^", (3.0, 4.0))))),
        ("-2 ^ 2", DurationExpr("-2 ^ 2", "-", (DurationExpr("2 ^ 2", "^", (2.0, 2.0)),))),
        ("(1+2) % 3", DurationExpr("(1 + 2) % 3", "%", (DurationExpr("(1 + 2)", "+", (1.0, 2.0)), 3.0))),
        ("min_of(step(), 1h)", DurationExpr("min_of(step(), 1h)", "min_of", (STEP, 3600.0))),
    ],
)
def test_computed_durations(text: str, range: DurationExpr) -> None:
    tree = parse(f"a[{text}:]")
    assert isinstance(tree, Subquery)
    assert tree.range == range


@pytest.mark.parametrize(
    "name",
    ["sum", "count_values", "by", "without", "offset", "anchored", "start", "step", "min_of", "and", "or", "fill"],
)
def test_keywords_are_metric_and_label_names(name: str) -> None:
    assert parse(name) == series(name)
    assert parse(f'{name}{{{name}="1"}}') == series(name, equal(name, "1"))
    assert parse(f"sum by ({name}) (a)") == Aggregate("sum", A, grouping=(name,))


@pytest.mark.parametrize("name", ["on", "ignoring", "bool", "group_left", "group_right", "atan2", "inf", "nan"])
def test_keywords_that_are_label_names_only(name: str) -> None:
    assert parse(f'a{{{name}="1"}}') == series("a", equal(name, "1"))
    assert parse(name.join("''")) == StringLiteral(name)
    assert parse(f"summary_{name}") == series(f"summary_{name}")


@pytest.mark.parametrize(
    "name",
    ["summary", "or_else", "offset:x", "by_", "bytes", "infinity", "_a", ":a", "a:", "A1", "sum:rate5m", "fillx"],
)
def test_names_that_only_look_like_keywords(name: str) -> None:
    assert parse(f"a + {name}") == Binary("+", A, series(name), matching=MATCHED)


def test_matchers_are_in_canonical_order() -> None:
    text = 'a{z="1",y=~"2",x!="3",w!~"4"}'
    tree = parse(text)
    assert isinstance(tree, VectorSelector)
    assert [matcher.name for matcher in tree.matchers] == ["__name__", "w", "x", "y", "z"]
    assert parse('a{w!~"4",x!="3",z="1",y=~"2"}') == tree
    assert parse_selector(text) == tree.matchers


def test_nan_is_equal_to_itself_in_trees() -> None:
    assert parse("-nan") == parse("NaN") == number(math.nan)


def test_every_node_knows_its_place() -> None:
    text = 'sum by (x) (rate(a{b="c"}[5m] offset 1m)) + -(1 * time())'
    places = [text[node.span.start : node.span.end] for node in walk(parse(text))]
    assert places == [
        text,
        'sum by (x) (rate(a{b="c"}[5m] offset 1m))',
        'rate(a{b="c"}[5m] offset 1m)',
        'a{b="c"}[5m] offset 1m',
        'a{b="c"}',
        "-(1 * time())",
        "(1 * time())",
        "1 * time()",
        "1",
        "time()",
    ]
    assert parse(text).span == Span(0, len(text))
