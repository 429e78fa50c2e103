"""The storage's durability in a few lines of plain Python: what the crash model is checked on.

Samples are logged, then applied to a head of dicts. A full chunk, or one whose window has ended, is appended to the
file of its window without a sync. Once the newest sample is GRACE past a window's end: seal the window's open chunks,
sync its file and the folder, write a checkpoint, drop the segments that hold only samples before the window's end.

What this model taught, beside the order of the steps above:

- Replay skips samples that a sealed chunk covers *of the same window*. A later window's chunk may have reached the disk
  while an earlier one's, not yet synced, did not.
- New refs are above those in the log *and* those in chunk files. A chunk may outlive the log records that named its
  series; a later series of that ref would inherit its samples.
- What a replay served must be synced before anything is acknowledged on top of it: a repeated sample is acknowledged
  without being logged again.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.wal.collector import sample_columns, samples_in, series_columns
from tsdb.kernels.crc32c_kernels import checksum
from tsdb.model.batch import Metadata
from tsdb.wal import File, FileSystem, SampleColumns, StartColumns, TombstoneColumns, Wal, WalOptions, write_all
from tsdb.wal.exemplars import ExemplarColumns
from tsdb.wal.replay import Replayed, ReplayProgress

WINDOW = 40
GRACE = 20
CHUNK_SAMPLES = 3
DATA = Path("/data")
_CHUNK = struct.Struct("<IIQQ")  # crc, samples, ref, window

Sample = tuple[str, int, int]
"""Key, ts, value."""


@dataclass(frozen=True)
class Mistakes:
    """Ways to do it wrong, for the test that shows that the model notices."""

    skip_by_series: bool = False
    """Replay compares with the newest sealed sample of any window."""
    refs_from_log_only: bool = False
    drop_before_seal: bool = False
    """The checkpoint and the dropping come before the chunks are synced."""
    forget_open_chunks: bool = False
    """The window's file is synced without sealing what is still open."""
    border_without_seal: bool = False
    """Truncation drops segments up to the newest sample instead of the window's end."""


