"""A block, opened: found by matchers, decoded in tiles, removed when its last reader lets go."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.crc32c_kernels import checksum
from tsdb.model.errors import Corruption, FormatTooNew
from tsdb.model.matchers import Matcher
from tsdb.model.tiles import SeriesSet, Symbols
from tsdb.storage.block import chunk_kernels
from tsdb.storage.block.folders import remove_files, take_away
from tsdb.storage.block.histogram_reading import Decoded, Places, decode_kinds
from tsdb.storage.block.label_texts import LabelTexts
from tsdb.storage.block.layout import (
    CHUNKS_HEADER_BYTES,
    CHUNKS_MAGIC,
    CHUNKS_NAME,
    CHUNKS_VERSION,
    FINGERPRINT_BYTES,
    INDEX_NAME,
    META_NAME,
)
from tsdb.storage.block.match_kernels import gather_pairs
from tsdb.storage.block.matching import Matching
from tsdb.storage.block.meta import VERSION, BlockMeta
from tsdb.storage.block.sections import Index, check_header, damaged, without_remedy
from tsdb.storage.block.start_section import has_starts, read_starts
from tsdb.storage.block.symbols import SymbolTable
from tsdb.storage.block.tombstones_file import NAME as TOMBSTONES_NAME
from tsdb.storage.block.tombstones_file import read_tombstones
from tsdb.storage.query_symbols import QuerySymbols
from tsdb.storage.starts.runs import StartRuns
from tsdb.storage.tombstones import Tombstones
from tsdb.wal.files import FileSystem, Mapping

log = logging.getLogger(__name__)

MOST_DAMAGED = 100
"""Chunks that are named where many are damaged."""
SCRATCH_WORDS = chunk_kernels.SCRATCH_WORDS


@dataclass(frozen=True, slots=True)
class ChunkRanges:
    """For n rows, their chunks that touch mint..maxt. What `Block.decode` needs of the index is checked."""

    mint: int
    """ms, inclusive"""
    maxt: int
    """ms, inclusive"""
    begin: NDArray[np.int64]
    """i64[n]: numbers of chunks in the block"""
    end: NDArray[np.int64]
    """i64[n]"""
    samples: NDArray[np.int64]
    """i64[n]: how many these chunks hold, some of them perhaps beyond mint..maxt"""
    likely: NDArray[np.int64]
    """i64[n]: about how many of them are within mint..maxt"""

    def take(self, rows: NDArray[np.int64]) -> ChunkRanges:
        """Those of the given rows, in that order."""
        return ChunkRanges(self.mint, self.maxt, self.begin[rows], self.end[rows], self.samples[rows],
                           self.likely[rows])


class Block:
    """An open block. Rows (i32) are the numbers of its series, which are sorted by labels. Any thread may read.

    Everything that is read is checked first: the index in pages, when they are first touched, and each chunk every
    time it is decoded. Methods that read raise Corruption.
    """

    def __init__(self, fs: FileSystem, path: Path, meta: BlockMeta, index: Index, mappings: Sequence[Mapping],
                 tombstones: Tombstones, left_out: Sequence[tuple[Path, Corruption]] = ()) -> None:
        """See `open`."""
        self.left_out = left_out
        """Files that are damaged and that the block does without: meta.json, of which the index has a copy; tombstones,
        without which what was deleted is there again; chunks, of which those that are sound can be read."""
        self.path = path
        self.meta = meta
        self.index = index
        self.chunks: NDArray[np.uint8] = mappings[1].array
        """The mapped file of chunks, not checked."""
        self.columns = _columns(index, self.chunks, meta.mint)
        """For kernels that decode chunks, as long as the block is acquired: `chunk_kernels.CHUNKS` and so on."""
        self.symbols = SymbolTable(index)
        self.tombstones = tombstones
        """By row. Replaced as a whole, under the lock of the list that has the block; `decode` knows none of them."""
        self._matching = Matching(index, self.symbols)
        self._label_texts = LabelTexts(index, self.symbols)
        self._fs = fs
        self._mappings = mappings
        self._bytes = sum(mapping.array.size for mapping in mappings)
        self._lock = threading.Lock()
        self._readers = 1
        self._ends: tuple[int, int, int, int] | None = None
        self._removed: Path | None = None

    @classmethod
    def open(cls, fs: FileSystem, path: Path) -> Self:
        """Maps a block; reads meta.json and the table of contents. The caller is its first reader, and looks at
        `left_out`.

        Raises Corruption, FormatTooNew, OSError.
        """
        left_out = []
        mappings = [_map(fs, path / INDEX_NAME)]
        try:
            index = Index(path / INDEX_NAME, mappings[0].array)
            try:
                meta = _meta(path / META_NAME, _read(fs, path / META_NAME), index)
            except Corruption as problem:
                copy = index.meta_text()
                if copy is None:
                    raise damaged(path / META_NAME, without_remedy(problem).removeprefix(f"{path / META_NAME}: ")
                                  + ", and the index has no sound copy of it") from None
                meta = _meta(path / META_NAME, copy, index)
                left_out.append((path / META_NAME, problem))
            mappings.append(_map(fs, path / CHUNKS_NAME))
            chunks = mappings[1].array
            if index.columns:
                expected = int(index["column_offset"].part(index.columns, index.columns + 1)[0])
            else:
                expected = int(index["chunk_offset"].part(index.chunks, index.chunks + 1)[0])
            try:
                check_header(path / CHUNKS_NAME, chunks[:CHUNKS_HEADER_BYTES].tobytes(), CHUNKS_MAGIC, CHUNKS_VERSION,
                             "chunks")
                if chunks.size != expected:
                    raise damaged(path / CHUNKS_NAME, f"has {chunks.size} bytes, not {expected}")
            except Corruption as problem:
                left_out.append((path / CHUNKS_NAME, problem))
            try:
                tombstones = read_tombstones(fs, path, index.series)
            except Corruption as problem:
                tombstones = Tombstones.none()
                left_out.append((path / TOMBSTONES_NAME, problem))
            return cls(fs, path, meta, index, mappings, tombstones, left_out)
        except Exception:
            for mapping in mappings:
                mapping.close()
            raise

    def __len__(self) -> int:
        """How many series it has."""
        return self.index.series

    @property
    def bytes(self) -> int:
        """Of its files, tombstones left aside."""
        return self._bytes

    def acquire(self) -> None:
        """One more reader. Only while there is one: under the lock of the list that has the block."""
        with self._lock:
            if self._readers == 0:
                raise ValueError(f"{self.path} is closed")
            self._readers += 1

    def release(self) -> None:
        """A reader lets go. The last one closes the block, and removes its files if it was to be removed."""
        with self._lock:
            self._readers -= 1
            last = self._readers == 0
        if last:
            self.index.close()
            self.chunks = np.zeros(0, np.uint8)
            for mapping in self._mappings:
                mapping.close()
            if self._removed is not None:
                try:
                    remove_files(self._fs, self._removed)
                except OSError as problem:
                    log.warning("%s could not be removed: %s; the next start does it", self._removed, problem)

    def remove_when_released(self) -> None:
        """The next start will not find it; its files go when the last reader lets go. Raises OSError."""
        self._removed = take_away(self._fs, self.path)

    def find(self, matchers: Sequence[Matcher]) -> NDArray[np.int32]:
        """Rows of the series that satisfy all matchers: i32, sorted. BadData for a regex that is none."""
        return self._matching.find(matchers)

    def series_set(self, rows: NDArray[np.int32], symbols: Symbols | None = None) -> SeriesSet:
        """Label sets of rows; ids are those of the block's symbols, `symbols` by default new ones."""
        offsets, pairs = self.pairs(rows)
        at = pairs.astype(np.int64)
        return SeriesSet(offsets, self.index["pair_name"].at(at), self.index["pair_value"].at(at),
                         symbols or QuerySymbols(self.symbols))

    def pairs(self, rows: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """(offsets i64[n + 1], pairs u32[]) of rows: those of row i are at offsets[i]:offsets[i + 1]."""
        offset, label = self.index["label_offset"], self.index["label_pair"]
        at = rows.astype(np.int64)
        begin, end = offset.at(at), offset.at(at + 1)
        label.check_spans(begin, end)
        offsets = np.zeros(rows.size + 1, np.int64)
        np.cumsum(end.astype(np.int64) - begin, out=offsets[1:])
        out = np.empty(int(offsets[-1]), np.uint32)
        gather_pairs(rows, offset.array, label.raw, label.width, offsets, out)
        return offsets, out

    def fingerprints(self, rows: NDArray[np.int32]) -> NDArray[np.uint8]:
        """u8[n, 16]: BLAKE2b of the canonical keys of rows."""
        section = self.index["fingerprint"]
        at = rows.astype(np.int64)
        section.check_spans(at * FINGERPRINT_BYTES, (at + 1) * FINGERPRINT_BYTES)
        return section.array.reshape(-1, FINGERPRINT_BYTES)[rows]

    def label_names(self, rows: NDArray[np.int32] | None = None) -> list[str]:
        """Sorted names of the labels of rows, by default of all: these are not to be changed."""
        if rows is None:
            return self._label_texts.every(None)
        return self.symbols.texts_of(np.unique(self.index["pair_name"].at(self._used_pairs(rows))).tolist())

    def label_values(self, name: str, rows: NDArray[np.int32] | None = None) -> list[str]:
        """Sorted values of a label among rows, by default among all series: these are not to be changed."""
        if rows is None:
            return self._label_texts.every(name)
        low, high = self.symbols.pairs_of(name.encode("utf-8", "surrogateescape"))
        used = self._used_pairs(rows)
        return self.symbols.texts_of(self.index["pair_value"].at(used[(used >= low) & (used < high)]).tolist())

    def chunk_ranges(self, rows: NDArray[np.int32], mint: int, maxt: int) -> ChunkRanges:
        """Where the chunks of rows are that touch mint..maxt (ms, inclusive)."""
        index = self.index
        at = rows.astype(np.int64)
        first, past = index["series_chunk"].at(at), index["series_chunk"].at(at + 1)
        for name in ("chunk_mint", "chunk_maxt", "chunk_samples"):
            index[name].check_spans(first, past)
        begin, end, most, likely = (np.empty(rows.size, np.int64) for _ in range(4))
        chunk_kernels.chunk_ranges(
            rows, index["series_chunk"].array, index["chunk_mint"].raw, index["chunk_maxt"].raw,
            index["chunk_mint"].width, self.meta.mint, mint, maxt, index["chunk_samples"].array, begin, end, most,
            likely,
        )
        index["chunk_form"].check_spans(begin, end)
        index["chunk_offset"].check_spans(begin, end + 1)
        return ChunkRanges(mint, maxt, begin, end, most, likely)

    def spans(self, rows: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(first i64[n], last i64[n]): times of the oldest and newest sample of each row, ms."""
        index, at = self.index, rows.astype(np.int64)
        first, past = (index["series_chunk"].at(each).astype(np.int64) for each in (at, at + 1))
        return (index["chunk_mint"].at(first).astype(np.int64) + self.meta.mint,
                index["chunk_maxt"].at(past - 1).astype(np.int64) + self.meta.mint)

    def all_touch(self, mint: int, maxt: int) -> bool:
        """Whether every series surely has a sample within mint..maxt (ms, inclusive): its first or its last."""
        if mint <= self.meta.mint and self.meta.maxt <= maxt + 1:
            return True
        if self._ends is None:
            first, last = self.spans(np.arange(len(self), dtype=np.int32))
            self._ends = int(first.min()), int(first.max()), int(last.min()), int(last.max())
        least_first, greatest_first, least_last, greatest_last = self._ends
        return (mint <= least_first and greatest_first <= maxt) or (mint <= least_last and greatest_last <= maxt)

    @property
    def has_starts(self) -> bool:
        """Whether any sample has a start time."""
        return has_starts(self.index)

    def starts(self, rows: NDArray[np.int32]) -> StartRuns:
        """Runs of start times of rows (i32[n], any order), by row; there may be those of other rows, too."""
        return read_starts(self.index, self.meta.mint, rows) if rows.size and self.has_starts else StartRuns.none()

    def decode(self, ranges: ChunkRanges, first: int, end: int,
               ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]:
        """Decodes rows first:end of `chunk_ranges`, as for a `Tile`: (begin i64[rows], end i64[rows], ts i64[] ms,
        values u64[] bits). Of blocks without histograms."""
        begins, ends = ranges.begin[first:end], ranges.end[first:end]
        room = int(ranges.samples[first:end].sum())
        out_begin, out_end = np.empty(end - first, np.int64), np.empty(end - first, np.int64)
        ts, values = np.empty(room, np.int64), np.empty(room, np.uint64)
        state, chunk = chunk_kernels.decode_rows(
            self.columns, begins, ends, ranges.mint, ranges.maxt, np.empty(24, np.uint8),
            np.empty(SCRATCH_WORDS, np.uint64), out_begin, out_end, ts, values,
        )
        if state != chunk_kernels.SOUND:
            raise self.problem(state, chunk)
        return out_begin, out_end, ts, values

    def decode_kinds(self, ranges: ChunkRanges, first: int, end: int) -> Decoded:
        """As `decode`, with histograms."""
        if not self.meta.stats.histograms:
            return Decoded(*self.decode(ranges, first, end))
        rows = end - first
        places = Places(self.columns.reshape(1, -1), np.arange(rows + 1), np.zeros(rows, np.int32),
                        ranges.begin[first:end], ranges.end[first:end])
        found, state, _, chunk = decode_kinds(places, 0, rows, ranges.mint, ranges.maxt,
                                              int(ranges.samples[first:end].sum()))
        if state != chunk_kernels.SOUND:
            raise self.problem(state, chunk)
        return found

    def problem(self, state: int, chunk: int) -> Corruption | FormatTooNew:
        """What a kernel's state says of a chunk."""
        if state == chunk_kernels.UNKNOWN_FORM:
            return FormatTooNew(f"{self.path}: chunk {chunk} is of a kind or codec that this tsdb does not read: "
                                "use a newer tsdb")
        return damaged(self.path / CHUNKS_NAME, f"chunk {chunk} is damaged")

    def problems(self) -> Iterator[Corruption]:
        """Reads every byte; all that is damaged, at most one for each section, and for MOST_DAMAGED chunks."""
        yield from (problem for _, problem in self.left_out)
        wrong = False
        for problem in self.index.problems():
            wrong = True
            yield problem
        if not wrong:  # else it is not known where chunks begin, or what their checksums are of
            for chunk in self.damaged_chunks(MOST_DAMAGED):
                yield damaged(self.path / CHUNKS_NAME, f"chunk {chunk} is damaged, or the column of its times is")

    def damaged_chunks(self, most: int, first: int = 0, end: int | None = None) -> list[int]:
        """Numbers of chunks whose checksum is wrong, or that of the column of their times, at most so many, among
        first:end, by default all of them. The index must be sound."""
        past = self.index.chunks if end is None else end
        found: list[int] = []
        while first < past and len(found) < most:
            first = chunk_kernels.check_chunks(first, past, self.columns, np.empty(24, np.uint8))
            if first < past:
                found.append(first)
            first += 1
        return found

    def write_mended(self) -> list[Corruption]:
        """Writes the index as it was, where it is damaged and that could be told: see `Index.mended`. What was damaged.
        In the maintenance's thread. OSError."""
        return list(self.index.write_mended(self._fs).values())

    def verify(self) -> None:
        """Reads every byte. Raises Corruption for the first that is damaged."""
        for problem in self.problems():
            raise problem

    def _used_pairs(self, rows: NDArray[np.int32]) -> NDArray[np.int64]:
        used = np.zeros(self.index["pair_name"].size, np.bool_)
        used[self.pairs(rows)[1]] = True
        return np.flatnonzero(used)


def _read(fs: FileSystem, path: Path) -> bytes:
    try:
        file = fs.open(path)
    except FileNotFoundError:
        raise damaged(path, "is missing") from None
    try:
        return file.pread(file.size(), 0)
    finally:
        file.close()


def _map(fs: FileSystem, path: Path) -> Mapping:
    try:
        file = fs.open(path)
    except FileNotFoundError:
        raise damaged(path, "is missing") from None
    try:
        if file.size() == 0:
            raise damaged(path, "is empty")
        return file.map(file.size())
    finally:
        file.close()


def _meta(path: Path, text: bytes, index: Index) -> BlockMeta:
    if int(checksum(0, np.frombuffer(text, np.uint8))) != index.meta_crc:
        raise damaged(path, "is not as it was written (its checksum is not the one that the index has)")
    try:
        version = json.loads(text)["version"]
        if isinstance(version, int) and version > VERSION:
            raise FormatTooNew(f"{path}: has format {version}, this tsdb reads up to {VERSION}: use a newer tsdb")
        meta = BlockMeta.from_json(text)
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise damaged(path, f"is not readable ({problem})") from None
    if (meta.ulid, meta.mint, meta.maxt) != (index.ulid, index.mint, index.maxt) or path.parent.name != meta.ulid:
        raise damaged(path, "belongs to another block")
    return meta


def _columns(index: Index, chunks: NDArray[np.uint8], mint: int) -> NDArray[np.uint64]:
    """In the order of the places in `chunk_kernels`."""
    mints, maxts, offsets, samples, forms = (
        _address(index[f"chunk_{name}"].raw) for name in ("mint", "maxt", "offset", "samples", "form"))
    return np.array([_address(chunks), chunks.size, mints, maxts, offsets, index["chunk_mint"].width,
                     index["chunk_offset"].width, mint & (1 << 64) - 1, samples, forms, index.columns,
                     _address(index["column_offset"].raw), index["column_offset"].width,
                     _address(index["column_samples"].raw)], np.uint64)


def _address(array: NDArray[np.uint8]) -> int:
    return int(array.__array_interface__["data"][0])
