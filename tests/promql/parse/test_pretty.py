"""Expressions as people read them, and as plain data. (That Prometheus does it alike is tested over the API.)"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from tests.promql.parse import scripts
from tests.promql.parse.strategies import any_expression
from tsdb.model.errors import ParseError
from tsdb.promql.ast import Aggregate, Call, Expr
from tsdb.promql.syntax.parser import parse
from tsdb.promql.syntax.pretty import pretty
from tsdb.promql.syntax.printer import to_promql
from tsdb.promql.syntax.tree import tree

LONG = "x" * 60


@pytest.mark.parametrize(
    ("query", "lines"),
    [
        ("sum(x)by(a)", ["sum by (a) (x)"]),
        (f"sum({LONG} + {LONG})", ["sum(", f"    {LONG}", "  +", f"    {LONG}", ")"]),
        (f"topk(3, {LONG} + {LONG})", ["topk(", "  3,", f"    {LONG}", "  +", f"    {LONG}", ")"]),
        (f"-({LONG} + {LONG})", ["-(", f"    {LONG}", "  +", f"    {LONG}", ")"]),
        (f"clamp_max({LONG} > bool on (a) {LONG}, 5)",
         ["clamp_max(", f"    {LONG}", "  > bool on (a)", f"    {LONG},", "  5", ")"]),
        (f"{LONG}{LONG}", [f"{LONG}{LONG}"]),
    ],
)
def test_lines(query: str, lines: list[str]) -> None:
    assert pretty(parse(query)).split("\n") == lines


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(any_expression, any_expression)
def test_it_means_the_same(first: Expr, second: Expr) -> None:
    for shape in (first, Call("label_join", (first, second)), Aggregate("topk", second, first, ("a", "b"))):
        text = to_promql(shape)
        try:
            expr = parse(text)
        except ParseError:  # types do not fit
            continue
        assert parse(pretty(expr)) == expr


def test_every_expression_of_the_scripts() -> None:
    for text in scripts.expressions():
        expr = parse(text)
        assert parse(pretty(expr)) == expr, text
        assert tree(expr)["type"], text


def test_lengths_are_of_bytes() -> None:
    assert "\n" in pretty(parse('rate(x{a="' + "é" * 44 + '"}[5m])'))
    assert "\n" not in pretty(parse('rate(x{a="' + "e" * 44 + '"}[5m])'))
