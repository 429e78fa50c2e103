"""The manifest of a backup: which files it has, and their checksums. docs/formats.md describes it."""

from __future__ import annotations

import hashlib
import re
from typing import Literal

import msgspec

from tsdb.model.errors import Corruption, FormatTooNew

MAGIC: Literal["tsdb backup"] = "tsdb backup"
VERSION = 1
MAX_BYTES = 256 << 20
FILES, BACKUPS = "files", "backups"
"""Folders of a destination."""

NAME = re.compile(r"\d{8}T\d{6}\.\d{3}Z")
"""Of a backup: when it was made."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PATH = re.compile(r"[A-Za-z0-9_.-]{1,128}(/[A-Za-z0-9_.-]{1,128}){0,15}")


class FileEntry(msgspec.Struct, frozen=True):
    """A file of a backup."""

    path: str
    """Within the data directory, with `/` between its parts."""
    size: int
    """bytes"""
    sha256: str
    """Of its content, in hexadecimal digits."""

    @property
    def key(self) -> str:
        """Where it is stored within the destination."""
        return f"{FILES}/{self.path}.{self.sha256}"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A backup."""

    magic: Literal["tsdb backup"] = MAGIC
    version: int = VERSION
    name: str
    """When it was made, as in 20261124T120000.123Z."""
    source: str
    """The data directory."""
    blocks: int = 0
    samples: int = 0
    mint: int | None = None
    maxt: int | None = None
    """Of the raw samples, ms: mint <= ts < maxt. None: there are none."""
    files: tuple[FileEntry, ...]

    @property
    def size(self) -> int:
        """Of all its files, bytes."""
        return sum(each.size for each in self.files)

    def encoded(self) -> tuple[str, bytes]:
        """(key, content) of the object."""
        content = msgspec.json.format(msgspec.json.encode(self), indent=1)
        return f"{BACKUPS}/{self.name}.{hashlib.sha256(content).hexdigest()}", content


def key_parts(key: str) -> tuple[str, str] | None:
    """(name, SHA-256) of the backup whose manifest has the key `backups/<name>.<sha256>`; None where it is none."""
    name, _, digest = key.removeprefix(f"{BACKUPS}/").rpartition(".")
    return (name, digest) if NAME.fullmatch(name) and _SHA256.fullmatch(digest) else None


def decode(content: bytes, digest: str, place: str) -> Manifest:
    """The manifest with this content. Raises Corruption, FormatTooNew."""
    if hashlib.sha256(content).hexdigest() != digest:
        raise Corruption(f"{place} is damaged: it is not as it was written; other backups may be whole")
    try:
        version = msgspec.json.decode(content, type=_Version).version
        if version > VERSION:
            raise FormatTooNew(f"{place} has version {version}, this tsdb reads up to {VERSION}: use a newer tsdb")
        found = msgspec.json.decode(content, type=Manifest)
    except msgspec.MsgspecError as problem:
        raise Corruption(f"{place} is no manifest of a backup: {problem}") from None
    for each in found.files:
        parts = each.path.split("/")
        sound = _PATH.fullmatch(each.path) and not {".", ".."} & set(parts) and _SHA256.fullmatch(each.sha256)
        if not sound or each.size < 0:
            raise Corruption(f"{place} names a file that cannot be: {each.path[:100]!r}")
    return found


def nameable(path: str) -> bool:
    """Whether a manifest can name a file."""
    return bool(_PATH.fullmatch(path))


class _Version(msgspec.Struct):
    version: int
    magic: Literal["tsdb backup"]
