"""Checking the write-ahead log: everything is decoded, as a replay does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.hash_kernels import hash_rows, new_secret
from tsdb.model.batch import Metadata
from tsdb.model.errors import Corruption
from tsdb.storage.checking.findings import Finding, Progress, Report, Severity
from tsdb.storage.head.layout import MAX_REF, NO_TS
from tsdb.wal import SampleColumns, StartColumns, TombstoneColumns, segments
from tsdb.wal.exemplars import ExemplarColumns
from tsdb.wal.files import FileSystem
from tsdb.wal.replay import ReplayProgress, replay

BORDER = "border"


class LogContents:
    """What a log says; a `ReplayHandler`."""

    late_through = 0

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._secret = new_secret()
        self.keys = np.zeros(1 << 16, np.uint64)
        """u64[refs]: a hash of the series' key, 0: no series has that ref"""
        self.border = NO_TS
        self.in_blocks = NO_TS
        """ms: samples before it are in blocks."""
        self.series_count = self.samples_count = self.unknown = self.unknown_series = self.doubled = 0
        self.mint, self.maxt = -NO_TS - 1, NO_TS
        self.unknown_mint, self.unknown_maxt = -NO_TS - 1, NO_TS

    def knows(self, refs: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of refs (u64[n]) a record names."""
        inside = refs < self.keys.size
        known: NDArray[np.bool_] = self.keys[np.where(inside, refs, 0)] != 0
        return inside & known

    def series(self, refs: NDArray[np.uint64], keys: NDArray[np.uint8], offsets: NDArray[np.uint64],
               lengths: NDArray[np.uint64]) -> None:
        hashes = np.empty(refs.size, np.uint64)
        hash_rows(self._secret, keys, offsets.astype(np.uint32), lengths.astype(np.uint32), hashes)
        hashes |= np.uint64(1)
        if refs.size == 0 or int(refs.max()) >= MAX_REF:
            return
        self._make_room(int(refs.max()) + 1)
        before = self.keys[refs]
        self.doubled += int(((before != 0) & (before != hashes)).sum())
        self.series_count += int((before == 0).sum())
        self.keys[refs] = hashes

    def metadata(self, rows: list[Metadata]) -> None:
        pass

    def after_checkpoint(self, sections: dict[str, Any]) -> int | None:
        self.border = int(sections.get(BORDER, NO_TS))
        return None

    def samples(self, columns: SampleColumns) -> None:
        self._take(columns.refs, columns.ts, columns.ts >= max(self.border, self.in_blocks))

    def late(self, columns: SampleColumns) -> None:
        self._take(columns.refs, columns.ts, np.zeros(columns.ts.size, np.bool_))

    def tombstones(self, deleted: TombstoneColumns) -> None:
        pass

    def exemplars(self, columns: ExemplarColumns) -> None:
        pass

    def starts(self, columns: StartColumns) -> None:
        pass

    def progress(self, at: ReplayProgress) -> None:
        self._progress("log", at.done)

    def _take(self, refs: NDArray[np.uint64], ts: NDArray[np.int64], needed: NDArray[np.bool_]) -> None:
        self.samples_count += refs.size
        if refs.size == 0:
            return
        self.mint, self.maxt = min(self.mint, int(ts.min())), max(self.maxt, int(ts.max()))
        unknown = needed & ~self.knows(refs)
        if unknown.any():
            self.unknown += int(unknown.sum())
            self.unknown_series = max(self.unknown_series, np.unique(refs[unknown]).size)
            self.unknown_mint = min(self.unknown_mint, int(ts[unknown].min()))
            self.unknown_maxt = max(self.unknown_maxt, int(ts[unknown].max()))

    def _make_room(self, size: int) -> None:
        if size > self.keys.size:
            larger = np.zeros(max(size, self.keys.size * 2), np.uint64)
            larger[: self.keys.size] = self.keys
            self.keys = larger


def check_log(fs: FileSystem, data: Path, report: Report, progress: Progress, in_blocks: int, *,
              stopped: bool) -> LogContents:
    """Reads the whole log. `in_blocks`: samples in order before it are in blocks (ms); `stopped`: it was closed, so
    that no write can have been interrupted. Raises FormatTooNew, OSError."""
    folder = data / "wal"
    contents = LogContents(progress)
    contents.in_blocks = in_blocks
    kind = report.kinds["log"]
    names = fs.listdir(folder)
    for name in names:
        if not segments.segment_numbers([name]) and not segments.checkpoint_numbers([name]) \
                and not name.endswith(".tmp"):
            report.add(Finding(Severity.NOTICE, folder / name, "is none of the log's files", "It is left alone."))
    try:
        found = replay(fs, folder, contents)
    except Corruption as problem:
        report.add(Finding(Severity.DAMAGE, folder, str(problem)), "log")
        return contents
    for text in found.damage:
        path, _, what = text.partition(": ")
        in_checkpoint, header = "checkpoint" in Path(path).name, "header is damaged" in what
        report.add(Finding(
            Severity.DAMAGE, Path(path), what,
            "Series lose their names, and with them the samples of the last hours that are not in blocks yet; they "
            "begin anew with their next sample." if in_checkpoint and not header else
            "Nothing is lost where nothing else is told of it." if header else
            "Samples of the last hours are lost where no file of sealed chunks has them.",
            "A start leaves it out and serves the rest. It goes when what is around it is in blocks (at once: POST "
            "/api/v1/admin/tsdb/compact).",
        ), "log")
    if found.torn and stopped:
        report.add(Finding(
            Severity.DAMAGE, folder, f"the last {found.torn} bytes cannot be read, although the server was stopped",
            "Nothing is lost as long as the saved head is whole, which has what the log says.",
            "Nothing: the next start takes the saved head."), "log")
    elif found.torn and report.process is None:
        report.add(Finding(Severity.NOTICE, folder, f"the last {found.torn} bytes are no whole commit",
                           "A crash or a power cut interrupted a write that was not acknowledged.",
                           "Nothing: the next start cuts it off."))
    if contents.doubled:
        report.add(Finding(Severity.DAMAGE, folder, f"{contents.doubled} references of series name two series",
                           "Samples may belong to another series.", "Please report it with this directory: it is a "
                           "mistake of tsdb's."), "log")
    if contents.unknown:
        report.add(Finding(
            Severity.DAMAGE, folder, f"{contents.unknown} samples are of series that no record names",
            "They are lost: the records that named their series are damaged or gone.",
            "Nothing brings them back; the series begin anew with their next sample.",
            series_count=contents.unknown_series, mint=contents.unknown_mint, maxt=contents.unknown_maxt + 1,
        ), "log")
    kind.items, kind.samples = sum(state.records for state in found.segments), contents.samples_count
    if contents.samples_count:
        kind.add_times(contents.mint, contents.maxt)
    return contents
