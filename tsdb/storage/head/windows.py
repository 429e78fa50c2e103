"""Windows: the files of sealed chunks, one for every two hours of data.

A window's file is append-only and mapped; kernels write sealed chunks straight into it, so its space is allocated
before. In memory a window also has its *chain*: for every slot, where in the file the series' newest chunk stands;
each chunk names the one before. docs/formats.md draws the file.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import Corruption
from tsdb.storage.damage import Damage
from tsdb.storage.head import arena
from tsdb.storage.head.file_header import FileHeader
from tsdb.storage.head.layout import MAX_SERIES, SEALED_MAX_BYTES, WINDOW_HEADER_BYTES, WINDOW_MS
from tsdb.storage.head.mapped_file import MappedFile
from tsdb.storage.head.sealed_kernels import next_sealed
from tsdb.wal.files import File, FileSystem, Mapping, write_all

HEADER = FileHeader(b"TSDBCHNK", 1, "sealed chunks")
"""The number is the window's first time, ms."""
SUFFIX = ".chunks"
_NAME = re.compile(r"(-?\d{1,18})(?:\.(\d{1,9}))?\.chunks")
TEMPORARY = ".tmp"
LARGEST_STEP = 64 << 20
SLACK = 512
"""Readable bytes behind the last chunk: decoders load a word more than they need."""


