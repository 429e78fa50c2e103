"""Damaged files: what is lost is reported, what is not comes back, and nothing comes back wrong."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.wal.collector import Collector, sample_columns, series_columns
from tests.wal.simulated import SimulatedFileSystem
from tsdb.model.batch import Metadata
from tsdb.wal import Replayed, Wal, WalOptions
from tsdb.wal.records import RecordType
from tsdb.wal.segments import FILE_HEADER, RECORD_HEADER, Payload, frame

WAL = Path("/data/wal")
FAMILY = Metadata("up", "gauge", "Is it up?", "")


def written() -> SimulatedFileSystem:
    """A checkpoint, two segments; compressed and stored records."""
    fs = SimulatedFileSystem()
    log = Wal.open(fs, WAL, WalOptions("commit", segment_bytes=900))
    log.replay(Collector())
    log.append(series=series_columns({ref: b"key of series %d" % ref for ref in (1, 2, 3)}))
    for ts in range(0, 100, 10):
        log.append(samples=sample_columns([(1, ts, ts), (2, ts, 0x7FF0000000000002)]))
    through = log.covered_segment(1000)
    log.write_checkpoint(through, [series_columns({1: b"key of series 1", 2: b"key of series 2"})], [FAMILY], {"x": 1})
    log.drop_through(through)
    for ts in range(100, 220, 10):
        new = series_columns({ts: b"key of series %d" % ts}) if ts % 30 == 0 else None
        many = [(1, ts + i, i * 977 % 251) for i in range(ts % 7 * 4)]
        log.append(series=new, samples=sample_columns([(2, ts, ts), *many]), metadata=[FAMILY] if ts == 150 else ())
    log.close()
    return fs


def read(fs: SimulatedFileSystem) -> tuple[Collector, Replayed]:
    found = Collector()
    return found, Wal.open(fs, WAL, read_only=True).replay(found)


def pairs(found: Collector) -> set[tuple[int, int, int]]:
    return {(ref, ts, value) for ref, samples in found.samples_of.items() for ts, value in samples}


FILES = [path.name for path in written().paths()]
WHOLE, _ = read(written())
LARGEST_COMMIT = 25


def test_the_files_are_what_these_tests_need() -> None:
    assert FILES == ["00000002", "00000003", "checkpoint.00000001"]
    assert len(pairs(WHOLE)) > 100
    assert (len(WHOLE.keys), WHOLE.sections, WHOLE.rows) == (6, {"x": 1}, [FAMILY, FAMILY])


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_in_every_byte(name: str) -> None:
    fs = written()
    chance = random.Random(name)
    unnoticed = 0
    for byte in range(len(fs.content(WAL / name))):
        bit = byte * 8 + chance.randrange(8)
        fs.flip(WAL / name, bit)
        found, replayed = read(fs)
        assert pairs(found) <= pairs(WHOLE)
        assert found.keys.items() <= WHOLE.keys.items()
        assert found.sections.items() <= WHOLE.sections.items()
        assert {*found.rows} <= {*WHOLE.rows}
        complete = pairs(found) == pairs(WHOLE) and found.keys == WHOLE.keys and found.sections == WHOLE.sections
        if replayed.damage or replayed.torn:
            assert len(replayed.damage) <= 2
            assert len(pairs(WHOLE) - pairs(found)) <= LARGEST_COMMIT, "more than the record that was hit is lost"
        else:
            assert complete, f"byte {byte} is lost silently"
            unnoticed += 1
        fs.flip(WAL / name, bit)
    assert unnoticed < 0.2 * byte, "only padding and what a reader does not need may change unnoticed"


@pytest.mark.parametrize("name", FILES)
def test_cut_at_every_byte(name: str) -> None:
    whole = written()
    for size in range(len(whole.content(WAL / name))):
        fs = whole.copy()
        fs.open(WAL / name, writable=True).truncate(size)
        found, replayed = read(fs)
        assert pairs(found) <= pairs(WHOLE)
        complete = pairs(found) == pairs(WHOLE) and found.keys == WHOLE.keys and found.sections == WHOLE.sections
        assert complete or replayed.damage or replayed.torn or name == FILES[1]


def test_a_damaged_middle_is_isolated_however_large() -> None:
    fs = written()
    path = WAL / FILES[0]
    content = fs.content(path)
    for start in range(FILE_HEADER.size, len(content) - 200, 100):
        fs = written()
        fs.open(path, writable=True).pwrite(random.Random(start).randbytes(200), start)
        found, replayed = read(fs)
        assert any(f"{path}: damaged from byte" in text for text in replayed.damage)
        assert pairs(found) < pairs(WHOLE)
        assert len(pairs(found)) > len(pairs(WHOLE)) / 3


def test_a_missing_segment_is_reported() -> None:
    fs = written()
    fs.unlink(WAL / FILES[0])
    found, replayed = read(fs)
    assert replayed.damage == ["/data/wal: segments 2 to 2 are missing: samples in them are lost"]
    assert found.samples_of


def test_bytes_that_look_like_a_record_are_not_taken_for_one() -> None:
    """A label value may hold anything, even a record copied from elsewhere; found behind damage, it is none."""
    fs = SimulatedFileSystem()
    log = Wal.open(fs, WAL, WalOptions("commit"))
    log.replay(Collector())
    forged = bytes(frame([Payload(RecordType.METADATA, b"\0" * 40)], 1, FILE_HEADER.size, 0))
    noise = random.Random(1).randbytes(2000)
    for pad in range(8):
        log.append(series=series_columns({pad + 1: noise + bytes(pad) + forged}))
    log.close()
    path = WAL / "00000001"
    assert fs.content(path).count(forged[: RECORD_HEADER.size]) == 8, "the values lie there uncompressed"
    fs.flip(path, 8 * (FILE_HEADER.size + RECORD_HEADER.size + 20))
    found, replayed = read(fs)
    assert len(replayed.damage) == 1
    assert (sorted(found.keys), found.rows) == ([*range(2, 9)], [])


def test_a_hole_in_what_was_never_synced_is_a_torn_end() -> None:
    """Pages of an unsynced tail may survive a power cut in any order: the log ends at the first that did not."""
    fs = SimulatedFileSystem()
    log = Wal.open(fs, WAL, WalOptions("interval", sync_interval_s=0))
    log.replay(Collector())
    ends = []
    for ts in range(6):
        log.append(samples=sample_columns([(1, ts, ts)]))
        ends.append(log.statistics().size_bytes)
        if ts == 2:
            log.sync()
    path = WAL / "00000001"
    for lost, kept, damaged in ((4, [0, 1, 2, 3], 0), (1, [0, 2, 3, 4, 5], 1)):
        after = fs.killed()
        after.open(path, writable=True).pwrite(bytes(ends[lost] - ends[lost - 1]), ends[lost - 1])
        found, replayed = read(after)
        assert [ts for ts, _ in found.samples_of[1]] == kept
        assert (len(replayed.damage), replayed.torn) == (damaged, 0 if damaged else ends[5] - ends[3])


def test_no_damage_in_one_place_loses_a_section() -> None:
    """Without the border of completed windows, all their chunks would look as if something before them were lost."""
    fs = written()
    path = WAL / "checkpoint.00000001"
    for byte in range(len(fs.content(path))):
        fs.flip(path, byte * 8 + byte % 8)
        assert read(fs)[0].sections == {"x": 1}
        fs.flip(path, byte * 8 + byte % 8)
