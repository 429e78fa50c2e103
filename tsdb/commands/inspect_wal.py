"""``tsdb inspect wal``: files of the log, and their records."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tsdb.wal.records import Decoder
    from tsdb.wal.segments import Record

SHOWN = 3
"""Series or families of a record that are named."""
THEIR_RECORD = struct.Struct(">BHI")
"""The header of a record of Prometheus' log."""
THEIR_TYPES, FULL, FIRST = 7, 1, 2


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True), metavar="DIR|FILE…")
@click.option("--records", is_flag=True, help="List every record, in the order of the files.")
@click.option("--series", is_flag=True, help="List the series that records name, with their references.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of tables.")
def wal(paths: tuple[Path, ...], records: bool, series: bool, as_json: bool) -> None:
    """Shows what is in the log: of a data directory, of its folder wal, or single segments and checkpoints.

    \b
    For each file: its records by type, with bytes, series or samples, and times.
    Damaged bytes are named; `tsdb check data` says what they mean.

    \b
      tsdb inspect wal /var/lib/tsdb
      tsdb inspect wal --records data/wal/00000007 | grep late
      tsdb inspect wal --series data/wal/checkpoint.00000006 | less
      tsdb inspect wal --json data | jq '.[].records.samples.samples'
    """
    files = list(_files(paths))
    if records or series:
        from tsdb.commands.tables import print_lines

        print_lines(json.dumps(row) if as_json else _line(each.path.name, row)
                    for each in files for row in each.rows(series))
        return
    found = [_summary(each) for each in files]
    click.echo(json.dumps(found, indent=2) if as_json else _text(found))


@dataclass
class _File:
    path: Path
    number: int
    magic: bytes

    def records(self) -> Iterator[tuple[Record | None, dict[str, Any]]]:
        """Each record, or None for damage, with what there is to say of it."""
        from tsdb.model.errors import Corruption
        from tsdb.wal.files import LocalFileSystem
        from tsdb.wal.records import Decoder
        from tsdb.wal.segments import Damage, SegmentReader

        decoder = Decoder()
        file = LocalFileSystem().open(self.path)
        try:
            for record in SegmentReader(file, self.number, file.size()).records():
                if isinstance(record, Damage):
                    yield None, {"offset": record.start, "bytes": record.end - record.start,
                                 "type": "torn end" if record.tail else "damaged"}
                    continue
                row = {"offset": record.offset, "bytes": record.end - record.offset, "type": _name(record.type),
                       "endsCommit": bool(record.flags & 1)}
                try:
                    row |= _contents(decoder, record)
                except Corruption as problem:
                    row["problem"] = str(problem)
                yield record, row
        finally:
            file.close()

    def rows(self, series: bool) -> Iterator[dict[str, Any]]:
        from tsdb.model.labels import format_series, labels_of_key
        from tsdb.wal.records import Decoder, RecordType

        decoder = Decoder()
        for record, row in self.records():
            if not series:
                yield row
            elif record is not None and record.type == RecordType.SERIES and "problem" not in row:
                columns = decoder.series(record.payload)
                for ref, at, size in zip(columns.refs.tolist(), columns.offsets.tolist(), columns.lengths.tolist(),
                                         strict=True):
                    labels = labels_of_key(columns.keys[at : at + size].tobytes())
                    yield {"ref": ref, "series": format_series(labels.items())}


def _files(paths: tuple[Path, ...]) -> Iterator[_File]:
    from tsdb.model.errors import ConfigError
    from tsdb.wal import segments

    for path in paths:
        folder = path / "wal" if (path / "wal").is_dir() else path
        names = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else [path.name]
        folder = folder if folder.is_dir() else path.parent
        ours = [*((folder / segments.checkpoint_name(number), number, segments.CHECKPOINT_MAGIC)
                  for number in segments.checkpoint_numbers(names)),
                *((folder / segments.segment_name(number), number, segments.SEGMENT_MAGIC)
                  for number in segments.segment_numbers(names))]
        if not ours:
            raise ConfigError(f"{path} has no segment or checkpoint of a log: give a data directory, its folder wal, "
                              "or one of the files in it")
        if any(_is_of_prometheus(file) for file, *_ in ours):
            raise ConfigError(f"{path} is a write-ahead log of Prometheus, not of tsdb: `promtool tsdb dump` shows "
                              "what is in it")
        yield from (_File(*each) for each in ours)


def _is_of_prometheus(path: Path) -> bool:
    """Whether the file, or the first one of a checkpoint, which is a folder there, begins with a record of theirs: type
    and compression, length, CRC-32C, data."""
    import numpy as np

    from tsdb.kernels.crc32c_kernels import checksum

    try:
        if path.is_dir():
            return any(_is_of_prometheus(file) for file in path.iterdir())
        with path.open("rb") as file:
            kind, length, crc = THEIR_RECORD.unpack(file.read(THEIR_RECORD.size).ljust(THEIR_RECORD.size, b"\0"))
            data = file.read(length)
    except OSError:
        return False
    whole = kind & THEIR_TYPES in (FULL, FIRST) and len(data) == length
    return whole and crc == int(checksum(0, np.frombuffer(data, np.uint8)))


def _name(kind: int) -> str:
    from tsdb.wal.records import RecordType

    return RecordType(kind).name.lower()


