"""What WAL records carry, and their payloads as bytes. Framing and checksums are in `segments`.

Layouts: docs/formats.md. Everything here may come from a damaged disk: sizes are checked before memory is taken.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import msgpack
import numpy as np
import zstandard
from numpy.typing import NDArray

from tsdb.model.batch import Metadata
from tsdb.model.errors import Corruption, FormatTooNew
from tsdb.wal.exemplars import ExemplarColumns
from tsdb.wal.record_kernels import RUN_BYTES, decode_samples, decode_series, encode_samples, encode_series


class RecordType(IntEnum):
    """Types of records, in segments and checkpoints."""

    SERIES = 1
    SAMPLES = 2
    METADATA = 3
    SECTION = 4
    """Checkpoints only: a named piece of msgpack."""
    END = 5
    """Checkpoints only: the last record; without it the checkpoint is not whole."""
    TOMBSTONES = 6
    EXEMPLARS = 7


MAX_SAMPLES: Final = 1 << 20
"""Samples of one record, or series of a TOMBSTONES record; `Wal.append` splits larger commits."""
MAX_SERIES: Final = 1 << 14
MAX_BODY: Final = 256 << 20
"""Bytes of a payload, before compression."""

_SAMPLES_HEAD = struct.Struct("<IBBHIq")
_SERIES_HEAD = struct.Struct("<IBBHI")
_INTERVAL = struct.Struct("<qq")
_STORED, _ZSTD = 0, 1
_LATE = 4
"""Flag of SAMPLES: late ones."""
_WORTH_COMPRESSING = 64


@dataclass(frozen=True, slots=True)
class SeriesColumns:
    """n series. Keys may lie anywhere in `keys`, in any order."""

    refs: NDArray[np.uint64]
    """u64[n]"""
    keys: NDArray[np.uint8]
    """u8[bytes]: keys[offset : offset + length] is the canonical key (`tsdb.model.labels`)."""
    offsets: NDArray[np.integer[Any]]
    """[n], any integer type"""
    lengths: NDArray[np.integer[Any]]
    """[n], any integer type"""


@dataclass(frozen=True, slots=True)
class SampleColumns:
    """n float samples. Those of one series are in the order in which they were accepted."""

    refs: NDArray[np.uint64]
    """u64[n]"""
    ts: NDArray[np.int64]
    """i64[n], ms"""
    values: NDArray[np.uint64]
    """u64[n], float bits"""


@dataclass(frozen=True, slots=True)
class TombstoneColumns:
    """Samples of n series that were deleted: of each, those in order in mint..through, and the late ones in mint..maxt;
    all inclusive, ms."""

    refs: NDArray[np.uint64]
    """u64[n]"""
    through: NDArray[np.int64]
    """i64[n]: not beyond the series' newest sample at that time; below `mint`: nothing in order"""
    mint: int
    maxt: int


