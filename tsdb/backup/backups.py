"""Which backups there are."""

from __future__ import annotations

from dataclasses import dataclass

from tsdb.backup.manifest import BACKUPS, MAX_BYTES, Manifest, decode, key_parts
from tsdb.backup.store import Store
from tsdb.model.errors import Corruption, StorageError


@dataclass(frozen=True, slots=True)
class Stored:
    """The manifest of a backup as an object."""

    name: str
    key: str
    size: int
    digest: str


def backups(store: Store) -> list[Stored]:
    """All backups, the oldest first. Raises StorageError."""
    found = []
    for key, about in store.list(BACKUPS).items():
        parts = key_parts(key)
        if parts is not None:
            found.append(Stored(parts[0], key, about.size, parts[1]))
    return sorted(found, key=lambda each: each.name)


def newest(store: Store, name: str | None = None) -> Stored:
    """The newest backup, or the one of that name. Raises StorageError where there is none."""
    found = backups(store)
    if not found:
        raise StorageError(f"{store.place()} has no backups: is it the right place? tsdb backup makes one")
    if name is None:
        return found[-1]
    for each in found:
        if each.name == name:
            return each
    known = ", ".join(each.name for each in found[-5:])
    raise StorageError(f"{store.place()} has no backup {name}: the newest are {known}")


def read_manifest(store: Store, stored: Stored) -> Manifest:
    """Raises Corruption, FormatTooNew, StorageError."""
    place = store.place(stored.key)
    if stored.size > MAX_BYTES:
        raise Corruption(f"{place} has {stored.size} bytes: no manifest is that large")
    try:
        content = b"".join(store.get(stored.key))
    except FileNotFoundError:
        raise StorageError(f"{place} has been removed meanwhile") from None
    return decode(content, stored.digest, place)
