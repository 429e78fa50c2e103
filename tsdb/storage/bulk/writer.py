"""The writer: samples come in any order, and leave as blocks."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsdb.model.batch import Batch
from tsdb.storage.block import BlockMeta
from tsdb.wal.files import FileSystem

MEMORY_BYTES = 256 << 20
"""Of samples that wait to be sorted; labels come on top of it."""


class BulkWriter:
    """Not built yet: this is what readers and commands are written against."""

    def __init__(self, fs: FileSystem, folder: Path, secret: NDArray[np.uint64], *, memory_bytes: int = MEMORY_BYTES,
                 retention_ms: int = 0) -> None:
        """Blocks go to `folder`, sorted runs meanwhile to a folder of their own beside it. `secret` u64[2]: what keys
        of batches are hashed with. `retention_ms` bounds the length of blocks as it does for compaction; 0: for
        ever."""
        raise NotImplementedError

    def add(self, batch: Batch) -> int:
        """Takes samples of any age and order, native histograms and start times along; how many. Those more than ten
        minutes ahead of the clock are left out. Raises Corruption for a key that is not canonical; OSError."""
        raise NotImplementedError

    def finish(self, identity: bytes, there: Collection[str] = ()) -> list[BlockMeta]:
        """Writes all samples as blocks, each durably and as a whole; of samples of a series with equal times the first
        stays. `identity`: a digest of the input and of the options that it is read with; names of blocks follow from
        it, so that those `there` (ULIDs, also among `compaction.sources`) already are not written again. OSError."""
        raise NotImplementedError