class Encoder:
    """Makes payloads. Keeps its buffers, so that it belongs to one thread at a time."""

    def __init__(self, level: int = 1) -> None:
        self._zstd = zstandard.ZstdCompressor(level=level, write_checksum=False, write_content_size=True)
        self._scratch = np.empty(0, np.uint8)

    def series(self, rows: SeriesColumns) -> bytes:
        """A SERIES payload; at most MAX_SERIES rows. Raises ValueError for a key outside of `keys`."""
        lengths = np.ascontiguousarray(rows.lengths, np.uint64)
        out = self._buffer(2 * RUN_BYTES * rows.refs.size + int(lengths.sum()) + 16)
        size = encode_series(np.ascontiguousarray(rows.refs), rows.keys, np.ascontiguousarray(rows.offsets, np.uint64),
                             lengths, out)
        if size < 0:
            raise ValueError(f"key of row {-1 - size} lies outside of the {rows.keys.size} bytes of keys")
        codec, body = self._pack(out[:size])
        return _SERIES_HEAD.pack(rows.refs.size, 0, codec, 0, size) + body

    def samples(self, samples: SampleColumns, *, late: bool = False) -> bytes:
        """A SAMPLES payload; between 1 and MAX_SAMPLES samples."""
        out = self._buffer((2 * RUN_BYTES + 9) * samples.refs.size + 16)
        size = encode_samples(np.ascontiguousarray(samples.refs), np.ascontiguousarray(samples.ts).view(np.uint64),
                              np.ascontiguousarray(samples.values), out)
        codec, body = self._pack(out[:size])
        newest = int(samples.ts.max())
        return _SAMPLES_HEAD.pack(samples.refs.size, _LATE if late else 0, codec, 0, size, newest) + body

    def tombstones(self, rows: TombstoneColumns) -> bytes:
        """A TOMBSTONES payload; at most MAX_SAMPLES rows."""
        head = _INTERVAL.pack(rows.mint, rows.maxt)
        body = np.frombuffer(head + rows.refs.tobytes() + rows.through.tobytes(), np.uint8)
        codec, packed = self._pack(body)
        return _SERIES_HEAD.pack(rows.refs.size, 0, codec, 0, body.size) + packed

    def metadata(self, rows: Sequence[Metadata]) -> bytes:
        return self._msgpack([(row.family, row.type, row.help, row.unit) for row in rows])

    def exemplars(self, columns: ExemplarColumns) -> bytes:
        return self._packed(columns.to_bytes())

    def section(self, name: str, content: Any) -> bytes:
        return self._msgpack([name, content])

    def _msgpack(self, content: Any) -> bytes:
        return self._packed(msgpack.packb(content))

    def _packed(self, data: bytes) -> bytes:
        codec, body = self._pack(np.frombuffer(data, np.uint8))
        return _SERIES_HEAD.pack(0, 0, codec, 0, len(data)) + body

    def _pack(self, body: NDArray[np.uint8]) -> tuple[int, bytes]:
        if body.size >= _WORTH_COMPRESSING:
            packed = self._zstd.compress(body.data)
            if len(packed) < body.size:
                return _ZSTD, packed
        return _STORED, body.tobytes()

    def _buffer(self, size: int) -> NDArray[np.uint8]:
        if self._scratch.size < size:
            self._scratch = np.empty(size + size // 4, np.uint8)
        return self._scratch


class Decoder:
    """Reads payloads. Raises Corruption for what is malformed and FormatTooNew for what a newer tsdb wrote.

    Belongs to one thread at a time. Arrays returned are the caller's.
    """

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdDecompressor()

    def series(self, payload: memoryview) -> SeriesColumns:
        """The rows; `offsets` and `lengths` are u64[n], all within `keys`."""
        count, flags, codec, _, size = _unpack(_SERIES_HEAD, payload)
        if flags:
            raise FormatTooNew(f"series with flags {flags}")
        if count > MAX_SERIES:
            raise Corruption(f"{count} series in one record")
        keys = self._body(payload[_SERIES_HEAD.size :], codec, size)
        refs, offsets, lengths = (np.empty(count, np.uint64) for _ in range(3))
        if decode_series(keys, refs, offsets, lengths) != 0:
            raise Corruption("malformed series")
        return SeriesColumns(refs, keys, offsets, lengths)

    def samples(self, payload: memoryview) -> SampleColumns:
        count, flags, codec, _, size, _ = _unpack(_SAMPLES_HEAD, payload)
        if flags & ~_LATE:
            raise FormatTooNew("samples that are no plain floats, or have start times")
        if count > MAX_SAMPLES:
            raise Corruption(f"{count} samples in one record")
        body = self._body(payload[_SAMPLES_HEAD.size :], codec, size)
        refs, ts, values = (np.empty(count, np.uint64) for _ in range(3))
        if decode_samples(body, refs, ts, values) != 0:
            raise Corruption("malformed samples")
        return SampleColumns(refs, ts.view(np.int64), values)

    def tombstones(self, payload: memoryview) -> TombstoneColumns:
        count, flags, codec, _, size = _unpack(_SERIES_HEAD, payload)
        if flags:
            raise FormatTooNew(f"tombstones with flags {flags}")
        body = self._body(payload[_SERIES_HEAD.size :], codec, size).tobytes()
        if count > MAX_SAMPLES or len(body) != _INTERVAL.size + 16 * count:
            raise Corruption(f"malformed tombstones of {count} series")
        mint, maxt = _INTERVAL.unpack_from(body)
        return TombstoneColumns(np.frombuffer(body, np.uint64, count, _INTERVAL.size),
                                np.frombuffer(body, np.int64, count, _INTERVAL.size + 8 * count), mint, maxt)

    def metadata(self, payload: memoryview) -> list[Metadata]:
        content = self._msgpack(payload)
        try:
            return [Metadata(*map(str, row[:4])) for row in content]
        except TypeError as problem:
            raise Corruption(f"malformed metadata: {problem}") from None

    def exemplars(self, payload: memoryview) -> ExemplarColumns:
        _, _, codec, _, size = _unpack(_SERIES_HEAD, payload)
        return ExemplarColumns.from_bytes(self._body(payload[_SERIES_HEAD.size :], codec, size).data)

    def section(self, payload: memoryview) -> tuple[str, Any]:
        content = self._msgpack(payload)
        if not isinstance(content, list) or len(content) != 2:
            raise Corruption("malformed section")
        return str(content[0]), content[1]

    def _msgpack(self, payload: memoryview) -> Any:
        _, _, codec, _, size = _unpack(_SERIES_HEAD, payload)
        body = self._body(payload[_SERIES_HEAD.size :], codec, size)
        try:
            return msgpack.unpackb(body.data, strict_map_key=False)
        except (ValueError, msgpack.exceptions.UnpackException) as problem:
            raise Corruption(f"malformed msgpack: {problem}") from None

    def _body(self, body: memoryview, codec: int, size: int) -> NDArray[np.uint8]:
        if size > MAX_BODY:
            raise Corruption(f"a payload of {size} bytes")
        if codec == _ZSTD:
            try:
                if zstandard.frame_content_size(body) != size:
                    raise Corruption("a zstd frame of another size than announced")
                plain: bytes | memoryview = self._zstd.decompress(body)
            except zstandard.ZstdError as problem:
                raise Corruption(f"malformed zstd: {problem}") from None
        elif codec == _STORED:
            plain = body
        else:
            raise FormatTooNew(f"compression {codec}")
        if len(plain) != size:
            raise Corruption(f"{len(plain)} bytes where {size} were announced")
        return np.frombuffer(plain, np.uint8)


def max_ts(payload: bytes | memoryview) -> tuple[int, int]:
    """(samples, newest timestamp in ms) of a SAMPLES payload, without decoding it."""
    count, _, _, _, _, newest = _unpack(_SAMPLES_HEAD, payload)
    return count, newest


def are_late(payload: bytes | memoryview) -> bool:
    """Whether a SAMPLES payload holds late samples. It has nothing but late ones, or none."""
    return bool(_unpack(_SAMPLES_HEAD, payload)[1] & _LATE)


def _unpack(head: struct.Struct, payload: bytes | memoryview) -> tuple[Any, ...]:
    if len(payload) < head.size:
        raise Corruption(f"a payload of {len(payload)} bytes")
    return head.unpack_from(payload)
