"""Deletes: samples vanish for queries and label lookups, stay away, and what is sent again is there."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest

from tests.storage.batches import bits, everything, make_batch, read
from tests.storage.block.plain import PlainSource
from tests.wal.simulated import Killed, SimulatedFileSystem
from tsdb.model.context import RequestContext
from tsdb.model.errors import ReadOnly
from tsdb.model.matchers import Matcher, MatchType
from tsdb.storage import Storage, StorageOptions
from tsdb.storage.appender import Appender
from tsdb.storage.block import Block, block_paths, write_block
from tsdb.storage.upkeep.deletes import Deletes
from tsdb.storage.upkeep.reserve import Reserve

HOUR = 3_600_000
START = 1_000 * HOUR
FOREVER = (1 << 62)
SERIES = [{"__name__": "m", "job": "ab"[n % 2], "n": str(n)} for n in range(6)]
Samples = dict[int, list[tuple[int, int]]]
DATA = Path("/data")
OPTIONS = StorageOptions(wal_sync="os", late_window_ms=12 * HOUR)


def job(value: str) -> tuple[Matcher, ...]:
    return (Matcher(MatchType.EQUAL, "job", value),)


def number(n: int) -> tuple[Matcher, ...]:
    return (Matcher(MatchType.EQUAL, "n", str(n)),)


def write(storage: Storage, samples: Sequence[tuple[int, int]]) -> None:
    """(series, ms) each; the value is the time's."""
    batch = make_batch(storage.secret, SERIES, [(n, ts, bits(ts / HOUR)) for n, ts in samples])
    assert storage.submit(batch).result(10).accepted == len(samples)


def add_block(storage: Storage, samples: Sequence[tuple[int, int]], mint: int, maxt: int) -> Block:
    """A block with the samples of some series in chunks of three."""
    content = {}
    for n in sorted({n for n, _ in samples}):
        own = [(ts, bits(ts / HOUR)) for other, ts in samples if other == n]
        content[tuple(SERIES[n].items())] = [own[at : at + 3] for at in range(0, len(own), 3)]
    meta = write_block(storage._fs, storage.path / "blocks", PlainSource(content, mint, maxt))
    block = Block.open(storage._fs, storage.path / "blocks" / meta.ulid)
    assert storage._maintenance is not None
    storage._maintenance.do(lambda: storage._blocks.publish([block])).result(10)
    return block


def contents(storage: Storage, *, chunks: bool = False) -> Samples:
    """All samples; looks at the names, too. `chunks`: names may be there of series that have chunks, of which all
    samples were deleted by and by."""
    found = {int(dict(labels)["n"]): samples for labels, samples in read(storage).items()}
    assert all(value == bits(ts / HOUR) for samples in found.values() for ts, value in samples)
    lookup = (-FOREVER, FOREVER, RequestContext())
    numbers = sorted(map(str, found))
    if chunks:
        names = storage.label_values("n", [], *lookup)
        assert set(numbers) <= set(names)
        numbers = names
    for matchers in ([], [everything()]):
        assert storage.label_values("n", matchers, *lookup) == numbers, "names are those of what is there"
        assert storage.label_names(matchers, *lookup) == (["__name__", "job", "n"] if numbers else [])
    series = storage.series([everything()], *lookup)
    assert sorted(series.labels(i)["n"] for i in range(len(series))) == numbers
    return found


def expected(samples: Sequence[tuple[int, int]]) -> Samples:
    return {n: [(ts, bits(ts / HOUR)) for other, ts in sorted(samples) if other == n]
            for n in sorted({n for n, _ in samples})}


@pytest.fixture
def storage() -> Iterator[Storage]:
    opened = Storage.open(DATA, OPTIONS, fs=SimulatedFileSystem(capacity=64 << 20))
    assert opened._maintenance is not None
    opened._maintenance.cleaning = None  # until the test says so
    yield opened
    opened.close()


def crashed(storage: Storage) -> Storage:
    """What the next process has, were this one killed now."""
    fs = storage._fs
    assert isinstance(fs, SimulatedFileSystem) and storage._maintenance is not None
    return Storage.open(DATA, OPTIONS, fs=storage._maintenance.do(fs.killed).result(10))


def test_from_the_head(storage: Storage) -> None:
    samples = [(n, START + i * 60_000) for i in range(300) for n in range(6)]
    write(storage, samples)
    storage.delete_series([job("a")], START + 60_000, START + 4 * HOUR)
    storage.delete_series([number(1)], -FOREVER, FOREVER)
    kept = [(n, ts) for n, ts in samples
            if not (n % 2 == 0 and START + 60_000 <= ts <= START + 4 * HOUR) and n != 1]
    assert contents(storage) == expected(kept)
    write(storage, [(1, START + 6 * HOUR), (0, START + 6 * HOUR)])
    kept += [(1, START + 6 * HOUR), (0, START + 6 * HOUR)]
    assert contents(storage) == expected(kept), "what comes later is there"
    after = crashed(storage)
    assert contents(after) == expected(kept)
    after.close()


