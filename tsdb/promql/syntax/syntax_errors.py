"""What is wrong with a text that does not parse, in Prometheus' words.

Lark says where it stopped and what lay open there (its stack); from these come the messages that users know:
``unexpected identifier "b" in label matching, expected label matching operator``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from lark import Token
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from tsdb.promql.functions import FUNCTIONS
from tsdb.promql.literals import quote
from tsdb.promql.syntax.operator_rules import Arguments, By
from tsdb.promql.syntax.typed import MAX_DEPTH, Problem, end_of, start_of

_BRACKETS: Final = re.compile(r"""[(\[)\]]|"(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?|`[^`]*`?|#[^\r\n]*""")


def text_problem(text: str, max_length: int) -> Problem | None:
    """Refuses, before any work, a text that is too long, too deep in brackets, or no text."""
    if len(text) > max_length:
        return Problem(0, f"expression of {len(text)} characters is longer than {max_length}")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return Problem(error.start, "invalid UTF-8 rune")
    if text.count("(") + text.count("[") <= MAX_DEPTH:
        return None
    depth = 0
    for found in _BRACKETS.finditer(text):
        if found[0] in "([":
            depth += 1
            if depth > MAX_DEPTH:
                return Problem(found.start(), f"expression is nested deeper than {MAX_DEPTH} levels")
        elif found[0] in ")]":
            depth -= 1
    return None


def syntax_problem(text: str, error: UnexpectedInput) -> Problem:
    """Why lark gave up."""
    stack: Sequence[object] = error.state.value_stack
    if isinstance(error, UnexpectedCharacters):
        return _unreadable(text, error.pos_in_stream or 0, stack)
    assert isinstance(error, UnexpectedToken)
    if error.token.type == "$END":
        return _unfinished(text, stack)
    return _unknown_function(stack) or _misplaced(error.token, stack)


# ---- Characters that begin no token


def _unreadable(text: str, position: int, stack: Sequence[object]) -> Problem:
    character = text[position]
    following = text[position + 1 : position + 2]
    opened = _innermost(stack, ("LEFT_BRACE", "LEFT_BRACKET"))
    if character in "\"'" and opened != "LEFT_BRACKET":
        message = "unterminated quoted string"
    elif character == "`" and opened != "LEFT_BRACKET":
        message = "unterminated raw string"
    elif opened == "LEFT_BRACE":
        name = _NAME.match(text, position)
        if name is not None:  # It is a name, but for the colon after it.
            return Problem(name.end(), "unexpected character inside braces: ':'")
        message = f"unexpected character inside braces: {_rune(character)}"
        if character == "!":
            message = f"unexpected character after '!' inside braces: {_rune(following)}"
        elif character == "{":
            message = "unexpected left brace '{'"
    elif character.isascii() and (character.isdigit() or (character == "." and following.isdigit())):
        found = _BAD_NUMBER.match(text, position)
        message = f"bad number or duration syntax: {quote(found[0] if found else character)}"
    elif opened == "LEFT_BRACKET":
        message = f"unexpected character in duration expression: {_rune(character)}"
        if _has_duration(stack):
            message = f"unexpected character: {_rune(character)}"
            if character == "[":
                message = "unexpected left bracket '['"
            elif character == "_" or (character.isascii() and character.isalpha()):
                message += ", expected ':'"
    elif character == "!":
        message = f"unexpected character after '!': {_rune(following)}"
    elif character == "=":
        message = f'unexpected "="{_context(stack)}'
        if following == "~":
            message = "unexpected character after '=': '~'"
    else:
        message = f"unexpected character: {_rune(character)}"
    return Problem(position, message)


_NAME: Final = re.compile("[a-zA-Z_][0-9a-zA-Z_]*")
_BAD_NUMBER: Final = re.compile(
    r"0[xX][0-9a-fA-F_]*|\.?[0-9][0-9._]*([eE][+-]?[0-9_]*)?([smhdwy]s?([0-9]+[smhdw]s?)*([0-9]+|\w)?)?", re.ASCII
)


def _rune(character: str) -> str:
    """A character as Go's %q writes it; the end of the text is U+FFFD."""
    if character == "'":
        return r"'\''"
    return f"'{quote(character)[1:-1]}'" if character not in ('"', "") else f"'{character or chr(0xFFFD)}'"


