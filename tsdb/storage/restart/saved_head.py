"""The saved head: what a clean stop leaves in `<data>/head/saved`, so that the next start reads no log and no window.

It holds the series in use, numbered anew without gaps, with their records and the used words of their open chunks, the
chains of the windows, late samples, tombstones and metadata. Series come in pieces, each a group of sections, so that
little memory is needed to write them. It is worth something only with the very files it was saved beside; where any
of them differs, or anything in it is damaged, it is left alone and the log is replayed.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from tsdb.model.batch import Metadata
from tsdb.model.errors import Corruption, FormatTooNew
from tsdb.storage.block.text_kernels import copy_texts
from tsdb.storage.head import index_kernels, layout
from tsdb.storage.head.head import Head
from tsdb.storage.head.layout import CHUNK_BITS, CHUNK_WORDS
from tsdb.storage.head.payloads import KnownPayloads
from tsdb.storage.head.series_table import SeriesTable
from tsdb.storage.head.windows import KnownWindow
from tsdb.storage.late.late import Run
from tsdb.storage.restart import saved_head_kernels
from tsdb.storage.restart.section_file import SectionFile, SectionWriter
from tsdb.storage.tombstones import Tombstones
from tsdb.wal.exemplars import ExemplarColumns
from tsdb.wal.files import FileSystem

log = logging.getLogger(__name__)

FOLDER, NAME = "head", "saved"
MAGIC, VERSION = b"TSDBHEAD", 3
WITHOUT_STARTS, WITHOUT_HISTOGRAMS = 2, 1
"""The versions of a head that has no start times, and no histograms either."""
AT_ONCE = 1 << 15
"""Series of a piece: 15 MB while it is written."""
LAYOUT = f"{layout.HEAD.descr} {CHUNK_WORDS} {layout.WINDOW_MS}"
"""Of records and open chunks. Another one is no use to us."""
THREADS = 2
"""That read a saved head."""


def save(fs: FileSystem, data: Path, head: Head, metadata: Mapping[str, Metadata], log_contents: Mapping[str, Any],
         ) -> int:
    """Writes the head, which nobody changes any more, beside the log that has `log_contents` (`Wal.contents`). Returns
    the bytes written. Raises OSError with nothing left but what cannot be removed."""
    fs.mkdir(data / FOLDER)
    late = head.late.columns()
    version = (VERSION if head.starts.active or late.starts is not None else
               WITHOUT_STARTS if head.payloads.every else WITHOUT_HISTOGRAMS)
    writer = SectionWriter(fs, data / FOLDER / NAME, MAGIC, version)
    try:
        _Saving(writer, head, late).write(metadata, log_contents)
        return writer.publish()
    except BaseException:
        writer.abandon()
        raise


class _Saving:
    def __init__(self, writer: SectionWriter, head: Head, late: Run) -> None:
        self._writer = writer
        self._head = head
        self._late = late
        # what a commit that failed has made is not in the log
        self._slots = np.setdiff1d(head.table.live(), head.table.unlogged(), assume_unique=True)

    def write(self, metadata: Mapping[str, Metadata], log_contents: Mapping[str, Any]) -> None:
        head, slots = self._head, self._slots
        windows = head.windows.known()
        pairs = self._names()
        for piece, start in enumerate(range(0, slots.size, AT_ONCE)):
            part = slots[start : start + AT_ONCE]
            self._piece(piece, part, pairs)
            for number, window in enumerate(head.windows.every):
                self._writer.add(f"chain.{piece}.{number}", np.uint64, [window.chain[part]])
        self._others()
        about = {
            "layout": LAYOUT, "series": int(slots.size), "log": dict(log_contents),
            "windows": [window.to_plain() for window in windows],
            "sequences": list(head.windows.sequences.items()),
            "histograms": [file.to_plain() for file in head.payloads.known(head.late.settled)],
            "next_histograms": head.payloads.following,
            "border": head.border, "min_ts": head.min_ts, "max_ts": head.max_ts,
            "open_chunks": int(head.opened[0]), "next_ref": head.table.next_ref, "late_through": head.late.through,
            "metadata": [(row.family, row.type, row.help, row.unit) for row in metadata.values()],
        }
        self._writer.add("about", np.uint8, [np.frombuffer(msgpack.packb(about), np.uint8)])

    def _names(self) -> NDArray[np.uint32]:
        """Writes symbols and pairs that are in use, numbered anew; returns the number of each pair."""
        table, writer = self._head.table, self._writer
        used = np.zeros(table.pairs, np.uint8)
        index_kernels.mark_pairs(self._slots, table.labels, table.label_offset, table.label_count, used)
        pairs = np.flatnonzero(used)
        names, values = table.pair_name[pairs], table.pair_value[pairs]
        used_symbols = np.zeros(table.symbols, np.uint8)
        used_symbols[names] = 1
        used_symbols[values] = 1
        symbols = np.flatnonzero(used_symbols)
        number = _numbers(used_symbols)
        writer.add("pair_name", np.uint32, [number[names]])
        writer.add("pair_value", np.uint32, [number[values]])
        writer.add("symbol_length", np.uint32, [table.symbol_length[symbols]])
        writer.add("symbol_bytes", np.uint8, _texts(table, symbols))
        return _numbers(used)

    def _piece(self, piece: int, slots: NDArray[np.int32], pairs: NDArray[np.uint32]) -> None:
        head, writer = self._head, self._writer
        table = head.table
        records = np.zeros(slots.size, layout.HEAD)
        words = np.empty(slots.size * CHUNK_WORDS, np.uint64)
        counts = np.empty(slots.size, np.uint16)
        labels = np.empty(int(table.label_count[slots].sum(dtype=np.int64)), np.uint32)
        filled, _ = saved_head_kernels.pack(
            slots, head.records, head.chunks, table.labels, table.label_offset, table.label_count, pairs,
            records, words, counts, labels,
        )
        writer.add(f"record.{piece}", np.uint8, [records.view(np.uint8)])
        writer.add(f"word.{piece}", np.uint64, [words[:filled]])
        writer.add(f"label_count.{piece}", np.uint16, [counts])
        writer.add(f"label.{piece}", np.uint32, [labels])

    def _others(self) -> None:
        head, writer, late = self._head, self._writer, self._late
        kept = np.isin(late.slots, self._slots)
        writer.add("late_series", np.int32, [self._renumbered(late.slots[kept])])
        writer.add("late_ts", np.int64, [late.ts[kept]])
        writer.add("late_value", np.uint64, [late.values[kept]])
        if late.starts is not None:
            writer.add("late_start", np.int64, [late.starts[kept]])
        if head.starts.active:
            runs = head.starts.runs()
            kept = np.isin(runs.series, self._slots)
            writer.add("start_series", np.int32, [self._renumbered(runs.series[kept])])
            writer.add("start_ts", np.int64, [runs.ts[kept]])
            writer.add("start_time", np.int64, [runs.starts[kept]])
        deleted = head.tombstones
        kept = np.isin(deleted.series, self._slots)
        writer.add("deleted_series", np.int32, [self._renumbered(deleted.series[kept])])
        writer.add("deleted_mint", np.int64, [deleted.mint[kept]])
        writer.add("deleted_maxt", np.int64, [deleted.maxt[kept]])
        for piece, columns in enumerate(head.exemplars.columns()):
            writer.add(f"exemplars.{piece}", np.uint8, [np.frombuffer(columns.to_bytes(), np.uint8)])

    def _renumbered(self, slots: NDArray[np.int32]) -> NDArray[np.int32]:
        return np.searchsorted(self._slots, slots).astype(np.int32)


def _numbers(used: NDArray[np.uint8]) -> NDArray[np.uint32]:
    return np.cumsum(used, dtype=np.uint32) - np.uint32(1)


def _texts(table: SeriesTable, symbols: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, symbols.size, AT_ONCE):
        part = symbols[start : start + AT_ONCE]
        ends = np.concatenate(([0], np.cumsum(table.symbol_length[part], dtype=np.int64)))
        out = np.empty(int(ends[-1]), np.uint8)
        copy_texts(table.symbol_bytes, table.symbol_offset[part].astype(np.int64), ends, out)
        yield out


@dataclass(frozen=True, slots=True)
class _Piece:
    """Series first:end of a saved head."""

    first: int
    end: int
    records: NDArray[np.void]
    words: NDArray[np.uint64]
    label_counts: NDArray[np.uint16]
    labels: NDArray[np.uint32]
    chains: list[NDArray[np.uint64]]


class SavedHead:
    """A saved head that was found whole, and beside the files that it was saved beside."""

    def __init__(self, file: SectionFile) -> None:
        """Raises Corruption, also where another version of us wrote it."""
        self._file = file
        self._exemplars: list[ExemplarColumns] = []
        try:
            about = msgpack.unpackb(file.take("about", np.uint8).tobytes(), strict_map_key=False)
            if about["layout"] != LAYOUT:
                raise Corruption(f"{file.path}: was written by a version with other records")
            self.log: dict[str, Any] = about["log"]
            self.windows = [KnownWindow(**each) for each in about["windows"]]
            self.histograms = [KnownPayloads(**each) for each in about.get("histograms", ())]
            self._next_histograms = int(about.get("next_histograms", 1))
            self.border, self.next_ref = int(about["border"]), int(about["next_ref"])
            self._sequences = {int(number): int(sequence) for number, sequence in about["sequences"]}
            self._series, self._open_chunks = int(about["series"]), int(about["open_chunks"])
            self._min_ts, self._max_ts = int(about["min_ts"]), int(about["max_ts"])
            self._late_through = int(about["late_through"])
            self._metadata = [Metadata(*map(str, row)) for row in about["metadata"]]
        except (KeyError, TypeError, ValueError, msgpack.exceptions.UnpackException) as problem:
            raise Corruption(f"{file.path}: what it says of itself cannot be read ({problem})") from None

    def check(self) -> None:
        """Reads everything: `load` cannot fail any more. Corruption."""
        file = self._file
        with ThreadPoolExecutor(THREADS, "saved-head") as pool:
            file.check(pool)
            pairs = file.take("pair_name", np.uint32)
            symbols = file.take("symbol_length", np.uint32)
            values = file.take("pair_value", np.uint32, pairs.size)
            texts = file.take("symbol_bytes", np.uint8, int(symbols.sum(dtype=np.int64)))
            sound = max(pairs.max(initial=0), values.max(initial=0)) < max(symbols.size, 1) and texts.size >= 0
            sound &= all(pool.map(lambda piece: self._is_sound(piece, pairs.size), self._pieces()))
            kinds = ["late", "deleted", *(["start"] if "start_series" in file else [])]
            for kind in kinds:
                series = file.take(f"{kind}_series", np.int32)
                sound &= int(series.max(initial=0)) < max(self._series, 1) and int(series.min(initial=0)) >= 0
            file.take("late_ts", np.int64, file["late_series"].size)
            file.take("late_value", np.uint64, file["late_series"].size)
            if "late_start" in file:
                file.take("late_start", np.int64, file["late_series"].size)
            if "start_series" in file:
                file.take("start_ts", np.int64, file["start_series"].size)
                file.take("start_time", np.int64, file["start_series"].size)
            file.take("deleted_mint", np.int64, file["deleted_series"].size)
            file.take("deleted_maxt", np.int64, file["deleted_series"].size)
        while (name := f"exemplars.{len(self._exemplars)}") in file:
            self._exemplars.append(ExemplarColumns.from_bytes(file.take(name, np.uint8).tobytes()))
        if not sound:
            raise Corruption(f"{file.path}: its sections do not fit together")

    def load(self, head: Head, metadata: dict[str, Metadata]) -> None:
        """Fills an empty head. OSError where a file of sealed chunks or histograms cannot be mapped."""
        head.windows.attach(self.windows, self._sequences)
        head.payloads.attach(self.histograms, self._next_histograms)
        with ThreadPoolExecutor(THREADS, "saved-head") as pool:
            chunks = pool.submit(self._load_chunks, head)
            self._load_series(head.table)
            chunks.result()
        head.table.reserve_refs(self.next_ref - 1)
        head.border, head.min_ts, head.max_ts = self.border, self._min_ts, self._max_ts
        head.opened[:] = self._open_chunks
        file = self._file
        late = [name for name in ("late_series", "late_ts", "late_value", "late_start") if name in file]
        head.late.restore(*(file[name].copy() for name in late))
        if "start_series" in file:
            head.starts.restore(*(file[f"start_{column}"].copy() for column in ("series", "ts", "time")))
        head.late.through = self._late_through
        head.tombstones = Tombstones(*(file[f"deleted_{column}"].copy() for column in ("series", "mint", "maxt")))
        for columns in self._exemplars:
            head.exemplars.restore(columns)
        for row in self._metadata:
            metadata[row.family] = row

    def close(self) -> None:
        self._file.close()

    def _pieces(self) -> Iterator[_Piece]:
        """Corruption where one is not there."""
        file = self._file
        for piece, first in enumerate(range(0, self._series, AT_ONCE)):
            end = min(first + AT_ONCE, self._series)
            records = file.take(f"record.{piece}", np.uint8, (end - first) * layout.HEAD.itemsize).view(layout.HEAD)
            counts = file.take(f"label_count.{piece}", np.uint16, end - first)
            labels = file.take(f"label.{piece}", np.uint32, int(counts.sum(dtype=np.int64)))
            chains = [file.take(f"chain.{piece}.{n}", np.uint64, end - first) for n in range(len(self.windows))]
            yield _Piece(first, end, records, file.take(f"word.{piece}", np.uint64), counts, labels, chains)

    def _is_sound(self, piece: _Piece, pairs: int) -> bool:
        bits = piece.records["bits"][piece.records["count"] > 0].astype(np.int64)
        if int(bits.max(initial=0)) > CHUNK_BITS or int(((bits + 63) >> 6).sum()) != piece.words.size:
            return False
        if not piece.records["ref"].all() or int(piece.records["ref"].max(initial=0)) >= self.next_ref:
            return False
        reached = zip(piece.chains, self.windows, strict=True)
        return (int(piece.labels.max(initial=0)) < max(pairs, 1)
                and all(int(chain.max(initial=0)) < max(window.used, 1) for chain, window in reached))

    def _load_chunks(self, head: Head) -> None:
        for piece in self._pieces():
            head.records[piece.first : piece.end] = piece.records
            for window, chain in zip(head.windows.every, piece.chains, strict=True):
                window.chain[piece.first : piece.end] = chain
            saved_head_kernels.restore_chunks(piece.first, piece.end, piece.words, head.records, head.chunks)

    def _load_series(self, table: SeriesTable) -> None:
        """Names, labels and keys, and the hash tables of them, with this process' secret."""
        file = self._file
        lengths, names = file["symbol_length"], file["pair_name"]
        table.make_room(self._series, lengths.size, names.size)
        table.pair_name[: names.size], table.pair_value[: names.size] = names, file["pair_value"]
        saved_head_kernels.restore_names(
            table.secret, file["symbol_bytes"], lengths, table.counters, table.symbol_bytes, table.symbol_offset,
            table.symbol_length, table.symbol_uses, table.symbol_table, table.pair_name[: names.size], table.pair_value,
            table.pair_table,
        )
        for piece in self._pieces():
            saved_head_kernels.restore_series(
                piece.first, table.secret, piece.labels, piece.label_counts, table.counters,
                table.symbol_bytes, table.symbol_offset, table.symbol_length,
                table.pair_name, table.pair_value, table.pair_uses,
                table.labels, table.label_offset, table.label_count,
                table.key_bytes, table.key_offset, table.key_length, table.table,
            )
        table.restored(self._series, lengths.size, names.size)


def find(fs: FileSystem, data: Path) -> SavedHead | None:
    """The saved head of a data directory, checked; None where there is none, or it is of no use. The caller compares
    its `log` and `windows` with what is there, and closes it."""
    try:
        return read(fs, data)
    except (OSError, Corruption, FormatTooNew) as problem:
        log.warning("the saved head is of no use, the log is replayed: %s", problem)
        return None


def read(fs: FileSystem, data: Path) -> SavedHead | None:
    """Likewise; None where there is none. Raises Corruption, FormatTooNew, OSError."""
    path = data / FOLDER / NAME
    if not fs.exists(path):
        return None
    file = SectionFile(fs, path, MAGIC, VERSION)
    try:
        saved = SavedHead(file)
        saved.check()
    except BaseException:
        file.close()
        raise
    return saved


def remove(fs: FileSystem, data: Path, names: Collection[str] = (NAME, NAME + ".tmp")) -> None:
    """Before anything changes: a saved head is worth nothing any more. OSError.

    If a power cut brings it back, the log and the windows are no longer those that it names, or nothing has changed."""
    folder = data / FOLDER
    for name in fs.listdir(folder):
        if name in names:
            fs.unlink(folder / name)
