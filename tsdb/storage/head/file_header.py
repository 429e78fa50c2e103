"""The first 64 bytes of the head's files: magic, version, the file's number and their checksum (docs/formats.md)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tsdb.kernels.crc32c_kernels import checksum
from tsdb.model.errors import Corruption, FormatTooNew

HEADER_BYTES = 64
_FIELDS = struct.Struct("<8sIIq")


@dataclass(frozen=True, slots=True)
class FileHeader:
    """Of one kind of file."""

    magic: bytes
    version: int
    content: str
    """What such a file has, for messages: ``sealed chunks``."""

    def encode(self, number: int) -> bytes:
        fields = _FIELDS.pack(self.magic, self.version, 0, number)
        return (fields + struct.pack("<I", _crc(fields))).ljust(HEADER_BYTES, b"\0")

    def problem(self, path: Path, number: int, header: bytes) -> Corruption | None:
        """What is wrong with the header of the file that has this number by its name. Raises FormatTooNew."""
        if len(header) < HEADER_BYTES:
            return Corruption(f"{path}: is cut short")
        magic, version, _, own = _FIELDS.unpack_from(header)
        if magic != self.magic:
            return Corruption(f"{path}: not a file of {self.content}")
        if struct.unpack_from("<I", header, _FIELDS.size)[0] != _crc(header[: _FIELDS.size]):
            return Corruption(f"{path}: the header is damaged")
        if version > self.version:
            raise FormatTooNew(f"{path}: has format {version}, this tsdb reads up to {self.version}: use a newer tsdb")
        if own != number:
            return Corruption(f"{path}: is the file of {own} under another name")
        return None


def number_of(header: bytes) -> int:
    """The number that a header gives, sound or not."""
    return int(_FIELDS.unpack_from(header)[3])


def _crc(fields: bytes) -> int:
    return int(checksum(0, np.frombuffer(fields, np.uint8)))
