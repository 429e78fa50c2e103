"""Slow and obvious: a chunk of histograms as docs/formats.md describes it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from tsdb.model.native_histograms import NativeHistogram, ResetHint, Spans

MASK = (1 << 64) - 1
UNCHANGED, PACKED, RICE, SPARSE = range(4)


def signed(number: int) -> int:
    number &= MASK
    return number - (1 << 64) if number >> 63 else number


class Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at]

    def varint(self) -> int:
        number = shift = 0
        while True:
            (byte,) = self.take(1)
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number & MASK

    def zigzag(self) -> int:
        number = self.varint()
        return number >> 1 ^ -(number & 1)


class Bits:
    def __init__(self, data: bytes) -> None:
        self.number = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        found = self.number & (1 << count) - 1
        self.number >>= count
        return found


@dataclass
class Head:
    form: int
    parameter: int = 0
    gap: int = 0
    first: int = 0
    least: int = 0

    @classmethod
    def read(cls, data: Reader) -> Head:
        byte = data.take(1)[0]
        head = cls(byte & 3, byte >> 2)
        if head.form == PACKED and head.parameter == 63:
            head.parameter = 64
        if head.form == SPARSE:
            head.gap, head.first = data.take(1)[0], data.varint()
        if head.form != UNCHANGED:
            head.least = data.zigzag()
        return head

    def change(self, bits: Bits, row: int) -> int:
        if self.form == RICE:
            quotient = 0
            while quotient < 24 and bits.take(1) == 0:
                quotient += 1
            rest = bits.take(64) if quotient == 24 else quotient << self.parameter | bits.take(self.parameter)
            return self.least + rest
        if self.form == PACKED:
            return self.least + bits.take(self.parameter)
        if self.form == SPARSE and self.first == row:
            change = self.least + bits.take(self.parameter)
            self.first += 1 + bits.take(self.gap)
            return change
        return 0


@dataclass
class Layout:
    schema: int
    zero_threshold: float
    positive: Spans
    negative: Spans
    custom: tuple[float, ...]
    columns: list[int]

    @classmethod
    def read(cls, data: Reader) -> Layout:
        end = data.varint() + data.at
        schema, zero = struct.unpack("<bd", data.take(9))
        sides = [tuple((data.zigzag(), data.varint()) for _ in range(data.varint())) for _ in range(2)]
        number = data.varint()
        custom = struct.unpack(f"<{number}d", data.take(8 * number))
        assert data.at == end
        return cls(schema, zero, sides[0], sides[1], custom, list(range(cls.buckets(*sides))))

    @staticmethod
    def buckets(*sides: Spans) -> int:
        return sum(length for side in sides for _, length in side)


def decode(chunk: bytes, count: int, first_ts: int) -> list[tuple[int, bytes]]:
    """(ms, a histogram as in a payload) of `count` samples."""
    data = Reader(chunk)
    flags = data.take(1)[0]
    counts, repeats, power = flags & 3, flags & 4, flags >> 4
    data.varint()
    different, layouts, buckets = data.varint(), data.varint(), data.varint()
    known = [Layout.read(data) for _ in range(layouts)]
    if layouts > 1:
        for layout in known:
            has = int.from_bytes(data.take((buckets + 7) // 8), "little")
            layout.columns = [k for k in range(buckets) if has >> k & 1]
    times = Head.read(data) if count > 1 else Head(UNCHANGED)
    columns = [0, data.take(1)[0], int.from_bytes(data.take(8), "little")]
    before = 0
    for k in range(2 + buckets):
        if counts == 2:
            columns.append(int.from_bytes(data.take(8), "little"))
            continue
        before = data.zigzag() + (before if k > 2 else 0)
        columns.append(before & MASK)
    heads = [Head(UNCHANGED)] * len(columns)
    if different > 1:
        heads = [Head.read(data) if k or layouts > 1 else Head(UNCHANGED) for k in range(len(columns))]
    bits = Bits(data.data[data.at :])
    ts, row = first_ts, 0
    out: list[tuple[int, bytes]] = []
    for i in range(count):
        if i:
            ts += times.change(bits, i)
            if repeats and bits.take(1):
                out.append((ts, out[-1][1]))
                continue
            row += 1
            for form in (PACKED, RICE, SPARSE):
                for k, head in enumerate(heads):
                    if head.form == form:
                        columns[k] = columns[k] + head.change(bits, row) & MASK
        out.append((ts, _histogram(columns, known[columns[0]], counts, power)))
    return out


def _histogram(columns: list[int], layout: Layout, counts: int, power: int) -> bytes:
    _, hint, sums, zero, count, *buckets = columns
    own = [buckets[k] for k in layout.columns]
    if counts != 2:
        count = count + zero + sum(own) & MASK
    number: Callable[[int], float] = {0: lambda value: value, 1: lambda value: float(signed(value)), 2: _float}[counts]
    half = Layout.buckets(layout.positive)
    return NativeHistogram(
        layout.schema, _float(sums) if power == 15 else signed(sums) / 10.0**power, number(count),
        layout.zero_threshold, number(zero), layout.positive, layout.negative, tuple(map(number, own[:half])),
        tuple(map(number, own[half:])), layout.custom, counts > 0, ResetHint(hint)).encode()


def _float(value: int) -> float:
    return float(struct.unpack("<d", value.to_bytes(8, "little"))[0])
