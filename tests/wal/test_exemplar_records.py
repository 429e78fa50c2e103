"""Exemplars in segments and checkpoints."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import msgpack
import numpy as np
import zstandard

from tests.wal.collector import Collector
from tsdb.model.errors import Corruption, FormatTooNew
from tsdb.model.labels import canonical_key
from tsdb.wal import ExemplarColumns, LocalFileSystem, Wal, WalOptions
from tsdb.wal.exemplars import MAX_EXEMPLARS
from tsdb.wal.records import Decoder, Encoder

A, B = (canonical_key({"__name__": name}) for name in "ab")
TRACE = canonical_key({"trace_id": "x"})


def columns(keys: list[bytes], rows: list[tuple[int, int, float, bytes]]) -> ExemplarColumns:
    series, ts, values, labels = zip(*rows, strict=True)
    return ExemplarColumns(keys, np.array(series, np.uint32), np.array(ts, np.int64),
                           np.array(values, np.float64).view(np.uint64), list(labels))


def rows_of(found: list[ExemplarColumns]) -> list[tuple[bytes, int, float, bytes]]:
    return [(each.keys[series], ts, value, labels) for each in found
            for series, ts, value, labels in zip(each.series.tolist(), each.ts.tolist(),
                                                 each.values.view(np.float64).tolist(), each.labels, strict=True)]


def test_bytes_are_as_documented() -> None:
    payload = Encoder().exemplars(columns([A, B], [(1, 7, 0.5, TRACE), (0, -8, -0.0, b"")]))
    count, flags, codec, _, size = struct.unpack("<IBBHI", payload[:12])
    body = zstandard.decompress(payload[12:]) if codec else payload[12:]
    assert (count, flags, len(body)) == (0, 0, size)
    keys, series, ts, values, labels = msgpack.unpackb(body)
    assert (keys, labels) == ([A, B], [TRACE, b""])
    assert struct.unpack("<2I", series) == (1, 0) and struct.unpack("<2q", ts) == (7, -8)
    assert struct.unpack("<2d", values) == (0.5, -0.0)


def test_log_and_checkpoint(tmp_path: Path) -> None:
    many = columns([A, B], [(number % 2, number, 1.0, TRACE) for number in range(2 * MAX_EXEMPLARS + 5)])
    log = Wal.open(LocalFileSystem(), tmp_path, WalOptions("os"))
    log.replay(Collector())
    log.append(exemplars=many)
    through = log.covered_segment(1)
    log.append(exemplars=columns([B], [(0, 1 << 40, 2.0, TRACE)]))
    expected = [*rows_of([many]), (B, 1 << 40, 2.0, TRACE)]
    before = Collector()
    Wal.open(LocalFileSystem(), tmp_path, read_only=True).replay(before)
    assert rows_of(before.exemplars_seen) == expected and [len(each.labels) for each in before.exemplars_seen] == [
        MAX_EXEMPLARS, MAX_EXEMPLARS, 5, 1]
    assert through == 1, "a segment that has nothing but exemplars goes when a checkpoint is written"
    log.write_checkpoint(through, [], exemplars=many.pieces(1000))
    log.drop_through(through)
    log.close()
    after = Collector()
    found = Wal.open(LocalFileSystem(), tmp_path, read_only=True).replay(after)
    assert rows_of(after.exemplars_seen) == expected and not found.damage


def test_damaged_ones_are_named() -> None:
    payload = Encoder().exemplars(columns([A], [(0, 1, 1.0, TRACE)]))
    decoder = Decoder()
    for at in range(len(payload)):
        wrong = bytearray(payload)
        wrong[at] ^= 0xFF
        with contextlib.suppress(Corruption, FormatTooNew):
            decoder.exemplars(memoryview(bytes(wrong)))
