"""Writing a block: into a folder with another name, synced file by file, then renamed."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.crc32c_kernels import checksum
from tsdb.storage.block.copy_kernels import copy_chunks, copy_columns
from tsdb.storage.block.dictionary import read_only, sort_series, take_series
from tsdb.storage.block.folders import remove_block, remove_files
from tsdb.storage.block.layout import (
    ALIGNMENT,
    CHUNKS_HEADER_BYTES,
    CHUNKS_MAGIC,
    CHUNKS_NAME,
    CHUNKS_VERSION,
    CONTENTS,
    ENTRY,
    FOOTER,
    HEADER,
    HISTOGRAMS,
    INDEX_HEADER_BYTES,
    INDEX_MAGIC,
    INDEX_NAME,
    INDEX_VERSION,
    MAX_CHUNK_BYTES,
    MAX_ITEMS,
    MAX_SAMPLES,
    META_COPY,
    META_NAME,
    PAGE,
    PAGE_CRC,
    SECTIONS,
    TEMPORARY,
    narrowest,
)
from tsdb.storage.block.meta import BlockMeta, Compaction, Parent, Stats, TierMeta
from tsdb.storage.block.sections import checksums_of
from tsdb.storage.block.source import BlockSource, Chunks, TimeColumns
from tsdb.storage.block.start_section import StartWriter
from tsdb.storage.block.ulid import new_ulid
from tsdb.storage.starts.runs import StartRuns
from tsdb.wal.files import File, FileSystem, write_all

BUFFER = 4 << 20
"""Bytes of chunks that are written at once."""
UNSYNCED = 32 << 20
"""Bytes of chunks that wait for the disk, at most: else the log's syncs would wait for all of them."""
Columns = dict[str, NDArray[Any]]


def write_block(fs: FileSystem, folder: Path, source: BlockSource, *, ulid: str | None = None, level: int = 1,
                sources: Sequence[str] | None = None, parents: Sequence[Parent] = (), hints: Sequence[str] = (),
                windows: Sequence[str] = (), border: int | None = None, ranges: Sequence[tuple[int, int]] = (),
                tier: TierMeta | Callable[[], TierMeta] | None = None,
                beside: Callable[[Path], None] | None = None) -> BlockMeta:
    """Writes a block to `folder / ulid` and returns what its meta.json says.

    The block is there as a whole, durably, or not at all, whenever the process dies. `sources` are by default the block
    itself; see `Compaction` and `TierMeta` for the others. Where `tier` is a function it is asked once the source
    has given all chunks. `beside` may add files to the folder that it is given, before the block is there. In memory
    are the labels of all series and 15 to 27 bytes per chunk; chunks stream through 4 MiB.

    Raises OSError with nothing left but what cannot be removed; ValueError where the source breaks its contract.
    """
    ulid = ulid or new_ulid()
    fs.mkdir(folder)
    path = folder / ulid
    temporary = path.with_name(path.name + TEMPORARY)
    fs.mkdir(temporary)
    compaction = Compaction(level, tuple(sources) if sources is not None else (ulid,), tuple(parents), tuple(hints),
                            tuple(windows), border, tuple(ranges))
    left = temporary
    try:
        meta = _write_files(fs, temporary, source, BlockMeta(ulid, source.mint, source.maxt, compaction=compaction),
                            tier)
        if beside is not None:
            beside(temporary)
        fs.sync_directory(temporary)
        fs.rename(temporary, path)
        left = path
        fs.sync_directory(folder)
    except Exception:
        with contextlib.suppress(OSError):
            remove_block(fs, path) if left == path else remove_files(fs, temporary)
        raise
    return meta


def _write_files(fs: FileSystem, folder: Path, source: BlockSource, meta: BlockMeta,
                 tier: TierMeta | Callable[[], TierMeta] | None) -> BlockMeta:
    series = source.series()
    dictionary = sort_series(series)
    file = fs.open(folder / CHUNKS_NAME, writable=True, create=True, truncate=True)
    try:
        columns, per_series = _ChunkWriter(file, meta).write(source, dictionary.order)
        file.datasync()
    finally:
        file.close()
    if (per_series == 0).any():
        dictionary = sort_series(take_series(series, dictionary.order[per_series > 0]))
        per_series = per_series[per_series > 0]
    sections: Columns = {**dictionary.sections(), **columns}
    sections["series_chunk"] = np.concatenate(([0], np.cumsum(per_series))).astype(np.uint32)
    samples, form = columns["chunk_samples"], columns["chunk_form"]
    histograms = int(samples[form == HISTOGRAMS].sum(dtype=np.int64))
    stats = Stats(int(samples.sum(dtype=np.int64)), per_series.size, form.size, histograms)
    meta = dataclasses.replace(meta, stats=stats, tier=tier() if callable(tier) else tier)
    text = meta.to_json()
    sections[META_COPY] = np.frombuffer(text, np.uint8)
    _write_index(fs, folder / INDEX_NAME, sections, meta, int(checksum(0, np.frombuffer(text, np.uint8))))
    _write_file(fs, folder / META_NAME, text)
    return meta


