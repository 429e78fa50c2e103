"""A whole data directory of Prometheus: its blocks, then its log."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsdb.model.batch import Batch
from tsdb.model.errors import ConfigError, Corruption
from tsdb.prometheus_data.block import INDEX_NAME, Block
from tsdb.prometheus_data.log import LATE_LOG_NAME, LOG_NAME, Log
from tsdb.prometheus_data.meta import META_NAME, PrometheusMeta, read_meta
from tsdb.prometheus_data.notes import Notes
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


def read_directory(fs: FileSystem, folder: Path, secret: NDArray[np.uint64], notes: Notes,
                   progress: Progress | None = None) -> Iterator[Batch]:
    """All samples that a Prometheus with this data directory would answer queries from. Nobody may have it open: else
    samples of the newest minutes may be missing.

    Batches come block by block, the oldest first, in the order of series, then the log's in the order of its records;
    memory is bounded but for the labels of the log's series. Raises ConfigError where there is neither block nor log,
    and Corruption, but where `notes.skip_damaged`.
    """
    own = blocks(fs, folder, notes)
    log = Log(fs, folder, notes)
    if not own and not log.bytes and not fs.exists(folder / LOG_NAME):
        raise ConfigError(f"{folder} is no data directory of Prometheus: it has neither blocks nor a folder "
                          f"{LOG_NAME} or {LATE_LOG_NAME}")
    total = log.bytes + sum(_bytes(fs, place) for place, _ in own)
    done = 0
    in_order = [meta.maxt for _, meta in own if not meta.out_of_order]
    for place, _ in own:
        size = _bytes(fs, place)
        try:
            block = Block(fs, place, notes)
        except (Corruption, FileNotFoundError) as problem:
            if not notes.skip_damaged:
                raise
            notes.damaged.append(str(problem))
            continue
        try:
            for batch in block.read(secret):
                yield batch
                if progress is not None:
                    progress(done + size * block.done // max(block.bytes, 1), total)
        finally:
            block.close()
        done += size
    for batch in log.read(secret, max(in_order, default=OLDEST)):
        yield batch
        if progress is not None:
            progress(done + log.done, total)
    if progress is not None:
        progress(total, total)


def _bytes(fs: FileSystem, place: Path) -> int:
    """Of the files of a block."""
    total = 0
    for path in (place / INDEX_NAME, *(place / "chunks" / name for name in fs.listdir(place / "chunks"))):
        if fs.exists(path):
            file = fs.open(path)
            try:
                total += file.size()
            finally:
                file.close()
    return total