class Window(MappedFile):
    """The sealed chunks of one window: a file, or memory where the database is read-only."""

    def __init__(self, number: int, file: File | None, mapping: Mapping | None, used: int, sequence: int = 0) -> None:
        self.number = number
        self.sequence = sequence
        """Of the files of these two hours: the earlier ones were cut before the two hours were over."""
        self.chain: NDArray[np.uint64] = arena.reserve(f"chain-{number}", MAX_SERIES, np.uint64)
        self.used = used
        """Bytes; as of the last `Windows.settle`, kernels move on in `Table.used`."""
        self.sealed = 0
        """Chunks, likewise."""
        self.ended = False
        """No chunk will be added: another file takes what comes for these two hours."""
        self.complete = False
        """Likewise, and all is durable."""
        super().__init__(f"window-{number}", file, mapping)

    @property
    def name(self) -> str:
        """Of the file."""
        return _name(self.number, self.sequence)

    @property
    def mint(self) -> int:
        """First ms."""
        return self.number * WINDOW_MS

    @property
    def maxt(self) -> int:
        """Last ms."""
        return (self.number + 1) * WINDOW_MS - 1

    @property
    def limit(self) -> int:
        return int(self.array.size) - SLACK

    def grow(self, least: int, step: int) -> None:
        """Makes room for at least `least` bytes more, usually `step` or a quarter of what is used. Raises OSError."""
        step = max(least, min(max(self.used // 4, step), LARGEST_STEP))
        self.extend(self.array.size + (step + 4095) // 4096 * 4096)

    def finish(self) -> None:
        """Makes all chunks durable and gives back the space ahead of them. OSError."""
        self.sync()
        self.shorten(self.used + SLACK)
        self.complete = True


@dataclass(frozen=True, slots=True)
class KnownWindow:
    """A window's file, and what a scan of it would find."""

    number: int
    sequence: int
    used: int
    """Bytes."""
    sealed: int
    """Chunks."""
    complete: bool
    size: int
    """Bytes of the file."""

    @property
    def name(self) -> str:
        """Of the file."""
        return _name(self.number, self.sequence)

    def to_plain(self) -> dict[str, Any]:
        """`KnownWindow(**plain)` is the same."""
        return asdict(self)


class Table:
    """The windows as kernels take them; `used` and `sealed` are written by kernels."""

    def __init__(self, windows: list[Window]) -> None:
        self.windows = windows
        self.numbers = np.array([window.number for window in windows], np.int64)
        self.addresses = np.array([window.address for window in windows], np.uint64)
        self.chains = np.array([window.chain.__array_interface__["data"][0] for window in windows], np.uint64)
        self.used = np.array([window.used for window in windows], np.int64)
        self.sealed = np.array([window.sealed for window in windows], np.int64)
        self.limit = np.array([0 if window.ended or window.complete else window.limit for window in windows], np.int64)


class Windows:
    """All windows of a head, in time order. Changed by the appender only, under the head's lock."""

    def __init__(self, fs: FileSystem, folder: Path, *, read_only: bool, step: int = 1 << 20,
                 damage: Damage | None = None) -> None:
        """`step`: bytes of disk that a window's file takes ahead, at least."""
        self._fs = fs
        self._damage = damage or Damage(fs, folder.parent, read_only=read_only)
        self._noted = False
        self.chunks_removed = 0
        """Of windows that left, since the start."""
        self._step = step
        self._folder = folder
        self._read_only = read_only
        self._windows: list[Window] = []
        self._sequences: dict[int, int] = {}
        """Greatest sequence by number of window: a name is not used again."""
        self.table = Table([])

    def load(self, scan: Callable[[Window, int], int], border: int, cut: Collection[str] = ()) -> None:
        """Maps the files that are there. `scan(window, end)` links their chunks, oldest window first, and returns the
        bytes that are good; windows before `border` (ms) are complete. Files named in `cut` are in blocks already, and
        are removed.

        Of a complete window all that is sound is read. What is damaged in another one is in the log still. Raises
        FormatTooNew.
        """
        names = self._fs.listdir(self._folder)
        if not self._read_only:
            for name in names:
                if name.endswith(TEMPORARY):
                    self._fs.unlink(self._folder / name)
        for name in cut:
            if (found := _NAME.fullmatch(name)) is not None:
                number = int(found[1]) // WINDOW_MS
                self._sequences[number] = max(int(found[2] or 0), self._sequences.get(number, 0))
        if not self._read_only:
            self.remove([name for name in names if name in cut])
        parsed = [found for name in names if name not in cut and (found := _NAME.fullmatch(name))]
        places = [(int(found[1]), int(found[2] or 0)) for found in parsed]
        for number, sequence in sorted((start // WINDOW_MS, n) for start, n in places if start % WINDOW_MS == 0):
            self._sequences[number] = max(sequence, self._sequences.get(number, 0))
            path = self._folder / _name(number, sequence)
            complete = (number + 1) * WINDOW_MS <= border
            file = self._fs.open(path, writable=not self._read_only)
            size = file.size()
            problem = HEADER.problem(path, number * WINDOW_MS, file.pread(WINDOW_HEADER_BYTES, 0))
            if problem is not None and (not complete or size < WINDOW_HEADER_BYTES):
                file.close()
                lost = (number * WINDOW_MS, (number + 1) * WINDOW_MS) if complete else (0, 0)
                self._damage.set_aside(path, problem, *lost)
                continue
            window = Window(number, file, file.map(size, writable=not (self._read_only or complete)),
                            WINDOW_HEADER_BYTES, sequence)
            self._windows.append(window)
            window.complete = complete
            window.used = scan(window, size)
            if complete:
                self._scan_past_damage(window, path, scan, problem)
            elif not self._read_only:
                window.array[window.used :] = 0  # what a torn end left, so that a later scan ends here too
        self._rebuild()

    def attach(self, known: Sequence[KnownWindow], sequences: dict[int, int]) -> None:
        """Instead of `load`: maps files that are as they were when `known` and `sequences` said so. Chains are the
        caller's to fill. OSError."""
        self._sequences.update(sequences)
        for each in known:
            file = self._fs.open(self._folder / each.name, writable=not self._read_only)
            writable = not (self._read_only or each.complete)
            window = Window(each.number, file, file.map(each.size, writable=writable), each.used, each.sequence)
            window.sealed, window.complete = each.sealed, each.complete
            self._windows.append(window)
        self._rebuild()

    def known(self) -> list[KnownWindow]:
        """What `attach` takes. The caller holds the head's lock, or is alone."""
        self.settle()
        return [KnownWindow(window.number, window.sequence, window.used, window.sealed, window.complete,
                            int(window.array.size)) for window in self._windows]

    def sizes(self) -> dict[str, int]:
        """Bytes of each file that is there, by name. OSError."""
        found = {}
        for name in self._fs.listdir(self._folder):
            if _NAME.fullmatch(name):
                file = self._fs.open(self._folder / name)
                found[name] = file.size()
                file.close()
        return found

    @property
    def sequences(self) -> dict[int, int]:
        """Greatest sequence in the name of a file, by number of window."""
        return self._sequences

    def _scan_past_damage(self, window: Window, path: Path, scan: Callable[[Window, int], int],
                          problem: Corruption | None) -> None:
        """A complete window ends with zeros, and all before them was durable. `problem` is that of its header."""
        size = window.array.size
        while size - window.used < SLACK or window.array[window.used :].any():
            found = next_sealed(window.array, window.used + 8)
            where = f"damaged from byte {window.used} to {found}" if found >= 0 else f"ends at byte {window.used}"
            problem = problem or Corruption(f"{path}: {where}: samples of these two hours are lost")
            if found < 0:
                break
            window.used = found
            window.used = scan(window, size)
        if problem is not None:
            self._damage.note(path, problem, window.mint, window.maxt + 1)

    def ensure(self, number: int, room: int) -> None:
        """Makes the window's file, and room for `room` bytes in it. Raises OSError with nothing changed."""
        self.settle()
        window = self._writable(number)
        if window is None:
            window = self._make(number)
            self._windows.append(window)
            self._windows.sort(key=lambda each: (each.number, each.sequence))
        if window.used + room > window.limit:
            window.grow(room + SLACK, self._step)
        self._rebuild()

    def has_room(self, number: int, room: int) -> bool:
        at = np.flatnonzero(self.table.numbers == number)
        return at.size > 0 and bool(self.table.used[at[-1]] + room <= self.table.limit[at[-1]])

    def settle(self) -> None:
        """Takes over what kernels have written to the table. The caller holds the head's lock, as for all that changes
        windows."""
        table = self.table
        for window, used, sealed in zip(table.windows, table.used.tolist(), table.sealed.tolist(), strict=True):
            window.used, window.sealed = used, sealed

    def end_before(self, border: int) -> list[Window]:
        """No window that begins before `border` (ms) gets another chunk. Returns those that are not complete."""
        self.settle()
        found = [window for window in self._windows if window.mint < border and not window.complete]
        for window in found:
            window.ended = True
        self._rebuild()
        return found

    def finish(self, windows: list[Window]) -> None:
        """Makes windows complete: durable and closed to writing. Raises OSError."""
        self.settle()
        for window in windows:
            window.finish()
        self._rebuild()

    def drop(self, count: int) -> None:
        """Deletes the files of the oldest windows, `count` of them, which are complete; captures that read them keep
        their bytes. Raises OSError with those gone that could be deleted."""
        self.settle()
        try:
            for window in self._windows[:count]:
                self._fs.unlink(self._folder / window.name)
                self._windows.remove(window)
                self.chunks_removed += window.sealed
                window.close()
        finally:
            self._rebuild()
        self._fs.sync_directory(self._folder)

    def take_out(self, window: Window) -> None:
        """Forgets a complete window, which is in a block from now on; captures that read it keep its bytes."""
        self.settle()
        self._windows.remove(window)
        self.chunks_removed += window.sealed
        self._rebuild()

    def path(self, window: Window) -> Path:
        return self._folder / window.name

    def remove(self, names: Sequence[str]) -> None:
        """Removes files of windows that were taken out, durably. OSError."""
        for name in names:
            self._fs.unlink(self._folder / name)
        if names:
            self._fs.sync_directory(self._folder)

    def lacks_histograms(self, window: Window) -> None:
        """Chunks of a complete window are left out, since their histograms are damaged or gone."""
        path = self.path(window)
        problem = Corruption(f"{path}: histograms of some of its chunks are damaged or gone: samples of these two "
                             "hours are lost")
        self._damage.note(path, problem, window.mint, window.maxt + 1)

    def damaged(self, problem: Corruption) -> Corruption:
        """A reader has come upon a damaged chunk, which is noted once: the log may have its samples still, and the next
        start reads it."""
        if not self._noted:
            self._noted = True
            self._damage.note(self._folder, problem)
        return problem

    @property
    def every(self) -> Sequence[Window]:
        """All of them, in time order."""
        return self._windows

    def overlapping(self, mint: int, maxt: int) -> slice:
        """Places in `table` of the windows that touch mint..maxt (ms)."""
        numbers = [window.number for window in self.table.windows]
        return slice(bisect_left(numbers, mint // WINDOW_MS), bisect_right(numbers, maxt // WINDOW_MS))

    def sync(self) -> None:
        self.settle()
        for window in self._windows:
            if not window.complete:
                window.sync()

    def __len__(self) -> int:
        return len(self._windows)

    def close(self) -> None:
        self.settle()
        self.table = Table([])
        for window in self._windows:
            window.close()
        self._windows = []

    def _writable(self, number: int) -> Window | None:
        for window in reversed(self._windows):
            taken = window.ended or window.complete or (self._read_only and window.in_file)
            if window.number == number and not taken:
                return window
        return None

    def _make(self, number: int) -> Window:
        sequence = self._sequences.get(number, -1) + 1
        if self._read_only:
            self._sequences[number] = sequence
            return Window(number, None, None, WINDOW_HEADER_BYTES, sequence)
        self._fs.mkdir(self._folder)
        path = self._folder / _name(number, sequence)
        temporary = path.with_name(path.name + TEMPORARY)
        file = self._fs.open(temporary, writable=True, create=True, truncate=True)
        try:
            file.allocate(self._step)
            write_all(file, HEADER.encode(number * WINDOW_MS), 0)
            file.datasync()
            self._fs.rename(temporary, path)
            self._fs.sync_directory(self._folder)
        except OSError:
            file.close()
            self._fs.unlink(temporary)
            raise
        self._sequences[number] = sequence
        return Window(number, file, file.map(self._step, writable=True), WINDOW_HEADER_BYTES, sequence)

    def _rebuild(self) -> None:
        self.settle()  # else what kernels have written since the last time would be written over
        self.table = Table(list(self._windows))


def _name(number: int, sequence: int) -> str:
    return f"{number * WINDOW_MS}{f'.{sequence}' if sequence else ''}{SUFFIX}"


def room_for(samples: int) -> int:
    """Bytes that sealing can take while `samples` samples are appended: each may seal one chunk at the most."""
    return samples * SEALED_MAX_BYTES
