"""Snapshots: a copy of all data in a folder of its own, that opens as a data directory.

::

    <data>/snapshots/<time>-<random>/FORMAT
                                    /blocks/<ulid>/…     blocks share their files with the originals
                                    /tiers/…             downsampling tiers, likewise
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import Corruption, Unavailable
from tsdb.storage.appender import Appender
from tsdb.storage.block import write_block
from tsdb.storage.block.folders import remove_files
from tsdb.storage.block.layout import FILES, TEMPORARY
from tsdb.storage.block.meta import FROM_HEAD, OUT_OF_ORDER
from tsdb.storage.block.tombstones_file import NAME as TOMBSTONES_NAME
from tsdb.storage.block.tombstones_file import write_tombstones
from tsdb.storage.block.ulid import is_ulid
from tsdb.storage.blocks import Blocks
from tsdb.storage.directory import FORMAT_NAME, format_file
from tsdb.storage.head.head import Head
from tsdb.storage.head.layout import NO_TS, SEALED_MAX_BYTES, WINDOW_MS
from tsdb.storage.late.late import Run
from tsdb.storage.starts.runs import StartRuns
from tsdb.storage.tombstones import Tombstones
from tsdb.storage.upkeep.cutting import GoOn, WindowSource, tombstones_of_rows
from tsdb.storage.upkeep.late_blocks import LateSource, ranges
from tsdb.storage.upkeep.reserve import to_spare
from tsdb.wal.files import FileSystem, read_file, write_all, write_file_atomically

log = logging.getLogger(__name__)

FOLDER = "snapshots"
BLOCKS = "blocks"
TIERS = "tiers"
"""Folders of blocks, and small files whose names end in DOCUMENT. Only the maintenance changes it."""
DOCUMENT = ".json"
COPY_BYTES = 4 << 20
LATE_BYTES = 16
"""Of a late sample in a block, at most."""
NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS)
"""What a disk says that has no hard links, or not so many."""


@dataclass(frozen=True, slots=True)
class FrozenWindow:
    """The sealed chunks of a window at one moment; see `Window`."""

    chain: NDArray[np.uint64]
    address: int
    used: int
    array: NDArray[np.uint8]
    mint: int
    maxt: int


@dataclass(frozen=True, slots=True)
class FrozenHead:
    """All that is in the head at one moment between two commits."""

    windows: Sequence[FrozenWindow]
    late: Run
    starts: StartRuns
    tombstones: Tombstones
    newest: int


class Snapshots:
    """Of one data directory. `take` is called in the maintenance's thread."""

    def __init__(self, fs: FileSystem, data: Path, head: Head, blocks: Blocks, appender: Appender,
                 go_on: GoOn = lambda: None) -> None:
        self._go_on = go_on
        self._fs = fs
        self._folder = data / FOLDER
        self._head = head
        self._blocks = blocks
        self._appender = appender

    def take(self, *, skip_head: bool = False) -> str:
        """Copies all that was acknowledged until now; without the head: what is in blocks. The name of the folder.

        It is there as a whole or not at all, whenever the process dies. Raises OSError, also where it would take what
        is left of the disk; Unavailable, Corruption.
        """
        self.remove_left()
        if not skip_head:
            self._check_room()
        began = time.perf_counter()
        name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.randbits(63):016x}"
        target = self._folder / name
        temporary = target.with_name(name + TEMPORARY)
        self._fs.mkdir(temporary)
        try:
            self._fill(temporary, skip_head=skip_head)  # durably, name by name
            self._fs.rename(temporary, target)
            self._fs.sync_directory(self._folder)
        except (OSError, Unavailable):
            self.remove_left()
            raise
        log.info("snapshot %s is taken, in %.2f s", target, time.perf_counter() - began)
        return name

    def remove_left(self) -> None:
        """Removes what a crash or a full disk left half made."""
        for name in self._fs.listdir(self._folder):
            if name.endswith(TEMPORARY):
                try:
                    remove_snapshot(self._fs, self._folder / name)
                except OSError as problem:
                    log.warning("%s could not be removed: %s", self._folder / name, problem)

    def _check_room(self) -> None:
        """For the head, which is copied; blocks share their files with the originals."""
        head = self._head
        with head.lock:
            head.windows.settle()
            size = sum(window.used for window in head.windows.every) + int(head.opened[0]) * SEALED_MAX_BYTES
        size += head.late.size * LATE_BYTES
        data = self._folder.parent
        free, spare = self._fs.free_bytes(data), to_spare(self._fs, data)
        if free - size < spare:
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: a snapshot copies up to {size} bytes of the "
                                        f"head, {free} are free, of which {spare} are left to samples that come in; "
                                        "one without the head (skip_head=true) takes almost nothing", str(data))

    def _fill(self, folder: Path, *, skip_head: bool) -> None:
        blocks = folder / BLOCKS
        self._fs.mkdir(blocks)
        if not skip_head:
            self._write_head(blocks, self._freeze())
        for block in self._blocks.every:
            self._go_on()
            copy_block(self._fs, block.path, blocks / block.path.name, link=True)
        copy_tiers(self._fs, self._folder.parent / TIERS, folder / TIERS, link=True, go_on=self._go_on)
        write_file_atomically(self._fs, folder / FORMAT_NAME, format_file())

    def _freeze(self) -> FrozenHead:
        head = self._head
        frozen: list[FrozenHead] = []

        def freeze() -> None:
            if head.max_ts != NO_TS:
                head.seal_before((head.max_ts // WINDOW_MS + 1) * WINDOW_MS)
            with head.lock:
                head.windows.settle()
                windows = [FrozenWindow(window.chain[: head.table.size].copy(), window.address, window.used,
                                        window.array, window.mint, window.maxt) for window in head.windows.every]
                tombstones = head.tombstones
            frozen.append(FrozenHead(windows, head.late.columns(), head.starts.runs(), tombstones, head.max_ts))

        self._appender.run_between_commits(freeze).result()
        return frozen[0]

    def _write_head(self, folder: Path, frozen: FrozenHead) -> None:
        for window in frozen.windows:
            border = min(window.maxt, frozen.newest) + 1
            source = WindowSource(self._head, window, min(window.mint, border - 1), border, self._go_on, frozen.starts)
            if source.damaged:
                raise Corruption(f"{source.damaged} sealed chunks of the window of {window.mint} (ms) are damaged: "
                                 "tsdb check data says more")
            if source.slots.size:
                self._write_window(folder, source, frozen.tombstones, border)
        for mint, maxt in ranges(frozen.late.ts):
            source_late = LateSource(self._head, frozen.late, mint, maxt, self._go_on)
            write_block(self._fs, folder, source_late, hints=(OUT_OF_ORDER,))

    def _write_window(self, folder: Path, source: WindowSource, tombstones: Tombstones, border: int) -> None:
        def beside(block: Path) -> None:
            found = tombstones_of_rows(tombstones, source.slots, source.mint, source.maxt)
            if len(found):
                write_tombstones(self._fs, block, found)

        write_block(self._fs, folder, source, hints=(FROM_HEAD,), border=border, beside=beside)


def copy_block(fs: FileSystem, source: Path, target: Path, *, link: bool) -> None:
    """Copies the folder of a block, or gives its files a second name where the disk can, durably.
    OSError."""
    fs.mkdir(target)
    for name in (*FILES, TOMBSTONES_NAME):
        if fs.exists(source / name):
            _copy_file(fs, source / name, target / name, link=link)
    fs.sync_directory(target)


def tier_blocks(fs: FileSystem, tiers: Path) -> list[Path]:
    """The blocks of all downsampling tiers. OSError."""
    return [tiers / name / ulid for name in _tiers(fs, tiers) for ulid in fs.listdir(tiers / name) if is_ulid(ulid)]


def copy_tiers(fs: FileSystem, source: Path, target: Path, *, link: bool, go_on: GoOn = lambda: None) -> None:
    """Copies the folder of downsampling tiers, where there is one, as `copy_block` does. OSError."""
    if not fs.exists(source):
        return
    names = _tiers(fs, source)
    for folder in (".", *names):
        fs.mkdir(target / folder)
        for name in fs.listdir(source / folder):
            if name.endswith(DOCUMENT):
                write_file_atomically(fs, target / folder / name, read_file(fs, source / folder / name))
    for path in tier_blocks(fs, source):
        go_on()
        copy_block(fs, path, target / path.relative_to(source), link=link)
    for folder in names:
        fs.sync_directory(target / folder)


def remove_snapshot(fs: FileSystem, folder: Path) -> None:
    """OSError."""
    remove_tiers(fs, folder / TIERS)
    for name in fs.listdir(folder / BLOCKS):
        remove_files(fs, folder / BLOCKS / name)
    fs.rmdir(folder / BLOCKS)
    remove_files(fs, folder)


def remove_tiers(fs: FileSystem, folder: Path) -> None:
    """Removes a copied folder of downsampling tiers, if there is one. OSError."""
    for tier in _tiers(fs, folder):
        for name in fs.listdir(folder / tier):
            if "." not in name:
                remove_files(fs, folder / tier / name)
        remove_files(fs, folder / tier)
    remove_files(fs, folder)


def _tiers(fs: FileSystem, folder: Path) -> list[str]:
    return [name for name in fs.listdir(folder) if "." not in name]


def _copy_file(fs: FileSystem, source: Path, target: Path, *, link: bool) -> None:
    if link:
        try:
            return fs.link(source, target)
        except OSError as problem:
            if problem.errno not in NO_LINKS:
                raise
    original = fs.open(source)
    try:
        copy = fs.open(target, writable=True, create=True, truncate=True)
        try:
            at, size = 0, original.size()
            while at < size:
                data = original.pread(min(COPY_BYTES, size - at), at)
                write_all(copy, data, at)
                at += len(data)
            copy.datasync()
        finally:
            copy.close()
    finally:
        original.close()


