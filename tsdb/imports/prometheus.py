"""Import of Prometheus' data directories, or of single blocks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsdb.imports.reader import LeftOut, Progress
from tsdb.imports.session import Input
from tsdb.model.batch import Batch
from tsdb.prometheus_data.block import CHUNKS_NAME
from tsdb.prometheus_data.directory import Part, parts
from tsdb.prometheus_data.notes import Notes
from tsdb.wal.files import FileSystem, LocalFileSystem

PIECE = 1 << 20


def inputs(path: Path, notes: Notes, fs: FileSystem | None = None) -> list[Input]:
    """The blocks and the log of the data directory (or the block) `path`, so that an import that was interrupted goes
    on behind the last of them that it has read. What could not be taken is told by `notes` afterwards. Raises
    ConfigError where there are none, and Corruption."""
    fs = fs or LocalFileSystem()
    return [Input(str(part.path), part.size, partial(_read, part), partial(_digest, fs, part))
            for part in parts(fs, path, notes)]


def _read(part: Part, secret: NDArray[np.uint64], left_out: LeftOut, progress: Progress) -> Iterator[Batch]:
    return part.read(secret, progress)


def _digest(fs: FileSystem, part: Part, progress: Progress) -> bytes:
    """Of the content of all files; of chunks, which never change and about which the index says all, of their sizes."""
    found = hashlib.blake2b(digest_size=32)
    done = 0
    for path, size in zip(part.files, _sizes(fs, part.files), strict=True):
        found.update(f"{part.path.name}/{path.relative_to(part.path)} {size}\n".encode())
        if path.parent.name != CHUNKS_NAME:
            file = fs.open(path)
            try:
                for at in range(0, size, PIECE):
                    found.update(file.pread(min(PIECE, size - at), at))
            finally:
                file.close()
        done += size
        progress(done, part.size)
    return found.digest()


def _sizes(fs: FileSystem, files: Sequence[Path]) -> list[int]:
    found = []
    for path in files:
        file = fs.open(path)
        found.append(file.size())
        file.close()
    return found
