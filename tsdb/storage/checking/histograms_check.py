"""Checking the files of the head's histograms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tsdb.storage.checking.findings import Finding, Report, Severity
from tsdb.storage.checking.window_kernels import check_records
from tsdb.storage.head.file_header import HEADER_BYTES
from tsdb.storage.head.payloads import HEADER, KnownPayloads, Payloads, is_name
from tsdb.wal.files import FileSystem

IN_THE_LOG = "Nothing is lost as long as the log is whole, but for what windows tell of."
RESTART = "Restart the server: it reads what is missing from the log."


def check_histograms(fs: FileSystem, data: Path, report: Report, saved: Sequence[KnownPayloads] | None) -> Payloads:
    """Reads the headers, and after a clean stop all histograms of the files, which are `saved` then; else those count
    to which chunks of windows lead. The files are the caller's to close. Raises FormatTooNew, OSError."""
    folder = data / "histograms"
    for name in fs.listdir(folder):
        path = folder / name
        if not is_name(name):
            if not name.endswith(".tmp"):
                report.add(Finding(Severity.NOTICE, path, "is no file of histograms", "It is left alone."))
            continue
        try:
            file = fs.open(path)
        except FileNotFoundError:
            continue  # a server has removed it meanwhile
        problem = HEADER.problem(path, int(name), file.pread(HEADER_BYTES, 0))
        file.close()
        if problem is not None:
            report.add(Finding(Severity.DAMAGE, path, str(problem).partition(": ")[2], IN_THE_LOG, RESTART),
                       "histograms")
    payloads = Payloads(fs, folder)
    payloads.load()
    for known in saved or ():
        if known.used == known.size:
            continue  # of a start after a crash, which does not know where it ends
        count, wrong = check_records(payloads.table, known.number, HEADER_BYTES, known.used)
        report.kinds["histograms"].items += count
        if wrong >= 0:
            report.add(Finding(Severity.DAMAGE, folder / known.name, f"damaged from byte {wrong} on", IN_THE_LOG,
                               RESTART), "histograms")
    return payloads