# ---- The end of the text


def _unfinished(text: str, stack: Sequence[object]) -> Problem:
    end = len(text)
    if not stack:
        return Problem(0, "no expression found in input")
    opened = _innermost(stack, ("LEFT_BRACE", "LEFT_BRACKET"))
    if opened == "LEFT_BRACE":
        return Problem(end, "unexpected end of input inside braces")
    if opened == "LEFT_BRACKET" and not _has_duration(stack):
        return Problem(end, "unexpected end of input in duration expression")
    if _innermost(stack, ("LEFT_PAREN",)):
        return Problem(end, "unclosed left parenthesis")
    if opened == "LEFT_BRACKET":
        return Problem(end, "unclosed left bracket")
    return Problem(end, f"unexpected end of input{_context(stack)}")


# ---- Tokens in the wrong place


def _misplaced(token: Token, stack: Sequence[object]) -> Problem:
    position = start_of(token)
    if token.type == "RIGHT_PAREN" and not _innermost(stack, ("LEFT_PAREN",)):
        return Problem(end_of(token), "unexpected right parenthesis ')'")
    if token.type == "RIGHT_BRACKET" and not _innermost(stack, ("LEFT_BRACKET",)):
        return Problem(position, "unexpected right bracket ']'")
    if token.type == "COLON" and _innermost(stack, ("LEFT_BRACKET",)):
        if not _has_duration(stack):
            return Problem(end_of(token), "unexpected colon before duration in duration expression")
        if any(_is(value, "COLON") for value in stack[_opening(stack, ("LEFT_BRACKET",)) :]):
            return Problem(position, "unexpected colon ':'")
    comma = stack[-1] if stack else None
    if _is(comma, "COMMA") and isinstance(comma, Token):
        below = stack[_opening(stack, ("LEFT_PAREN",)) - 1]
        if not _innermost(stack, ("LEFT_BRACE", "LEFT_BRACKET")) and not _is(below, *_LABELS_FOLLOW, "CHOICE"):
            return Problem(start_of(comma), "trailing commas not allowed in function call args")
    return Problem(position, f"unexpected {_described(token)}{_context(stack)}")


def _unknown_function(stack: Sequence[object]) -> Problem | None:
    """A misspelt name explains more than the token after its arguments: ``sun(a) by (b)``."""
    if len(stack) > 1 and isinstance(stack[-1], Arguments):
        name = stack[-2]
    elif stack and _is(stack[-1], "RIGHT_PAREN"):
        name = stack[_opening(stack[:-1], ("LEFT_PAREN",)) - 1]
    else:
        return None
    if isinstance(name, Token) and name.type == "IDENTIFIER" and str(name) not in FUNCTIONS:
        return Problem(start_of(name), f"unknown function with name {quote(str(name))}")
    return None


_KEYWORDS: Final = ("BOOL", "BY", "ON", "GROUP_SIDE", "OFFSET", "EXTENDED", "FILL", "FILL_LEFT", "FILL_RIGHT")
_OPERATORS: Final = ("OR", "AND", "ATAN2", "SIGN", "TIMES", "POWER", "COMPARE", "AT")
_KINDS: Final = {
    "IDENTIFIER": "identifier",
    "METRIC_IDENTIFIER": "metric identifier",
    "STRING": "string",
    "NUMBER": "number",
    "DURATION": "duration",
}


def _described(token: Token) -> str:
    kind = token.type
    if kind in _KEYWORDS:
        return f"<{token}>"
    if kind == "AGGREGATOR":
        return f"<aggr:{token}>"
    if kind in _OPERATORS or (kind == "MATCH" and token != "="):
        return f"<op:{token}>"
    if kind in ("IDENTIFIER", "METRIC_IDENTIFIER"):
        return f"{_KINDS[kind]} {quote(str(token))}"
    shown = quote(str(token)) if len(token) <= 10 else f"{quote(token[:10])}..."
    return f"{_KINDS[kind]} {shown}" if kind in _KINDS else shown


_LABELS_FOLLOW: Final = ("BY", "ON", "GROUP_SIDE")
_DURATION: Final = "number, duration, step(), or range()"