class _ChunkWriter:
    """Writes the file of chunks; keeps what the index says about each."""

    def __init__(self, file: File, meta: BlockMeta) -> None:
        self._file = file
        self._meta = meta
        self._at = CHUNKS_HEADER_BYTES
        self._synced = 0
        self._time = narrowest(meta.maxt - meta.mint)
        self._parts: list[Columns] = []
        self._lengths: list[NDArray[np.uint32]] = []
        self._counts: list[NDArray[np.int64]] = []
        self._columns: Columns = {"column_offset": np.zeros(0, np.uint32), "column_samples": np.zeros(0, np.uint16)}
        self._buffer = np.empty(BUFFER, np.uint8)
        self._header = np.empty(24, np.uint8)
        self._starts = StartWriter(meta.mint)
        self._piece = self._place = self._row = 0
        """What came before the last start times: pieces, series, and series that have chunks."""

    def write(self, source: BlockSource, order: NDArray[np.int32]) -> tuple[Columns, NDArray[np.int64]]:
        """(sections about chunks, how many chunks each series has i64[n])."""
        write_all(self._file, _file_header(CHUNKS_MAGIC, CHUNKS_VERSION), 0)
        for piece in source.chunks(order):
            if isinstance(piece, StartRuns):
                self._add_starts(piece)
                continue
            if self._columns["column_offset"].size:
                raise ValueError("the source of a block gave chunks after the columns of times")
            if isinstance(piece, TimeColumns):
                self._copy_columns(piece)
                continue
            self._check(piece)
            self._copy(piece)
            self._parts.append({
                "chunk_mint": (piece.mint - self._meta.mint).astype(self._time),
                "chunk_maxt": (piece.maxt - self._meta.mint).astype(self._time),
                "chunk_samples": piece.samples.astype(np.uint16),
                "chunk_form": piece.form.astype(np.uint8),
            })
            self._lengths.append(piece.length.astype(np.uint32))
            self._counts.append(piece.series.astype(np.int64))
        counts = np.concatenate([np.zeros(0, np.int64), *self._counts])
        if counts.size != order.size:
            raise ValueError(f"the source of a block gave chunks of {counts.size} series, not of {order.size}")
        empty: Columns = {"chunk_mint": np.zeros(0, self._time), "chunk_maxt": np.zeros(0, self._time),
                          "chunk_samples": np.zeros(0, np.uint16), "chunk_form": np.zeros(0, np.uint8)}
        columns: Columns = {name: np.concatenate([none, *(part[name] for part in self._parts)])
                            for name, none in empty.items()}
        columns.update(self._columns)
        offset_type = narrowest(self._at)
        offsets = np.empty(columns["chunk_form"].size + 1, offset_type)
        offsets[0] = CHUNKS_HEADER_BYTES
        if offsets.size > MAX_ITEMS:
            raise ValueError(f"{offsets.size} chunks are too many for one block")
        entry = np.concatenate([np.zeros(0, np.uint32), *self._lengths]) + np.uint32(4)
        offsets[1:] = np.cumsum(entry, dtype=np.uint64) + np.uint64(CHUNKS_HEADER_BYTES)
        columns["chunk_offset"] = offsets
        columns.update(self._starts.sections())
        return columns, counts

    def _add_starts(self, runs: StartRuns) -> None:
        counts = np.concatenate([np.zeros(0, np.int64), *self._counts[self._piece :]])
        places = runs.series.astype(np.int64) - self._place
        if len(runs) and not 0 <= places[0] <= places[-1] < counts.size:
            raise ValueError("the source of a block gave start times before or long after the chunks of their series")
        kept = counts[places] > 0
        rows = self._row - 1 + np.cumsum(counts > 0)
        self._starts.add(StartRuns(rows[places[kept]].astype(np.int32), runs.ts[kept], runs.starts[kept]))
        self._piece, self._place = len(self._counts), self._place + counts.size
        self._row += int(np.count_nonzero(counts))

    def _copy(self, piece: Chunks) -> None:
        done = 0
        while done < piece.mint.size:
            done, size = copy_chunks(done, piece.address, piece.length, piece.mint, piece.maxt, piece.samples,
                                     read_only(piece.form), self._header, self._buffer)
            self._put(size)

    def _copy_columns(self, piece: TimeColumns) -> None:
        offsets = np.cumsum(np.concatenate(([self._at], piece.length + 4)))
        done = 0
        while done < piece.samples.size:
            done, size = copy_columns(done, piece.address, piece.length, piece.samples, self._header, self._buffer)
            self._put(size)
        self._columns["column_offset"] = offsets.astype(narrowest(int(offsets[-1])))
        self._columns["column_samples"] = piece.samples.astype(np.uint16)

    def _put(self, size: int) -> None:
        write_all(self._file, self._buffer.data[:size], self._at)
        self._at += size
        if self._at - self._synced > UNSYNCED:
            self._file.datasync()
            self._synced = self._at

    def _check(self, piece: Chunks) -> None:
        mint, maxt, meta = piece.mint, piece.maxt, self._meta
        if int(piece.series.sum()) != mint.size:
            raise ValueError("a piece of a block's source has chunks that belong to no series")
        if mint.size == 0:
            return
        same = np.repeat(np.arange(piece.series.size), piece.series)
        if (mint > maxt).any() or ((maxt[:-1] >= mint[1:]) & (same[:-1] == same[1:])).any():
            raise ValueError("chunks of a series overlap, or are not in time order")
        if mint.min() < meta.mint or maxt.max() >= meta.maxt:
            raise ValueError(f"a chunk is not within the range {meta.mint} to {meta.maxt} (ms) of its block")
        if not (piece.samples.min() >= 1 and piece.samples.max() <= MAX_SAMPLES
                and piece.length.min() >= 1 and piece.length.max() <= MAX_CHUNK_BYTES):
            raise ValueError(f"a chunk has none or more than {MAX_SAMPLES} samples or {MAX_CHUNK_BYTES} bytes")


