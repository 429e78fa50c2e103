"""Rules of grammar.lark for what combines values: operators, aggregations, calls. Their types are checked here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from lark import Token, Transformer, v_args

from tsdb.promql.aggregations import AGGREGATIONS
from tsdb.promql.ast import (
    Aggregate,
    Binary,
    Call,
    Card,
    NumberLiteral,
    Paren,
    Span,
    Unary,
    ValueType,
    VectorMatching,
    VectorSelector,
)
from tsdb.promql.functions import FUNCTIONS, Function
from tsdb.promql.literals import negative, quote
from tsdb.promql.syntax.typed import TYPE_NAMES, Problem, Typed, depth_above, end_of, start_of, unquoted

_SET_OPERATORS: Final = frozenset({"and", "or", "unless"})
_COMPARISONS: Final = frozenset({"==", "!=", "<", "<=", ">", ">="})
_NUMERIC: Final = (ValueType.SCALAR, ValueType.VECTOR)


class On(NamedTuple):
    """``on (labels) group_left (include)``."""

    on: bool
    labels: tuple[str, ...]
    card: Card = Card.ONE_TO_ONE
    include: tuple[str, ...] = ()


class Fill(NamedTuple):
    left: float | None = None
    right: float | None = None


class Matching(NamedTuple):
    """What stands between an operator and its right side."""

    return_bool: bool
    on: On
    fill: Fill


_ON_EVERYTHING: Final = On(False, ())
_NO_FILL: Final = Fill()
_PLAIN: Final = Matching(False, _ON_EVERYTHING, _NO_FILL)


class Arguments(NamedTuple):
    values: Sequence[Typed]
    end: int


class By(NamedTuple):
    without: bool
    labels: tuple[str, ...]


@v_args(inline=True)
class OperatorRules(Transformer[object, Typed]):
    # ---- Operators

    def paren(self, left: Token, inner: Typed, right: Token) -> Typed:
        start = start_of(left)
        node = Paren(inner.node, span=Span(start, end_of(right)))
        return Typed(node, inner.type, depth_above(inner.depth, start), inner.error)

    def unary(self, sign: Token, operand: Typed) -> Typed:
        start = start_of(sign)
        node = operand.node
        span = Span(start, node.span.end)
        if isinstance(node, NumberLiteral):
            value = negative(node.value) if sign == "-" else node.value
            return operand._replace(node=NumberLiteral(value, node.duration, span=span))
        error = operand.error
        if error is None and operand.type not in _NUMERIC:
            wanted = "unary expression only allowed on expressions of type scalar or instant vector"
            error = Problem(start, f'{wanted}, got "{TYPE_NAMES[operand.type]}"')
        depth = depth_above(operand.depth, start)
        return Typed(Unary(str(sign), node, span=span), operand.type, depth, error)

    def binary(self, left: Typed, operator: Token, matching: Matching, right: Typed) -> Typed:
        op = operator.lower()
        start = left.node.span.start
        vectors = left.type is ValueType.VECTOR and right.type is ValueType.VECTOR
        on, fill = matching.on, matching.fill
        card = on.card
        if op in _SET_OPERATORS and card is Card.ONE_TO_ONE:
            card = Card.MANY_TO_MANY
        node = Binary(
            op,
            left.node,
            right.node,
            matching.return_bool,
            VectorMatching(card, on.labels, on.on, on.include, fill.left, fill.right) if vectors else None,
            span=Span(start, right.node.span.end),
        )
        scalar = left.type is ValueType.SCALAR and right.type is ValueType.SCALAR
        error = left.error or right.error or _binary_error(left, op, start_of(operator), matching, right)
        depth = depth_above(max(left.depth, right.depth), start)
        return Typed(node, ValueType.SCALAR if scalar else ValueType.VECTOR, depth, error)

    # ---- How vectors are matched

    def matching(self, return_bool: Token | None, on: On | None, fill: Fill | None) -> Matching:
        if return_bool is None and on is None and fill is None:
            return _PLAIN
        return Matching(return_bool is not None, on or _ON_EVERYTHING, fill or _NO_FILL)

    def on(self, keyword: Token, labels: tuple[str, ...], group: On | None) -> On:
        on = On(keyword.lower() == "on", labels)
        return on if group is None else on._replace(card=group.card, include=group.include)

    def group(self, keyword: Token, include: tuple[str, ...] | None) -> On:
        card = Card.MANY_TO_ONE if keyword.lower() == "group_left" else Card.ONE_TO_MANY
        return On(False, (), card, include or ())

    def fill(self, first: Token, value: float, second: Token | None = None, other: float | None = None) -> Fill:
        if first.type == "FILL":
            return Fill(value, value)
        return Fill(value, other) if first.type == "FILL_LEFT" else Fill(other, value)

    def fill_value(self, number: Typed) -> float:
        assert isinstance(number.node, NumberLiteral)
        return number.node.value

    def labels(self, *labels: str) -> tuple[str, ...]:
        return labels

    def label(self, token: Token) -> str:
        name = unquoted(token) if token.type == "STRING" else str(token)
        if not name or any(0xD800 <= ord(character) < 0xE000 for character in name):
            raise Problem(start_of(token), f"invalid label name for grouping: {quote(name)}")
        return name

    # ---- Aggregations and calls

    def by(self, keyword: Token, labels: tuple[str, ...]) -> By:
        return By(keyword.lower() == "without", labels)

    def arguments(self, *values: Typed | Token) -> Arguments:
        *arguments, right = values
        assert isinstance(right, Token)
        return Arguments([argument for argument in arguments if isinstance(argument, Typed)], end_of(right))

    def aggregation_by_first(self, operator: Token, by: By, arguments: Arguments) -> Typed:
        return self.aggregation(operator, arguments, by)

    def aggregation(self, operator: Token, arguments: Arguments, by: By | None) -> Typed:
        start = start_of(operator)
        signature = AGGREGATIONS[operator.lower()]
        values = arguments.values
        wanted = 1 if signature.parameter is None else 2
        if not values:
            raise Problem(start, "no arguments for aggregate expression provided")
        if len(values) != wanted:
            numbers = f"expected {wanted}, got {len(values)}"
            raise Problem(start, f"wrong number of arguments for aggregate expression provided, {numbers}")
        inner = values[-1]
        error = inner.error or _expected(inner, ValueType.VECTOR, "aggregation expression")
        param = None
        if signature.parameter is not None:
            param = values[0].node
            error = error or values[0].error or _expected(values[0], signature.parameter, "aggregation parameter")
        node = Aggregate(
            signature.name,
            inner.node,
            param,
            () if by is None else by.labels,
            by is not None and by.without,
            span=Span(start, arguments.end),
        )
        return Typed(node, ValueType.VECTOR, depth_above(max(value.depth for value in values), start), error)

    def call(self, name: Token, arguments: Arguments) -> Typed:
        start = start_of(name)
        function = FUNCTIONS.get(str(name))
        if function is None:
            raise Problem(start, f"unknown function with name {quote(str(name))}")
        values = arguments.values
        node = Call(function.name, tuple(value.node for value in values), span=Span(start, arguments.end))
        depth = depth_above(max((value.depth for value in values), default=0), start)
        return Typed(node, function.return_type, depth, _call_error(function, values, start))


def _expected(value: Typed, wanted: ValueType, where: str) -> Problem | None:
    if value.type is wanted:
        return None
    position = value.node.span.start
    return Problem(position, f"expected type {TYPE_NAMES[wanted]} in {where}, got {TYPE_NAMES[value.type]}")


def _call_error(function: Function, values: Sequence[Typed], start: int) -> Problem | None:
    name = quote(function.name)
    least, most, given = function.min_args, function.max_args, len(values)
    if function.variadic == 0 and given != least:
        return Problem(start, f"expected {least} argument(s) in call to {name}, got {given}")
    if given < least:
        return Problem(start, f"expected at least {least} argument(s) in call to {name}, got {given}")
    if most is not None and given > most:
        return Problem(start, f"expected at most {most} argument(s) in call to {name}, got {given}")
    for index, value in enumerate(values):
        if function.name == "info" and index == 1:
            selector = value.node
            if not isinstance(selector, VectorSelector):
                return Problem(selector.span.start, "expected label selectors only")
            if selector.name:
                return Problem(selector.span.start, "expected label selectors only, got vector selector instead")
            continue  # Here, and only here, {} and {a=""} are right.
        error = value.error or _expected(value, function.arg_type(index), f"call to function {name}")
        if error is not None:
            return error
    return None


def _binary_error(left: Typed, op: str, position: int, matching: Matching, right: Typed) -> Problem | None:
    on, fill = matching.on, matching.fill
    start = left.node.span.start
    scalars = (left.type is ValueType.SCALAR) + (right.type is ValueType.SCALAR)
    if matching.return_bool and op not in _COMPARISONS:
        return Problem(position, "bool modifier can only be used on comparison operators")
    if op in _COMPARISONS and not matching.return_bool and scalars == 2:
        return Problem(position, "comparisons between scalars must use BOOL modifier")
    if on.on:
        for label in on.labels:
            if label in on.include:
                return Problem(position, f"label {quote(label)} must not occur in ON and GROUP clause at once")
    for side in (left, right):
        if side.type not in _NUMERIC:
            message = "binary expression must contain only scalar and instant vector types"
            return Problem(side.node.span.start, message)
    filled = fill.left is not None or fill.right is not None
    if scalars:
        if on.labels:
            return Problem(start, "vector matching only allowed between instant vectors")
        if filled:
            return Problem(start, "filling in missing series only allowed between instant vectors")
        if op in _SET_OPERATORS:
            return Problem(start, f'set operator "{op}" not allowed in binary scalar expression')
    elif op in _SET_OPERATORS:
        if on.card is not Card.ONE_TO_ONE:
            return Problem(start, f'no grouping allowed for "{op}" operation')
        if filled:
            return Problem(start, "filling in missing series not allowed for set operators")
    return None
