"""A file system in memory that forgets what was not synced, and that can be killed at any operation.

What a power cut leaves: for each sector of a file, either what was synced or what was written since; any size in
between; any subset of the names made, renamed and removed since their folder was synced, be it one in a folder that is
itself renamed or gone. After a failed sync the pages count as clean although they never reached the disk, as on Linux.
"""

from __future__ import annotations

import copy
import errno
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import DirectoryLocked
from tsdb.wal.files import Buffer

SECTOR = 64
"""Smaller than real ones, so that small files tear in many places."""
SYNCS = ("datasync", "flush", "sync_directory")
"""Operations that make durable what others did."""
ROOT = Path("/")
_ROOM = 1 << 16
"""Bytes that a file has place for, until it needs more."""


class Killed(BaseException):
    """The process is gone. No code of ours may catch it."""


@dataclass(frozen=True)
class Operation:
    """Something that changes files: its name as in FileSystem and File, and on what."""

    name: str
    path: Path


Hook = Callable[[int, Operation], int | None]


@dataclass(eq=False)
class _Inode:
    room: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(_ROOM, np.uint8))
    size: int = 0
    disk: bytes = b""
    """What a power cut leaves at least."""
    clean: bytes = b""
    """What the system believes to be on disk."""
    written: set[int] = field(default_factory=set)
    """Sectors that were written since, even if with the same bytes."""

    def content(self) -> bytes:
        return self.room[: self.size].tobytes()

    def need(self, size: int) -> None:
        """Place for `size` bytes. What was mapped before sees no later changes."""
        if size > self.room.size:
            room = np.zeros(max(size, 2 * self.room.size), np.uint8)
            room[: self.room.size] = self.room
            self.room = room

    def sync(self) -> None:
        self.disk = self._merged(lambda _: True, self.size)
        self.lose()

    def lose(self) -> None:
        """The system believes that all is on disk now."""
        self.clean = self.content()
        self.written.clear()

    def after_power_cut(self, chance: random.Random) -> bytes:
        low, high = sorted((len(self.disk), self.size))
        size = chance.choice((low, high, chance.randint(low, high)))
        kind = chance.choice(("none", "all", "prefix", "random"))
        cut = chance.randint(0, self.size // SECTOR)
        choose: dict[str, Callable[[int], bool]] = {
            "none": lambda _: False,
            "all": lambda _: True,
            "prefix": lambda sector: sector < cut,
            "random": lambda _: chance.random() < 0.5,
        }
        return self._merged(choose[kind], size)

    def _merged(self, choose: Callable[[int], bool], size: int) -> bytes:
        """The disk with the chosen dirty sectors written, cut or filled to `size`."""
        now = self.content()
        merged, new, clean = (_sectors(content, size) for content in (self.disk, now, self.clean))
        dirty = (new != clean).any(axis=1)
        if len(self.clean) < min(size, len(now)):  # bytes that are new count as changed even where they are zeros
            dirty[len(self.clean) // SECTOR : -(-len(now) // SECTOR)] = True
        dirty[[sector for sector in self.written if sector < dirty.size]] = True
        chosen = [sector for sector in np.flatnonzero(dirty).tolist() if choose(sector)]
        merged[chosen] = new[chosen]
        return merged.tobytes()[:size]


def _sectors(content: bytes, size: int) -> NDArray[np.uint8]:
    """u8[sectors, SECTOR]: the content, cut or filled with zeros to `size` and to a whole sector."""
    whole = -(-size // SECTOR) * SECTOR
    return np.frombuffer(bytearray(content[:size].ljust(whole, b"\0")), np.uint8).reshape(-1, SECTOR)


@dataclass(eq=False)
class _Folder:
    names: dict[str, _Inode | _Folder] = field(default_factory=dict)
    disk: dict[str, _Inode | _Folder] = field(default_factory=dict)
    """What a power cut leaves, but for what was changed since."""

    def files(self, path: Path, *, disk: bool = False) -> Iterator[tuple[Path, _Inode]]:
        """All files in it, `path`, and in the folders in it."""
        for name, node in (self.disk if disk else self.names).items():
            if isinstance(node, _Folder):
                yield from node.files(path / name, disk=disk)
            else:
                yield path / name, node

    def inodes(self) -> Iterator[_Inode]:
        """The same files, without their paths."""
        for node in self.names.values():
            if isinstance(node, _Folder):
                yield from node.inodes()
            else:
                yield node


Change = tuple[tuple[_Folder, str, "_Inode | _Folder | None"], ...]
"""Names in folders that get a new meaning together; None: the name goes."""


class SimulatedMapping:
    def __init__(self, fs: SimulatedFileSystem, path: Path, inode: _Inode, size: int, *, writable: bool) -> None:
        self._fs, self._path, self._inode = fs, path, inode
        self.array = inode.room[:size]
        self.array.flags.writeable = writable

    def flush(self, start: int = 0, end: int | None = None) -> None:
        try:
            if self._fs.begin("flush", self._path):
                self._inode.sync()
        except OSError:
            self._inode.lose()
            raise

    def close(self) -> None:
        self.array = np.zeros(0, np.uint8)


class SimulatedFile:
    def __init__(self, fs: SimulatedFileSystem, path: Path, inode: _Inode, *, writable: bool) -> None:
        self._fs, self._path, self._inode, self._writable = fs, path, inode, writable

    @property
    def path(self) -> Path:
        return self._path

    def pwrite(self, data: Buffer, offset: int) -> int:
        assert self._writable
        taken = min(len(data), max(0, self._fs.room_left() + self._inode.size - offset))
        torn = self._fs.torn_length(len(data))
        if torn >= 0:
            self._write(bytes(data[:torn]), offset)
        self._fs.begin("pwrite", self._path)
        if taken == 0 and len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        taken = self._fs.short(taken)
        self._write(bytes(data[:taken]), offset)
        return taken

    def _write(self, data: bytes, offset: int) -> None:
        end = offset + len(data)
        self._inode.need(end)
        self._inode.written.update(range(offset // SECTOR, -(-end // SECTOR)))
        self._inode.room[offset:end] = np.frombuffer(data, np.uint8)
        self._inode.size = max(self._inode.size, end)

    def pread(self, size: int, offset: int) -> bytes:
        self._fs.check_read(self._path, offset, min(offset + size, self._inode.size))
        return self._inode.room[offset : min(offset + size, self._inode.size)].tobytes()

    def size(self) -> int:
        return self._inode.size

    def truncate(self, size: int) -> None:
        self._fs.begin("truncate", self._path)
        self._inode.need(size)
        self._inode.room[size : self._inode.size] = 0
        self._inode.size = size

    def allocate(self, size: int) -> None:
        self._fs.begin("allocate", self._path)
        if size - self._inode.size > self._fs.room_left():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        self._inode.need(size)
        self._inode.size = max(self._inode.size, size)

    def datasync(self) -> None:
        try:
            if self._fs.begin("datasync", self._path):
                self._inode.sync()
        except OSError:
            self._inode.lose()
            raise

    def map(self, size: int, *, writable: bool = False) -> SimulatedMapping:
        assert size <= self._inode.size
        return SimulatedMapping(self._fs, self._path, self._inode, size, writable=writable)

    def close(self) -> None:
        self._fs.open_files.discard(id(self))


class SimulatedLock:
    def __init__(self, fs: SimulatedFileSystem, directory: Path) -> None:
        self._fs, self._directory = fs, directory

    def release(self) -> None:
        self._fs.locked.discard(self._directory)


class SimulatedFileSystem:
    """`kill_at`: the number of the operation (from 0) during which the process dies. `lies`: operations that do nothing
    and say that all is well. `faults`: an errno for an operation that is to fail. `capacity`: bytes of the disk."""

    def __init__(self, *, kill_at: int = -1, chance: random.Random | None = None,
                 lies: Callable[[Operation], bool] = lambda _: False, faults: Hook = lambda *_: None,
                 capacity: int = 1 << 40) -> None:
        self.kill_at = kill_at
        self.lies = lies
        self.faults = faults
        self.capacity = capacity
        self.kill_at_sync = -1
        """How many syncs are still done before the process dies in one; -1: it does not."""
        self.short_writes = 0.0
        """How probable it is that a write takes only a part."""
        self.unreadable: dict[Path, range] = {}
        """Bytes whose reading fails."""
        self.operations: list[Operation] = []
        self.locked: set[Path] = set()
        self.open_files: set[int] = set()
        self._chance = chance or random.Random(0)
        self._root = _Folder()
        self._unsynced: list[Change] = []
        """Names that changed since their folders were synced, in order."""

    def begin(self, name: str, path: Path) -> bool:
        """Counts an operation. False: do nothing and say that it is done."""
        number = len(self.operations)
        operation = Operation(name, path)
        self.operations.append(operation)
        if 0 <= self.kill_at <= number:
            raise Killed
        if self.kill_at_sync >= 0 and name in SYNCS:
            self.kill_at_sync -= 1
            if self.kill_at_sync < 0:
                raise Killed
        failure = self.faults(number, operation)
        if failure is not None:
            raise OSError(failure, os.strerror(failure), str(path))
        return not self.lies(operation)

    def torn_length(self, size: int) -> int:
        """How much of a write reaches the file before the process is killed in it; -1: it is not killed in it."""
        return self._chance.choice((0, self._chance.randint(0, size))) if len(self.operations) == self.kill_at else -1

    def short(self, size: int) -> int:
        """How much of a write is taken: at times only a part."""
        return self._chance.randint(1, size) if size > 1 and self._chance.random() < self.short_writes else size

    def check_read(self, path: Path, start: int, end: int) -> None:
        bad = self.unreadable.get(path, range(0))
        if start < bad.stop and bad.start < end:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    def room_left(self) -> int:
        return self.capacity - sum(inode.size for inode in set(self._root.inodes()))

    def killed(self) -> SimulatedFileSystem:
        """The files as the next process finds them: everything written is there."""
        following = self._next()
        following._root, following._unsynced = copy.deepcopy((self._root, self._unsynced))
        return following

    def power_cut(self) -> SimulatedFileSystem:
        """The files after a power cut, one of many ways."""
        root, unsynced = copy.deepcopy((self._root, self._unsynced))
        kind = self._chance.choice(("none", "all", "prefix", "random"))
        cut = self._chance.randint(0, len(unsynced))
        for number, change in enumerate(unsynced):
            happened = {"none": False, "all": True, "prefix": number < cut, "random": self._chance.random() < 0.5}[kind]
            if happened:
                _apply(change, disk=True)
        return self._with({path: inode.after_power_cut(self._chance) for path, inode in root.files(ROOT, disk=True)})

    def _next(self) -> SimulatedFileSystem:
        return SimulatedFileSystem(chance=self._chance, lies=self.lies, capacity=self.capacity)

    def _with(self, contents: dict[Path, bytes]) -> SimulatedFileSystem:
        """All of them durable."""
        following = self._next()
        for path, content in contents.items():
            made = _Inode(size=len(content), disk=content, clean=content)
            made.need(len(content))
            made.room[: len(content)] = np.frombuffer(content, np.uint8)
            folder = following._folder(path.parent, make=True)
            following.operations.clear()
            folder.names[path.name] = folder.disk[path.name] = made
        return following

    def flip(self, path: Path, bit: int) -> None:
        """A bit of a file turns over on disk."""
        self._file(path).room[bit // 8] ^= 1 << bit % 8

    def content(self, path: Path) -> bytes:
        return self._file(path).content()

    def paths(self) -> list[Path]:
        return sorted(path for path, _ in self._root.files(ROOT))

    def with_chance(self, seed: int) -> SimulatedFileSystem:
        """The same files in the same state, with other luck to come."""
        following = self.killed()
        following._chance = random.Random(seed)
        return following

    def copy(self) -> SimulatedFileSystem:
        """The same files, all of them durable."""
        return self._with({path: inode.content() for path, inode in self._root.files(ROOT)})

    # FileSystem

    def open(self, path: Path, *, writable: bool = False, create: bool = False,
             truncate: bool = False) -> SimulatedFile:
        inode = self._node(path)
        if not isinstance(inode, _Inode):
            if not create:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            self.begin("create", path)
            inode = _Inode()
            self._change((self._folder(path.parent), path.name, inode))
        elif truncate and inode.size:
            self.begin("truncate", path)
            inode.room[: inode.size] = 0
            inode.size = 0
            inode.clean = b""
        file = SimulatedFile(self, path, inode, writable=writable)
        self.open_files.add(id(file))
        return file

    def exists(self, path: Path) -> bool:
        return self._node(path) is not None

    def listdir(self, path: Path) -> list[str]:
        folder = self._node(path)
        return sorted(folder.names) if isinstance(folder, _Folder) else []

    def mkdir(self, path: Path) -> None:
        self._folder(path, make=True)

    def rename(self, source: Path, target: Path) -> None:
        node, old = self._node(source), self._node(target)
        assert node is not None, f"no {source}"
        assert not (isinstance(old, _Folder) and old.names), "a folder that is not empty is not replaced"
        if self.begin("rename", target):
            self._change((self._folder(source.parent), source.name, None),
                         (self._folder(target.parent), target.name, node))

    def unlink(self, path: Path) -> None:
        if isinstance(self._node(path), _Inode) and self.begin("unlink", path):
            self._change((self._folder(path.parent), path.name, None))

    def rmdir(self, path: Path) -> None:
        folder = self._node(path)
        if isinstance(folder, _Folder):
            assert not folder.names, f"{path} is not empty"
            self._change((self._folder(path.parent), path.name, None))

    def sync_directory(self, path: Path) -> None:
        if self.begin("sync_directory", path):
            self._settle(self._folder(path))

    def free_bytes(self, path: Path) -> int:
        return max(0, self.room_left())

    def disk_bytes(self, path: Path) -> int:
        return self.capacity

    def link(self, source: Path, target: Path) -> None:
        inode = self._node(source)
        if not isinstance(inode, _Inode):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(source))
        assert self._node(target) is None
        if self.begin("link", target):
            self._change((self._folder(target.parent), target.name, inode))

    def lock(self, directory: Path) -> SimulatedLock:
        if directory in self.locked:
            raise DirectoryLocked(f"{directory} is in use")
        self.locked.add(directory)
        return SimulatedLock(self, directory)

    def _node(self, path: Path) -> _Inode | _Folder | None:
        node: _Inode | _Folder | None = self._root
        for name in path.relative_to(ROOT).parts:
            node = node.names.get(name) if isinstance(node, _Folder) else None
        return node

    def _file(self, path: Path) -> _Inode:
        node = self._node(path)
        assert isinstance(node, _Inode), f"no {path}"
        return node

    def _folder(self, path: Path, *, make: bool = False) -> _Folder:
        node: _Folder = self._root
        for name in path.relative_to(ROOT).parts:
            found = node.names.get(name)
            if found is None and make:
                self.begin("mkdir", path)
                found = _Folder()
                self._change((node, name, found))
                self._settle(node)  # as `LocalFileSystem.mkdir` does
            if not isinstance(found, _Folder):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            node = found
        return node

    def _settle(self, folder: _Folder) -> None:
        """What was changed in it is durable."""
        done = [change for change in self._unsynced if any(each[0] is folder for each in change)]
        for change in done:
            _apply(change, disk=True)
        self._unsynced = [change for change in self._unsynced if not any(change is each for each in done)]

    def _change(self, *change: tuple[_Folder, str, _Inode | _Folder | None]) -> None:
        _apply(change, disk=False)
        self._unsynced.append(change)


def _apply(change: Change, *, disk: bool) -> None:
    for folder, name, node in change:
        names = folder.disk if disk else folder.names
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node
