"""The log as one object: appending, making durable, checkpointing and dropping segments."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tsdb.model.batch import Metadata
from tsdb.model.errors import ReadOnly, StorageError, Unavailable
from tsdb.wal import checkpoint, contents, segments
from tsdb.wal.exemplars import ExemplarColumns
from tsdb.wal.files import File, FileSystem, write_all
from tsdb.wal.options import WalOptions, WalStatistics
from tsdb.wal.records import (
    MAX_SAMPLES,
    Encoder,
    RecordType,
    SampleColumns,
    SeriesColumns,
    StartColumns,
    TombstoneColumns,
    max_ts,
)
from tsdb.wal.replay import NEVER, Replayed, ReplayHandler, SegmentState, replay
from tsdb.wal.segments import FILE_HEADER, Payload

log = logging.getLogger(__name__)

@dataclass(slots=True)
class _Commit:
    payloads: list[Payload]
    size: int
    max_ts: int
    """Newest timestamp of the samples in order, ms."""
    late: bool


@dataclass(slots=True)
class _Open:
    """The segment being written."""

    file: File
    state: SegmentState
    durable: int
    """Bytes from the beginning that a power cut leaves."""
    pending: list[_Commit] = field(default_factory=list)
    """Commits behind `durable`, to be written again elsewhere should the sync fail. Not kept in mode "os"."""
    failed: bool = False
    """A sync failed. The system forgets such a failure, so the segment is never synced again."""


class Wal:
    """A write-ahead log. See the package's docstring. All methods are thread-safe; after `close` none may be called."""

    def __init__(self, fs: FileSystem, directory: Path, options: WalOptions, *, read_only: bool) -> None:
        self._fs = fs
        self._directory = directory
        self._options = options
        self._read_only = read_only
        self._encoder = Encoder(options.compression_level)
        self._writer = threading.Lock()  # held for a whole append, rotation, drop
        self._changed = threading.Condition()  # guards what follows; taken after _writer
        self._syncing = False
        self._segments: list[SegmentState] = []
        self._open: _Open | None = None
        self._unwritten: list[_Commit] = []  # acknowledged, and still to be written to the next segment
        self._next_number = 1
        self._checkpoint = 0
        self._replayed = False
        self._statistics = WalStatistics()
        self._stop = threading.Event()
        self._timer: threading.Thread | None = None

    @classmethod
    def open(cls, fs: FileSystem, directory: Path, options: WalOptions | None = None, *,
             read_only: bool = False) -> Wal:
        """A log in `directory`, made where there is none. `replay` comes next; only then may it be appended to."""
        if not read_only:
            fs.mkdir(directory)
        return cls(fs, directory, options or WalOptions(), read_only=read_only)

    def replay(self, handler: ReplayHandler) -> Replayed:
        """Hands everything in the log to `handler`, once. Then, unless read-only, the log takes appends.

        Raises FormatTooNew; StorageError where the log cannot be read or synced. Damage is no error: it is reported in
        the result and logged.
        """
        try:
            found = replay(self._fs, self._directory, handler)
            self._begin(found)
        except OSError as problem:
            raise _cannot_open(problem) from problem
        for text in found.damage:
            log.error("%s", text)
        if found.torn and not self._read_only:
            log.warning("%s: the last %d bytes are no whole commit and are cut off: a write that a crash interrupted",
                        self._directory, found.torn)
        self._statistics.damaged = len(found.damage)
        self._statistics.torn_bytes = found.torn
        return found

    def resume(self, known: dict[str, Any]) -> Replayed | None:
        """Instead of `replay`: takes appends, if the files are just those that `known` (`contents`) tells of. None,
        with nothing done: they are not. Raises StorageError."""
        try:
            found = contents.recognise(self._fs, self._directory, known)
            if found is not None:
                self._begin(found)
        except OSError as problem:
            raise _cannot_open(problem) from problem
        return found

    def contents(self) -> dict[str, Any]:
        """What the log holds, in plain values, for `resume`. After `close`; it must not have failed. Raises OSError."""
        return contents.describe(self._fs, self._directory, Replayed(self._segments, self._checkpoint))

    def append(self, *, series: SeriesColumns | None = None, samples: SampleColumns | None = None,
               metadata: Sequence[Metadata] = (), tombstones: TombstoneColumns | None = None,
               late: SampleColumns | None = None, exemplars: ExemplarColumns | None = None,
               starts: StartColumns | None = None) -> None:
        """Logs one commit: series first, then start times of samples and these, those in order and late ones, metadata,
        tombstones and exemplars; returns when it is as safe as the mode says.

        One write call. Raises Unavailable (disk full or broken), with nothing of the commit logged; a later append
        tries again. Raises ReadOnly.
        """
        if self._read_only:
            raise ReadOnly(f"{self._directory} was opened read-only")
        if not self._replayed:
            raise RuntimeError("Wal.append before Wal.replay")
        if self._stop.is_set():
            raise Unavailable(f"the write-ahead log in {self._directory} is closed")
        with self._writer:
            commit = self._encode(series, samples, metadata, tombstones, late, exemplars, starts)
            if not commit.payloads:
                return
            try:
                self._write(commit)
            except OSError as problem:
                self._statistics.write_failures += 1
                raise self._unavailable(problem) from problem
            self._statistics.commits += 1
            self._statistics.appended_bytes += commit.size

    def sync(self) -> None:
        """Makes all that was appended durable. Raises Unavailable where that fails; nothing is forgotten then, and
        the next append or sync tries again."""
        try:
            try:
                self._sync()
            except OSError:
                with self._writer:
                    self._settle()
            if self._unwritten:
                with self._writer:
                    self._need_segment()
        except OSError as problem:
            raise self._unavailable(problem) from problem

    def begin_segment(self) -> int:
        """Begins a new segment. Returns the number of the one before it: all that was appended is in it or before it.
        (Not after a failed sync: then some of it may be repeated behind it.) Raises Unavailable."""
        with self._writer:
            self._begin_segment()
            return (self._next_number if self._open is None else self._open.state.number) - 1

    def covered_segment(self, border: int, late_through: int = 0) -> int:
        """The newest segment such that it and all before it hold only samples in order before `border` (ms), and late
        samples only up to segment `late_through`; where there is none, that of the present checkpoint (0: none).

        Also begins a new segment, so that the present one can go next time. Call it, then take the snapshot of series
        for `write_checkpoint`, then `drop_through`. Raises Unavailable.
        """
        with self._writer:
            self._begin_segment()
            found = self._checkpoint
            for segment in self._segments:
                if segment.max_ts >= border or (self._open is not None and segment is self._open.state):
                    break
                if segment.late and segment.number > late_through:
                    break
                found = segment.number
            return found

    def write_checkpoint(self, through: int, series: Iterable[SeriesColumns], metadata: Sequence[Metadata] = (),
                         sections: Mapping[str, Any] | None = None,
                         exemplars: Iterable[ExemplarColumns] = (), starts: StartColumns | None = None) -> None:
        """Writes a checkpoint that stands for all segments up to `through`, durably. Appends go on beside it.

        `series`: all that later segments or chunk files may refer to, in as many pieces as convenient; `sections`:
        further named content that msgpack can hold. Raises Unavailable, with nothing changed.
        """
        if self._open is not None and through >= self._open.state.number:
            raise ValueError(f"a checkpoint through segment {through}, which is still being written")
        try:
            size = checkpoint.write_checkpoint(self._fs, self._directory, through, series, metadata, sections or {},
                                               exemplars, starts)
        except OSError as problem:
            self._statistics.checkpoint_failures += 1
            raise self._unavailable(problem) from problem
        self._checkpoint = max(self._checkpoint, through)
        self._statistics.checkpoints += 1
        self._statistics.checkpoint_bytes = size

    def drop_through(self, through: int) -> None:
        """Removes segments up to `through` and older checkpoints. `write_checkpoint` must have stood for them."""
        if through > self._checkpoint:
            raise ValueError(f"segments through {through} dropped without a checkpoint for them")
        with self._writer, self._changed:
            try:
                for segment in [segment for segment in self._segments if segment.number <= through]:
                    self._fs.unlink(segment.path)
                    self._segments.remove(segment)
                    self._statistics.dropped_segments += 1
                self._remove_superseded()
            except OSError as problem:
                raise self._unavailable(problem) from problem

    def statistics(self) -> WalStatistics:
        """Live: read it, do not change it."""
        with self._changed:
            self._statistics.segment = self._segments[-1].number if self._segments else 0
            self._statistics.segments = len(self._segments)
            self._statistics.size_bytes = sum(segment.end for segment in self._segments)
            return self._statistics

    def close(self) -> None:
        """Makes everything durable and lets go. Raises Unavailable where it could not be synced; it is closed then."""
        self._stop.set()
        if self._timer is not None:
            self._timer.join()
        try:
            if self._replayed and not self._read_only:
                self.sync()
        finally:
            with self._writer, self._changed:
                if self._open is not None:
                    self._open.file.close()
                    self._open = None

    def _begin(self, found: Replayed) -> None:
        """Goes on where others have stopped. Raises OSError."""
        if not self._read_only:
            self._take_over(found)
        self._segments = found.segments
        self._checkpoint = found.checkpoint
        self._replayed = True
        if not self._read_only and self._options.sync == "interval" and self._options.sync_interval_s > 0:
            self._timer = threading.Thread(target=self._sync_now_and_then, name="wal-sync", daemon=True)
            self._timer.start()

    def _take_over(self, found: Replayed) -> None:
        """After a crash: what was replayed is served from now on, so it must not vanish any more."""
        self._checkpoint = found.checkpoint
        self._segments = found.segments
        if self._segments and self._segments[-1].records == 0:
            self._segments.pop()  # it is made anew. Only the last one: those behind say where the ones before them end
        last = self._segments[-1].number if self._segments else self._checkpoint
        self._next_number = last + 1
        for segment in reversed(self._segments):
            file = self._fs.open(segment.path, writable=True)
            try:
                file.datasync()
            finally:
                file.close()
            if segment.records:
                break
        if self._segments:
            self._fs.sync_directory(self._directory)
        self._remove_superseded()
        for name in self._fs.listdir(self._directory):
            if name.endswith(".tmp"):
                self._fs.unlink(self._directory / name)

    def _remove_superseded(self) -> None:
        names = self._fs.listdir(self._directory)
        for number in segments.segment_numbers(names):
            if number <= self._checkpoint:
                self._fs.unlink(segments.segment_path(self._directory, number))
        for number in segments.checkpoint_numbers(names):
            if number < self._checkpoint:
                self._fs.unlink(segments.checkpoint_path(self._directory, number))

    def _begin_segment(self) -> None:
        """Under _writer. Raises Unavailable."""
        try:
            if self._open is not None and self._open.state.records:
                self._rotate()
        except OSError as problem:
            raise self._unavailable(problem) from problem

    def _encode(self, series: SeriesColumns | None, samples: SampleColumns | None, metadata: Sequence[Metadata],
                tombstones: TombstoneColumns | None, late: SampleColumns | None,
                exemplars: ExemplarColumns | None, starts: StartColumns | None) -> _Commit:
        payloads: list[Payload] = []
        newest = NEVER
        if series is not None:
            for piece in checkpoint.split_series(series):
                payloads.append(Payload(RecordType.SERIES, self._encoder.series(piece)))
        if metadata:
            payloads.append(Payload(RecordType.METADATA, self._encoder.metadata(metadata)))
        for changes in starts.pieces() if starts is not None else ():
            payloads.append(Payload(RecordType.STARTS, self._encoder.starts(changes)))
        for part in samples.pieces() if samples is not None else ():
            payloads.append(Payload(RecordType.SAMPLES, self._encoder.samples(part)))
            newest = max(newest, max_ts(payloads[-1].data)[1])
        for part in late.pieces() if late is not None else ():
            payloads.append(Payload(RecordType.SAMPLES, self._encoder.samples(part, late=True)))
        if tombstones is not None:
            for start in range(0, tombstones.refs.size, MAX_SAMPLES):
                rows = slice(start, start + MAX_SAMPLES)
                deleted = TombstoneColumns(tombstones.refs[rows], tombstones.through[rows], tombstones.mint,
                                           tombstones.maxt)
                payloads.append(Payload(RecordType.TOMBSTONES, self._encoder.tombstones(deleted)))
        for each in exemplars.pieces() if exemplars is not None else ():
            payloads.append(Payload(RecordType.EXEMPLARS, self._encoder.exemplars(each)))
        return _Commit(payloads, 0, newest, late is not None and late.refs.size > 0)

    def _write(self, commit: _Commit) -> None:
        """Under _writer. Raises OSError with nothing of the commit in the log."""
        opened = self._need_segment()
        unsynced = opened.state.end - opened.durable if self._options.sync == "interval" else 0
        if opened.failed or unsynced > self._options.unsynced_bytes:
            opened = self._settle()
        if opened.state.end >= self._options.segment_bytes:
            opened = self._rotate()
        self._append_to(opened, commit)
        if self._options.sync == "commit":
            try:
                self._settle()
            except OSError:
                self._unwritten.clear()  # nothing but this commit: it was not acknowledged, and is forgotten
                raise

    def _append_to(self, opened: _Open, commit: _Commit) -> None:
        data = segments.frame(commit.payloads, opened.state.number, opened.state.end, opened.durable)
        try:
            write_all(opened.file, data, opened.state.end)
        except OSError:
            try:
                opened.file.truncate(opened.state.end)
            except OSError as problem:
                log.error("%s cannot be cut back to %d bytes after a failed write (%s): a new segment takes over",
                          opened.state.path, opened.state.end, problem)
                self._abandon()
            raise
        with self._changed:
            commit.size = len(data)
            opened.state.end += len(data)
            opened.state.max_ts = max(opened.state.max_ts, commit.max_ts)
            opened.state.late |= commit.late
            opened.state.records += len(commit.payloads)
            if self._options.sync != "os":
                opened.pending.append(commit)

    def _sync(self) -> None:
        """Raises OSError where the open segment has failed: `_settle` is next."""
        with self._changed:
            self._changed.wait_for(lambda: not self._syncing)
            opened = self._open
            if opened is None or opened.durable == opened.state.end:
                return
            if opened.failed:
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(opened.state.path))
            end, count = opened.state.end, len(opened.pending)
            self._syncing = True
        problem: OSError | None = None
        began = time.perf_counter()
        try:
            opened.file.datasync()
        except OSError as failure:
            problem = failure
        with self._changed:
            self._syncing = False
            self._changed.notify_all()
            self._statistics.sync_seconds.observe(time.perf_counter() - began)
            if problem is None:
                opened.durable = end
                del opened.pending[:count]
                return
            opened.failed = True
            self._statistics.sync_failures += 1
        log.error("%s cannot be synced (%s): a new segment takes over, and what was not durable is written again",
                  opened.state.path, problem)
        raise problem

    def _settle(self) -> _Open:
        """Under _writer: makes everything durable, in a new segment if need be. Raises OSError."""
        try:
            self._sync()
        except OSError:
            self._abandon()
        return self._need_segment()

    def _abandon(self) -> None:
        """Under _writer: gives up the open segment. What was not durable is to be written anew."""
        with self._changed:
            self._changed.wait_for(lambda: not self._syncing)
            opened = self._open
            if opened is None:
                return
            if self._options.sync != "os":
                opened.state.end = opened.durable
                self._unwritten.extend(opened.pending)
            self._open = None
            opened.file.close()

    def _rotate(self) -> _Open:
        """Under _writer: a new segment. Raises OSError; the old one goes on then."""
        opened = self._open
        if self._settle() is not opened or opened is None:
            return self._need_segment()
        self._open = None
        try:
            made = self._need_segment()
        except OSError:
            self._open = opened
            raise
        opened.file.close()
        return made

    def _need_segment(self) -> _Open:
        """The open segment, or a new one that already holds, durably, what is in _unwritten. Raises OSError."""
        if self._open is not None:
            return self._open
        number = self._next_number
        path = segments.segment_path(self._directory, number)
        previous_end = self._segments[-1].end if self._segments and self._segments[-1].number == number - 1 else 0
        file = self._fs.open(path, writable=True, create=True, truncate=True)
        made = _Open(file, SegmentState(number, path), FILE_HEADER.size)
        try:
            write_all(file, segments.file_header(segments.SEGMENT_MAGIC, previous_end), 0)
            for commit in self._unwritten:
                data = segments.frame(commit.payloads, number, made.state.end, FILE_HEADER.size)
                write_all(file, data, made.state.end)
                made.state.end += len(data)
                made.state.max_ts = max(made.state.max_ts, commit.max_ts)
                made.state.late |= commit.late
                made.state.records += len(commit.payloads)
            file.datasync()
            self._fs.sync_directory(self._directory)
        except OSError:
            file.close()
            self._fs.unlink(path)
            raise
        with self._changed:
            made.durable = made.state.end
            self._unwritten.clear()
            self._segments.append(made.state)
            self._next_number = number + 1
            self._open = made
        return made

    def _sync_now_and_then(self) -> None:
        while not self._stop.wait(self._options.sync_interval_s):
            try:
                self.sync()
            except Unavailable as problem:
                log.error("%s", problem)

    def _unavailable(self, problem: OSError) -> Unavailable:
        return Unavailable(f"the write-ahead log in {self._directory} cannot be written ({problem}): nothing of this "
                           "request was kept; free space on the disk or replace it, then send it again")


def _cannot_open(problem: OSError) -> StorageError:
    return StorageError(f"the write-ahead log cannot be opened ({problem}): check the disk; to start without "
                        "a file that cannot be read, move it away")
