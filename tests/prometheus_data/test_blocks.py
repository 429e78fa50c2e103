"""Blocks of Prometheus: what is written is read, and what is damaged is told."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.native_histograms import histograms
from tests.prometheus_data.samples import ULID, Sample, read, without_hint, write
from tsdb.kernels.crc32c_kernels import checksum
from tsdb.model.batch import STALE_NAN
from tsdb.model.errors import Corruption
from tsdb.model.native_histograms import BOX, NativeHistogram, ResetHint
from tsdb.model.tiles import Tile
from tsdb.prometheus_data.block_writer import BlockWriter
from tsdb.prometheus_data.notes import Notes
from tsdb.testing.memory_storage import Labels
from tsdb.wal.files import LocalFileSystem

BITS = st.integers(0, BOX - 1) | st.sampled_from([0, STALE_NAN, 1 << 63, 0x7FF << 52, 0x7FF8 << 48]) | st.floats(
    -1e6, 1e6).map(lambda value: int(struct.unpack("<Q", struct.pack("<d", value))[0]))
STEPS = st.sampled_from([15_000, 15_000, 15_001, 14_999]) | st.integers(1, 1 << 40)
A = (("__name__", "a"), ("job", "ü"))
FEW = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def series(draw: st.DrawFn, values: st.SearchStrategy[int | NativeHistogram], most: int = 260) -> list[Sample]:
    ts = draw(st.integers(-(1 << 45), 1 << 45))
    few = draw(st.lists(st.tuples(STEPS, values), min_size=1, max_size=12))
    found = []
    for step, value in few * draw(st.integers(1, most // 12)):
        ts += step
        found.append((ts, value))
    return found


@FEW
@given(st.lists(series(BITS), min_size=1, max_size=3))
def test_floats_come_back_bit_for_bit(lists: list[list[Sample]]) -> None:
    wanted: dict[Labels, list[Sample]] = {
        (("__name__", "a"), ("n", str(n))): samples for n, samples in enumerate(lists)}
    with tempfile.TemporaryDirectory() as folder:
        meta = write(Path(folder), wanted)
        assert meta is not None and meta.samples == sum(map(len, lists)) and meta.series == len(lists)
        assert read(Path(folder) / ULID) == wanted


@FEW
@given(series(histograms() | BITS | st.sampled_from([STALE_NAN]), 48))
def test_histograms_come_back_but_for_their_hints(samples: list[Sample]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), {A: samples})
        found = read(Path(folder) / ULID)[A]
    assert [without_hint(sample) for sample in found] == [without_hint(sample) for sample in samples]


def test_resets_are_told_by_chunks(tmp_path: Path) -> None:
    def counted(*counts: int, hint: ResetHint = ResetHint.UNKNOWN) -> NativeHistogram:
        return NativeHistogram(0, 1.5, sum(counts), positive_spans=((0, len(counts)),), positive=counts, hint=hint)

    samples = [counted(1, 1), counted(2, 1), counted(3, 0), counted(3, 1), counted(9, 9, hint=ResetHint.RESET),
               counted(9, 9, 9), counted(5, 5, hint=ResetHint.GAUGE), counted(4, 4, hint=ResetHint.GAUGE)]
    write(tmp_path, {A: [(1000 * k, sample) for k, sample in enumerate(samples)]})
    hints = [sample.hint for _, sample in read(tmp_path / ULID)[A] if isinstance(sample, NativeHistogram)]
    assert [hint.name for hint in hints] == [
        "UNKNOWN", "NOT_RESET", "RESET", "NOT_RESET", "RESET", "UNKNOWN", "GAUGE", "GAUGE"]


MANY: dict[Labels, list[Sample]] = {
    (("__name__", "m"), ("n", f"{n:04}")): [(1000 * k + n, 0x3FF << 52 | n * k) for k in range(3)] for n in range(5000)}


def test_many_series_stand_in_their_order(tmp_path: Path) -> None:
    backwards = dict(reversed(MANY.items()))
    write(tmp_path, backwards)
    found = read(tmp_path / ULID)
    assert found == MANY and list(found) == list(MANY)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_flipped_byte_is_an_error_or_nothing(data: st.DataObject) -> None:
    """Whatever byte of whatever file: the same samples, or Corruption; with the chunk's checksum made right again, any
    samples, or Corruption."""
    histogram = NativeHistogram(3, 2.5, 7, positive_spans=((0, 2), (3, 1)), positive=(1, 2, 4))
    wanted: dict[Labels, list[Sample]] = {A: [(15_000 * k, 0x3FF << 52 | k << 40) for k in range(30)],
                                          (("__name__", "b"),): [(15_000 * k, histogram) for k in range(5)]}
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), wanted)
        place = Path(folder) / ULID
        sound = read(place)
        path = place / data.draw(st.sampled_from(["index", "chunks/000001", "tombstones"]))
        content = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= data.draw(st.integers(1, 255))
        mended = path.name == "000001" and data.draw(st.booleans())
        if mended:  # the first chunk: length in one byte behind the header, kind, data, checksum
            size = content[8] & 0x7F | (content[9] & 0x7F) << 7 if content[8] > 0x7F else content[8]
            begin = 10 if content[8] > 0x7F else 9
            crc = int(checksum(0, np.frombuffer(bytes(content[begin : begin + 1 + size]), np.uint8)))
            content[begin + 1 + size : begin + 5 + size] = crc.to_bytes(4, "big")
        path.write_bytes(content)
        try:
            found = read(place)
        except Corruption as problem:
            assert str(place) in str(problem)
        else:
            assert mended or found == sound


@pytest.mark.parametrize(("name", "at", "said"), [
    ("chunks/000001", 20, "000001 at byte 8: the chunk's checksum does not match"),
    ("index", -20, "index at byte [0-9]+: the checksum of the table of contents does not match"),
    ("meta.json", 0, "meta.json is not the meta.json of a Prometheus block"),
])
def test_damage_names_file_place_and_remedy(name: str, at: int, said: str, tmp_path: Path) -> None:
    write(tmp_path, {A: [(1000 * k, k) for k in range(5)], (("__name__", "b"),): [(5, 5)]})
    path = tmp_path / ULID / name
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(Corruption, match=said) as raised:
        read(tmp_path / ULID)
    assert "restore" in str(raised.value)


def test_what_is_sound_is_read_where_damage_is_skipped(tmp_path: Path) -> None:
    other = (("__name__", "b"),)
    write(tmp_path, {A: [(1000 * k, k) for k in range(5)], other: [(5, 5)]})
    path = tmp_path / ULID / "chunks" / "000001"
    content = bytearray(path.read_bytes())
    content[20] ^= 0xFF
    path.write_bytes(content)
    notes = Notes(skip_damaged=True)
    assert read(tmp_path / ULID, notes) == {other: [(5, 5)]}
    assert len(notes.messages()) == 1 and "left out, damaged" in notes.messages()[0]


def test_a_discarded_block_leaves_nothing(tmp_path: Path) -> None:
    writer = BlockWriter(LocalFileSystem(), tmp_path, ULID)
    writer.add(Tile(0, np.zeros(1, np.int64), np.ones(1, np.int64), np.ones(1, np.int64), np.ones(1)))
    assert list(tmp_path.iterdir())
    writer.discard()
    assert not list(tmp_path.iterdir())
