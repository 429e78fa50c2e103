"""Formats of what targets expose, and which one an answer is in, as Prometheus decides it."""

from __future__ import annotations

import re
from enum import Enum

from tsdb.ingest.exposition import line_kernels as kernels
from tsdb.model.errors import UnsupportedMedia


class Format(Enum):
    """The values are those of `line_kernels`."""

    TEXT = kernels.TEXT
    """https://prometheus.io/docs/instrumenting/exposition_formats/: 0.0.4, and 1.0.0 with quoted UTF-8 names."""
    OPENMETRICS = kernels.OPENMETRICS
    """https://github.com/prometheus/OpenMetrics: 0.0.1 and 1.0.0."""
    PROTOBUF = kernels.PROTOBUF
    """io.prometheus.client.MetricFamily messages, each behind its length."""


_MEDIA_TYPES = {
    "text/plain": Format.TEXT,
    "application/openmetrics-text": Format.OPENMETRICS,
    "application/vnd.google.protobuf": Format.PROTOBUF,
}

_PROTOCOLS = {
    "PrometheusText0.0.4": "text/plain",
    "PrometheusText1.0.0": "text/plain",
    "OpenMetricsText0.0.1": "application/openmetrics-text",
    "OpenMetricsText1.0.0": "application/openmetrics-text",
    "PrometheusProto": "application/vnd.google.protobuf",
}
"""Values of scrape_protocols and fallback_scrape_protocol."""

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
"""Of RFC 2045."""
_MEDIA_TYPE = re.compile(rf"\s*({_TOKEN}(?:/{_TOKEN})?)\s*(?=;|$)")
_PARAMETER = re.compile(rf'\s*;\s*({_TOKEN})\s*=\s*(?:{_TOKEN}|"(?:\\.|[^"\\])*")\s*(?=;|$)')
_END = re.compile(r"[\s;]*$")


def choose_format(content_type: str, fallback: str | None) -> Format:
    """The format of a body with that Content-Type. `fallback`, a scrape protocol as in the config or its media type, is
    for a type that is missing, unreadable or unknown.

    Raises UnsupportedMedia, in Prometheus' words, where there is none.
    """
    if fallback:
        media_type = _PROTOCOLS.get(fallback, fallback)
        if media_type not in _MEDIA_TYPES:
            raise UnsupportedMedia(f"unknown fallback_scrape_protocol {fallback!r}: known are {', '.join(_PROTOCOLS)}")
        chosen = _MEDIA_TYPES.get(_media_type(content_type) or "")
        return chosen or _MEDIA_TYPES[media_type]
    if not content_type:
        raise UnsupportedMedia("non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol "
                               "specified for target")
    found = _media_type(content_type)
    if found is None:
        raise UnsupportedMedia(f"cannot parse Content-Type {_quoted(content_type)} and no fallback_scrape_protocol for "
                               "target")
    if found not in _MEDIA_TYPES:
        raise UnsupportedMedia(f"received unsupported Content-Type {_quoted(content_type)} and no "
                               "fallback_scrape_protocol specified for target")
    return _MEDIA_TYPES[found]


def _media_type(content_type: str) -> str | None:
    """In lower case, without parameters; None where the header is malformed."""
    found = _MEDIA_TYPE.match(content_type)
    if not found:
        return None
    at = found.end()
    names = set()
    while not _END.match(content_type, at):
        parameter = _PARAMETER.match(content_type, at)
        if not parameter or parameter[1].lower() in names:
            return None
        names.add(parameter[1].lower())
        at = parameter.end()
    return found[1].lower()


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
