"""What WAL records carry, and their payloads as bytes. Framing and checksums are in `segments`.

Layouts: docs/formats.md. Everything here may come from a damaged disk: sizes are checked before memory is taken.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import msgpack
import numpy as np
import zstandard
from numpy.typing import NDArray

from tsdb.model.batch import Metadata
from tsdb.model.errors import Corruption, FormatTooNew
from tsdb.model.native_histograms import is_boxed, only_floats
from tsdb.wal.exemplars import ExemplarColumns
from tsdb.wal.record_kernels import (
    RUN_BYTES,
    SIZE_BYTES,
    decode_samples,
    decode_series,
    encode_samples,
    encode_series,
    histogram_lengths,
)


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
    STARTS = 8


MAX_SAMPLES: Final = 1 << 20
"""Samples of one record, or series of a TOMBSTONES record; `Wal.append` splits larger commits."""
MAX_SERIES: Final = 1 << 14
MAX_BODY: Final = 256 << 20
"""Bytes of a payload, before compression."""

_SAMPLES_HEAD = struct.Struct("<IBBHIq")
_SERIES_HEAD = struct.Struct("<IBBHI")
_INTERVAL = struct.Struct("<qq")
_STORED, _ZSTD = 0, 1
_HISTOGRAMS, _STARTS, _LATE = 1, 2, 4
"""Flags of SAMPLES: there are histograms; start times follow, which only late ones have; late ones."""
_NO_PAYLOAD = np.empty(0, np.uint8)
_PAYLOAD_AT_ONCE = 64 << 20
"""Bytes of histograms in one record, about."""
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
    """n samples. Those of one series are in the order in which they were accepted."""

    refs: NDArray[np.uint64]
    """u64[n]"""
    ts: NDArray[np.int64]
    """i64[n], ms"""
    values: NDArray[np.uint64]
    """u64[n], float bits; boxed ones lead to `payload` (`tsdb.model.native_histograms`)."""
    payload: NDArray[np.uint8] | None = None
    """u8[bytes]: histograms. None: all samples are floats."""
    starts: NDArray[np.int64] | None = None
    """i64[n], ms: start times of late samples, 0: none. None: none at all. Those of others are `StartColumns`."""

    def pieces(self) -> Iterator[SampleColumns]:
        """Those that fit into one record each."""
        ends = set(range(MAX_SAMPLES, self.refs.size, MAX_SAMPLES))
        if self.payload is not None:
            lengths = np.empty(self.values.size, np.int64)
            histogram_lengths(self.values, self.payload, lengths)
            parts = lengths.cumsum() // _PAYLOAD_AT_ONCE
            ends.update((np.flatnonzero(np.diff(parts)) + 1).tolist())
        start = 0
        for end in [*sorted(ends), self.refs.size]:
            values = self.values[start:end]
            payload = self.payload if self.payload is not None and is_boxed(values).any() else None
            if end > start:
                starts = None if self.starts is None else self.starts[start:end]
                yield SampleColumns(self.refs[start:end], self.ts[start:end], values, payload, starts)
            start = end

    @classmethod
    def joined(cls, parts: Sequence[SampleColumns]) -> SampleColumns:
        """One after the other. The values are the parts' no more."""
        if len(parts) == 1:
            return parts[0]
        payloads = [part.payload for part in parts if part.payload is not None]
        base = 0
        for part in parts:
            if part.payload is not None:
                part.values[is_boxed(part.values)] += np.uint64(base)
                base += part.payload.size
        starts = None
        if any(part.starts is not None for part in parts):
            starts = np.concatenate([np.zeros(part.refs.size, np.int64) if part.starts is None else part.starts
                                     for part in parts])
        return cls(np.concatenate([part.refs for part in parts]), np.concatenate([part.ts for part in parts]),
                   np.concatenate([part.values for part in parts]), np.concatenate(payloads) if payloads else None,
                   starts)


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


