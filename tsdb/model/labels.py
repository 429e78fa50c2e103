"""Label sets and the canonical key of a series.

The canonical key is the remote_write 1.0 encoding of a series' sorted, non-empty labels with minimal varints: repeated
field 1 (``0a <length>``) of a message with field 1 = name (``0a <length> <utf-8>``) and field 2 = value
(``12 <length> <utf-8>``). For Prometheus senders these are the bytes on the wire.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

METRIC_NAME = "__name__"

_METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def is_legacy_metric_name(text: str) -> bool:
    """Whether it was a metric name before names could be any UTF-8."""
    return _METRIC_NAME.fullmatch(text) is not None


def is_legacy_label_name(text: str) -> bool:
    """Whether it was a label name before names could be any UTF-8."""
    return _LABEL_NAME.fullmatch(text) is not None


def canonical_key(labels: Mapping[str, str]) -> bytes:
    """The canonical key of a label set: sorted by the UTF-8 bytes of the name, empty values left out."""
    parts = []
    for name, value in sorted((name.encode(), value.encode()) for name, value in labels.items() if value):
        label = b"\x0a" + _varint(len(name)) + name + b"\x12" + _varint(len(value)) + value
        parts.append(b"\x0a" + _varint(len(label)) + label)
    return b"".join(parts)


def labels_of_key(key: bytes) -> dict[str, str]:
    """The labels of a canonical key, in its order."""
    return dict(_pairs(key))


def format_series(pairs: Iterable[tuple[str, str]]) -> str:
    """Labels as PromQL writes a series, in the order given: ``name{label="value"}``. Any name or value will do."""
    name = ""
    parts = []
    for label, value in pairs:
        if label == METRIC_NAME and not name and _METRIC_NAME.fullmatch(value):
            name = value
        else:
            parts.append(f"{label if _LABEL_NAME.fullmatch(label) else _quoted(label)}={_quoted(value)}")
    return name + "{" + ", ".join(parts) + "}" if parts or not name else name


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _pairs(key: bytes) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(key):
        _, at = _read_varint(key, at + 1)
        length, at = _read_varint(key, at + 1)
        name, at = key[at : at + length], at + length
        length, at = _read_varint(key, at + 1)
        value, at = key[at : at + length], at + length
        yield name.decode(), value.decode()


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number, at
        shift += 7
