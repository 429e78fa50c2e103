"""Damage: files that are not as they were written are set aside by name, and the rest serves."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from pathlib import Path

from tsdb.wal.files import FileSystem

log = logging.getLogger(__name__)

FOLDER = "damaged"


@dataclass(frozen=True, slots=True)
class Damaged:
    """What was found."""

    path: Path
    """Where it stood."""
    kept: Path
    """Where it is kept now; `path` where it could not be moved."""
    reason: str
    mint: int
    """ms: no sample of mint <= ts < maxt can be missing outside; equal where it is not known."""
    maxt: int


class Damage:
    """What was found since the data directory was opened. Thread-safe."""

    def __init__(self, fs: FileSystem, data: Path, *, read_only: bool) -> None:
        self._fs = fs
        self._data = data
        self._read_only = read_only
        self._lock = threading.Lock()
        self._found: list[Damaged] = []

    @property
    def found(self) -> tuple[Damaged, ...]:
        with self._lock:
            return tuple(self._found)

    def set_aside(self, path: Path, problem: Exception, mint: int = 0, maxt: int = 0) -> Damaged:
        """Moves a file or folder to <data>/damaged, says so in the log, and keeps it in mind."""
        kept = path
        if not self._read_only:
            folder = self._data / FOLDER
            kept = folder / f"{path.parent.name}-{path.name}"
            try:
                self._fs.mkdir(folder)
                while self._fs.exists(kept):
                    kept = kept.with_name(kept.name + "+")
                self._fs.rename(path, kept)
                self._fs.sync_directory(path.parent)
            except OSError as failure:
                log.error("%s could not be set aside: %s", path, failure)
                kept = path
        found = Damaged(path, kept, str(problem), mint, maxt)
        log.error("damaged: %s; it is kept as %s and left out, the rest serves", problem, kept)
        with self._lock:
            self._found.append(found)
        return found
