"""Where imported samples go: to a data directory that is not open elsewhere, or to a server."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

from tsdb.imports.reader import Progress
from tsdb.imports.upload import upload
from tsdb.model.errors import DirectoryLocked, StorageError
from tsdb.storage.block import BlockMeta, block_paths
from tsdb.storage.block.folders import remove_block
from tsdb.storage.block.layout import META_NAME
from tsdb.storage.damage import Damage
from tsdb.storage.directory import check_format, refuse_what_is_not_ours
from tsdb.wal.files import LOCK_NAME, FileSystem, LocalFileSystem, read_file

WORK = "import"
"""Folder of a data directory: sorted runs of imports that go on, and what earlier ones have written."""


class Target(Protocol):
    """See the module."""

    name: str
    """For people."""
    fs: FileSystem
    work: Path
    """Every import has a folder in it for what it sorts, by its identity."""
    remembers: bool
    """Whether `there` tells of all blocks: then an import that is there already is not even read again."""

    def blocks(self, folder: Path) -> Path:
        """Where blocks are written by the import with that folder."""
        ...

    def alone(self, folder: Path) -> AbstractContextManager[None]:
        """The import with that folder is ours alone as long. Raises DirectoryLocked."""
        ...

    def there(self) -> Collection[str]:
        """Names (ULIDs) of all blocks that are there, and of those that went into them."""
        ...

    def publish(self, folder: Path, metas: Sequence[BlockMeta], progress: Progress) -> int:
        """Shows the blocks in `folder`; how many of them were there already. Raises TsdbError, OSError."""
        ...


class DataDirectory:
    """Blocks are written where they stay: they count as soon as they have their names."""

    remembers = True

    def __init__(self, fs: FileSystem, path: Path) -> None:
        self.fs = fs
        self.name = str(path)
        self.path = path
        self.work = path / WORK

    def blocks(self, folder: Path) -> Path:
        return self.path / "blocks"

    def alone(self, folder: Path) -> AbstractContextManager[None]:
        return nullcontext()  # all of the directory is

    def there(self) -> Collection[str]:
        found = set()
        for path in block_paths(self.fs, self.path / "blocks"):
            found.add(path.name)
            try:
                found.update(BlockMeta.from_json(read_file(self.fs, path / META_NAME)).compaction.sources)
            except (OSError, ValueError, KeyError, TypeError):
                continue  # the next start sees to it
        return found

    def publish(self, folder: Path, metas: Sequence[BlockMeta], progress: Progress) -> int:
        return 0


class Server:
    """Blocks are written to a folder of ours, and uploaded."""

    remembers = False

    def __init__(self, url: str, work: Path | None = None) -> None:
        """`url` may have name and password. `work`: None: a folder of the user's caches."""
        self.fs: FileSystem = LocalFileSystem()
        self.name = url.rpartition("@")[2]
        self.work = work or _cache_folder()
        self._url = url

    def blocks(self, folder: Path) -> Path:
        return folder / "blocks"

    @contextmanager
    def alone(self, folder: Path) -> Iterator[None]:
        self.fs.mkdir(folder)
        lock = self.fs.lock(folder)
        try:
            yield
        finally:
            lock.release()
            if self.fs.listdir(folder) == [LOCK_NAME]:
                self.fs.unlink(folder / LOCK_NAME)
                self.fs.rmdir(folder)

    def there(self) -> Collection[str]:
        return ()

    def publish(self, folder: Path, metas: Sequence[BlockMeta], progress: Progress) -> int:
        known = upload(self._url, folder, metas, progress).there if metas else 0
        for path in block_paths(self.fs, folder):
            remove_block(self.fs, path)
        self.fs.rmdir(folder)
        return known


@contextmanager
def data_directory(path: Path, fs: FileSystem | None = None) -> Iterator[DataDirectory]:
    """The data directory, made where there is none, for us alone. Raises DirectoryLocked where a server has it open,
    StorageError where it is not ours, FormatTooNew."""
    fs = fs or LocalFileSystem()
    try:
        refuse_what_is_not_ours(fs, path)
        fs.mkdir(path)
        lock = fs.lock(path)
    except DirectoryLocked as problem:
        raise DirectoryLocked(f"{problem}: to import into a server that runs, give its address (--url)") from None
    except OSError as problem:
        raise StorageError(f"{path} cannot be opened: {problem.strerror}") from None
    try:
        check_format(fs, path, Damage(fs, path, read_only=False), create=True)
        fs.mkdir(path / "blocks")
        yield DataDirectory(fs, path)
    finally:
        lock.release()


def _cache_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "tsdb" / WORK
