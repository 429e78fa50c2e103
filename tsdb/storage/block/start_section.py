"""Start times in the index of a block: runs by series, in pieces of their own, so that a few series cost little.

Blocks of which no sample has a start time do not have these sections.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
import zstandard
from numpy.typing import NDArray

from tsdb.storage.block.layout import START_BYTES, START_OFFSET, START_ROW, narrowest
from tsdb.storage.block.sections import Index, damaged
from tsdb.storage.starts.runs import StartRuns

PIECE_ROWS: Final = 1 << 10
PIECE_RUNS: Final = 1 << 13
"""A piece ends before a series that would make it more, unless it is the first."""
_LEVEL = 3
_COUNT = struct.Struct("<Q")
_RUN_BYTES = 24


class StartWriter:
    """Keeps what it is given, compressed."""

    def __init__(self, mint: int) -> None:
        """`mint` of the block, ms."""
        self._mint = mint
        self._zstd = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=False, write_content_size=True)
        self._waiting = StartRuns.none()
        self._rows: list[int] = []
        self._pieces: list[bytes] = []

    def add(self, runs: StartRuns) -> None:
        """Runs of rows of the block, which come in their order; those of a row at once."""
        runs = StartRuns.joined([self._waiting, runs])
        begin = 0
        while len(runs) - begin >= PIECE_RUNS or (begin < len(runs)
                                                  and runs.series[-1] - runs.series[begin] >= PIECE_ROWS):
            first = runs.series[begin]
            row_after = int(np.searchsorted(runs.series, first + PIECE_ROWS))
            end = min(row_after, begin + PIECE_RUNS)
            if end < len(runs):
                end = int(np.searchsorted(runs.series, runs.series[end]))  # where that row begins
            if end <= begin:
                end = int(np.searchsorted(runs.series, first, "right"))
            self._write(runs, begin, end)
            begin = end
        self._waiting = StartRuns(runs.series[begin:], runs.ts[begin:], runs.starts[begin:])

    def sections(self) -> dict[str, NDArray[Any]]:
        """Of all that came; none where there is nothing."""
        if len(self._waiting):
            self._write(self._waiting, 0, len(self._waiting))
            self._waiting = StartRuns.none()
        if not self._pieces:
            return {}
        offsets = np.concatenate(([0], np.cumsum([len(piece) for piece in self._pieces])))
        return {START_ROW: np.array(self._rows, np.uint32), START_OFFSET: offsets.astype(narrowest(int(offsets[-1]))),
                START_BYTES: np.frombuffer(b"".join(self._pieces), np.uint8)}

    def _write(self, runs: StartRuns, begin: int, end: int) -> None:
        columns = [np.diff(column[begin:end], prepend=np.int64(before)) for column, before in (
            (runs.series.astype(np.int64), int(runs.series[begin])), (runs.ts, self._mint))]
        body = np.concatenate([*columns, runs.starts[begin:end]])
        self._rows.append(int(runs.series[begin]))
        self._pieces.append(self._zstd.compress(_COUNT.pack(end - begin) + body.tobytes()))


def has_starts(index: Index) -> bool:
    return index[START_ROW].size > 0


def read_starts(index: Index, mint: int, rows: NDArray[np.int32]) -> StartRuns:
    """All runs of rows (i32[n], any order) of a block that begins at `mint` (ms), and perhaps of others. Corruption."""
    firsts = index[START_ROW].all()
    wanted = np.unique(np.searchsorted(firsts, rows, side="right") - 1)
    decompressor = zstandard.ZstdDecompressor()
    return StartRuns.joined([_piece(index, mint, int(piece), decompressor) for piece in wanted if piece >= 0])


def _piece(index: Index, mint: int, piece: int, decompressor: zstandard.ZstdDecompressor) -> StartRuns:
    begin, end = (int(offset) for offset in index[START_OFFSET].part(piece, piece + 2))
    data = index[START_BYTES].part(begin, end)
    try:
        plain = decompressor.decompress(data.tobytes())
        (count,) = _COUNT.unpack_from(plain)
        if len(plain) != _COUNT.size + count * _RUN_BYTES:
            raise ValueError(f"{len(plain)} bytes")
    except (zstandard.ZstdError, struct.error, ValueError) as problem:
        raise damaged(index.path, f"piece {piece} of section {START_BYTES} cannot be read ({problem})") from None
    series, ts, starts = np.frombuffer(plain, np.int64, 3 * count, _COUNT.size).reshape(3, count)
    return StartRuns((series.cumsum() + int(index[START_ROW].part(piece, piece + 1)[0])).astype(np.int32),
                     ts.cumsum() + mint, starts)
