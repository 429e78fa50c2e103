"""A slow and obvious parser of Prometheus' text format and OpenMetrics, beside the kernels."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

MAX_LABELS = 1024
NORMAL_NAN = 0x7FF8000000000001

METRIC = re.compile(rb"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(rb"[a-zA-Z_][a-zA-Z0-9_]*")
QUOTED = re.compile(rb'"((?:\\[^\n]|[^\\"])*)"', re.DOTALL)
QUOTED_LINE = re.compile(rb'"((?:\\[^\n]|[^\\"\n])*)"', re.DOTALL)
FLOAT = re.compile(rb"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?inf(inity)?|nan", re.IGNORECASE)
TEXT_TYPES = b"counter gauge histogram summary untyped".split()
OPENMETRICS_TYPES = b"counter gauge histogram summary unknown gaugehistogram info stateset".split()


class WrongText(Exception):
    """Not an exposition."""


@dataclass
class Sample:
    text: bytes
    """The series as it stands there."""
    labels: dict[str, str]
    bits: int
    ts: int | None
    exemplar: tuple[bytes, int, int | None] | None = None
    """Labels as they stand there, bits, ms."""


class Reader:
    def __init__(self, data: bytes, openmetrics: bool) -> None:
        self.data = data
        self.at = 0
        self.openmetrics = openmetrics

    def take(self, pattern: re.Pattern[bytes]) -> bytes | None:
        found = pattern.match(self.data, self.at)
        if not found:
            return None
        self.at = found.end()
        return found.group()

    def need(self, pattern: re.Pattern[bytes]) -> bytes:
        found = self.take(pattern)
        if not found:
            raise WrongText(pattern.pattern)
        return found

    def blanks(self) -> None:
        """Between tokens; OpenMetrics has none."""
        if not self.openmetrics:
            self.take(re.compile(rb"[ \t]*"))

    def gap(self) -> None:
        """In front of a value or time."""
        if not self.openmetrics:
            self.blanks()
        elif not self.byte(b" "):
            raise WrongText("blank")

    def byte(self, *expected: bytes) -> bool:
        for each in expected:
            if self.data.startswith(each, self.at):
                self.at += len(each)
                return True
        return False

    def end_of_line(self) -> bool:
        return self.data.startswith(b"\n", self.at) or (self.at == len(self.data) and not self.openmetrics)

    def number(self) -> float:
        text = self.need(re.compile(rb"[^ \n]+" if self.openmetrics else rb"[^ \t\n]+"))
        if not FLOAT.fullmatch(text):
            raise WrongText("number")
        value = float(text)
        if math.isinf(value) and b"i" not in text.lower():
            raise WrongText("range")
        return value


def bits_of(value: float) -> int:
    return NORMAL_NAN if math.isnan(value) else int(struct.unpack("<Q", struct.pack("<d", value))[0])


def unescape(quoted: bytes) -> bytes:
    return re.sub(rb'\\(["\\n])', lambda found: b"\n" if found[1] == b"n" else found[1], quoted[1:-1])


def parse(data: bytes, openmetrics: bool = False) -> list[Sample]:
    """The samples with their own labels. Raises WrongText."""
    reader = Reader(data, openmetrics)
    samples: list[Sample] = []
    type_ = b""
    while True:
        reader.blanks()
        if openmetrics and data[reader.at :] in (b"# EOF", b"# EOF\n"):
            return samples
        if reader.at == len(data):
            if openmetrics:
                raise WrongText("EOF")
            return samples
        if not openmetrics and reader.byte(b"\n"):
            continue
        if reader.data.startswith(b"#", reader.at):
            type_ = read_metadata(reader, type_)
            continue
        samples.append(read_sample(reader, type_))


def read_metadata(reader: Reader, type_: bytes) -> bytes:
    """The type that samples have from here on."""
    line = reader.need(re.compile(rb"[^\n]*"))
    if not reader.byte(b"\n") and reader.openmetrics:
        raise WrongText("end of line")
    keyword = re.match(rb"# (HELP|TYPE|UNIT) " if reader.openmetrics else rb"#[ \t]+(HELP|TYPE)[ \t]+", line)
    if not keyword:
        if reader.openmetrics:
            raise WrongText("comment")
        return type_
    inner = Reader(line[keyword.end() :], False)
    name = inner.take(QUOTED) or inner.need(METRIC)
    rest = inner.data[inner.at :]
    if reader.openmetrics and not rest.startswith(b" "):
        raise WrongText("blank")
    text = rest[1:]
    try:
        name.decode()
        text.decode()
    except UnicodeDecodeError as problem:
        raise WrongText("UTF-8") from problem
    if keyword[1] == b"TYPE":
        if text not in (OPENMETRICS_TYPES if reader.openmetrics else TEXT_TYPES):
            raise WrongText("type")
        return text
    if keyword[1] == b"UNIT" and text:
        family = unescape(name) if name.startswith(b'"') else name
        if not family.endswith(b"_" + text):
            raise WrongText("unit")
    return type_


def read_sample(reader: Reader, type_: bytes) -> Sample:
    begin = reader.at
    metric = reader.take(METRIC)
    labels: list[tuple[bytes, bytes]] = []
    if metric is None and not reader.data.startswith(b"{", reader.at):
        raise WrongText("name")
    reader.blanks()
    if reader.byte(b"{"):
        metric, labels = read_labels(reader, metric, exemplar=False)
    text = reader.data[begin : reader.at].strip(b" \t")
    if not metric:
        raise WrongText("name")
    reader.gap()
    bits = bits_of(reader.number())
    ts, exemplar = (read_openmetrics_rest if reader.openmetrics else read_text_rest)(reader)
    if not reader.end_of_line():
        raise WrongText("behind")
    reader.byte(b"\n")
    bound = {b"histogram": b"le", b"summary": b"quantile"}.get(type_)
    named = [(b"__name__", metric), *((name, bound_text(value) if name == bound else value) for name, value in labels)]
    if any(not name for name, _ in named) or len({name for name, _ in named}) < len(named):
        raise WrongText("label names")
    try:
        return Sample(text, {name.decode(): value.decode() for name, value in named}, bits, ts, exemplar)
    except UnicodeDecodeError as problem:
        raise WrongText("UTF-8") from problem


def read_labels(reader: Reader, metric: bytes | None, exemplar: bool) -> tuple[bytes | None, list[tuple[bytes, bytes]]]:
    labels: list[tuple[bytes, bytes]] = []
    while True:
        reader.blanks()
        if reader.byte(b"}"):
            return metric, labels
        if len(labels) == MAX_LABELS - 1:
            raise WrongText("too many")
        quoted = reader.take(QUOTED_LINE if exemplar else QUOTED)
        name = unescape(quoted) if quoted else reader.need(LABEL)
        reader.blanks()
        if quoted and not exemplar and reader.data[reader.at : reader.at + 1] in (b",", b"}"):
            if metric:
                raise WrongText("two names")
            metric = name
            reader.byte(b",")
            continue
        if not reader.byte(b"="):
            raise WrongText("equals")
        reader.blanks()
        labels.append((name, unescape(reader.need(QUOTED_LINE if reader.openmetrics else QUOTED))))
        reader.blanks()
        if not reader.byte(b",") and reader.openmetrics and not reader.data.startswith(b"}", reader.at):
            raise WrongText("comma")


def read_text_rest(reader: Reader) -> tuple[int | None, None]:
    reader.blanks()
    if reader.end_of_line():
        return None, None
    ts = int(reader.need(re.compile(rb"[0-9]{1,19}")))
    if ts >= 1 << 63:
        raise WrongText("time")
    reader.blanks()
    return ts, None


def read_openmetrics_rest(reader: Reader) -> tuple[int | None, tuple[bytes, int, int | None] | None]:
    ts = None
    if reader.data.startswith(b" ", reader.at) and not reader.data.startswith(b" # {", reader.at):
        ts = milliseconds(reader)
    if not reader.byte(b" # {"):
        return ts, None
    begin = reader.at - 1
    _, labels = read_labels(reader, None, exemplar=True)
    text = reader.data[begin : reader.at]
    for name, value in labels:
        try:
            name.decode()
            value.decode()
        except UnicodeDecodeError as problem:
            raise WrongText("UTF-8") from problem
    reader.gap()
    value_ = bits_of(reader.number())
    return ts, (text, value_, milliseconds(reader) if reader.data.startswith(b" ", reader.at) else None)


def milliseconds(reader: Reader) -> int:
    reader.gap()
    seconds = reader.number()
    if not math.isfinite(seconds):
        raise WrongText("time")
    ms = seconds * 1000
    return int(ms) if -9.2e18 < ms < 9.2e18 else -(1 << 63)


def bound_text(text: bytes) -> bytes:
    """As OpenMetrics writes the bound of a bucket or quantile."""
    if not FLOAT.fullmatch(text):
        return text
    value = float(text)
    if math.isnan(value) or math.isinf(value):
        return b"NaN" if math.isnan(value) else b"+Inf" if value > 0 else b"-Inf"
    if value == 0:
        return b"0.0"
    _, digits, power = Decimal(repr(value)).normalize().as_tuple()
    exponent = len(digits) - 1 + int(power)
    if -4 <= exponent < 6:
        plain = f"{Decimal(repr(value)).normalize():f}"
        return (plain if "." in plain else plain + ".0").encode()
    mantissa = ".".join(part for part in (str(digits[0]), "".join(map(str, digits[1:]))) if part)
    return f"{'-' if value < 0 else ''}{mantissa}e{exponent:+03d}".encode()


def merge(labels: Mapping[str, str], target: Mapping[str, str], honor_labels: bool) -> dict[str, str]:
    """As Prometheus adds a target's labels; empty values are out."""
    merged = dict(labels)
    target = {name: value for name, value in target.items() if value}
    conflicts = []
    for name, value in sorted(target.items()):
        if honor_labels:
            merged.setdefault(name, value)
            continue
        if labels.get(name):
            conflicts.append((name, labels[name]))
        merged[name] = value
    for name, value in sorted(conflicts, key=lambda pair: len(pair[0].encode())):
        name = "exported_" + name
        while merged.get(name):
            name = "exported_" + name
        merged[name] = value
    return {name: value for name, value in merged.items() if value}
