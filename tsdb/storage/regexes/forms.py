"""Regexes that need no regex engine: literals, alternations of them, and these with anything before or behind."""

from __future__ import annotations

import re
from dataclasses import dataclass

MOST_TEXTS = 1000
"""Literals that a pattern may stand for by combination; written out one by one there may be any number."""
MOST_AROUND = 16
"""Each of them is a pass over all values."""
REPEATED = ("*", "+", "?", "{")
_UNIT = r"(?:[^\\.+*?()\[\]{}|^$]|\\[!-/:-@\[-`{-~])"
"""A character that stands for itself."""
_LITERAL = re.compile(rf"(?:{_UNIT}(?![*+?{{]))+|{_UNIT}")
_TOKEN = re.compile(r"\\Q.*?(?:\\E|$)|\\.|\[\^?\]?|.", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_FLAGS = re.compile(r"\(\?[a-zA-Z-]+\)")
"""``(?i)``: what repeats behind it repeats what is before it."""


@dataclass(frozen=True, slots=True)
class Around:
    """All values that are `text` with at least so many bytes before it and behind it."""

    before: int
    """-1: nothing may be there."""
    text: str
    after: int

    @property
    def exact(self) -> bool:
        return self.before < 0 and self.after < 0


def simple_form(pattern: str) -> list[Around] | None:
    """What an anchored pattern, whose dot matches anything, stands for: any of these. None: it takes a regex engine."""
    try:
        found = _Reader(pattern).all()
    except _NotSimpleError:
        return None
    if any(not each.exact for each in found) and len(found) > MOST_AROUND:
        return None
    return found


def literal_prefix(pattern: str) -> str:
    """What every value that matches begins with, as far as it is easily seen."""
    prefixes = [_Reader(each).leading_literal() for each in _top_alternatives(pattern)]
    first, last = min(prefixes), max(prefixes)
    same = (place for place, char in enumerate(first) if last[place : place + 1] != char)
    return first[: next(same, len(first))]


def _top_alternatives(pattern: str) -> list[str]:
    """The pattern without what ``|`` outside of all parentheses divides."""
    found, begin = [], 0
    depth, in_class = 0, False
    for token in _TOKEN.finditer(pattern):
        text = token[0]
        if in_class:
            in_class = text != "]"
        elif text.startswith("["):
            in_class = True
        elif text == "|" and depth == 0:
            found.append(pattern[begin : token.start()])
            begin = token.end()
        else:
            depth += (text == "(") - (text == ")")
    return [*found, pattern[begin:]]


class _NotSimpleError(Exception):
    pass


class _Reader:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def all(self) -> list[Around]:
        """The whole pattern; a group around all of it makes no difference."""
        start, end = 0, len(self._pattern)
        for opening in ("(?:", "("):
            if self._pattern.startswith(opening) and self._pattern[len(opening) : len(opening) + 1] != "?":
                self._at = len(opening)
                try:
                    found = self._alternatives()
                except _NotSimpleError:
                    break
                if self._pattern[self._at :] == ")":
                    return found
                break
        self._at = start
        found = self._alternatives()
        if self._at != end:
            raise _NotSimpleError
        return found

    def _alternatives(self) -> list[Around]:
        found = self._alternative()
        while self._next("|"):
            found += self._alternative()
        return found

    def _alternative(self) -> list[Around]:
        self._next("^")
        before = self._anything()
        texts = self._texts()
        after = self._anything() if before < 0 or texts != [""] else -1
        if self._next("$") and self._peek() not in ("", "|", ")"):
            raise _NotSimpleError
        if self._peek() not in ("", "|", ")"):
            raise _NotSimpleError
        return [Around(before, text, after) for text in texts]

    def _anything(self) -> int:
        """``.*``, ``.+``: the least bytes; -1: neither is there."""
        for spelled, least in ((".*", 0), (".+", 1)):
            if self._pattern.startswith(spelled, self._at):
                self._at += 2
                if self._peek() in REPEATED:
                    raise _NotSimpleError
                return least
        return -1

    def _texts(self) -> list[str]:
        """What a sequence of literals, groups of them and small classes stands for."""
        texts = [""]
        while True:
            if self._peek() == "(":
                self._at += 3 if self._pattern.startswith("(?:", self._at) else 1
                if self._peek() == "?":
                    raise _NotSimpleError
                choices = self._texts()
                while self._next("|"):
                    choices += self._texts()
                if not self._next(")"):
                    raise _NotSimpleError
            elif self._peek() == "[":
                choices = self._class()
            else:
                literal = self._literal()
                if not literal:
                    return texts
                choices = [literal]
            if self._next("?"):
                choices.append("")
            if self._peek() in REPEATED:
                raise _NotSimpleError
            if len(texts) > 1 and len(choices) > 1 and len(texts) * len(choices) > MOST_TEXTS:
                raise _NotSimpleError
            texts = [text + choice for text in texts for choice in choices]

    def _class(self) -> list[str]:
        end = self._pattern.find("]", self._at + 2)
        inside = self._pattern[self._at + 1 : end]
        if end < 0 or not inside or any(char in "\\^[&~" for char in inside):
            raise _NotSimpleError
        found: list[str] = []
        at = 0
        while at < len(inside):
            if inside[at + 1 : at + 2] == "-" and at + 2 < len(inside):
                first, last = ord(inside[at]), ord(inside[at + 2])
                if last < first or last - first > 255:
                    raise _NotSimpleError
                found += map(chr, range(first, last + 1))
                at += 3
            elif inside[at] == "-" and 0 < at < len(inside) - 1:
                raise _NotSimpleError
            else:
                found.append(inside[at])
                at += 1
        self._at = end + 1
        return found

    def _literal(self) -> str:
        """Characters that stand for themselves; one alone where it is repeated. Empty: something else is next."""
        found = _LITERAL.match(self._pattern, self._at)
        if found is None:
            return ""
        self._at = found.end()
        return _ESCAPED.sub(r"\1", found[0])

    def leading_literal(self) -> str:
        """What it begins with."""
        self._next("^")
        prefix = ""
        while literal := self._literal():
            if self._peek() in ("*", "?", "{"):
                return prefix
            prefix += literal
            if self._peek() == "+":
                return prefix
        return prefix[:-1] if _FLAGS.match(self._pattern, self._at) else prefix

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _next(self, char: str) -> bool:
        if self._peek() == char:
            self._at += 1
            return True
        return False
