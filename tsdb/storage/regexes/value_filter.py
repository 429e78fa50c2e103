"""Which label values satisfy a matcher: simple regexes by comparing bytes, others by RE2, in one pass where that is
right."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import re2
from numpy.typing import NDArray

from tsdb.model.errors import BadData
from tsdb.model.matchers import Matcher
from tsdb.storage.regexes.forms import literal_prefix, simple_form
from tsdb.storage.regexes.text_kernels import find_around, write_lines

_BY_LINES = re.compile(r"(?:[^\\(]|\\[dDwWsSbB]|\\[^A-Za-z0-9]|\((?!\?)|\(\?(?:i?:|i\)|P?<))*", re.DOTALL)
"""Patterns that mean the same in the middle of a text as between its ends, but for newlines."""
MEMORY = 64 << 20
"""Bytes that a compiled regex may take: alternations from templates are long."""


@dataclass(frozen=True, slots=True)
class Texts:
    """n texts, UTF-8: data[begin : begin + length]."""

    data: NDArray[np.uint8]
    """u8[], read-only"""
    begin: NDArray[np.int64]
    length: NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.begin.size)

    def __getitem__(self, place: int) -> bytes:
        begin = int(self.begin[place])
        return self.data[begin : begin + int(self.length[place])].tobytes()

    def strings(self) -> list[str]:
        """All of them, as Python has them."""
        lines = np.empty(int(self.length.sum()) + len(self), np.uint8)
        if write_lines(self.data, self.begin, self.length, lines) >= 0:  # one has a newline
            return [self[place].decode() for place in range(len(self))]
        found = lines.tobytes().decode().split("\n")
        found.pop()
        return found

    def some(self, places: NDArray[np.int64]) -> Texts:
        return Texts(self.data, self.begin[places], self.length[places])


class ValueFilter:
    """Which values satisfy a matcher. Regexes are anchored and their dot matches a newline, as ``^(?s:…)$``.

    Raises BadData for a regex that RE2 does not take.
    """

    def __init__(self, matcher: Matcher) -> None:
        self._value = matcher.value
        self.negative = matcher.negative
        self.literals: list[str] | None = None
        """The only values that match (that do not, for a negative matcher); None: not a list."""
        self.all_non_empty: bool | None = None
        """Whether all values that are not empty satisfy the matcher, or none does; None: it depends."""
        self._pattern: re2._Regexp | None = None
        self._around = simple_form(matcher.value) if matcher.regex else None
        if not matcher.regex:
            self.literals = [matcher.value]
        elif self._around is not None and all(each.exact for each in self._around):
            self.literals = [each.text for each in self._around]
        else:
            self._pattern = _compile(rf"(?s:{matcher.value})", matcher.value)
        if self.literals is not None and not any(self.literals):
            self.all_non_empty = matcher.negative
        elif self._around is not None and any(
                not each.text and each.before + each.after <= 0 and not each.exact for each in self._around):
            self.all_non_empty = not matcher.negative

    def matches(self, value: str) -> bool:
        if self.literals is not None:
            found = value in self.literals
        else:
            assert self._pattern is not None
            found = self._pattern.fullmatch(value) is not None
        return found != self.negative

    def among(self, values: Texts) -> NDArray[np.bool_]:
        """bool[values]: which satisfy the matcher."""
        found = np.zeros(len(values), np.bool_)
        around = self._around
        if self.literals is not None:
            literals = {text.encode("utf-8", "surrogateescape") for text in self.literals}
            found[:] = [values[i] in literals for i in range(len(values))]
        elif around is not None:
            for each in around:
                find_around(values.data, values.begin, values.length, _bytes(each.text), each.before, each.after,
                            found.view(np.uint8))
        elif len(values):
            self._by_engine(values, found)
        return ~found if self.negative else found

    def _by_engine(self, values: Texts, found: NDArray[np.bool_]) -> None:
        """Sets what the regex matches."""
        pattern = self._pattern
        assert pattern is not None
        prefix = literal_prefix(self._value)
        places = np.arange(len(values))
        if prefix:
            begins = np.zeros(len(values), np.uint8)
            find_around(values.data, values.begin, values.length, _bytes(prefix), -1, 0, begins)
            places = np.flatnonzero(begins)
            values = values.some(places)
        if _BY_LINES.fullmatch(self._value):
            lines = np.empty(int(values.length.sum()) + len(values), np.uint8)
            if write_lines(values.data, values.begin, values.length, lines) < 0:
                found[places[_matching_lines(self._value, lines, values.length)]] = True
                return
        for i, place in enumerate(places.tolist()):
            found[place] = pattern.fullmatch(values[i].decode()) is not None


def _matching_lines(pattern: str, lines: NDArray[np.uint8], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which lines match as a whole. RE2's call costs much more than its matching, so all go in one. Right only where
    nothing in the pattern looks beyond the line, and `never_nl` keeps it from matching a newline."""
    options = _options()
    options.never_nl = True
    options.never_capture = True
    compiled = re2.compile(rf"(?m)^(?:{pattern})$".encode(), options)
    starts = np.cumsum(lengths + 1) - lengths - 1
    spans = np.array([match.span() for match in compiled.finditer(lines.tobytes())], np.int64).reshape(-1, 2)
    at = np.minimum(np.searchsorted(starts, spans[:, 0]), max(starts.size - 1, 0))
    return at[(starts[at] == spans[:, 0]) & (spans[:, 1] - spans[:, 0] == lengths[at])] if starts.size else at[:0]


def _bytes(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)


def _options() -> re2.Options:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MEMORY
    return options


def _compile(pattern: str, shown: str) -> re2._Regexp:
    if "\\C" in pattern:
        raise BadData(f'error parsing regexp: invalid escape sequence: `\\C` in "{shown}"')
    try:
        return re2.compile(pattern, _options())
    except re2.error as problem:
        text = problem.args[0].decode() if isinstance(problem.args[0], bytes) else str(problem)
        raise BadData(f'invalid regular expression "{shown}": {text}') from None
