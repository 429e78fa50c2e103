"""Parameters of the HTTP API: times, durations, limits and matchers, with Prometheus' rules and error texts."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from tsdb.model.durations import parse_duration
from tsdb.model.errors import BadData
from tsdb.model.matchers import Matcher
from tsdb.server.http.route import Request

MIN_TIME = (-(2**63) // 1000 + 1 + 62135596801) * 1000
MAX_TIME = ((2**63 - 1) // 1000 - 62135596801) * 1000 + 999
"""Prometheus' smallest and largest time, ms."""

_BOUNDS = {"-292273086-05-16T16:47:06Z": MIN_TIME, "292277025-08-18T07:12:54.999999999Z": MAX_TIME}
"""As clients write them."""

_QUERY_TIME_LIMIT = 2**53
"""Queries take times up to here, ms: the year 287396. Selectors look back and forth from them."""

_FLOAT = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", re.ASCII)
_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:[.,]([0-9]+))?(Z|[-+][0-9]{2}:[0-9]{2})", re.ASCII
)
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}", re.ASCII)
_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))
_MAX_DURATION_S = (2**63 - 1) / 1e9
_ESCAPED = re.compile(r"_([0-9a-fA-F]*)_")


_GO_ESCAPES = {'"': '\\"', "\\": r"\\", "\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t",
               "\v": r"\v"}


def quoted(value: str) -> str:
    """A text as Go's %q prints it."""
    return '"' + "".join(_GO_ESCAPES.get(char) or (char if char.isprintable() else _code(char)) for char in value) + '"'


def _code(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def invalid(parameter: str, problem: str) -> BadData:
    return BadData(f"invalid parameter {quoted(parameter)}: {problem}")


def parse_time(value: str) -> int:
    """Milliseconds of float seconds or RFC 3339. Raises ValueError."""
    if _FLOAT.fullmatch(value):
        seconds = float(value)
        if abs(seconds) < 2**63:
            whole = int(seconds)
            return max(MIN_TIME, min(MAX_TIME, whole * 1000 + math.floor((seconds - whole) * 1000 + 0.5)))
    if found := _RFC3339.fullmatch(value):
        try:
            moment = datetime.fromisoformat(found[1]).replace(tzinfo=UTC)
            if found[3] != "Z":
                hours, minutes = int(found[3][1:3]), int(found[3][4:6])
                if hours > 24 or minutes > 59:
                    raise ValueError(found[3])
                shift = timedelta(hours=hours, minutes=minutes)
                moment = moment - shift if found[3][0] == "+" else moment + shift
        except (ValueError, OverflowError):
            pass
        else:
            milliseconds = int(((found[2] or "") + "000")[:3])
            return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1) + milliseconds
    if value in _BOUNDS:
        return _BOUNDS[value]
    raise ValueError(f"cannot parse {quoted(value)} to a valid timestamp")


def parse_seconds(value: str) -> float:
    """Seconds of a float or of a duration such as 1h30m. Raises ValueError."""
    if _FLOAT.fullmatch(value):
        seconds = float(value)
        if abs(seconds) > _MAX_DURATION_S:
            raise ValueError(f"cannot parse {quoted(value)} to a valid duration. It overflows int64")
        return seconds
    try:
        return parse_duration(value) / 1000
    except ValueError:
        raise ValueError(f"cannot parse {quoted(value)} to a valid duration") from None


def time_or(request: Request, name: str, default: int) -> int:
    """An optional time, ms. Raises BadData."""
    value = request.value(name)
    if not value:
        return default
    try:
        return parse_time(value)
    except ValueError as problem:
        raise invalid(name, f"invalid time value for '{name}': {problem}") from None


def query_time(request: Request, now: int) -> int:
    return _near(request, "time", time_or(request, "time", now))


def query_range(request: Request, most: int) -> tuple[int, int, int]:
    """(start, end, step) of a range query, ms; `most`: times `step` between them (0: any number). Raises BadData."""
    bounds = []
    for name in ("start", "end"):
        try:
            bounds.append(_near(request, name, parse_time(request.value(name))))
        except ValueError as problem:
            raise invalid(name, str(problem)) from None
    start, end = bounds
    if end < start:
        raise invalid("end", "end timestamp must not be before start time")
    try:
        step = int(parse_seconds(request.value("step")) * 1000 + 1e-6)
    except ValueError as problem:
        raise invalid("step", str(problem)) from None
    if step <= 0:
        raise invalid(
            "step", "zero or negative query resolution step widths are not accepted. Try a positive integer"
        )
    if 0 < most < (end - start) // step:
        raise BadData(
            f"exceeded maximum resolution of {most:,} points per timeseries. "
            "Try decreasing the query resolution (?step=XX)"
        )
    return start, end, step


