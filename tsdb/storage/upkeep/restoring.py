"""Restoring: a snapshot, verified and copied, becomes a data directory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tsdb.model.errors import Corruption, FormatTooNew, StorageError
from tsdb.storage.block import Block, BlockMeta, block_paths
from tsdb.storage.block.folders import remove_files
from tsdb.storage.block.layout import CHUNKS_NAME
from tsdb.storage.block.sections import damaged
from tsdb.storage.directory import FORMAT, FORMAT_NAME, format_file, format_version
from tsdb.storage.upkeep.snapshots import BLOCKS, TIERS, copy_block, copy_tiers, remove_tiers, tier_blocks
from tsdb.wal.files import FileSystem, read_file, write_file_atomically

COPYING, COPYING_TIERS = f"{BLOCKS}.tmp", f"{TIERS}.tmp"
SPARE_BYTES = 16 << 20
"""That is left free on the disk."""

Progress = Callable[[int, int], None]
"""Called as (bytes verified and copied, bytes in all)."""


def restore(fs: FileSystem, snapshot: Path, target: Path, progress: Progress = lambda *_: None) -> list[BlockMeta]:
    """Makes a data directory of a snapshot, which stays as it is. Every byte of it is verified before anything is
    written. Returns its blocks.

    Where it fails, or the process dies, `target` is no data directory, and it can be tried again. Raises StorageError
    (Corruption and FormatTooNew, too), OSError.
    """
    paths, windows = _blocks_of(fs, snapshot), tier_blocks(fs, snapshot / TIERS)
    there = set(fs.listdir(target))
    if there - {COPYING, COPYING_TIERS, *((TIERS,) if COPYING in there else ())}:
        raise StorageError(f"{target} is not empty: give a new folder, nothing in it was changed")
    sizes = [sum(_size(fs, path / name) for name in fs.listdir(path)) for path in (*paths, *windows)]
    total, done = 2 * sum(sizes), 0
    progress(done, total)
    metas, mendable = [], set()
    for path, size in zip((*paths, *windows), sizes, strict=True):
        meta, sound = _verified(fs, path)
        metas.append(meta)
        if not sound:
            mendable.add(path)
        done += size
        progress(done, total)
    fs.mkdir(target)
    _remove_left(fs, target)
    free = fs.free_bytes(target)
    if free < sum(sizes) + SPARE_BYTES:
        raise StorageError(f"{target}: {free} bytes are free on this disk, the snapshot has {sum(sizes)}")
    try:
        for path, size in zip(paths, sizes, strict=False):
            copy_block(fs, path, target / COPYING / path.name, link=False)
            if path in mendable:
                _mend(fs, target / COPYING / path.name)
            done += size
            progress(done, total)
        copy_tiers(fs, snapshot / TIERS, target / COPYING_TIERS, link=False)
        for path in windows:
            if path in mendable:
                _mend(fs, target / COPYING_TIERS / path.relative_to(snapshot / TIERS))
        progress(total, total)
        for copying, name in ((COPYING_TIERS, TIERS), (COPYING, BLOCKS)):
            if fs.listdir(target / copying):
                fs.sync_directory(target / copying)
                fs.rename(target / copying, target / name)
        write_file_atomically(fs, target / FORMAT_NAME, format_file())
    except OSError:
        _remove_left(fs, target)
        raise
    return metas[: len(paths)]


def _blocks_of(fs: FileSystem, snapshot: Path) -> Sequence[Path]:
    if not fs.exists(snapshot):
        raise StorageError(f"{snapshot}: there is no such folder: snapshots are in <data>/snapshots")
    if not fs.exists(snapshot / FORMAT_NAME):
        raise StorageError(f"{snapshot} is no snapshot of tsdb: it has no file {FORMAT_NAME}")
    version = format_version(read_file(fs, snapshot / FORMAT_NAME))
    if version is None:
        raise Corruption(f"{snapshot / FORMAT_NAME} is damaged: take another copy of the snapshot")
    if version > FORMAT:
        raise FormatTooNew(f"{snapshot} has format {version}, this tsdb reads up to {FORMAT}: use a newer tsdb")
    if fs.listdir(snapshot / "wal") or fs.listdir(snapshot / "chunks"):
        raise StorageError(f"{snapshot} is a data directory, or a snapshot that was written to: take a snapshot of it "
                           "(tsdb snapshot --data), or copy the whole folder while nothing has it open")
    return block_paths(fs, snapshot / BLOCKS, read_only=True)


def _verified(fs: FileSystem, path: Path) -> tuple[BlockMeta, bool]:
    """(meta, whether its index is sound, rather than mendable). Raises Corruption for all other damage."""
    block = Block.open(fs, path)
    try:
        for _, problem in block.left_out:
            raise problem
        mended = block.index.mended
        for problem in block.index.problems():
            if problem not in mended.values():
                raise problem
        for chunk in block.damaged_chunks(1):
            raise damaged(path / CHUNKS_NAME, f"chunk {chunk} is damaged, or the column of its times is")
        return block.meta, not mended
    finally:
        block.release()


def _mend(fs: FileSystem, path: Path) -> None:
    """Writes the index of a copy as it was."""
    block = Block.open(fs, path)
    try:
        for _ in block.index.problems():  # finds what can be mended
            pass
        block.write_mended()
    finally:
        block.release()


def _size(fs: FileSystem, path: Path) -> int:
    file = fs.open(path)
    try:
        return file.size()
    finally:
        file.close()


def _remove_left(fs: FileSystem, target: Path) -> None:
    if fs.exists(target / COPYING):
        remove_tiers(fs, target / TIERS)
    for name in fs.listdir(target / COPYING):
        remove_files(fs, target / COPYING / name)
    fs.rmdir(target / COPYING)
    remove_tiers(fs, target / COPYING_TIERS)
