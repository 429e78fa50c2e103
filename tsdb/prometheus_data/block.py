"""Reading a Prometheus block: its index, its chunks, its tombstones, into batches in the order of its series."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.canonical_kernels import MAX_LABELS
from tsdb.ingest.decoded import LABEL_REASONS, IngestLimits
from tsdb.kernels.crc32c_kernels import checksum
from tsdb.model.batch import Batch
from tsdb.model.errors import Corruption
from tsdb.prometheus_data import chunk_kernels as chunk
from tsdb.prometheus_data import index_kernels as index
from tsdb.prometheus_data.columns import Columns, make_batch
from tsdb.prometheus_data.meta import read_meta
from tsdb.prometheus_data.notes import Notes
from tsdb.prometheus_data.tombstones import Intervals, kept, read_tombstones
from tsdb.wal.files import FileSystem, Mapping

INDEX_NAME, CHUNKS_NAME = "index", "chunks"
INDEX_MAGIC, SEGMENT_MAGIC = bytes.fromhex("baaad700"), bytes.fromhex("85bd40dd")
CONTENTS_BYTES = 52
ROWS, CHUNKS = 4096, 16384
"""Series, and chunks, that are looked at at once."""
REMEDY = "restore it from a backup, or import what is sound with --skip-damaged"
CHUNK_PROBLEMS = {
    chunk.BEYOND_SEGMENT: "a chunk that the index names reaches beyond the file",
    chunk.WRONG_CHECKSUM: "the chunk's checksum does not match",
    chunk.UNKNOWN_KIND: "the chunk is of a kind that is not known here",
    chunk.WRONG_CHUNK: "the chunk cannot be decoded",
}
SERIES_PROBLEMS = {
    index.BEYOND_SERIES: "a series reaches beyond its section",
    index.WRONG_SERIES_CHECKSUM: "the checksum of a series does not match",
    index.WRONG_SERIES: "a series cannot be decoded",
    index.WRONG_SYMBOL: "a series has a label that is not among the symbols",
}


class Block:
    """A block that is open for reading. Close it."""

    def __init__(self, fs: FileSystem, folder: Path, notes: Notes) -> None:
        """Raises Corruption."""
        self._fs, self._folder, self._notes = fs, folder, notes
        self._mappings: dict[Path, Mapping] = {}
        self.meta = read_meta(fs, folder)
        self._tombstones = read_tombstones(fs, folder)
        self._index_path = folder / INDEX_NAME
        self._index = self._map(self._index_path)
        self._series_at, self._series_end, self._symbols = self._open_index()
        self.bytes = self._series_end - self._series_at
        """Of the series, by which `done` tells how far a reader is."""
        self.done = 0
        self._columns = Columns()

    def close(self) -> None:
        self._index = np.empty(0, np.uint8)
        for mapping in self._mappings.values():
            mapping.close()
        self._mappings.clear()

    def read(self, secret: NDArray[np.uint64]) -> Iterator[Batch]:
        """All samples that are not deleted. Raises Corruption, but where damage is skipped."""
        max_key = IngestLimits().max_key_bytes
        labels = np.zeros((MAX_LABELS, 4), np.int64)
        chunks = np.zeros((CHUNKS, chunk.CHUNK_COLUMNS), np.int64)
        state = np.zeros(index.SERIES_STATE, np.int64)
        state[index.SERIES_AT] = self._series_at
        code = index.SERIES_ROOM
        while code != index.SERIES_DONE:
            state[index.SERIES_ROWS] = state[index.SERIES_CHUNKS] = state[index.SERIES_KEYS] = 0
            keys = np.empty(ROWS * 512 + max_key, np.uint8)
            offset, length = np.empty(ROWS, np.uint32), np.empty(ROWS, np.uint32)
            ref = np.empty(ROWS, np.int64)
            code = index.read_series(self._index, self._series_end, self._symbols, max_key, labels, keys, offset,
                                     length, ref, chunks, state)
            if code == index.NEED_CHUNKS:
                chunks = np.zeros((int(state[index.SERIES_NEEDS]), chunk.CHUNK_COLUMNS), np.int64)
            elif code in SERIES_PROBLEMS:
                self._damaged(self._index_path, int(state[index.SERIES_AT]), SERIES_PROBLEMS[code])
                state[index.SERIES_AT] = (
                    self._series_end if code == index.BEYOND_SERIES else state[index.SERIES_NEEDS])
            rows = int(state[index.SERIES_ROWS])
            yield from self._decode(chunks[: state[index.SERIES_CHUNKS]], keys[: int(state[index.SERIES_KEYS]) + 16],
                                    offset[:rows], length[:rows], ref[:rows], secret)
            self.done = int(state[index.SERIES_AT]) - self._series_at
        if state[index.SERIES_REFUSED]:
            reason = LABEL_REASONS[int(state[index.SERIES_REASON])]
            self._notes.refused_series[reason] += int(state[index.SERIES_REFUSED])

    def _decode(self, chunks: NDArray[np.int64], keys: NDArray[np.uint8], offset: NDArray[np.uint32],
                length: NDArray[np.uint32], ref: NDArray[np.int64], secret: NDArray[np.uint64]) -> Iterator[Batch]:
        columns = self._columns
        state = np.zeros(chunk.CHUNK_STATE, np.int64)
        deleted = {}
        if self._tombstones:
            deleted = {row: self._tombstones[each] for row, each in enumerate(ref.tolist())
                       if each in self._tombstones}
        segments = chunks[:, chunk.PLACE] >> 32
        borders = [0, *(np.flatnonzero(np.diff(segments)) + 1).tolist(), len(chunks)]
        for begin, end in pairwise(borders):
            if begin == end:
                continue
            path = self._folder / CHUNKS_NAME / f"{int(segments[begin]) + 1:06}"
            piece = chunks[begin:end]
            state[chunk.CHUNKS_DONE] = 0
            data = self._segment(path)
            while state[chunk.CHUNKS_DONE] < len(piece):
                code = chunk.decode_chunks(
                    data, piece, columns.row, columns.ts, columns.values, columns.starts, columns.payload,
                    columns.scratch, columns.fields, columns.spans, columns.lists, columns.changes, columns.details,
                    columns.refused, state)
                place = int(piece[min(int(state[chunk.CHUNKS_DONE]), len(piece) - 1), chunk.PLACE]) & 0xFFFFFFFF
                if code in CHUNK_PROBLEMS:
                    self._damaged(path, place, CHUNK_PROBLEMS[code])
                    state[chunk.CHUNKS_DONE] += 1
                elif code == chunk.NEED_SCRATCH:
                    columns.scratch = np.empty(2 * int(state[chunk.CHUNK_NEEDS]), np.uint8)
                elif code == chunk.NEED_LISTS:
                    columns.grow_lists(2 * columns.lists.shape[1])
                elif code in (chunk.NEED_SAMPLES, chunk.NEED_PAYLOAD) and state[chunk.CHUNK_SAMPLES]:
                    yield from self._batch(state, keys, offset, length, deleted, secret)
                elif code == chunk.NEED_PAYLOAD:
                    columns.grow_payload()
        yield from self._batch(state, keys, offset, length, deleted, secret)
        columns.note_refused(self._notes)

    def _batch(self, state: NDArray[np.int64], keys: NDArray[np.uint8], offset: NDArray[np.uint32],
               length: NDArray[np.uint32], deleted: dict[int, Intervals], secret: NDArray[np.uint64],
               ) -> Iterator[Batch]:
        """What has been decoded, if anything; room again."""
        count, used = int(state[chunk.CHUNK_SAMPLES]), int(state[chunk.CHUNK_PAYLOAD])
        if not count:
            return
        columns = self._columns
        row, ts, values = columns.row[:count].copy(), columns.ts[:count].copy(), columns.values[:count].copy()
        starts = None
        if state[chunk.CHUNK_STARTS]:
            starts = columns.starts[:count].copy()
            columns.starts[:count] = 0
        state[chunk.CHUNK_SAMPLES] = state[chunk.CHUNK_PAYLOAD] = state[chunk.CHUNK_STARTS] = 0
        if deleted:
            keep = kept(row, ts, deleted)
            row, ts, values, starts = row[keep], ts[keep], values[keep], None if starts is None else starts[keep]
        if not row.size:
            return
        first, past = int(row[0]), int(row[-1]) + 1
        yield make_batch(keys, offset[first:past].copy(), length[first:past].copy(), row - np.uint32(first), ts, values,
                         columns.payload[:used].copy() if used else None, starts, secret)

    def _open_index(self) -> tuple[int, int, NDArray[np.int64]]:
        """(where the series begin, end, symbols)."""
        data = self._index
        size = data.size
        if size < 5 + CONTENTS_BYTES or data[:4].tobytes() != INDEX_MAGIC:
            raise Corruption(f"{self._index_path} is not the index of a Prometheus block: restore it from a backup")
        if data[4] != 2:
            raise Corruption(f"{self._index_path}: version {data[4]} of the index is not known, only 2: have "
                             "Prometheus 2 or 3 compact the block, or import with a newer tsdb")
        if int(checksum(0, data[size - CONTENTS_BYTES : -4])) != _big(data, size - 4, 4):
            raise self._corrupt(size - CONTENTS_BYTES, "the checksum of the table of contents does not match")
        symbols_at, series_at, label_indices, _, postings, table = (
            _big(data, size - CONTENTS_BYTES + 8 * k, 8) for k in range(6))
        series_end = min((place for place in (label_indices, postings, table, size - CONTENTS_BYTES)
                          if place >= series_at), default=0)
        if not 5 <= symbols_at <= size - CONTENTS_BYTES - 12 or not symbols_at < series_at <= series_end <= size:
            raise self._corrupt(size - CONTENTS_BYTES, "the table of contents leads beyond the file")
        length, count = _big(data, symbols_at, 4), _big(data, symbols_at + 4, 4)
        end = symbols_at + 4 + length
        if end + 4 > size or length < 4 or count > length - 4:
            raise self._corrupt(symbols_at, "the symbols reach beyond the file")
        if int(checksum(0, data[symbols_at + 4 : end])) != _big(data, end, 4):
            raise self._corrupt(symbols_at, "the checksum of the symbols does not match")
        symbols = np.empty((count, 2), np.int64)
        if index.read_symbols(data, symbols_at + 8, end, symbols) != end:
            raise self._corrupt(symbols_at, "the symbols cannot be decoded")
        return series_at, series_end, symbols

    def _segment(self, path: Path) -> NDArray[np.uint8]:
        """Of the last two segments, mappings stay. What is no segment is an empty one, told as damage."""
        try:
            data = self._map(path)
        except (FileNotFoundError, Corruption) as problem:
            self._damaged(path, 0, str(problem) if isinstance(problem, Corruption) else "there is no such file")
            return np.zeros(0, np.uint8)
        if data[:4].tobytes() != SEGMENT_MAGIC or data[4] != 1:
            self._damaged(path, 0, "it is not a file of chunks, version 1")
            return np.zeros(0, np.uint8)
        return data

    def _map(self, path: Path) -> NDArray[np.uint8]:
        if path not in self._mappings:
            file = self._fs.open(path)
            try:
                if file.size() < chunk.SEGMENT_HEADER:
                    raise Corruption(f"{path} is empty: {REMEDY}")
                self._mappings[path] = file.map(file.size())
            finally:
                file.close()
        return self._mappings[path].array

    def _corrupt(self, at: int, problem: str) -> Corruption:
        return Corruption(f"{self._index_path} at byte {at}: {problem}: {REMEDY}")

    def _damaged(self, path: Path, at: int, problem: str) -> None:
        """Raises Corruption, or takes a note."""
        if not self._notes.skip_damaged:
            raise Corruption(f"{path} at byte {at}: {problem}: {REMEDY}")
        self._notes.damaged.append(f"{path} at byte {at}: {problem}")


def _big(data: NDArray[np.uint8], at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size].tobytes(), "big")


