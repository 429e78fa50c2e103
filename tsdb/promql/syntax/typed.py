"""What the parser keeps for each part of an expression while it reads: node, type, depth, and the first type error."""

from __future__ import annotations

from typing import Final, NamedTuple

from lark import Token

from tsdb.promql.ast import Expr, Span, ValueType
from tsdb.promql.literals import unquote

MAX_DEPTH: Final = 200
"""Levels of nesting. Code that walks a tree may recurse: this stays well below Python's limit of frames."""

TYPE_NAMES: Final = {
    ValueType.NONE: "unknown type",
    ValueType.SCALAR: "scalar",
    ValueType.VECTOR: "instant vector",
    ValueType.MATRIX: "range vector",
    ValueType.STRING: "string",
}


class Problem(Exception):
    """The text is wrong at a character offset. The parser makes a ParseError with line and column of it."""

    def __init__(self, position: int, message: str) -> None:
        super().__init__(message)
        self.position = position
        self.message = message


class Typed(NamedTuple):
    """An expression on the parser's stack.

    `error` is the first type error in or below it. Syntax errors are raised at once, type errors wait here until the
    whole text is read: Prometheus speaks of types only where the syntax is right.
    """

    node: Expr
    type: ValueType
    depth: int = 1
    error: Problem | None = None


def depth_above(depth: int, position: int) -> int:
    """The depth of a node whose deepest child has `depth`. Raises Problem beyond MAX_DEPTH."""
    if depth >= MAX_DEPTH:
        raise Problem(position, f"expression is nested deeper than {MAX_DEPTH} levels")
    return depth + 1


def start_of(token: Token) -> int:
    assert token.start_pos is not None
    return token.start_pos


def end_of(token: Token) -> int:
    assert token.end_pos is not None
    return token.end_pos


def span_of(token: Token) -> Span:
    return Span(start_of(token), end_of(token))


def unquoted(token: Token) -> str:
    """Value of a token STRING."""
    try:
        return unquote(str(token))
    except ValueError as error:
        raise Problem(start_of(token), str(error)) from None
