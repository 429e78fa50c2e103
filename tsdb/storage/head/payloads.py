"""Payloads: the files with the bytes of the head's histograms, samples in order and late ones alike.

Append-only and mapped; what is written stays as it is, and no place is written twice, so that a reader needs no lock:
it takes a view, which reaches all histograms of the commits so far. A file goes when all that is in it is in blocks.
docs/formats.md draws the file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import Corruption
from tsdb.model.native_histograms import MAX_BYTES
from tsdb.storage.damage import Damage
from tsdb.storage.head import payload_kernels
from tsdb.storage.head.file_header import HEADER_BYTES, FileHeader
from tsdb.storage.head.layout import NO_TS
from tsdb.storage.head.mapped_file import MappedFile
from tsdb.storage.head.payload_kernels import CRC_BYTES, FILE_BITS, OFFSET_BITS
from tsdb.wal.files import File, FileSystem, Mapping, write_all

HEADER = FileHeader(b"TSDBHIST", 1, "histograms")
TEMPORARY = ".tmp"
_NAME = re.compile(r"\d{8}")
LARGEST_STEP = 16 << 20
ENOUGH = 64 << 20
"""Bytes of a file after which another one is begun: what an old histogram keeps from going."""
LARGEST = 1 << OFFSET_BITS
NUMBERS = 1 << FILE_BITS
LARGEST_RECORD = CRC_BYTES + MAX_BYTES


class PayloadFile(MappedFile):
    """A file of histograms, or memory where the database is read-only."""

    def __init__(self, number: int, file: File | None, mapping: Mapping | None, used: int, *, ended: bool) -> None:
        self.number = number
        self.used = used
        """Bytes."""
        self.durable = 0
        """Bytes that a power cut leaves."""
        self.ended = ended
        """Nothing will be added."""
        self.newest = NO_TS
        """Newest time (ms) of a sample in order whose histogram is here, or later."""
        self.late = -1
        """Late samples of this generation of `Late` and earlier ones have their histograms here; -1: none."""
        super().__init__(f"histograms-{number}", file, mapping, LARGEST)

    def grow(self, least: int, step: int) -> None:
        """Makes room for at least `least` bytes more. Raises OSError."""
        step = max(least, min(max(self.used // 4, step), LARGEST_STEP))
        size = min((self.used + step + 4095) // 4096 * 4096, LARGEST)
        if size > self.array.size:
            self.extend(size)

    def sync(self) -> None:
        """Makes what is there durable. OSError."""
        used = self.used
        if used > self.durable:
            super().sync()
            self.durable = used


@dataclass(frozen=True, slots=True)
class KnownPayloads:
    """A file of histograms as a clean stop left it."""

    number: int
    used: int
    """Bytes."""
    newest: int
    """As in `PayloadFile`."""
    late: bool
    """Whether late samples in the head may have histograms here."""
    ended: bool
    size: int
    """Bytes of the file."""

    @property
    def name(self) -> str:
        return _name(self.number)

    def to_plain(self) -> dict[str, Any]:
        """`KnownPayloads(**plain)` is the same."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class PayloadView:
    """The histograms of one moment: stored values mean what they mean as long as anybody refers to it."""

    table: NDArray[np.uint64]
    """For `payload_kernels.payload_at`."""
    arrays: tuple[NDArray[np.uint8], ...]


@dataclass(frozen=True, slots=True)
class Lost:
    """Samples that are left out, since their histograms are gone or damaged."""

    file: int
    """The number of one that has some."""
    mint: int
    maxt: int
    """Of the earliest and the latest, ms."""


def resolve(begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64], values: NDArray[np.uint64],
            starts: NDArray[np.int64] | None, payloads: PayloadView) -> Lost | None:
    """Makes addresses of stored values, in place, as the kernel of that name; None: nothing is lost."""
    lost = np.zeros(payload_kernels.LOST, np.int64)
    none = np.empty(0, np.int64)
    if not payload_kernels.resolve(begin, end, ts, values, none if starts is None else starts, payloads.table, lost):
        return None
    return Lost(int(lost[payload_kernels.LOST_FILE]), int(lost[payload_kernels.LOST_MIN]),
                int(lost[payload_kernels.LOST_MAX]))


