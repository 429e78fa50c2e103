"""Start times in segments and checkpoints."""

from __future__ import annotations

import contextlib
import itertools
import struct
from pathlib import Path

import numpy as np
import pytest
import zstandard

from tests.wal.collector import Collector, sample_columns
from tsdb.model.errors import Corruption, FormatTooNew
from tsdb.wal import LocalFileSystem, SampleColumns, StartColumns, Wal, WalOptions
from tsdb.wal.records import Decoder, Encoder

Row = tuple[int, int, int]
ROWS: list[Row] = [(7, 1_000, 900), (8, 1_000, -(1 << 63)), (7, (1 << 63) - 1, 0), (1 << 40, -5, 1 << 40)]


def columns(rows: list[Row]) -> StartColumns:
    refs, ts, starts = zip(*rows, strict=True)
    return StartColumns(np.array(refs, np.uint64), np.array(ts, np.int64), np.array(starts, np.int64))


def late(rows: list[Row]) -> SampleColumns:
    samples = sample_columns([(ref, ts, ref) for ref, ts, _ in rows])
    return SampleColumns(samples.refs, samples.ts, samples.values, None, columns(rows).starts)


def sums(data: bytes) -> list[int]:
    """Of differences, modulo 2^64."""
    whole = itertools.accumulate(struct.unpack(f"<{len(data) // 8}q", data))
    return [(number + (1 << 63)) % (1 << 64) - (1 << 63) for number in whole]


def test_bytes_are_as_documented() -> None:
    payload = Encoder().starts(columns(ROWS))
    count, flags, codec, _, size = struct.unpack("<IBBHI", payload[:12])
    body = zstandard.decompress(payload[12:]) if codec else payload[12:]
    assert (count, flags, len(body)) == (len(ROWS), 0, size)
    third = len(body) // 3
    assert list(zip(*(sums(body[i * third : (i + 1) * third]) for i in range(3)), strict=True)) == ROWS
    payload = Encoder().samples(late(ROWS), late=True)
    count, flags, codec, _, size, newest = struct.unpack("<IBBHIq", payload[:20])
    body = zstandard.decompress(payload[20:]) if codec else payload[20:]
    assert (count, flags, newest, size) == (len(ROWS), 6, (1 << 63) - 1, len(body))
    assert sums(body[-8 * count :]) == [start for *_, start in ROWS]
    decoded = Decoder().samples(memoryview(payload))
    assert decoded.starts is not None and decoded.starts.tolist() == [start for *_, start in ROWS]
    assert decoded.values.tolist() == [ref for ref, *_ in ROWS]


def test_log_and_checkpoint(tmp_path: Path) -> None:
    many = [(number % 100, number, number // 7) for number in range(5_000)]
    log = Wal.open(LocalFileSystem(), tmp_path, WalOptions("os"))
    log.replay(Collector())
    log.append(starts=columns(many), samples=sample_columns([(1, 5, 5)]))
    through = log.covered_segment(10)
    log.append(starts=columns(ROWS), late=late(ROWS))
    for before in (True, False):
        found = Collector(border=1 << 60)  # start times of samples that are skipped come nevertheless
        damage = Wal.open(LocalFileSystem(), tmp_path, read_only=True).replay(found).damage
        assert (found.starts_seen, damage) == (many + ROWS, [])
        assert found.samples_of == {} and len(found.late_of) == 3
        if before:
            log.write_checkpoint(through, [], starts=columns(many))
            log.drop_through(through)
    log.close()


def test_none_are_logged_where_there_are_none(tmp_path: Path) -> None:
    sizes = []
    for number, starts in enumerate((None, columns(ROWS[:1]))):
        log = Wal.open(LocalFileSystem(), tmp_path / str(number), WalOptions("os"))
        log.replay(Collector())
        log.append(samples=sample_columns([(1, 5, 5)]), starts=starts)
        sizes.append(log.statistics().appended_bytes)
        log.close()
    assert sizes[1] - sizes[0] == 16 + 12 + 24 + 4, "a header, what begins a payload, three numbers, padding"


@pytest.mark.parametrize("kind", ["starts", "samples"])
def test_damaged_ones_are_named(kind: str) -> None:
    payload = Encoder().starts(columns(ROWS)) if kind == "starts" else Encoder().samples(late(ROWS), late=True)
    for at in range(len(payload)):
        wrong = bytearray(payload)
        wrong[at] ^= 0xFF
        with contextlib.suppress(Corruption, FormatTooNew):
            getattr(Decoder(), kind)(memoryview(bytes(wrong)))
