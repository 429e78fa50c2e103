"""The data directory as such: is it ours, and of which format?

The file FORMAT has two lines, ``tsdb 2`` and ``crc32c``, the checksum of the first. A directory of format 1 has no
second line.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from tsdb.kernels.crc32c_kernels import checksum
from tsdb.model.errors import Corruption, FormatTooNew, StorageError
from tsdb.storage.damage import Damage
from tsdb.wal.files import FileSystem, read_file, write_file_atomically

FORMAT = 2
"""1: without blocks."""
FORMAT_NAME = "FORMAT"

_FIRST = re.compile(rb"tsdb (\d{1,9})\n")
_MAGIC_BYTES = 8
_MAGICS = (b"tsdb-wal", b"tsdb-ckp", b"TSDBCHNK", b"TSDBINDX", b"TSDBDATA")
"""What our files begin with."""


def format_file(version: int = FORMAT) -> bytes:
    """The content of FORMAT."""
    first = b"tsdb %d\n" % version
    return first + b"crc32c %08x\n" % int(checksum(0, np.frombuffer(first, np.uint8)))


def refuse_what_is_not_ours(fs: FileSystem, path: Path) -> None:
    """Looks at a folder without FORMAT before anything is written to it. Raises StorageError."""
    if fs.exists(path / FORMAT_NAME) or _has_our_files(fs, path):
        return
    if fs.exists(path / "chunks_head"):
        raise StorageError(f"{path} has the data of a Prometheus, which cannot be read yet: give another folder "
                           "(--storage.tsdb.path), and keep this one for the way back")
    if fs.listdir(path / "wal"):
        raise StorageError(f"{path} has a wal folder but no file {FORMAT_NAME}: it is not ours, or damaged; "
                           "choose another data directory")


def check_format(fs: FileSystem, path: Path, damage: Damage, *, create: bool) -> None:
    """Reads FORMAT. Where it is damaged or gone, our files beside it tell whose the directory is; they say their
    versions themselves. `create`: it is written where it is missing, damaged or of an earlier format.

    Raises FormatTooNew; StorageError where the directory is not ours.
    """
    file = path / FORMAT_NAME
    if fs.exists(file):
        content = read_file(fs, file)
        version = format_version(content)
        if version is None and not _has_our_files(fs, path):
            version = _without_checksum(content)
            if version is None:
                raise StorageError(f"{file} is not what tsdb writes: choose another data directory")
        if version is None:
            damage.set_aside(file, Corruption(f"{file} is not as it was written: the files of the directory say their "
                                              "versions, too"))
        elif version > FORMAT:
            raise FormatTooNew(f"{path} has format {version}, this tsdb reads up to {FORMAT}: use a newer tsdb")
        elif version == FORMAT:
            return
    elif _has_our_files(fs, path):
        damage.note(file, Corruption(f"{file} is missing: the files of the directory say their versions, too"))
    elif not create:
        raise StorageError(f"{path} is not a data directory of tsdb: it has no file {FORMAT_NAME}")
    if create:
        write_file_atomically(fs, file, format_file())


def is_ours(fs: FileSystem, path: Path) -> bool:
    """Whether it is a data directory of tsdb, damaged or not."""
    file = path / FORMAT_NAME
    try:
        return (fs.exists(file) and _without_checksum(read_file(fs, file)) is not None) or _has_our_files(fs, path)
    except NotADirectoryError:  # a file has the name
        return False


def format_version(content: bytes) -> int | None:
    """What FORMAT says; None where it is damaged. Up to format 2 it may be without its checksum."""
    version = _without_checksum(content)
    if version is None or version == 0:
        return None
    if content.startswith(format_file(version)):
        return version
    return version if version <= FORMAT and content == b"tsdb %d\n" % version else None


def _without_checksum(content: bytes) -> int | None:
    found = _FIRST.match(content)
    return int(found[1]) if found else None


def _has_our_files(fs: FileSystem, path: Path) -> bool:
    candidates = [path / folder / name for folder in ("wal", "chunks") for name in fs.listdir(path / folder)]
    for block in fs.listdir(path / "blocks"):
        candidates += [path / "blocks" / block / name for name in ("index", "chunks")]
    return any(_begins_as_ours(fs, file) for file in candidates)


def _begins_as_ours(fs: FileSystem, path: Path) -> bool:
    try:
        file = fs.open(path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return False
    try:
        return file.pread(_MAGIC_BYTES, 0) in _MAGICS
    except IsADirectoryError:
        return False
    finally:
        file.close()
