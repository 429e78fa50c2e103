"""PromQL text to the typed tree. The grammar is grammar.lark."""

from __future__ import annotations

import functools
import re
from importlib import resources
from typing import Final

from lark import Lark, v_args
from lark.exceptions import UnexpectedInput

from tsdb.model.errors import ParseError
from tsdb.model.matchers import Matcher
from tsdb.promql.ast import Expr, VectorSelector
from tsdb.promql.syntax.duration_rules import DurationRules
from tsdb.promql.syntax.experimental import experimental_problem
from tsdb.promql.syntax.lexer import PromQLLexer
from tsdb.promql.syntax.operator_rules import OperatorRules
from tsdb.promql.syntax.selector_rules import SelectorRules
from tsdb.promql.syntax.syntax_errors import syntax_problem, text_problem
from tsdb.promql.syntax.typed import Problem, Typed

MAX_LENGTH: Final = 256 * 1024
"""Characters of an expression."""


@v_args(inline=True)
class _TreeBuilder(SelectorRules, DurationRules, OperatorRules):
    def expression(self, typed: Typed) -> Typed:
        return typed

    def selector(self, typed: Typed) -> Typed:
        return typed


class Parser:
    """Parses expressions; stateless once built, so that threads may share it. Building takes about 0.1 s."""

    def __init__(self, *, max_length: int = MAX_LENGTH) -> None:
        self._max_length = max_length
        self._lark = Lark(
            resources.files("tsdb.promql.syntax").joinpath("grammar.lark").read_text(encoding="utf-8"),
            start=["expression", "selector"],
            parser="lalr",
            lexer=PromQLLexer,
            transformer=_TreeBuilder(),
            g_regex_flags=re.ASCII,
        )
        self._lark.parse(
            'x{a="b"}[1m]', start="expression"
        )  # Lark makes a lexer at its first use; so none waits for the first query.

    def parse(self, text: str, *, experimental: bool = True) -> Expr:
        """The tree of an expression. Raises ParseError, with Prometheus' words, if syntax or types are wrong, and
        unless `experimental`, at functions and syntax that Prometheus has behind feature flags."""
        try:
            typed = self._read(text, "expression")
            if typed.error is not None:
                raise typed.error
            if not experimental:
                problem = experimental_problem(typed.node)
                if problem is not None:
                    raise problem
        except Problem as problem:
            raise _located(text, problem) from None
        return typed.node

    def parse_selector(self, text: str, *, checked: bool = True) -> tuple[Matcher, ...]:
        """The matchers of a series selector (``up{job="a"}``), as in match[]. `checked`: one that selects all series or
        names the metric twice is wrong, as in an expression. Raises ParseError."""
        try:
            if not text.strip():
                raise Problem(len(text), "unexpected end of input")
            typed = self._read(text, "selector")
            if checked and typed.error is not None:
                raise typed.error
        except Problem as problem:
            raise _located(text, problem) from None
        assert isinstance(typed.node, VectorSelector)
        return typed.node.matchers

    def _read(self, text: str, start: str) -> Typed:
        problem = text_problem(text, self._max_length)
        if problem is not None:
            raise problem
        try:
            return self._lark.parse(text, start=start)  # type: ignore[return-value]
        except UnexpectedInput as error:
            raise syntax_problem(text, error) from None


@functools.cache
def _shared() -> Parser:
    return Parser()


def parse(text: str, *, experimental: bool = True) -> Expr:
    """`Parser.parse` with a parser made at the first call."""
    return _shared().parse(text, experimental=experimental)


def parse_selector(text: str, *, checked: bool = True) -> tuple[Matcher, ...]:
    """`Parser.parse_selector` with a parser made at the first call."""
    return _shared().parse_selector(text, checked=checked)


def _located(text: str, problem: Problem) -> ParseError:
    """Line and column count from 1, as Prometheus writes them. A message that quotes a huge word is cut."""
    position = min(max(problem.position, 0), len(text))
    before = text[:position]
    where = f"{before.count(chr(10)) + 1}:{position - before.rfind(chr(10))}" if text else "unknown position"
    message = problem.message if len(problem.message) <= 500 else f"{problem.message[:500]}…"
    return ParseError(f"{where}: parse error: {message}", position)
