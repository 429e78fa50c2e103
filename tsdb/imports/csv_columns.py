"""Which column of a CSV is what."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tsdb.imports.csv_kernels import IGNORED, LABELS, TIME, VALUES
from tsdb.model.errors import ConfigError
from tsdb.model.labels import METRIC_NAME

UNITS = {"unix_s": 3, "unix_ms": 0, "unix_us": -3, "unix_ns": -6, "s": 3, "ms": 0, "us": -3, "ns": -6}
"""Power of ten by which numbers of a form become milliseconds."""
RFC3339 = "rfc3339"
TIME_FORMS = (*(unit for unit in UNITS if unit.startswith("unix")), RFC3339)
MOST_VALUES = 255

_TIME = re.compile(rf"(.*?)(?::({'|'.join(UNITS)}|{RFC3339}|.*%.*))?", re.DOTALL)
_OWN = re.compile(r"(timestamp|value)_*")


def time_column(text: str) -> tuple[str, str]:
    """(column, form) of ``COLUMN[:FORM]``; the form is empty where there is none."""
    found = _TIME.fullmatch(text)
    assert found is not None
    return found[1], found[2] or ""


@dataclass(frozen=True, slots=True)
class Columns:
    """What is said of columns, by name, or by number from 1 on where there is no header.

    By default they are those of `tsdb.exports.csv`: timestamp, value, and all others are labels.
    """

    time: str = ""
    form: str = ""
    """Of times: one of `UNITS`, RFC3339, or as for strptime; empty: RFC 3339, or ms, whichever the first looks like."""
    values: tuple[tuple[str, str], ...] = ()
    """(metric, column), each; the metric is empty where labels have its name."""
    labels: tuple[tuple[str, str], ...] = ()
    """(label, column), each."""
    rest: bool = False
    """All other columns are labels, with their own names."""
    constants: Mapping[str, str] = field(default_factory=dict)
    """Labels of all series."""
    header: bool = True
    delimiter: str = ","


@dataclass(frozen=True, slots=True)
class Layout:
    """Which column of a file is what."""

    roles: NDArray[np.int64]
    """i64[columns], as `csv_kernels` has them."""
    names: tuple[str, ...]
    """Of columns, for people; empty without a header."""
    labels: tuple[str, ...]
    """Names of labels, in the order of their numbers."""
    metrics: tuple[str, ...]
    """Of values."""


def layout(columns: Columns, header: Sequence[str] | None) -> Layout:
    """What the columns of a file with that header are. Raises ConfigError where one is missing or has two roles."""
    if header is None:
        return _numbered(columns)
    names = list(header)
    said = columns
    if not columns.time and len(names) > 1 and (found := _OWN.fullmatch(names[0])) and found[1] == "timestamp":
        time = 0  # ours is the first, whatever labels are called
    else:
        time = _place(names, columns.time or "timestamp", "--time")
    values = [(metric, _place(names, column, f"--metric {metric}={column}" if metric else "--value-column"))
              for metric, column in columns.values]
    if not values:
        if not columns.time and len(names) > 1 and (found := _OWN.fullmatch(names[1])) and found[1] == "value":
            values = [("", 1)]
        else:
            values = [("", _place(names, "value", "--value-column, or --metric NAME"))]
    labels = [(label, _place(names, column, f"--label {label}={column}")) for label, column in columns.labels]
    taken = {time, *(place for _, place in (*values, *labels))}
    if said.rest or not (said.time or said.values or said.labels):
        labels += [(name, place) for place, name in enumerate(names) if place not in taken]
    elif METRIC_NAME in names and not any(label == METRIC_NAME for label, _ in labels) and not all(
            metric for metric, _ in values):
        labels.append((METRIC_NAME, names.index(METRIC_NAME)))
    return _made(len(names), time, values, labels, tuple(names), columns.constants)


def _numbered(columns: Columns) -> Layout:
    if not columns.time or not columns.values:
        raise ConfigError("without a header, columns are given by their numbers, as in --time 1:unix_s --metric NAME=2 "
                          "or --time 1 --value-column 2 --name-column 3")
    if columns.rest:
        raise ConfigError("--labels-from-rest: without a header nobody knows their names")
    time = _number(columns.time)
    values = [(metric, _number(column)) for metric, column in columns.values]
    labels = [(label, _number(column)) for label, column in columns.labels]
    count = max([time, *(place for _, place in (*values, *labels))]) + 1
    return _made(count, time, values, labels, (), columns.constants)


def _made(count: int, time: int, values: Sequence[tuple[str, int]], labels: Sequence[tuple[str, int]],
          names: tuple[str, ...], constants: Mapping[str, str]) -> Layout:
    if len(values) > MOST_VALUES:
        raise ConfigError(f"{len(values)} columns with values: at most {MOST_VALUES} are read at once")
    known = {label for label, _ in labels} | set(constants)
    if METRIC_NAME not in known and not all(metric for metric, _ in values):
        raise ConfigError("what are the metrics called? Give --metric NAME=COLUMN, --name-column COLUMN, or "
                          "--add-label __name__=NAME")
    roles = np.full(count, IGNORED, np.int64)
    every = [(TIME, time), *((VALUES + number, place) for number, (_, place) in enumerate(values)),
             *((LABELS + number, place) for number, (_, place) in enumerate(labels))]
    for role, place in every:
        if roles[place] != IGNORED:
            called = f'"{names[place]}"' if names else str(place + 1)
            raise ConfigError(f"column {called} is given twice: it can be the time, a value or a label")
        roles[place] = role
    used = [label for label, _ in labels] + list(constants)
    for label in used:
        if not label or used.count(label) > 1:
            raise ConfigError(f'the label "{label}" is given twice' if label else "a label has no name: its column's "
                              "name is empty; name those that are to be labels by --label NAME=COLUMN")
    return Layout(roles, names, tuple(label for label, _ in labels), tuple(metric for metric, _ in values))


def _place(names: Sequence[str], column: str, flag: str) -> int:
    found = [place for place, name in enumerate(names) if name == column]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f'{flag}: {len(found)} columns are called "{column}": give them with --no-header, by number')
    if column.isdecimal() and 1 <= int(column) <= len(names):
        return int(column) - 1
    shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    raise ConfigError(f'{flag}: there is no column "{column}"; there are: {shown}')


def _number(column: str) -> int:
    if not column.isdecimal() or not 1 <= int(column) <= 10_000:
        raise ConfigError(f'"{column}" is no number of a column; the first is 1')
    return int(column) - 1
