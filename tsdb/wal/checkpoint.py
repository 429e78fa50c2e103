"""Writing checkpoints: what segments up to a number said, so that they can go."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tsdb.model.batch import Metadata
from tsdb.wal import segments
from tsdb.wal.exemplars import ExemplarColumns
from tsdb.wal.files import FileSystem, write_all
from tsdb.wal.records import MAX_SERIES, Encoder, RecordType, SeriesColumns, StartColumns
from tsdb.wal.segments import Payload

AT_ONCE: Final = 2048
"""Series in one record of a checkpoint: what damage of one costs. Larger ones would be some percent smaller in all."""
MAX_KEY_BYTES: Final = 64 << 20
"""Bytes of keys in one record, unless it is a single key."""


def write_checkpoint(fs: FileSystem, directory: Path, through: int, series: Iterable[SeriesColumns],
                     metadata: Sequence[Metadata], sections: Mapping[str, Any],
                     exemplars: Iterable[ExemplarColumns] = (), starts: StartColumns | None = None) -> int:
    """Writes the checkpoint for all segments up to `through`, durably, under its final name. Returns its bytes.

    Raises OSError with nothing left behind but, at worst, a temporary file.
    """
    target = segments.checkpoint_path(directory, through)
    temporary = target.with_name(target.name + ".tmp")
    file = fs.open(temporary, writable=True, create=True, truncate=True)
    try:
        try:
            header = segments.file_header(segments.CHECKPOINT_MAGIC)
            write_all(file, header, 0)
            end = len(header)
            for payload in _payloads(Encoder(), series, metadata, sections, exemplars, starts):
                data = segments.frame([payload], through, end, 0)
                write_all(file, data, end)
                end += len(data)
            file.datasync()
        finally:
            file.close()
        fs.rename(temporary, target)
    except OSError:
        try:
            fs.unlink(temporary)
        except OSError as problem:
            if problem.errno not in (errno.EIO, errno.EROFS):
                raise
        raise
    fs.sync_directory(directory)
    return end


def _payloads(encoder: Encoder, series: Iterable[SeriesColumns], metadata: Sequence[Metadata],
              sections: Mapping[str, Any], exemplars: Iterable[ExemplarColumns], starts: StartColumns | None,
              ) -> Iterator[Payload]:
    """Sections stand in it twice, far from each other: without the border, much more than they would be lost."""
    twice = [Payload(RecordType.SECTION, encoder.section(name, content)) for name, content in sections.items()]
    yield from twice
    for columns in series:
        for part in split_series(columns, AT_ONCE):
            yield Payload(RecordType.SERIES, encoder.series(part))
    for changes in starts.pieces(AT_ONCE) if starts is not None else ():
        yield Payload(RecordType.STARTS, encoder.starts(changes))
    for start in range(0, len(metadata), 1024):
        yield Payload(RecordType.METADATA, encoder.metadata(metadata[start : start + 1024]))
    for each in exemplars:
        for piece in each.pieces():
            yield Payload(RecordType.EXEMPLARS, encoder.exemplars(piece))
    yield from twice
    yield Payload(RecordType.END, b"")


def split_series(columns: SeriesColumns, most: int = MAX_SERIES) -> Iterator[SeriesColumns]:
    """Pieces that fit into one record each, of at most so many series."""
    rows = columns.refs.size
    if rows > most:
        for start in range(0, rows, most):
            yield from split_series(_rows(columns, start, start + most))
    elif rows > 1 and int(columns.lengths.sum()) > MAX_KEY_BYTES:
        yield from split_series(_rows(columns, 0, rows // 2))
        yield from split_series(_rows(columns, rows // 2, rows))
    elif rows:
        yield columns


def _rows(columns: SeriesColumns, start: int, end: int) -> SeriesColumns:
    return SeriesColumns(columns.refs[start:end], columns.keys, columns.offsets[start:end], columns.lengths[start:end])
