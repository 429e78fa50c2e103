"""Verifying: every byte of backups is read and compared with its checksum."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

from tsdb.backup.backups import Stored, read_manifest
from tsdb.backup.manifest import FileEntry
from tsdb.backup.store import Store
from tsdb.model.errors import Corruption

Progress = Callable[[int, int], None]


def verify(store: Store, every: Sequence[Stored], progress: Progress = lambda *_: None) -> list[str]:
    """What is wrong with backups, a line each: damaged manifests, files that are missing or not as they were written.
    Files that several share are read once. Raises StorageError where the store cannot be read."""
    wrong: list[str] = []
    users: dict[FileEntry, list[str]] = {}
    for stored in every:
        try:
            manifest = read_manifest(store, stored)
        except Corruption as problem:
            wrong.append(str(problem))
            continue
        for entry in manifest.files:
            users.setdefault(entry, []).append(stored.name)
    total, done = sum(entry.size for entry in users), 0
    for entry, names in users.items():
        progress(done, total)
        try:
            for _ in checked(store, entry):
                pass
        except Corruption as problem:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            wrong.append(f"{problem}; it belongs to the backup {names[-1]}{more}")
        done += entry.size
    progress(done, total)
    return wrong


def checked(store: Store, entry: FileEntry) -> Iterator[bytes]:
    """The content of a file of a backup. Raises Corruption at its end where it is not as it was written, and where
    it is missing; StorageError."""
    place = store.place(entry.key)
    digest, size = hashlib.sha256(), 0
    try:
        for piece in store.get(entry.key):
            digest.update(piece)
            size += len(piece)
            yield piece
    except FileNotFoundError:
        raise Corruption(f"{place} is missing") from None
    if size != entry.size:
        raise Corruption(f"{place} is damaged: it has {size} bytes, not {entry.size}")
    if digest.hexdigest() != entry.sha256:
        raise Corruption(f"{place} is damaged: its SHA-256 is {digest.hexdigest()}, not {entry.sha256}")
