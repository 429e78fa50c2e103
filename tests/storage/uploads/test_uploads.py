"""Blocks that are uploaded: shown as a whole and only if they are in order, never twice, whatever crashes."""

from __future__ import annotations

import dataclasses
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.processes import wait_until
from tests.storage.batches import bits, read
from tests.storage.block import plain
from tests.storage.block.plain import Labels, PlainSource
from tests.storage.simulator.stepped import NOW_S, open_storage, stepped
from tests.storage.tiers.plain import expected, read_tier
from tests.storage.tiers.test_storage_tiers import DAY, HOUR, RULE, START, fill
from tests.wal.simulated import Killed, SimulatedFileSystem
from tsdb.model.errors import IngestError, ReadOnly, TooLarge, Unavailable, UploadRefused
from tsdb.storage import Storage, StorageOptions
from tsdb.storage.block import BlockMeta, SeriesLabels, write_block
from tsdb.storage.block.layout import CHUNKS_NAME, INDEX_NAME, META_NAME
from tsdb.storage.block.meta import FROM_HEAD, OUT_OF_ORDER, Parent, TierMeta
from tsdb.storage.block.ulid import new_ulid
from tsdb.storage.upkeep.retention import Retention
from tsdb.storage.uploads import State, Uploads
from tsdb.storage.uploads.uploads import FOLDER, PATIENCE_S, SUFFIX
from tsdb.wal.files import read_file

DATA, FROM = Path("/data"), Path("/from")
NOW = time.time_ns() // 1_000_000
OLD = NOW // HOUR * HOUR - 100 * HOUR
Samples = dict[tuple[tuple[str, str], ...], list[tuple[int, int]]]


def samples(first: int = OLD, count: int = 30) -> Samples:
    return {(("__name__", "m"), ("n", str(n))): [(first + i * 60_000 + n, bits(i * n / 7)) for i in range(count)]
            for n in range(5)}


def made(fs: SimulatedFileSystem, content: Samples, mint: int = OLD, maxt: int = OLD + 2 * HOUR,
         **meta: Any) -> BlockMeta:
    """A block as an import writes it, in a folder elsewhere."""
    chunks = {labels: [own[at : at + 9] for at in range(0, len(own), 9)] for labels, own in content.items()}
    return write_block(fs, FROM, PlainSource(chunks, mint, maxt), **{"hints": (OUT_OF_ORDER,), **meta})


def send(uploads: Uploads, fs: SimulatedFileSystem, ulid: str, part: int = 500,
         change: Callable[[str, bytes], bytes] = lambda _, data: data) -> None:
    uploads.start(ulid, read_file(fs, FROM / ulid / META_NAME))
    for name in (INDEX_NAME, CHUNKS_NAME):
        data = change(name, read_file(fs, FROM / ulid / name))
        for at in range(0, len(data), part):
            uploads.write(ulid, name, data[at : at + part], at)


def ended(uploads: Uploads, ulid: str) -> str:
    """What was wrong with a block that was sent; empty: nothing."""
    uploads.finish(ulid)

    def over() -> bool:
        found = uploads.status(ulid)
        return found is not None and found.state is not State.VALIDATING

    wait_until(over, "the block is looked at", 20)
    status = uploads.status(ulid)
    assert status is not None and status.state is (State.FAILED if status.error else State.COMPLETE)
    return status.error


def staged(storage: Storage) -> list[str]:
    return storage._fs.listdir(storage.path / FOLDER)


@pytest.fixture
def fs() -> SimulatedFileSystem:
    return SimulatedFileSystem(capacity=64 << 20)


@pytest.fixture
def storage(fs: SimulatedFileSystem) -> Iterator[Storage]:
    opened = Storage.open(DATA, StorageOptions(wal_sync="os"), fs=fs)
    yield opened
    opened.close()


def test_a_block_is_shown_as_a_whole_and_once(fs: SimulatedFileSystem, storage: Storage) -> None:
    content = samples()
    ulid = made(fs, content).ulid
    assert storage.uploads.status(ulid) is None
    send(storage.uploads, fs, ulid)
    status = storage.uploads.status(ulid)
    assert status is not None and status.state is State.UPLOADING
    assert status.files == {name: len(fs.content(FROM / ulid / name)) for name in (INDEX_NAME, CHUNKS_NAME)}
    assert read(storage) == {} and storage.statistics().uploads.under_way == 1
    assert ended(storage.uploads, ulid) == ""
    assert read(storage) == content
    assert staged(storage) == []
    counted = storage.statistics().uploads
    assert (counted.under_way, counted.blocks, counted.failed) == (0, 1, 0)
    assert counted.bytes == sum(len(fs.content(FROM / ulid / name)) for name in (INDEX_NAME, CHUNKS_NAME))

    again = made(fs, content, ulid=new_ulid(NOW + 5)[:10] + ulid[SUFFIX]).ulid
    assert again != ulid
    other = made(fs, samples(OLD + HOUR), OLD, OLD + 4 * HOUR).ulid
    send(storage.uploads, fs, other)
    assert ended(storage.uploads, other) == ""
    storage.compact()
    assert len(storage.block_metas()) == 1, "both are compacted into one"
    both = read(storage)
    storage.close()
    reopened = Storage.open(DATA, fs=fs.killed())
    for each in (ulid, again, other):
        with pytest.raises(UploadRefused, match="there already") as refused:
            send(reopened.uploads, fs, each)
        assert refused.value.status == 409
    assert read(reopened) == both and len(both[next(iter(content))]) == 60
    reopened.close()


