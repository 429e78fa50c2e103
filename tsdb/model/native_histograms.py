"""Native histograms as samples: their bytes, and how a sample's u64 value leads to them.

Below PromQL a sample is (ts i64 ms, value u64). The value of a float sample is the float's bits. The value of a
histogram sample is *boxed*: its 14 highest bits are all set (a NaN that no stored float has: the appender makes it
NORMAL_NAN), the 50 others say where in a *payload*, an array of bytes that the columns' owner keeps beside them
(`Batch.payload`, a window's file, `Tile.payload` …), the histogram begins. So histograms pass through everything that
moves u64 values, and kinds may change from sample to sample.

A histogram in a payload (little-endian; a varint is LEB128, zigzag maps 0, -1, 1 … to 0, 1, 2 …)::

    0        4      5       6    8                16     24      32           40
    | length | flags| schema| 0  | zero threshold | sum  | count | zero count | layout | buckets
      length          u32: all bytes of it, these included
      flags           u8: bit 0: counts are floats; bits 1 and 2: the counter reset hint, in Prometheus' numbers
      schema          i8: -4 … 8, or CUSTOM_SCHEMA (-53)
      zero threshold, sum    f64
      count, zero count      u64, or f64 where counts are floats
      layout          varint: number of positive spans; of each zigzag offset, varint length; the same for the negative
                      ones; varint: number of custom values, then these, f64
      buckets         the positive, then the negative ones. Integers: zigzag varint of the difference from the bucket
                      before (the first: from 0). Floats: f64, absolute.

Equal histograms that came in equal spans have equal bytes. Prometheus' model/histogram/histogram.go says what the
fields mean.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

BOX = 0xFFFC << 48
"""The bits of a boxed value beside the offset."""
OFFSET_MASK = (1 << 50) - 1
NORMAL_NAN = 0x7FF8000000000001
"""Bits of the NaN that stands for floats whose bits would be a box."""
CUSTOM_SCHEMA = -53
HEADER = struct.Struct("<IBbHddQQ")
HEADER_BYTES = HEADER.size
FLOAT_FLAG = 1
HINT_SHIFT = 1
MAX_BYTES = (1 << 20) - 4096
"""Of a histogram: so that it fits a chunk of a block."""


class ResetHint(IntEnum):
    """Whether a counter was reset before this sample."""

    UNKNOWN = 0
    RESET = 1
    NOT_RESET = 2
    GAUGE = 3


Spans = tuple[tuple[int, int], ...]
"""(offset from the end of the span before; for the first, the bucket's index; number of buckets), each."""


@dataclass(frozen=True, slots=True)
class NativeHistogram:
    """One histogram, for people, tests and JSON; never per sample on a hot path."""

    schema: int
    sum: float
    count: float
    """An integer if not `floats`; so with all counts."""
    zero_threshold: float = 0.0
    zero_count: float = 0
    positive_spans: Spans = ()
    negative_spans: Spans = ()
    positive: tuple[float, ...] = ()
    """Absolute counts of the buckets that the spans name, in their order."""
    negative: tuple[float, ...] = ()
    custom_values: tuple[float, ...] = field(default=())
    """Upper bounds, where the schema is CUSTOM_SCHEMA."""
    floats: bool = False
    hint: ResetHint = ResetHint.UNKNOWN

    def encode(self) -> bytes:
        """As it stands in a payload."""
        layout = bytearray()
        for spans in (self.positive_spans, self.negative_spans):
            _put_varint(layout, len(spans))
            for offset, length in spans:
                _put_varint(layout, _zigzag(offset))
                _put_varint(layout, length)
        _put_varint(layout, len(self.custom_values))
        layout += struct.pack(f"<{len(self.custom_values)}d", *self.custom_values)
        for counts in (self.positive, self.negative):
            if self.floats:
                layout += struct.pack(f"<{len(counts)}d", *counts)
                continue
            before = 0
            for count in map(int, counts):
                _put_varint(layout, _zigzag(count - before))
                before = count
        flags = (FLOAT_FLAG if self.floats else 0) | int(self.hint) << HINT_SHIFT
        count, zero_count = (
            (_bits(self.count), _bits(self.zero_count)) if self.floats else (int(self.count), int(self.zero_count)))
        return HEADER.pack(HEADER_BYTES + len(layout), flags, self.schema, 0, self.zero_threshold, self.sum, count,
                           zero_count) + layout


def decode(payload: NDArray[np.uint8], offset: int) -> NativeHistogram:
    """The histogram that begins at `offset` of a payload (u8[])."""
    length = int.from_bytes(payload[offset : offset + 4].tobytes(), "little")
    data = payload[offset : offset + length].tobytes()
    _, flags, schema, _, zero_threshold, total, count, zero_count = HEADER.unpack_from(data)
    floats = bool(flags & FLOAT_FLAG)
    at = HEADER_BYTES
    sides: list[Spans] = []
    for _ in range(2):
        number, at = _varint(data, at)
        spans = []
        for _ in range(number):
            shift, at = _varint(data, at)
            buckets, at = _varint(data, at)
            spans.append((_unzigzag(shift), buckets))
        sides.append(tuple(spans))
    number, at = _varint(data, at)
    custom = struct.unpack_from(f"<{number}d", data, at)
    at += 8 * number
    counts: list[tuple[float, ...]] = []
    for spans_of_side in sides:
        number = sum(buckets for _, buckets in spans_of_side)
        if floats:
            counts.append(struct.unpack_from(f"<{number}d", data, at))
            at += 8 * number
            continue
        absolute, before = [], 0
        for _ in range(number):
            change, at = _varint(data, at)
            before += _unzigzag(change)
            absolute.append(before)
        counts.append(tuple(absolute))
    return NativeHistogram(
        schema, total, _float(count) if floats else count, zero_threshold,
        _float(zero_count) if floats else zero_count, sides[0], sides[1], counts[0], counts[1], custom, floats,
        ResetHint(flags >> HINT_SHIFT & 3))


def is_boxed(values: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of the values lead to histograms; same shape."""
    return values >= np.uint64(BOX)


def only_floats(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The same (u64[n]) of floats: those whose bits would be a box become NORMAL_NAN."""
    if not values.size or int(values.max()) < BOX:
        return values
    return np.where(is_boxed(values), np.uint64(NORMAL_NAN), values)


def boxed(offset: int) -> int:
    """The value (u64) of a histogram at `offset`."""
    return BOX | offset


def offsets(values: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where in the payload the histograms of boxed values begin."""
    return (values & np.uint64(OFFSET_MASK)).astype(np.int64)


def _bits(value: float) -> int:
    return int.from_bytes(struct.pack("<d", value), "little")


def _float(bits: int) -> float:
    return float(struct.unpack("<d", bits.to_bytes(8, "little"))[0])


def _zigzag(number: int) -> int:
    return (number << 1 ^ number >> 63) & 0xFFFFFFFFFFFFFFFF


def _unzigzag(number: int) -> int:
    return number >> 1 ^ -(number & 1)


def _put_varint(out: bytearray, number: int) -> None:
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, at
