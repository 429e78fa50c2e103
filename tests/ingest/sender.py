"""A remote_write 1.0 sender without a protobuf library, for tests and benchmarks; and the pieces of broken messages."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

from cramjam import snappy

from tsdb.ingest.remote_write_columns import METADATA_TYPES
from tsdb.model.batch import Metadata
from tsdb.model.labels import canonical_key

Labels = Mapping[str, str]
Samples = Sequence[tuple[int, float]]
"""(ms, value)"""


def varint(number: int) -> bytes:
    """Of a u64, or an i64 as its two's complement."""
    number &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def message(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def label(name: str | bytes, value: str | bytes) -> bytes:
    """A label of a TimeSeries, exactly as given."""
    name = name.encode() if isinstance(name, str) else name
    value = value.encode() if isinstance(value, str) else value
    return message(1, message(1, name) + message(2, value))


def sample(ts: int, value: float | int) -> bytes:
    """A sample of a TimeSeries; zeros are left out as Go's encoder does. An int `value` is the bits of the float."""
    bits = value if isinstance(value, int) else struct.unpack("<Q", struct.pack("<d", value))[0]
    content = (b"\x09" + struct.pack("<Q", bits) if bits else b"") + (b"\x10" + varint(ts) if ts else b"")
    return message(2, content)


def series(labels: Iterable[tuple[str | bytes, str | bytes]], samples: Iterable[tuple[int, float | int]]) -> bytes:
    """A TimeSeries with labels exactly as given."""
    return message(1, b"".join(label(*pair) for pair in labels) + b"".join(sample(*pair) for pair in samples))


def metadata_entry(entry: Metadata) -> bytes:
    content = message(2, entry.family.encode()) + message(4, entry.help.encode()) + message(5, entry.unit.encode())
    return message(3, b"\x08" + varint(METADATA_TYPES.index(entry.type)) + content)


def encode(rows: Iterable[tuple[Labels, Samples]], metadata: Iterable[Metadata] = ()) -> bytes:
    """The body that Prometheus would send: labels sorted, compressed."""
    raw = b"".join(
        message(1, canonical_key(labels) + b"".join(sample(*pair) for pair in samples)) for labels, samples in rows
    )
    return compress(raw + b"".join(metadata_entry(entry) for entry in metadata))


def compress(raw: bytes) -> bytes:
    return bytes(snappy.compress_raw(raw))
