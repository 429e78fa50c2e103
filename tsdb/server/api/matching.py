"""Matchers over single label sets: of targets and of parameters, few at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import re2

from tsdb.model.matchers import Matcher


def holds(matcher: Matcher, labels: Mapping[str, str]) -> bool:
    """Whether the labels satisfy the matcher; a missing label is empty."""
    value = labels.get(matcher.name, "")
    if matcher.regex:
        equal = re2.fullmatch(f"(?s:{matcher.value})", value) is not None
    else:
        equal = value == matcher.value
    return equal != matcher.negative


def all_hold(matchers: Sequence[Matcher], labels: Mapping[str, str]) -> bool:
    return all(holds(matcher, labels) for matcher in matchers)