def _contents(decoder: Decoder, record: Record) -> dict[str, Any]:
    from tsdb.model.native_histograms import is_boxed
    from tsdb.wal.records import RecordType, are_late

    if record.type == RecordType.SAMPLES:
        samples = decoder.samples(record.payload)
        return {"samples": samples.refs.size, "late": are_late(record.payload),
                "histograms": 0 if samples.payload is None else int(is_boxed(samples.values).sum()),
                "starts": 0 if samples.starts is None else int((samples.starts != 0).sum()),
                "minTime": int(samples.ts.min()), "maxTime": int(samples.ts.max())}
    if record.type == RecordType.SERIES:
        return {"series": decoder.series(record.payload).refs.size}
    if record.type == RecordType.METADATA:
        return {"families": [row.family for row in decoder.metadata(record.payload)]}
    if record.type == RecordType.SECTION:
        name, content = decoder.section(record.payload)
        return {"name": name, "content": content if isinstance(content, int | str) else None}
    if record.type == RecordType.TOMBSTONES:
        deleted = decoder.tombstones(record.payload)
        return {"series": deleted.refs.size, "minTime": deleted.mint, "maxTime": deleted.maxt}
    if record.type == RecordType.STARTS:
        starts = decoder.starts(record.payload)
        return {"starts": starts.refs.size, "minTime": int(starts.ts.min()), "maxTime": int(starts.ts.max())}
    if record.type == RecordType.EXEMPLARS:
        exemplars = decoder.exemplars(record.payload)
        return {"series": len(exemplars.keys), "exemplars": len(exemplars.labels)}
    return {}


@dataclass
class _Sum:
    count: int = 0
    bytes: int = 0
    items: int = 0
    mint: int | None = None
    maxt: int | None = None
    about: list[str] = field(default_factory=list)

    def add(self, row: dict[str, Any]) -> None:
        self.count += 1
        self.bytes += row["bytes"]
        of_kind = (row[name] for name in ("samples", "exemplars", "series", "starts") if name in row)
        self.items += next(of_kind, len(row.get("families", ())))
        if "minTime" in row:
            self.mint = row["minTime"] if self.mint is None else min(self.mint, row["minTime"])
            self.maxt = row["maxTime"] if self.maxt is None else max(self.maxt, row["maxTime"])
        if "name" in row and row["name"] not in self.about:
            self.about.append(row["name"])


def _summary(file: _File) -> dict[str, Any]:
    from tsdb.wal.files import LocalFileSystem
    from tsdb.wal.segments import read_file_header

    opened = LocalFileSystem().open(file.path)
    header = read_file_header(opened, file.magic)
    size = opened.size()
    opened.close()
    sums: dict[str, _Sum] = {}
    commits = 0
    for _, row in file.records():
        kind = "late samples" if row.get("late") else row["type"]
        sums.setdefault("unreadable" if "problem" in row else kind, _Sum()).add(row)
        commits += row.get("endsCommit", False)
    return {
        "path": str(file.path), "bytes": size, "header": "sound" if header is not None else "damaged",
        "previousEnd": header.previous_end if header is not None else None, "commits": commits,
        "records": {kind: {"records": each.count, "bytes": each.bytes, "items": each.items, "minTime": each.mint,
                           "maxTime": each.maxt, "names": each.about} for kind, each in sums.items()},
    }


def _text(found: list[dict[str, Any]]) -> str:
    from tsdb.commands.tables import amount, size, table
    from tsdb.model.times import time_text

    out = []
    for file in found:
        out.append(f"{file['path']}: {size(file['bytes'])}, {amount(file['commits'])} commits"
                   + ("" if file["header"] == "sound" else ", its header is damaged"))
        rows = []
        for kind, each in file["records"].items():
            per_item = f"{each['bytes'] / each['items']:.2f}" if each["items"] else ""
            times = ["", ""] if each["minTime"] is None else [time_text(each["minTime"]), time_text(each["maxTime"])]
            rows.append([kind, amount(each["records"]), amount(each["items"]) if each["items"] else "",
                         size(each["bytes"]), per_item, *times, ", ".join(each["names"])])
        out += [table(["", "records", "items", "size", "bytes/item", "from", "to", ""], rows, "lrrrrlll"), ""]
    return "\n".join(out).rstrip()


def _line(name: str, row: dict[str, Any]) -> str:
    from tsdb.model.times import time_text

    if "ref" in row:
        return f"{row['ref']:>10}  {row['series']}"
    about = []
    if "samples" in row:
        about.append(f"{row['samples']} {'late ' if row['late'] else ''}samples"
                     + (f", {row['histograms']} of them histograms" if row["histograms"] else "")
                     + (f", {row['starts']} with start times" if row["starts"] else ""))
    elif "starts" in row:
        about.append(f"{row['starts']} changes of start times")
    elif "exemplars" in row:
        about.append(f"{row['exemplars']} exemplars of {row['series']} series")
    elif "series" in row:
        about.append(f"{row['series']} series")
    if "minTime" in row:
        about.append(f"{time_text(row['minTime'])} to {time_text(row['maxTime'])}")
    if "families" in row:
        more = len(row["families"]) - SHOWN
        about.append(", ".join(row["families"][:SHOWN]) + (f" and {more} more" if more > 0 else ""))
    if "name" in row:
        about.append(row["name"] + (f" = {row['content']}" if row["content"] is not None else ""))
    if "problem" in row:
        about.append(f"cannot be read: {row['problem']}")
    end = " commit" if row.get("endsCommit") else ""
    return f"{name}  {row['offset']:>10}  {row['bytes']:>9}  {row['type']:<10}{end:<8} {'  '.join(about)}".rstrip()
