"""Checking a whole data directory. Nothing is changed, so that a server may run beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tsdb.model.errors import Corruption, FormatTooNew, StorageError
from tsdb.model.times import time_text
from tsdb.storage.checking.blocks_check import check_blocks
from tsdb.storage.checking.findings import Finding, Progress, Repair, Report, Severity
from tsdb.storage.checking.histograms_check import check_histograms
from tsdb.storage.checking.log_check import check_log
from tsdb.storage.checking.tiers_check import check_tiers, tier_folders
from tsdb.storage.checking.windows_check import check_windows
from tsdb.storage.damage import FOLDER as DAMAGED
from tsdb.storage.damage import damaged_before
from tsdb.storage.directory import FORMAT, FORMAT_NAME, format_version, is_ours
from tsdb.storage.head.layout import NO_TS
from tsdb.storage.head.payloads import KnownPayloads
from tsdb.storage.restart import saved_head
from tsdb.storage.tiers.store import FOLDER as TIERS
from tsdb.wal.files import LOCK_NAME, FileSystem, read_file

TEMPORARY = ".tmp"
FOLDERS = {"wal": "log", "chunks": "windows", "histograms": "histograms", "blocks": "blocks", "head": "saved head",
           DAMAGED: "set aside", "snapshots": "snapshots", TIERS: "tiers"}


def check_directory(fs: FileSystem, data: Path, progress: Progress = lambda *_: None) -> Report:
    """Reads every file of a data directory. `progress` is told the kind of what is read and bytes of it.

    Raises StorageError where it is none of ours, FormatTooNew where a newer tsdb wrote it, OSError.
    """
    if not is_ours(fs, data):
        raise StorageError(f"{data} is not a data directory of tsdb: it has no file {FORMAT_NAME}, and none that tsdb "
                           "writes")
    report = Report(data, holder(data), free_bytes=fs.free_bytes(data))
    _measure(fs, data, report)
    _check_format(fs, data, report)
    metas = check_blocks(fs, data, report, progress)
    check_tiers(fs, data, report, progress)
    borders = [meta.compaction.border for meta in metas if meta.compaction.border is not None]
    in_blocks = max(borders, default=NO_TS)
    saved = _check_saved_head(fs, data, report)
    log = check_log(fs, data, report, progress, in_blocks, stopped=saved is not None)
    cut = {name for meta in metas for name in meta.compaction.windows}
    histograms = check_histograms(fs, data, report, saved)
    check_windows(fs, data, report, progress, log, max(log.border, in_blocks), cut, histograms.view())
    histograms.close()
    for found in damaged_before(fs, data):
        report.add(Finding(
            Severity.NOTICE, found.kept if found.kept != found.path else data / DAMAGED,
            f"{found.path.relative_to(data)} was found damaged earlier and is left out ({found.reason})",
            f"Samples between {time_text(found.mint)} and {time_text(found.maxt)} {found.effect}; queries say so."
            if found.mint < found.maxt else "",
            "Put a copy from a snapshot in its place; remove it and its note when you no longer want to be told.",
            mint=found.mint, maxt=found.maxt))
    _find_leftovers(fs, data, report)
    report.findings = [finding for finding in report.findings if not _has_gone(fs, finding)]
    report.findings.sort(key=lambda finding: finding.severity is not Severity.DAMAGE)
    return report


def holder(data: Path) -> int | None:
    """The process that has the directory open; None: there is none, or the system does not say."""
    try:
        found = (data / LOCK_NAME).stat()
        own = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if len(words) >= 6 and words[1] == "FLOCK" and words[5] == own:
                return int(words[4])
    except (OSError, ValueError):
        pass
    return None


def _check_format(fs: FileSystem, data: Path, report: Report) -> None:
    path = data / FORMAT_NAME
    remedy = "Nothing: the next start writes it anew."
    if not fs.exists(path):
        report.add(Finding(Severity.DAMAGE, path, "is missing", "Nothing is lost: all files say their versions, too.",
                           remedy))
        return
    version = format_version(read_file(fs, path))
    if version is None:
        report.add(Finding(Severity.DAMAGE, path, "is not as it was written",
                           "Nothing is lost: all files say their versions, too.", remedy))
    elif version > FORMAT:
        raise FormatTooNew(f"{data} has format {version}, this tsdb reads up to {FORMAT}: use a newer tsdb")


def _check_saved_head(fs: FileSystem, data: Path, report: Report) -> Sequence[KnownPayloads] | None:
    """If there is a sound one: the files of histograms that belong to it."""
    try:
        found = saved_head.read(fs, data)
    except (Corruption, FormatTooNew) as problem:
        path = data / saved_head.FOLDER / saved_head.NAME
        report.add(Finding(
            Severity.DAMAGE, path, str(problem).removeprefix(f"{path}: "),
            "Nothing is lost: the log has all that it says.",
            "The next start reads the log instead, which takes longer."), "saved head")
        return None
    if found is None:
        return None
    report.kinds["saved head"].items = 1
    found.close()
    return found.histograms


def _measure(fs: FileSystem, data: Path, report: Report) -> None:
    for path in _files(fs, data):
        kind = report.kinds[FOLDERS.get(path.relative_to(data).parts[0], "other")]
        try:
            file = fs.open(path)
        except OSError:
            continue  # gone meanwhile
        kind.files += 1
        kind.bytes += file.size()
        file.close()


def _files(fs: FileSystem, folder: Path) -> Iterator[Path]:
    for name in fs.listdir(folder):
        path = folder / name
        if is_folder(fs, path):
            yield from _files(fs, path)
        else:
            yield path


def is_folder(fs: FileSystem, path: Path) -> bool:
    try:
        if fs.listdir(path):
            return True
        file = fs.open(path)
    except (NotADirectoryError, FileNotFoundError):
        return False
    try:
        file.pread(1, 0)
    except IsADirectoryError:
        return True
    finally:
        file.close()
    return False


def _find_leftovers(fs: FileSystem, data: Path, report: Report) -> None:
    for folder in (data, *(data / name for name in FOLDERS), *tier_folders(fs, data)):
        for name in fs.listdir(folder):
            if name.endswith(TEMPORARY):
                running = report.process is not None
                report.add(Finding(
                    Severity.NOTICE, folder / name, "is a temporary file" if not running else "is being written",
                    "" if running else "A crash came while it was written or removed; nothing refers to it.",
                    "" if running else "Nothing: the next start removes it, and `--repair` does.",
                    repair=None if running else Repair.REMOVE))


def _has_gone(fs: FileSystem, finding: Finding) -> bool:
    """Whether a server has removed a file while it was checked: then nothing is wrong with it."""
    return finding.what != "is missing" and not fs.exists(finding.path)