@dataclass(frozen=True, slots=True)
class StartColumns:
    """n changes of start times, in the order in which they came: the samples in order of a series have it from the
    given time on, until its next one."""

    refs: NDArray[np.uint64]
    """u64[n]"""
    ts: NDArray[np.int64]
    """i64[n], ms"""
    starts: NDArray[np.int64]
    """i64[n], ms; 0: none"""

    def pieces(self, most: int = MAX_SAMPLES) -> Iterator[StartColumns]:
        """Those that fit into one record each."""
        for start in range(0, self.refs.size, most):
            rows = slice(start, start + most)
            yield StartColumns(self.refs[rows], self.ts[rows], self.starts[rows])


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
        values, count = np.ascontiguousarray(samples.values), samples.refs.size
        room = (2 * RUN_BYTES + 9) * count + 16 + SIZE_BYTES
        payload = _NO_PAYLOAD if samples.payload is None else samples.payload
        if payload.size:
            room += histogram_lengths(values, payload, np.empty(count, np.int64))
        out = self._buffer(room if samples.starts is None else room + 8 * count)
        size = encode_samples(np.ascontiguousarray(samples.refs), np.ascontiguousarray(samples.ts).view(np.uint64),
                              values, payload, out)
        if samples.starts is not None:
            end = size + 8 * count
            out[size:end] = _differences(samples.starts).view(np.uint8)
            size = end
        codec, body = self._pack(out[:size])
        flags = ((_LATE if late else 0) | (_HISTOGRAMS if payload.size else 0)
                 | (_STARTS if samples.starts is not None else 0))
        return _SAMPLES_HEAD.pack(count, flags, codec, 0, size, int(samples.ts.max())) + body

    def tombstones(self, rows: TombstoneColumns) -> bytes:
        """A TOMBSTONES payload; at most MAX_SAMPLES rows."""
        head = _INTERVAL.pack(rows.mint, rows.maxt)
        body = np.frombuffer(head + rows.refs.tobytes() + rows.through.tobytes(), np.uint8)
        codec, packed = self._pack(body)
        return _SERIES_HEAD.pack(rows.refs.size, 0, codec, 0, body.size) + packed

    def starts(self, columns: StartColumns) -> bytes:
        """A STARTS payload; at most MAX_SAMPLES rows."""
        every = columns.refs.view(np.int64), columns.ts, columns.starts
        body = np.concatenate([_differences(each) for each in every])
        codec, packed = self._pack(body.view(np.uint8))
        return _SERIES_HEAD.pack(columns.refs.size, 0, codec, 0, body.nbytes) + packed

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
        """Floats whose bits would be a box become NORMAL_NAN."""
        count, flags, codec, _, size, _ = _unpack(_SAMPLES_HEAD, payload)
        if flags & ~(_LATE | _HISTOGRAMS | _STARTS) or flags & (_LATE | _STARTS) == _STARTS:
            raise FormatTooNew(f"samples with flags {flags}")
        if count > MAX_SAMPLES:
            raise Corruption(f"{count} samples in one record")
        body = self._body(payload[_SAMPLES_HEAD.size :], codec, size)
        starts = None
        if flags & _STARTS:
            if body.size < 8 * count:
                raise Corruption("malformed start times")
            body, last = body[: body.size - 8 * count], body[body.size - 8 * count :]
            starts = _sums(last)
        refs, ts, values = (np.empty(count, np.uint64) for _ in range(3))
        histograms = -1
        if flags & _HISTOGRAMS:
            histograms = int.from_bytes(body[:SIZE_BYTES].tobytes(), "little")
        if decode_samples(body, histograms, refs, ts, values) != 0:
            raise Corruption("malformed samples")
        if histograms < 0:
            return SampleColumns(refs, ts.view(np.int64), only_floats(values), None, starts)
        return SampleColumns(refs, ts.view(np.int64), values, body[SIZE_BYTES : SIZE_BYTES + histograms], starts)

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

    def starts(self, payload: memoryview) -> StartColumns:
        count, flags, codec, _, size = _unpack(_SERIES_HEAD, payload)
        if flags:
            raise FormatTooNew(f"start times with flags {flags}")
        body = self._body(payload[_SERIES_HEAD.size :], codec, size)
        if count > MAX_SAMPLES or body.size != 24 * count:
            raise Corruption(f"malformed start times of {count} samples")
        refs, ts, starts = (_sums(part) for part in np.split(body, 3))
        return StartColumns(refs.view(np.uint64), ts, starts)

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


def _differences(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each to the one before, modulo 2^64; the first one's to 0."""
    return np.diff(numbers, prepend=np.int64(0))


def _sums(data: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The other way round, of bytes."""
    return np.frombuffer(data.tobytes(), np.int64).cumsum()


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
