"""Regexes as Go takes them, and what matchers accept."""

from __future__ import annotations

import re
from typing import Final

import re2

from tsdb.model.matchers import Matcher

_ANY_BYTE: Final = re.compile(r"(?<!\\)(?:\\\\)*\\C")


def matches_any_byte(regex: str) -> bool:
    """Whether there is a ``\\C`` in it, which RE2 has and Go has not."""
    return _ANY_BYTE.search(regex) is not None


def accepts(matcher: Matcher, value: str) -> bool:
    """Whether a label of this value fits. For single texts: storage looks at all values at once."""
    if matcher.regex:
        found = re2.fullmatch(f"(?s:{matcher.value})", value) is not None
    else:
        found = matcher.value == value
    return found != matcher.negative
