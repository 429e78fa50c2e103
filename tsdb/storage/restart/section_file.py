"""A file of named arrays with checksums: written once from front to back, then mapped. docs/formats.md, "Saved head".

It is there as a whole or not at all: it is written under a temporary name, synced and renamed.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tsdb.kernels.crc32c_kernels import checksum
from tsdb.model.errors import Corruption, FormatTooNew
from tsdb.wal.files import FileSystem, write_all

HEADER = struct.Struct("<8sII")
"""magic, version, crc32c of both."""
ENTRY = struct.Struct("<24s4sIQQ")
"""Of a section: name, dtype, crc32c, offset, length in bytes."""
FOOTER = struct.Struct("<QIIII8s")
"""Of the file: offset, length and crc32c of the table of contents, version, crc32c of all this, magic."""
ALIGNMENT = 64
TEMPORARY = ".tmp"
LONGEST_CHECK = 32 << 20
"""Bytes that one kernel call reads."""


class SectionWriter:
    """Writes to `path` + ".tmp". Every method raises OSError; `abandon` comes next then."""

    def __init__(self, fs: FileSystem, path: Path, magic: bytes, version: int) -> None:
        self._fs = fs
        self._path = path
        self._magic = magic
        self._version = version
        self._temporary = path.with_name(path.name + TEMPORARY)
        self._entries: list[bytes] = []
        self._file = fs.open(self._temporary, writable=True, create=True, truncate=True)
        self._at = ALIGNMENT

    def add(self, name: str, dtype: DTypeLike, parts: Iterable[NDArray[Any]]) -> None:
        """A section: the parts, one after the other."""
        start, crc = self._at, 0
        for part in parts:
            raw = np.ascontiguousarray(part, dtype).view(np.uint8)
            if raw.size:
                crc = int(checksum(crc, raw))
                write_all(self._file, raw.data, self._at)
                self._at += raw.size
        kind = np.dtype(dtype).str.encode()
        self._entries.append(ENTRY.pack(name.encode(), kind, crc, start, self._at - start))
        self._at += -self._at % ALIGNMENT

    def publish(self) -> int:
        """The file is whole: gives it its name, durably. Returns its bytes."""
        header = HEADER.pack(self._magic, self._version, 0)[:-4]
        write_all(self._file, header + _crc_bytes(header), 0)
        contents = b"".join(self._entries)
        footer = FOOTER.pack(self._at, len(contents), _crc(contents), self._version, 0, self._magic)[:-12]
        write_all(self._file, contents + footer + _crc_bytes(footer) + self._magic, self._at)
        size = self._at + len(contents) + FOOTER.size
        self._file.datasync()
        self._file.close()
        self._fs.rename(self._temporary, self._path)
        self._fs.sync_directory(self._path.parent)
        return size

    def abandon(self) -> None:
        """Leaves nothing behind but what cannot be removed."""
        self._file.close()
        for path in (self._temporary, self._path):
            with contextlib.suppress(OSError):
                self._fs.unlink(path)


class SectionFile:
    """A mapped file of sections. The table of contents is checked at once, sections by `check`."""

    def __init__(self, fs: FileSystem, path: Path, magic: bytes, version: int) -> None:
        """Raises FileNotFoundError, OSError, Corruption, FormatTooNew."""
        self.path = path
        file = fs.open(path)
        try:
            size = file.size()
            if size < ALIGNMENT + FOOTER.size:
                raise Corruption(f"{path}: is cut short")
            self._mapping = file.map(size)
        finally:
            file.close()
        self.data = self._mapping.array
        header = self.data[: HEADER.size].tobytes()
        if header[:8] != magic or HEADER.unpack(header)[2] != _crc(header[:-4]):
            raise Corruption(f"{path}: the header is damaged")
        if HEADER.unpack(header)[1] > version:
            raise FormatTooNew(f"{path}: has format {HEADER.unpack(header)[1]}, this tsdb reads up to {version}")
        footer = self.data[-FOOTER.size :].tobytes()
        offset, length, crc, _, own, last = FOOTER.unpack(footer)
        if last != magic or own != _crc(footer[:-12]):
            raise Corruption(f"{path}: its end is cut off or damaged")
        contents = self.data[offset : offset + length].tobytes()
        if len(contents) != length or length % ENTRY.size or _crc(contents) != crc:
            raise Corruption(f"{path}: the table of contents is damaged")
        self._crcs: dict[str, int] = {}
        self._sections: dict[str, NDArray[Any]] = {}
        for at in range(0, length, ENTRY.size):
            name, kind, crc, start, size = ENTRY.unpack_from(contents, at)
            raw = self.data[start : start + size]
            dtype = np.dtype(kind.rstrip(b"\0").decode("ascii"))
            if raw.size != size or start % ALIGNMENT or size % dtype.itemsize:
                raise Corruption(f"{path}: section {name!r} is not where the table of contents says")
            text = name.rstrip(b"\0").decode("ascii")
            self._crcs[text] = crc
            self._sections[text] = raw.view(dtype)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """A section, a view of the mapped file. Raises Corruption where there is none."""
        found = self._sections.get(name)
        if found is None:
            raise Corruption(f"{self.path}: has no section {name}")
        return found

    def __contains__(self, name: str) -> bool:
        return name in self._sections

    def take(self, name: str, dtype: DTypeLike, size: int | None = None) -> NDArray[Any]:
        """A section of that type and, where it is given, that many items. Corruption."""
        found = self[name]
        if found.dtype != np.dtype(dtype) or size not in (None, found.size):
            raise Corruption(f"{self.path}: section {name} has {found.size} items of type {found.dtype}")
        return found

    def check(self, pool: Executor) -> None:
        """Compares every section with its checksum. Corruption."""
        for name, good in pool.map(self._is_good, sorted(self._sections, key=lambda name: -self[name].nbytes)):
            if not good:
                raise Corruption(f"{self.path}: section {name} is damaged")

    def close(self) -> None:
        """Lets go of the memory as soon as no section is used any more."""
        self._sections = {}
        self.data = np.zeros(0, np.uint8)
        self._mapping.close()

    def _is_good(self, name: str) -> tuple[str, bool]:
        raw, crc = self._sections[name].view(np.uint8), 0
        for start in range(0, raw.size, LONGEST_CHECK):
            crc = int(checksum(crc, raw[start : start + LONGEST_CHECK]))
        return name, crc == self._crcs[name]


def _crc(data: bytes) -> int:
    return int(checksum(0, np.frombuffer(data, np.uint8)))


def _crc_bytes(data: bytes) -> bytes:
    return _crc(data).to_bytes(4, "little")