class ReferenceStore:
    def __init__(self, fs: FileSystem, options: WalOptions, mistakes: Mistakes | None = None) -> None:
        self._fs = fs
        self._mistakes = mistakes or Mistakes()
        self.refs: dict[str, int] = {}
        self.border = 0
        self._next_ref = 1
        self._open: dict[tuple[int, int], list[tuple[int, int]]] = {}
        self._sealed: dict[tuple[int, int], list[tuple[int, int]]] = {}
        self._files: dict[int, tuple[File, int]] = {}
        self._log = Wal.open(fs, DATA / "wal", options)
        self.replayed: Replayed = self._log.replay(self)

    # What the log calls

    def series(self, refs: NDArray[np.uint64], keys: NDArray[np.uint8], offsets: NDArray[np.uint64],
               lengths: NDArray[np.uint64]) -> None:
        data = keys.tobytes()
        for ref, offset, length in zip(refs.tolist(), offsets.tolist(), lengths.tolist(), strict=True):
            self.refs[data[offset : offset + length].decode()] = ref
            self._next_ref = max(self._next_ref, ref + 1)

    def metadata(self, rows: list[Metadata]) -> None:
        pass

    def after_checkpoint(self, sections: dict[str, Any]) -> int | None:
        self.border = sections.get("border", 0)
        for name in self._fs.listdir(DATA / "chunks"):
            self._scan(int(name))
        return self.border

    def samples(self, columns: SampleColumns) -> None:
        for ref, at, value in samples_in(columns):
            if at < self.border or ref not in self.refs.values():
                continue
            if at > self._newest_sealed(ref, at // WINDOW):
                self._apply(ref, at, value)

    def late(self, columns: SampleColumns) -> None:
        raise AssertionError("this store logs no late samples")

    late_through = 0

    def tombstones(self, deleted: TombstoneColumns) -> None:
        pass

    def exemplars(self, columns: ExemplarColumns) -> None:
        pass

    def starts(self, columns: StartColumns) -> None:
        pass

    def progress(self, at: ReplayProgress) -> None:
        pass

    # What users call

    def commit(self, samples: list[Sample]) -> list[Sample]:
        """Returns what is stored: neither duplicates nor samples out of order or bounds. Raises Unavailable."""
        new: dict[str, int] = {}
        accepted: list[Sample] = []
        newest: dict[int, int] = {}
        for key, ts, value in samples:
            ref = self.refs.get(key) or new.setdefault(key, self._next_ref + len(new))
            if ts >= self.border and ts > newest.get(ref, self._newest(ref)):
                newest[ref] = ts
                accepted.append((key, ts, value))
        refs = {**self.refs, **new}
        logged = [(refs[key], ts, value) for key, ts, value in accepted]
        self._log.append(series=series_columns({ref: key.encode() for key, ref in new.items()}) if new else None,
                         samples=sample_columns(logged))
        self._next_ref += len(new)
        self.refs.update(new)
        for ref, ts, value in logged:
            self._apply(ref, ts, value)
        return accepted

    def maintain(self) -> None:
        """Seals and truncates if it is time. Raises Unavailable."""
        newest = max((chunk[-1][0] for chunk in (*self._open.values(), *self._sealed.values()) if chunk), default=0)
        border = (newest - GRACE) // WINDOW * WINDOW
        if border <= self.border:
            return
        if self._mistakes.drop_before_seal:
            self._truncate(border)
        for ref, window in sorted(self._open):
            if (window + 1) * WINDOW <= border and not self._mistakes.forget_open_chunks:
                self._seal(ref, window)
        for window, (file, _) in self._files.items():
            if (window + 1) * WINDOW <= border:
                file.datasync()
        self._fs.sync_directory(DATA / "chunks")
        self._truncate(newest if self._mistakes.border_without_seal else border)

    def sync(self) -> None:
        self._log.sync()

    def content(self) -> dict[str, list[tuple[int, int]]]:
        """All samples of every series."""
        found: dict[str, list[tuple[int, int]]] = {}
        for key, ref in self.refs.items():
            windows = sorted({window for owner, window in (*self._sealed, *self._open) if owner == ref})
            samples = [sample for window in windows for part in (self._sealed, self._open)
                       for sample in part.get((ref, window), [])]
            if samples:
                found[key] = samples
        return found

    # Head and chunk files

    def _newest(self, ref: int) -> int:
        return max((chunk[-1][0] for (owner, _), chunk in (*self._open.items(), *self._sealed.items())
                    if owner == ref and chunk), default=-1)

    def _newest_sealed(self, ref: int, window: int) -> int:
        chunks = (chunk for (owner, of), chunk in self._sealed.items()
                  if owner == ref and (of == window or self._mistakes.skip_by_series))
        return max((chunk[-1][0] for chunk in chunks), default=-1)

    def _apply(self, ref: int, ts: int, value: int) -> None:
        window = ts // WINDOW
        for owner, of in list(self._open):
            if owner == ref and of < window:
                self._seal(owner, of)
        chunk = self._open.setdefault((ref, window), [])
        chunk.append((ts, value))
        if len(chunk) >= CHUNK_SAMPLES:
            self._seal(ref, window)

    def _seal(self, ref: int, window: int) -> None:
        chunk = self._open.pop((ref, window))
        file, end = self._file(window)
        body = b"".join(struct.pack("<qQ", *sample) for sample in chunk)
        head = _CHUNK.pack(0, len(chunk), ref, window)[4:]
        data = struct.pack("<I", _crc(head + body)) + head + body
        write_all(file, data, end)
        self._files[window] = (file, end + len(data))
        self._sealed.setdefault((ref, window), []).extend(chunk)

    def _file(self, window: int) -> tuple[File, int]:
        if window not in self._files:
            self._fs.mkdir(DATA / "chunks")
            file = self._fs.open(DATA / "chunks" / f"{window:08d}", writable=True, create=True)
            self._files[window] = (file, 0)
        return self._files[window]

    def _scan(self, window: int) -> None:
        file, _ = self._file(window)
        data = file.pread(file.size(), 0)
        end = 0
        while end + _CHUNK.size <= len(data):
            crc, count, ref, of = _CHUNK.unpack_from(data, end)
            stop = end + _CHUNK.size + 16 * count
            if stop > len(data) or crc != _crc(data[end + 4 : stop]) or of != window:
                break
            samples = list(struct.iter_unpack("<qQ", data[end + _CHUNK.size : stop]))
            self._sealed.setdefault((ref, window), []).extend((ts, value) for ts, value in samples)
            if not self._mistakes.refs_from_log_only:
                self._next_ref = max(self._next_ref, ref + 1)
            end = stop
        if end < len(data):
            file.truncate(end)
        self._files[window] = (file, end)

    def _truncate(self, border: int) -> None:
        through = self._log.covered_segment(border)
        if through:
            series = series_columns({ref: key.encode() for key, ref in self.refs.items()})
            self._log.write_checkpoint(through, [series], sections={"border": border})
            self._log.drop_through(through)
        self.border = border


def _crc(data: bytes) -> int:
    return checksum(0, np.frombuffer(data, np.uint8))
