"""A slow and obvious decoder of remote_write 1.0, beside the kernels."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from tests.ingest.histogram_twin import read_histogram
from tests.ingest.wire import WireError, expect, read_fields, signed
from tsdb.model.labels import canonical_key
from tsdb.model.native_histograms import BOX, NORMAL_NAN, NativeHistogram

MAX_KEY = 65535
MAX_LABELS = 1024


Exemplar = tuple[tuple[tuple[str, str], ...], bytes, int]
"""Labels, value, ms."""


@dataclass
class Row:
    key: bytes
    samples: list[tuple[int, int | bytes, int]]
    """(ms, value bits or a histogram's bytes in a payload, ms of the start or 0)"""
    exemplars: list[Exemplar] = field(default_factory=list)


@dataclass
class Request:
    rows: list[Row] = field(default_factory=list)
    """Without those that have nothing."""
    rejected: dict[str, tuple[int, int]] = field(default_factory=dict)
    """A word of the reason: (series, samples)."""
    metadata: list[tuple[str, int]] = field(default_factory=list)
    """(family, type number)"""
    series: int = 0
    rejected_exemplars: int = 0

    def reject(self, reason: str, samples: int) -> None:
        series, total = self.rejected.get(reason, (0, 0))
        self.rejected[reason] = series + 1, total + samples


def read_label(data: bytes) -> tuple[bytes, bytes]:
    name = value = b""
    for number, wire_type, _, content, _ in read_fields(data):
        if number in (1, 2):
            expect(wire_type, 2)
        if number == 1:
            name = content
        elif number == 2:
            value = content
    return name, value


def read_sample(data: bytes, last_field: int = 2) -> tuple[int, int, int]:
    ts = bits = start = 0
    for number, wire_type, _, content, value in read_fields(data):
        if number == 1:
            expect(wire_type, 1)
            bits = struct.unpack("<Q", content)[0]
        elif number == 2:
            expect(wire_type, 0)
            ts = signed(value)
        elif number == last_field:
            expect(wire_type, 0)
            start = signed(value)
    return ts, NORMAL_NAN if bits >= BOX else bits, start


def read_exemplar(data: bytes) -> Exemplar | None:
    """None where it is invalid."""
    labels, value, ts = [], bytes(8), 0
    for number, wire_type, _, content, varint in read_fields(data):
        if number <= 3:
            expect(wire_type, (2, 1, 0)[number - 1])
        if number == 1:
            labels.append(read_label(content))
        elif number == 2:
            value = content
        elif number == 3:
            ts = signed(varint)
    return checked_exemplar(labels, value, ts)


def checked_exemplar(labels: list[tuple[bytes, bytes]], value: bytes, ts: int) -> Exemplar | None:
    try:
        texts = tuple((name.decode(), text.decode()) for name, text in labels)
    except UnicodeDecodeError:
        return None
    return texts, value, ts


def judge(labels: list[tuple[bytes, bytes]]) -> str:
    """What is wrong with a label set, or nothing; the first in order of names counts."""
    if len(labels) > MAX_LABELS:
        return "more than"
    labels = sorted(labels, key=lambda pair: pair[0])
    for i, (name, value) in enumerate(labels):
        if not name:
            return "empty name"
        try:
            name.decode()
            value.decode()
        except UnicodeDecodeError:
            return "UTF-8"
        if i and labels[i - 1][0] == name:
            return "unique"
    if not dict(labels).get(b"__name__"):
        return "metric name"
    if len(canonical_key({name.decode(): value.decode() for name, value in labels})) > MAX_KEY:
        return "too long"
    return ""


def decode(data: bytes) -> Request:
    """Raises WireError."""
    request = Request()
    for number, wire_type, _, content, _ in read_fields(data):
        if number in (1, 3):
            expect(wire_type, 2)
        if number == 3:
            family, kind = "", 0
            for inner, inner_type, _, text, value in read_fields(content):
                if inner in (1, 2, 4, 5):
                    expect(inner_type, 0 if inner == 1 else 2)
                if inner == 1:
                    kind = value
                elif inner == 2:
                    family = text.decode(errors="replace")
            request.metadata.append((family, kind if kind < 8 else 0))
        if number != 1:
            continue
        labels, samples, histograms, exemplars = [], [], [], []
        for inner, inner_type, tag_size, text, _ in read_fields(content):
            if inner <= 4:
                expect(inner_type, 2)
            if inner <= 2 and tag_size != 1:
                raise WireError("tag of more bytes than needed")
            if inner == 1:
                labels.append(read_label(text))
            elif inner == 2:
                samples.append(read_sample(text))
            elif inner == 3:
                exemplars.append(read_exemplar(text))
            elif inner == 4:
                histograms.append(read_histogram(text))
        add_series(request, labels, samples, histograms, exemplars)
    join_exemplars(request)
    return request


def add_series(request: Request, labels: list[tuple[bytes, bytes]], samples: list[tuple[int, int, int]],
               histograms: list[tuple[int, NativeHistogram | str, int]], exemplars: list[Exemplar | None],
               wrong: str = "", created: int = 0) -> None:
    request.series += 1
    if not samples and not histograms and not exemplars:
        return
    wrong = wrong or judge(labels)
    if wrong:
        if samples or histograms:
            request.reject(wrong, len(samples) + len(histograms))
        return
    key = canonical_key({name.decode(): value.decode() for name, value in labels})
    row = Row(key, [(ts, value, start or created) for ts, value, start in samples])
    bad: dict[str, int] = {}
    for ts, found, start in histograms:
        if isinstance(found, str):
            bad[found] = bad.get(found, 0) + 1
        else:
            row.samples.append((ts, found.encode(), start or created))
    for reason, count in bad.items():
        request.reject(reason, count)
    row.exemplars = [each for each in exemplars if each is not None]
    request.rejected_exemplars += len(exemplars) - len(row.exemplars)
    if row.samples or row.exemplars:
        request.rows.append(row)


def join_exemplars(request: Request) -> None:
    """Those of rows without samples go to the last row of the series that has some."""
    of_key = {row.key: row for row in request.rows if row.samples}
    rows = []
    for row in request.rows:
        if row.samples or row.key not in of_key:
            rows.append(row)
        else:
            of_key[row.key].exemplars += row.exemplars
    request.rows = rows
