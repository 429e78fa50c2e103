"""All file access of the WAL and of storage: the `FileSystem` protocol and the real one, `LocalFileSystem`.

Whoever touches files is given a `FileSystem`; tests give one that loses what was not synced. Operations raise OSError
as the system does; what it means is the caller's business. What survives a power cut: bytes after `File.datasync` or
`Mapping.flush`; names (created, renamed, unlinked) after `sync_directory` of their folder. Nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import DirectoryLocked

Buffer = bytes | bytearray | memoryview

LOCK_NAME = "LOCK"


class Mapping(Protocol):
    """A file mapped into memory."""

    array: NDArray[np.uint8]
    """u8[size], writable if the mapping is. Writing where the disk is full kills the process: `allocate` before."""

    def flush(self, start: int = 0, end: int | None = None) -> None:
        """Makes array[start:end] durable (msync)."""
        ...

    def close(self) -> None:
        """Lets go of the memory as soon as no view of `array` is left."""
        ...


class File(Protocol):
    """An open file. Offsets and sizes are bytes. Safe to use from several threads, but for `close`."""

    @property
    def path(self) -> Path: ...

    def pwrite(self, data: Buffer, offset: int) -> int:
        """One write call; returns how many bytes were taken, which may be fewer than given: see `write_all`."""
        ...

    def pread(self, size: int, offset: int) -> bytes:
        """Up to `size` bytes; fewer only at the end of the file."""
        ...

    def size(self) -> int: ...

    def truncate(self, size: int) -> None:
        """Cuts or extends (with zeros, without space on disk) to `size`."""
        ...

    def allocate(self, size: int) -> None:
        """Extends to at least `size` with zeros that have their space on disk. Raises OSError (ENOSPC)."""
        ...

    def datasync(self) -> None:
        """Makes content and size durable (fdatasync)."""
        ...

    def map(self, size: int, *, writable: bool = False) -> Mapping:
        """The first `size` bytes in memory, shared with all other users of the file. Raises OSError (ESTALE) where the
        file is not that long any more."""
        ...

    def close(self) -> None: ...


class Lock(Protocol):
    """A held directory lock."""

    def release(self) -> None: ...


class FileSystem(Protocol):
    """Where files live."""

    def open(self, path: Path, *, writable: bool = False, create: bool = False, truncate: bool = False) -> File:
        """Raises FileNotFoundError; `create` makes the file where there is none, `truncate` empties it."""
        ...

    def exists(self, path: Path) -> bool: ...

    def listdir(self, path: Path) -> list[str]:
        """Names in a folder, sorted; empty where there is no such folder."""
        ...

    def mkdir(self, path: Path) -> None:
        """Makes a folder and its parents, durably; fine if it is there."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Atomically; replaces the target."""
        ...

    def unlink(self, path: Path) -> None:
        """Removes a file; fine if there is none."""
        ...

    def rmdir(self, path: Path) -> None:
        """Removes an empty folder; fine if there is none."""
        ...

    def sync_directory(self, path: Path) -> None:
        """Makes the names in a folder durable."""
        ...

    def free_bytes(self, path: Path) -> int:
        """Space left for us on the disk of `path`."""
        ...

    def disk_bytes(self, path: Path) -> int:
        """The size of the disk of `path`."""
        ...

    def link(self, source: Path, target: Path) -> None:
        """Gives a file a second name, which must be free. Raises OSError, also where the disk has no such links."""
        ...

    def lock(self, directory: Path) -> Lock:
        """Takes the folder for this process alone, until released or the process ends. Raises DirectoryLocked."""
        ...


def write_all(file: File, data: Buffer, offset: int) -> None:
    """Writes everything, with one call unless the system takes it in parts. Raises OSError with part of it written."""
    written = file.pwrite(data, offset)
    rest = memoryview(data)
    while written < len(rest):
        more = file.pwrite(rest[written:], offset + written)
        if more == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file.path))
        written += more


