"""Checking the windows: files of sealed chunks of the last hours."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import Corruption
from tsdb.storage.checking.findings import Finding, Kind, Progress, Report, Severity
from tsdb.storage.checking.log_check import LogContents
from tsdb.storage.checking.window_kernels import (
    BROKEN,
    CHUNKS,
    GREATEST,
    LEAST,
    SAMPLES,
    SCRATCH_WORDS,
    TOTALS,
    UNKNOWN,
    UNREADABLE,
    WITHOUT,
    check_chunks,
)
from tsdb.storage.head.layout import WINDOW_HEADER_BYTES, WINDOW_MS
from tsdb.storage.head.payloads import PayloadView
from tsdb.storage.head.sealed_kernels import DAMAGED, END, next_sealed
from tsdb.storage.head.windows import HEADER
from tsdb.wal.files import FileSystem

AT_ONCE = 50_000
"""Chunks that one kernel call reads."""
NAME = re.compile(r"(-?\d{1,18})(?:\.\d{1,9})?\.chunks")
IN_THE_LOG = "Nothing is lost as long as the log is whole: the next start reads these samples from there."
LOST = "The samples of these chunks are lost."


def check_windows(fs: FileSystem, data: Path, report: Report, progress: Progress, log: LogContents, border: int,
                  cut: Collection[str], histograms: PayloadView | None) -> None:
    """Reads every window. Windows that end at or before `border` (ms) are over; those named in `cut` are in blocks.
    Raises FormatTooNew, OSError."""
    folder = data / "chunks"
    kind = report.kinds["windows"]
    done = 0
    for name in fs.listdir(folder):
        found = NAME.fullmatch(name)
        if found is None or int(found[1]) % WINDOW_MS:
            if not name.endswith(".tmp"):
                report.add(Finding(Severity.NOTICE, folder / name, "is no file of sealed chunks", "It is left alone."))
            continue
        if name in cut:
            report.add(Finding(Severity.NOTICE, folder / name, "is in a block already",
                               "A crash came between the block and the removal of this file.",
                               "Nothing: the next start removes it."))
            continue
        try:
            file = fs.open(folder / name)
        except FileNotFoundError:
            continue  # a server has cut it meanwhile
        try:
            size = file.size()
            window = _Window(report, folder / name, int(found[1]), int(found[1]) + WINDOW_MS <= border, histograms)
            header = file.pread(WINDOW_HEADER_BYTES, 0)
            problem = HEADER.problem(folder / name, int(found[1]), header)
            if problem is not None:
                window.header(problem)
            if size > WINDOW_HEADER_BYTES:
                mapping = file.map(size)
                window.read(mapping.array, log, partial(_advance, progress, done))
                mapping.close()
            done += size
        finally:
            file.close()
        window.finish(kind)


def _advance(progress: Progress, before: int, at: int) -> None:
    progress("windows", before + at)


class _Window:
    def __init__(self, report: Report, path: Path, start: int, over: bool, histograms: PayloadView | None) -> None:
        self._report = report
        self._path = path
        self._start = start
        self._over = over
        self._histograms = np.zeros(1, np.uint64) if histograms is None else histograms.table
        self._totals = np.zeros(TOTALS, np.int64)
        self._totals[LEAST], self._totals[GREATEST] = (1 << 63) - 1, -(1 << 63)

    def header(self, problem: Corruption) -> None:
        self._damage(str(problem).partition(": ")[2], "The chunks in it are read nevertheless." if self._over else "")

    def read(self, data: NDArray[np.uint8], log: LogContents, progress: Callable[[int], None]) -> None:
        newest = np.zeros(log.keys.size, np.uint64)
        words, values = np.empty(SCRATCH_WORDS, np.uint64), np.empty(1 << 16, np.uint64)
        ts = np.empty(1 << 16, np.int64)
        at, state = WINDOW_HEADER_BYTES, -1
        while state != END:
            at, state = check_chunks(data, at, AT_ONCE, log.keys, newest, words, ts, values, self._histograms,
                                     self._totals)
            progress(at)
            if state == DAMAGED or (state == END and self._over and data[at:].any()):
                found = next_sealed(data, at + 8)
                if found < 0:
                    self._torn(at, data.size)
                    return
                self._damage(f"damaged from byte {at} to {found}")
                at, state = found, -1

    def finish(self, kind: Kind) -> None:
        totals = self._totals
        if totals[UNREADABLE]:
            self._damage(f"{totals[UNREADABLE]} chunks do not hold what their headers say")
        elif totals[BROKEN]:
            self._report.add(Finding(
                Severity.NOTICE, self._path, f"{totals[BROKEN]} chunks do not follow the one before of their series",
                "A power cut has lost one before them, or damage has.", IN_THE_LOG if not self._over else LOST))
        if totals[WITHOUT] and (self._over or self._report.process is None):
            self._damage(f"of {totals[WITHOUT]} chunks, histograms are gone or damaged")
        if totals[UNKNOWN]:
            self._report.add(Finding(
                Severity.NOTICE, self._path, f"{totals[UNKNOWN]} chunks are of series that the log does not name",
                "A power cut, or damage of the log, has lost the names of their series: they are left out."))
        kind.items += int(totals[CHUNKS])
        kind.samples += int(totals[SAMPLES])
        if totals[CHUNKS]:
            kind.add_times(int(totals[LEAST]), int(totals[GREATEST]))

    def _torn(self, at: int, size: int) -> None:
        if self._over:
            self._damage(f"nothing is readable from byte {at} to its end at {size}")
        elif self._report.process is None:
            self._report.add(Finding(Severity.NOTICE, self._path, f"ends with a torn chunk, at byte {at}",
                                     "A crash came while it was written.", IN_THE_LOG))

    def _damage(self, what: str, means: str = "") -> None:
        self._report.add(Finding(
            Severity.DAMAGE, self._path, what, means or (LOST if self._over else IN_THE_LOG),
            "A start leaves out what is damaged and serves the rest." if self._over else
            "Restart the server: it reads these samples from the log.",
            mint=self._start if self._over else 0, maxt=self._start + WINDOW_MS if self._over else 0,
        ), "windows")
