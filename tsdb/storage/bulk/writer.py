"""The writer: samples come in any order, and leave as blocks.

Samples are gathered in memory and sorted; then they go to *runs*, which are ordinary blocks of whatever range, in a
folder of their own. In the end these are merged, range by range, as compaction merges blocks. So runs need no format of
their own, and are as safe as blocks are.

::

    <work>/state.json        whose runs these are, which of them count, what the caller has marked
    <work>/runs/<number>/    blocks, in the order in which their samples came
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsdb.model.batch import Batch
from tsdb.model.errors import StorageError
from tsdb.storage.block import Block, BlockMeta, block_paths, write_block
from tsdb.storage.block.folders import remove_block, remove_files
from tsdb.storage.block.layout import META_NAME
from tsdb.storage.block.meta import OUT_OF_ORDER
from tsdb.storage.block.ulid import new_ulid
from tsdb.storage.bulk.gathered import Gathered
from tsdb.storage.bulk.ranges import Range, split
from tsdb.storage.upkeep.compaction_source import CompactionSource
from tsdb.wal.files import FileSystem, read_file, write_file_atomically

MEMORY_BYTES = 256 << 20
"""Of samples that wait to be sorted, about; labels come on top of it."""
FUTURE_MS = 600_000
"""Samples may be so much ahead of the clock, as elsewhere."""
PATIENCE_S = 20.0
"""Marks wait so long for more samples before both are written: many small inputs make few runs."""
STATE_NAME, RUNS = "state.json", "runs"
VERSION = 1
SUFFIX = 16
"""Characters of a ULID that are not its time."""


class BulkWriter:
    """For one thread. What was interrupted goes on where the last mark is that has reached the disk: open another one
    on the same folders."""

    def __init__(self, fs: FileSystem, folder: Path, work: Path, secret: NDArray[np.uint64], *, identity: bytes,
                 memory_bytes: int = MEMORY_BYTES, retention_ms: int = 0,
                 clock: Callable[[], float] = time.time) -> None:
        """Blocks go to `folder`, runs meanwhile to `work`. `secret` u64[2]: what keys of batches are hashed with.
        `identity`: a digest of the input and of the options that it is read with; names of blocks follow from it.
        `retention_ms` bounds the length of blocks as it does for compaction; 0: for ever. `clock`: seconds since 1970.

        Raises StorageError where `work` is another import's, or is damaged; OSError."""
        self._fs, self._folder, self._work = fs, folder, work
        self._identity, self._memory, self._retention = identity, memory_bytes, retention_ms
        self._clock = clock
        self._gathered = Gathered(secret)
        self._waiting: list[str] = []
        self._waiting_since = 0.0
        self.marks: frozenset[str] = frozenset()
        """Given to `checkpoint`, by this one or those before, and on disk together with all samples before."""
        fs.mkdir(work)
        fs.mkdir(work / RUNS)
        self._runs = self._left()

    def add(self, batch: Batch) -> int:
        """Takes samples of any age and order, native histograms and start times along; how many. Those more than ten
        minutes ahead of the clock are left out. Raises Corruption for a key that is not canonical; OSError."""
        taken = self._gathered.add(batch, int(self._clock() * 1000) + FUTURE_MS)
        if self._gathered.bytes >= self._memory:
            self._spill()
        return taken

    def checkpoint(self, mark: str) -> None:
        """All samples so far are to be kept from now on, or a little later, with the mark. OSError."""
        now = time.monotonic()
        if not self._waiting:
            self._waiting_since = now
        self._waiting.append(mark)
        if 4 * self._gathered.bytes >= self._memory or now - self._waiting_since >= PATIENCE_S:
            self._keep()

    def finish(self, there: Collection[str] = (), progress: Callable[[int, int], None] | None = None,
               ) -> list[BlockMeta]:
        """Writes all samples as blocks, each durably and as a whole; of samples of a series with equal times the first
        stays. Those `there` already (ULIDs, also among `compaction.sources`) are not written again, and those in the
        folder neither; these are among what is returned. `progress`: (ranges done, in all).

        May be called again after an error. Raises OSError, Corruption."""
        self._keep()
        elsewhere = {name[-SUFFIX:] for name in there}
        made: list[BlockMeta] = []
        runs = [Block.open(self._fs, path) for path in self._runs]
        try:
            ranges = split(min(run.meta.mint for run in runs), max(run.meta.maxt for run in runs) - 1,
                           self._retention) if runs else []
            own = {path.name[-SUFFIX:]: path for path in block_paths(self._fs, self._folder)} if ranges else {}
            for number, (mint, maxt) in enumerate(ranges):
                name = self._name(mint, maxt)
                if name[-SUFFIX:] in own:
                    made.append(BlockMeta.from_json(read_file(self._fs, own[name[-SUFFIX:]] / META_NAME)))
                elif name[-SUFFIX:] not in elsewhere:
                    meta = self._write(name, (mint, maxt), runs)
                    made += [meta] if meta is not None else []
                if progress is not None:
                    progress(number + 1, len(ranges))
        finally:
            for run in runs:
                run.release()
        return made

    def discard(self) -> None:
        """Removes all but the blocks. OSError."""
        self._gathered.clear()
        if self._fs.exists(self._work / STATE_NAME):
            self._fs.unlink(self._work / STATE_NAME)
        self._remove_runs(self._runs)
        self._runs = []
        for folder in (self._work / RUNS, self._work):
            with contextlib.suppress(OSError):  # somebody may have put something there
                self._fs.rmdir(folder)

    def _left(self) -> list[Path]:
        """The runs that count; others go."""
        found = block_paths(self._fs, self._work / RUNS)
        path = self._work / STATE_NAME
        counting: list[str] = []
        if self._fs.exists(path):
            try:
                said = json.loads(read_file(self._fs, path))
                version, identity = int(said["version"]), bytes.fromhex(said["identity"])
                counting, marks = list(map(str, said["runs"])), frozenset(map(str, said["marks"]))
            except (ValueError, KeyError, TypeError) as problem:
                raise StorageError(f"{path} is not readable ({problem}): remove the folder, and import again") from None
            if version > VERSION or identity != self._identity:
                raise StorageError(f"{self._work} has what another import, or a newer tsdb, has sorted: remove it, or "
                                   "finish that one first")
            missing = set(counting) - {each.name for each in found}
            if missing:
                raise StorageError(f"{self._work / RUNS} lacks {min(missing)}: remove {self._work}, and import again")
            self.marks = marks
        self._remove_runs([each for each in found if each.name not in counting])
        return [each for each in found if each.name in counting]

    def _keep(self) -> None:
        """Samples and marks to the disk."""
        if not self._waiting and not self._gathered.samples:
            return
        self._spill()
        marks = sorted(self.marks.union(self._waiting))
        said = {"version": VERSION, "identity": self._identity.hex(), "marks": marks,
                "runs": [run.name for run in self._runs]}
        write_file_atomically(self._fs, self._work / STATE_NAME, json.dumps(said).encode() + b"\n")
        self.marks = frozenset(marks)
        self._waiting.clear()

    def _spill(self) -> None:
        source = self._gathered.sorted()
        if source is None:
            return
        # numbers are ULIDs that sort as they came: of equal times the sample of the first block stays
        number = int(self._runs[-1].name) + 1 if self._runs else 1
        write_block(self._fs, self._work / RUNS, source, ulid=f"{number:026d}")
        self._runs.append(self._work / RUNS / f"{number:026d}")
        self._gathered.clear()

    def _name(self, mint: int, maxt: int) -> str:
        """A ULID whose last 80 bits follow from what is in the block, and its time from the clock: it says which of
        late blocks is older."""
        said = self._identity + mint.to_bytes(8, "little", signed=True) + maxt.to_bytes(8, "little", signed=True)
        bits = int.from_bytes(hashlib.blake2b(said, digest_size=10).digest(), "big")
        return new_ulid(int(self._clock() * 1000), bits)

    def _write(self, name: str, own: Range, runs: list[Block]) -> BlockMeta | None:
        mint, maxt = own
        inside = [run for run in runs if run.meta.mint < maxt and run.meta.maxt > mint]
        if not inside:
            return None
        source = CompactionSource(inside, lambda: None, mint=mint, maxt=maxt)
        meta = write_block(self._fs, self._folder, source, ulid=name, hints=(OUT_OF_ORDER,))
        if meta.stats.samples:
            return meta
        remove_block(self._fs, self._folder / name)
        return None

    def _remove_runs(self, runs: list[Path]) -> None:
        for run in runs:
            remove_files(self._fs, run)