def _near(request: Request, name: str, ms: int) -> int:
    if abs(ms) > _QUERY_TIME_LIMIT:
        raise invalid(name, f"{quoted(request.value(name))} is too far away: times are seconds since 1970")
    return ms


def timeout(request: Request, most: float) -> float:
    """Seconds that the request may take, at most `most`. Raises BadData."""
    value = request.value("timeout")
    if not value:
        return most
    try:
        return min(parse_seconds(value), most)
    except ValueError as problem:
        raise invalid("timeout", str(problem)) from None


def lookback_delta(request: Request, default: int) -> int:
    """Milliseconds. Raises BadData."""
    value = request.value("lookback_delta")
    if not value:
        return default
    try:
        delta = int(parse_seconds(value) * 1000)
    except ValueError as problem:
        raise BadData(f"error parsing lookback delta duration: {problem}") from None
    return delta if delta > 0 else default


def max_source_resolution(request: Request) -> int | None:
    """Milliseconds; 0: samples alone; None: automatic. Raises BadData."""
    value = request.value("max_source_resolution")
    if value in ("", "auto"):
        return None
    try:
        found = int(parse_seconds(value) * 1000)
    except ValueError as problem:
        raise invalid("max_source_resolution", str(problem)) from None
    if found < 0:
        raise invalid("max_source_resolution", "it must not be negative")
    return found


def limit(request: Request) -> int:
    """How many series or names to answer with; 0: all. Raises BadData."""
    value = request.value("limit")
    if not value:
        return 0
    if not _INTEGER.fullmatch(value):
        reason = "value out of range" if value.lstrip("+-").isdecimal() and value.isascii() else "invalid syntax"
        raise invalid("limit", f"strconv.Atoi: parsing {quoted(value)}: {reason}")
    if int(value) < 0:
        raise invalid("limit", "limit must be non-negative")
    return int(value)


def number(request: Request, name: str, problem: str = "") -> int:
    """An integer parameter; -1 where it is missing. Raises BadData, with `problem`."""
    value = request.value(name)
    if value and not _INTEGER.fullmatch(value):
        raise BadData(problem or f"{name} must be a number")
    return int(value) if value else -1


def boolean(request: Request, name: str, problem: str) -> bool:
    """As Go reads it; false where it is missing. Raises BadData, with `problem` before Go's words."""
    value = request.value(name)
    if not value or value in _FALSE:
        return False
    if value not in _TRUE:
        raise invalid(name, f"{problem}: strconv.ParseBool: parsing {quoted(value)}: invalid syntax")
    return True


def selectors(request: Request) -> list[tuple[Matcher, ...]]:
    """The selectors of ``match[]``. Raises ParseError."""
    from tsdb.promql.syntax.parser import parse_selector

    return [parse_selector(text, checked=False) for text in request.form.get("match[]", ())]


def matcher_sets(request: Request, *, named: bool = False) -> list[tuple[Matcher, ...]]:
    """The selectors of ``match[]``, none of which may select all series. Raises BadData; `named`: with the parameter's
    name in the message."""
    from tsdb.server.api.matching import all_hold

    try:
        found = selectors(request)
        if any(all_hold(matchers, {}) for matchers in found):
            raise BadData("match[] must contain at least one non-empty matcher")
    except BadData as problem:
        raise (invalid("match[]", str(problem)) if named else problem) from None
    return found


def unescaped_name(name: str) -> str:
    """A label name in the URL: ``U__`` begins Prometheus' escaping of names that are not plain."""
    if not name.startswith("U__"):
        return name
    out, at = [], 3
    while at < len(name):
        if name[at] != "_":
            out.append(name[at])
            at += 1
        elif name.startswith("__", at):
            out.append("_")
            at += 2
        elif (found := _ESCAPED.match(name, at)) and found[1] and len(found[1]) <= 6:
            code = int(found[1], 16)
            if code > 0x10FFFF or 0xD800 <= code < 0xE000:
                return name
            out.append(chr(code))
            at = found.end()
        else:
            return name
    return "".join(out)


def names_within(names: Sequence[str], most: int) -> tuple[list[str], bool]:
    """The first `most` (0: all), and whether any were left out."""
    return (list(names[:most]), True) if 0 < most < len(names) else (list(names), False)
