"""The file `tombstones` of a block: what was deleted and still stands in its chunks. Replaced as a whole."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.crc32c_kernels import checksum
from tsdb.model.errors import Corruption, FormatTooNew
from tsdb.storage.block.layout import TEMPORARY
from tsdb.storage.tombstones import Tombstones
from tsdb.wal.files import FileSystem, read_file, write_file_atomically

NAME = "tombstones"
MAGIC = b"TSDBTOMB"
VERSION = 1
HEADER = struct.Struct("<8sIIQI")
"""magic, version, crc32c of what follows the header, intervals, crc32c of all this."""
HEADER_BYTES = 32
INTERVAL_BYTES = 20


def write_tombstones(fs: FileSystem, block: Path, tombstones: Tombstones) -> None:
    """Replaces the tombstones of a block, durably. Raises OSError with the old ones in place."""
    body = tombstones.mint.tobytes() + tombstones.maxt.tobytes() + tombstones.series.astype(np.uint32).tobytes()
    start = HEADER.pack(MAGIC, VERSION, _checksum(body), len(tombstones), 0)[:-4]
    header = (start + _checksum(start).to_bytes(4, "little")).ljust(HEADER_BYTES, b"\0")
    path = block / NAME
    try:
        write_file_atomically(fs, path, header + body)
    except OSError:
        with contextlib.suppress(OSError):
            fs.unlink(path.with_name(NAME + TEMPORARY))
        raise


def read_tombstones(fs: FileSystem, block: Path, series: int) -> Tombstones:
    """Those of a block with so many series; none where there is no file. Raises Corruption, FormatTooNew, OSError."""
    path = block / NAME
    try:
        data = read_file(fs, path)
    except FileNotFoundError:
        return Tombstones.none()
    if len(data) < HEADER_BYTES:
        raise _damaged(path, "is cut short")
    magic, version, body_crc, count, crc = HEADER.unpack_from(data)
    if magic != MAGIC or crc != _checksum(data[: HEADER.size - 4]):
        raise _damaged(path, "is not one of ours, or damaged")
    if version > VERSION:
        raise FormatTooNew(f"{path}: has format {version}, this tsdb reads up to {VERSION}: use a newer tsdb")
    body = data[HEADER_BYTES:]
    if len(body) != count * INTERVAL_BYTES or body_crc != _checksum(body):
        raise _damaged(path, "is damaged")
    times = np.frombuffer(body, np.int64, 2 * count).copy()  # kernels take none that is read-only
    rows = np.frombuffer(body, np.uint32, count, 16 * count)
    found = Tombstones(rows.astype(np.int32), times[:count].copy(), times[count:].copy())  # kernels take no others
    if not _sound(found, rows, series):
        raise _damaged(path, "belongs to another block")
    return found


def _sound(found: Tombstones, rows: NDArray[np.uint32], series: int) -> bool:
    """Whether rows and intervals are as `Tombstones` has them."""
    if len(found) == 0:
        return True
    same = rows[1:] == rows[:-1]
    return bool(rows.max() < series and (rows[1:] >= rows[:-1]).all() and (found.mint <= found.maxt).all()
                and (found.mint[1:][same] > found.maxt[:-1][same]).all())


def _damaged(path: Path, what: str) -> Corruption:
    return Corruption(f"{path}: {what}: what was deleted from this block is not known any more")


def _checksum(data: bytes) -> int:
    return int(checksum(0, np.frombuffer(data, np.uint8)))
