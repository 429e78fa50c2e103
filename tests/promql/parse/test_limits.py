"""Texts made to hurt: deep, long, or not PromQL at all. They end in a ParseError, never in anything else."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.promql.parse import scripts
from tests.promql.parse.strategies import any_expression
from tsdb.model.errors import ParseError
from tsdb.promql.ast import Expr
from tsdb.promql.syntax.lexer import MAX_TOKENS
from tsdb.promql.syntax.parser import MAX_LENGTH, Parser, parse
from tsdb.promql.syntax.printer import to_promql
from tsdb.promql.syntax.typed import MAX_DEPTH

DEEP: dict[str, Callable[[int], str]] = {
    "parentheses": lambda n: "(" * n + "a" + ")" * n,
    "open parentheses": lambda n: "(" * n,
    "calls": lambda n: "abs(" * n + "a" + ")" * n,
    "aggregations": lambda n: "sum by (x) (" * n + "a" + ")" * n,
    "signs": lambda n: "-" * n + "a",
    "sums": lambda n: "a" + "+a" * n,
    "powers": lambda n: "a" + "^a" * n,
    "subqueries": lambda n: "abs(avg_over_time(" * n + "a" + "[1m:]))" * n,
    "durations": lambda n: "a[" + "(" * n + "1m" + ")" * n + "]",
    "computed durations": lambda n: "a[1m" + "+1m" * n + "]",
    "signed offsets": lambda n: "a offset " + "-" * n + "step()",
    "brackets": lambda n: "a" + "[" * n,
}


@pytest.mark.parametrize("shape", DEEP)
def test_deep_nesting_is_refused(shape: str) -> None:
    with pytest.raises(ParseError, match=f"nested deeper than {MAX_DEPTH} levels|more than|unexpected character"):
        parse(DEEP[shape](10_000))


@pytest.mark.parametrize(
    "shape", ["parentheses", "calls", "aggregations", "sums", "powers", "signs", "computed durations"]
)
def test_what_is_just_allowed_can_be_used(shape: str) -> None:
    text = DEEP[shape](MAX_DEPTH - 2)
    tree = parse(text)
    assert parse(to_promql(tree)) == tree
    assert hash(tree) == hash(parse(text))
    assert repr(tree)


def test_brackets_in_strings_and_comments_are_no_nesting() -> None:
    many = "([" * MAX_DEPTH
    parse(f'a{{b=\'{many}\', c="{many}\\"", d=`{many}`}} # {many}')
    parse(f"label_join(a, {', '.join(['(`x`)'] * (2 * MAX_DEPTH))})")


def test_long_texts_are_refused() -> None:
    long = "a" * (MAX_LENGTH + 1)
    with pytest.raises(ParseError, match=f"longer than {MAX_LENGTH}"):
        parse(long)
    parse(long[1:])
    with pytest.raises(ParseError, match="expression of 3 characters is longer than 2"):
        Parser(max_length=2).parse("abc")


@pytest.mark.parametrize("text", ["sort_by_label(a, {})", "sum by ({}) (a)", "{{{}}}"])
def test_endless_lists_are_refused(text: str) -> None:
    parse(text.format(",".join(["'x'"] * 1000)))
    with pytest.raises(ParseError, match=f"more than {MAX_TOKENS} words and signs"):
        parse(text.format(",".join(["'x'"] * MAX_TOKENS)))


def test_a_message_stays_short() -> None:
    with pytest.raises(ParseError) as caught:
        parse("1" * 100_000 + "x")
    assert len(str(caught.value)) < 1000


def test_the_recursion_limit_is_left_alone() -> None:
    before = sys.getrecursionlimit()
    with pytest.raises(ParseError):
        parse("(" * 100_000)
    assert sys.getrecursionlimit() == before


def test_threads_share_a_parser() -> None:
    parser = Parser()
    texts = [f'sum by (x{i}) (rate(a{{b="{i}"}}[{i + 1}m])) + {i}' for i in range(40)]
    alone = [parser.parse(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(parser.parse, texts)) == alone


def parses_or_complains(text: str) -> None:
    try:
        tree = parse(text)
    except ParseError as error:
        assert 0 <= error.position <= len(text)
        assert "parse error: " in str(error)
    else:
        printed = to_promql(tree)
        assert to_promql(parse(printed)) == printed


@given(st.text())
def test_any_text(text: str) -> None:
    parses_or_complains(text)


_PIECES = """
a sum by without on ignoring group_left offset @ start() end step() range() min_of max_of fill fill_left bool and or
unless atan2 topk rate inf nan anchored smoothed ( ) { } [ ] , : + - * / % ^ == != < <= > >= </ >/ = =~ !~ ! 1 0x 1e 5m
1h30m .5 "s" 's ` "\\x" # é $ ; _ :: a:b
"""
FRAGMENTS = _PIECES.split()


@given(st.lists(st.sampled_from([*FRAGMENTS, " ", "\n"]), max_size=25).map(" ".join))
def test_any_tokens(text: str) -> None:
    parses_or_complains(text)


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join))
def test_any_tokens_without_spaces(text: str) -> None:
    parses_or_complains(text)


@given(any_expression, st.randoms(use_true_random=False))
def test_mutated_expressions(tree: Expr, choices: random.Random) -> None:
    parses_or_complains(mutated(to_promql(tree), choices))


def test_mutated_expressions_of_the_scripts() -> None:
    choices = random.Random(7)
    for text in scripts.expressions():
        parses_or_complains(mutated(text, choices))


def mutated(text: str, choices: random.Random) -> str:
    """`text` with a few pieces cut out, doubled, moved or replaced."""
    for _ in range(choices.randint(1, 3)):
        start, end = sorted(choices.randint(0, len(text)) for _ in range(2))
        end = min(end, start + 8)
        piece = choices.choice(["", text[start:end] * 2, choices.choice(FRAGMENTS), text[start:end][::-1]])
        text = text[:start] + piece + text[end:]
    return text
