"""Targets from files that are watched.

Files are looked at once a second, in a thread: a handful of stat calls, some 20 µs. That sees every change that a
notification of the kernel would tell of, and those on network file systems and behind replaced symbolic links
(ConfigMaps of Kubernetes), which it does not.
"""

from __future__ import annotations

import asyncio
import glob
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scraper.config import FileDiscovery
from scraper.discovery.groups import Publish, TargetGroup
from scraper.discovery.parse import parse_json, parse_yaml
from scraper.discovery.statistics import DiscoveryStatistics
from tsdb.model.errors import ConfigError

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
_LARGEST = 64 << 20
"""Bytes of a file."""
_FILE_PATH = "__meta_filepath"


@dataclass(frozen=True, slots=True)
class _File:
    """What is known of a file."""

    stamp: tuple[int, int, int] | None
    """Changes with its content; None: it cannot be looked at."""
    groups: Sequence[TargetGroup] = ()
    """Of the last time that it could be read."""


@dataclass(slots=True)
class _Look:
    """What one look at all files found."""

    files: dict[str, _File] = field(default_factory=dict)
    changed: list[TargetGroup] = field(default_factory=list)
    errors: list[tuple[str, str]] = field(default_factory=list)
    """Files that could not be read, and why."""
    seconds: float | None = None
    """How long it took, where a file was read."""


class FileTargets:
    """One file_sd_config of a job. Names of files are relative to `base`, and are told as they are."""

    def __init__(self, config: FileDiscovery, base: Path, job: str, statistics: DiscoveryStatistics,
                 look_every_s: float = LOOK_EVERY_S) -> None:
        self._patterns = [os.path.normpath(name) for name in config.files]
        self._refresh_s = config.refresh_interval.seconds
        self._base = base
        self._job = job
        self._statistics = statistics
        self._look_every_s = look_every_s

    async def run(self, publish: Publish) -> None:
        files: Mapping[str, _File] | None = None
        refreshed = 0.0
        try:
            while True:
                now = time.monotonic()
                due = files is None or now - refreshed >= self._refresh_s
                if due:
                    refreshed = now
                look = await asyncio.to_thread(self._look, files or {}, due)
                self._count(look)
                if look.changed or files is None:
                    self._statistics.updates += 1
                    publish(look.changed)
                files = look.files
                await asyncio.sleep(self._look_every_s)
        finally:
            self._statistics.files.pop(self, None)

    def _look(self, known: Mapping[str, _File], due: bool) -> _Look:
        """In a thread. Reads files that are new or have changed; all, if that is `due`."""
        look, began = _Look(), time.perf_counter()
        for name in self._names():
            before = known.get(name)
            stamp = _stamp(self._base / name)
            if before is not None and stamp == before.stamp and not due:
                look.files[name] = before
                continue
            look.seconds = 0.0
            groups = before.groups if before is not None else ()
            try:
                made = self._read(name)
            except (ConfigError, OSError) as problem:
                look.errors.append((name, str(problem)))
            else:
                look.changed += _changes(groups, made)
                groups = made
            look.files[name] = _File(stamp, groups)
        for name, file in known.items():
            if name not in look.files:
                look.changed += _changes(file.groups, ())
        if look.seconds is not None:
            look.seconds = time.perf_counter() - began
        return look

    def _names(self) -> list[str]:
        names: dict[str, None] = {}
        for pattern in self._patterns:
            found = glob.glob(pattern, root_dir=self._base, include_hidden=True)  # noqa: PTH207
            names.update(dict.fromkeys(sorted(found)))
        return list(names)

    def _read(self, name: str) -> list[TargetGroup]:
        with (self._base / name).open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise ConfigError(f"{name}: larger than {_LARGEST >> 20} MiB")
        parse = parse_json if name.lower().endswith(".json") else parse_yaml
        return parse(content, name, {_FILE_PATH: name})

    def _count(self, look: _Look) -> None:
        failed = {name for name, _ in look.errors}
        modified = self._statistics.files.setdefault(self, {})
        for name in set(modified) - set(look.files):
            del modified[name]
        for name, file in look.files.items():
            if file.stamp is not None and name not in failed:
                modified[name] = file.stamp[2] // 1_000_000_000
        if look.seconds is not None:
            self._statistics.file_scan_seconds.observe(look.seconds)
        for name, problem in look.errors:
            self._statistics.file_read_errors += 1
            log.error("error reading file: its targets stay as they were", extra={"fields": {
                "job": self._job, "path": name, "err": problem,
            }})


def _changes(old: Sequence[TargetGroup], new: Sequence[TargetGroup]) -> list[TargetGroup]:
    """What to publish: groups that are new or others, and those that are gone, empty."""
    changed = [group for number, group in enumerate(new) if number >= len(old) or group != old[number]]
    return changed + [TargetGroup(group.source, (), {}) for group in old[len(new) :]]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
