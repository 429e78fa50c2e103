"""Reading a log from the beginning: the newest whole checkpoint, then the segments behind it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from tsdb.model.batch import Metadata
from tsdb.model.errors import Corruption
from tsdb.wal import segments
from tsdb.wal.ahead import ahead
from tsdb.wal.exemplars import ExemplarColumns
from tsdb.wal.files import File, FileSystem
from tsdb.wal.records import Decoder, RecordType, SampleColumns, StartColumns, TombstoneColumns, are_late, max_ts
from tsdb.wal.segments import FILE_HEADER, LAST_OF_COMMIT, Damage, FileHeader, Record, SegmentReader

NEVER: Final = -(1 << 63)
"""Newest timestamp of a segment without samples."""
PARCEL: Final = 1 << 16
"""Samples that are handed over together, unless one record holds more."""
PARCEL_STEPS: Final = 1 << 10
PARCELS_AHEAD: Final = 2


class ReplayHandler(Protocol):
    """Takes what a log holds, record by record. Arrays are the handler's to keep."""

    def series(self, refs: NDArray[np.uint64], keys: NDArray[np.uint8], offsets: NDArray[np.uint64],
               lengths: NDArray[np.uint64]) -> None:
        """New series: refs u64[n]; keys[offset : offset + length] is the canonical key, u64[n] both.

        A series may come again with the ref it had (from the checkpoint and from a segment).
        """
        ...

    def metadata(self, rows: list[Metadata]) -> None: ...

    def after_checkpoint(self, sections: dict[str, Any]) -> int | None:
        """Everything of the checkpoint has come (called without a checkpoint, too); `sections` are its extra parts.

        Returns a border in ms, or None: records that hold only samples before it are not even decoded.
        """
        ...

    def samples(self, columns: SampleColumns) -> None:
        """Accepted samples, in the order in which they were accepted.

        After damage, refs may be unknown: samples of a series whose own record is lost.
        """
        ...

    def late(self, columns: SampleColumns) -> None:
        """Late samples, likewise: of any time, in any order."""
        ...

    @property
    def late_through(self) -> int:
        """Late samples in segments up to this number are not handed over, nor decoded. Asked after
        `after_checkpoint`."""
        ...

    def tombstones(self, deleted: TombstoneColumns) -> None:
        """What was deleted then: samples that come later are not."""
        ...

    def exemplars(self, columns: ExemplarColumns) -> None:
        """Exemplars, in the order in which they were accepted. They may come again."""
        ...

    def starts(self, columns: StartColumns) -> None:
        """Changes of start times, in the order in which they came, also of samples that are not handed over. They may
        come again."""
        ...

    def progress(self, at: ReplayProgress) -> None:
        """How far it is. Called for each segment, about every 4 MiB, and at the end."""
        ...


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    """How far the reading of segments is."""

    done: int = 0
    """Bytes."""
    total: int = 0
    first: int = 0
    """Number of the first segment; 0: there is none."""
    last: int = 0
    segment: int = 0
    """That is being read, or was read last; 0: none yet."""


@dataclass(slots=True)
class SegmentState:
    """A segment that is complete or is being written."""

    number: int
    path: Path
    end: int = FILE_HEADER.size
    """Bytes that count."""
    max_ts: int = NEVER
    """Newest timestamp of its samples in order, ms."""
    late: bool = False
    """It has late samples."""
    records: int = 0


@dataclass(slots=True)
class Replayed:
    """What a replay found."""

    segments: list[SegmentState] = field(default_factory=list)
    checkpoint: int = 0
    """Number of the checkpoint used; 0: none."""
    samples: int = 0
    skipped: int = 0
    """Samples in records wholly before the border, or not decodable."""
    series: int = 0
    damage: list[str] = field(default_factory=list)
    """What was found damaged: file, offset, and what it means."""
    torn: int = 0
    """Bytes behind the last whole commit: a write that a crash interrupted or, beside a writer, one under way."""


