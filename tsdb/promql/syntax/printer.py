"""The tree back to PromQL, written as Prometheus writes it: ``sum by (job) (rate(x[5m]))``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from tsdb.model.durations import format_duration
from tsdb.model.matchers import Matcher, MatchType
from tsdb.promql.ast import (
    Aggregate,
    At,
    AtKind,
    Binary,
    Call,
    Card,
    Duration,
    DurationExpr,
    Expr,
    MatrixSelector,
    NumberLiteral,
    Paren,
    StringLiteral,
    Subquery,
    Unary,
    VectorMatching,
    VectorSelector,
)
from tsdb.promql.durations import to_ms
from tsdb.promql.literals import format_number, quote

_LABEL: Final = re.compile("[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_METRIC: Final = re.compile("[a-zA-Z_:][a-zA-Z0-9_:]*", re.ASCII)
_NOT_METRICS: Final = frozenset({"atan2", "bool", "on", "ignoring", "group_left", "group_right", "inf", "nan"})
_NOT_LABELS: Final = frozenset({"inf", "nan"})

_STRENGTH: Final = {"or": 1, "and": 2, "unless": 2, "+": 4, "-": 4, "*": 5, "/": 5, "%": 5, "atan2": 5, "^": 7}
_COMPARISON, _SIGN, _OPERAND = 3, 6, 8


def to_promql(expr: Expr) -> str:
    """PromQL that parses to `expr` again. A tree that no text has (a sum below a product without `Paren`, say) gets the
    parentheses that keep its meaning."""
    match expr:
        case NumberLiteral():
            return _number(expr)
        case StringLiteral():
            return quote(expr.value)
        case VectorSelector():
            return _selector(expr) + _at(expr.at) + _extended(expr) + _offset(expr.offset)
        case MatrixSelector():
            vector = expr.vector
            suffix = f"[{_duration(expr.range)}]{_extended(vector)}{_at(vector.at)}{_offset(vector.offset)}"
            return _selector(vector) + suffix
        case Subquery():
            return _within(expr.expr, _OPERAND) + subquery_suffix(expr)
        case Call():
            return f"{expr.function}({', '.join(map(to_promql, expr.args))})"
        case Aggregate():
            param = "" if expr.param is None else f"{to_promql(expr.param)}, "
            return f"{aggregate_head(expr)}({param}{to_promql(expr.expr)})"
        case Paren():
            return f"({to_promql(expr.expr)})"
        case Unary():
            operand = _within(expr.expr, _SIGN)  # A bare number after a sign would become one with it.
            return f"{expr.op}({operand})" if isinstance(expr.expr, NumberLiteral) else f"{expr.op}{operand}"
        case Binary():
            return _binary(expr)


def _strength(expr: Expr) -> int:
    """How tightly the text of `expr` holds together; operands below an operator must hold at least as tightly."""
    match expr:
        case Binary():
            return _STRENGTH.get(expr.op, _COMPARISON)
        case Unary():
            return _SIGN
        case NumberLiteral() if _number(expr)[0] in "+-":
            return _SIGN
        case _:
            return _OPERAND


def _within(expr: Expr, strength: int) -> str:
    text = to_promql(expr)
    return text if _strength(expr) >= strength else f"({text})"


def _binary(expr: Binary) -> str:
    own = _STRENGTH.get(expr.op, _COMPARISON)
    if expr.op == "^":
        left, right = _within(expr.left, own + 1), _within(expr.right, _SIGN)
    else:
        left, right = _within(expr.left, own), _within(expr.right, own + 1)
    return f"{left} {operator(expr)} {right}"


def operator(expr: Binary) -> str:
    """The operator of a binary expression, with its modifiers."""
    modifiers = " bool" if expr.return_bool else ""
    if expr.matching is not None:
        modifiers += _matching(expr.matching)
    return expr.op + modifiers


def _matching(matching: VectorMatching) -> str:
    text = ""
    grouped = matching.card in (Card.MANY_TO_ONE, Card.ONE_TO_MANY)
    if matching.labels or matching.on or grouped:
        text += f" {'on' if matching.on else 'ignoring'} ({_labels(matching.labels)})"
    if grouped:
        side = "left" if matching.card is Card.MANY_TO_ONE else "right"
        text += f" group_{side} ({_labels(matching.include)})"
    left, right = matching.fill_left, matching.fill_right
    if left is not None and left == right:
        return f"{text} fill ({format_number(left)})"
    if left is not None:
        text += f" fill_left ({format_number(left)})"
    if right is not None:
        text += f" fill_right ({format_number(right)})"
    return text


def aggregate_head(expr: Aggregate) -> str:
    """What stands before the parenthesis."""
    if expr.without:
        return f"{expr.op} without ({_labels(expr.grouping)}) "
    return f"{expr.op} by ({_labels(expr.grouping)}) " if expr.grouping else expr.op


def subquery_suffix(expr: Subquery) -> str:
    """What stands behind the expression."""
    step = "" if expr.step is None else _duration(expr.step)
    return f"[{_duration(expr.range)}:{step}]{_at(expr.at)}{_offset(expr.offset)}"


def _labels(names: Iterable[str]) -> str:
    plain = (_LABEL.fullmatch(name) and name.lower() not in _NOT_LABELS for name in names)
    return ", ".join(name if is_plain else quote(name) for name, is_plain in zip(names, plain, strict=True))


def _selector(expr: VectorSelector) -> str:
    """Name and matchers. The matcher that the name stands for is written as the name alone."""
    name = expr.name
    matchers = expr.matchers
    if name:
        named = Matcher(MatchType.EQUAL, "__name__", name)
        matchers = tuple(matcher for matcher in matchers if matcher != named)
        if not _METRIC.fullmatch(name) or name.lower() in _NOT_METRICS:
            return f"{{{','.join([quote(name), *sorted(map(matcher_text, matchers))])}}}"
    if not matchers and name:
        return name
    return f"{name}{{{','.join(sorted(map(matcher_text, matchers)))}}}"


def matcher_text(matcher: Matcher) -> str:
    """``name="value"``."""
    name = matcher.name if _LABEL.fullmatch(matcher.name) else quote(matcher.name)
    return f"{name}{matcher.type}{quote(matcher.value)}"


def _number(expr: NumberLiteral) -> str:
    if not expr.duration:
        return format_number(expr.value)
    ms = to_ms(expr.value)
    return f"-{format_duration(-ms)}" if ms < 0 else format_duration(ms)


def _duration(duration: Duration) -> str:
    return duration.text if isinstance(duration, DurationExpr) else format_duration(duration)


def _offset(offset: Duration) -> str:
    if isinstance(offset, DurationExpr):
        return f" offset {offset.text}"
    if offset == 0:
        return ""
    return f" offset -{format_duration(-offset)}" if offset < 0 else f" offset {format_duration(offset)}"


def _at(at: At | None) -> str:
    if at is None:
        return ""
    if at.kind is not AtKind.TIMESTAMP:
        return f" @ {at.kind}()"
    seconds, ms = divmod(abs(at.timestamp), 1000)
    return f" @ {'-' if at.timestamp < 0 else ''}{seconds}.{ms:03d}"


def _extended(selector: VectorSelector) -> str:
    if selector.anchored:
        return " anchored"
    return " smoothed" if selector.smoothed else ""
