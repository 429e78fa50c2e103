"""What is printed parses to the same tree."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import HealthCheck, given, settings

from tests.promql.parse import scripts
from tests.promql.parse.strategies import any_expression, without_parens
from tsdb.promql.ast import Expr, walk
from tsdb.promql.syntax.parser import parse
from tsdb.promql.syntax.printer import to_promql


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(any_expression)
def test_a_printed_tree_keeps_its_meaning(tree: Expr) -> None:
    text = to_promql(tree)
    parsed = parse(text)
    assert without_parens(parsed) == without_parens(tree)
    assert to_promql(parsed) == text
    assert repr(pickle.loads(pickle.dumps(parsed))) == repr(parsed)
    for node in walk(parsed):
        assert 0 <= node.span.start < node.span.end <= len(text)


def test_every_expression_of_the_scripts_parses_and_survives_printing() -> None:
    expressions = scripts.expressions()
    assert len(expressions) > 1000
    for text in expressions:
        tree = parse(text)
        printed = to_promql(tree)
        assert parse(printed) == tree, text
        assert to_promql(parse(printed)) == printed, text


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("SUM BY (Job) (X)", "sum by (Job) (X)"),
        ("sum(x) by (job)", "sum by (job) (x)"),
        ("sum by () (x)", "sum(x)"),
        ("sum without () (x)", "sum without () (x)"),
        ('topk by ("a b", c,) (5, x)', 'topk by ("a b", c) (5, x)'),
        ("1+2 *3", "1 + 2 * 3"),
        ("(1+2)*3", "(1 + 2) * 3"),
        ("a==bool on(x)group_left(y)b", "a == bool on (x) group_left (y) b"),
        ("a / ignoring(x) group_right b", "a / ignoring (x) group_right () b"),
        ("a + on() b", "a + on () b"),
        ("a + ignoring() b", "a + b"),
        ("a + fill (0) b", "a + fill (0) b"),
        ("a + on(x) fill_right(-1.5) fill_left(5m) b", "a + on (x) fill_left (300) fill_right (-1.5) b"),
        ("a ATAN2 b", "a atan2 b"),
        ("h </ 0.5", "h </ 0.5"),
        ("h >/ 0.5", "h >/ 0.5"),
        ("x{b='1',a=\"2\"}", 'x{a="2",b="1"}'),
        ('{"my.metric","label.name"=~`x\\d`}', '{"label.name"=~"x\\\\d",__name__="my.metric"}'),
        ('{__name__="x"}', '{__name__="x"}'),
        ("x offset 90m", "x offset 1h30m"),
        ("x OFFSET -1.5 @ END ( )", "x @ end() offset -1s500ms"),
        ("x[300]", "x[5m]"),
        ("x[5m]@1603774568.1234 offset 0s", "x[5m] @ 1603774568.123"),
        ("x[5m] @ -0.5", "x[5m] @ -0.500"),
        ("x[5m] smoothed", "x[5m] smoothed"),
        ("x anchored", "x anchored"),
        ("(x)[5m:]", "(x)[5m:]"),
        ("rate(x[1m])[5m:1m] @ start() offset 1m", "rate(x[1m])[5m:1m] @ start() offset 1m"),
        ("x[5m*2:step()]", "x[5m * 2:step()]"),
        ("x[MAX_OF(Step(),(-5m)+1)]", "x[max_of(step(), (-5m) + 1)]"),
        ("x offset -min_of(range(),0x10)", "x offset -min_of(range(), 16)"),
        ("x offset step()*2", "x offset step() * 2"),
        ("5m", "5m"),
        ("-90d", "-90d"),
        ("--1", "1"),
        ("-2^2", "-2 ^ 2"),
        ("1e300", "1" + "0" * 300),
        ("1E-7", "0.0000001"),
        ("0x1F", "31"),
        ("-iNf", "-Inf"),
        ("nAn", "NaN"),
        ("'a\"\\n'", '"a\\"\\n"'),
        ("time( )", "time()"),
        ("# why\n up # because", "up"),
    ],
)
def test_the_printed_form(text: str, printed: str) -> None:
    assert to_promql(parse(text)) == printed
    assert parse(printed) == parse(text)