def _write_index(fs: FileSystem, path: Path, sections: Columns, meta: BlockMeta, meta_crc: int) -> None:
    file = fs.open(path, writable=True, create=True, truncate=True)
    try:
        write_all(file, _file_header(INDEX_MAGIC, INDEX_VERSION).ljust(INDEX_HEADER_BYTES, b"\0"), 0)
        at = INDEX_HEADER_BYTES
        entries, page_crcs = [], [np.zeros(0, np.uint32)]
        for name in (META_COPY, *(name for name in SECTIONS if name in sections or name == PAGE_CRC)):
            data = (np.concatenate(page_crcs) if name == PAGE_CRC else sections[name])
            raw = np.ascontiguousarray(data).view(np.uint8)
            crcs = checksums_of(raw, PAGE)
            page_crcs.append(crcs)
            crc = _checksum(raw if name == PAGE_CRC else crcs.view(np.uint8))
            entries.append(ENTRY.pack(name.encode(), data.dtype.str.encode(), crc, at, raw.size))
            if raw.size:
                write_all(file, raw.data, at)
            at += -(-raw.size // ALIGNMENT) * ALIGNMENT  # the gap reads as zeros
        head = CONTENTS.pack(meta.ulid.encode(), meta.mint, meta.maxt, meta.stats.samples, meta_crc, PAGE)
        contents = head + b"".join(entries)
        footer = FOOTER.pack(at, len(contents), _checksum(np.frombuffer(contents, np.uint8)), INDEX_VERSION, 0, b"")
        crc = _checksum(np.frombuffer(footer[:-12], np.uint8))
        write_all(file, contents + footer[:-12] + crc.to_bytes(4, "little") + INDEX_MAGIC, at)
        file.datasync()
    finally:
        file.close()


def _write_file(fs: FileSystem, path: Path, data: bytes) -> None:
    file = fs.open(path, writable=True, create=True, truncate=True)
    try:
        write_all(file, data, 0)
        file.datasync()
    finally:
        file.close()


def _file_header(magic: bytes, version: int) -> bytes:
    start = HEADER.pack(magic, version, 0)[:-4]
    return start + _checksum(np.frombuffer(start, np.uint8)).to_bytes(4, "little")


def _checksum(data: NDArray[np.uint8]) -> int:
    return int(checksum(0, read_only(data)))