@dataclass(slots=True)
class _OpenSegment:
    number: int
    path: Path
    file: File
    header: FileHeader | None
    size: int


def replay(fs: FileSystem, directory: Path, handler: ReplayHandler) -> Replayed:
    """Reads everything. Changes nothing on disk, so that it may run beside a writer; logs nothing.

    Raises FormatTooNew, OSError.
    """
    for _ in range(100):
        try:
            checkpoint, opened = _open_all(fs, directory)
            break
        except FileNotFoundError:  # a writer dropped it meanwhile
            continue
    else:
        raise Corruption(f"{directory}: files vanish while they are opened")
    try:
        return _Replay(handler, directory).run(checkpoint, opened)
    finally:
        for segment in opened:
            segment.file.close()
        if checkpoint is not None:
            checkpoint.file.close()


def _open_all(fs: FileSystem, directory: Path) -> tuple[_OpenSegment | None, list[_OpenSegment]]:
    """The checkpoint to use and the segments behind it."""
    names = fs.listdir(directory)
    numbers = segments.segment_numbers(names)
    opened: list[_OpenSegment] = []
    checkpoint: _OpenSegment | None = None
    try:
        for number in reversed(segments.checkpoint_numbers(names)):
            found = _open(fs, segments.checkpoint_path(directory, number), number, segments.CHECKPOINT_MAGIC)
            if checkpoint is None or (
                {*range(number + 1, checkpoint.number + 1)} <= {*numbers} and not _whole(checkpoint) and _whole(found)
            ):
                if checkpoint is not None:
                    checkpoint.file.close()
                checkpoint = found
            else:
                found.file.close()
        for number in numbers:
            if checkpoint is None or number > checkpoint.number:
                opened.append(_open(fs, segments.segment_path(directory, number), number, segments.SEGMENT_MAGIC))
        while opened and _unborn(opened[-1]):
            opened.pop().file.close()
    except BaseException:
        for segment in (*opened, *([checkpoint] if checkpoint else [])):
            segment.file.close()
        raise
    return checkpoint, opened


def _open(fs: FileSystem, path: Path, number: int, magic: bytes) -> _OpenSegment:
    file = fs.open(path)
    try:
        return _OpenSegment(number, path, file, segments.read_file_header(file, magic), file.size())
    except BaseException:
        file.close()
        raise


def _unborn(segment: _OpenSegment) -> bool:
    """Was its creation cut short by a crash?"""
    if segment.header is not None:
        return False
    records = SegmentReader(segment.file, segment.number, segment.size).records()
    return not any(isinstance(record, Record) for record in records)


def _whole(checkpoint: _OpenSegment) -> bool:
    last = None
    for record in SegmentReader(checkpoint.file, checkpoint.number, checkpoint.size).records():
        if isinstance(record, Damage):
            return False
        last = record.type
    return last == RecordType.END


@dataclass(frozen=True, slots=True)
class _Step:
    """Something for the handler."""

    call: Callable[[], None]
    size: int = 0
    """How much memory it holds, in samples (24 bytes)."""
    where: str = ""
    """The record, for messages."""


