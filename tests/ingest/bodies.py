"""Requests to /api/v1/write that something is odd about, and what becomes of each: data for tests of decoding and of
the server."""

from __future__ import annotations

import gzip
import random
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import cramjam
import numpy as np
from numpy.typing import NDArray

from tests.ingest.sender import compress, encode, label, message, sample, series, varint
from tsdb.model.labels import canonical_key

HEADERS: Mapping[str, str] = MappingProxyType({
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
})

Stage = Literal["headers", "body", "series", "storage", "none"]
"""What refuses: the headers are wrong; the body is no message (nothing is kept); some series are invalid (the rest is
kept); decoding takes it and the appender judges; nothing at all is refused."""


@dataclass(frozen=True)
class Body:
    name: str
    stage: Stage
    status: int
    message: str
    """A regular expression that the error message matches (re.search); empty where there is none."""
    kept: int
    """Samples kept, the good one of most bodies included."""
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: HEADERS)


def content(media: str, encoding: str) -> Mapping[str, str]:
    return {"Content-Type": media, "Content-Encoding": encoding}


def bodies(now: int) -> list[Body]:
    """`now` in ms: good samples are of then."""
    good = series([("__name__", "good"), ("job", "t")], [(now, 1.0)])
    labels = [("__name__", "bad"), ("job", "t")]
    body = compress(good)
    return _headers(body) + _compression(good) + _protobuf(good, now) + _series(good, now) + _odd(good, now) + [
        Body(name, "storage", status, text, kept, compress(good + series(labels, samples)))
        for name, status, text, kept, samples in _times(now)
    ]


def _headers(body: bytes) -> list[Body]:
    protobuf = "application/x-protobuf"
    return [
        Body("json content type", "headers", 415, "application/json", 0, body, content("application/json", "snappy")),
        Body("form content type", "headers", 415, "x-www-form", 0, body,
             content("application/x-www-form-urlencoded", "snappy")),
        Body("1.0 under the name of 2.0", "none", 204, "", 0, body,
             content(f"{protobuf};proto=io.prometheus.write.v2.Request", "snappy")),
        Body("parameter without a value", "headers", 415, "no key=value", 0, body, content(f"{protobuf};x", "snappy")),
        Body("unknown message", "headers", 415, "x.Y", 0, body, content(f"{protobuf};proto=x.Y", "snappy")),
        Body("gzip encoding", "headers", 415, "gzip", 0, gzip.compress(body), content(protobuf, "gzip")),
        Body("zstd encoding", "headers", 415, "zstd", 0, body, content(protobuf, "zstd")),
        Body("no headers", "none", 204, "", 1, body, {}),
        Body("message named", "none", 204, "", 1, body,
             content(f"{protobuf}; proto=prometheus.WriteRequest", "Snappy")),
    ]