def test_what_is_there_wins_where_times_are_equal(fs: SimulatedFileSystem, storage: Storage) -> None:
    content = samples()
    changed = {labels: [(ts, bits(-1.0)) for ts, _ in own] for labels, own in content.items()}
    for each in (content, changed):
        ulid = made(fs, each).ulid
        send(storage.uploads, fs, ulid)
        assert ended(storage.uploads, ulid) == ""
    assert read(storage) == content


@pytest.mark.parametrize(("meta", "problem"), [
    ({"hints": ()}, "not one that an import has written.*tsdb import prometheus"),
    ({"hints": (FROM_HEAD,), "border": OLD + 2 * HOUR}, "not one that an import has written.*tsdb restore"),
    ({"border": OLD + HOUR}, "what other blocks, or the head"),
    ({"windows": ("0001",)}, "what other blocks, or the head"),
    ({"parents": (Parent(new_ulid(), OLD, OLD + HOUR),)}, "what other blocks, or the head"),
    ({"sources": (new_ulid(),), "level": 2}, "what other blocks, or the head"),
    ({"tier": TierMeta(HOUR)}, "what other blocks, or the head"),
    ({"ulid": new_ulid(NOW + DAY)}, "made in the future"),
    ({"mint": NOW + HOUR, "maxt": NOW + DAY, "content": samples(NOW + HOUR)}, "ahead of this server's clock"),
])
def test_meta_that_is_refused(fs: SimulatedFileSystem, storage: Storage, meta: dict[str, Any], problem: str) -> None:
    ulid = made(fs, meta.pop("content", samples()), **meta).ulid
    with pytest.raises(UploadRefused, match=problem) as refused:
        storage.uploads.start(ulid, read_file(fs, FROM / ulid / META_NAME))
    assert refused.value.status == 400 and staged(storage) == []


def test_bodies_that_are_no_meta(fs: SimulatedFileSystem, storage: Storage) -> None:
    meta = made(fs, samples())
    document = meta.document()
    for body, problem in (
        (b"", "not the meta.json"), (b"[]", "not the meta.json"), (b"\xff", "not the meta.json"),
        (json.dumps({**document, "version": 2}).encode(), "use a newer tsdb"),
        (json.dumps({**document, "thanos": {}}).encode(), "tsdb import prometheus"),
        (json.dumps({**document, "ulid": new_ulid()}).encode(), "not of"),
        (json.dumps({**document, "stats": {"numSamples": 0, "numSeries": 0, "numChunks": 0}}).encode(), "no samples"),
    ):
        with pytest.raises(UploadRefused, match=problem):
            storage.uploads.start(meta.ulid, body)
    with pytest.raises(TooLarge):
        storage.uploads.start(meta.ulid, b" " * (1 << 20) + meta.to_json())


def test_parts_that_are_refused(fs: SimulatedFileSystem, storage: Storage) -> None:
    uploads, ulid = storage.uploads, made(fs, samples()).ulid
    with pytest.raises(UploadRefused, match="not started") as refused:
        uploads.write(ulid, INDEX_NAME, b"x")
    assert refused.value.status == 404
    uploads.start(ulid, read_file(fs, FROM / ulid / META_NAME))
    for name, data, offset, problem in (
        ("meta.json", b"x", 0, "comes with the start"), ("chunks/000001", b"x", 0, "tsdb import prometheus"),
        ("../index", b"x", 0, "no file"), ("/etc/passwd", b"x", 0, "no file"), ("", b"x", 0, "no file"),
        ("tombstones", b"x", 0, "no file"), ("index", b"", 0, "empty"), ("index", b"x", 1, "cannot follow"),
        ("index", b"x", -1, "cannot follow"), ("index", b"\xba\xaa\xd7\x00\x02", 0, "tsdb import prometheus"),
    ):
        with pytest.raises(UploadRefused, match=problem):
            uploads.write(ulid, name, data, offset)
    with pytest.raises(UploadRefused, match="no index and no chunks yet"):
        uploads.finish(ulid)
    uploads.most_bytes = 1000
    uploads.write(ulid, INDEX_NAME, bytes(999))
    with pytest.raises(TooLarge, match=r"server\.max_upload_size"):
        uploads.write(ulid, CHUNKS_NAME, bytes(2))
    uploads.write(ulid, INDEX_NAME, b"again")
    assert uploads.statistics().staged_bytes == 5
    assert uploads.status(ulid).files == {"index": 5}  # type: ignore[union-attr]


