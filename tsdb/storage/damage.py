"""Damage: files that are not as they were written are set aside by name, and the rest serves.

What is set aside stands in ``<data>/damaged``, and beside it a note, ``<name>.note``: what it was, why, and which times
it is about. Queries over these times carry a warning until the note is removed, over restarts too.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tsdb.model.times import time_text
from tsdb.wal.files import FileSystem, read_file, write_file_atomically

log = logging.getLogger(__name__)

FOLDER = "damaged"
NOTE = ".note"
"""JSON."""
MISSING = "may be missing"
BACK = "that were deleted may be there again"


@dataclass(frozen=True, slots=True)
class Damaged:
    """What was found."""

    path: Path
    """Where it stood."""
    kept: Path
    """Where it is kept now; `path` where it was not moved."""
    reason: str
    mint: int
    """ms: only samples of mint <= ts < maxt can be concerned; equal where none is, or it is not known which."""
    maxt: int
    effect: str = MISSING
    """What may be wrong with the samples of these times."""

    def warning(self) -> str:
        """For those who query these times."""
        return (f"samples between {time_text(self.mint)} and {time_text(self.maxt)} {self.effect}: "
                f"{self.path.parent.name}/{self.path.name} was found damaged and is left out "
                f"(the reason is in {self.kept.name}{NOTE} in the folder {FOLDER} of the data directory)")


class Damage:
    """What was found, now and by processes before. Thread-safe."""

    def __init__(self, fs: FileSystem, data: Path, *, read_only: bool) -> None:
        self._fs = fs
        self._data = data
        self._read_only = read_only
        self._lock = threading.Lock()
        self._found: tuple[Damaged, ...] = ()
        self._known = tuple(damaged_before(fs, data))

    @property
    def found(self) -> Sequence[Damaged]:
        """Since the data directory was opened."""
        return self._found

    @property
    def known(self) -> Sequence[Damaged]:
        """These, and what the folder has from before."""
        return self._known

    def set_aside(self, path: Path, problem: Exception, mint: int = 0, maxt: int = 0,
                  effect: str = MISSING) -> Damaged:
        """Moves a file or folder to <data>/damaged, says so in the log, and keeps it in mind."""
        if not self._fs.exists(path):
            return self.note(path, problem, mint, maxt, effect)
        folder = self._data / FOLDER
        kept = folder / f"{path.parent.name}-{path.name}"
        while self._fs.exists(kept):
            kept = kept.with_name(kept.name + "+")
        if not self._read_only:
            self._write_note(Damaged(path, kept, str(problem), mint, maxt, effect))
            try:
                self._fs.mkdir(folder)
                self._fs.rename(path, kept)
                self._fs.sync_directory(folder)
                self._fs.sync_directory(path.parent)
            except OSError as failure:
                log.error("%s could not be set aside: %s", path, failure)
                kept = path
        found = Damaged(path, path if self._read_only else kept, str(problem), mint, maxt, effect)
        log.error("damaged: %s; it is kept as %s and left out, the rest serves", problem, found.kept)
        self._remember(found)
        return found

    def note(self, path: Path, problem: Exception, mint: int = 0, maxt: int = 0, effect: str = MISSING) -> Damaged:
        """Damage of something that stays where it is, or is gone: a part of it is left out."""
        found = Damaged(path, path, str(problem), mint, maxt, effect)
        log.error("damaged: %s; the rest serves", problem)
        if mint < maxt and not self._read_only:
            self._write_note(found)
        self._remember(found)
        return found

    def warnings(self, mint: int, maxt: int) -> list[str]:
        """For a query over mint..maxt (ms, inclusive): which samples it may lack."""
        return [each.warning() for each in self._known if each.mint <= maxt and mint < each.maxt]

    def _remember(self, found: Damaged) -> None:
        with self._lock:
            self._found = (*self._found, found)
            self._known = (*(each for each in self._known if each.path != found.path or each.mint != found.mint),
                           found)

    def _write_note(self, found: Damaged) -> None:
        name = f"{found.path.parent.name}-{found.path.name}" if found.kept == found.path else found.kept.name
        content = {
            "path": str(found.path.relative_to(self._data)), "reason": found.reason,
            "minTime": found.mint, "maxTime": found.maxt, "effect": found.effect,
            "found": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        try:
            self._fs.mkdir(self._data / FOLDER)
            write_file_atomically(self._fs, self._data / FOLDER / (name + NOTE),
                                  json.dumps(content, indent="\t").encode() + b"\n")
        except OSError as failure:
            log.error("the note about %s could not be written: %s", found.path, failure)


def damaged_before(fs: FileSystem, data: Path) -> list[Damaged]:
    """What the notes in <data>/damaged say; a note that cannot be read is passed over."""
    folder = data / FOLDER
    out = []
    for name in fs.listdir(folder):
        if name.endswith(NOTE):
            try:
                content = json.loads(read_file(fs, folder / name))
                path, kept = data / content["path"], folder / name.removesuffix(NOTE)
                out.append(Damaged(path, kept if fs.exists(kept) else path, str(content["reason"]),
                                   int(content["minTime"]), int(content["maxTime"]),
                                   str(content.get("effect", MISSING))))
            except (OSError, ValueError, KeyError, TypeError) as problem:
                log.warning("%s cannot be read: %s", folder / name, problem)
    return out