def _compression(good: bytes) -> list[Body]:
    body = compress(good * 20)
    flipped = bytes([body[0] ^ 1]) + body[1:]
    return [
        Body(name, "body", status, text, 0, data)
        for name, status, text, data in [
            ("empty body", 400, "not snappy.*0 bytes", b""),
            ("nine bytes that declare 4 GiB", 413, "4294967295 bytes.*limit", varint(0xFFFFFFFF) + b"\x00abc"),
            ("one byte over 64 MiB", 413, "67108865 bytes", varint((64 << 20) + 1) + bytes(100)),
            ("declares 1 TiB", 400, "32 bits", varint(1 << 40) + bytes(100)),
            ("declares more than it can hold", 400, "cannot hold the 1048576", varint(1 << 20) + bytes(30)),
            ("endless length", 400, "no valid length", b"\xff" * 12),
            ("uncompressed protobuf", 400, "not snappy", good * 20),
            ("snappy's framed format", 400, "framed format", bytes(cramjam.snappy.compress(good))),
            ("gzip in place of snappy", 400, "not snappy", gzip.compress(good * 20, mtime=0)),
            ("JSON", 400, "not snappy", b'{"streams": [{"stream": {"job": "x"}, "values": []}]}'),
            ("half a body", 400, "not snappy", body[: len(body) // 2]),
            ("last byte lost", 400, "not snappy", body[:-1]),
            ("a byte too many", 400, "not snappy", body + b"\x00"),
            ("bit flipped in the length", 400, "not snappy", flipped),
            ("copy from before the beginning", 400, "not snappy", b"\x08\x01\xff\x0512"),
        ]
    ]


def _protobuf(good: bytes, now: int) -> list[Body]:
    noise = random.Random(1)
    name = label("__name__", "bad")
    value = sample(now, 1.0)
    wire = "wrong wire type"
    beyond = "reaches beyond"
    cut = "ends within a field"
    return [
        Body(title, "body", 400, text, 0, compress(good + raw))
        for title, text, raw in [
            ("message cut in a series", beyond, series([("__name__", "bad")], [(now, 1.0)])[:-4]),
            ("message cut in a tag", cut, b"\x8a"),
            ("message cut in a number", cut, b"\x39\x00\x00\x00"),
            ("message cut in a varint", cut, b"\x38\xff\xff"),
            ("series of 2^63 bytes", beyond, b"\x0a" + varint(1 << 63) + name),
            ("series of 2^64-1 bytes", beyond, b"\x0a" + varint(-1) + name),
            ("label of 2 GiB", beyond, message(1, b"\x0a" + varint(1 << 31) + value)),
            ("label name longer than its label", beyond, message(1, message(1, b"\x0a\x20abc") + value)),
            ("label value longer than its label", beyond, message(1, message(1, b"\x0a\x01a\x12\x7fb") + value)),
            ("sample longer than its series", beyond, message(1, name + b"\x12\x7f\x09" + bytes(8))),
            ("timestamp cut short", cut, message(1, name + message(2, b"\x10\xff\xff"))),
            ("value cut short", cut, message(1, name + message(2, b"\x09\x00\x00\x00"))),
            ("timestamp of eleven bytes", "longer than 64 bits",
             message(1, name + message(2, b"\x10" + b"\x80" * 10 + b"\x01"))),
            ("timestamp of 65 bits", "longer than 64 bits",
             message(1, name + message(2, b"\x10" + b"\xff" * 9 + b"\x02"))),
            ("length of eleven bytes", "longer than 64 bits", b"\x0a" + b"\x80" * 10 + b"\x01"),
            ("field number 0", "field number", b"\x02\x00"),
            ("field number 2^29", "field number", varint(1 << 32 | 2) + b"\x00"),
            ("zeros", "field number", bytes(1 << 16)),
            ("group", "groups", b"\x0b\x08\x01\x0c"),
            ("end of a group", "groups", b"\x0c"),
            ("group in a series", "groups", message(1, name + b"\x2b\x2c" + value)),
            ("group in a sample", "groups", message(1, name + message(2, b"\x1b\x1c"))),
            ("wire type 6", wire, b"\x3e\x01"),
            ("wire type 7 in a series", wire, message(1, name + b"\x7f\x01")),
            ("series as a number", wire, b"\x08\x01"),
            ("metadata as a number", wire, b"\x18\x01"),
            ("label as fixed64", wire, message(1, b"\x09" + bytes(8) + value)),
            ("label name as a number", wire, message(1, message(1, b"\x08\x01\x12\x01b") + value)),
            ("sample as a number", wire, message(1, name + b"\x10\x01")),
            ("value as a varint", wire, message(1, name + message(2, b"\x08\x01\x10\x05"))),
            ("timestamp as fixed64", wire, message(1, name + message(2, b"\x11" + bytes(8)))),
            ("histogram as a number", wire, message(1, name + b"\x20\x01")),
            ("tag of a sample in two bytes", wire, message(1, name + b"\x92\x00\x02\x10\x05")),
            ("metadata type as text", "metadata: .*at byte", message(3, b"\x0a\x01a")),
            ("metadata cut short", "metadata: .*at byte", message(3, b"\x08\x01\x12\x7fabc")),
            ("garbage in a label", "", message(1, message(1, b"\xff" * 30) + value)),
            ("random bytes", "", noise.randbytes(1000)),
        ]
    ]


def _series(good: bytes, now: int) -> list[Body]:
    """One bad series beside a good one."""
    at = [(now, 1.0)]
    histogram = message(4, b"\x08\x05\x78" + varint(now))
    name = label("__name__", "bad")
    long = "x" * 65536
    many = [("__name__", "bad")] + [(f"l{i}", "v") for i in range(1024)]
    return [
        Body(title, "series", 400, text, kept, compress(raw + good))
        for title, text, kept, raw in [
            ("no labels", "without a metric name: {}", 1, series([], at)),
            ("no metric name", r"without a metric name: {job=\"t\"}", 1, series([("job", "t")], at)),
            ("empty metric name", "without a metric name", 1, series([("__name__", ""), ("job", "t")], at)),
            ("empty label name", r"empty name: bad{\"\"=\"x\"}", 1, series([("", "x"), ("__name__", "bad")], at)),
            ("label without fields", "empty name", 1, message(1, name + message(1, b"") + sample(now, 1.0))),
            ("value not UTF-8", "UTF-8: bad{a=", 1, series([("__name__", "bad"), ("a", b"\xff\xfe")], at)),
            ("name not UTF-8", "UTF-8", 1, series([("__name__", "bad"), (b"a\xff", "x")], at)),
            ("metric name not UTF-8", "UTF-8", 1, series([("__name__", b"b\xe2\x82")], at)),
            ("overlong UTF-8", "UTF-8", 1, series([("__name__", "bad"), ("a", b"\xc0\x80")], at)),
            ("surrogate", "UTF-8", 1, series([("__name__", "bad"), ("a", b"\xed\xa0\x80")], at)),
            ("above U+10FFFF", "UTF-8", 1, series([("__name__", "bad"), ("a", b"\xf4\x90\x80\x80")], at)),
            ("UTF-8 across two labels", "UTF-8", 1, series([("__name__", "bad"), ("a", b"\xc3"), (b"\xa9", "x")], at)),
            ("duplicate label", r"not unique: bad{a=\"1\", a=\"2\"}", 1,
             series([("__name__", "bad"), ("a", "1"), ("a", "2")], at)),
            ("duplicate label, same value", "not unique", 1, series([("__name__", "bad"), ("a", "1"), ("a", "1")], at)),
            ("duplicate label, unsorted", "not unique", 1,
             series([("a", "1"), ("__name__", "bad"), ("b", "1"), ("a", "2")], at)),
            ("duplicate label, one empty", "not unique", 1, series([("__name__", "bad"), ("a", ""), ("a", "2")], at)),
            ("two metric names", "not unique", 1, series([("__name__", "bad"), ("__name__", "worse")], at)),
            ("labels over 64 KiB", "too long.*bad{a=\"xxx.*…", 1, series([("__name__", "bad"), ("a", long)], at)),
            ("labels over 64 KiB, unsorted", "too long", 1, series([("a", long), ("__name__", "bad")], at)),
            ("1025 labels", "more than 1024 labels", 1, series(sorted(many), at)),
            ("1025 labels, unsorted", "more than 1024 labels", 1, series(many, at)),
            ("histogram whose count is wrong", "0 observations found in buckets, but the Count field is 5: .*bad", 1,
             message(1, name + histogram)),
            ("wrong histogram beside a sample", "Count field is 5", 2,
             message(1, name + sample(now, 1.0) + histogram)),
            ("many bad series", r"\(500 series, 1000 samples", 1, series([("job", "t")], at * 2) * 500),
        ]
    ]


def _odd(good: bytes, now: int) -> list[Body]:
    """Unusual, yet taken as Prometheus takes it."""
    at = [(now, 1.0)]
    name, value = label("__name__", "odd"), sample(now, 1.0)
    unknown = b"\xf8\x7f\x05" + b"\xf9\x7f" + bytes(8) + b"\xfa\x7f\x03abc" + b"\xfd\x7f" + bytes(4)
    exemplar = message(3, label("trace_id", "abc") + b"\x11" + struct.pack("<d", 1.0) + b"\x18" + varint(now))
    return [
        Body(title, "none", 204, "", kept, compress(raw + good))
        for title, kept, raw in [
            ("an empty request and a good series", 1, b""),
            ("unsorted labels", 2, series([("zone", "a"), ("__name__", "odd"), ("job", "t")], at)),
            ("empty label value", 2, series([("__name__", "odd"), ("a", ""), ("job", "t")], at)),
            ("lengths in more bytes than needed", 2,
             message(1, b"\x0a\x91\x00\x0a\x88\x00__name__\x12\x83\x00odd" + value)),
            ("labels behind samples", 2, message(1, value + name)),
            ("labels around samples", 2, message(1, name + value + label("job", "t"))),
            ("label value before its name", 2,
             message(1, message(1, message(2, b"odd") + message(1, b"__name__")) + value)),
            ("label name twice in one label", 2,
             message(1, message(1, message(1, b"x") + message(1, b"__name__") + message(2, b"odd")) + value)),
            ("value and time zero left out", 2, message(1, name + message(2, b""))),
            ("timestamp before value", 2,
             message(1, name + message(2, b"\x10" + varint(now) + b"\x09" + struct.pack("<d", 2.0)))),
            ("unknown fields", 2, unknown + message(1, unknown + name + unknown + value + unknown)),
            ("unknown field in a label", 2,
             message(1, message(1, message(1, b"__name__") + message(2, b"odd") + unknown) + value)),
            ("unknown field in a sample", 2,
             message(1, name + message(2, b"\x09" + struct.pack("<d", 1.0) + unknown + b"\x10" + varint(now)))),
            ("series without samples", 1, series([("__name__", "odd")], [])),
            ("exemplars", 2, message(1, name + value + exemplar)),
            ("names in UTF-8", 2, series([("__name__", "Größe"), ("größe ", "1")], at)),
            ("value of 60 KiB", 2, series([("__name__", "odd"), ("a", "é" * 30_000)], at)),
        ]
    ] + [
        Body("keys crafted against the hash", "none", 204, "", 20_000,
             encode([({"__name__": "odd", "a": text}, at) for text in crafted_values()])),
        Body("an empty request", "none", 204, "", 0, compress(b"")),
    ]


def _times(now: int) -> list[tuple[str, int, str, int, list[tuple[int, float]]]]:
    """(name, status, message, samples kept, samples of the odd series): the appender judges these."""
    old = "out of bounds|out of order|too old"
    new = "too far in the future|out of bounds"
    year_2100 = 4_102_444_800_000
    return [
        ("time in seconds", 400, old, 1, [(now // 1000, 1.0)]),
        ("time in microseconds", 400, new, 1, [(now * 1000, 1.0)]),
        ("time in nanoseconds", 400, new, 1, [(now * 1_000_000, 1.0)]),
        ("year 2100", 400, new, 1, [(year_2100, 1.0)]),
        ("year 2100 after a good sample", 400, new, 2, [(now, 1.0), (year_2100, 1.0)]),
        ("two hours ahead", 400, new, 1, [(now + 2 * 3_600_000, 1.0)]),  # the table may be older than its test
        ("nine minutes ahead", 204, "", 2, [(now + 9 * 60_000, 1.0)]),
        ("before 1970", 400, old, 1, [(-now, 1.0)]),
        ("the least time", 400, old, 1, [(-(1 << 63), 1.0)]),
        ("the greatest time", 400, new, 1, [((1 << 63) - 1, 1.0)]),
        # what a request has against itself is dropped without a word, as by Prometheus
        ("out of order", 204, "", 2, [(now, 1.0), (now - 40 * 60_000, 2.0)]),  # beyond the window for such samples
        ("two values at one time", 204, "", 2, [(now, 1.0), (now, 2.0)]),
        ("one value twice", 204, "", 3, [(now, 1.0), (now, 1.0)]),
    ]


PUBLIC_SECRET: NDArray[np.uint64] = np.array(
    [int.from_bytes(b"ABCDEFGH", "little"), int.from_bytes(b"IJKLMNOP", "little")], np.uint64
)


def crafted_values(count: int = 20_000) -> list[str]:
    """Values of a label `a` that give `count` series one and the same hash, if the secret were PUBLIC_SECRET: eight
    bytes at the start of a block that equal the second constant cancel all that the hash knows by then."""
    for padding in range(16):
        found = [f"{i:05d}{'.' * padding}IJKLMNOP, the rest is the same for all" for i in range(count)]
        if canonical_key({"__name__": "odd", "a": found[0]}).index(b"IJKLMNOP") % 16 == 0:
            return found
    raise AssertionError("no padding fits")