def test_an_upload_goes_on_where_it_ended(fs: SimulatedFileSystem, storage: Storage) -> None:
    uploads, ulid = storage.uploads, made(fs, samples()).ulid
    index, chunks = (read_file(fs, FROM / ulid / name) for name in (INDEX_NAME, CHUNKS_NAME))
    text = read_file(fs, FROM / ulid / META_NAME)
    uploads.start(ulid, text)
    uploads.write(ulid, INDEX_NAME, index[:700])
    uploads.start(ulid, text)
    assert uploads.status(ulid).files == {"index": 700}  # type: ignore[union-attr]
    uploads.write(ulid, INDEX_NAME, index[600:1000], 600)
    uploads.write(ulid, INDEX_NAME, index[1000:], 1000)
    uploads.write(ulid, CHUNKS_NAME, chunks)
    assert ended(uploads, ulid) == "" and read(storage) == samples()


def test_so_many_at_a_time(fs: SimulatedFileSystem, storage: Storage) -> None:
    uploads, metas = storage.uploads, [made(fs, samples()) for _ in range(3)]
    uploads.most = 2
    for meta in metas[:2]:
        uploads.start(meta.ulid, meta.to_json())
    with pytest.raises(Unavailable, match="2 blocks are being uploaded"):
        uploads.start(metas[2].ulid, metas[2].to_json())
    uploads.most = 0
    with pytest.raises(UploadRefused, match="not taken here"):
        uploads.start(metas[2].ulid, metas[2].to_json())


def test_what_nothing_more_comes_of_is_given_up(fs: SimulatedFileSystem, storage: Storage) -> None:
    uploads, ulid, other = storage.uploads, made(fs, samples()).ulid, made(fs, samples()).ulid
    now = time.time()
    uploads._clock = lambda: now
    send(uploads, fs, ulid)
    send(uploads, fs, other)
    now += PATIENCE_S - 1
    uploads.write(other, INDEX_NAME, b"x")
    now += 2
    uploads.tidy()
    assert uploads.status(ulid) is None and staged(storage) == [other]


def test_nothing_is_staged_beyond_a_restart(fs: SimulatedFileSystem, storage: Storage) -> None:
    ulid = made(fs, samples()).ulid
    send(storage.uploads, fs, ulid)
    reopened = Storage.open(DATA, fs=fs.killed())
    assert staged(reopened) == [] and reopened.uploads.status(ulid) is None
    reopened.close()
    with pytest.raises(ReadOnly):
        _ = Storage.open(DATA, read_only=True, fs=fs.killed()).uploads


def test_a_full_disk(fs: SimulatedFileSystem, storage: Storage) -> None:
    ulid = made(fs, samples()).ulid
    storage.uploads.start(ulid, read_file(fs, FROM / ulid / META_NAME))
    fs.capacity = fs.capacity - fs.room_left() + (200 << 10)
    with pytest.raises(Unavailable, match="the disk is full") as full:
        send(storage.uploads, fs, ulid)
    assert full.value.retry_after == 60
    fs.capacity = 64 << 20
    send(storage.uploads, fs, ulid)
    assert ended(storage.uploads, ulid) == ""


def test_samples_that_would_go_at_once(fs: SimulatedFileSystem, storage: Storage) -> None:
    new, old = (made(fs, samples(at), at, at + 2 * HOUR).ulid for at in (OLD, OLD - 20 * DAY))
    send(storage.uploads, fs, new)
    assert ended(storage.uploads, new) == ""
    storage.set_retention(Retention(10 * DAY))
    storage._expiry._newest = NOW
    with pytest.raises(UploadRefused, match=r"storage\.tsdb\.retention") as refused:
        send(storage.uploads, fs, old)
    assert refused.value.status == 422
    storage.set_retention(Retention(30 * DAY))
    send(storage.uploads, fs, old)
    assert ended(storage.uploads, old) == ""


