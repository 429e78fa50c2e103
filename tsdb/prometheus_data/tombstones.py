"""The tombstones of a Prometheus block: which samples of which series are deleted (tsdb/docs/format/tombstones.md)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.crc32c_kernels import checksum
from tsdb.model.errors import Corruption
from tsdb.wal.files import FileSystem, read_file

TOMBSTONES_NAME = "tombstones"
MAGIC = bytes.fromhex("0130ba30")
VERSION = 1
Intervals = list[tuple[int, int]]
"""(first, last) in ms, both deleted."""


def read_tombstones(fs: FileSystem, folder: Path) -> dict[int, Intervals]:
    """By reference of the series: offset / 16 in the index. Raises Corruption."""
    path = folder / TOMBSTONES_NAME
    if not fs.exists(path):
        return {}
    data = read_file(fs, path)
    if len(data) < 9 or data[:4] != MAGIC:
        raise Corruption(f"{path} is not a tombstones file of Prometheus: restore it; without it, what was deleted "
                         "would come back")
    if data[4] != VERSION:
        raise Corruption(f"{path}: version {data[4]} of tombstones is not known: import with a newer tsdb")
    body = np.frombuffer(data[5:-4], np.uint8)
    body.flags.writeable = False
    if int(checksum(0, body)) != int.from_bytes(data[-4:], "big"):
        raise Corruption(f"{path}: its checksum does not match: restore it; without it, what was deleted would come "
                         "back")
    found: dict[int, Intervals] = {}
    at = 5
    while at < len(data) - 4:
        ref, at = _uvarint(data, at, path)
        first, at = _uvarint(data, at, path)
        last, at = _uvarint(data, at, path)
        found.setdefault(ref, []).append((_unzigzag(first), _unzigzag(last)))
    return found


def empty_tombstones() -> bytes:
    """The file of a block of which nothing is deleted."""
    return MAGIC + bytes([VERSION]) + bytes(4)


def kept(row: NDArray[np.uint32], ts: NDArray[np.int64], deleted: dict[int, Intervals]) -> NDArray[np.bool_]:
    """Which samples are left, bool[n]: `row` is ascending, `deleted` by row."""
    keep = np.ones(ts.size, np.bool_)
    for each, intervals in deleted.items():
        begin, end = np.searchsorted(row, [each, each + 1]).tolist()
        for first, last in intervals:
            keep[begin:end] &= (ts[begin:end] < first) | (ts[begin:end] > last)
    return keep


def _uvarint(data: bytes, at: int, path: Path) -> tuple[int, int]:
    number = shift = 0
    while at < len(data) - 4 and shift < 70:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
    raise Corruption(f"{path} at byte {at}: a tombstone is not whole: restore the file")


def _unzigzag(number: int) -> int:
    return number >> 1 ^ -(number & 1)
