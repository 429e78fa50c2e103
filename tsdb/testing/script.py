"""The language of Prometheus' PromQL tests (promql/promqltest/README.md there): scripts to cases."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tsdb.model.durations import parse_duration
from tsdb.model.errors import ConfigError
from tsdb.promql.literals import unquote
from tsdb.testing.memory_storage import Labels
from tsdb.testing.notation import NUMBER, Value, parse_labels, parse_series, parse_starts

MOST_BYTES = 64 << 20
"""Of a script."""


@dataclass(frozen=True)
class Load:
    """``load <step>`` and its series: sample i is at i * step_ms."""

    step_ms: int
    series: tuple[tuple[Labels, tuple[Value, ...]], ...]
    with_nhcb: bool = False
    """Classic histograms are stored as native ones with custom buckets, too."""
    starts: Mapping[Labels, tuple[int | None, ...]] = field(default_factory=dict)
    """Start timestamps of some series, as ms from the times of their samples."""


@dataclass(frozen=True)
class Expectation:
    """``expect <kind> [msg:|regex: …]``; `pattern` is searched for, `message` compared."""

    kind: str
    message: str | None = None
    pattern: str = ""

    def accepts(self, text: str) -> bool:
        return text == self.message if self.message is not None else re.search(self.pattern, text) is not None


@dataclass
class Case:
    """One ``eval``, with all that was loaded before it. Times are ms."""

    file: str
    line: int
    loads: tuple[Load, ...]
    expr: str
    start: int
    end: int
    step: int
    """0: an instant query"""
    expectations: list[Expectation] = field(default_factory=list)
    series: dict[Labels, tuple[int, tuple[Value, ...]]] = field(default_factory=dict)
    """Expected series: position among them, counted from 1, and values at the steps."""
    scalar: float | None = None
    text: str | None = None
    window: tuple[int, int, int] | None = None
    """Start, end and step of an expected range vector."""

    @property
    def ordered(self) -> bool:
        return any(expectation.kind == "ordered" for expectation in self.expectations)

    def of_kind(self, kind: str) -> list[Expectation]:
        return [expectation for expectation in self.expectations if expectation.kind == kind]

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


_INSTANT = re.compile(r"eval(?:_(fail|warn|ordered|info))?\s+instant(?:\s+at\s+(\S+))?\s+(.+)")
_RANGE = re.compile(r"eval(?:_(fail|warn|info))?\s+range\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)\s+(.+)")
_LOAD = re.compile(r"load(_with_nhcb)?\s+(\S+)")
_EXPECT = re.compile(r"expect\s+(ordered|fail|warn|no_warn|info|no_info)(?:\s+(regex|msg):(.+))?")
_EXPECT_RANGE = re.compile(r"expect range vector\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)")


def read_script(path: Path) -> list[Case]:
    """The cases of a file. Raises ConfigError where it cannot be read or is not understood."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"{path}: larger than {MOST_BYTES >> 20} MiB: is it a script?")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{path}: {getattr(problem, 'strerror', None) or problem}") from None
    return parse_script(text, path.name)


def parse_script(text: str, name: str) -> list[Case]:
    """The cases of a script; `name` is for errors. Raises ConfigError."""
    lines = [(number, _without_comment(line)) for number, line in enumerate(text.split("\n"), 1)]
    cases: list[Case] = []
    loads: tuple[Load, ...] = ()
    at = 0
    while at < len(lines):
        number, line = lines[at]
        at += 1
        if not line:
            continue
        block = []
        while at < len(lines) and lines[at][1]:
            if line.startswith("clear"):
                break
            block.append(lines[at][1])
            at += 1
        try:
            if line == "clear":
                loads = ()
            elif line.startswith("load"):
                loads = (*loads, _load(line, block))
            elif line.startswith("eval"):
                case, taken = _case(name, number, line, block, loads)
                cases.append(case)
                at -= len(block) - taken
            else:
                raise ValueError(f"unknown command {line!r}: load, clear or eval")
        except ValueError as problem:
            raise ConfigError(f"{name}:{number}: {problem}") from None
    return cases


def _without_comment(line: str) -> str:
    line = line.strip()
    return "" if line.startswith("#") else line


def _load(line: str, block: list[str]) -> Load:
    found = _LOAD.fullmatch(line)
    if found is None:
        raise ValueError(f"not a load command: {line!r}")
    starts, series = dict[Labels, tuple[int | None, ...]](), []
    for text in block:
        labels, rest = parse_labels(text)
        if rest.startswith("@st"):
            starts[labels] = parse_starts(rest.removeprefix("@st"))
        else:
            series.append(parse_series(text))
    return Load(parse_duration(found[2]), tuple(series), found[1] is not None, starts)


def _case(file: str, number: int, line: str, block: list[str], loads: tuple[Load, ...]) -> tuple[Case, int]:
    """The case, and how many lines of the block belong to it."""
    if found := _RANGE.fullmatch(line):
        start, end, step = (parse_duration(found[i]) for i in (2, 3, 4))
        case = Case(file, number, loads, found[5], start, end, step)
    elif found := _INSTANT.fullmatch(line):
        time = parse_duration(found[2] or "0")
        case = Case(file, number, loads, found[3], time, time, 0)
    else:
        raise ValueError(f"not an eval command: {line!r}")
    if found[1]:
        case.expectations.append(Expectation(found[1]))
    for at, text in enumerate(block):
        if (found := _EXPECT_RANGE.fullmatch(text)) is not None:
            first, last, width = (parse_duration(found[i]) for i in (1, 2, 3))
            case.window = (first, last, width)
        elif text.startswith("expect string "):
            case.text = unquote(text.removeprefix("expect string ").strip())
        elif text.split(" ")[0] == "expect":
            case.expectations.append(_expectation(text))
        elif text.startswith(("expected_fail_message", "expected_fail_regexp")):
            kind, _, rest = text.partition(" ")
            case.expectations = [expectation for expectation in case.expectations if expectation.kind != "fail"]
            case.expectations.append(Expectation("fail", rest.strip()) if kind.endswith("message")
                                     else Expectation("fail", None, rest.strip()))
            return case, at + 1
        elif re.fullmatch(NUMBER, text) is not None:
            case.scalar = float(text)
            return case, at + 1
        else:
            labels, values = parse_series(text)
            case.series[labels] = (len(case.series) + 1, values)
    return case, len(block)


def _expectation(text: str) -> Expectation:
    found = _EXPECT.fullmatch(text)
    if found is None:
        raise ValueError(f"not an expect line: {text!r}")
    kind, how, rest = found.groups()
    if how == "msg":
        return Expectation(kind, rest.strip())
    try:
        re.compile(rest.strip() if rest else "")
    except re.error as problem:
        raise ValueError(f"not a regular expression: {rest.strip()!r}: {problem}") from None
    return Expectation(kind, None, rest.strip() if rest else "")