def test_a_delete_does_not_reach_beyond_the_newest_sample(storage: Storage) -> None:
    write(storage, [(0, START), (1, START + 10)])
    storage.delete_series([everything()], -FOREVER, FOREVER)
    assert contents(storage) == {}
    write(storage, [(0, START + 1), (1, START + 11)])
    assert contents(storage) == expected([(0, START + 1), (1, START + 11)])


def test_late_samples_go_and_can_be_sent_again(storage: Storage) -> None:
    write(storage, [(0, START + 10 * HOUR), (1, START + 10 * HOUR)])
    late = [(0, START + i * HOUR) for i in range(9)]
    write(storage, late)
    storage.delete_series([number(0)], START + HOUR, START + 3 * HOUR)
    kept = [(0, START + 10 * HOUR), (1, START + 10 * HOUR), late[0], *late[4:]]
    assert contents(storage) == expected(kept)
    after = crashed(storage)
    assert contents(after) == expected(kept)
    after.close()
    storage.delete_series([number(0)], -FOREVER, FOREVER)
    assert contents(storage) == expected([(1, START + 10 * HOUR)])
    write(storage, late[2:4])
    assert contents(storage) == expected([(1, START + 10 * HOUR), *late[2:4]])
    after = crashed(storage)
    assert contents(after) == expected([(1, START + 10 * HOUR), *late[2:4]])
    after.close()


def test_from_blocks(storage: Storage) -> None:
    first = [(n, START + i * 1000) for n in range(6) for i in range(10)]
    second = [(n, START + 2 * HOUR + i * 1000) for n in range(0, 6, 2) for i in range(10)]
    one = add_block(storage, first, START, START + 2 * HOUR)
    two = add_block(storage, second, START + 2 * HOUR, START + 4 * HOUR)
    storage.delete_series([job("a"), number(3)], START + 4000, START + 2 * HOUR + 99_000)
    kept = [(n, ts) for n, ts in first if ts < START + 4000 or n in (1, 5)]
    assert contents(storage) == expected(kept)
    assert storage._blocks.every == (one,), "nothing is left of the other"
    assert not any(two.meta.ulid in path.parts for path in storage._fs.paths())  # type: ignore[attr-defined]
    assert len(one.tombstones) == 4
    storage.delete_series([everything()], START, START + 1500)
    storage.delete_series([number(5)], START + 1501, FOREVER)
    kept = [(n, ts) for n, ts in kept if ts > START + 1500 and n != 5]
    assert contents(storage) == expected(kept)
    again = Block.open(storage._fs, one.path)
    assert len(again.tombstones) == len(one.tombstones)
    again.release()


def test_what_was_deleted_from_a_block_is_there_when_it_comes_again(storage: Storage) -> None:
    samples = [(n, START + i * 1000) for n in range(2) for i in range(10)]
    add_block(storage, samples, START, START + 2 * HOUR)
    storage.delete_series([number(0)], START, START + 5000)
    write(storage, [(0, START + 10 * HOUR)])
    write(storage, [(0, START + 2000)])
    assert contents(storage) == expected([*samples[6:], (0, START + 2000), (0, START + 10 * HOUR)])


def test_the_log_brings_nothing_back(storage: Storage) -> None:
    """What was deleted stood in blocks, and the log still has it."""
    write(storage, [(n, START + i * 60_000) for i in range(300) for n in range(6)])
    write(storage, [(n, START + 30_000) for n in range(3)])
    storage.compact()
    write(storage, [(0, START + 6 * HOUR)])
    storage.delete_series([everything()], -FOREVER, START + 5 * HOUR)
    assert storage._blocks.every == ()
    for _ in range(2):
        assert contents(storage) == expected([(0, START + 6 * HOUR)])
        after = crashed(storage)
        assert contents(after) == expected([(0, START + 6 * HOUR)])
        after.close()


def test_a_reader_keeps_what_it_began_with(storage: Storage) -> None:
    from tsdb.model.tiles import Selection

    samples = [(n, START + i * 1000) for n in range(2) for i in range(10)]
    add_block(storage, samples, START, START + 2 * HOUR)
    write(storage, [(0, START + 3 * HOUR)])
    with storage.capture([Selection(everything(), -FOREVER, FOREVER)], RequestContext()) as capture:
        storage.delete_series([everything()], -FOREVER, FOREVER)
        assert contents(storage) == {}
        assert capture.selected[0].tile(0).ts.size == 21


