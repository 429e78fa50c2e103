"""Backing up: what a destination does not have of a snapshot is copied there."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tsdb.backup.backups import backups, read_manifest
from tsdb.backup.manifest import FILES, FileEntry, Manifest, nameable
from tsdb.backup.store import Store
from tsdb.model.errors import Corruption, StorageError
from tsdb.storage.block.layout import CHUNKS_NAME, INDEX_NAME, META_NAME
from tsdb.storage.block.meta import BlockMeta
from tsdb.storage.block.ulid import is_ulid
from tsdb.storage.upkeep.snapshots import BLOCKS
from tsdb.wal.files import LOCK_NAME, FileSystem, read_file

log = logging.getLogger(__name__)

PIECE_BYTES = 4 << 20
ABANDONED_S = 86_400.0
"""Files of no backup that are younger may belong to one that is being made."""

Progress = Callable[[int, int], None]
"""Called as (bytes that are safe, bytes in all)."""


def back_up(fs: FileSystem, snapshot: Path, store: Store, source: str, *, reread: bool = False,
            progress: Progress = lambda *_: None) -> tuple[Manifest, int]:
    """Makes a backup of the files in the folder `snapshot`, of the data directory `source`. Returns its manifest and
    how many bytes were copied.

    What is there already is not copied again; files of blocks, which never change, are not even read where an earlier
    backup knows them, unless `reread`. Where it fails or the process dies, no backup is there, and the next one goes
    on from what was copied. Raises StorageError, OSError.
    """
    with store.in_use():
        known = {} if reread else _known(store)
        there = store.list(FILES)
        paths = _files(snapshot)
        total, done, copied = sum(paths.values()), 0, 0
        entries = []
        for path, size in paths.items():
            progress(done, total)
            digest = known.get((path, size)) or _digest(fs, snapshot / path)
            entry = FileEntry(path, size, digest)
            if (found := there.get(entry.key)) is None or found.size != size:
                store.put(entry.key, _checked(fs, snapshot / path, entry, done, total, progress), size)
                copied += size
            entries.append(entry)
            done += size
        progress(done, total)
        manifest = _manifest(fs, snapshot, source, entries)
        _check_there(store, manifest)
        key, content = manifest.encoded()
        store.put(key, [content], len(content))
    return manifest, copied


def forget(store: Store, keep: int) -> tuple[int, int]:
    """Removes all backups but the newest `keep`, and files that no backup has. Returns how many backups and how many
    bytes of files went.

    Raises StorageError; Corruption where a manifest that stays is damaged: then no file goes.
    """
    with store.in_use():
        every = backups(store)
        leaving, staying = every[:-keep], every[-keep:]
        needed = {entry.key for each in staying for entry in read_manifest(store, each).files}
        held: set[str] = set()
        for each in leaving:
            try:
                held.update(entry.key for entry in read_manifest(store, each).files)
            except StorageError as problem:
                log.warning("%s", problem)
        store.remove([each.key for each in leaving])
        there = store.list(FILES)
        unneeded = [key for key, found in there.items()
                    if key not in needed and (key in held or found.age_s > ABANDONED_S)]
        store.remove(unneeded)
    return len(leaving), sum(there[key].size for key in unneeded)


def _known(store: Store) -> Mapping[tuple[str, int], str]:
    """SHA-256 by path and size of files that never change: those of blocks, as the newest backup knows them."""
    found = backups(store)
    if not found:
        return {}
    try:
        manifest = read_manifest(store, found[-1])
    except StorageError as problem:
        log.warning("%s: all files are read", problem)
        return {}
    return {(each.path, each.size): each.sha256 for each in manifest.files if _never_changes(each.path)}


def _never_changes(path: str) -> bool:
    parts = path.split("/")
    return len(parts) > 1 and is_ulid(parts[-2]) and parts[-1] in (INDEX_NAME, CHUNKS_NAME)


def _files(folder: Path) -> Mapping[str, int]:
    """Sizes of all files by their path."""
    found = {path.relative_to(folder).as_posix(): path.stat().st_size
             for path in sorted(folder.rglob("*")) if path.is_file() and path != folder / LOCK_NAME}
    for path in found:
        if not nameable(path):
            raise StorageError(f"{folder / path} is no file of tsdb: move it elsewhere")
    return found


def _pieces(fs: FileSystem, path: Path) -> Iterator[bytes]:
    file = fs.open(path)
    try:
        at = 0
        while piece := file.pread(PIECE_BYTES, at):
            at += len(piece)
            yield piece
    finally:
        file.close()


def _digest(fs: FileSystem, path: Path) -> str:
    digest = hashlib.sha256()
    for piece in _pieces(fs, path):
        digest.update(piece)
    return digest.hexdigest()


def _checked(fs: FileSystem, path: Path, entry: FileEntry, before: int, total: int, progress: Progress,
             ) -> Iterator[bytes]:
    """The content of a file while it is copied. Raises Corruption at its end where it is not what it was."""
    digest, done = hashlib.sha256(), 0
    for piece in _pieces(fs, path):
        digest.update(piece)
        yield piece
        done += len(piece)
        progress(before + done, total)
    if done != entry.size or digest.hexdigest() != entry.sha256:
        raise Corruption(f"{path} is not what it was when an earlier backup read it, or changes while it is copied: "
                         "tsdb check data says whether it is damaged; --reread makes a backup of what it is now")


def _check_there(store: Store, manifest: Manifest) -> None:
    """Before the manifest is written: whoever removes old backups meanwhile may have removed files."""
    there = store.list(FILES)
    for entry in manifest.files:
        if (found := there.get(entry.key)) is None or found.size != entry.size:
            raise StorageError(f"{store.place(entry.key)} was there and is not any more: does another backup to the "
                               "same place run? Run it again")


def _manifest(fs: FileSystem, snapshot: Path, source: str, entries: list[FileEntry]) -> Manifest:
    metas = [BlockMeta.from_json(read_file(fs, snapshot / entry.path)) for entry in entries
             if entry.path.startswith(f"{BLOCKS}/") and entry.path.endswith(f"/{META_NAME}")]
    now = time.time()
    return Manifest(
        name=f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now))}.{int(now * 1000) % 1000:03d}Z", source=source,
        blocks=len(metas), samples=sum(meta.stats.samples for meta in metas),
        mint=min((meta.mint for meta in metas), default=None), maxt=max((meta.maxt for meta in metas), default=None),
        files=tuple(entries),
    )
