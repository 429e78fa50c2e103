"""What can be done at once after a check, and is always safe."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from tsdb.model.errors import Corruption
from tsdb.storage.blocks import Blocks
from tsdb.storage.checking.check import is_folder
from tsdb.storage.checking.findings import Repair, Report
from tsdb.storage.checking.tiers_check import take_out_damaged
from tsdb.storage.damage import Damage
from tsdb.storage.upkeep.quarantine import Quarantine
from tsdb.wal.files import FileSystem


def repair(fs: FileSystem, report: Report) -> Iterator[str]:
    """Does what the findings of a report allow, and says what it did. No sample that can be read is lost.

    Raises DirectoryLocked where a server runs, OSError.
    """
    lock = fs.lock(report.path)
    try:
        damage = Damage(fs, report.path, read_only=False)
        if any(finding.repair in (Repair.SET_ASIDE, Repair.MEND) for finding in report.findings):
            yield from _blocks(fs, report, damage)
        for finding in report.findings:
            if finding.repair is Repair.REMOVE and fs.exists(finding.path):
                _remove(fs, finding.path)
                fs.sync_directory(finding.path.parent)
                yield f"removed {finding.path.relative_to(report.path)}"
    finally:
        lock.release()


def _remove(fs: FileSystem, path: Path) -> None:
    if not is_folder(fs, path):
        fs.unlink(path)
        return
    for name in fs.listdir(path):
        _remove(fs, path / name)
    fs.rmdir(path)


def _blocks(fs: FileSystem, report: Report, damage: Damage) -> Iterator[str]:
    folder = report.path / "blocks"
    blocks = Blocks.open(fs, folder, threading.Lock(), damage, read_only=False)
    try:
        quarantine = Quarantine(fs, blocks, damage)
        for block in blocks.every:
            if any(finding.repair is Repair.MEND and block.path in finding.path.parents for finding in report.findings):
                list(block.index.problems())  # reads all of it, and so finds again what can be mended
        quarantine.mend()
        mended = len(damage.mended)
        for path in damage.mended:
            yield f"mended {path.relative_to(report.path)}: it is as it was"
        for finding in report.findings:
            if finding.repair is Repair.SET_ASIDE and folder in finding.path.parents:
                for block in blocks.every:
                    if block.path in finding.path.parents and finding.path.name in ("chunks", "index"):
                        quarantine.take_out(block, Corruption(f"{finding.path}: {finding.what}"))
        for found in damage.found:
            yield f"set aside {found.path.relative_to(report.path)} as {found.kept.relative_to(report.path)}"
    finally:
        blocks.close()
    for path in take_out_damaged(fs, report, damage):
        yield f"set aside {path.relative_to(report.path)}: the next start builds its windows anew where it can"
    for path in damage.mended[mended:]:
        yield f"mended {path.relative_to(report.path)}: it is as it was"
