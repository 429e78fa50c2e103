"""``usage`` in the data directory: the records, as of a minute ago. docs/formats.md describes it."""

from __future__ import annotations

import logging
import struct
import zlib
from pathlib import Path
from typing import Final

import msgspec

from tsdb.server.usage.records import METRIC_BYTES, SOURCE_BYTES, Count, Metric, Records
from tsdb.server.usage.source import Source
from tsdb.wal.files import FileSystem, read_file, write_file_atomically

log = logging.getLogger(__name__)

NAME: Final = "usage"
MAGIC: Final = b"tsdb-use"
VERSION: Final = 1
_HEADER: Final = struct.Struct("<8sII")


class _Content(msgspec.Struct, array_like=True):
    since: int
    sources: list[tuple[str, str, str]]
    metrics: dict[str, tuple[int, int, list[tuple[int, int, int]]]]
    """(queries, last, [(which source, queries, last)])"""


def encode(records: Records) -> bytes:
    sources: dict[Source, int] = {}
    metrics = {
        name: (metric.total.queries, metric.total.last,
               [(sources.setdefault(source, len(sources)), count.queries, count.last)
                for source, count in metric.sources.items()])
        for name, metric in records.metrics.items()
    }
    named = [(source.kind, source.name, source.part) for source in sources]
    payload = msgspec.msgpack.encode(_Content(records.since, named, metrics))
    return _HEADER.pack(MAGIC, VERSION, zlib.crc32(payload)) + payload


def decode(content: bytes, most_bytes: int) -> Records:
    """Raises ValueError for what is no such file, damaged, or of a newer version."""
    magic, version, checksum = _HEADER.unpack_from(content) if len(content) >= _HEADER.size else (b"", 0, 0)
    if magic != MAGIC:
        raise ValueError("it is no such file")
    if version != VERSION:
        raise ValueError(f"it has version {version}, and this program knows {VERSION}")
    payload = memoryview(content)[_HEADER.size :]
    if zlib.crc32(payload) != checksum:
        raise ValueError("its checksum is wrong")
    read = msgspec.msgpack.decode(payload, type=_Content)  # a ValidationError is a ValueError
    sources = [Source(*each) for each in read.sources]
    records = Records(read.since, most_bytes)
    for name, (queries, last, by_source) in read.metrics.items():
        if any(not 0 <= which < len(sources) for which, _, _ in by_source):
            raise ValueError("it names a source that it has not")
        found = {sources[which]: Count(count, at) for which, count, at in by_source}
        records.metrics[name] = Metric(Count(queries, last), found)
        records.bytes += METRIC_BYTES + len(name) + SOURCE_BYTES * len(found)
    return records


def load(fs: FileSystem, folder: Path, since: int, most_bytes: int) -> Records:
    """What the file has. Where it cannot be read, counting begins anew, at `since` (Unix s): the file says what people
    ask for, and no data."""
    path = folder / NAME
    try:
        if fs.exists(path):
            return decode(read_file(fs, path), most_bytes)
    except (OSError, ValueError) as problem:
        log.warning("which metrics are queried is counted from now on: the file cannot be read",
                    extra={"fields": {"file": path, "err": problem}})
    return Records(since, most_bytes)


def save(fs: FileSystem, folder: Path, records: Records) -> None:
    """Raises OSError."""
    write_file_atomically(fs, folder / NAME, encode(records))
