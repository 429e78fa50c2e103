"""HELP, TYPE and UNIT lines. Only those that the last scrape had not come here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from tsdb.ingest.exposition.formats import Format
from tsdb.ingest.exposition.series_cache import SeriesCache
from tsdb.ingest.exposition.series_cache_kernels import FLAGS, FORMAT_MASK, FORMAT_SHIFT, METADATA, SEEN
from tsdb.model.batch import Metadata

HELP, TYPE, UNIT = "HELP", "TYPE", "UNIT"

_TEXT_TYPES = {"counter": "counter", "gauge": "gauge", "histogram": "histogram", "summary": "summary",
               "untyped": "unknown"}
_OPENMETRICS_TYPES = {name: name for name in (
    "counter", "gauge", "histogram", "summary", "unknown", "gaugehistogram", "info", "stateset",
)}
_PROTOBUF_TYPES = ("counter", "gauge", "summary", "unknown", "histogram", "gaugehistogram")
"""By number of io.prometheus.client.MetricType."""

_NAME = r'("(?:\\.|[^"\\])*"|[a-zA-Z_:][a-zA-Z0-9_:]*)'
_TEXT_LINE = re.compile(r"#[ \t]+(HELP|TYPE)[ \t]+(?:" + _NAME + r"(?:.(.*))?)?")
_OPENMETRICS_LINE = re.compile(r"# (HELP|TYPE|UNIT) (?:" + _NAME + r"(?: (.*))?)?")


class MetadataLine(NamedTuple):
    """What one line says of a family."""

    kind: str
    family: str
    text: str
    """Help, unescaped; type, in Prometheus' words; or unit."""


def cached_lines(cache: SeriesCache, since: int) -> list[MetadataLine]:
    """Lines seen after the scrape with number `since`, the newest last."""
    return read_lines(*cached_texts(cache, since))


def cached_texts(cache: SeriesCache, since: int) -> tuple[list[bytes], bytes]:
    """Their texts, and the format of each."""
    entries = np.flatnonzero(cache.flagged(METADATA))
    entries = entries[cache.fields[entries, SEEN] > since]
    entries = entries[np.argsort(cache.fields[entries, SEEN], kind="stable")]
    formats = cache.fields[entries, FLAGS] >> FORMAT_SHIFT & FORMAT_MASK
    return cache.text(entries), formats.astype(np.uint8).tobytes()


def read_lines(texts: list[bytes], formats: bytes) -> list[MetadataLine]:
    """Lines that have been read without an error before."""
    return [read_line(text, Format(number)) for text, number in zip(texts, formats, strict=True)]


def families(lines: Iterable[MetadataLine]) -> dict[str, Metadata]:
    """Metadata by family; later lines win."""
    said: dict[str, dict[str, str]] = {}
    for line in lines:
        said.setdefault(line.family, {})[line.kind] = line.text
    return {family: Metadata(family, kinds.get(TYPE, "unknown"), kinds.get(HELP, ""), kinds.get(UNIT, ""))
            for family, kinds in said.items()}


def metadata_of(lines: list[MetadataLine], cache: SeriesCache, since: int) -> list[Metadata]:
    """Metadata of the families of new lines, with what older ones, seen after scrape `since`, say of them."""
    kinds: dict[str, set[str]] = {}
    for line in lines:
        kinds.setdefault(line.family, set()).add(line.kind)
    if any(not {HELP, TYPE} <= of for of in kinds.values()):
        lines = [line for line in cached_lines(cache, since) if line.family in kinds]
    return list(families(lines).values())


def read_line(line: bytes, format_: Format) -> MetadataLine:
    """Reads a line without its line feed, or a record of `metric_family_kernels`. Raises ValueError, in Prometheus'
    words where it has any."""
    if format_ is Format.PROTOBUF:
        return _read_record(line)
    openmetrics = format_ is Format.OPENMETRICS
    found = (_OPENMETRICS_LINE if openmetrics else _TEXT_LINE).match(_decoded(line, "metric name or text"))
    if not found:
        raise ValueError("expected a valid start token")
    kind, family, text = found.groups()
    if family is None:
        raise ValueError(f"expected metric name after {kind}")
    if text is None and openmetrics:
        raise ValueError(f"expected text in {kind}")
    text = text or ""
    if family[0] == '"':
        family = _unescaped(family[1:-1], quotes=True)
    if kind == HELP:
        return MetadataLine(kind, family, _unescaped(text, quotes=openmetrics))
    if kind == TYPE:
        types = _OPENMETRICS_TYPES if openmetrics else _TEXT_TYPES
        if text not in types:
            raise ValueError(f'invalid metric type "{text}"')
        return MetadataLine(kind, family, types[text])
    if text:
        _check_unit(text, family)
    return MetadataLine(kind, family, text)


def _read_record(record: bytes) -> MetadataLine:
    """Letter, name, 0xff, and help; the type's number; or unit, 0xff, the type's number."""
    name, _, rest = record[1:].partition(b"\xff")
    if not name:
        raise ValueError("invalid metric name: a family has none")
    family = _decoded(name, "metric name")
    if record[:1] == b"H":
        return MetadataLine(HELP, family, _decoded(rest, f'help for metric "{family}"'))
    if record[:1] == b"T":
        number = int(rest)
        if number >= len(_PROTOBUF_TYPES):
            raise ValueError(f'unknown metric type for metric "{family}": {number}')
        return MetadataLine(TYPE, family, _PROTOBUF_TYPES[number])
    raw, _, type_ = rest.partition(b"\xff")
    unit = _decoded(raw, "unit")
    counter = type_ == b"0" and family.endswith("_total")
    _check_unit(unit, family.removesuffix("_total") if counter else family)
    return MetadataLine(UNIT, family, unit)


def _check_unit(unit: str, family: str) -> None:
    if not family.endswith("_" + unit):
        raise ValueError(f'unit "{unit}" not a suffix of metric "{family}"')


def _decoded(text: bytes, what: str) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as problem:
        raise ValueError(f"{what} is not valid UTF-8") from problem


def _unescaped(text: str, quotes: bool) -> str:
    if "\\" not in text:
        return text
    parts = [part.replace("\\n", "\n") for part in text.split("\\\\")]
    if quotes:
        parts = [part.replace('\\"', '"') for part in parts]
    return "\\".join(parts)
