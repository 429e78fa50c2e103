"""The folder of all blocks: what is in it, what a crash left, and how a block is removed."""

from __future__ import annotations

from pathlib import Path

from tsdb.storage.block.layout import TEMPORARY
from tsdb.storage.block.ulid import is_ulid
from tsdb.wal.files import FileSystem


def block_paths(fs: FileSystem, folder: Path, *, read_only: bool = False) -> list[Path]:
    """The blocks in a folder, oldest name first. Unless `read_only`, those half written or removed go. OSError."""
    paths = []
    for name in fs.listdir(folder):
        if is_ulid(name):
            paths.append(folder / name)
        elif name.endswith(TEMPORARY) and is_ulid(name.removesuffix(TEMPORARY)) and not read_only:
            remove_files(fs, folder / name)
    return paths


def remove_block(fs: FileSystem, path: Path) -> None:
    """Removes a block for good: it is there as a whole or not at all, whenever the process dies. OSError."""
    remove_files(fs, take_away(fs, path))


def take_away(fs: FileSystem, path: Path) -> Path:
    """Gives a block a name that the next start removes, durably, and returns it. OSError."""
    leaving = path.with_name(path.name + TEMPORARY)
    fs.rename(path, leaving)
    fs.sync_directory(path.parent)
    return leaving


def remove_files(fs: FileSystem, path: Path) -> None:
    """Removes a folder and the files in it. OSError."""
    for name in fs.listdir(path):
        fs.unlink(path / name)
    fs.rmdir(path)
