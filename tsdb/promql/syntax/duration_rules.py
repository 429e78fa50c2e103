"""Rules of grammar.lark for durations in […] and after offset: ``5m``, ``2 * step()``, ``-min_of(range(), 1h)``."""

from __future__ import annotations

from typing import NamedTuple

from lark import Token, Transformer, v_args

from tsdb.model.durations import format_duration
from tsdb.promql.ast import Duration, DurationExpr, NumberLiteral, Span
from tsdb.promql.durations import MAX_MS, to_ms
from tsdb.promql.literals import format_number
from tsdb.promql.syntax.typed import Problem, Typed, depth_above, end_of, start_of


class Period(NamedTuple):
    """A duration on the parser's stack: seconds if it is a number, else an expression. `text` is PromQL."""

    value: float | DurationExpr
    text: str
    start: int
    end: int
    depth: int = 1

    def duration(self) -> Duration:
        if isinstance(self.value, DurationExpr):
            return self.value
        if not abs(self.value) * 1000 < MAX_MS:
            raise Problem(self.start, "duration out of range")
        return to_ms(self.value)

    def positive(self) -> Duration:
        """The duration of a range or step."""
        duration = self.duration()
        if isinstance(duration, int) and duration <= 0:
            raise Problem(self.start, "duration must be greater than 0")
        return duration


def _computed(op: str, text: str, start: int, end: int, *operands: Period) -> Period:
    depth = depth_above(max((operand.depth for operand in operands), default=0), start)
    values = tuple(operand.value for operand in operands)
    return Period(DurationExpr(text, op, values, span=Span(start, end)), text, start, end, depth)


@v_args(inline=True)
class DurationRules(Transformer[object, Typed]):
    def duration_literal(self, number: Typed) -> Period:
        literal = number.node
        assert isinstance(literal, NumberLiteral)
        value = literal.value
        text = format_duration(to_ms(value)) if literal.duration else format_number(value)
        return Period(value, text, literal.span.start, literal.span.end)

    def duration_of(self, keyword: Token, right: Token) -> Period:
        op = keyword.lower()
        return _computed(op, f"{op}()", start_of(keyword), end_of(right))

    def duration_choice(self, keyword: Token, first: Period, second: Period, right: Token) -> Period:
        op = keyword.lower()
        text = f"{op}({first.text}, {second.text})"
        return _computed(op, text, start_of(keyword), end_of(right), first, second)

    def duration_paren(self, left: Token, inner: Period, right: Token) -> Period:
        text, start, end = f"({inner.text})", start_of(left), end_of(right)
        value = inner.value
        if isinstance(value, DurationExpr):
            value = DurationExpr(text, value.op, value.operands, span=Span(start, end))
        return Period(value, text, start, end, depth_above(inner.depth, start))

    def duration_sign(self, sign: Token, inner: Period) -> Period:
        start = start_of(sign)
        if sign == "+":
            return inner._replace(start=start)
        text = f"-{inner.text}"
        if isinstance(inner.value, DurationExpr):
            return _computed("-", text, start, inner.end, inner)
        return Period(-inner.value, text, start, inner.end, depth_above(inner.depth, start))

    def duration_binary(self, left: Period, operator: Token, right: Period) -> Period:
        if right.value == 0 and operator in ("/", "%"):
            raise Problem(start_of(operator), "division by zero" if operator == "/" else "modulo by zero")
        text = f"{left.text} {operator} {right.text}"
        return _computed(str(operator), text, left.start, right.end, left, right)
