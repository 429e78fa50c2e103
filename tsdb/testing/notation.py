"""Series and their samples as text: ``name{label="value"} 0+10x5 _ stale``, the notation of Prometheus' tests of
queries and rules (docs/configuration/unit_testing_rules.md there)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import repeat
from typing import TypeVar

from tsdb.model.durations import parse_duration
from tsdb.model.labels import METRIC_NAME
from tsdb.promql.literals import unquote
from tsdb.testing.histograms import Written, increasing, parse_histogram
from tsdb.testing.memory_storage import Labels, labels_of

STALE = "stale"

T = TypeVar("T")

Value = float | str | Written | None
"""A number, `STALE`, a native histogram, or None: no sample."""

MOST_VALUES = 1_000_000
"""Of one series."""

NUMBER = r"(?:[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|[iI]nf(?:inity)?|[nN]a[nN]))"
_STRING = r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|`[^`]*`'
_LABEL = re.compile(rf"\s*(?:({_STRING}|[a-zA-Z_]\w*)\s*=\s*({_STRING})|({_STRING}))\s*(,|\}})")
_NAME = re.compile(r"[a-zA-Z_:][\w:]*")
_SEQUENCE = re.compile(rf"({NUMBER})([+-]{NUMBER})?(?:x(\d+))?(?=\s|$)")
_OMITTED = re.compile(r"_(?:x(\d+))?(?=\s|$)")
_STALE = re.compile(r"stale(?:x(\d+))?(?=\s|$)")
_HISTOGRAM = re.compile(r"\{\{(.*?)\}\}(?:([+-])\{\{(.*?)\}\})?(?:x(\d+))?(?=\s|$)")
_START = re.compile(r"([+-]?)(\w+?)(?:([+-])(\w+?))?(?:x(\d+))?")


def parse_series(text: str) -> tuple[Labels, tuple[Value, ...]]:
    """A label set and its values, one for each step. Raises ValueError."""
    labels, rest = parse_labels(text)
    return labels, tuple(_limited(_values(rest)))


def parse_labels(text: str) -> tuple[Labels, str]:
    """A label set, and what follows it. Raises ValueError."""
    found = _NAME.match(text)
    labels = {METRIC_NAME: found[0]} if found else {}
    at = found.end() if found else 0
    if text[at : at + 1] == "{":
        at += 1
        while text[at : at + 1] != "}":
            found = _LABEL.match(text, at)
            if found is None:
                raise ValueError(f"not a series: {text!r}")
            name, value, metric, end = found.groups()
            if metric:
                labels[METRIC_NAME] = unquote(metric)
            else:
                labels[unquote(name) if name[0] in "\"'`" else name] = unquote(value)
            at = found.end() - (end == "}")
        at += 1
    return labels_of(labels), text[at:].strip()


def parse_starts(text: str) -> tuple[int | None, ...]:
    """Start timestamps as ms from their samples' times: ``-30s _ -1m-15sx2``; None: not known. Raises ValueError."""
    return tuple(_limited(_starts(text)))


def _limited(values: Iterator[T]) -> Iterator[T]:
    for count, value in enumerate(values):
        if count == MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES} values of one series")
        yield value


def _values(text: str) -> Iterator[Value]:
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
        elif (found := _HISTOGRAM.match(text, at)) is not None:
            one, many = parse_histogram(found[1]), int(found[4] or 0)
            if found[2]:
                yield from increasing(one, parse_histogram(found[3]), 1 if found[2] == "+" else -1, many)
            else:
                yield from repeat(one, many + 1)
            at = found.end()
        elif (found := _OMITTED.match(text, at)) is not None:
            yield from repeat(None, int(found[1] or 1))
            at = found.end()
        elif (found := _STALE.match(text, at)) is not None:
            yield from repeat(STALE, int(found[1] or 0) + 1)
            at = found.end()
        elif (found := _SEQUENCE.match(text, at)) is not None:
            value, delta = float(found[1]), float(found[2]) if found[2] else 0.0
            for _ in range(int(found[3] or 0) + 1):
                yield value
                value += delta
            at = found.end()
        else:
            raise ValueError(f"not a sequence of values: {text[at:]!r}")


def _starts(text: str) -> Iterator[int | None]:
    for word in text.split():
        if (found := _OMITTED.fullmatch(word)) is not None:
            yield from repeat(None, int(found[1] or 1))
        elif (found := _START.fullmatch(word)) is not None:
            sign, offset, to_next, delta, times = found.groups()
            first, more = _signed(sign, offset), _signed(to_next, delta or "0")
            yield from (first + i * more for i in range(int(times or 0) + 1))
        else:
            raise ValueError(f"not a start timestamp: {word!r}")


def _signed(sign: str | None, duration: str) -> int:
    """ms"""
    return parse_duration(duration) * (-1 if sign == "-" else 1)