@dataclass(frozen=True, slots=True)
class _Samples:
    """Samples for the handler; neighbours are handed over together."""

    columns: SampleColumns
    late: bool

    @property
    def size(self) -> int:
        payload = self.columns.payload
        return int(self.columns.refs.size) + (0 if payload is None else payload.size // 24)


class _Replay:
    """Records are read, checked and decoded by a thread of their own, ahead of the handler, which the caller's runs."""

    def __init__(self, handler: ReplayHandler, directory: Path) -> None:
        self._handler = handler
        self._directory = directory
        self._decoder = Decoder()
        self._found = Replayed()
        self._border: int | None = None
        self._sections: dict[str, Any] = {}

    def run(self, checkpoint: _OpenSegment | None, opened: list[_OpenSegment]) -> Replayed:
        if checkpoint is not None:
            self._found.checkpoint = checkpoint.number
            self._take(self._read_checkpoint(checkpoint))
        self._border = self._handler.after_checkpoint(self._sections)
        self._take(self._read_segments(opened, checkpoint.number + 1 if checkpoint is not None else 1))
        return self._found

    def _take(self, steps: Iterator[_Step | _Samples]) -> None:
        with contextlib.closing(ahead(self._parcels(steps), PARCELS_AHEAD)) as parcels:
            for parcel in parcels:
                for step in parcel:
                    try:
                        step.call()
                    except Corruption as problem:
                        self._cannot_read(step.where, problem)

    def _parcels(self, steps: Iterator[_Step | _Samples]) -> Iterator[list[_Step]]:
        """Steps in their order, many together, so that small records cost little."""
        parcel: list[_Step] = []
        samples: list[_Samples] = []
        size = 0
        for step in steps:
            if samples and not (isinstance(step, _Samples) and step.late == samples[0].late):
                parcel.append(self._samples_step(samples))
                samples = []
            if isinstance(step, _Samples):
                samples.append(step)
            else:
                parcel.append(step)
            size += step.size
            if size >= PARCEL or len(parcel) + len(samples) >= PARCEL_STEPS:
                yield [*parcel, *([self._samples_step(samples)] if samples else [])]
                parcel, samples, size = [], [], 0
        yield [*parcel, *([self._samples_step(samples)] if samples else [])]

    def _samples_step(self, samples: list[_Samples]) -> _Step:
        take = self._handler.late if samples[0].late else self._handler.samples
        return _Step(partial(take, SampleColumns.joined([each.columns for each in samples])))

    def _read_checkpoint(self, checkpoint: _OpenSegment) -> Iterator[_Step | _Samples]:
        last = None
        if checkpoint.header is None:
            self._report(f"{checkpoint.path}: the file header is damaged; its records are read nevertheless")
        for record in SegmentReader(checkpoint.file, checkpoint.number, checkpoint.size).records():
            if isinstance(record, Damage):
                self._report(f"{checkpoint.path}: damaged from byte {record.start} to {record.end}: series or metadata "
                             "in it are lost, and samples of these series in the log with them")
            else:
                yield from self._decoded(checkpoint, record, None)
                last = record.type
        if last != RecordType.END:
            self._report(f"{checkpoint.path}: the end is missing: series or metadata in it are lost")

    def _read_segments(self, opened: list[_OpenSegment], expected: int) -> Iterator[_Step | _Samples]:
        at = ReplayProgress(0, sum(segment.size for segment in opened), opened[0].number if opened else 0,
                            opened[-1].number if opened else 0, 0)
        for i, segment in enumerate(opened):
            if segment.number != expected:
                self._report(f"{self._directory}: segments {expected} to {segment.number - 1} are missing: "
                             "samples in them are lost")
            expected = segment.number + 1
            successor = opened[i + 1] if i + 1 < len(opened) else None
            at = replace(at, segment=segment.number)
            yield from self._read_segment(segment, successor, at)
            at = replace(at, done=at.done + segment.size)
        yield self._tell(at)

    def _tell(self, at: ReplayProgress) -> _Step:
        return _Step(lambda: self._handler.progress(at))

    def _read_segment(self, segment: _OpenSegment, successor: _OpenSegment | None, at: ReplayProgress,
                      ) -> Iterator[_Step | _Samples]:
        state = SegmentState(segment.number, segment.path)
        self._found.segments.append(state)
        limit = self._limit(segment, successor)
        reader = SegmentReader(segment.file, segment.number, segment.size if limit is None else limit)
        waiting: list[Record] = []
        told = 0
        yield self._tell(at)
        for record in reader.records():
            if isinstance(record, Damage):
                if limit is None and self._torn(segment, record):
                    break
                self._report(f"{segment.path}: damaged from byte {record.start} to {record.end}: "
                             "what these records held is lost, the rest is kept")
            else:
                waiting.append(record)
                if not record.flags & LAST_OF_COMMIT:
                    continue
            for each in waiting:
                yield from self._decoded(segment, each, state)
            waiting.clear()
            state.end = record.end
            if record.end - told > segments.BLOCK:
                told = record.end
                yield self._tell(replace(at, done=at.done + told))
        if limit is not None:
            for each in waiting:
                yield from self._decoded(segment, each, state)
            state.end = limit
        elif segment.size > state.end:
            self._found.torn += segment.size - state.end

    def _limit(self, segment: _OpenSegment, successor: _OpenSegment | None) -> int | None:
        """How many bytes of a segment were known to count when its successor was begun; None: nobody says."""
        if segment.header is None:
            self._report(f"{segment.path}: the file header is damaged; its records are read nevertheless")
        if successor is None or successor.header is None or successor.number != segment.number + 1:
            return None
        end = successor.header.previous_end
        if end > segment.size:
            self._report(f"{segment.path}: {segment.size} bytes long where {end} were written: the rest is lost")
        return min(end, segment.size)

    def _torn(self, segment: _OpenSegment, damage: Damage) -> bool:
        """Is this the end that a crash left, rather than damage of what was safe?"""
        if damage.tail:
            return True
        rest = SegmentReader(segment.file, segment.number, segment.size)
        return rest.durable_at_least(damage.end) <= damage.start

    def _decoded(self, segment: _OpenSegment, record: Record, state: SegmentState | None) -> Iterator[_Step | _Samples]:
        if state is not None:
            state.records += 1
        where = f"{segment.path}: the record at byte {record.offset}"
        try:
            step = self._decode(record.type, record.payload, state, where)
        except Corruption as problem:
            self._cannot_read(where, problem)
        else:
            if step is not None:
                yield step

    def _decode(self, kind: int, payload: memoryview, state: SegmentState | None, where: str,
                ) -> _Step | _Samples | None:
        handler = self._handler
        if kind == RecordType.SAMPLES:
            count, newest = max_ts(payload)
            late = are_late(payload)
            number = 0 if state is None else state.number
            if state is not None and late:
                state.late = True
            elif state is not None:
                state.max_ts = max(state.max_ts, newest)
            if (number <= handler.late_through) if late else (self._border is not None and newest < self._border):
                self._found.skipped += count
                return None
            samples = self._decoder.samples(payload)
            self._found.samples += count
            return _Samples(samples, late)
        if kind == RecordType.SERIES:
            series = self._decoder.series(payload)
            self._found.series += series.refs.size
            columns = series.refs, series.keys, series.offsets, series.lengths
            return _Step(partial(handler.series, *columns), series.keys.size // 24, where)  # type: ignore[arg-type]
        if kind == RecordType.TOMBSTONES:
            return _Step(partial(handler.tombstones, self._decoder.tombstones(payload)), 0, where)
        if kind == RecordType.STARTS:
            starts = self._decoder.starts(payload)
            return _Step(partial(handler.starts, starts), starts.refs.size, where)
        if kind == RecordType.METADATA:
            return _Step(partial(handler.metadata, self._decoder.metadata(payload)), 0, where)
        if kind == RecordType.EXEMPLARS:
            exemplars = self._decoder.exemplars(payload)
            return _Step(partial(handler.exemplars, exemplars), 4 * len(exemplars.labels), where)
        if kind == RecordType.SECTION:
            name, content = self._decoder.section(payload)
            self._sections[name] = content
        return None

    def _cannot_read(self, where: str, problem: Corruption) -> None:
        self._report(f"{where} cannot be read ({problem}): what it held is lost")

    def _report(self, text: str) -> None:
        self._found.damage.append(text)
