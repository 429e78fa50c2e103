"""Files to import: what is in them, decompressed, in pieces."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import zstandard
from isal import igzip, igzip_lib

from tsdb.imports.reader import Progress
from tsdb.model.errors import WrongInput

PIECE = 1 << 20
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
"""What compressed files begin with; text does not."""
BAD_GZIP: type[Exception] = igzip_lib.error  # type: ignore[assignment]


def content_digest(path: Path, progress: Progress) -> bytes:
    """Of the bytes of a file, as they are on disk. Raises WrongInput."""
    found = hashlib.blake2b(digest_size=32)
    try:
        size, done = path.stat().st_size, 0
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                found.update(piece)
                done += len(piece)
                progress(done, max(size, done))
    except OSError as problem:
        raise WrongInput(f"{path}: {problem.strerror}") from None
    return found.digest()


def pieces(path: Path, progress: Progress, size: int = PIECE) -> Iterator[bytes]:
    """The content, about `size` bytes each, decompressed if it is gzip or Zstandard. Raises WrongInput."""
    try:
        total = path.stat().st_size
        with path.open("rb") as raw:
            source = _decompressed(raw)
            while piece := source.read(size):
                yield piece
                progress(min(raw.tell(), total), total)
    except (OSError, EOFError, BAD_GZIP, zstandard.ZstdError) as problem:
        raise WrongInput(f"{path}: {getattr(problem, 'strerror', None) or problem}") from None


def slices_of_lines(path: Path, progress: Progress, *, longest: int, size: int = PIECE) -> Iterator[bytes]:
    """The content in slices of whole lines, about `size` bytes each; only the last may be without a line feed at its
    end. Raises WrongInput, also for a line of more than `longest` bytes."""
    waiting: list[bytes] = []  # of a line that goes on
    length, begin = 0, 0
    for piece in pieces(path, progress, size):
        end = piece.rfind(b"\n") + 1
        if not end:
            waiting.append(piece)
            length += len(piece)
        else:
            yield b"".join([*waiting, piece[:end]])
            begin += length + end
            waiting, length = [piece[end:]], len(piece) - end
        if length > longest:
            raise WrongInput(f"{path}: the line at byte {begin} has more than {longest} bytes")
    if last := b"".join(waiting):
        yield last


def count_lines(data: bytes, end: int) -> int:
    """Line feeds in data[:end]."""
    return int(np.count_nonzero(np.frombuffer(data, np.uint8, end) == 0x0A)) if end else 0


def _decompressed(raw: BinaryIO) -> Any:
    head = raw.read(4)
    raw.seek(0)
    if head.startswith(GZIP):
        return igzip.open(raw)  # type: ignore[no-untyped-call]
    if head.startswith(ZSTD):
        return zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
    return raw
