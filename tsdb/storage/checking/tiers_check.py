"""Checking downsampling tiers: their blocks, as others, and what says which tiers there are."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tsdb.model.errors import Corruption
from tsdb.storage.block.layout import CHUNKS_NAME, INDEX_NAME
from tsdb.storage.checking.blocks_check import check_folder
from tsdb.storage.checking.findings import Finding, Progress, Repair, Report, Severity
from tsdb.storage.damage import Damage
from tsdb.storage.tiers.damaged import take_out
from tsdb.storage.tiers.store import EVER, FOLDER, RAW_NAME, TIER_NAME, TierStore
from tsdb.wal.files import FileSystem, read_file

REMEDY = ("The server sets the block aside at its start, if it cannot be opened, or when a query or a merge comes upon "
          "it; or stop the server, and --repair does so now.")


def tier_folders(fs: FileSystem, data: Path) -> list[Path]:
    return [data / FOLDER / name for name in fs.listdir(data / FOLDER) if "." not in name]


def check_tiers(fs: FileSystem, data: Path, report: Report, progress: Progress) -> None:
    """Reads every block of windows. Raises FormatTooNew, OSError."""
    raw_from = EVER
    if fs.exists(path := data / FOLDER / RAW_NAME):
        try:
            raw_from = int(json.loads(read_file(fs, path))["from"])
        except (ValueError, KeyError, TypeError) as problem:
            report.add(Finding(Severity.DAMAGE, path, f"is not readable: {problem}",
                               "Nothing is lost: it says since when there are samples. Queries take tiers where these "
                               "are exact, or asked for.", "The next start sets it aside."), "tiers")
    for folder in tier_folders(fs, data):
        if fs.exists(path := folder / TIER_NAME):
            try:
                json.loads(read_file(fs, path))["resolution"]
            except (ValueError, KeyError, TypeError) as problem:
                report.add(Finding(Severity.DAMAGE, path, f"is not readable: {problem}",
                                   "Nothing is lost but how long the tier is kept: its blocks say the rest.",
                                   "The next start sets it aside."), "tiers")
        found = Report(data, report.process)
        check_folder(fs, folder, found, progress)
        own, kind = found.kinds["blocks"], report.kinds["tiers"]
        kind.items, kind.samples = kind.items + own.items, kind.samples + own.samples
        if own.mint is not None and own.maxt is not None:
            kind.add_times(own.mint, own.maxt)
        for finding in found.findings:
            report.add(_of_windows(finding, raw_from), "tiers")


def _of_windows(finding: Finding, raw_from: int) -> Finding:
    """What damage of a block means where its windows can be built anew."""
    if finding.repair is not Repair.SET_ASIDE or finding.path.name not in (CHUNKS_NAME, INDEX_NAME):
        return finding
    if finding.mint >= raw_from:
        return replace(finding, remedy=REMEDY, means="Nothing is lost: its windows are built anew of the samples. "
                                                     "Queries that need them fail until then.")
    return replace(finding, remedy="Put the folder of this block from a snapshot in its place if there is one. Else "
                                   f"what is sound in it stays. {REMEDY}",
                   means="All windows of these series in the block are lost as far as their samples are gone; those of "
                         "other times are built anew.")


def take_out_damaged(fs: FileSystem, report: Report, damage: Damage) -> Iterator[Path]:
    """Does with damaged blocks of windows what the server would: those that it sets aside. FormatTooNew, OSError."""
    wrong = [finding for finding in report.findings
             if finding.repair in (Repair.SET_ASIDE, Repair.MEND) and report.path / FOLDER in finding.path.parents]
    if not wrong:
        return
    before = len(damage.found)
    store = TierStore(fs, report.path, threading.Lock(), damage, read_only=False)
    try:
        for tier in store.tiers:
            for block in tier.blocks.every:
                for finding in wrong:
                    if block.path not in finding.path.parents or finding.path.name not in (CHUNKS_NAME, INDEX_NAME):
                        continue
                    if finding.repair is Repair.MEND:
                        list(block.index.problems())  # finds again what can be mended
                    else:
                        take_out(fs, tier, block, Corruption(f"{finding.path}: {finding.what}"), store.raw_from, damage)
        store.mend()
    finally:
        store.close()
    yield from (found.path for found in damage.found[before:])
