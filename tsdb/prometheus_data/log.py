"""Reading Prometheus' write-ahead log: the newest checkpoint, the segments behind it, and the log of samples out of
order. What the head in memory would have comes out, into batches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import cramjam
import numpy as np
import zstandard
from numpy.typing import NDArray

from tsdb.ingest.canonical_kernels import MAX_LABELS
from tsdb.ingest.decoded import LABEL_REASONS, IngestLimits
from tsdb.model.batch import Batch
from tsdb.model.errors import Corruption
from tsdb.prometheus_data import log_kernels as kernels
from tsdb.prometheus_data.columns import Columns, make_batch
from tsdb.prometheus_data.notes import Notes
from tsdb.prometheus_data.tombstones import Intervals
from tsdb.wal.files import FileSystem

LOG_NAME, LATE_LOG_NAME = "wal", "wbl"
SPLIT_BYTES = 8 << 20
"""Of records that are looked at at once."""
MAX_RECORD_BYTES = 512 << 20
REMEDY = "restore it from a backup, or import what is sound with --skip-damaged"
PROBLEMS = {
    kernels.LOG_TORN: "a record is not whole",
    kernels.LOG_CHECKSUM: "a record's checksum does not match",
    kernels.LOG_ORDER: "a part of a record stands where none belongs",
    kernels.LOG_LENGTH: "a part of a record is longer than its page",
}


class Series:
    """Series of the log by reference: rows that grow."""

    def __init__(self) -> None:
        self.keys = np.empty(1 << 20, np.uint8)
        self.offset = np.empty(1 << 12, np.uint32)
        self.length = np.empty(1 << 12, np.uint32)
        self.ref = np.empty(1 << 12, np.int64)
        self.last = np.empty(1 << 12, np.int64)
        self.table = np.zeros(1 << 13, np.int64)

    def grow_rows(self) -> None:
        self.offset, self.length = (np.concatenate((each, each)) for each in (self.offset, self.length))
        self.ref, self.last = (np.concatenate((each, each)) for each in (self.ref, self.last))
        self.table = np.zeros(2 * self.ref.size, np.int64)

    def grow_keys(self, path: Path) -> None:
        if self.keys.size > 1 << 31:
            raise Corruption(f"{path}: the labels of its series take more than 4 GiB: import the blocks alone")
        self.keys = np.concatenate((self.keys, np.empty_like(self.keys)))


class Log:
    """The logs of a data directory."""

    def __init__(self, fs: FileSystem, folder: Path, notes: Notes) -> None:
        self._fs, self._notes = fs, notes
        self._segments = segments(fs, folder / LOG_NAME)
        self._late = segments(fs, folder / LATE_LOG_NAME)
        self._sizes = {path: _size(fs, path) for path in (*self._segments, *self._late)}
        self.bytes = sum(self._sizes.values())
        """Of all segments, by which `done` tells how far a reader is."""
        self.files = (*self._segments, *self._late)
        self.done = 0

    def read(self, secret: NDArray[np.uint64], min_time: int) -> Iterator[Batch]:
        """Samples from `min_time` (ms) on in order, and all that came out of order; nothing that is deleted. Raises
        Corruption, but where damage is skipped."""
        if not self._segments and not self._late:
            return
        deleted = self._tombstones()
        reader = _Reader(self._notes, secret, min_time, deleted)
        for late, paths in ((False, self._segments), (True, self._late)):
            reader.state[kernels.IN_ORDER] = 0 if late else 1
            if late:
                reader.state[kernels.MIN_TIME] = kernels.OLDEST
            for path in paths:
                for data, records in self._records(path, path == paths[-1]):
                    yield from reader.batches(path, data, records)
                self.done += self._sizes[path]
            yield from reader.batch()
        reader.finish()

    def _tombstones(self) -> dict[bytes, Intervals]:
        """By canonical key: one pass over the log before the other."""
        reader = _Reader(Notes(self._notes.skip_damaged), np.zeros(2, np.uint64), kernels.OLDEST, {})
        reader.state[kernels.WANT_SAMPLES] = 0
        for path in self._segments:
            for data, records in self._records(path, path == self._segments[-1], quiet=True):
                for _ in reader.batches(path, data, records):
                    pass
        found: dict[bytes, Intervals] = {}
        for row, first, last in reader.stones[: reader.state[kernels.STONES_USED]].tolist():
            found.setdefault(reader.key(row), []).append((first, last))
        return found

    def _records(self, path: Path, newest: bool, quiet: bool = False,
                 ) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
        """(bytes, begin and end of each record) of a segment, decompressed, some MiB at a time."""
        size = self._sizes[path]
        if not size:
            return
        file = self._fs.open(path)
        try:
            mapping = file.map(size)
        finally:
            file.close()
        try:
            out, found = np.empty(SPLIT_BYTES, np.uint8), np.zeros((1 << 16, 3), np.int64)
            state = np.zeros(kernels.LOG_STATE, np.int64)
            code = kernels.LOG_ROOM
            while code == kernels.LOG_ROOM:
                code = kernels.split_log(mapping.array, out, found, state)
                count, written = int(state[kernels.LOG_RECORDS]), int(state[kernels.LOG_WRITTEN])
                if count:
                    yield self._decompressed(path, out, found[:count], quiet)
                    rest = out[int(found[count - 1, 1]) : written].copy()  # of a record that goes on
                    out[: rest.size] = rest
                    state[kernels.LOG_WRITTEN], state[kernels.LOG_BEGIN] = rest.size, 0
                    state[kernels.LOG_RECORDS] = 0
                elif code == kernels.LOG_ROOM:
                    if out.size > MAX_RECORD_BYTES:
                        raise Corruption(f"{path}: a record of more than {MAX_RECORD_BYTES} bytes: {REMEDY}")
                    out = np.concatenate((out, np.empty_like(out)))
            if code == kernels.LOG_END or (newest and code == kernels.LOG_TORN):
                return  # the newest record may be half written
            self._damaged(path, int(state[kernels.LOG_AT]), PROBLEMS[code], quiet)
        finally:
            mapping.close()

    def _decompressed(self, path: Path, out: NDArray[np.uint8], found: NDArray[np.int64], quiet: bool,
                      ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        view = memoryview(out.data)
        parts: list[bytes | memoryview] = []
        decompressor = zstandard.ZstdDecompressor()
        for begin, end, compression in found.tolist():
            part: bytes | memoryview = view[begin:end]
            try:
                if compression & kernels.SNAPPY and begin < end:
                    if _declared(part) > MAX_RECORD_BYTES:
                        raise ValueError("it declares to be too long")
                    part = memoryview(cramjam.snappy.decompress_raw(part)).cast("B")
                elif compression & kernels.ZSTD and begin < end:
                    part = decompressor.decompress(part, max_output_size=MAX_RECORD_BYTES)
            except (cramjam.DecompressionError, zstandard.ZstdError, ValueError) as problem:
                self._damaged(path, 0, f"a record cannot be decompressed ({problem})", quiet)
                part = b""
            parts.append(part)
        data = np.frombuffer(bytearray(b"").join([*parts, bytes(16)]), np.uint8)
        ends = np.cumsum([len(part) for part in parts])
        records = np.stack((np.concatenate(([0], ends[:-1])), ends), axis=1).astype(np.int64)
        return data, np.ascontiguousarray(records)

    def _damaged(self, path: Path, at: int, problem: str, quiet: bool) -> None:
        if not self._notes.skip_damaged:
            raise Corruption(f"{path} at byte {at}: {problem}: {REMEDY}")
        if not quiet:
            self._notes.damaged.append(f"{path} from byte {at} on: {problem}")


class _Reader:
    """Series and samples of records, in their order."""

    def __init__(self, notes: Notes, secret: NDArray[np.uint64], min_time: int, deleted: dict[bytes, Intervals],
                 ) -> None:
        self._notes, self._secret, self._deleted = notes, secret, deleted
        self._series, self._columns = Series(), Columns()
        self._labels = np.zeros((MAX_LABELS, 4), np.int64)
        self.stones = np.zeros((1 << 8, 3), np.int64)
        self._deleted_rows: dict[int, Intervals] = {}
        self._looked = 0
        self.state = np.zeros(kernels.RECORD_STATE, np.int64)
        self.state[kernels.MIN_TIME] = min_time
        self.state[kernels.IN_ORDER] = self.state[kernels.WANT_SAMPLES] = 1

    def key(self, row: int) -> bytes:
        begin = int(self._series.offset[row])
        return self._series.keys[begin : begin + int(self._series.length[row])].tobytes()

    def batches(self, path: Path, data: NDArray[np.uint8], records: NDArray[np.int64]) -> Iterator[Batch]:
        state, series, columns = self.state, self._series, self._columns
        state[kernels.NEXT_RECORD] = 0
        while state[kernels.NEXT_RECORD] < len(records):
            code = kernels.read_records(
                data, records, self._labels, IngestLimits().max_key_bytes, series.keys, series.offset, series.length,
                series.ref, series.last, series.table, columns.row, columns.ts, columns.values, columns.starts,
                self.stones, columns.payload, columns.fields, columns.spans, columns.lists, columns.details,
                columns.refused, state)
            if code == kernels.ROOM_FOR_ROWS:
                series.grow_rows()
                state[kernels.REBUILD] = 1
            elif code == kernels.ROOM_FOR_KEYS:
                series.grow_keys(path)
            elif code == kernels.ROOM_FOR_STONES:
                self.stones = np.concatenate((self.stones, np.zeros_like(self.stones)))
            elif code == kernels.ROOM_FOR_LISTS:
                columns.grow_lists(2 * columns.lists.shape[1])
            elif code in (kernels.ROOM_FOR_SAMPLES, kernels.ROOM_FOR_PAYLOAD):
                yield from self.batch()
                needs = int(state[kernels.RECORD_NEEDS])
                if code == kernels.ROOM_FOR_SAMPLES and needs > columns.ts.size:
                    columns.grow_samples(needs)
                while code == kernels.ROOM_FOR_PAYLOAD and needs > columns.payload.size:
                    columns.grow_payload()
            elif code == kernels.WRONG_RECORD:
                number = int(state[kernels.NEXT_RECORD])
                text = f"{path}: a record of type {int(data[records[number, 0]])} cannot be decoded"
                if not self._notes.skip_damaged:
                    raise Corruption(f"{text}: {REMEDY}")
                self._notes.damaged.append(text)
                state[kernels.NEXT_RECORD] += 1

    def batch(self) -> Iterator[Batch]:
        """What has been read, if anything; room again."""
        state, series, columns = self.state, self._series, self._columns
        count, used = int(state[kernels.SAMPLES_USED]), int(state[kernels.PAYLOAD_USED])
        if not count:
            return
        row, ts, values = columns.row[:count].copy(), columns.ts[:count].copy(), columns.values[:count].copy()
        starts = columns.starts[:count].copy() if state[kernels.STARTS] else None
        payload = columns.payload[:used].copy() if used else None
        state[kernels.SAMPLES_USED] = state[kernels.PAYLOAD_USED] = state[kernels.STARTS] = 0
        keep = self._kept(row, ts)
        if keep is not None:
            row, ts, values, starts = row[keep], ts[keep], values[keep], None if starts is None else starts[keep]
        if not row.size:
            return
        rows, own = np.unique(row, return_inverse=True)
        yield make_batch(series.keys, series.offset[rows], series.length[rows], own.astype(np.uint32), ts, values,
                         payload, starts, self._secret)

    def _kept(self, row: NDArray[np.uint32], ts: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        if not self._deleted:
            return None
        rows = int(self.state[kernels.ROWS])
        for each in range(self._looked, rows):
            if intervals := self._deleted.get(self.key(each)):
                self._deleted_rows[each] = intervals
        self._looked = rows
        keep = np.ones(row.size, np.bool_)
        for each, intervals in self._deleted_rows.items():
            own = row == each
            for first, last in intervals:
                keep &= ~(own & (ts >= first) & (ts <= last))
        return keep

    def finish(self) -> None:
        state, notes = self.state, self._notes
        self._columns.note_refused(notes)
        notes.exemplars += int(state[kernels.EXEMPLARS_SEEN])
        notes.orphans += int(state[kernels.ORPHANS])
        if state[kernels.REFUSED_SERIES]:
            notes.refused_series[LABEL_REASONS[int(state[kernels.REFUSED_REASON])]] += int(
                state[kernels.REFUSED_SERIES])


def segments(fs: FileSystem, folder: Path) -> list[Path]:
    """Files of a log in their order: those of the newest checkpoint, then the segments behind it."""
    names = fs.listdir(folder)
    checkpoints = sorted((int(found[1]), name) for name in names
                         if (found := re.fullmatch(r"checkpoint\.(\d+)", name)))
    first, paths = -1, []
    if checkpoints:
        first, name = checkpoints[-1]
        paths = [folder / name / each for each in sorted(fs.listdir(folder / name), key=int) if each.isdecimal()]
    return paths + [folder / name for name in sorted(filter(str.isdecimal, names), key=int) if int(name) > first]


def _size(fs: FileSystem, path: Path) -> int:
    file = fs.open(path)
    try:
        return file.size()
    finally:
        file.close()


def _declared(data: bytes | memoryview) -> int:
    """The length that a snappy block says it has."""
    number = 0
    for k, byte in enumerate(data[:5]):
        number |= (byte & 0x7F) << 7 * k
        if byte < 0x80:
            break
    return number
