"""The reserve: a file that holds some MiB of the disk, so that a delete can be noted where nothing else fits."""

from __future__ import annotations

import contextlib
import errno
import logging
from pathlib import Path

from tsdb.wal.files import FileSystem

log = logging.getLogger(__name__)

NAME = "reserve"
LARGEST = 16 << 20
SMALLEST = 256 << 10
"""Bytes; where not even ten times as much is left, there is no reserve."""
PART = 10
"""It takes at most this part of what is left."""


class Reserve:
    """Of one data directory. Used by one thread at a time."""

    def __init__(self, fs: FileSystem, data: Path) -> None:
        self._fs = fs
        self._path = data / NAME

    def fill(self) -> None:
        """Makes the file where there is none and the disk has room enough. If it fails, then until the next time."""
        if self._fs.exists(self._path):
            return
        free = self._fs.free_bytes(self._path.parent)
        if free < 10 * SMALLEST:
            return
        try:
            file = self._fs.open(self._path, writable=True, create=True)
            try:
                file.allocate(max(SMALLEST, min(LARGEST, free // PART)))
            finally:
                file.close()
        except OSError as problem:
            log.warning("%s could not be made, so that deletes may fail on a full disk: %s", self._path, problem)
            with contextlib.suppress(OSError):
                self._fs.unlink(self._path)

    @property
    def bytes(self) -> int:
        """How much it holds now. OSError."""
        if not self._fs.exists(self._path):
            return 0
        file = self._fs.open(self._path)
        try:
            return file.size()
        finally:
            file.close()

    def release(self) -> bool:
        """Gives the room to whoever writes next. False where there is none. Raises OSError."""
        if not self._fs.exists(self._path):
            return False
        self._fs.unlink(self._path)
        log.warning("%s is released: the disk is full", self._path)
        return True


def to_spare(fs: FileSystem, folder: Path) -> int:
    """Bytes of the disk that what need not be done now leaves to ingest and deletes. OSError."""
    return max(SMALLEST, min(LARGEST, fs.disk_bytes(folder) // PART))


def is_full(problem: BaseException) -> bool:
    """Whether it says that the disk, or what we may have of it, is full."""
    cause: BaseException | None = problem
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        cause = cause.__cause__
    return False
