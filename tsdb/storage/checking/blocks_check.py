"""Checking the blocks: checksums, what the index says, every chunk decoded, and how blocks lie to each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from tsdb.model.errors import Corruption
from tsdb.model.times import time_text
from tsdb.storage.block import Block, BlockMeta
from tsdb.storage.block.folders import block_paths
from tsdb.storage.block.layout import CHUNKS_NAME, FILES, INDEX_NAME, META_NAME, OPTIONAL
from tsdb.storage.block.sections import Index, without_remedy
from tsdb.storage.block.tombstones_file import NAME as TOMBSTONES_NAME
from tsdb.storage.blocks import block_times, superseded
from tsdb.storage.checking.findings import NAMED, Finding, Progress, Repair, Report, Severity
from tsdb.storage.checking.index_check import index_problems
from tsdb.storage.upkeep.quarantine import damaged_chunks, named, series_of, times_of
from tsdb.wal.files import FileSystem

SAMPLES_AT_ONCE = 1 << 19
HISTOGRAMS_AT_ONCE = 1 << 15
"""Samples, where there are histograms among them."""
ROWS_AT_ONCE = 4096
EARLIEST, LATEST = -(1 << 63), (1 << 63) - 1
FROM_SNAPSHOT = ("Put the block of a snapshot in its place if there is one. Else the server replaces it by what is "
                 "sound in it when a query comes upon it; or stop the server, and --repair does the same now.")


def check_blocks(fs: FileSystem, data: Path, report: Report, progress: Progress) -> list[BlockMeta]:
    """Reads every block. What those that could be opened say of themselves. Raises FormatTooNew, OSError."""
    return check_folder(fs, data / "blocks", report, progress)


def check_folder(fs: FileSystem, folder: Path, report: Report, progress: Progress) -> list[BlockMeta]:
    """The same of blocks in a folder."""
    metas = []
    done = 0
    for path in block_paths(fs, folder, read_only=True):
        try:
            block = Block.open(fs, path)
        except Corruption as problem:
            if fs.exists(path):  # else a server has removed it meanwhile
                _cannot_be_opened(fs, path, problem, report)
            continue
        try:
            metas.append(block.meta)
            check_block(fs, block, report, partial(_advance, progress, done))
            done += block.bytes
        finally:
            block.release()
    _relations(folder, metas, report)
    return metas


def _advance(progress: Progress, before: int, at: int) -> None:
    progress("blocks", before + at)


def _cannot_be_opened(fs: FileSystem, path: Path, problem: Corruption, report: Report) -> None:
    mint, maxt = block_times(fs, path)
    report.add(Finding(
        Severity.DAMAGE, path, _without_path(problem, path),
        "The block cannot be opened: none of its samples are served.",
        f"A start sets it aside as damaged/blocks-{path.name}, as --repair does now, and serves all else. Put the "
        "folder of this name from a snapshot in its place if there is one.",
        mint=mint, maxt=maxt, repair=Repair.SET_ASIDE), "blocks")


def check_block(fs: FileSystem, block: Block, report: Report, progress: Callable[[int], None]) -> None:
    """Reads all of an open block. `progress` is told bytes. Raises FormatTooNew, OSError."""
    path, meta, index = block.path, block.meta, block.index
    kind = report.kinds["blocks"]
    kind.items += 1
    kind.samples += meta.stats.samples
    for name in fs.listdir(path):
        if name not in (*FILES, TOMBSTONES_NAME):
            report.add(Finding(Severity.NOTICE, path / name, "is no file of a block", "It is left alone."))
    for file, problem in block.left_out:
        if file.name == META_NAME:
            report.add(Finding(
                Severity.DAMAGE, file, _without_path(problem, file), "Nothing is lost: the index has a copy.",
                f"The next start, or --repair, sets it aside as damaged/{path.name}-{META_NAME} and writes it anew.",
                repair=Repair.SET_ASIDE), "blocks")
        elif file.name == TOMBSTONES_NAME:
            report.add(Finding(
                Severity.DAMAGE, file, _without_path(problem, file),
                "What was deleted from this block since it was written is there again.",
                "Delete it once more: queries of these times carry a warning.",
                mint=meta.mint, maxt=meta.maxt, repair=Repair.SET_ASIDE), "blocks")
        else:
            report.add(Finding(Severity.DAMAGE, file, _without_path(problem, file), "Chunks may be missing.",
                               "The next start writes the block anew from what is sound in it.",
                               repair=Repair.SET_ASIDE), "blocks")
    needed = [str(problem) for problem in index.problems(needed=True)]
    for problem in index.problems():
        if str(problem) not in needed:
            report.add(_not_needed(problem, index), "blocks")
            continue
        report.add(Finding(
            Severity.DAMAGE, path / INDEX_NAME, _without_path(problem, path / INDEX_NAME),
            f"Queries that need it fail; then all samples of the block are left out: {meta.stats.samples} of "
            f"{meta.stats.series} series.",
            "Put the folder of this block from a snapshot in its place if there is one. Else the server sets it aside "
            f"as damaged/blocks-{path.name} when a query comes upon it; or stop the server, and --repair does so now.",
            series_count=meta.stats.series, mint=meta.mint,
            maxt=meta.maxt, repair=Repair.SET_ASIDE), "blocks")
    if needed:
        return
    wrong = list(index_problems(block))
    for what in wrong:
        report.add(Finding(
            Severity.DAMAGE, path / INDEX_NAME, what,
            "Its checksums are right: it was written so, by a mistake of tsdb's. Queries may give wrong answers.",
            "Please report it with this block.", mint=meta.mint, maxt=meta.maxt), "blocks")
    if not wrong:
        if index.chunks:
            kind.add_times(*(meta.mint + int(time) for time in (index["chunk_mint"].all().min(),
                                                                index["chunk_maxt"].all().max())))
        _check_chunks(block, report, progress)


def _not_needed(problem: Corruption, index: Index) -> Finding:
    """About a damaged section of which nothing is lost."""
    what = _without_path(problem, index.path)
    if problem in index.mended.values():
        return Finding(
            Severity.DAMAGE, index.path, what,
            "Nothing is lost: this section follows from others, and the block is served in full.",
            "The server makes it anew in memory when a query comes upon it, and then writes the index as it was; or "
            "stop the server, and --repair does the same now.", repair=Repair.MEND)
    if any(f"section {name} " in what for name in OPTIONAL):
        return Finding(
            Severity.DAMAGE, index.path, what, "Start times of samples are lost, the samples are not.",
            "Put the folder of this block from a snapshot in its place if there is one. Else the server replaces the "
            "block by one without start times when a query or a compaction comes upon it.")
    return Finding(Severity.DAMAGE, index.path, what,
                   "Nothing is lost: this section is a copy, or not read by this version.",
                   "Nothing: the next compaction writes it anew.")


def _check_chunks(block: Block, report: Report, progress: Callable[[int], None]) -> None:
    damaged = damaged_chunks(block)
    rows = np.arange(len(block), dtype=np.int32)
    if damaged.size:
        hit = series_of(block, damaged)
        mint, maxt = times_of(block, damaged)
        lost = int(block.index["chunk_samples"].at(damaged).sum(dtype=np.int64))
        report.add(Finding(
            Severity.DAMAGE, block.path / CHUNKS_NAME,
            f"{damaged.size} of {block.index.chunks} chunks have a wrong checksum",
            f"{lost} samples are lost. Queries that need them fail until the block is replaced by what is sound in it.",
            FROM_SNAPSHOT, tuple(named(block, hit, NAMED)), hit.size, mint, maxt, Repair.SET_ASIDE), "blocks")
        rows = np.setdiff1d(rows, hit).astype(np.int32)
    wrong = 0
    at_once = HISTOGRAMS_AT_ONCE if block.meta.stats.histograms else SAMPLES_AT_ONCE
    for start in range(0, rows.size, ROWS_AT_ONCE):
        ranges = block.chunk_ranges(rows[start : start + ROWS_AT_ONCE], EARLIEST, LATEST)
        ends = np.cumsum(ranges.samples)
        first = 0
        while first < ends.size:
            before = int(ends[first - 1]) if first else 0
            past = max(int(np.searchsorted(ends, before + at_once, side="right")), first + 1)
            found = block.decode_kinds(ranges, first, past)
            wrong += int((found.end - found.begin != ranges.samples[first:past]).sum())
            falling = np.flatnonzero(found.ts[1:] <= found.ts[:-1]) + 1
            wrong += int((~np.isin(falling, found.begin)).sum())
            first = past
        progress(int(block.bytes * min(start + ROWS_AT_ONCE, rows.size) / max(rows.size, 1)))
    if wrong:
        report.add(Finding(
            Severity.DAMAGE, block.path / CHUNKS_NAME, f"{wrong} series have samples that are not what the index says",
            "The checksums are right: they were written so, by a mistake of tsdb's.",
            "Please report it with this block.", mint=block.meta.mint, maxt=block.meta.maxt), "blocks")


def _relations(folder: Path, metas: Sequence[BlockMeta], report: Report) -> None:
    gone = superseded(metas)
    for ulid in sorted(gone):
        report.add(Finding(Severity.NOTICE, folder / ulid, "is in another block as well",
                           "A crash came after a compaction, before its blocks were removed.",
                           "Nothing: the next start removes it."))
    reached, overlaps, first = EARLIEST, 0, None
    for meta in sorted((meta for meta in metas if meta.ulid not in gone), key=lambda meta: meta.mint):
        if meta.mint < reached:
            overlaps += 1
            first = first or meta
        reached = max(reached, meta.maxt)
    if first is not None:
        report.add(Finding(
            Severity.NOTICE, folder,
            f"{overlaps} {'block overlaps' if overlaps == 1 else 'blocks overlap'} others, from "
            f"{time_text(first.mint)} on",
            "Late samples make such blocks. Queries merge them; compaction joins them."))


def _without_path(problem: Corruption, path: Path) -> str:
    """What a message says of a file, without its name and without what the reader finds below."""
    text = without_remedy(problem).removeprefix(f"{path}: ").removeprefix(f"{path}/")
    return text.partition(": what was deleted")[0]
