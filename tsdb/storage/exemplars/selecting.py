"""Which series with exemplars satisfy matchers: few enough to look at their keys one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import re2

from tsdb.model.context import RequestContext
from tsdb.model.labels import canonical_key, labels_of_key
from tsdb.model.matchers import Matcher, MatchType
from tsdb.storage.exemplars.circular import CircularExemplars

AT_ONCE = 1000
"""Series between two looks at the request's deadline, or read in one hold of the lock."""


@dataclass(frozen=True, slots=True)
class StoredExemplar:
    labels: Mapping[str, str]
    value: float
    ts: int
    """ms"""


@dataclass(frozen=True, slots=True)
class SeriesExemplars:
    """The exemplars of a series, oldest first."""

    labels: Mapping[str, str]
    exemplars: Sequence[StoredExemplar]


def select_exemplars(store: CircularExemplars, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int,
                     context: RequestContext) -> list[SeriesExemplars]:
    """Exemplars with mint <= ts <= maxt (ms) of series that satisfy any of the matcher sets, sorted by labels."""
    tests = [_test(matchers) for matchers in matcher_sets]
    keys = store.keys()
    chosen: dict[bytes, dict[str, str]] = {}
    found: list[SeriesExemplars] = []
    for start in range(0, len(keys), AT_ONCE):
        context.check()
        for key in keys[start : start + AT_ONCE]:
            for test in tests:
                labels = test(key)
                if labels is not None:
                    chosen[key] = labels
                    break
    ordered = sorted(chosen, key=lambda key: list(chosen[key].items()))
    for start in range(0, len(ordered), AT_ONCE):
        context.check()
        for series in store.select(ordered[start : start + AT_ONCE], mint, maxt):
            rows = zip(series.labels, series.values, series.ts, strict=True)
            found.append(SeriesExemplars(chosen[series.key], [
                StoredExemplar(labels_of_key(labels), value, ts) for labels, value, ts in rows
            ]))
    return found


def _test(matchers: Sequence[Matcher]) -> Callable[[bytes], dict[str, str] | None]:
    """From the key of a series to its labels, or None where it does not satisfy the matchers."""
    # a key holds its labels' bytes: most series are told apart without being decoded
    needles = [canonical_key({each.name: each.value}) for each in matchers
               if each.type is MatchType.EQUAL and each.value]
    conditions = [(each.name, each.negative, _holds(each)) for each in matchers]

    def test(key: bytes) -> dict[str, str] | None:
        if not all(needle in key for needle in needles):
            return None
        labels = labels_of_key(key)
        for name, negative, holds in conditions:
            if holds(labels.get(name, "")) == negative:
                return None
        return labels

    return test


def _holds(matcher: Matcher) -> Callable[[str], bool]:
    if not matcher.regex:
        return lambda value: value == matcher.value
    regex = re2.compile(f"(?s:{matcher.value})")
    return lambda value: regex.fullmatch(value) is not None
