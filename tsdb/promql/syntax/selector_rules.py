"""Rules of grammar.lark for literals and selectors: ``x{a="b"}[5m] offset 1h @ end()``."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

import re2
from lark import Token, Transformer, v_args

from tsdb.model.durations import parse_duration
from tsdb.model.matchers import Matcher, MatchType
from tsdb.promql.ast import (
    At,
    AtKind,
    Duration,
    Expr,
    MatrixSelector,
    NumberLiteral,
    Span,
    StringLiteral,
    Subquery,
    ValueType,
    VectorSelector,
)
from tsdb.promql.durations import to_ms
from tsdb.promql.literals import format_number, negative, parse_number, quote
from tsdb.promql.regexes import matches_any_byte
from tsdb.promql.syntax.duration_rules import Period
from tsdb.promql.syntax.typed import Problem, Typed, depth_above, end_of, span_of, start_of, unquoted

METRIC_NAME: Final = "__name__"
_MATCH_TYPES: Final = {str(kind): kind for kind in MatchType}


class Matchers(NamedTuple):
    """``{…}`` and where it stands."""

    matchers: tuple[Matcher, ...]
    """Sorted, so that selectors of the same series are equal."""
    written: tuple[Matcher, ...]
    start: int
    end: int


@v_args(inline=True)
class SelectorRules(Transformer[object, Typed]):
    def __init__(self) -> None:
        super().__init__()
        self._regex_options = re2.Options()
        self._regex_options.dot_nl = True
        self._regex_options.log_errors = False

    # ---- Literals

    def number(self, token: Token) -> Typed:
        try:
            if token.type == "DURATION":
                value = parse_duration(str(token)) / 1000
            else:
                value = parse_number(str(token))
        except ValueError as error:
            message = f"error parsing number: {error}"
            if token.type == "DURATION":
                message = f"not a valid duration string: {quote(str(token))}"
                if "out of range" in str(error):
                    message = "duration out of range"
            raise Problem(start_of(token), message) from None
        return Typed(NumberLiteral(value, token.type == "DURATION", span=span_of(token)), ValueType.SCALAR)

    def signed_literal(self, sign: Token, number: Typed) -> Typed:
        """A sign before a number belongs to the number."""
        literal = number.node
        assert isinstance(literal, NumberLiteral)
        value = negative(literal.value) if sign == "-" else literal.value
        span = Span(start_of(sign), literal.span.end)
        return Typed(NumberLiteral(value, literal.duration, span=span), ValueType.SCALAR)

    def string(self, token: Token) -> Typed:
        return Typed(StringLiteral(unquoted(token), span=span_of(token)), ValueType.STRING)

    # ---- Instant vectors

    def metric(self, token: Token) -> Token:
        return token

    def matcher(self, name: Token, operator: Token, value: Token) -> Matcher:
        label = unquoted(name) if name.type == "STRING" else str(name)
        matcher = Matcher(_MATCH_TYPES[str(operator)], label, unquoted(value))
        if matcher.regex:
            self._matches_empty(matcher, start_of(name))
        return matcher

    def quoted_metric(self, name: Token) -> Matcher:
        return Matcher(MatchType.EQUAL, METRIC_NAME, unquoted(name))

    def matchers(self, left: Token, *rest: Matcher | Token) -> Matchers:
        *matchers, right = rest
        assert isinstance(right, Token)
        found = [matcher for matcher in matchers if isinstance(matcher, Matcher)]
        written = tuple(found)
        if len(found) > 1:
            found.sort(key=lambda matcher: (matcher.name, matcher.type, matcher.value))
        return Matchers(tuple(found), written, start_of(left), end_of(right))

    def vector_selector(self, metric: Token, matchers: Matchers | None) -> Typed:
        name = str(metric)
        start = start_of(metric)
        named = Matcher(MatchType.EQUAL, METRIC_NAME, name)
        if matchers is None:
            return Typed(VectorSelector(name, (named,), span=Span(start, end_of(metric))), ValueType.VECTOR)
        error = None
        for matcher in matchers.matchers:
            if matcher.name == METRIC_NAME:
                both = f"{quote(name)} or {quote(matcher.value)}"
                error = Problem(start, f"metric name must not be set twice: {both}")
                break
        selector = VectorSelector(name, (named, *matchers.matchers), written=matchers.written,
                                  span=Span(start, matchers.end))
        return Typed(selector, ValueType.VECTOR, error=error)

    def nameless_selector(self, matchers: Matchers) -> Typed:
        error = None
        if all(self._matches_empty(matcher, matchers.start) for matcher in matchers.matchers):
            error = Problem(matchers.start, "vector selector must contain at least one non-empty matcher")
        selector = VectorSelector("", matchers.matchers, written=matchers.written,
                                  span=Span(matchers.start, matchers.end))
        return Typed(selector, ValueType.VECTOR, error=error)

    def _matches_empty(self, matcher: Matcher, position: int) -> bool:
        """Whether a series without the label fits. Raises Problem if the regex is wrong."""
        if matcher.regex:
            if matches_any_byte(matcher.value):
                raise Problem(position, r"error parsing regexp: invalid escape sequence: `\C`")
            try:
                found = re2.compile(matcher.value, options=self._regex_options).fullmatch("") is not None
            except re2.error as error:
                raise Problem(position, f"error parsing regexp: {_go_words(error)}") from None
            except UnicodeEncodeError:
                raise Problem(position, "error parsing regexp: invalid UTF-8") from None
        else:
            found = matcher.value == ""
        return found != matcher.negative

    # ---- Ranges and subqueries

    def matrix(self, inner: Typed, left: Token, period: Period, right: Token) -> Typed:
        vector = inner.node
        if not isinstance(vector, VectorSelector):
            raise Problem(start_of(left), "ranges only allowed for vector selectors")
        if vector.offset != 0:
            raise Problem(start_of(left), "no offset modifiers allowed before range")
        if vector.at is not None:
            raise Problem(start_of(left), "no @ modifiers allowed before range")
        node = MatrixSelector(vector, period.positive(), span=Span(vector.span.start, end_of(right)))
        return Typed(node, ValueType.MATRIX, depth_above(inner.depth, vector.span.start), inner.error)

    def subquery(self, inner: Typed, left: Token, period: Period, step: Period | None, right: Token) -> Typed:
        start = inner.node.span.start
        node = Subquery(
            inner.node,
            period.positive(),
            None if step is None else step.positive(),
            span=Span(start, end_of(right)),
        )
        error = inner.error
        if error is None and inner.type is not ValueType.VECTOR:
            error = Problem(start, f"subquery is only allowed on instant vector, got {inner.type} instead")
        return Typed(node, ValueType.MATRIX, depth_above(inner.depth, start), error)

    # ---- Modifiers

    def offset(self, inner: Typed, keyword: Token, period: Period) -> Typed:
        node = inner.node
        offset = period.duration()
        if not isinstance(node, VectorSelector | MatrixSelector | Subquery):
            raise Problem(node.span.start, f"offset modifier {_AFTER_SELECTOR}")
        selector = node.vector if isinstance(node, MatrixSelector) else node
        if selector.offset != 0:
            raise Problem(node.span.start, "offset may not be set multiple times")
        return inner._replace(node=_modified(node, period.end, offset=offset))

    def at_time(self, inner: Typed, at: Token, time: Typed) -> Typed:
        assert isinstance(time.node, NumberLiteral)
        seconds = time.node.value
        if not abs(seconds) * 1000 < 2**63:
            raise Problem(inner.node.span.start, f"timestamp out of bounds for @ modifier: {format_number(seconds)}")
        return self._at(inner, At(AtKind.TIMESTAMP, to_ms(seconds)), time.node.span.end)

    def at_boundary(self, inner: Typed, at: Token, boundary: Token, right: Token) -> Typed:
        return self._at(inner, At(AtKind(boundary.lower())), end_of(right))

    def _at(self, inner: Typed, at: At, end: int) -> Typed:
        node = inner.node
        if not isinstance(node, VectorSelector | MatrixSelector | Subquery):
            raise Problem(node.span.start, f"@ modifier {_AFTER_SELECTOR}")
        selector = node.vector if isinstance(node, MatrixSelector) else node
        if selector.at is not None:
            raise Problem(node.span.start, "@ <timestamp> may not be set multiple times")
        return inner._replace(node=_modified(node, end, at=at))

    def extended(self, inner: Typed, keyword: Token) -> Typed:
        node = inner.node
        word = keyword.lower()
        if isinstance(node, Subquery):
            raise Problem(node.span.start, f"{word} modifier is not supported for subqueries")
        if not isinstance(node, VectorSelector | MatrixSelector):
            raise Problem(node.span.start, f"{word} modifier not implemented")
        selector = node.vector if isinstance(node, MatrixSelector) else node
        if selector.smoothed if word == "anchored" else selector.anchored:
            raise Problem(node.span.start, "anchored and smoothed modifiers cannot be used together")
        return inner._replace(node=_modified(node, end_of(keyword), **{word: True}))


_GO_WORDS: Final = {
    "missing )": "missing closing )",
    "missing ]": "missing closing ]",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid repetition size": "invalid repeat count",
    "invalid perl operator": "invalid or unsupported Perl syntax",
}


def _go_words(error: re2.error) -> str:
    """RE2's complaint as Go's package regexp says it."""
    reason = error.args[0] if error.args else ""
    what, separator, where = (reason.decode() if isinstance(reason, bytes) else str(reason)).partition(": ")
    return f"{_GO_WORDS.get(what, what)}: `{where}`" if separator else what


_AFTER_SELECTOR: Final = "must be preceded by an instant vector selector or range vector selector or a subquery"


def _modified(node: VectorSelector | MatrixSelector | Subquery, end: int, **changes: Duration | At | None) -> Expr:
    """`node` with other offset, at, anchored or smoothed, which a range vector keeps in its vector selector."""
    span = Span(node.span.start, end)
    if isinstance(node, MatrixSelector):
        return replace(node, vector=replace(node.vector, **changes), span=span)  # type: ignore[arg-type]
    return replace(node, **changes, span=span)  # type: ignore[arg-type]
