"""A slow and obvious decoder of remote_write 2.0, beside the kernels."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.ingest import twin
from tests.ingest.histogram_twin import read_histogram
from tests.ingest.wire import WireError, expect, read_fields, read_varint, signed

Described = tuple[int, str, str]
"""Type number, help, unit."""


@dataclass
class Request(twin.Request):
    described: dict[str, list[Described]] = field(default_factory=dict)
    """By name of the series: all that is said."""
    rejected_metadata: int = 0


def read_refs(wire_type: int, content: bytes, value: int) -> list[int]:
    if wire_type == 0:
        return [value & 0xFFFFFFFF]
    expect(wire_type, 2)
    found, at = [], 0
    while at < len(content):
        ref, at = read_varint(content, at)
        found.append(ref & 0xFFFFFFFF)
    return found


def read_exemplar(data: bytes, symbols: list[bytes]) -> twin.Exemplar | None:
    """None where it is invalid."""
    refs: list[int] = []
    value, ts = bytes(8), 0
    for number, wire_type, _, content, varint in read_fields(data):
        if number == 1:
            refs += read_refs(wire_type, content, varint)
        elif number == 2:
            expect(wire_type, 1)
            value = content
        elif number == 3:
            expect(wire_type, 0)
            ts = signed(varint)
    if len(refs) % 2 or any(ref >= len(symbols) for ref in refs):
        return None
    texts = [symbols[ref] for ref in refs]
    return twin.checked_exemplar(list(zip(texts[::2], texts[1::2], strict=True)), value, ts)


def decode(data: bytes) -> Request:
    """Raises WireError."""
    request = Request()
    symbols = []
    for number, wire_type, _, content, _ in read_fields(data):
        if number in (4, 5):
            expect(wire_type, 2)
        if number == 4:
            symbols.append(content)
    for number, _, _, content, _ in read_fields(data):
        if number == 5:
            add(request, content, symbols)
    if request.series and (not symbols or symbols[0]):
        raise WireError("the symbols must begin with an empty string")
    twin.join_exemplars(request)
    return request


def add(request: Request, data: bytes, symbols: list[bytes]) -> None:
    refs: list[int] = []
    samples, histograms, exemplars = [], [], []
    described, created = b"", 0
    for number, wire_type, tag_size, content, value in read_fields(data):
        if number <= 6 and number != 1:
            expect(wire_type, 0 if number == 6 else 2)
        if number == 2 and tag_size != 1:
            raise WireError("tag of more bytes than needed")
        if number == 1:
            refs += read_refs(wire_type, content, value)
        elif number == 2:
            samples.append(twin.read_sample(content, 3))
        elif number == 3:
            histograms.append(read_histogram(content))
        elif number == 4:
            exemplars.append(read_exemplar(content, symbols))
        elif number == 5:
            described = content
        elif number == 6:
            created = signed(value)
    wrong = "beyond" if any(ref >= len(symbols) for ref in refs) else ""
    wrong = "odd" if len(refs) % 2 else wrong
    known = [symbols[ref] for ref in refs if ref < len(symbols)]
    labels = [] if wrong else list(zip(known[::2], known[1::2], strict=True))
    valid = not wrong and not twin.judge(labels)
    if valid and described:
        describe(request, described, dict(labels)[b"__name__"].decode(), symbols)
    twin.add_series(request, labels, samples, histograms, exemplars, wrong, created)


def describe(request: Request, data: bytes, name: str, symbols: list[bytes]) -> None:
    found = {1: 0, 3: 0, 4: 0}
    for number, wire_type, _, _, value in read_fields(data):
        if number in found:
            expect(wire_type, 0)
            found[number] = value if number == 1 else value & 0xFFFFFFFF
    if not any(found.values()):
        return
    if max(found[3], found[4]) >= len(symbols):
        request.rejected_metadata += 1
        return
    help_text, unit = (symbols[found[number]].decode(errors="replace") for number in (3, 4))
    request.described.setdefault(name, []).append((found[1] if found[1] < 8 else 0, help_text, unit))
