from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.ingest.sender import compress, encode, series
from tsdb.ingest.decoded import IngestLimits
from tsdb.ingest.remote_write import MESSAGE_1, MESSAGE_2, MESSAGES, decode, negotiate
from tsdb.kernels.hash_kernels import hash_rows
from tsdb.model.batch import STALE_NAN, Batch, Metadata
from tsdb.model.errors import TooLarge, UnsupportedMedia
from tsdb.model.labels import canonical_key, labels_of_key

SECRET = np.array([0x9E3779B97F4A7C15, 0xD1B54A32D192ED03], np.uint64)
NOW = 1_790_000_000_000


def key_of(batch: Batch, row: int) -> bytes:
    begin = int(batch.row_offset[row])
    return batch.keys[begin : begin + int(batch.row_length[row])].tobytes()


def rows_of(batch: Batch) -> list[tuple[dict[str, str], list[tuple[int, int]]]]:
    """(labels, [(ms, value bits)]) per row."""
    found: list[tuple[dict[str, str], list[tuple[int, int]]]] = [
        (labels_of_key(key_of(batch, row)), []) for row in range(batch.row_hash.size)
    ]
    for row, ts, bits in zip(batch.sample_row, batch.ts, batch.values, strict=True):
        found[row][1].append((int(ts), int(bits)))
    return found


def hashes(batch: Batch) -> NDArray[np.uint64]:
    out = np.empty(batch.row_hash.size, np.uint64)
    hash_rows(SECRET, batch.keys, batch.row_offset, batch.row_length, out)
    return out


def bits(value: float) -> int:
    return int(struct.unpack("<Q", struct.pack("<d", value))[0])


def test_what_prometheus_sends_is_taken_as_it_is() -> None:
    up = {"__name__": "up", "instance": "a:9090", "job": "node"}
    other = {"__name__": "temperature", "ort": "Zürich", "long": "x" * 300, "Region": "eu"}
    body = encode([(up, [(NOW, 1.0), (NOW + 15_000, 0.0)]), (other, [(-5, -0.0)]), (up, [(0, float("inf"))])])
    got = decode(body, SECRET)
    assert rows_of(got.batch) == [
        (up, [(NOW, bits(1.0)), (NOW + 15_000, 0)]),
        (dict(sorted(other.items())), [(-5, bits(-0.0))]),
        (up, [(0, bits(float("inf")))]),
    ]
    assert key_of(got.batch, 1) == canonical_key(other)
    assert (got.series, got.samples, got.rejected) == (3, 4, [])
    assert got.batch.row_hash.tolist() == hashes(got.batch).tolist()
    assert got.batch.row_hash[0] == got.batch.row_hash[2] != got.batch.row_hash[1]


def test_stale_markers_and_other_nans_keep_their_bits() -> None:
    odd = [STALE_NAN, 0x7FF8000000000001, 0xFFF8000000000000, 0x7FF0000000000001]
    body = encode([({"__name__": "up"}, [(NOW + i, nan) for i, nan in enumerate(odd)])])
    assert decode(body, SECRET).batch.values.tolist() == odd


def test_metadata() -> None:
    entries = [Metadata("requests", "counter", "Requests — all", ""), Metadata("x_seconds", "gauge", "", "seconds")]
    got = decode(encode([], entries), SECRET)
    assert got.batch.metadata == entries
    assert (got.series, got.samples, got.batch.samples) == (0, 0, 0)


def test_more_rows_samples_and_metadata_than_expected() -> None:
    rows = [({"__name__": "a", "i": str(i)}, [(j, 0.0) for j in range(i % 7)]) for i in range(1, 5000)]
    rows.append(({"__name__": "b"}, [(j, 0.0) for j in range(1, 100_000)]))
    entries = [Metadata(f"m{i}", "counter", "", "") for i in range(3000)]
    got = decode(encode(rows, entries), SECRET)
    assert rows_of(got.batch) == [(labels, [(ts, 0) for ts, _ in samples]) for labels, samples in rows if samples]
    assert got.batch.metadata == entries
    assert got.series == len(rows)


