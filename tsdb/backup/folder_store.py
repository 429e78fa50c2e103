"""Backups in a folder."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tsdb.backup.store import Found
from tsdb.model.errors import DirectoryLocked, StorageError
from tsdb.wal.files import FileSystem, write_all

PIECE_BYTES = 4 << 20
TEMPORARY = ".tmp"


class FolderStore:
    """See `Store`."""

    def __init__(self, fs: FileSystem, folder: Path) -> None:
        self._fs = fs
        self._folder = folder

    def list(self, prefix: str) -> Mapping[str, Found]:
        found, now = {}, time.time()
        try:
            for path in sorted((self._folder / prefix).rglob("*")):
                if path.is_file():
                    told = path.stat()
                    found[path.relative_to(self._folder).as_posix()] = Found(told.st_size, now - told.st_mtime)
        except OSError as problem:
            raise self._error(problem) from problem
        return found

    def put(self, key: str, pieces: Iterable[bytes], size: int) -> None:
        target = self._folder / key
        temporary = target.with_name(target.name + TEMPORARY)
        try:
            self._fs.mkdir(target.parent)
            file = self._fs.open(temporary, writable=True, create=True, truncate=True)
            try:
                at = 0
                for piece in pieces:
                    write_all(file, piece, at)
                    at += len(piece)
                file.datasync()
            finally:
                file.close()
            self._fs.rename(temporary, target)
            self._fs.sync_directory(target.parent)
        except OSError as problem:
            self._remove(temporary)
            raise self._error(problem) from problem
        except BaseException:
            self._remove(temporary)
            raise

    def get(self, key: str) -> Iterator[bytes]:
        try:
            file = self._fs.open(self._folder / key)
        except FileNotFoundError:
            raise
        except OSError as problem:
            raise self._error(problem) from problem
        try:
            at = 0
            while piece := file.pread(PIECE_BYTES, at):
                at += len(piece)
                yield piece
        except OSError as problem:
            raise self._error(problem) from problem
        finally:
            file.close()

    def remove(self, keys: Sequence[str]) -> None:
        try:
            for key in keys:
                self._fs.unlink(self._folder / key)
                with contextlib.suppress(OSError):  # others are in it
                    self._fs.rmdir((self._folder / key).parent)
        except OSError as problem:
            raise self._error(problem) from problem

    def place(self, key: str = "") -> str:
        return str(self._folder / key)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        try:
            self._fs.mkdir(self._folder)
            lock = self._fs.lock(self._folder)
        except DirectoryLocked as problem:
            raise DirectoryLocked(f"another backup to it is under way: {str(problem).partition(': ')[0]}") from None
        except OSError as problem:
            raise self._error(problem) from problem
        try:
            yield
        finally:
            lock.release()

    def _remove(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            self._fs.unlink(path)

    def _error(self, problem: OSError) -> StorageError:
        return StorageError(f"{problem.filename or self._folder}: {problem.strerror or problem}: look at the folder's "
                            "disk and owner; what was copied stays, run it again to go on")