def test_damage_is_found(fs: SimulatedFileSystem, storage: Storage) -> None:
    chance, content = random.Random(3), samples()
    taken = 0
    for _ in range(12):
        ulid = made(fs, content).ulid
        damaged = chance.choice((INDEX_NAME, CHUNKS_NAME))

        def change(name: str, data: bytes, damaged: str = damaged) -> bytes:
            if name != damaged:
                return data
            at = chance.randrange(len(data))
            match chance.randrange(3):
                case 0:
                    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
                case 1:
                    return data[: at + 1]
                case _:
                    return data + b"\0"

        send(storage.uploads, fs, ulid, 4096, change)
        problem = ended(storage.uploads, ulid)
        assert staged(storage) == []
        if problem:
            assert "damaged" in problem and str(DATA) not in problem
            assert [meta.ulid for meta in storage.block_metas()].count(ulid) == 0
        else:
            taken += 1  # bytes between two sections, or all of the file
    assert read(storage) == (content if taken else {})
    assert taken < 8 and storage.statistics().uploads.failed == 12 - taken
    assert storage.statistics().damaged == 0


@pytest.mark.parametrize(("content", "problem"), [
    ({(("__name__", "m"), ("n", "")): [(OLD, 0)]}, "no name or no value"),
    ({(("__name__", "m"), ("n", "\udcff")): [(OLD, 0)]}, "not valid UTF-8"),
    ({(("", "m"),): [(OLD, 0)]}, "no name or no value"),
    ({(("__name__", "m"),): [(NOW + HOUR - 1, 0)]}, "ahead of this server's clock"),
])
def test_blocks_with_sound_checksums_that_are_wrong(fs: SimulatedFileSystem, storage: Storage, content: Samples,
                                                    problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "series_labels", with_bytes)
    ulid = made(fs, content, OLD, NOW + HOUR).ulid
    send(storage.uploads, fs, ulid)
    assert problem in ended(storage.uploads, ulid)
    assert read(storage) == {}


def with_bytes(series: Sequence[Labels], original: Callable[[Sequence[Labels]], SeriesLabels] = plain.series_labels,
               ) -> SeriesLabels:
    """Labels in which U+DCFF is the byte 0xff."""
    found = original([tuple((name, value.replace("\udcff", "\x7f")) for name, value in each) for each in series])
    data = found.symbol_bytes.copy()
    data[data == 0x7F] = 0xFF
    return dataclasses.replace(found, symbol_bytes=data)


@pytest.mark.parametrize("most", [6, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("cut", ["kill", "power"])
def test_crashes(cut: str, most: int) -> None:
    """The block is there as a whole or not at all, whenever the process dies, and once accepted it is there."""
    first = round(NOW_S * 1000) // HOUR * HOUR - 50 * HOUR
    content = samples(first, 12)

    def act(fs: SimulatedFileSystem, storage: Storage) -> None:
        storage.uploads._clock = lambda: NOW_S
        send(storage.uploads, fs, ulid)
        storage.uploads.accept(ulid)

    with stepped(3):
        base = SimulatedFileSystem()
        ulid = made(base, content, first, first + 2 * HOUR).ulid
        storage = open_storage(base)
        base = base.copy()
        whole = base.copy()
        storage = open_storage(whole)
        before = len(whole.operations)
        act(whole, storage)
        assert read(storage) == content
        assert read(open_storage(whole.power_cut())) == content
        count = len(whole.operations) - before
        for number in range(0, count, -(-count // most)):
            fs = base.copy().with_chance(number)
            storage = open_storage(fs)
            fs.kill_at = len(fs.operations) + number
            with suppress(Killed):
                act(fs, storage)
            fs = fs.killed() if cut == "kill" else fs.power_cut()
            storage = open_storage(fs)
            there = read(storage)
            assert there in ({}, content)
            assert staged(storage) == []
            assert fs.listdir(storage.path / "blocks") == ([ulid] if there else [])
            with suppress(IngestError):
                act(fs, storage)
            assert read(storage) == content


def test_tiers_are_built_anew() -> None:
    with stepped(5):
        fs = SimulatedFileSystem()
        storage = open_storage(fs, StorageOptions(wal_sync="commit", tiers=(RULE,)))
        fill(storage, 2.3)
        storage.compact()
        late = {(("__name__", "m"), ("n", "0")): [(START + 5 * HOUR + 7, bits(1e6))],
                (("__name__", "late"),): [(START + DAY + HOUR, bits(5.0))]}
        ulid = made(fs, late, START, START + 2 * DAY).ulid
        storage.uploads._clock = lambda: NOW_S
        send(storage.uploads, fs, ulid)
        storage.uploads.accept(ulid)
        storage.compact()
        found = read(storage)
        assert (START + 5 * HOUR + 7, bits(1e6)) in found[(("__name__", "m"), ("n", "0"))]
        ((begin, end),) = storage.tiers().tiers[0].spans
        assert begin < START and end > START + 2 * DAY
        assert read_tier(storage, HOUR) == expected(found, HOUR, end)