def test_on_a_full_disk(storage: Storage) -> None:
    fs = storage._fs
    assert isinstance(fs, SimulatedFileSystem)
    fs.capacity = 20 << 20
    storage._deletes._reserve.fill()
    samples = [(n, START + i * 1000) for n in range(4) for i in range(10)]
    add_block(storage, samples, START, START + 2 * HOUR)
    write(storage, [(0, START + 3 * HOUR), (1, START + 3 * HOUR)])
    fs.capacity -= fs.room_left()
    storage.delete_series([number(0)], -FOREVER, FOREVER)
    kept = [*samples[10:], (1, START + 3 * HOUR)]
    assert contents(storage) == expected(kept)
    assert fs.room_left() > 0, "the reserve was released"
    after = crashed(storage)
    add = Block.open(after._fs, next(iter(storage._blocks.every)).path)
    assert len(add.tombstones) == 1
    after.close()
    fs.capacity += 20 << 20
    storage._deletes._reserve.fill()
    assert fs.exists(DATA / "reserve")


def test_what_was_deleted_from_the_head_is_not_copied_into_blocks(storage: Storage) -> None:
    """There may be no room for it: that is why it was deleted."""
    samples = [(n, START + i * 60_000) for i in range(100) for n in range(6)]
    write(storage, samples)
    storage.delete_series([job("a")], -FOREVER, FOREVER)
    storage.delete_series([number(1)], START, START + 50 * 60_000)
    storage.delete_series([number(3)], START, START + 50 * 60_000)
    storage.delete_series([number(3)], START + 52 * 60_000, FOREVER)
    storage.compact()
    kept = [(n, ts) for n, ts in samples
            if n == 5 or (n == 1 and ts > START + 50 * 60_000) or (n == 3 and ts == START + 51 * 60_000)]
    assert contents(storage) == expected(kept)
    (block,) = storage._blocks.every
    assert len(block) == 3 and len(block.tombstones) == 3
    write(storage, [(2, START + 2 * HOUR + i * 60_000) for i in range(100)])
    storage.delete_series([number(2)], -FOREVER, FOREVER)
    storage.compact()
    assert storage._blocks.every == (block,) and not storage._head.windows.every
    for each in (storage, crashed(storage)):
        assert contents(each) == expected(kept)
    each.close()
    storage.clean_tombstones()
    assert contents(storage) == expected(kept)


def test_cleaning_frees_the_disk(storage: Storage) -> None:
    fs = storage._fs
    assert isinstance(fs, SimulatedFileSystem)
    samples = [(n, START + i * 1000) for n in range(6) for i in range(400)]
    one = add_block(storage, samples, START, START + 2 * HOUR)
    add_block(storage, [(0, START + 2 * HOUR)], START + 2 * HOUR, START + 4 * HOUR)
    storage.delete_series([job("a")], START + 10_000, FOREVER)
    storage.delete_series([number(1)], START + 10_001, START + 15_000)
    kept = [(n, ts) for n, ts in samples if n % 2 and not (n == 1 and START + 10_000 < ts <= START + 15_000)]
    kept += [(n, ts) for n, ts in samples if n % 2 == 0 and ts < START + 10_000]
    before = fs.room_left()
    storage.clean_tombstones()
    assert contents(storage) == expected(kept)
    (block,) = storage._blocks.every
    assert block is not one and [parent.ulid for parent in block.meta.compaction.parents] == [one.meta.ulid]
    assert fs.room_left() > before and not len(block.tombstones)
    storage.clean_tombstones()
    assert storage._blocks.every == (block,), "there is nothing to do"
    assert block_paths(fs.killed(), DATA / "blocks") == [block.path]


def test_small_blocks_are_cleaned_first_on_a_full_disk(storage: Storage) -> None:
    fs = storage._fs
    assert isinstance(fs, SimulatedFileSystem)
    large = [(n, START + i * 1000) for n in range(6) for i in range(2000)]
    small = [(n, START + 2 * HOUR + i * 1000) for n in range(6) for i in range(30)]
    add_block(storage, large, START, START + 2 * HOUR)
    add_block(storage, small, START + 2 * HOUR, START + 4 * HOUR)
    storage.delete_series([number(0), number(1)], -FOREVER, FOREVER)
    kept = expected([(n, ts) for n, ts in large + small if n > 1])
    fs.capacity -= fs.room_left() - (256 << 10) - 12_000
    with pytest.raises(OSError, match="No space"):
        storage.clean_tombstones()
    assert [len(block.tombstones) for block in storage._blocks.every] == [2, 0]
    assert contents(storage) == kept
    fs.capacity += 1 << 20
    storage.clean_tombstones()
    assert [len(block.tombstones) for block in storage._blocks.every] == [0, 0]
    assert contents(storage) == kept


