"""The plain reading of dense chunks and columns of times, as docs/formats.md describes them; slow, and obvious."""

from __future__ import annotations

import struct
from collections.abc import Sequence

FRAME = 256
STALE = 0x7FF0000000000002
MASK = (1 << 64) - 1


class Bytes:
    def __init__(self, data: bytes) -> None:
        self._number = int.from_bytes(data, "little")
        self.at = 0
        """In bits."""

    def take(self, bits: int) -> int:
        found = self._number >> self.at & ((1 << bits) - 1)
        self.at += bits
        return found

    def byte(self) -> int:
        return self.take(8)

    def varint(self) -> int:
        number, shift = 0, 0
        while True:
            byte = self.byte()
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    def signed(self) -> int:
        return unzigzag(self.varint())

    def quotient(self) -> int:
        """Zeros before a one."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return zeros

    def align(self) -> None:
        self.at = (self.at + 7) // 8 * 8


def unzigzag(number: int) -> int:
    return number >> 1 ^ -(number & 1)


def signed(number: int) -> int:
    return (number + (1 << 63) & MASK) - (1 << 63)


def frame(data: Bytes, count: int) -> list[int]:
    head = data.byte()
    form, low = head >> 6, head & 63
    reference = data.signed()
    if form == 0:
        width = 64 if low == 63 else low
        found = [reference + data.take(width) for _ in range(count)]
    elif form == 1:
        lows = [data.take(low) for _ in range(count)]
        found = []
        for each in lows:
            quotient = data.quotient()
            number = data.take(data.take(6) + 1) if quotient == 20 else quotient << low | each
            found.append(reference + unzigzag(number))
    else:
        assert form == 2
        others, size_low = data.varint(), data.byte()
        found = [reference] * count
        place = 0
        for _ in range(others):
            place += code(data, low)
            found[place] = reference + unzigzag(code(data, size_low) + 1)
            place += 1
    data.align()
    return found


def code(data: Bytes, low: int) -> int:
    quotient = data.quotient()
    return data.take(data.take(6) + 1) if quotient == 20 else quotient << low | data.take(low)


def column(data: Bytes, prediction: int, count: int) -> list[int]:
    slope = data.signed() if prediction == 4 else 0
    left: list[int] = []
    while prediction and len(left) < count - 1:
        left += frame(data, min(count - 1 - len(left), FRAME))
    numbers = [0]
    delta = 0
    for i in range(1, count):
        if prediction == 0:
            number = 0
        elif prediction == 1:
            number = left[i - 1]
        elif prediction == 2:
            number = numbers[-1] + left[i - 1]
        elif prediction == 3:
            delta += left[i - 1]
            number = numbers[-1] + delta
        else:
            number = slope * i + left[i - 1]
        numbers.append(signed(number))
    return numbers


def times(content: bytes, count: int) -> list[int]:
    """Of a column."""
    data = Bytes(content)
    first = data.signed()
    head = data.byte()
    divisor = data.varint() if head & 0x40 else 1
    found = [first + divisor * number for number in column(data, head & 7, count)]
    assert data.at == len(content) * 8
    return found


def samples(content: bytes, count: int, mint: int, maxt: int, columns: Sequence[Sequence[int]],
            ) -> list[tuple[int, int]]:
    """(ms, bits of the value) of a chunk."""
    data = Bytes(content)
    named = data.varint()
    way, its = named & 3, columns[named >> 2] if named & 3 else []
    if way == 0:
        step = (maxt - mint) // max(count - 1, 1)
        found = [mint + step * i for i in range(count)]
    elif way == 1:
        found = list(its)
    elif way == 2:
        at = data.varint()
        found = list(its[at : at + count])
    else:
        at, span = data.varint(), data.varint()
        found = [its[at + i] for i in range(span) if data.take(1)]
        data.align()
    values = list(_values(data, count))
    assert data.at == len(content) * 8 and len(found) == len(values) == count
    return list(zip(found, values, strict=True))


def relative(content: bytes, bases: Sequence[Sequence[tuple[int, int]]]) -> list[tuple[int, int]]:
    """(ms, bits of the value) of a relative chunk. `bases`: the chunks before it."""
    data = Bytes(content)
    coded = data.varint()
    base = bases[len(bases) - (coded >> 1)]
    differences = _values(data, len(base)) if coded & 1 else [0] * len(base)
    assert data.at == len(content) * 8
    return [(ts, _sum(bits, difference) if difference else bits)
            for (ts, bits), difference in zip(base, differences, strict=True)]


def _sum(bits: int, other: int) -> int:
    values = struct.unpack("<dd", struct.pack("<QQ", bits, other))
    return int(struct.unpack("<Q", struct.pack("<d", sum(values)))[0])


def _values(data: Bytes, count: int) -> list[int]:
    head = data.byte()
    kind = head >> 3 & 3
    power = data.byte() if kind == 0 else data.take(16) - 1024 if kind == 1 else 0
    exceptions = {}
    place = -1
    for _ in range(data.varint() if head & 0x20 else 0):
        coded = data.varint()
        place += (coded >> 1) + 1
        exceptions[place] = data.take(64) if coded & 1 else STALE
    numbers: list[int] = []
    if len(exceptions) < count:
        base = data.signed()
        divisor = data.varint() if head & 0x40 else 1
        numbers = [base + divisor * number for number in column(data, head & 7, count - len(exceptions))]
    plain = iter(numbers)
    return [exceptions[i] if i in exceptions else _bits(next(plain), kind, power) for i in range(count)]


def _bits(number: int, kind: int, power: int) -> int:
    if kind == 2:
        number &= MASK
        return number >> 1 | (number & 1) << 63
    value = signed(number) / 10**power if kind == 0 else signed(number) * 2.0**power
    return int(struct.unpack("<Q", struct.pack("<d", value))[0])