class Payloads:
    """All such files. `store` and what changes the files is the appender's, also between commits."""

    def __init__(self, fs: FileSystem | None = None, folder: Path = Path(), *, read_only: bool = True,
                 step: int = 1 << 20, damage: Damage | None = None) -> None:
        """Read-only, what is stored is kept in memory. `step`: bytes of disk that a file takes ahead, at least."""
        self._fs = fs
        self._folder = folder
        self._read_only = read_only or fs is None
        self._step = step
        self._damage = damage
        self._files: tuple[PayloadFile, ...] = ()
        self._next = 1
        self._view = PayloadView(np.zeros(1, np.uint64), ())

    @property
    def table(self) -> NDArray[np.uint64]:
        """For `payload_kernels.payload_at`, while no file goes."""
        return self._view.table

    def view(self) -> PayloadView | None:
        """Taken under the head's lock, it reaches all histograms that the head shows then. None: there are none."""
        return self._view if self._files else None

    @property
    def every(self) -> Sequence[PayloadFile]:
        """In the order of their numbers."""
        return self._files

    def store(self, values: NDArray[np.uint64], payload: NDArray[np.uint8], ts: NDArray[np.int64],
              late: int | None = None) -> NDArray[np.uint64]:
        """The values (u64[n]) with stored ones for those that lead to histograms in `payload` (u8[]), which are copied.
        `ts` i64[n], ms; `late`: the generation of these samples, which are late ones. Nothing refers to the copies
        unless the caller does. Raises OSError."""
        stored = np.empty_like(values)
        done = 0
        while done < values.size:
            file = self._writable(int(payload.size) + CRC_BYTES * (values.size - done))
            before = done
            done, file.used = payload_kernels.store(
                values, payload, done, file.address, file.used, file.array.size, file.number, stored)
            if late is not None:
                file.late = late
            elif done > before:
                file.newest = max(file.newest, int(ts[before:done].max()))
        return stored

    def load(self) -> None:
        """After a crash: maps the files that are there. Nothing is added to them. Then sealed chunks are read, and
        `referred` is called. Raises FormatTooNew, OSError."""
        if self._fs is None:
            return
        found = []
        for name in self._fs.listdir(self._folder):
            path = self._folder / name
            if name.endswith(TEMPORARY) and not self._read_only:
                self._fs.unlink(path)
            if not is_name(name):
                continue
            file = self._fs.open(path, writable=not self._read_only)
            size = file.size()
            self._next = max(self._next, int(name) + 1)
            problem = HEADER.problem(path, int(name), file.pread(HEADER_BYTES, 0))
            if problem is not None:
                file.close()
                if self._damage is not None:
                    self._damage.set_aside(path, problem)
                continue
            found.append(PayloadFile(int(name), file, file.map(size), size, ended=True))
        self._show(found)

    def left_out(self, lost: Lost) -> None:
        """Says what readers have left out; queries of these times tell it. Raises Corruption where nobody could be
        told."""
        path = self._folder / _name(lost.file)
        problem = Corruption(f"{path}: histograms are damaged")
        if self._damage is None:
            raise problem
        self._damage.leave_out(path, problem, lost.mint, lost.maxt + 1)

    def referred(self, newest: NDArray[np.int64], greatest: int) -> None:
        """After `load`: the newest time (ms) of a sample in a sealed chunk whose histogram is in each file, NO_TS where
        there is none: such files go. i64[files], by place in `table`. `greatest`: the greatest number that any chunk
        names, which is not used again. OSError."""
        self._next = max(self._next, greatest + 1)
        first = int(self.table[0])
        for file in self._files:
            file.newest = int(newest[file.number - first])
        gone = [file for file in self._files if file.newest == NO_TS]
        self._show([file for file in self._files if file.newest != NO_TS])
        if self._read_only:
            for file in gone:
                file.close()
        else:
            self.remove(gone)

    def attach(self, known: Sequence[KnownPayloads], following: int) -> None:
        """Instead of `load`: maps files that are as they were when `known` and `following` said so. OSError."""
        found = []
        for each in known:
            assert self._fs is not None
            file = self._fs.open(self._folder / each.name, writable=not self._read_only)
            mapping = file.map(each.size, writable=not (self._read_only or each.ended))
            made = PayloadFile(each.number, file, mapping, each.used, ended=each.ended or self._read_only)
            made.newest, made.late, made.durable = each.newest, 0 if each.late else -1, each.used
            found.append(made)
        self._next = following
        self._show(found)

    def known(self, late: int) -> list[KnownPayloads]:
        """What `attach` takes. Late samples of generations up to `late` are in blocks."""
        return [KnownPayloads(file.number, file.used, file.newest, file.late > late, file.ended, int(file.array.size))
                for file in self._files]

    @property
    def following(self) -> int:
        """The number of the next file."""
        return self._next

    def sizes(self) -> dict[str, int]:
        """Bytes of each file that is there, by name. OSError."""
        found = {}
        if self._fs is not None:
            for name in self._fs.listdir(self._folder):
                if is_name(name):
                    file = self._fs.open(self._folder / name)
                    found[name] = file.size()
                    file.close()
        return found

    def sync(self) -> None:
        """Makes all that was stored so far durable. Of any thread that does not take files out. OSError."""
        for file in self._files:
            file.sync()

    def end(self) -> None:
        """What comes goes to another file, so that this one can go without it."""
        for file in self._files:
            file.ended = True

    def take_out(self, border: int, late: int) -> list[PayloadFile]:
        """Forgets the files of samples in order before `border` (ms) and late ones of generations up to `late`, and
        returns them for `remove`; views that have them keep their bytes."""
        gone = [file for file in self._files if file.newest < border and file.late <= late]
        if gone:
            self._show([file for file in self._files if file not in gone])
        return gone

    def remove(self, files: Sequence[PayloadFile]) -> None:
        """Removes files that were taken out. OSError."""
        for file in files:
            file.close()
        if files and self._fs is not None:
            for file in files:
                self._fs.unlink(self._folder / _name(file.number))
            self._fs.sync_directory(self._folder)

    @property
    def used(self) -> int:
        """Bytes of all files."""
        return sum(file.used for file in self._files)

    def close(self) -> None:
        files = self._files
        self._show([])
        for file in files:
            file.close()

    def _writable(self, wanted: int) -> PayloadFile:
        """A file with room for at least one histogram, if possible for `wanted` bytes. OSError."""
        file = self._files[-1] if self._files else None
        if file is None or file.ended or file.used >= ENOUGH or file.used + LARGEST_RECORD > LARGEST:
            if file is not None:
                file.ended = True
            file = self._make(self._next)
            self._next += 1
            self._show([*self._files, file])
        room = min(max(wanted, CRC_BYTES), LARGEST - file.used)
        if file.used + room > file.array.size:
            file.grow(room, self._step)
            self._show(self._files)
        return file

    def _make(self, number: int) -> PayloadFile:
        if number >= NUMBERS:
            raise OSError(f"{self._folder}: no number is left for a file of histograms")
        if self._read_only or self._fs is None:
            return PayloadFile(number, None, None, HEADER_BYTES, ended=False)
        self._fs.mkdir(self._folder)
        path = self._folder / _name(number)
        temporary = path.with_name(path.name + TEMPORARY)
        file = self._fs.open(temporary, writable=True, create=True, truncate=True)
        try:
            file.allocate(self._step)
            write_all(file, HEADER.encode(number), 0)
            file.datasync()
            self._fs.rename(temporary, path)
            self._fs.sync_directory(self._folder)
        except OSError:
            file.close()
            self._fs.unlink(temporary)
            raise
        return PayloadFile(number, file, file.map(self._step, writable=True), HEADER_BYTES, ended=False)

    def _show(self, files: Sequence[PayloadFile]) -> None:
        self._files = tuple(sorted(files, key=lambda file: file.number))
        first = self._files[0].number if self._files else 0
        count = self._files[-1].number - first + 1 if self._files else 0
        table = np.zeros(1 + 2 * count, np.uint64)
        table[0] = first
        for file in self._files:
            place = 1 + 2 * (file.number - first)
            table[place : place + 2] = file.address, file.array.size
        self._view = PayloadView(table, tuple(file.array for file in self._files))


def is_name(name: str) -> bool:
    """Whether a file in the folder of histograms is one."""
    return _NAME.fullmatch(name) is not None


def _name(number: int) -> str:
    return f"{number:08d}"
