"""Chunks of histograms: what is encoded comes back to the byte, and no bytes lead a decoder astray."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.native_histograms import histograms
from tests.storage.block.slow_histograms import decode
from tsdb.kernels.crc32c_kernels import checksum
from tsdb.model.batch import STALE_NAN
from tsdb.model.errors import Corruption
from tsdb.model.native_histograms import (
    BOX,
    CUSTOM_SCHEMA,
    MAX_BYTES,
    NORMAL_NAN,
    NativeHistogram,
    ResetHint,
    boxed,
    offsets,
)
from tsdb.storage.block import Chunks
from tsdb.storage.block.chunk_kernels import SCRATCH_WORDS
from tsdb.storage.block.encoding import encode
from tsdb.storage.block.histogram_chunk_kernels import PAYLOAD, SCRATCH, decode_kinds, histogram_needs
from tsdb.storage.block.histogram_encoding import encode_histograms, encode_kinds
from tsdb.storage.block.layout import HISTOGRAMS, MAX_CHUNK_BYTES
from tsdb.storage.codecs.histogram_kernels import PADDING

FIRST_TS = 1_700_000_000_000
NAN = struct.unpack("<d", struct.pack("<Q", 0x7FF8DEADBEEF0001))[0]
Sample = tuple[int, bytes | float]
"""Time in ms, and a histogram as it stands in a payload or a float."""


class Samples:
    """Columns of some series: one payload, boxed values."""

    def __init__(self, rows: Sequence[Sequence[Sample]]) -> None:
        self.rows = rows
        ends = np.cumsum([len(row) for row in rows], dtype=np.int64)
        self.begin, self.end = np.concatenate(([0], ends[:-1])).astype(np.int64), ends
        payload = bytearray(b"\xff" * 7)  # what no value leads to
        values = []
        for row in rows:
            for _, value in row:
                if isinstance(value, bytes):
                    values.append(boxed(len(payload)))
                    payload += value
                else:
                    values.append(struct.unpack("<Q", struct.pack("<d", value))[0])
        self.ts = np.array([ts for row in rows for ts, _ in row], np.int64)
        self.values = np.array(values, np.uint64)
        self.payload = np.frombuffer(bytes(payload), np.uint8)

    def encoded(self) -> Chunks:
        return encode_kinds(self.begin, self.end, self.ts, self.values, self.payload, encode)


class Memory:
    """Chunks as the columns of a block of which kernels decode them, with checksums that are right."""

    def __init__(self, chunks: Chunks, change: tuple[int, bytes] | None = None) -> None:
        """`change`: other bytes for one of the chunks."""
        data = []
        for k in range(chunks.mint.size):
            address, length = int(chunks.address[k]), int(chunks.length[k])
            data.append(_memory(address, length))
        if change is not None:
            data[change[0]] = change[1]
        self.bytes = data
        offsets_, at = [16], bytearray(16)
        for k, body in enumerate(data):
            header = struct.pack("<qqII", int(chunks.mint[k]), int(chunks.maxt[k]), int(chunks.samples[k]),
                                 int(chunks.form[k]))
            crc = int(checksum(int(checksum(0, _readable(header))), _readable(body)))
            at += crc.to_bytes(4, "little") + body
            offsets_.append(len(at))
        self._keep: list[NDArray[Any]] = [
            _readable(bytes(at)), chunks.mint.astype(np.uint64), chunks.maxt.astype(np.uint64),
            np.array(offsets_, np.uint64), chunks.samples.astype(np.uint16), chunks.form]
        file, mint, maxt, places, samples, form = (_address(array) for array in self._keep)
        self.columns = np.array([[file, len(at), mint, maxt, places, 8, 8, 0, samples, form, 0, 0, 4, 0]], np.uint64)
        ends = np.cumsum(chunks.series).astype(np.int64)
        self.begin, self.end = ends - chunks.series, ends
        self.samples = chunks.samples

    def decode(self, mint: int = -(1 << 63), maxt: int = (1 << 63) - 1) -> list[list[Sample]] | None:
        """None: it is said to be damaged."""
        rows = self.begin.size
        places, block = np.arange(rows + 1, dtype=np.int64), np.zeros(rows, np.int32)
        header, copy = np.empty(24, np.uint8), np.empty(MAX_CHUNK_BYTES + PADDING, np.uint8)
        needs = np.empty(2, np.int64)
        state, _, _ = histogram_needs(self.columns, places, block, self.begin, self.end, 0, rows, header, copy, needs)
        if state:
            return None
        payload = np.full(int(needs[PAYLOAD]) + 64, 0xEE, np.uint8)
        scratch = np.full(int(needs[SCRATCH]) + 8, 0xEEEE, np.uint64)
        room = int(self.samples.sum())
        begin, end = np.empty(rows, np.int64), np.empty(rows, np.int64)
        ts, values = np.full(room + 8, -1, np.int64), np.empty(room + 8, np.uint64)
        state, _, _ = decode_kinds(
            self.columns, places, block, self.begin, self.end, 0, rows, mint, maxt, header,
            np.empty(SCRATCH_WORDS, np.uint64), copy, scratch[:-8], payload[:-64], 0, begin, end, ts[:-8], values[:-8])
        assert (payload[-64:] == 0xEE).all() and (scratch[-8:] == 0xEEEE).all() and (ts[-8:] == -1).all()
        if state:
            return None
        return [_samples(ts[first:past], values[first:past], payload) for first, past in zip(begin, end, strict=True)]


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


def _memory(address: int, length: int) -> bytes:
    import ctypes

    return ctypes.string_at(address, length)


def _readable(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)


def _samples(ts: NDArray[np.int64], values: NDArray[np.uint64], payload: NDArray[np.uint8]) -> list[Sample]:
    out: list[Sample] = []
    places = offsets(values)
    for k in range(ts.size):
        if int(values[k]) >> 50 == 0x3FFF:
            at = int(places[k])
            length = int.from_bytes(payload[at : at + 4].tobytes(), "little")
            out.append((int(ts[k]), payload[at : at + length].tobytes()))
        else:
            out.append((int(ts[k]), values[k : k + 1].view(np.float64)[0].item()))
    return out


def _same(a: Sequence[Sequence[Sample]] | None, b: Sequence[Sequence[Sample]]) -> None:
    assert a is not None
    assert [[(ts, _bits(value)) for ts, value in row] for row in a] == [
        [(ts, _bits(value)) for ts, value in row] for row in b]


def _bits(value: bytes | float) -> bytes:
    return value if isinstance(value, bytes) else struct.pack("<d", value)


def round_trip(rows: Sequence[Sequence[Sample]], *, slowly: bool = False) -> Chunks:
    samples = Samples(rows)
    chunks = samples.encoded()
    memory = Memory(chunks)
    _same(memory.decode(), rows)
    if slowly:
        found = [sample for k, body in enumerate(memory.bytes) if chunks.form[k] == HISTOGRAMS
                 for sample in decode(body, int(chunks.samples[k]), int(chunks.mint[k]))]
        assert found == [sample for row in rows for sample in row if isinstance(sample[1], bytes)]
    return chunks


def growing(count: int, *, buckets: int = 30, seed: int = 0, step: int = 15_000, floats: bool = False,
            rate: float = 3.0) -> list[Sample]:
    """A histogram of durations that is scraped."""
    rng = np.random.default_rng(seed)
    shape = np.exp(-((np.arange(buckets) - buckets / 2) ** 2) / buckets) * rate
    counts = np.zeros(buckets, np.int64)
    total = 0.0
    out: list[Sample] = []
    for i in range(count):
        more = rng.poisson(shape)
        counts += more
        total += float((more * rng.random(buckets)).sum())
        zero = i // 7
        out.append((FIRST_TS + i * step, NativeHistogram(
            3, total, int(counts.sum()) + zero, 2.9e-39, zero, ((-4, buckets),), (), tuple(counts.tolist()),
            floats=floats).encode()))
    return out


times = st.lists(st.sampled_from([1, 15_000, 15_000, 15_000, 14_998, 30_000, 1 << 40]), min_size=1, max_size=12)


@st.composite
def series(draw: st.DrawFn) -> list[Sample]:
    """Few histograms, which change now and then, and floats between them."""
    known: list[NativeHistogram] = draw(st.lists(histograms(), min_size=1, max_size=3))
    ts = FIRST_TS
    out: list[Sample] = []
    for gap in draw(times):
        ts += gap
        what = draw(st.integers(0, 9))
        if what == 0:
            out.append((ts, draw(st.floats(allow_nan=False))))
        elif what == 1:
            out.append((ts, struct.unpack("<d", struct.pack("<Q", STALE_NAN))[0]))
        else:
            histogram = known[draw(st.integers(0, len(known) - 1))]
            if what > 4 and histogram.positive:
                counts = tuple(count + draw(st.integers(0, 3)) for count in histogram.positive)
                grown = replace(histogram, positive=counts, sum=draw(
                    st.sampled_from([histogram.sum, histogram.sum + 0.25, 1 / 3, NAN])))
                known[known.index(histogram)] = histogram = grown
            out.append((ts, histogram.encode()))
    return out


@settings(max_examples=35, deadline=None)
@given(st.lists(series(), min_size=1, max_size=3))
def test_any_samples_come_back(rows: list[list[Sample]]) -> None:
    chunks = round_trip(rows, slowly=True)
    assert set(np.unique(chunks.form)) <= {8, HISTOGRAMS}


@settings(max_examples=25, deadline=None)
@given(series(), st.data())
def test_a_part_in_time(row: list[Sample], data: st.DataObject) -> None:
    a, b = sorted(data.draw(st.lists(st.sampled_from([ts for ts, _ in row]), min_size=2, max_size=2)))
    found = Memory(Samples([row]).encoded()).decode(a, b)
    _same(found, [[(ts, value) for ts, value in row if a <= ts <= b]])


BASE = NativeHistogram(0, 1.5, 6, 0.001, 1, ((0, 2), (3, 1)), ((-5, 1),), (1, 2, 1), (1,))
STALE = replace(BASE, sum=struct.unpack("<d", struct.pack("<Q", STALE_NAN))[0], count=0, zero_count=0,
                positive_spans=(), negative_spans=(), positive=(), negative=())
MANY = tuple(range(20_000))


@pytest.mark.parametrize("sequence", [
    pytest.param([BASE], id="one"),
    pytest.param([BASE] * 300, id="nothing changes"),
    pytest.param([STALE, BASE, STALE, STALE, BASE], id="stale"),
    pytest.param([replace(BASE, hint=hint) for hint in ResetHint], id="hints"),
    pytest.param([replace(BASE, schema=schema) for schema in (-4, 8, 0, 8, -4, 3, 3, 3, 3, 3, 4)], id="schemas"),
    pytest.param([replace(BASE, zero_threshold=width) for width in (0.0, 0.5, -0.0, 1e-300)], id="zero thresholds"),
    pytest.param([replace(BASE, sum=total) for total in (0.1, 0.2, 0.25, 1e9, -7.125)], id="decimal sums"),
    pytest.param([replace(BASE, sum=total) for total in (0.0, -0.0, NAN, float("inf"), 5e-324)], id="odd sums"),
    pytest.param([replace(BASE, count=count) for count in (0, 6, (1 << 64) - 1, 1 << 63, 5)], id="odd counts"),
    pytest.param([replace(BASE, positive=(0, 1 << 62, k)) for k in range(6)], id="large counts"),
    pytest.param([replace(BASE, floats=True, count=k / 3, zero_count=0.1, positive=(1.5, NAN, -0.0)) for k in range(5)],
                 id="float counts"),
    pytest.param([replace(BASE, floats=True, count=6.0 + k, positive=(1.0 + k, 2.0, 1.0)) for k in range(9)],
                 id="floats that are integers"),
    pytest.param([replace(BASE, floats=k % 2 == 1) for k in range(6)], id="integers and floats"),
    pytest.param([NativeHistogram(CUSTOM_SCHEMA, 1.0, 3 + k, positive_spans=((0, 2), (0, 1)), positive=(1, 2, k),
                                  custom_values=(0.1, 0.5)) for k in range(6)], id="custom buckets"),
    pytest.param([NativeHistogram(CUSTOM_SCHEMA, 1.0, 3, positive_spans=((0, 1),), positive=(3,), custom_values=values)
                  for values in ((0.1,), (0.2,), (0.1, 0.2), ())], id="other custom values"),
    pytest.param([replace(BASE, positive_spans=((0, k),), positive=tuple(range(k))) for k in (*range(12), 3, 5)],
                 id="layouts that grow"),
    pytest.param([replace(BASE, positive_spans=((k % 3, 2),), positive=(k, 2 * k)) for k in range(30)],
                 id="layouts that alternate"),
    pytest.param([replace(BASE, positive_spans=((5, 1), (-3, 1)), positive=(k, k)) for k in range(3)] + [BASE],
                 id="indexes that do not ascend"),
    pytest.param([replace(BASE, positive_spans=((0, 0), (1, 0), (2, 1)), positive=(k,)) for k in range(3)] + [BASE],
                 id="empty spans"),
    pytest.param([replace(BASE, positive_spans=((0, 20_000),), positive=MANY),
                  replace(BASE, positive_spans=((0, 20_000),), positive=MANY[::-1]), BASE], id="many buckets"),
    pytest.param([replace(BASE, count=100 - k, positive=(k, 2, 1)) for k in range(8)], id="resets"),
])
def test_these_come_back(sequence: list[NativeHistogram]) -> None:
    slowly = max(len(one.positive) for one in sequence) < 1000
    round_trip([[(FIRST_TS + 15_000 * k, one.encode()) for k, one in enumerate(sequence)]], slowly=slowly)


def test_the_largest_histogram_fits_a_chunk() -> None:
    room = MAX_BYTES - 60
    bare = replace(BASE, positive_spans=((0, room),), negative_spans=(), positive=(), negative=()).encode()
    many = struct.pack("<I", len(bare) + room) + bare[4:] + (b"\x02\x01\0" * room)[:room]
    chunks = round_trip([[(FIRST_TS, many), (FIRST_TS + 1, BASE.encode())]])
    assert chunks.length.max() <= MAX_CHUNK_BYTES
    assert len(many) > MAX_BYTES - 64


def test_sizes() -> None:
    """What does not change takes next to nothing; chunks have at most 240 samples and, if several, 64 KiB."""
    usual = growing(480)
    chunks = round_trip([usual], slowly=True)
    assert chunks.samples.tolist() == [240, 240]
    assert chunks.length.sum() / 480 < 22
    same = round_trip([[(FIRST_TS + 15_000 * k, usual[-1][1]) for k in range(240)]])
    assert same.length.sum() < 200
    wild = [(FIRST_TS + k, replace(BASE, positive_spans=((0, 2000),), count=k, positive=tuple(
        random.Random(k).randbytes(2000))).encode()) for k in range(100)]
    chunks = round_trip([wild])
    assert chunks.length.max() <= 64 << 10
    assert chunks.samples.size > 1


def test_kinds_alternate_in_chunks() -> None:
    usual = growing(9)
    row: list[Sample] = [(ts, value if k % 3 else 1.5) for k, (ts, value) in enumerate(usual)]
    chunks = round_trip([row, [], usual, [(FIRST_TS, 1.0)]])
    assert chunks.series.tolist() == [6, 0, 1, 1]
    assert chunks.form.tolist() == [8, HISTOGRAMS] * 3 + [HISTOGRAMS, 8]
    assert chunks.samples.tolist() == [1, 2] * 3 + [9, 1]


@pytest.mark.parametrize("cut", [3, 30, 43])
def test_a_value_that_leads_to_no_histogram(cut: int) -> None:
    whole = Samples([growing(3)])
    with pytest.raises(Corruption, match="leads to no histogram"):
        encode_histograms(whole.begin, whole.end, whole.ts, whole.values, whole.payload[: 7 + cut])
    broken = whole.payload.copy()
    broken[7 + 40 :] = 0xFF
    with pytest.raises(Corruption, match="leads to no histogram"):
        encode_histograms(whole.begin, whole.end, whole.ts, whole.values, broken)


def test_broken_chunks_are_told(seed: int = 7) -> None:
    """Bytes that a checksum would vouch for: a decoder says no, or decodes something, within its bounds."""
    rng = random.Random(seed)
    rows: list[list[Sample]] = [
        growing(40), [*growing(10), *((ts + 10**7, value) for ts, value in growing(10, buckets=12))],
        growing(20, floats=True), [(FIRST_TS + k, replace(BASE, sum=1 / (k + 1)).encode()) for k in range(5)]]
    chunks = Samples(rows).encoded()
    sound = Memory(chunks).bytes
    said = 0
    for _ in range(1500):
        k = rng.randrange(len(sound))
        body = bytearray(sound[k])
        for _ in range(rng.choice([1, 1, 2, 8])):
            at = min(rng.randrange(len(body)), rng.randrange(len(body)))
            body[at] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
        if rng.random() < 0.3:
            del body[rng.randrange(1, len(body)) :]
        if rng.random() < 0.1:
            body = bytearray(rng.randbytes(rng.randrange(1, 80)))
        said += Memory(chunks, (k, bytes(body))).decode() is None
    assert said > 300


def test_floats_never_lead_to_histograms() -> None:
    """What blocks of earlier versions have there becomes the usual NaN."""
    odd = [(FIRST_TS + k, bits) for k, bits in enumerate([0, BOX, BOX - 1, (1 << 64) - 1, BOX | 7])]
    values = np.array([bits for _, bits in odd], np.uint64)
    ts = np.array([ts for ts, _ in odd], np.int64)
    chunks = encode(np.zeros(1, np.int64), np.full(1, 5, np.int64), ts, values)
    found = Memory(chunks).decode()
    assert found is not None
    assert [_bits(value) for _, value in found[0]] == [
        struct.pack("<Q", bits) for bits in (0, NORMAL_NAN, BOX - 1, NORMAL_NAN, NORMAL_NAN)]
