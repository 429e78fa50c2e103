"""Anchored regexes of rules: ``^(?s:…)$`` by RE2, or by string methods where the expression is as simple as most are.

A call of RE2 takes 2.5 µs, a string method 0.1 µs, and a rule is asked for each new series.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

import re2

from tsdb.model.errors import ConfigError

T = TypeVar("T")

_TOKEN = re.compile(
    r"(?P<plain>[^\\.+*?()\[\]{}|^$])|\\(?P<escaped>[!-/:-@\[-`{-~])|(?P<wild>\.[*+])|\((?P<group>\.[*+])\)"
)
_ONE_BYTE = re.compile(r"(?<!\\)(?:\\\\)*\\C")
_LARGEST = 2048
"""Values that a memo holds."""
_LONGEST = 512
"""Characters of a value that is worth remembering."""


class Memo(dict[str, T]):
    """Remembers what `compute` gave for a text: label names, and values such as metric names, come again and again."""

    __slots__ = ("_compute",)

    def __init__(self, compute: Callable[[str], T]) -> None:
        self._compute = compute

    def __missing__(self, text: str) -> T:
        result = self._compute(text)
        if len(text) <= _LONGEST:
            if len(self) >= _LARGEST:
                self.clear()
            self[text] = result
        return result


class Regex:
    """Raises ConfigError for an expression that RE2 does not take."""

    matches: Callable[[str], bool]
    groups: Callable[[str], Sequence[str] | None]
    """The whole match and its groups, those that took no part empty; None: no match."""
    substitute: Callable[[str, Callable[[Sequence[str]], str]], str]
    """A text with each match replaced. The match is the whole text, unless the expression breaks out of its parentheses
    (``a)|(b``), which Prometheus allows."""

    def __init__(self, text: str) -> None:
        self.names: dict[str, int] = {}
        self.group_count = 0
        self.slow = False
        """Results are worth remembering."""
        shapes, wrapped = _shapes(text)
        if shapes:
            self._by_strings(shapes, wrapped)
        else:
            self._by_re2(text)

    def _by_strings(self, shapes: list[_Shape], wrapped: bool) -> None:
        self.group_count = int(wrapped or shapes[0].captures)
        exact = frozenset(shape.before for shape in shapes if shape.wild is None)
        others = [shape.matcher() for shape in shapes if shape.wild is not None]
        if not others:
            matches: Callable[[str], bool] = exact.__contains__
        elif len(others) == 1 and not exact:
            matches = others[0]
        else:
            def matches(value: str) -> bool:
                return value in exact or any(other(value) for other in others)

        first = shapes[0]

        def groups(value: str) -> Sequence[str] | None:
            if not matches(value):
                return None
            if wrapped:
                return (value, value)
            if first.captures:
                return (value, value[len(first.before) : len(value) - len(first.after)])
            return (value,)

        def substitute(value: str, made: Callable[[Sequence[str]], str]) -> str:
            found = groups(value)
            return value if found is None else made(found)

        self.matches, self.groups, self.substitute = matches, groups, substitute

    def _by_re2(self, text: str) -> None:
        self.slow = True
        options = re2.Options()
        options.log_errors = False
        try:
            if _ONE_BYTE.search(text):  # RE2's, not Go's
                raise re2.error(b"invalid escape sequence: \\C")
            pattern = re2.compile(f"^(?s:{text})$".encode(), options)  # bytes: RE2 counts no characters then
        except re2.error as problem:
            reason = problem.args[0]
            reason = reason.decode() if isinstance(reason, bytes) else str(reason)
            raise ConfigError(f'"{text}" is not a regular expression: {reason}') from None
        self.names = {name.decode(): number for name, number in pattern.groupindex.items()}
        self.group_count = pattern.groups

        def found_groups(found: re2._Match) -> list[str]:
            return [found.group().decode(), *(group.decode() for group in found.groups(b""))]

        def groups(value: str) -> Sequence[str] | None:
            found = pattern.search(value.encode())
            return None if found is None else found_groups(found)

        def substitute(value: str, made: Callable[[Sequence[str]], str]) -> str:
            return str(pattern.sub(lambda found: made(found_groups(found)).encode(), value.encode()).decode())

        self.matches = Memo(lambda value: pattern.search(value.encode()) is not None).__getitem__
        self.groups, self.substitute = groups, substitute


class _Shape:
    """One alternative: a literal, or one with something before, behind or in it, or around it."""

    def __init__(self) -> None:
        self.before = self.after = ""
        self.wild: str | None = None
        self.second: str | None = None
        """Of ``.*literal.*``; the literal is `after`."""
        self.captures = False

    def matcher(self) -> Callable[[str], bool]:
        before, after, least = self.before, self.after, int(self.wild == ".+")
        if self.second is not None:
            last = int(self.second == ".+")
            return lambda value: value.find(after, least, len(value) - last) >= 0
        least += len(before) + len(after)
        if not before and not after:
            return lambda value: len(value) >= least
        if not after:
            return lambda value: value.startswith(before) and len(value) >= least
        if not before:
            return lambda value: value.endswith(after) and len(value) >= least
        return lambda value: value.startswith(before) and value.endswith(after) and len(value) >= least


def _shapes(text: str) -> tuple[list[_Shape], bool]:
    """The alternatives of an expression, and whether one group holds them all; none: it is for RE2."""
    text = text.removeprefix("^")
    if text.endswith("$") and not text.endswith("\\$"):
        text = text[:-1]
    wrapped = False
    if text.endswith(")"):
        inner = text.removeprefix("(?:") if text.startswith("(?:") else text.removeprefix("(")
        inner = inner[:-1]
        if text.startswith("(") and not set(inner) & set("()"):
            wrapped = not text.startswith("(?:")
            text = inner
    shapes = [_shape(alternative) for alternative in text.split("|")]
    known = [shape for shape in shapes if shape is not None]
    if len(known) < len(shapes) or (len(known) > 1 and any(shape.captures for shape in known)):
        return [], False
    return known, wrapped


def _shape(text: str) -> _Shape | None:
    shape, at = _Shape(), 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None or shape.second is not None:
            return None
        at = token.end()
        wild = token["wild"] or token["group"]
        if wild is None:
            literal = token["plain"] or token["escaped"]
            if shape.wild is None:
                shape.before += literal
            else:
                shape.after += literal
        elif shape.wild is None:
            shape.wild, shape.captures = wild, token["group"] is not None
        elif shape.before or shape.captures or token["group"]:
            return None
        else:
            shape.second = wild
    return shape