def _context(stack: Sequence[object]) -> str:
    """What the innermost unfinished construct is, and what it expects."""
    top = stack[-1] if stack else None
    closed = 0
    for index in range(len(stack) - 1, -1, -1):
        value = stack[index]
        if not isinstance(value, Token):
            continue
        if value.type.startswith("RIGHT_"):
            closed += 1
        elif value.type.startswith("LEFT_"):
            if closed:
                closed -= 1
                continue
            below = stack[index - 1] if index else None
            if value.type == "LEFT_BRACE":
                return f" in label matching, expected {_in_braces(top)}"
            if value.type == "LEFT_BRACKET":
                return f" in {_in_brackets(stack[index:])}"
            if _is(below, *_LABELS_FOLLOW):
                wanted = "label" if _is(top, "LEFT_PAREN", "COMMA") else '"," or ")"'
                return f" in grouping opts, expected {wanted}"
            if _is(below, "AGGREGATOR") or (isinstance(below, By) and not isinstance(stack[index - 2], Arguments)):
                return " in aggregation"
        elif closed:
            continue
        elif value is top and _labels_must_follow(stack):
            return ' in grouping opts, expected "("'
        elif value.type == "OFFSET" and not _is_operand(top) and not _is(top, "RIGHT_PAREN"):
            return f" in offset, expected {_DURATION}"
        elif value.type == "AT" and _is(top, "AT", "SIGN", "BOUNDARY", "LEFT_PAREN"):
            return " in @, expected timestamp"
        elif value.type == "AGGREGATOR" and _only_by(stack[index + 1 :]):
            return " in aggregation"
    return ""


def _in_braces(top: object) -> str:
    if _is(top, "LEFT_BRACE", "COMMA"):
        return 'identifier or "}"'
    if _is(top, "IDENTIFIER"):
        return "label matching operator"
    return "string" if _is(top, "MATCH") else '"," or "}"'


def _in_brackets(stack: Sequence[object]) -> str:
    """`stack` begins with the bracket."""
    colon = next((index for index, value in enumerate(stack) if _is(value, "COLON")), 0)
    complete = len(stack) == colon + 2 and _is_operand(stack[-1])
    if colon:
        wanted = '"]"' if complete else 'number, duration, step(), range(), or "]"'
        return f"subquery selector, expected {wanted}"
    if complete:
        return 'subquery or range, expected ":" or "]"'
    return f"subquery or range selector, expected {_DURATION}"


def _only_by(above: Sequence[object]) -> bool:
    """Whether nothing but ``by (…)`` follows the name of an aggregation."""
    if not above:
        return False
    if isinstance(above[0], By):
        return len(above) == 1
    return _is(above[0], "BY") and not any(isinstance(value, Arguments) for value in above)


def _labels_must_follow(stack: Sequence[object]) -> bool:
    """Whether the word on top of the stack is on, group_left …, or a by that is no metric's name."""
    below = stack[-2] if len(stack) > 1 else None
    if _is(stack[-1], "BY"):
        return isinstance(below, Arguments) or _is(below, "AGGREGATOR", "RIGHT_PAREN")
    return _is(stack[-1], "ON", "GROUP_SIDE")


# ---- Looking at the stack


def _is(value: object, *types: str) -> bool:
    return isinstance(value, Token) and value.type in types


def _is_operand(value: object) -> bool:
    return not isinstance(value, Token) or value.type in ("NUMBER", "DURATION")


def _opening(stack: Sequence[object], types: tuple[str, ...]) -> int:
    """Index of the innermost bracket of `types` that is still open, −1 if none is."""
    closed = 0
    for index in range(len(stack) - 1, -1, -1):
        value = stack[index]
        if not isinstance(value, Token):
            continue
        if value.type.replace("RIGHT_", "LEFT_") in types:
            closed += 1 if value.type.startswith("RIGHT_") else -1
            if closed < 0:
                return index
    return -1


def _innermost(stack: Sequence[object], types: tuple[str, ...]) -> str:
    index = _opening(stack, types)
    value = stack[index] if index >= 0 else None
    return value.type if isinstance(value, Token) else ""


def _has_duration(stack: Sequence[object]) -> bool:
    """Whether a number has been read since the innermost open [."""
    return any(_is_operand(value) for value in stack[_opening(stack, ("LEFT_BRACKET",)) + 1 :])
