"""Restoring: a backup becomes a data directory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from tsdb.backup.manifest import FileEntry, Manifest
from tsdb.backup.store import Store
from tsdb.backup.verifying import checked
from tsdb.model.errors import Corruption, FormatTooNew, StorageError
from tsdb.storage.block.folders import remove_files
from tsdb.storage.directory import FORMAT, FORMAT_NAME, format_version
from tsdb.wal.files import FileSystem, read_file, write_all

COPYING = "restoring.tmp"
"""Folder within the new data directory in which files are until all of them are there."""
PART = ".part"
PIECE_BYTES = 4 << 20
SPARE_BYTES = 16 << 20
"""That is left free on the disk."""

Progress = Callable[[int, int], None]
"""Called as (bytes that are there, bytes in all)."""


def restore(fs: FileSystem, store: Store, manifest: Manifest, target: Path, progress: Progress = lambda *_: None,
            ) -> None:
    """Makes a data directory of a backup. Every file is compared with its checksum before it gets its name.

    `target` is new, empty, or what an interrupted restore has left: what is sound of that is not copied again. It is no
    data directory before all of it is there. Raises StorageError (Corruption and FormatTooNew, too), OSError.
    """
    if not any(each.path == FORMAT_NAME for each in manifest.files):
        raise StorageError(f"the backup {manifest.name} has no file {FORMAT_NAME}: it is none of a data directory")
    copying = target / COPYING
    top = list(dict.fromkeys(each.path.split("/")[0] for each in manifest.files if each.path != FORMAT_NAME))
    there = set(fs.listdir(target))
    if there - {COPYING, *(top if COPYING in there else ())}:
        raise StorageError(f"{target} is not empty: give a new folder, nothing in it was changed")
    fs.mkdir(copying)
    for name in top:
        if name in there:  # interrupted between two names
            fs.rename(target / name, copying / name)
    _remove_others(fs, copying, manifest)
    total, done = manifest.size, 0
    wanted = []
    for entry in sorted(manifest.files, key=lambda each: each.path != FORMAT_NAME):
        if _is_there(fs, copying / entry.path, entry):
            done += entry.size
        else:
            wanted.append(entry)
    needed, free = total - done, fs.free_bytes(target)
    if free < needed + SPARE_BYTES:
        raise StorageError(f"{target}: {free} bytes are free on this disk, {needed} are to be copied")
    for entry in wanted:
        _copy(fs, store, entry, copying / entry.path, done, total, progress)
        done += entry.size
        progress(done, total)
        if entry.path == FORMAT_NAME:
            _check_format(fs, copying / FORMAT_NAME, manifest)
    for folder in {(copying / entry.path).parent for entry in manifest.files}:
        fs.sync_directory(folder)
    for name in [*top, FORMAT_NAME]:  # with FORMAT it is a data directory
        fs.rename(copying / name, target / name)
    fs.rmdir(copying)
    fs.sync_directory(target)


def _copy(fs: FileSystem, store: Store, entry: FileEntry, path: Path, before: int, total: int, progress: Progress,
          ) -> None:
    fs.mkdir(path.parent)
    part = path.with_name(path.name + PART)
    file = fs.open(part, writable=True, create=True, truncate=True)
    try:
        at = 0
        for piece in checked(store, entry):
            write_all(file, piece, at)
            at += len(piece)
            progress(before + at, total)
        file.datasync()
    finally:
        file.close()
    fs.rename(part, path)


def _is_there(fs: FileSystem, path: Path, entry: FileEntry) -> bool:
    """Whether an earlier attempt has copied it."""
    if not fs.exists(path):
        return False
    file = fs.open(path)
    try:
        if file.size() != entry.size:
            return False
        digest, at = hashlib.sha256(), 0
        while piece := file.pread(PIECE_BYTES, at):
            digest.update(piece)
            at += len(piece)
        return digest.hexdigest() == entry.sha256
    finally:
        file.close()


def _check_format(fs: FileSystem, path: Path, manifest: Manifest) -> None:
    version = format_version(read_file(fs, path))
    if version is None:
        raise Corruption(f"{FORMAT_NAME} was damaged before the backup {manifest.name} was made: take an earlier one")
    if version > FORMAT:
        raise FormatTooNew(f"the backup {manifest.name} has format {version}, this tsdb reads up to {FORMAT}: use a "
                           "newer tsdb")


def _remove_others(fs: FileSystem, copying: Path, manifest: Manifest) -> None:
    """Removes files and folders of another backup, whose restore was interrupted."""
    wanted = {copying / entry.path for entry in manifest.files}
    folders = {parent for path in wanted for parent in path.parents}
    for path in sorted(copying.rglob("*"), reverse=True):
        if path.is_dir():
            if path not in folders:
                remove_files(fs, path)
        elif path not in wanted:
            fs.unlink(path)
