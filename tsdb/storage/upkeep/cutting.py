"""Cutting: a window that is over becomes a block, and its file goes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import Corruption
from tsdb.storage.block import Block, Chunks, SeriesLabels, write_block
from tsdb.storage.block.layout import FLOATS
from tsdb.storage.block.meta import FROM_HEAD
from tsdb.storage.block.tombstones_file import write_tombstones
from tsdb.storage.blocks import Blocks
from tsdb.storage.damage import Damage
from tsdb.storage.head import deleted
from tsdb.storage.head.head import Head
from tsdb.storage.head.series_table import SeriesTable
from tsdb.storage.head.windows import Window
from tsdb.storage.starts.runs import StartRuns
from tsdb.storage.tombstones import Tombstones
from tsdb.storage.upkeep import cutting_kernels
from tsdb.storage.upkeep.statistics import chunk_bytes, chunk_ms, chunk_samples
from tsdb.storage.upkeep.stored_histograms import SAMPLES_AT_ONCE, encode_stored, payloads_of
from tsdb.wal.files import FileSystem

log = logging.getLogger(__name__)

SLOTS_AT_ONCE = 10_000
"""Whose chunks are walked by one kernel call: about 10 ms."""

GoOn = Callable[[], None]
"""Called between pieces of work; ends it all by raising Unavailable."""


class SealedChunks(Protocol):
    """A `Window`, as far as its chunks go."""

    @property
    def chain(self) -> NDArray[np.uint64]: ...

    @property
    def address(self) -> int: ...

    @property
    def used(self) -> int: ...

    @property
    def array(self) -> NDArray[np.uint8]: ...


class WindowSource:
    """The series and chunks of a complete window; chunks without histograms are taken over as they are. In the head
    nothing that has a chunk in a window is freed meanwhile."""

    def __init__(self, head: Head, window: SealedChunks, mint: int, maxt: int, go_on: GoOn = lambda: None,
                 starts: StartRuns | None = None) -> None:
        """The block's range is mint <= ts < maxt (ms), and what the chunks need beyond. `starts`: start times by slot,
        None: those that the head has now."""
        self._go_on = go_on
        self._table = head.table
        self._window = window
        self._payloads = payloads_of(head)
        self._starts = head.starts.runs() if starts is None else starts
        self.slots: NDArray[np.int32] = np.flatnonzero(window.chain[: head.table.size]).astype(np.int32)
        """i32[n]: those with a chunk; in the order of the block once its chunks were given."""
        self._counts = np.empty(self.slots.size, np.int64)
        self.chunks_found = self.damaged = 0
        for start in range(0, self.slots.size, SLOTS_AT_ONCE):
            part = slice(start, start + SLOTS_AT_ONCE)
            found, damaged, least, greatest = cutting_kernels.count_chunks(
                self.slots[part], window.chain, window.address, window.used, self._counts[part])
            self.chunks_found += found
            self.damaged += damaged
            mint, maxt = min(mint, least), max(maxt, greatest + 1)
        self.mint, self.maxt = mint, maxt
        some = self._counts > 0
        self.slots, self._counts = self.slots[some], self._counts[some]

    def leave_out(self, tombstones: Tombstones) -> None:
        """Series of which nothing is left, by slot: on a full disk there may be no room to copy what was deleted."""
        begin, end = tombstones.of(self.slots)
        every = np.flatnonzero(begin < end)
        rest = np.ones(self.slots.size, np.bool_)
        for start in range(0, every.size, SLOTS_AT_ONCE):
            some = every[start : start + SLOTS_AT_ONCE]
            counts = self._counts[some]
            mint, maxt = self._columns(self.slots[some], counts)[:2]
            first = np.cumsum(counts) - counts
            oldest, newest = np.minimum.reduceat(mint, first), np.maximum.reduceat(maxt, first)
            found = tombstones_of_rows(tombstones, self.slots[some], self.mint, self.maxt)
            # intervals do not touch: a single one covers a series, or none does
            covers = (found.mint <= oldest[found.series]) & (newest[found.series] <= found.maxt)
            rest[some[found.series[covers]]] = False
        self.slots, self._counts = self.slots[rest], self._counts[rest]

    def series(self) -> SeriesLabels:
        return series_labels(self._table, self.slots)

    def chunks(self, order: NDArray[np.int32]) -> Iterator[Chunks | StartRuns]:
        self.slots, self._counts = self.slots[order], self._counts[order]
        for start in range(0, order.size, SLOTS_AT_ONCE):
            self._go_on()
            counts = self._counts[start : start + SLOTS_AT_ONCE]
            mint, maxt, samples, where, length, kind = self._columns(
                self.slots[start : start + SLOTS_AT_ONCE], counts)
            chunks = Chunks(counts, mint, maxt, samples, np.full(mint.size, FLOATS, np.uint8), where, length,
                            self._window.array)
            if kind.any():
                yield from self._of_kinds(chunks, kind != 0)
            else:
                yield chunks
        if len(self._starts):
            yield self._starts.take(self.slots).within(self.mint, self.maxt)

    def _columns(self, slots: NDArray[np.int32], counts: NDArray[np.int64]) -> tuple[
            NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64], NDArray[np.int64],
            NDArray[np.uint8]]:
        """Of the chunks of some slots: oldest and newest time, samples, where it is, its length and kind."""
        total = int(counts.sum())
        mint, maxt, samples, length = (np.empty(total, np.int64) for _ in range(4))
        where, kind = np.empty(total, np.uint64), np.empty(total, np.uint8)
        cutting_kernels.chunk_columns(slots, self._window.chain, self._window.address, counts, mint, maxt, samples,
                                      where, length, kind)
        return mint, maxt, samples, where, length, kind

    def _of_kinds(self, chunks: Chunks, boxed: NDArray[np.bool_]) -> Iterator[Chunks]:
        """Chunks with histograms (bool[k]) are encoded anew, those of a series that follow each other together; the
        others stay as they are."""
        series = np.repeat(np.arange(chunks.series.size), chunks.series)
        decoded = np.bincount(series, np.where(boxed, chunks.samples, 0), chunks.series.size).cumsum()
        first = 0
        while first < decoded.size:
            before = decoded[first - 1] if first else 0
            past = max(first + 1, int(np.searchsorted(decoded, before + SAMPLES_AT_ONCE, side="right")))
            low, high = np.searchsorted(series, (first, past)).tolist()
            yield self._encoded(series[low:high] - first, past - first, boxed[low:high], chunks, slice(low, high))
            self._go_on()
            first = past

    def _encoded(self, series: NDArray[np.int64], count: int, boxed: NDArray[np.bool_], chunks: Chunks, part: slice,
                 ) -> Chunks:
        """Some of the `chunks`; `series` i64[k] says which of `count` they are of."""
        mint, maxt, samples, where, length = (
            chunks.mint[part], chunks.maxt[part], chunks.samples[part], chunks.address[part], chunks.length[part])
        some, rest = np.flatnonzero(boxed), np.flatnonzero(~boxed)
        begins = (np.diff(some, prepend=-2) > 1) | (np.diff(series[some], prepend=-1) > 0)
        runs = np.flatnonzero(begins)
        ends = samples[some].cumsum()
        begin, end = (ends - samples[some])[runs], np.append(ends[runs[1:] - 1], ends[-1:])
        total = int(samples[some].sum())
        ts, values = np.empty(total, np.int64), np.empty(total, np.uint64)
        cutting_kernels.decode_sealed(where[some], samples[some], mint[some], ts, values)
        made, damaged = encode_stored(begin, end, ts, values, self._payloads)
        self.damaged += damaged.size
        # in the order of the chunks that they were made of
        of = np.concatenate((rest, np.repeat(some[runs], made.series)))
        order = np.argsort(of, kind="stable")
        return Chunks(
            np.bincount(series[of], minlength=count).astype(np.int64), np.concatenate((mint[rest], made.mint))[order],
            np.concatenate((maxt[rest], made.maxt))[order], np.concatenate((samples[rest], made.samples))[order],
            np.concatenate((chunks.form[part][rest], made.form))[order],
            np.concatenate((where[rest], made.address))[order], np.concatenate((length[rest], made.length))[order],
            (chunks.owner, made.owner))


def series_labels(table: SeriesTable, slots: NDArray[np.int32]) -> SeriesLabels:
    """The label sets of slots."""
    offsets = np.zeros(slots.size + 1, np.int64)
    np.cumsum(table.label_count[slots], out=offsets[1:], dtype=np.int64)
    pairs = np.empty(int(offsets[-1]), np.uint32)
    cutting_kernels.gather_label_pairs(slots, table.labels, table.label_offset, table.label_count, offsets, pairs)
    return SeriesLabels(
        table.symbol_bytes, table.symbol_offset[: table.symbols], table.symbol_length[: table.symbols],
        table.pair_name[: table.pairs], table.pair_value[: table.pairs], offsets, pairs,
    )


class Cutting:
    """Its methods are called in the maintenance's thread."""

    def __init__(self, fs: FileSystem, head: Head, blocks: Blocks, damage: Damage, go_on: GoOn = lambda: None) -> None:
        self._go_on = go_on
        self._fs = fs
        self._head = head
        self._blocks = blocks
        self._damage = damage
        self.cut = 0
        """Blocks made since the start."""
        self.chunk_bytes, self.chunk_samples, self.chunk_ms = chunk_bytes(), chunk_samples(), chunk_ms()

    def cut_windows(self) -> int:
        """Makes blocks of all complete windows, oldest first; how many windows. Raises OSError, Unavailable, with
        those done that could be."""
        self.remove_files()
        with self._head.lock:
            complete = [window for window in self._head.windows.every if window.complete]
        for window in complete:
            self._go_on()
            self._cut(window)
            self.remove_files()
        return len(complete)

    @property
    def files_left(self) -> bool:
        return bool(self._blocks.windows_left)

    def remove_files(self) -> None:
        """Removes the files of windows that are in blocks. OSError."""
        if self._blocks.windows_left:
            self._head.windows.remove(self._blocks.windows_left)
            self._blocks.windows_left.clear()

    def _cut(self, window: Window) -> None:
        began = time.perf_counter()
        head = self._head
        border = min(window.maxt + 1, head.border)
        source = WindowSource(head, window, min(max(window.mint, self._blocks.border), border), border, self._go_on)
        source.leave_out(head.tombstones)
        added = []
        if source.slots.size:
            meta = write_block(self._fs, self._blocks.folder, source, hints=(FROM_HEAD,), windows=(window.name,),
                               border=border, beside=lambda folder: self._write_tombstones(folder, source))
            added.append(Block.open(self._fs, self._blocks.folder / meta.ulid))
            self._observe(added[0])

        def truncate() -> None:
            head.windows.take_out(window)
            head.min_ts = min((each.mint for each in head.windows.every), default=head.border)
            deleted.forget(head)

        self._blocks.publish(added, (), truncate)
        if source.damaged:
            path = head.windows.path(window)
            problem = Corruption(f"{path}: {source.damaged} chunks are damaged: samples of their series are lost")
            self._damage.set_aside(path, problem, source.mint, source.maxt)
        else:
            self._blocks.windows_left.append(window.name)
        window.close()
        if added:
            self.cut += 1
            stats = added[0].meta.stats
            log.info("block %s is cut: %d samples in %d chunks (%d bytes) of %d series, in %.2f s", added[0].meta.ulid,
                     stats.samples, stats.chunks, added[0].chunks.size, stats.series, time.perf_counter() - began)

    def _observe(self, block: Block) -> None:
        index = block.index
        self.chunk_bytes.observe_all(np.diff(index["chunk_offset"].all().astype(np.int64)) - 4)
        self.chunk_samples.observe_all(index["chunk_samples"].all().astype(np.int64))
        self.chunk_ms.observe_all(index["chunk_maxt"].all().astype(np.int64)
                                  - index["chunk_mint"].all().astype(np.int64))

    def _write_tombstones(self, folder: Path, source: WindowSource) -> None:
        """What is deleted stays deleted in the block: it is there together with its tombstones."""
        found = tombstones_of_rows(self._head.tombstones, source.slots, source.mint, source.maxt)
        if len(found):
            write_tombstones(self._fs, folder, found)


def tombstones_of_rows(tombstones: Tombstones, slots: NDArray[np.int32], mint: int, maxt: int) -> Tombstones:
    """Those of slots (i32[n]) within mint <= ts < maxt (ms), by row."""
    begin, end = tombstones.of(slots)
    rows = np.repeat(np.arange(slots.size, dtype=np.int32), end - begin)
    at = np.repeat(begin - np.cumsum(end - begin) + (end - begin), end - begin) + np.arange(rows.size)
    first, last = np.maximum(tombstones.mint[at], mint), np.minimum(tombstones.maxt[at], maxt - 1)
    inside = first <= last
    return Tombstones(rows[inside], first[inside], last[inside])
