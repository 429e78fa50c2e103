"""Matchers over many label values: literals, alternations, prefixes and suffixes without a regex, else one RE2 pass."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import re2
from numpy.typing import NDArray

from tsdb.model.errors import BadData
from tsdb.model.matchers import Matcher

_PLAIN = re.compile(r"[^\\.+*?()\[\]{}|^$\n]*")
_AROUND = re.compile(r"(\.[*+])?([^\\.+*?()\[\]{}|^$\n]+)(\.[*+])?")
"""Something before, a literal, something after."""
_MAY_HOLD_NEWLINE = re.compile(r"\n|\\[A-Za-z0-9]")


class ValueFilter:
    """Which values satisfy a matcher. Regexes are anchored and their dot matches a newline, as ``^(?s:…)$``.

    Raises BadData for a regex that RE2 does not take.
    """

    def __init__(self, matcher: Matcher) -> None:
        self._matcher = matcher
        self._pattern: re2._Regexp | None = None
        self.literals: list[str] | None = None
        """The only values that match (that do not, for a negative matcher); None: not a list."""
        self.negative = matcher.negative
        self.all_non_empty: bool | None = None
        """Whether all values that are not empty satisfy the matcher, or none does; None: it depends."""
        if not matcher.regex:
            self.literals = [matcher.value]
            if not matcher.value:
                self.all_non_empty = matcher.negative
        elif all(_PLAIN.fullmatch(part) for part in matcher.value.split("|")):
            self.literals = matcher.value.split("|")
        else:
            if matcher.value in (".+", ".*"):
                self.all_non_empty = not matcher.negative
            self._pattern = _compile(rf"(?s:{matcher.value})", matcher.value)

    def matches(self, value: str) -> bool:
        if self.literals is not None:
            found = value in self.literals
        else:
            assert self._pattern is not None
            found = self._pattern.fullmatch(value) is not None
        return found != self._matcher.negative

    def among(self, values: Sequence[bytes]) -> NDArray[np.bool_]:
        """bool[values]: which satisfy the matcher; values are UTF-8."""
        found = np.zeros(len(values), np.bool_)
        if self.literals is not None:
            literals = {text.encode("utf-8", "surrogateescape") for text in self.literals}
            found[:] = [value in literals for value in values]
            return ~found if self._matcher.negative else found
        assert self._pattern is not None
        around = _AROUND.fullmatch(self._matcher.value)
        if around is not None:
            before, literal, after = around.groups()
            found[:] = _around(values, before, literal.encode(), after)
        elif values:
            joined = b"\n".join(values)
            if joined.count(b"\n") == len(values) - 1 and not _MAY_HOLD_NEWLINE.search(self._matcher.value):
                self._in_one_pass(joined, values, found)
            else:
                for i, value in enumerate(values):
                    found[i] = self._pattern.fullmatch(value.decode()) is not None
        return ~found if self._matcher.negative else found

    def _in_one_pass(self, joined: bytes, values: Sequence[bytes], found: NDArray[np.bool_]) -> None:
        """RE2's call costs much more than its matching: all values at once, one on a line. Right only where neither a
        value nor the pattern can hold a newline."""
        options = re2.Options()
        options.never_nl = True
        options.log_errors = False
        pattern = re2.compile(rf"(?m)^(?:{self._matcher.value})$".encode(), options)
        lengths = np.fromiter(map(len, values), np.int64, len(values))
        starts = np.concatenate(([0], np.cumsum(lengths + 1)[:-1]))
        spans = np.array([match.span() for match in pattern.finditer(joined)], np.int64).reshape(-1, 2)
        at = np.searchsorted(starts, spans[:, 0])
        at = np.minimum(at, len(values) - 1)
        whole = (starts[at] == spans[:, 0]) & (spans[:, 1] - spans[:, 0] == lengths[at])
        found[at[whole]] = True


def _around(values: Sequence[bytes], before: str | None, literal: bytes, after: str | None) -> list[bool]:
    """Which values are `literal` with anything (``.*``) or something (``.+``) before or after it."""
    head, tail = before == ".+", after == ".+"
    if before is None:
        least = len(literal) + tail
        return [value.startswith(literal) and len(value) >= least for value in values]
    if after is None:
        least = len(literal) + head
        return [value.endswith(literal) and len(value) >= least for value in values]
    return [value.find(literal, int(head), len(value) - int(tail)) >= 0 for value in values]


def _compile(pattern: str, shown: str) -> re2._Regexp:
    options = re2.Options()
    options.log_errors = False
    if "\\C" in pattern:
        raise BadData(f'error parsing regexp: invalid escape sequence: `\\C` in "{shown}"')
    try:
        return re2.compile(pattern, options)
    except re2.error as problem:
        text = problem.args[0].decode() if isinstance(problem.args[0], bytes) else str(problem)
        raise BadData(f'invalid regular expression "{shown}": {text}') from None
