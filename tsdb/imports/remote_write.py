"""Remote-write captures: bodies of requests as they were on the wire, one in a file, all files of a folder, or many in
one file ::

    header    0          8         16
              | TSDBRWCP | version | 0 |        version u32: 1; then u32 0

    request   message | compression | zeros | length | crc | body
              message       u8: 1: prometheus.WriteRequest, 2: io.prometheus.write.v2.Request
              compression   u8: 0: none, 1: snappy (block format), 2: Zstandard; then two bytes 0
              length        u32: bytes of the body
              crc           u32: crc32c of the body

Numbers are little-endian; requests stand one behind the other until the end of the file.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import zstandard
from numpy.typing import NDArray

from tsdb.imports.files import ZSTD, content_digest
from tsdb.imports.reader import LeftOut, Progress
from tsdb.imports.session import Input, file_input
from tsdb.ingest.decoded import IngestLimits
from tsdb.ingest.remote_write import MESSAGE_1, MESSAGE_2, decode_message, decompress
from tsdb.kernels.crc32c_kernels import checksum
from tsdb.model.batch import Batch
from tsdb.model.errors import BadRequest, TooLarge, WrongInput

MAGIC, VERSION = b"TSDBRWCP", 1
HEADER = struct.Struct("<8sII")
REQUEST = struct.Struct("<BBHII")
COMPRESSIONS = ("none", "snappy", "zstd")
"""By the number in the file."""
MESSAGES = {1: MESSAGE_1, 2: MESSAGE_2}
LIMITS = IngestLimits(max_body_bytes=256 << 20, max_samples=32 << 20, max_metadata=1 << 20, max_exemplars=1 << 20)
"""Of one request: more than any server takes."""
EXEMPLARS = "exemplars: blocks have none"


@dataclass(frozen=True, slots=True)
class Request:
    """One that was captured."""

    body: bytes
    message: str = ""
    """One of `tsdb.ingest.remote_write.MESSAGES`; empty: what it looks like."""
    compression: str = ""
    """One of COMPRESSIONS; empty: Zstandard if it looks so, else snappy."""
    at: int = 0
    """Where in its file."""


def read(path: Path, secret: NDArray[np.uint64], *, left_out: LeftOut, progress: Progress, message: str = "",
         compression: str = "", name: str = "") -> Iterator[Batch]:
    """All samples of a file, or of the files in a folder, in the order of their names. `message` and `compression`, as
    in `Request`, are those of files with one body. Raises WrongInput, with file and offset."""
    total = sum(each.stat().st_size for each in _files(path))
    done = 0
    for file in _files(path):
        shown = name or str(path) if file == path else str(file)
        for request in _requests(file, shown, message, compression):
            yield from _batches(request, secret, left_out, f"{shown}: at byte {request.at}" if request.at else shown)
            progress(min(done + request.at + len(request.body), total), total)
        done += file.stat().st_size
        progress(done, total)


def inputs(path: Path, *, message: str = "", compression: str = "", name: str = "") -> Input:
    """A file, or a folder as a whole. Raises WrongInput where there is none."""
    reader = partial(read, path, message=message, compression=compression, name=name)
    if not path.is_dir():
        return file_input(path, reader, name=name)
    files = _files(path)
    if not files:
        raise WrongInput(f"{path}: there is no file in it")
    size = sum(each.stat().st_size for each in files)

    def digest(progress: Progress) -> bytes:
        found, done = hashlib.blake2b(digest_size=32), 0
        for each in files:
            found.update(content_digest(each, lambda *_: None))
            done += each.stat().st_size
            progress(done, size)
        return found.digest()

    return Input(name or str(path), size, reader, digest)


def write_capture(file: BinaryIO, requests: Iterable[Request]) -> None:
    """Writes bodies of requests behind each other; each says its message and compression."""
    file.write(HEADER.pack(MAGIC, VERSION, 0))
    for each in requests:
        number = next(number for number, message in MESSAGES.items() if message == each.message)
        file.write(REQUEST.pack(number, COMPRESSIONS.index(each.compression), 0, len(each.body), _crc(each.body)))
        file.write(each.body)


def _files(path: Path) -> list[Path]:
    try:
        return sorted(each for each in path.iterdir() if each.is_file()) if path.is_dir() else [path]
    except OSError as problem:
        raise WrongInput(f"{path}: {problem.strerror}") from None


def _requests(path: Path, name: str, message: str, compression: str) -> Iterator[Request]:
    try:
        with path.open("rb") as file:
            head = file.read(HEADER.size)
            if head.startswith(MAGIC):
                yield from _captured(file, head, name)
                return
            body = head + file.read(LIMITS.max_body_bytes + 1)
    except OSError as problem:
        raise WrongInput(f"{name}: {problem.strerror}") from None
    if len(body) > LIMITS.max_body_bytes:
        raise WrongInput(f"{name}: more than {LIMITS.max_body_bytes} bytes are no body of a request; several bodies in "
                         "one file stand behind headers, as docs/formats.md says")
    if body:
        yield Request(body, message, compression)


def _captured(file: BinaryIO, head: bytes, name: str) -> Iterator[Request]:
    if len(head) < HEADER.size:
        raise WrongInput(f"{name}: is cut short, within its header")
    _, version, _ = HEADER.unpack(head)
    if version != VERSION:
        raise WrongInput(f"{name}: has format {version}, this tsdb reads {VERSION}: use a newer tsdb")
    at = HEADER.size
    while fields := file.read(REQUEST.size):
        if len(fields) < REQUEST.size:
            raise WrongInput(f"{name}: is cut short at byte {at}, within the header of a request")
        number, compression, zeros, length, crc = REQUEST.unpack(fields)
        if number not in MESSAGES or compression >= len(COMPRESSIONS) or zeros or length > LIMITS.max_body_bytes:
            raise WrongInput(f"{name}: is damaged at byte {at}: there is no header of a request")
        body = file.read(length)
        if len(body) < length:
            raise WrongInput(f"{name}: is cut short at byte {at}: the request has {length} bytes, and {len(body)} are "
                             "there")
        if _crc(body) != crc:
            raise WrongInput(f"{name}: the request at byte {at} is damaged: its checksum is wrong")
        yield Request(body, MESSAGES[number], COMPRESSIONS[compression], at)
        at += REQUEST.size + length


def _batches(request: Request, secret: NDArray[np.uint64], left_out: LeftOut, place: str) -> Iterator[Batch]:
    try:
        data, size = _decompressed(request)
        decoded = decode_message(data, size, secret, LIMITS, request.message or _message(data, size))
    except (BadRequest, TooLarge) as problem:
        raise WrongInput(f"{place}: {problem}") from None
    for rejected in decoded.rejected:
        left_out.count(f"samples: {rejected.reason}", rejected.samples)
    batch = decoded.batch
    left_out.count(EXEMPLARS, len(batch.exemplars) + decoded.rejected_exemplars)
    if batch.samples:
        batch.history = True
        batch.exemplars, batch.metadata = [], []
        yield batch


def _decompressed(request: Request) -> tuple[NDArray[np.uint8], int]:
    """(u8[size + 16], size). Raises BadRequest, TooLarge."""
    body, compression = request.body, request.compression
    if not compression:
        compression = "zstd" if body.startswith(ZSTD) else "snappy"
    if compression == "snappy":
        return decompress(body, LIMITS.max_body_bytes)
    if compression == "zstd":
        try:
            with zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True) as source:
                body = source.read(LIMITS.max_body_bytes + 1)
        except zstandard.ZstdError as problem:
            raise BadRequest(f"the body is not Zstandard: {problem}") from None
    if len(body) > LIMITS.max_body_bytes:
        raise TooLarge(f"the body has more than {LIMITS.max_body_bytes} bytes, decompressed")
    data = np.zeros(len(body) + 16, np.uint8)
    data[: len(body)] = np.frombuffer(body, np.uint8)
    return data, len(body)


def _message(data: NDArray[np.uint8], size: int) -> str:
    """By the number of its first field: those of 1.0 are 1 and 3, those of 2.0 are 4 and 5."""
    return MESSAGE_2 if size and int(data[0]) >> 3 >= 4 else MESSAGE_1


def _crc(body: bytes) -> int:
    return int(checksum(0, np.frombuffer(body, np.uint8)))
