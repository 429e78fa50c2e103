"""Random PromQL trees, well typed, as a text could have them except that parentheses may be missing."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import strategies as st

from tsdb.model.matchers import Matcher, MatchType
from tsdb.promql.aggregations import AGGREGATIONS
from tsdb.promql.ast import (
    Aggregate,
    At,
    AtKind,
    Binary,
    Call,
    Card,
    Duration,
    Expr,
    MatrixSelector,
    NumberLiteral,
    Paren,
    StringLiteral,
    Subquery,
    Unary,
    ValueType,
    VectorMatching,
    VectorSelector,
)
from tsdb.promql.functions import FUNCTIONS
from tsdb.promql.syntax.parser import parse

_WORDS = "sum by without on offset start end step range and or unless atan2 bool ignoring group_left min_of"
KEYWORDS = _WORDS.split()
_NOT_METRICS = {"on", "atan2", "bool", "ignoring", "group_left"}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
metric_names = st.sampled_from(["up", "http_requests_total", "a:b", ":c", "fill", "x", *KEYWORDS]).filter(
    lambda name: name not in _NOT_METRICS
)
label_names = st.sampled_from(["job", "instance", "le", "my.label", "fill", "1st", *KEYWORDS]).filter(
    lambda name: name != "without"
)
finite = st.floats(allow_nan=False, allow_infinity=False)
numbers = st.one_of(finite, st.integers(-1000, 1000).map(float), st.sampled_from([math.nan, math.inf, -math.inf]))
number_literals = st.one_of(
    numbers.map(NumberLiteral), st.integers(-(10**12), 10**12).map(lambda ms: NumberLiteral(ms / 1000, True))
)
string_literals = texts.map(StringLiteral)


def _computed(text: str) -> Duration:
    expr = parse(f"x[{text}]")
    assert isinstance(expr, MatrixSelector)
    return expr.range


computed_durations = st.sampled_from(
    ["1m+30s", "(step())", "(2*(3-1)^2)", "-step()", "max_of(range(),1m)", "(-(1h)%7)"]
)
ranges = st.one_of(st.integers(1, 9 * 10**12), computed_durations.map(_computed))
offset_texts = ["step()", "-range()", "(1m+30s)", "-(2*step())", "min_of(1m, step())", "-max_of(1, 2)"]
offsets: st.SearchStrategy[Duration] = st.one_of(
    st.just(0), st.integers(-(9 * 10**12), 9 * 10**12), st.sampled_from([_computed(text) for text in offset_texts])
)
ats = st.one_of(
    st.none(),
    st.sampled_from([At(AtKind.START), At(AtKind.END)]),
    st.integers(-(10**12), 9 * 10**12).map(lambda ms: At(AtKind.TIMESTAMP, ms)),
)


@st.composite
def selectors(draw: st.DrawFn) -> VectorSelector:
    name = draw(st.one_of(st.just(""), metric_names))
    kinds = st.sampled_from([MatchType.EQUAL, MatchType.NOT_EQUAL])
    plain = st.builds(Matcher, kinds, label_names, texts)
    regex = st.builds(
        Matcher,
        st.sampled_from([MatchType.REGEX, MatchType.NOT_REGEX]),
        label_names,
        st.sampled_from(["", "a|b", ".+"]),
    )
    matchers = draw(st.lists(st.one_of(plain, regex), max_size=3))
    if name:
        named = [Matcher(MatchType.EQUAL, "__name__", name)]
    else:
        named = []
        matchers.append(Matcher(MatchType.EQUAL, "__name__", draw(texts.filter(bool))))
    matchers.sort(key=lambda matcher: (matcher.name, matcher.type, matcher.value))
    extended = draw(st.sampled_from(["", "anchored", "smoothed"]))
    return VectorSelector(
        name, (*named, *matchers), draw(offsets), draw(ats), extended == "anchored", extended == "smoothed"
    )


def expressions(wanted: ValueType, depth: int = 3) -> st.SearchStrategy[Expr]:
    match wanted:
        case ValueType.STRING:
            return string_literals
        case ValueType.MATRIX:
            options: list[st.SearchStrategy[Expr]] = [st.builds(MatrixSelector, selectors(), ranges)]
            if depth:
                steps = st.one_of(st.none(), ranges)
                options.append(
                    st.builds(Subquery, expressions(ValueType.VECTOR, depth - 1), ranges, steps, offsets, ats)
                )
            return st.one_of(options)
    leaves: list[st.SearchStrategy[Expr]] = [number_literals if wanted is ValueType.SCALAR else selectors()]
    if depth == 0:
        return st.one_of(leaves)
    below = expressions(wanted, depth - 1)
    compound: list[st.SearchStrategy[Expr]] = [
        below.map(Paren),
        st.builds(Unary, st.sampled_from("+-"), below),
        calls(wanted, depth - 1),
        binaries(wanted, depth - 1),
    ]
    if wanted is ValueType.VECTOR:
        compound.append(aggregations(depth - 1))
    return st.one_of(*leaves, *compound)


@st.composite
def calls(draw: st.DrawFn, wanted: ValueType, depth: int) -> Call:
    names = sorted(name for name, function in FUNCTIONS.items() if function.return_type is wanted and name != "info")
    function = FUNCTIONS[draw(st.sampled_from(names))]
    most = function.min_args + 2 if function.max_args is None else min(function.max_args, function.min_args + 2)
    count = draw(st.integers(function.min_args, most))
    return Call(function.name, tuple(draw(expressions(function.arg_type(index), depth)) for index in range(count)))


@st.composite
def aggregations(draw: st.DrawFn, depth: int) -> Aggregate:
    signature = AGGREGATIONS[draw(st.sampled_from(sorted(AGGREGATIONS)))]
    param = None if signature.parameter is None else draw(expressions(signature.parameter, depth))
    grouping = tuple(draw(st.lists(label_names, max_size=2)))
    return Aggregate(signature.name, draw(expressions(ValueType.VECTOR, depth)), param, grouping, draw(st.booleans()))


_ARITHMETIC = ["+", "-", "*", "/", "%", "^", "atan2", "</", ">/"]
_COMPARISONS = ["==", "!=", "<", "<=", ">", ">="]


@st.composite
def binaries(draw: st.DrawFn, wanted: ValueType, depth: int) -> Binary:
    scalar = expressions(ValueType.SCALAR, depth)
    if wanted is ValueType.SCALAR:
        op = draw(st.sampled_from(_ARITHMETIC + _COMPARISONS))
        return Binary(op, draw(scalar), draw(scalar), op in _COMPARISONS)
    vector = expressions(ValueType.VECTOR, depth)
    op = draw(st.sampled_from([*_ARITHMETIC, *_COMPARISONS, "and", "or", "unless"]))
    return_bool = op in _COMPARISONS and draw(st.booleans())
    if op in ("and", "or", "unless"):
        matching = replace(draw(matchings), card=Card.MANY_TO_MANY, include=(), fill_left=None, fill_right=None)
        return Binary(op, draw(vector), draw(vector), False, matching)
    sides = draw(st.sampled_from(["vectors", "left", "right"]))
    if sides == "vectors":
        return Binary(op, draw(vector), draw(vector), return_bool, draw(matchings))
    left, right = (vector, scalar) if sides == "left" else (scalar, vector)
    return Binary(op, draw(left), draw(right), return_bool)


@st.composite
def _matchings(draw: st.DrawFn) -> VectorMatching:
    on = draw(st.booleans())
    labels = tuple(draw(st.lists(label_names, max_size=2)))
    card = draw(st.sampled_from([Card.ONE_TO_ONE, Card.MANY_TO_ONE, Card.ONE_TO_MANY]))
    include = () if card is Card.ONE_TO_ONE else tuple(draw(st.lists(label_names, max_size=2)))
    if on:
        include = tuple(label for label in include if label not in labels)
    fills = st.one_of(st.none(), finite)
    return VectorMatching(card, labels, on, include, draw(fills), draw(fills))


matchings = _matchings()
any_expression = st.sampled_from(list(ValueType)[1:]).flatmap(expressions)


def without_parens(expr: Expr) -> Expr:
    """The same tree with every Paren replaced by what it holds."""
    match expr:
        case Paren():
            return without_parens(expr.expr)
        case Unary() | Subquery():
            return replace(expr, expr=without_parens(expr.expr))
        case Binary():
            return replace(expr, left=without_parens(expr.left), right=without_parens(expr.right))
        case Call():
            return replace(expr, args=tuple(map(without_parens, expr.args)))
        case Aggregate():
            param = None if expr.param is None else without_parens(expr.param)
            return replace(expr, expr=without_parens(expr.expr), param=param)
        case _:
            return expr
