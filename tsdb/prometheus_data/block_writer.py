"""Writing a Prometheus block from tiles of samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsdb.model.tiles import SeriesSet, Tile
from tsdb.prometheus_data import chunk_writing_kernels as kernels
from tsdb.prometheus_data.block import CHUNKS_NAME, INDEX_NAME, SEGMENT_MAGIC
from tsdb.prometheus_data.chunk_kernels import CHUNK_COLUMNS, SEGMENT_HEADER
from tsdb.prometheus_data.histogram_encoding_kernels import WORK_ROWS
from tsdb.prometheus_data.index_writer import write_index
from tsdb.prometheus_data.meta import META_NAME, PrometheusMeta
from tsdb.prometheus_data.tombstones import TOMBSTONES_NAME, empty_tombstones
from tsdb.wal.files import File, FileSystem, write_all

SEGMENT_BYTES = 512 << 20
OUT_BYTES, CHUNKS = 4 << 20, 1 << 15
"""Written at once at most."""
UNFINISHED = ".tmp-for-creation"
"""Behind the name of a block that is not complete: Prometheus removes such folders."""


class BlockWriter:
    """Makes one block in a folder. `add` all tiles in the order of their rows, then `finish`; or `discard`."""

    def __init__(self, fs: FileSystem, folder: Path, ulid: str) -> None:
        self._fs, self._folder, self._ulid = fs, folder, ulid
        self._place = folder / (ulid + UNFINISHED)
        self._file: File | None = None
        self._segment = self._at = 0
        self._chunks: list[NDArray[np.int64]] = []
        self._samples = self._histograms = 0
        self._out, self._scratch = np.empty(OUT_BYTES, np.uint8), np.empty(kernels.FLOAT_SCRATCH, np.uint8)
        self._work = np.zeros((WORK_ROWS, 512), np.int64)
        self._metas = np.zeros((CHUNKS, kernels.META_COLUMNS), np.int64)

    def add(self, tile: Tile) -> None:
        """Encodes the samples of a tile."""
        state = np.zeros(kernels.WRITE_STATE, np.int64)
        state[kernels.WRITE_SAMPLE] = -1
        payload = np.empty(0, np.uint8) if tile.payload is None else np.require(tile.payload, requirements=("C", "W"))
        code = kernels.OUT_FULL
        while code != kernels.TILE_WRITTEN:
            code = kernels.encode_chunks(
                np.ascontiguousarray(tile.begin), np.ascontiguousarray(tile.end), tile.ts, tile.values.view(np.uint64),
                payload, self._out, self._scratch, self._work, self._metas, state)
            if state[kernels.WRITE_CHUNKS]:
                self._put(tile.first_row, int(state[kernels.WRITE_BYTES]), int(state[kernels.WRITE_CHUNKS]))
                state[kernels.WRITE_BYTES] = state[kernels.WRITE_CHUNKS] = 0
            elif code == kernels.OUT_FULL:
                self._out = np.empty(2 * self._out.size, np.uint8)
            if code == kernels.MORE_SCRATCH:
                self._scratch = np.empty(2 * self._scratch.size, np.uint8)
            elif code == kernels.MORE_WORK:
                self._work = np.zeros((WORK_ROWS, 2 * self._work.shape[1]), np.int64)
        self._histograms += int(state[kernels.WRITE_HISTOGRAMS])

    def finish(self, series: SeriesSet) -> PrometheusMeta | None:
        """Publishes the block; None where there was no sample. Rows of `series` are those of the tiles."""
        if not self._chunks or self._file is None:
            return None
        self._close_segment()
        chunks = np.concatenate(self._chunks)
        count = write_index(self._fs, self._place / INDEX_NAME, series, chunks)
        meta = PrometheusMeta(self._ulid, int(chunks[:, 2].min()), int(chunks[:, 3].max()) + 1, self._samples, count,
                              len(chunks), self._histograms)
        self._write(TOMBSTONES_NAME, empty_tombstones())
        self._write(META_NAME, meta.encode())
        for place in (self._place / CHUNKS_NAME, self._place):
            self._fs.sync_directory(place)
        self._fs.rename(self._place, self._folder / self._ulid)
        self._fs.sync_directory(self._folder)
        return meta

    def discard(self) -> None:
        """Removes what has been written of it."""
        if self._file is not None:
            self._file.close()
            self._file = None
        for folder in (self._place / CHUNKS_NAME, self._place):
            for name in self._fs.listdir(folder):
                if name != CHUNKS_NAME:
                    self._fs.unlink(folder / name)
            self._fs.rmdir(folder)

    def _put(self, first_row: int, size: int, count: int) -> None:
        if self._file is None or self._at + size > SEGMENT_BYTES:
            self._open_segment()
        assert self._file is not None
        write_all(self._file, self._out.data[:size], self._at)
        metas = self._metas[:count]
        chunks = np.empty((count, CHUNK_COLUMNS), np.int64)
        chunks[:, 0] = (self._segment - 1) << 32 | metas[:, kernels.META_PLACE] + self._at
        chunks[:, 1] = metas[:, kernels.META_ROW] + first_row
        chunks[:, 2], chunks[:, 3] = metas[:, kernels.META_MINT], metas[:, kernels.META_MAXT]
        self._chunks.append(chunks)
        self._samples += int(metas[:, kernels.META_SAMPLES].sum())
        self._at += size

    def _open_segment(self) -> None:
        if self._file is None:
            self._fs.mkdir(self._place / CHUNKS_NAME)
        else:
            self._close_segment()
        self._segment += 1
        self._file = self._fs.open(self._place / CHUNKS_NAME / f"{self._segment:06}", writable=True, create=True,
                                   truncate=True)
        write_all(self._file, SEGMENT_MAGIC + b"\x01\0\0\0", 0)
        self._at = SEGMENT_HEADER

    def _close_segment(self) -> None:
        assert self._file is not None
        self._file.datasync()
        self._file.close()

    def _write(self, name: str, data: bytes) -> None:
        file = self._fs.open(self._place / name, writable=True, create=True, truncate=True)
        try:
            write_all(file, data, 0)
            file.datasync()
        finally:
            file.close()
