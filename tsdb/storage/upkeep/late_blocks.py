"""Late samples become blocks: so that the log and the memory need not keep them."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import TsdbError
from tsdb.model.native_histograms import is_boxed
from tsdb.storage.appender import Appender
from tsdb.storage.block import Block, Chunks, SeriesLabels, write_block
from tsdb.storage.block.meta import OUT_OF_ORDER
from tsdb.storage.blocks import Blocks
from tsdb.storage.head.head import Head
from tsdb.storage.head.layout import WINDOW_MS
from tsdb.storage.late.late import Run
from tsdb.storage.starts.runs import StartRuns
from tsdb.storage.upkeep import stored_histograms
from tsdb.storage.upkeep.cutting import GoOn, series_labels
from tsdb.storage.upkeep.stored_histograms import encode_stored, payloads_of
from tsdb.wal import Wal
from tsdb.wal.files import FileSystem

log = logging.getLogger(__name__)

RANGES = tuple(WINDOW_MS * 3**power for power in range(6))
"""Lengths of blocks' ranges, ms: two hours to twenty days."""
MOST_BLOCKS = 12
"""More are not made at once where longer ranges do."""
SAMPLES_AT_ONCE = 200_000
"""Encoded by one kernel call: some 10 ms."""


class LateSource:
    """Late samples within one range, for a block."""

    def __init__(self, head: Head, run: Run, mint: int, maxt: int, go_on: GoOn = lambda: None) -> None:
        """Those with mint <= ts < maxt (ms). In the head nothing that has late samples is freed meanwhile."""
        self._go_on = go_on
        self.mint, self.maxt = mint, maxt
        self._table = head.table
        inside = np.flatnonzero((run.ts >= mint) & (run.ts < maxt))
        self._ts, self._values = run.ts[inside], run.values[inside]
        self._starts = None if run.starts is None else run.starts[inside]
        self._payloads = payloads_of(head) if is_boxed(self._values).any() else None
        self._at_once = SAMPLES_AT_ONCE if self._payloads is None else stored_histograms.SAMPLES_AT_ONCE
        slots = run.slots[inside]
        self._begin = np.flatnonzero(np.diff(slots, prepend=-1))
        self._end = np.append(self._begin[1:], slots.size)
        self._slots = slots[self._begin]

    def series(self) -> SeriesLabels:
        return series_labels(self._table, self._slots)

    def chunks(self, order: NDArray[np.int32]) -> Iterator[Chunks | StartRuns]:
        begin, end = self._begin[order], self._end[order]
        samples = np.cumsum(end - begin)
        first = 0
        while first < order.size:
            self._go_on()
            before = int(samples[first - 1]) if first else 0
            past = max(first + 1, int(np.searchsorted(samples, before + self._at_once, side="right")))
            chunks, damaged = encode_stored(begin[first:past], end[first:past], self._ts, self._values, self._payloads)
            if damaged.size:
                log.error("late samples of %d series are lost: histograms among them are damaged or gone", damaged.size)
            yield chunks
            first = past
        if self._starts is not None:
            yield StartRuns.of_samples(begin, end, self._ts, self._starts)


class LateBlocks:
    """Its methods are called in the maintenance's thread."""

    def __init__(self, fs: FileSystem, head: Head, blocks: Blocks, wal: Wal, go_on: GoOn = lambda: None) -> None:
        self._go_on = go_on
        self._fs = fs
        self._head = head
        self._blocks = blocks
        self._wal = wal
        self.made = 0
        """Blocks since the start."""
        self.seconds = 0.0

    def due(self) -> bool:
        """Whether there are so many late samples that they should not wait for the next cut."""
        return self._head.late.unfrozen >= self._head.late_enough()

    def flush(self, appender: Appender) -> int:
        """Makes blocks of all late samples; how many. Afterwards `head.late.through` says which segments of the log
        need not be kept for them: write a checkpoint.

        Raises OSError, Unavailable, with the samples where they were.
        """
        late = self._head.late
        if late.empty:
            return 0
        began = time.perf_counter()
        through = 0

        def freeze() -> None:
            nonlocal through
            through = self._wal.begin_segment()
            late.freeze()

        appender.run_between_commits(freeze).result()
        added: list[Block] = []
        try:
            run = late.frozen()
            for mint, maxt in ranges(run.ts):
                source = LateSource(self._head, run, mint, maxt, self._go_on)
                meta = write_block(self._fs, self._blocks.folder, source, hints=(OUT_OF_ORDER,))
                added.append(Block.open(self._fs, self._blocks.folder / meta.ulid))
        except BaseException:
            for block in added:
                block.remove_when_released()
                block.release()
            with contextlib.suppress(TsdbError):  # closing: they are in the log
                appender.run_between_commits(late.thaw).result()
            raise
        self._blocks.publish(added, (), late.drop_frozen)
        late.through = through
        self.made += len(added)
        seconds = time.perf_counter() - began
        self.seconds += seconds
        log.info("%d late samples are in %d blocks, in %.2f s", run.size, len(added), seconds)
        return len(added)


def ranges(ts: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Aligned ranges mint <= ts < maxt (ms) that hold all of the times: of the shortest length that makes no more than
    `MOST_BLOCKS` of them, or of the longest. The last one ends with the two hours of the newest time: beyond, it would
    overlap what the head is cut into next, and each cut would have it compacted anew."""
    if not ts.size:
        return []
    length, numbers = RANGES[0], np.unique(ts // RANGES[0])
    past = (int(numbers[-1]) + 1) * RANGES[0]
    for longer in RANGES[1:]:
        if numbers.size <= MOST_BLOCKS:
            break
        length, numbers = longer, np.unique(numbers // (longer // length))
    return [(number * length, min((number + 1) * length, past)) for number in numbers.tolist()]
