"""What may stand at a place in an unfinished expression: a reader that takes any text, for who completes queries."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from tsdb.model.matchers import Matcher, MatchType
from tsdb.promql.aggregations import AGGREGATIONS
from tsdb.promql.literals import unquote


class Expected(StrEnum):
    OPERAND = "operand"
    """A metric, function or aggregation."""
    OPERATOR = "operator"
    """What joins an operand with another one, or modifies it."""
    GROUPING = "grouping"
    """``by`` or ``without``, behind an aggregation's name."""
    LABEL_NAME = "label name"
    """In braces, or in the list of ``by (…)`` and the like."""
    MATCH = "match"
    """``=``, ``!=``, ``=~`` or ``!~``"""
    LABEL_VALUE = "label value"
    DURATION = "duration"
    BOUNDARY = "boundary"
    """Behind @: a time, ``start()`` or ``end()``."""
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Place:
    """The characters start..end of the text are what is being written; `word` is what of them is before the cursor."""

    expected: Expected
    start: int
    end: int
    word: str = ""
    metrics: tuple[str, ...] = ()
    """Whose labels are meant; empty: those of any."""
    matchers: tuple[Matcher, ...] = ()
    """The other conditions in the braces, as far as they are written."""
    label: str = ""
    """Whose value is being written,"""
    quote: str = ""
    """and between which quotes; empty: they are still to be written."""
    regex: bool = False
    """Whether the value is a regex."""
    matching: bool = False
    """Whether ``bool``, ``on``, ``group_left`` and the like may stand here, too."""


class _Token(NamedTuple):
    kind: str
    text: str
    start: int


_TOKEN: Final = re.compile(r"""
    (?P<blank>\s+) | (?P<comment>\#[^\n]*)
  | (?P<string>"(?:[^"\\\n]|\\.)*(?:"|$)|'(?:[^'\\\n]|\\.)*(?:'|$)|`[^`]*(?:`|$)|["'][^\n]*)
  | (?P<number>[0-9][0-9a-zA-Z_.]*|\.[0-9][0-9a-zA-Z_.]*)
  | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
  | (?P<sign>=~|!~|!=|==|<=|>=|[-+*/%^=<>@,(){}\[\]]) | (?P<other>.)
""", re.VERBOSE | re.ASCII | re.DOTALL)
_STRING: Final = re.compile(r"""(?s)"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`""")
_WORD: Final = re.compile(r"[a-zA-Z0-9_:]*", re.ASCII)
_VALUE: Final = re.compile(r"""[^\s"'`{}(),]*""")
_OPENING: Final = {")": "(", "}": "{", "]": "["}
_LISTS: Final = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_SET_OPERATORS: Final = frozenset({"and", "or", "unless", "atan2"})
_KEYWORDS: Final = _LISTS | _SET_OPERATORS | {"bool", "offset", "anchored", "smoothed", "inf", "nan"}
_BINARY: Final = frozenset({"+", "-", "*", "/", "%", "^", "==", "!=", "<", ">", "<=", ">="})


def at_cursor(text: str, cursor: int) -> Place:
    """`cursor` counts characters, 0 to len(text). The time grows with the text alone."""
    before = list(_tokens(text[:cursor]))
    start, word, quote = cursor, "", ""
    if before and before[-1].kind == "comment":
        return Place(Expected.NOTHING, cursor, cursor)
    touching = before[-1:]
    before = [token for token in before if token.kind not in ("blank", "comment")]
    if touching and touching[0].kind == "string" and not _ended(before[-1].text):
        last = before.pop()
        start, word, quote = last.start + 1, last.text[1:], last.text[0]
    elif touching and touching[0].kind in ("name", "number"):
        last = before.pop()
        start, word = last.start, last.text
        if last.kind == "number" and _opened(before)[-1:] != ["["] and not _is_word(before[-1:], "offset"):
            return Place(Expected.NOTHING, cursor, cursor)
    following = (_VALUE if quote else _WORD).match(text, cursor)
    end = following.end() if following else cursor
    after = [token for token in _tokens(text[end:].removeprefix(quote)) if token.kind not in ("blank", "comment")]
    openers = _openers(before)
    opener = before[openers[-1]].text if openers else ""
    if opener == "{":
        return _in_braces(before, openers[-1], after, start, end, word, quote)
    if quote:
        return Place(Expected.NOTHING, cursor, cursor)
    if opener == "[":
        return Place(Expected.DURATION, start, end, word)
    if opener == "(" and _is_word(before[openers[-1] - 1 : openers[-1]], *_LISTS):
        metrics = _listed_metrics(before, openers[-1], after)
        return Place(Expected.LABEL_NAME, start, end, word, metrics)
    return _outside(before, start, end, word)


def _outside(before: Sequence[_Token], start: int, end: int, word: str) -> Place:
    """Neither in braces nor in a list of labels."""
    last = before[-1] if before else None
    if last is None or last.text in ("(", ","):
        return Place(Expected.OPERAND, start, end, word)
    if last.kind == "other":
        return Place(Expected.NOTHING, end, end)
    if last.text == "@":
        return Place(Expected.BOUNDARY, start, end, word)
    if last.text in _BINARY:
        return Place(Expected.OPERAND, start, end, word, matching=True)
    if last.kind == "name":
        name = last.text.lower()
        if name == "offset":
            return Place(Expected.DURATION, start, end, word)
        if name in _SET_OPERATORS | {"bool", "group_left", "group_right"}:
            return Place(Expected.OPERAND, start, end, word, matching=True)
        if name in _LISTS:
            return Place(Expected.NOTHING, end, end)
        return Place(Expected.GROUPING if name in AGGREGATIONS else Expected.OPERATOR, start, end, word)
    if last.text == ")":
        opening = _opening(before, len(before) - 1)
        head = before[opening - 1].text.lower() if opening > 0 else ""
        if head in ("by", "without") and not _is_sign(before[opening - 2 : opening - 1], ")"):
            return Place(Expected.NOTHING, end, end)
        if head in _LISTS - {"by", "without"}:
            return Place(Expected.OPERAND, start, end, word, matching=True)
    return Place(Expected.OPERATOR, start, end, word)


