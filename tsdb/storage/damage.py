"""Damage: files that are not as they were written are set aside by name, and the rest serves.

What is set aside stands in ``<data>/damaged``, and beside it a note, ``<name>.note``: what it was, why, and which times
it is about. Queries over these times carry a warning until the note is removed, over restarts too; so long there is a
notice for who operates the server, one for each kind of damage.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tsdb.model.times import time_text
from tsdb.wal.files import FileSystem, read_file, write_file_atomically

log = logging.getLogger(__name__)

FOLDER = "damaged"
NOTE = ".note"
"""JSON."""
MISSING = "may be missing"
BACK = "that were deleted may be there again"
NAMED = 3
"""Files that a notice names."""

BLOCK, META, TOMBSTONES, FORMAT = "block", "meta.json", "file of deletes", "file FORMAT"
CHUNKS, HISTOGRAMS = "file of sealed chunks", "file of histograms"
WINDOWS, TIER = "block of a downsampling tier", "file about downsampling tiers"
"""What may be damaged."""
FOLDERS = {"blocks": BLOCK, "histograms": HISTOGRAMS}
NOTHING_LOST = {
    BLOCK: "nothing is lost, all that it has stands in another block",
    META: "nothing is lost, it is made anew from the copy in the index",
    TOMBSTONES: "nothing was deleted",
    FORMAT: "nothing is lost, the other files say their versions, too",
    CHUNKS: "nothing is lost as long as the log is whole, a start reads the samples there",
    HISTOGRAMS: "nothing is lost as long as the log is whole, a start reads the samples there",
    WINDOWS: "nothing is lost, its windows are built anew of the samples",
    TIER: "nothing is lost, it is made anew as far as it can be",
}
"""What it means where no times are concerned."""
REMEDY = {
    BLOCK: "`tsdb check data {data}` says what to do: a copy of this folder from a snapshot can take its place in "
           "{data}/blocks",
    TOMBSTONES: "Delete them once more",
    WINDOWS: "`tsdb check data {data}` says more: a copy of this folder from a snapshot can take its place",
}


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
    passing: bool = False
    """A restart may find nothing wrong: there is no note."""

    @property
    def kind(self) -> str:
        if self.path.parent.name in FOLDERS:
            return FOLDERS[self.path.parent.name]
        if self.path.parent.parent.name == "tiers" and self.path.suffix != ".json":
            return WINDOWS
        names = {"meta.json": META, "tombstones": TOMBSTONES, "FORMAT": FORMAT, "tier.json": TIER, "raw.json": TIER}
        return names.get(self.path.name, CHUNKS)

    @property
    def means(self) -> str:
        """What may be wrong, in words."""
        if self.mint >= self.maxt:
            return NOTHING_LOST[self.kind]
        return f"samples between {time_text(self.mint)} and {time_text(self.maxt)} {self.effect}"

    def warning(self) -> str:
        """For those who query these times."""
        what = (f"samples between {time_text(self.mint)} and {time_text(self.maxt)} {self.effect}: "
                f"{self.path.parent.name}/{self.path.name} was found damaged and is left out ")
        if self.passing:
            return what + "where it cannot be read (a restart takes samples of the last hours from the log)"
        return f"{what}(the reason is in {self.kept.name}{NOTE} in the folder {FOLDER} of the data directory)"


class SetsAside(Protocol):
    def set_aside(self, path: Path, problem: Exception, mint: int = 0, maxt: int = 0,
                  effect: str = MISSING) -> Damaged:
        """As of `Damage`."""
        ...


class Damage:
    """What was found, now and by processes before. Thread-safe."""

    def __init__(self, fs: FileSystem, data: Path, *, read_only: bool) -> None:
        self._fs = fs
        self._data = data
        self._read_only = read_only
        self._lock = threading.Lock()
        self._found: tuple[Damaged, ...] = ()
        self._known = tuple(damaged_before(fs, data))
        self._mended: tuple[Path, ...] = ()
        self._other_notices: tuple[str, ...] = ()
        self._told: Callable[[list[str]], None] = lambda _: None

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
        remedy = REMEDY[found.kind].format(data=self._data) + ". " if found.kind in REMEDY and mint < maxt else ""
        where = "is left out" if found.kept == path else f"is set aside as {found.kept}"
        log.error("damaged: %s. %s %s: %s. %sAll else is served", problem, path, where, found.means, remedy)
        self._remember(found)
        return found

    def note(self, path: Path, problem: Exception, mint: int = 0, maxt: int = 0, effect: str = MISSING) -> Damaged:
        """Damage of something that stays where it is, or is gone: a part of it is left out."""
        found = Damaged(path, path, str(problem), mint, maxt, effect)
        log.error("damaged: %s; %s. All else is served", problem, found.means)
        if mint < maxt and not self._read_only:
            self._write_note(found)
        self._remember(found)
        return found

    def leave_out(self, path: Path, problem: Exception, mint: int, maxt: int) -> None:
        """Readers leave out what they cannot read of a file that is in use, with samples of mint <= ts < maxt (ms);
        said once for these times. The next start looks at the file itself."""
        before = [each for each in self._known if each.path == path and each.passing]
        if any(each.mint <= mint and maxt <= each.maxt for each in before):
            return
        times = [(mint, maxt), *((each.mint, each.maxt) for each in before)]
        found = Damaged(path, path, str(problem), min(time[0] for time in times), max(time[1] for time in times),
                        passing=True)
        log.error("damaged: %s; %s. A restart takes samples of the last hours from the log. All else is served",
                  problem, found.means)
        with self._lock:
            self._found = (*self._found, found)
            self._known = (*(each for each in self._known if each not in before), found)
            self._told(self.notices())

    def warnings(self, mint: int, maxt: int) -> list[str]:
        """For a query over mint..maxt (ms, inclusive): which samples it may lack."""
        return [each.warning() for each in self._known if each.mint <= maxt and mint < each.maxt]

    @property
    def mended(self) -> Sequence[Path]:
        """Files that were damaged and are as they were again, since the data directory was opened."""
        return self._mended

    def is_mended(self, path: Path) -> None:
        """A damaged file is as it was: what was damaged follows from the rest of it."""
        log.warning("%s was damaged and is as it was again: what was damaged follows from the rest of the file. "
                    "Nothing is lost, but the disk may be failing", path)
        with self._lock:
            self._mended = (*self._mended, path)
            self._told(self.notices())

    def add_notice(self, text: str) -> None:
        """One more for `follow`, of damage that is not known here otherwise."""
        with self._lock:
            self._other_notices = (*self._other_notices, text)
            self._told(self.notices())

    def follow(self, told: Callable[[list[str]], None]) -> None:
        """Has `told` get the `notices`: now and, in any thread, when they change. It must not call back."""
        with self._lock:
            self._told = told
            told(self.notices())

    def notices(self) -> list[str]:
        """For who operates the server, what is damaged: one text for each kind of damage."""
        kinds: dict[tuple[str, str, bool], list[Damaged]] = {}
        for found in self._known:
            effect = found.effect if found.mint < found.maxt else NOTHING_LOST[found.kind]
            kinds.setdefault((found.kind, effect, found.kept != found.path), []).append(found)
        out = []
        for (kind, effect, moved), every in kinds.items():
            if every[0].mint < every[0].maxt:
                mint, maxt = min(found.mint for found in every), max(found.maxt for found in every)
                effect = f"samples between {time_text(mint)} and {time_text(maxt)} {effect}"
            where = f"set aside in {self._data / FOLDER}" if moved else "left out where it cannot be read"
            out.append(f"Damage was found in the data directory: {_several(kind, [found.kept for found in every])}, "
                       f"{where}; {effect}. `tsdb check data {self._data}` says what to do.")
        if self._mended:
            out.append(f"Damage was found in the data directory: {_several('index of a block', self._mended)}, mended; "
                       "nothing is lost, but the disk may be failing.")
        return [*out, *self._other_notices]

    def _remember(self, found: Damaged) -> None:
        with self._lock:
            self._found = (*self._found, found)
            self._known = (*(each for each in self._known if each.path != found.path or each.mint != found.mint),
                           found)
            self._told(self.notices())

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


def _several(kind: str, paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return f"{kind} ({len(paths)}: {', '.join(map(str, paths[:NAMED]))}{more})"


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
