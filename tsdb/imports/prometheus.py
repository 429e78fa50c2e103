"""Import of Prometheus' data directories, or of single blocks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsdb.model.batch import Batch
from tsdb.prometheus_data.directory import Progress, read_directory
from tsdb.prometheus_data.notes import Notes
from tsdb.wal.files import FileSystem, LocalFileSystem


def read(path: Path, secret: NDArray[np.uint64], *, notes: Notes | None = None, progress: Progress | None = None,
         fs: FileSystem | None = None) -> Iterator[Batch]:
    """All samples of the data directory (or block) `path`, keys hashed with `secret` u64[2]. What could not be taken is
    told by `notes` afterwards. Raises ConfigError where there are none, and Corruption."""
    yield from read_directory(fs or LocalFileSystem(), path, secret, notes or Notes(), progress)