def read_file(fs: FileSystem, path: Path) -> bytes:
    """The whole of a small file."""
    file = fs.open(path)
    try:
        return file.pread(file.size(), 0)
    finally:
        file.close()


def write_file_atomically(fs: FileSystem, path: Path, data: bytes) -> None:
    """Replaces a small file durably: a temporary name, synced, renamed, folder synced."""
    temporary = path.with_name(path.name + ".tmp")
    file = fs.open(temporary, writable=True, create=True, truncate=True)
    try:
        write_all(file, data, 0)
        file.datasync()
    finally:
        file.close()
    fs.rename(temporary, path)
    fs.sync_directory(path.parent)


class LocalMapping:
    def __init__(self, memory: mmap.mmap, *, writable: bool) -> None:
        self._memory: mmap.mmap | None = memory
        self.array: NDArray[np.uint8] = np.frombuffer(memory, np.uint8)
        self.array.flags.writeable = writable

    def flush(self, start: int = 0, end: int | None = None) -> None:
        if self._memory is not None:
            page = start - start % mmap.PAGESIZE
            self._memory.flush(page, (len(self._memory) if end is None else end) - page)

    def close(self) -> None:
        self._memory = None
        self.array = np.zeros(0, np.uint8)


class LocalFile:
    def __init__(self, path: Path, descriptor: int, *, writable: bool) -> None:
        self._path = path
        self._descriptor = descriptor
        self._writable = writable

    @property
    def path(self) -> Path:
        return self._path

    def pwrite(self, data: Buffer, offset: int) -> int:
        return os.pwrite(self._descriptor, data, offset)

    def pread(self, size: int, offset: int) -> bytes:
        data = os.pread(self._descriptor, size, offset)
        while len(data) < size:
            more = os.pread(self._descriptor, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)

    def allocate(self, size: int) -> None:
        os.posix_fallocate(self._descriptor, 0, size)

    def datasync(self) -> None:
        os.fdatasync(self._descriptor)

    def map(self, size: int, *, writable: bool = False) -> LocalMapping:
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        try:
            memory = mmap.mmap(self._descriptor, size, mmap.MAP_SHARED, protection)
        except ValueError:  # another process has made it shorter since we asked for its size
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(self._path)) from None
        return LocalMapping(memory, writable=writable)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class LocalLock:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class LocalFileSystem:
    """The file system of this machine."""

    def open(self, path: Path, *, writable: bool = False, create: bool = False, truncate: bool = False) -> LocalFile:
        flags = os.O_CLOEXEC | (os.O_RDWR if writable else os.O_RDONLY)
        flags |= (os.O_CREAT if create else 0) | (os.O_TRUNC if truncate else 0)
        return LocalFile(path, os.open(path, flags, 0o644), writable=writable)

    def exists(self, path: Path) -> bool:
        return path.exists()

    def listdir(self, path: Path) -> list[str]:
        try:
            return sorted(found.name for found in path.iterdir())
        except FileNotFoundError:
            return []

    def mkdir(self, path: Path) -> None:
        if path.is_dir():
            return
        self.mkdir(path.parent)
        path.mkdir(exist_ok=True)
        self.sync_directory(path.parent)

    def rename(self, source: Path, target: Path) -> None:
        os.replace(source, target)

    def unlink(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def rmdir(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            path.rmdir()

    def sync_directory(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def free_bytes(self, path: Path) -> int:
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize

    def disk_bytes(self, path: Path) -> int:
        found = os.statvfs(path)
        return found.f_blocks * found.f_frsize

    def link(self, source: Path, target: Path) -> None:
        target.hardlink_to(source)

    def lock(self, directory: Path) -> LocalLock:
        path = directory / LOCK_NAME
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            os.close(descriptor)
            if problem.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise DirectoryLocked(
                f"{directory} is in use by process {holder or '(unknown)'}: stop it, choose another data directory, "
                "or open it read-only"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return LocalLock(descriptor)
