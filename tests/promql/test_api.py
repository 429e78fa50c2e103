"""Trees read, changed and printed by programs; docs/promql-api.md has the examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import tsdb
from tsdb import promql
from tsdb.promql import Matcher, MatchType, ast

TENANT = Matcher(MatchType.EQUAL, "tenant", "a")

SCRIPTS = sorted(Path(__file__).parent.joinpath("scripts").rglob("*.test"))


def in_selectors(change: Callable[[ast.VectorSelector], ast.Expr]) -> Callable[[ast.Expr], ast.Expr]:
    return lambda node: change(node) if isinstance(node, ast.VectorSelector) else node


@pytest.mark.parametrize(("before", "after"), [
    ("up", 'up{tenant="a"}'),
    ('{job="x"}', '{job="x",tenant="a"}'),
    ('up{tenant="a"}', 'up{tenant="a"}'),
    ("sum(rate(x[5m] offset 1h)) / -(y @ end())", 'sum(rate(x{tenant="a"}[5m] offset 1h)) / -(y{tenant="a"} @ end())'),
    ("topk(scalar(k), m)", 'topk(scalar(k{tenant="a"}), m{tenant="a"})'),
    ("max_over_time(rate(x[1m])[1h:5m])", 'max_over_time(rate(x{tenant="a"}[1m])[1h:5m])'),
    ('label_replace(x, "a", "$1", "b", "(.*)")', 'label_replace(x{tenant="a"}, "a", "$1", "b", "(.*)")'),
    ('{"a.b"}', '{__name__="a.b",tenant="a"}'),
])
def test_a_condition_in_each_selector(before: str, after: str) -> None:
    tree = promql.parse(before)
    changed = promql.rewrite(tree, in_selectors(lambda each: promql.with_matchers(each, TENANT)))
    assert promql.format(changed) == after
    assert promql.metric_names(promql.parse(after)) == promql.metric_names(tree)
    assert tree == promql.parse(before)


@pytest.mark.parametrize(("before", "after"), [
    ("old", "new"),
    ('rate(old{a="b"}[5m])', 'rate(new{a="b"}[5m])'),
    ('{__name__="old"}', "new"),
    ('{__name__=~"old|older"}', '{__name__=~"old|older"}'),
    ('{"old"}', "new"),
    ("other + old", "other + new"),
])
def test_another_name(before: str, after: str) -> None:
    def change(selector: ast.VectorSelector) -> ast.Expr:
        return promql.with_metric(selector, "new") if promql.metric_name(selector) == "old" else selector

    assert promql.format(promql.rewrite(promql.parse(before), in_selectors(change))) == after


@pytest.mark.parametrize(("text", "names"), [
    ("1 + 2", []),
    ("b + a + b", ["a", "b"]),
    ('sum({__name__="x"}) / count({__name__=~"y.*"})', ["x"]),
    ('{"with space"} unless on () {job="a"}', ["with space"]),
    ("avg_over_time(rate(a[5m])[1h:]) or b offset 5m", ["a", "b"]),
])
def test_names(text: str, names: list[str]) -> None:
    assert promql.metric_names(promql.parse(text)) == names


def test_what_stays_is_not_made_again() -> None:
    tree = promql.parse("sum by (a) (rate(x[5m])) + topk(1, y) > bool -(z) ^ 2 and max_over_time(w[1h:1m])")
    assert promql.rewrite(tree, lambda node: node) is tree
    seen: list[ast.Expr] = []

    def see(node: ast.Expr) -> ast.Expr:
        seen.append(node)
        return node

    promql.rewrite(tree, see)
    assert sorted(map(id, seen)) == sorted(map(id, promql.walk(tree)))
    assert all(seen.index(node) > seen.index(child) for node in seen for child in promql.children(node))


def test_a_range_needs_a_selector() -> None:
    with pytest.raises(TypeError, match="replace the MatrixSelector above it"):
        promql.rewrite(promql.parse("rate(x[5m])"), in_selectors(lambda _: ast.NumberLiteral(1.0)))
    with pytest.raises(ValueError, match="a metric has a name"):
        promql.with_metric(next(promql.selectors(promql.parse("x"))), "")


def test_a_change_that_is_no_promql_is_found_by_parsing() -> None:
    tree = promql.rewrite(promql.parse("sum(x)"), in_selectors(lambda _: ast.NumberLiteral(1.0)))
    with pytest.raises(promql.ParseError, match="expected type instant vector in aggregation expression") as found:
        promql.parse(promql.format(tree))
    assert found.value.position == 4
    product = promql.parse("a * b")
    assert isinstance(product, ast.Binary)
    assert promql.format(replace(product, left=promql.parse("x + y"))) == "(x + y) * b"


def test_expressions_of_the_scripts_stay_what_they_are() -> None:
    texts = {line.partition(" at ")[2].partition(" ")[2] if " at " in line else ""
             for file in SCRIPTS for line in file.read_text().splitlines() if line.startswith("eval instant")}
    known = 0
    for text in texts - {""}:
        try:
            tree = promql.parse(text)
        except promql.ParseError:
            continue
        known += 1
        assert promql.parse(promql.format(promql.rewrite(tree, lambda node: node))) == tree
    assert known > 20


def test_it_is_all_there() -> None:
    assert tsdb.promql is promql
    assert all(hasattr(promql, name) for name in promql.__all__)
    page = (Path(__file__).parents[2] / "docs" / "promql-api.md").read_text()
    assert not [kind.__name__ for kind in ast.Expr.__args__ if f"| `{kind.__name__}` |" not in page]
