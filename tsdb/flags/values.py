"""Kinds of flag values: read and printed as Go's kingpin does it for Prometheus."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tsdb.model.durations import UNITS_MS, format_duration, parse_duration

_GO_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZES = " KMGTPE"
_SIZE = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([KMGTPE]?)(?:i?B)", re.ASCII)
_SECONDS = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", re.ASCII)
_HUNDRED_YEARS_MS = 100 * UNITS_MS["y"]


@dataclass(frozen=True, slots=True)
class Kind:
    """How a flag's text becomes a value and is shown again."""

    name: str
    """For people: ``duration``, ``size``, …"""
    parse: Callable[[str], Any]
    """Raises ValueError with a message for people."""
    show: Callable[[Any], str] = str

    @property
    def metavar(self) -> str:
        """For ``--help``."""
        return self.name.replace("`", "").replace(" or ", "|") if "`" in self.name else f"<{self.name}>"


def _integer(text: str) -> int:
    # kingpin reads a float and cuts it: 5e7 is a valid count
    if not _NUMBER.fullmatch(text) or not 0 <= float(text) < math.inf:
        raise ValueError("give a number that is not negative, as in 512 or 5e7")
    return int(float(text))


def _number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise ValueError("give a number, as in 0.9")
    return float(text)


def _size(text: str) -> int:
    """Bytes. As in Prometheus, KB and KiB are both 1024, and ``1GB512MB`` is a sum."""
    parts = list(_SIZE.finditer(text))
    if text == "0":
        return 0
    if not parts or "".join(part[0] for part in parts) != text:
        raise ValueError("give a number with a unit (B, KB, MB, GB, TB, PB, EB), as in 512MB")
    return int(sum(float(part[1]) * 1024 ** _SIZES.index(part[2] or " ") for part in parts))


def _show_size(size: int) -> str:
    if not size:
        return "0B"
    out = []
    for unit in _SIZES:
        if size % 1024:
            out.append(f"{size % 1024}{unit.strip()}{'iB' if unit != ' ' else 'B'}")
        size //= 1024
    return "".join(reversed(out))


def _retention(text: str) -> int:
    """Milliseconds, at most 100 years."""
    return min(parse_duration(text), _HUNDRED_YEARS_MS)


def _go_duration(text: str) -> float:
    """Seconds of Go's own durations: ``2ms``, ``1.5h``."""
    parts = list(_SECONDS.finditer(text))
    if text == "0":
        return 0.0
    if not parts or "".join(part[0] for part in parts) != text:
        raise ValueError("give a number with a unit (ms, s, m, h), as in 2ms")
    return sum(float(part[1]) * _GO_UNITS_S[part[2]] for part in parts)


def _show_go_duration(seconds: float) -> str:
    if seconds == 0:
        return "0s"
    for unit, size in (("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3)):
        if seconds < size * 1000 * 0.9999999:
            return f"{seconds / size:.9g}{unit}"
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    whole = f"{hours:g}h{minutes:g}m" if hours else f"{minutes:g}m" if minutes else ""
    return f"{whole}{rest:.9g}s"


def choice(*values: str) -> Kind:
    """One of some words, upper or lower case."""

    def parse(text: str) -> str:
        for value in values:
            if text.lower() == value.lower():
                return value
        raise ValueError(f"give one of {', '.join(values)}")

    return Kind("`" + "` or `".join(values) + "`", parse)


BOOL = Kind("true or false", lambda text: text == "true", lambda value: "true" if value else "false")
TEXT = Kind("text", str)
FILE = Kind("file", str)
FOLDER = Kind("folder", str)
URL = Kind("URL", str)
ADDRESS = Kind("host:port", str)
REGEX = Kind("regex", str)
INTEGER = Kind("integer", _integer)
NUMBER = Kind("number", _number, lambda value: f"{value:g}")
DURATION = Kind("duration", parse_duration, format_duration)
RETENTION = Kind("duration", _retention, format_duration)
GO_DURATION = Kind("duration", _go_duration, _show_go_duration)
SIZE = Kind("size", _size, _show_size)
