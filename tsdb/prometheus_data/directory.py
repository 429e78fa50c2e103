"""A whole data directory of Prometheus: its blocks, then its log."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsdb.model.batch import Batch
from tsdb.model.errors import ConfigError, Corruption
from tsdb.prometheus_data.block import CHUNKS_NAME, INDEX_NAME, Block
from tsdb.prometheus_data.log import LATE_LOG_NAME, LOG_NAME, Log
from tsdb.prometheus_data.meta import META_NAME, PrometheusMeta, read_meta
from tsdb.prometheus_data.notes import Notes
from tsdb.prometheus_data.tombstones import TOMBSTONES_NAME
from tsdb.wal.files import FileSystem

Progress = Callable[[int, int], None]
"""(bytes done, bytes in all)"""
OLDEST = -(1 << 63)


def blocks(fs: FileSystem, folder: Path, notes: Notes) -> list[tuple[Path, PrometheusMeta]]:
    """The blocks of a data directory, or the one that the folder itself is, the oldest first; without those whose place
    another one takes. Raises Corruption, but where damage is skipped."""
    found = []
    places = [folder] if fs.exists(folder / META_NAME) and fs.exists(folder / INDEX_NAME) else [
        folder / name for name in fs.listdir(folder) if re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{26}", name)]
    for place in places:
        try:
            found.append((place, read_meta(fs, place)))
        except (Corruption, FileNotFoundError) as problem:
            if not notes.skip_damaged:
                raise Corruption(f"{place} has no {META_NAME}: Prometheus has not finished it, or it was damaged: "
                                 "remove it, or import the others with --skip-damaged"
                                 if isinstance(problem, FileNotFoundError) else str(problem)) from None
            notes.damaged.append(str(problem))
    replaced = {parent for _, meta in found for parent in meta.parents if parent != meta.ulid}
    return sorted(((place, meta) for place, meta in found if meta.ulid not in replaced and not meta.deletable),
                  key=lambda each: (each[1].mint, each[1].maxt, each[1].ulid))


@dataclass(frozen=True, slots=True)
class Part:
    """Of a data directory: a block, or the log."""

    path: Path
    files: tuple[Path, ...]
    """All there is to it, sorted."""
    size: int
    """Bytes of these."""
    read: Callable[[NDArray[np.uint64], Progress], Iterator[Batch]]
    """Its samples: (secret u64[2] that keys are hashed with, progress in bytes)."""


def parts(fs: FileSystem, folder: Path, notes: Notes) -> list[Part]:
    """All samples that a Prometheus with this data directory would answer queries from: the blocks, the oldest first,
    each in the order of series, then the log, in the order of its records. Nobody may have it open: else samples of
    the newest minutes may be missing.

    Memory is bounded but for the labels of the log's series. Raises ConfigError where there is neither block nor log,
    and, as reading does, Corruption, but where `notes.skip_damaged`.
    """
    own = blocks(fs, folder, notes)
    log = Log(fs, folder, notes)
    if not own and not log.bytes and not fs.exists(folder / LOG_NAME):
        raise ConfigError(f"{folder} is no data directory of Prometheus: it has neither blocks nor a folder "
                          f"{LOG_NAME} or {LATE_LOG_NAME}")
    found = []
    for place, _ in own:
        files = tuple(path for path in (place / META_NAME, place / TOMBSTONES_NAME, place / INDEX_NAME,
                                        *(place / CHUNKS_NAME / name for name in fs.listdir(place / CHUNKS_NAME)))
                      if fs.exists(path))
        found.append(Part(place, files, _bytes(fs, files), partial(_read_block, fs, place, notes)))
    if log.bytes:
        in_order = max((meta.maxt for _, meta in own if not meta.out_of_order), default=OLDEST)
        found.append(Part(folder, log.files, log.bytes, partial(_read_log, log, in_order)))
    return found


def _read_block(fs: FileSystem, place: Path, notes: Notes, secret: NDArray[np.uint64], progress: Progress,
                ) -> Iterator[Batch]:
    try:
        block = Block(fs, place, notes)
    except (Corruption, FileNotFoundError) as problem:
        if not notes.skip_damaged:
            raise
        notes.damaged.append(str(problem))
        return
    try:
        for batch in block.read(secret):
            yield batch
            progress(block.done, max(block.bytes, 1))
    finally:
        block.close()


def _read_log(log: Log, in_order: int, secret: NDArray[np.uint64], progress: Progress) -> Iterator[Batch]:
    for batch in log.read(secret, in_order):
        yield batch
        progress(log.done, log.bytes)


def _bytes(fs: FileSystem, files: Sequence[Path]) -> int:
    total = 0
    for path in files:
        file = fs.open(path)
        try:
            total += file.size()
        finally:
            file.close()
    return total