def test_limits() -> None:
    body = encode([({"__name__": "a", "b": "x" * 100}, [(NOW, 1.0)])], [Metadata("a", "gauge", "", "")] * 3)
    assert decode(body, SECRET, IngestLimits(max_metadata=3)).batch.samples == 1
    with pytest.raises(TooLarge, match="more than 2 metadata entries"):
        decode(body, SECRET, IngestLimits(max_metadata=2))
    for many in ([({"__name__": "a"}, [(NOW, 1.0)] * 3)], [({"__name__": "a"}, [(NOW, 1.0)])] * 3):
        assert decode(encode(many), SECRET, IngestLimits(max_samples=3)).batch.samples == 3
        with pytest.raises(TooLarge, match="more than 2 series or samples in one request"):
            decode(encode(many), SECRET, IngestLimits(max_samples=2))
    with pytest.raises(TooLarge, match="more than 1000 series or samples in one request"):
        decode(compress(b"\x0a\x02\x12\x00" * 1001), SECRET, IngestLimits(max_samples=1000))
    with pytest.raises(TooLarge, match="limit is 100"):
        decode(body, SECRET, IngestLimits(max_body_bytes=100))
    [rejected] = decode(body, SECRET, IngestLimits(max_key_bytes=100)).rejected
    assert (rejected.reason, rejected.series, rejected.samples) == ("labels are too long in all", 1, 1)


def test_a_row_keeps_its_samples_when_others_are_rejected() -> None:
    raw = b"".join(
        series([("z", str(i)), ("__name__", "a" if i % 3 else "")], [(NOW + i, float(i)), (NOW + i + 1, 0.0)])
        if i % 2 else series([("__name__", "a"), ("z", str(i))], [(NOW + i, float(i))])
        for i in range(200)
    )
    got = decode(compress(raw), SECRET)
    assert rows_of(got.batch) == [
        ({"__name__": "a", "z": str(i)}, [(NOW + i, bits(float(i)))] + [(NOW + i + 1, 0)] * (i % 2))
        for i in range(200) if i % 2 == 0 or i % 3
    ]
    assert got.samples == got.batch.samples + got.rejected_samples == 300


TWO = "application/x-protobuf;proto=io.prometheus.write.v2.Request"


@pytest.mark.parametrize(
    ("content_type", "encoding", "message"),
    [
        (None, None, MESSAGE_1),
        ("", "", MESSAGE_1),
        ("application/x-protobuf", "snappy", MESSAGE_1),
        ("Application/X-Protobuf; proto=prometheus.WriteRequest", "Snappy", MESSAGE_1),
        (TWO, "snappy", MESSAGE_2),
        ("application/x-protobuf; charset=utf-8; proto=\"io.prometheus.write.v2.Request\"", None, MESSAGE_2),
    ],
)
def test_headers_that_are_taken(content_type: str | None, encoding: str | None, message: str) -> None:
    assert negotiate(content_type, encoding) == message


@pytest.mark.parametrize(
    ("content_type", "encoding", "accepted", "text"),
    [
        ("application/json", "snappy", MESSAGES, f"application/json.*{MESSAGE_1}, .*{MESSAGE_2}"),
        ("application/x-protobuf;proto", "snappy", MESSAGES, "no key=value"),
        ("application/x-protobuf;proto=x.Y", "snappy", MESSAGES, "x.Y protobuf message is not accepted"),
        (TWO, "snappy", [MESSAGE_1], f"{MESSAGE_2} protobuf message is not accepted.*{MESSAGE_1}"),
        (None, None, [MESSAGE_2], f"{MESSAGE_1} protobuf message is not accepted.*{MESSAGE_2}"),
        ("application/x-protobuf", "gzip", MESSAGES, "gzip"),
        (TWO, "zstd", MESSAGES, "zstd"),
    ],
)
def test_headers_that_are_refused(content_type: str | None, encoding: str | None, accepted: Sequence[str],
                                  text: str) -> None:
    with pytest.raises(UnsupportedMedia, match=text):
        negotiate(content_type, encoding, accepted)