def test_in_the_background_where_it_pays(storage: Storage) -> None:
    add_block(storage, [(n, START + i * 1000) for n in range(6) for i in range(40)], START, START + 2 * HOUR)
    cleaning, maintenance = storage._cleaning, storage._maintenance
    assert maintenance is not None
    storage.delete_series([number(0)], START, START + 5000)
    assert not maintenance.do(cleaning.clean_one).result(10)
    storage.delete_series([number(1)], START, START + 20_000)
    maintenance.do(cleaning.clean_one).result(10)
    assert [len(block.tombstones) for block in storage._blocks.every] == [0]
    assert not maintenance.do(cleaning.clean_one).result(10)


class Inline:
    """An appender that does it here."""

    def run_between_commits(self, work: Callable[[], None]) -> Future[None]:
        done: Future[None] = Future()
        work()
        done.set_result(None)
        return done


@pytest.mark.parametrize("cut", ["kill", "power"])
def test_killed_at_every_operation(cut: str) -> None:
    """What was acknowledged is gone, whatever happens; before, what was not meant is there."""
    options = dataclasses.replace(OPTIONS, wal_sync="commit")
    original = SimulatedFileSystem(capacity=4 << 20)
    storage = Storage.open(DATA, options, fs=original)
    samples = [(n, START + i * 1000) for n in range(4) for i in range(5)]
    add_block(storage, samples, START, START + 2 * HOUR)
    add_block(storage, [(0, START + 2 * HOUR)], START + 2 * HOUR, START + 4 * HOUR)
    samples += [(n, START + ts) for n in range(4) for ts in (3 * HOUR, 7 * HOUR, 6 * HOUR)]
    write(storage, sorted(samples[20:], key=lambda sample: sample[1] == START + 6 * HOUR))
    samples.append((0, START + 2 * HOUR))
    storage.close()
    acknowledged, kill_at = False, 0
    while not acknowledged:
        fs = original.copy().with_chance(kill_at)
        storage = Storage.open(DATA, options, fs=fs)
        assert storage._maintenance is not None and storage._appender is not None
        storage._maintenance.close()
        storage._appender.close()
        deletes = Deletes(fs, storage._head, storage._index, storage._blocks, storage._wal, cast(Appender, Inline()),
                          Reserve(fs, DATA))
        fs.kill_at = len(fs.operations) + kill_at
        with suppress(Killed):
            deletes.delete([number(0), number(1)], START + 1000, FOREVER)
            acknowledged = True
        after = fs.killed() if cut == "kill" else fs.power_cut()
        meant = {(n, ts) for n, ts in samples if n in (0, 1) and ts >= START + 1000}
        opened = Storage.open(DATA, options, fs=after)
        found = {(n, ts) for n, own in contents(opened, chunks=True).items() for ts, _ in own}
        opened.close()
        assert found == set(samples) - meant if acknowledged else set(samples) - meant <= found <= set(samples)
        kill_at += 1
    assert kill_at > 5


def test_nothing_is_deleted_read_only(tmp_path: Path) -> None:
    Storage.open(tmp_path).close()
    storage = Storage.open(tmp_path, read_only=True)
    with pytest.raises(ReadOnly):
        storage.delete_series([everything()], 0, 1)
    storage.close()


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_writes_deletes_and_crashes(seed: int) -> None:
    chance = random.Random(seed)
    storage = Storage.open(DATA, OPTIONS, fs=SimulatedFileSystem(capacity=64 << 20))
    model: dict[tuple[int, int], None] = {}
    now = START
    for _ in range(30):
        step = chance.random()
        if step < 0.55:
            now += chance.choice((60_000, HOUR, 3 * HOUR))
            some = {(n, max(START, now - chance.choice((0, 0, 0, HOUR // 2, 5 * HOUR)) + chance.randint(0, 5)))
                    for n in range(6) if chance.random() < 0.6}
            fresh = [sample for sample in sorted(some) if sample not in model]
            batch = make_batch(storage.secret, SERIES, [(n, ts, bits(ts / HOUR)) for n, ts in fresh])
            codes = storage.submit(batch).result(10).codes
            model.update(dict.fromkeys(sample for sample, code in zip(fresh, codes, strict=True) if code == 0))
        elif step < 0.85:
            matchers = chance.choice((job("a"), number(chance.randint(0, 5)), everything()))
            mint = now - chance.choice((0, HOUR, 6 * HOUR, FOREVER))
            maxt = chance.choice((mint + HOUR, now, FOREVER))
            storage.delete_series([matchers], mint, maxt)
            model = {(n, ts): None for n, ts in model if not (
                mint <= ts <= maxt and matchers[0].value in (".+", SERIES[n].get(matchers[0].name)))}
        elif step < 0.95:
            after = crashed(storage)
            storage.close()
            storage = after
        else:
            fs = storage._fs
            storage.close()
            storage = Storage.open(DATA, OPTIONS, fs=fs)
        assert contents(storage, chunks=True) == expected(list(model))
    storage.close()
