"""``queries.active`` in the data directory: the queries that run now, for who looks after the process has died.

The file is mapped, and nothing is synced: the page cache outlives the process. docs/formats.md describes it.
"""

from __future__ import annotations

import logging
import struct
import threading
import time
from collections import deque
from pathlib import Path
from typing import Final

from tsdb.wal.files import FileSystem, Mapping, read_file

log = logging.getLogger(__name__)

NAME: Final = "queries.active"
MAGIC: Final = b"tsdb-qry"
VERSION: Final = 1
SLOT_BYTES: Final = 1024
_HEADER: Final = struct.Struct("<8sII")
_SLOT: Final = struct.Struct("<qI")
_MOST_SLOTS: Final = 10_000


class ActiveFile:
    """A slot for each query that runs. Any thread may insert and remove."""

    def __init__(self, mapping: Mapping, slots: int) -> None:
        self._mapping = mapping
        self._memory = memoryview(mapping.array)  # type: ignore[arg-type]
        self._lock = threading.Lock()
        self._free = deque(range(slots))

    @staticmethod
    def open(fs: FileSystem, folder: Path, slots: int) -> tuple[ActiveFile, list[tuple[str, int]]]:
        """The file, made anew with so many slots, and the queries that it named: (text, when it began, s). Raises
        OSError."""
        path = folder / NAME
        unfinished = read(read_file(fs, path)) if fs.exists(path) else []
        file = fs.open(path, writable=True, create=True, truncate=True)
        try:
            size = _HEADER.size + slots * SLOT_BYTES
            file.allocate(size)
            mapping = file.map(size, writable=True)
        finally:
            file.close()
        made = ActiveFile(mapping, slots)
        _HEADER.pack_into(made._memory, 0, MAGIC, VERSION, slots)
        return made, unfinished

    def insert(self, text: str) -> int | None:
        """The slot that names the query from now on; None: there is none left."""
        encoded = text[:SLOT_BYTES].encode("utf-8", "replace")[: SLOT_BYTES - _SLOT.size]
        with self._lock:
            if not self._free:
                return None
            slot = self._free.popleft()
            at = _HEADER.size + slot * SLOT_BYTES
            place = at + _SLOT.size
            self._memory[place : place + len(encoded)] = encoded
            _SLOT.pack_into(self._memory, at, int(time.time()), len(encoded))
            return slot

    def remove(self, slot: int) -> None:
        with self._lock:
            if len(self._memory):
                _SLOT.pack_into(self._memory, _HEADER.size + slot * SLOT_BYTES, 0, 0)
            self._free.append(slot)

    def close(self) -> None:
        """Queries that still run stay named."""
        with self._lock:
            self._free.clear()
            self._memory.release()
            self._memory = memoryview(b"")
            self._mapping.close()


def read(content: bytes) -> list[tuple[str, int]]:
    """The queries that a file names: (text, when it began, s). Nothing of what is no such file, or a newer one: it is
    of use to people only."""
    if len(content) < _HEADER.size:
        return []
    magic, version, slots = _HEADER.unpack_from(content)
    if magic != MAGIC or version != VERSION or slots > _MOST_SLOTS:
        log.warning("unknown file of running queries: begun anew", extra={"fields": {"file": NAME}})
        return []
    found = []
    for at in range(_HEADER.size, min(len(content) - SLOT_BYTES, slots * SLOT_BYTES) + 1, SLOT_BYTES):
        began, length = _SLOT.unpack_from(content, at)
        if 0 < length <= SLOT_BYTES - _SLOT.size:
            place = at + _SLOT.size
            found.append((content[place : place + length].decode("utf-8", "ignore"), began))
    return found