def _in_braces(before: Sequence[_Token], opener: int, after: Sequence[_Token], start: int, end: int, word: str,
               quote: str) -> Place:
    parts = _parts(before[opener + 1 :])
    closing = next((at for at, token in enumerate(after) if token.text in ("}", "{")), len(after))
    others = [*parts[:-1], *_parts(after[:closing])]
    matchers = tuple(matcher for part in others if (matcher := _matcher(part)) is not None)
    name = before[opener - 1] if opener > 0 else None
    metrics = (name.text,) if name is not None and name.kind == "name" and name.text not in _KEYWORDS else ()
    current = parts[-1]
    if not current:
        return Place(Expected.LABEL_NAME, start, end, word, metrics, matchers, quote=quote)
    label = _label(current[0])
    if len(current) == 1 and not quote and not word:
        return Place(Expected.MATCH, start, end, word, metrics, matchers, label)
    if len(current) == 2 and current[1].text in list(MatchType):
        return Place(Expected.LABEL_VALUE, start, end, word, metrics, matchers, label, quote,
                     current[1].text in ("=~", "!~"))
    return Place(Expected.NOTHING, end, end)


def _parts(tokens: Sequence[_Token]) -> list[list[_Token]]:
    """What stands between commas."""
    parts: list[list[_Token]] = [[]]
    for token in tokens:
        if token.text == ",":
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _matcher(part: Sequence[_Token]) -> Matcher | None:
    """Of a condition that is complete."""
    if len(part) == 1 and part[0].kind == "string" and _ended(part[0].text):
        return Matcher(MatchType.EQUAL, "__name__", _text(part[0].text))
    if len(part) != 3 or part[1].text not in list(MatchType) or not _ended(part[2].text):
        return None
    return Matcher(MatchType(part[1].text), _label(part[0]), _text(part[2].text))


def _label(token: _Token) -> str:
    return _text(token.text) if token.kind == "string" else token.text


def _text(quoted: str) -> str:
    try:
        return unquote(quoted)
    except ValueError:
        return quoted[1:-1]


def _listed_metrics(before: Sequence[_Token], opener: int, after: Sequence[_Token]) -> tuple[str, ...]:
    """Of ``by (…)``: those of the aggregation. Of ``on (…)``: all there are."""
    if not _is_word(before[opener - 1 : opener], "by", "without"):
        return _metrics([*before[: opener - 1], *after])
    if _is_sign(before[opener - 2 : opener - 1], ")"):
        return _metrics(before[_opening(before, opener - 2) : opener - 2])
    closing = next((at for at, token in enumerate(after) if token.text == ")"), len(after))
    operand = after[closing + 1 :]
    depth = 0
    for at, token in enumerate(operand):
        depth += (token.text == "(") - (token.text == ")")
        if depth <= 0:
            return _metrics(operand[:at])
    return _metrics(operand)


def _metrics(tokens: Sequence[_Token]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    depth = 0
    for at, token in enumerate(tokens):
        depth += (token.text in "{[" and token.kind == "sign") - (token.text in "}]" and token.kind == "sign")
        called = _is_sign(tokens[at + 1 : at + 2], "(")
        listed = at >= 2 and _is_sign(tokens[at - 1 : at], "(", ",") and _in_list(tokens, at)
        spoken = token.text.lower() in _KEYWORDS or token.text.lower() in AGGREGATIONS
        if token.kind == "name" and depth <= 0 and not called and not listed and not spoken:
            found[token.text] = None
    return tuple(found)


def _in_list(tokens: Sequence[_Token], at: int) -> bool:
    while at > 0 and tokens[at].text != "(":
        if tokens[at].text == ")":
            return False
        at -= 1
    return at > 0 and _is_word(tokens[at - 1 : at], *_LISTS)


def _openers(tokens: Sequence[_Token]) -> list[int]:
    """Where the brackets are that are still open, the innermost last."""
    found: list[int] = []
    for at, token in enumerate(tokens):
        if token.kind != "sign":
            continue
        if token.text in "({[":
            found.append(at)
        elif token.text in _OPENING and found and tokens[found[-1]].text == _OPENING[token.text]:
            found.pop()
    return found


def _opened(tokens: Sequence[_Token]) -> list[str]:
    return [tokens[at].text for at in _openers(tokens)]


def _opening(tokens: Sequence[_Token], closing: int) -> int:
    """Where the parenthesis is that the one at `closing` closes; 0 where there is none."""
    depth = 0
    for at in range(closing, -1, -1):
        depth += _is_sign(tokens[at : at + 1], ")") - _is_sign(tokens[at : at + 1], "(")
        if depth == 0:
            return at
    return 0


def _is_word(tokens: Sequence[_Token], *words: str) -> bool:
    return bool(tokens) and tokens[-1].kind == "name" and tokens[-1].text.lower() in words


def _is_sign(tokens: Sequence[_Token], *signs: str) -> bool:
    return bool(tokens) and tokens[0].kind == "sign" and tokens[0].text in signs


def _ended(string: str) -> bool:
    """Whether a string has its second quote."""
    return _STRING.fullmatch(string) is not None


def _tokens(text: str) -> Iterator[_Token]:
    for found in _TOKEN.finditer(text):
        yield _Token(found.lastgroup or "", found[0], found.start())
