"""What a server is doing, seen from outside: by the files that appear in its directory, and by what it was asked."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import select
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

PHASES = (
    "ingest", "sealing", "block", "compaction", "removal", "retention", "checkpoint", "log drop", "tombstones",
    "delete", "clean", "snapshot", "compact", "saved head", "shutdown", "replay",
)
"""delete, clean, snapshot and compact are requests that are under way; shutdown and replay are of the server; the
others
are files that appear or go."""
MOMENT_S = 0.003
"""How long a phase counts that is a single file operation."""

_CREATE, _MOVED_FROM, _MOVED_TO, _DELETE = 0x100, 0x40, 0x80, 0x200
_IS_FOLDER = 0x40000000
_EVENT = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)

_BEGINS = (  # what is created, or (>) renamed to, and the phase that begins with it
    (r"chunks/[^/]+\.chunks(\.tmp)?", "sealing"),
    (r"blocks/[^/]+\.tmp", "block"),
    (r">blocks/[^/]+\.tmp", "removal"),
    (r"wal/checkpoint\.\d+\.tmp", "checkpoint"),
    (r"wal/checkpoint\.tmp", "checkpoint"),
    (r"blocks/[^/]+/tombstones[^/]*", "tombstones"),
    (r"head(\.tmp)?(/.*)?", "saved head"),
    (r"snapshots/.+", "snapshot"),
)
_DROPPED = ((r"wal/\d+", "log drop"), (r"chunks/[^/]+\.chunks", "removal"))


class Watch:
    """Follows a data directory by inotify. `on_phase` is called, in a thread of its own, when a phase begins. `log` is
    the server's, which says before it writes a block whether it compacts others; blocks with samples before `expired`
    (ms) are removed by retention."""

    def __init__(self, folder: Path, log: Path, on_phase: Callable[[str], None], expired: Callable[[], int]) -> None:
        self._folder = folder
        self._log = log
        self._expired = expired
        self._on_phase = on_phase
        self._files: dict[str, str] = {}
        """Phase of each temporary name that is there."""
        self._under_way: Counter[str] = Counter()
        self._moments: dict[str, float] = {}
        self._lock = threading.Lock()
        self._watched: dict[int, Path] = {}
        self._descriptor = _libc.inotify_init1(os.O_CLOEXEC)
        self._stop_read, self._stop_write = os.pipe()
        self._add(folder)
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Something is asked of the server."""
        with self._lock:
            self._under_way[phase] += 1
        self._on_phase(phase)
        try:
            yield
        finally:
            with self._lock:
                self._under_way[phase] -= 1

    def now(self) -> list[str]:
        """The phases that the server is in; "ingest" where it is in no other."""
        moment = time.monotonic() - MOMENT_S
        with self._lock:
            found = set(self._files.values()) | {phase for phase, count in self._under_way.items() if count}
            found |= {phase for phase, at in self._moments.items() if at > moment}
        return sorted(found) or ["ingest"]

    def close(self) -> None:
        os.write(self._stop_write, b".")
        self._thread.join()
        for descriptor in (self._descriptor, self._stop_read, self._stop_write):
            os.close(descriptor)

    def _add(self, folder: Path) -> None:
        mask = _CREATE | _MOVED_FROM | _MOVED_TO | _DELETE
        number = _libc.inotify_add_watch(self._descriptor, os.fsencode(folder), mask)
        if number < 0:
            return  # it is gone already
        self._watched[number] = folder
        with contextlib.suppress(OSError):
            for path in folder.iterdir():
                if path.is_dir():
                    self._add(path)
                    self._begin(path.relative_to(self._folder).as_posix())

    def _run(self) -> None:
        events = select.poll()  # descriptors may be beyond what select takes
        events.register(self._descriptor, select.POLLIN)
        events.register(self._stop_read, select.POLLIN)
        while True:
            if self._stop_read in dict(events.poll()):
                return
            data, at = os.read(self._descriptor, 65536), 0
            while at < len(data):
                number, mask, _, length = _EVENT.unpack_from(data, at)
                name = data[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
                at += _EVENT.size + length
                if number in self._watched:
                    self._event(self._watched[number] / os.fsdecode(name), mask)

    def _event(self, path: Path, mask: int) -> None:
        name = path.relative_to(self._folder).as_posix()
        if mask & (_CREATE | _MOVED_TO):
            self._begin((">" if mask & _MOVED_TO else "") + name)
            if mask & _IS_FOLDER:
                self._add(path)
        else:
            with self._lock:
                ended = self._files.pop(name, None)
                if ended is not None:
                    self._moments[ended] = time.monotonic()
            for pattern, phase in _DROPPED if mask & _DELETE else ():
                if re.fullmatch(pattern, name):
                    self._moment(phase)
                    return

    def _begin(self, name: str) -> None:
        for pattern, phase in _BEGINS:
            if re.fullmatch(pattern, name):
                if phase == "block" and self._compacts():
                    phase = "compaction"
                elif phase == "removal" and self._is_old(self._folder / name.lstrip(">")):
                    phase = "retention"
                if name.endswith(".tmp"):
                    with self._lock:
                        self._files[name.lstrip(">")] = phase
                    self._on_phase(phase)
                else:
                    self._moment(phase)
                return

    def _compacts(self) -> bool:
        with self._log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 2000))
            last = [line for line in file.read().splitlines() if b"component=storage.upkeep" in line][-1:]
        return bool(last) and b'msg="compacting' in last[0]

    def _is_old(self, block: Path) -> bool:
        try:
            return bool(json.loads((block / "meta.json").read_bytes())["maxTime"] <= self._expired())
        except (OSError, ValueError):
            return False  # its files are gone already

    def _moment(self, phase: str) -> None:
        with self._lock:
            self._moments[phase] = time.monotonic()
        self._on_phase(phase)
