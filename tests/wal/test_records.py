"""Payloads of records: kernels beside slow twins, and bytes from outside."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Sequence
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.native_histograms import histograms
from tests.storage.histograms.payload import Value, plain, with_payload
from tests.wal.collector import sample_columns, series_columns
from tsdb.model.batch import STALE_NAN, Metadata
from tsdb.model.errors import Corruption, FormatTooNew
from tsdb.model.native_histograms import BOX, NORMAL_NAN, NativeHistogram
from tsdb.wal.record_kernels import POWERS, RUN_BYTES, decode_samples, decode_series, encode_samples
from tsdb.wal.records import Decoder, Encoder, SampleColumns, SeriesColumns, TombstoneColumns, max_ts

U64 = (1 << 64) - 1


def bits(value: float) -> int:
    return int(struct.unpack("<Q", struct.pack("<d", value))[0])


def slow_varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def slow_runs(values: Sequence[int], step: int) -> bytes:
    out, expected, at = b"", 0, 0
    while at < len(values):
        run = 1
        while at + run < len(values) and values[at + run] == (values[at] + run * step) & U64:
            run += 1
        delta = (values[at] - expected) & U64
        delta -= (delta >> 63) << 64
        out += slow_varint(run) + slow_varint(delta * 2 if delta >= 0 else -delta * 2 - 1)
        expected = (values[at] + run * step) & U64
        at += run
    return out


def slow_value(word: int) -> tuple[int, bytes]:
    """(control byte, bytes) of a value."""
    if word == STALE_NAN:
        return 0xFF, b""
    (value,) = struct.unpack("<d", struct.pack("<Q", word))
    if abs(value) <= 2**53 and word != 1 << 63:
        for form, power in enumerate([int(power) for power in POWERS]):
            m = round(value * power)
            if abs(m) <= 2**53 and (m or not form) and bits(float(m) / power if form else float(m)) == word:
                zigzag = m * 2 if m >= 0 else -m * 2 - 1
                length = -(-zigzag.bit_length() // 8)
                return form << 4 | length, zigzag.to_bytes(length, "little")
    data = word.to_bytes(8, "little").lstrip(b"\0")
    return 4 << 4 | len(data), data


def slow_body(samples: list[tuple[int, int, int]]) -> bytes:
    values = [slow_value(word) for _, _, word in samples]
    return (slow_runs([ref for ref, _, _ in samples], 1) + slow_runs([ts & U64 for _, ts, _ in samples], 0)
            + bytes(control for control, _ in values) + b"".join(data for _, data in values))


words = st.one_of(
    st.integers(0, U64),
    st.floats(width=64).map(bits),
    st.integers(-(1 << 55), 1 << 55).map(lambda number: bits(float(number))),
    st.builds(lambda m, places: bits(m / 10**places), st.integers(-(10**12), 10**12), st.integers(0, 10)),
    st.sampled_from([STALE_NAN, bits(-0.0), bits(0.0), bits(float("inf")), bits(2.0**53), bits(2.0**53 + 2), 1, U64]),
)
refs = st.one_of(st.integers(1, 5), st.integers(0, U64))
times = st.one_of(st.integers(-5, 5), st.integers(-(1 << 63), (1 << 63) - 1))


@given(st.lists(st.tuples(refs, times, words), max_size=40))
@example([(ref, 1000, bits(ref / 4)) for ref in range(40)])
def test_samples_agree_with_the_slow_twin_and_come_back(samples: list[tuple[int, int, int]]) -> None:
    columns = sample_columns(samples)
    out = np.empty((2 * RUN_BYTES + 9) * len(samples) + 16, np.uint8)
    size = encode_samples(columns.refs, columns.ts.view(np.uint64), columns.values, np.empty(0, np.uint8), out)
    assert out[:size].tobytes() == slow_body(samples)
    if samples:
        payload = memoryview(Encoder().samples(columns))
        back = Decoder().samples(payload)
        floats = [(ref, ts, NORMAL_NAN if word >= BOX else word) for ref, ts, word in samples]
        assert back.payload is None
        assert list(zip(back.refs.tolist(), back.ts.tolist(), back.values.tolist(), strict=True)) == floats
        assert max_ts(payload) == (len(samples), max(ts for _, ts, _ in samples))


@given(st.lists(st.tuples(refs, times, words.filter(lambda word: word < BOX) | histograms()), max_size=12))
def test_histograms_come_back(samples: list[tuple[int, int, Value]]) -> None:
    """Behind what has been written so far: their bytes come first."""
    values, payload = with_payload([value for _, _, value in samples])
    plain_columns = sample_columns([(ref, ts, 0) for ref, ts, _ in samples])
    columns = SampleColumns(plain_columns.refs, plain_columns.ts, values, payload)
    if samples:
        back = Decoder().samples(memoryview(Encoder().samples(columns)))
        assert (back.refs == columns.refs).all() and (back.ts == columns.ts).all()
        assert plain(back.values, back.payload) == [value for _, _, value in samples]
        bytes_of = [value.encode() for _, _, value in samples if isinstance(value, NativeHistogram)]
        assert back.payload is None or back.payload.tobytes() == b"".join(bytes_of)


@given(st.lists(st.lists(st.integers(0, 5) | histograms(), min_size=1, max_size=4), min_size=1, max_size=4),
       st.lists(st.booleans(), min_size=4, max_size=4))
def test_columns_are_joined_and_cut(parts: list[list[Value]], twice: list[bool]) -> None:
    columns = []
    for values, shared in zip(parts, twice, strict=False):
        words, payload = with_payload(values)
        words = np.concatenate([words, words]) if shared else words  # the same histogram for two samples
        zeros = np.zeros(words.size, np.uint64)
        columns.append(SampleColumns(zeros, zeros.view(np.int64), words, payload if payload.size else None))
    expected = [value for each, shared in zip(parts, twice, strict=False) for value in each * (1 + shared)]
    joined = SampleColumns.joined(columns)
    assert plain(joined.values, joined.payload) == expected
    with patch("tsdb.wal.records._PAYLOAD_AT_ONCE", 150), patch("tsdb.wal.records.MAX_SAMPLES", 3):
        pieces = list(joined.pieces())
    assert all(piece.refs.size <= 3 for piece in pieces)
    assert [value for piece in pieces for value in plain(piece.values, piece.payload)] == expected


@given(st.dictionaries(st.integers(0, U64), st.binary(max_size=40), min_size=1, max_size=40), st.integers(0, 9))
def test_series_come_back(keys: dict[int, bytes], gap: int) -> None:
    """Keys may lie anywhere in the buffer."""
    columns = series_columns(keys)
    padded = SeriesColumns(columns.refs, np.concatenate([np.full(gap, 7, np.uint8), columns.keys]),
                           columns.offsets + np.uint64(gap), columns.lengths.astype(np.uint32))
    back = Decoder().series(memoryview(Encoder().series(padded)))
    assert {
        ref: back.keys[offset : offset + length].tobytes()
        for ref, offset, length in zip(back.refs.tolist(), back.offsets.tolist(), back.lengths.tolist(), strict=True)
    } == keys


def test_a_key_outside_of_the_buffer_is_refused() -> None:
    columns = series_columns({1: b"one", 2: b"two"})
    for offsets, lengths in (([0, 4], [3, 3]), ([0, -1], [3, 1]), ([0, 3], [3, 4])):
        wrong = SeriesColumns(columns.refs, columns.keys, np.array(offsets), np.array(lengths))
        with pytest.raises(ValueError, match="row 1"):
            Encoder().series(wrong)


@given(st.binary(max_size=200), st.integers(0, 30), st.just(-1) | st.integers(0, 300))
def test_any_bytes_are_a_body_or_none(data: bytes, count: int, histograms: int) -> None:
    body = np.frombuffer(data, np.uint8)
    columns = [np.empty(count, np.uint64) for _ in range(3)]
    assert decode_samples(body, histograms, *columns) in (0, -1)
    if decode_series(body, *columns) == 0:
        assert (columns[1] + columns[2] <= body.size).all()


@given(st.lists(st.tuples(refs, times, words), min_size=1, max_size=20), st.lists(histograms(), max_size=2), st.data())
def test_damaged_payloads_crash_nothing(samples: list[tuple[int, int, int]], some: list[NativeHistogram],
                                        data: st.DataObject) -> None:
    """Checksums come before this; here nothing may crash."""
    columns = sample_columns(samples)
    if some:
        values, histogram_bytes = with_payload(some)
        columns.values[columns.values >= BOX] = 0
        columns.values[: len(some)] = values[: len(samples)]
        columns = replace(columns, payload=histogram_bytes)
    payload = bytearray(Encoder().samples(columns))
    at = data.draw(st.integers(0, len(payload) - 1))
    payload[at] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(payload)))
    for damaged in (payload, payload[:cut]):
        for decode in (Decoder().samples, Decoder().series, Decoder().metadata, Decoder().section):
            with contextlib.suppress(Corruption, FormatTooNew):
                decode(memoryview(damaged))


def test_metadata_and_sections_come_back() -> None:
    rows = [Metadata("a_total", "counter", "Größe\n", "bytes"), Metadata("", "", "", "")]
    assert Decoder().metadata(memoryview(Encoder().metadata(rows))) == rows
    content = {"border": -5, "list": [1, None, b"x", 1.5], 7: {}}
    assert Decoder().section(memoryview(Encoder().section("name", content))) == ("name", content)


def test_announced_sizes_are_not_believed() -> None:
    """A few bytes that announce gigabytes take no memory."""
    for head in (struct.pack("<IBBHIq", 1, 0, 0, 0, 0xFFFFFFFF, 0), struct.pack("<IBBHIq", 0xFFFFFFFF, 0, 0, 0, 0, 0),
                 struct.pack("<IBBHIq", 1, 0, 1, 0, 100, 0) + bytes.fromhex("28b52ffde0ffffffffffffff7f010000")):
        with pytest.raises(Corruption):
            Decoder().samples(memoryview(head))
    with pytest.raises(FormatTooNew, match="compression 2"):
        Decoder().samples(memoryview(struct.pack("<IBBHIq", 1, 0, 2, 0, 0, 0)))
    with pytest.raises(FormatTooNew, match="flags 2"):
        Decoder().samples(memoryview(struct.pack("<IBBHIq", 1, 2, 0, 0, 0, 0)))


@given(st.lists(st.tuples(st.integers(0, U64), st.integers(-(1 << 63), (1 << 63) - 1)), min_size=1, max_size=30),
       st.integers(-(1 << 63), (1 << 63) - 1))
def test_tombstones(rows: list[tuple[int, int]], mint: int) -> None:
    refs, through = np.array([ref for ref, _ in rows], np.uint64), np.array([ts for _, ts in rows], np.int64)
    payload = Encoder().tombstones(TombstoneColumns(refs, through, mint, 7))
    found = Decoder().tombstones(memoryview(payload))
    assert list(zip(found.refs.tolist(), found.through.tolist(), strict=True)) == rows
    assert (found.mint, found.maxt) == (mint, 7)
    for size in range(len(payload)):
        with pytest.raises(Corruption):
            Decoder().tombstones(memoryview(payload[:size]))
