"""Retention by series: rules keep some shorter, some longer than all others, to within a step."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence

import pytest

from tests.storage.test_deletes import (
    DATA,
    HOUR,
    OPTIONS,
    SERIES,
    START,
    add_block,
    contents,
    crashed,
    expected,
    job,
    number,
    write,
)
from tests.wal.simulated import SimulatedFileSystem
from tsdb.model.matchers import Matcher
from tsdb.storage import Storage
from tsdb.storage.upkeep.retention import EVER, Retention, RetentionRule

MINUTE = 60_000
DAY = 24 * HOUR
BLOCKS = [START + day * DAY for day in range(5)]
"""Beginnings of blocks of two hours, one a day; the last one's newest sample is that of all."""
SHORT = [(n, BLOCKS[day] + i * 60_000) for day in range(5) for n in range(6) for i in range(4)]
NEWEST = BLOCKS[4] + 2 * HOUR


def empty() -> Storage:
    """Nothing happens in it by itself."""
    opened = Storage.open(DATA, OPTIONS, fs=SimulatedFileSystem(capacity=64 << 20))
    assert opened._maintenance is not None
    opened._maintenance.cleaning = opened._maintenance.expiry = None
    opened._maintenance._compact_at = math.inf
    opened._maintenance.do(lambda: None).result(10)
    return opened


@pytest.fixture
def storage() -> Iterator[Storage]:
    opened = empty()
    for begin in BLOCKS:
        add_block(opened, [(n, ts) for n, ts in SHORT if begin <= ts < begin + 2 * HOUR], begin, begin + 2 * HOUR)
    write(opened, [(0, NEWEST)])
    yield opened
    opened.close()


def expire(storage: Storage, retention: Retention) -> None:
    storage.set_retention(retention)
    maintenance, appender = storage._maintenance, storage._appender
    assert maintenance is not None and appender is not None
    maintenance.do(lambda: storage._expiry.run(appender)).result(10)


def rule(matchers: tuple[Matcher, ...], keep_ms: int) -> RetentionRule:
    return RetentionRule(matchers, keep_ms)


def age(ts: int) -> int:
    """Of the block that has a sample."""
    return NEWEST - (max(begin for begin in BLOCKS if begin <= ts) + 2 * HOUR)


@pytest.mark.parametrize(("time_ms", "rules"), [
    (0, [(job("a"), DAY)]),
    (3 * DAY, [(job("a"), DAY)]),
    (DAY, [(job("a"), 3 * DAY)]),
    (2 * DAY, [(number(1), 0), (job("b"), DAY)]),
    (DAY, [(number(0), 2 * DAY), (job("a"), 4 * DAY), (number(2), DAY)]),
    (DAY, [(number(9), 0)]),
])
def test_series_are_kept_as_long_as_the_first_rule_says(
    storage: Storage, time_ms: int, rules: Sequence[tuple[tuple[Matcher, ...], int]],
) -> None:
    def keep(n: int) -> int:
        for (matcher,), keep_ms in rules:
            if SERIES[n][matcher.name] == matcher.value:
                return keep_ms
        return time_ms

    expire(storage, Retention(time_ms, rules=tuple(rule(*each) for each in rules)))
    kept = [(n, ts) for n, ts in SHORT if not 0 < keep(n) <= age(ts)]
    assert contents(storage) == expected([*kept, (0, NEWEST)])
    assert len(storage._blocks.every) == len({age(ts) for _, ts in kept}), "blocks without any series left are gone"
    storage.clean_tombstones()
    assert contents(storage) == expected([*kept, (0, NEWEST)])


@pytest.mark.parametrize(("keep_ms", "newest", "limit"), [
    (0, 10 * DAY, EVER),
    (2 * DAY, 10 * DAY, 8 * DAY),
    (2 * DAY, 10 * DAY + HOUR - 1, 8 * DAY),
    (2 * DAY, 10 * DAY + HOUR, 8 * DAY + HOUR),
    (HOUR, 10 * DAY + 7 * MINUTE, 10 * DAY - 54 * MINUTE),
    (5 * MINUTE, 10 * DAY + 59_999, 10 * DAY - 5 * MINUTE),
])
def test_limits_advance_in_steps(keep_ms: int, newest: int, limit: int) -> None:
    assert rule(job("a"), keep_ms).limit(newest) == limit


def test_a_block_is_looked_at_once_for_each_step(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    marked = []
    monkeypatch.setattr(storage._deletes, "mark", lambda blocks: marked.append(len(blocks)))
    retention = Retention(5 * DAY, rules=(rule(job("a"), DAY),))
    expire(storage, retention)
    expire(storage, retention)
    write(storage, [(0, NEWEST + HOUR)])
    expire(storage, retention)
    assert marked == [4, 0, 0]
    write(storage, [(0, NEWEST + DAY - HOUR)])  # up to the middle of the last block, where there is nothing
    expire(storage, retention)
    assert marked == [4, 0, 0, 1]
    write(storage, [(0, NEWEST + DAY - 1)])
    expire(storage, retention)
    assert marked == [4, 0, 0, 1, 0]


LONG = [(n, START + hour * HOUR + n) for hour in range(0, 480, 4) for n in range(6)]
"""Of one block of twenty days."""


def long_block(storage: Storage) -> None:
    add_block(storage, LONG, START, START + 20 * DAY)


@pytest.mark.parametrize("seed", range(3))
def test_samples_go_within_blocks(seed: int) -> None:
    """Of a block of which a part is younger, and of the head, whatever rules overlap; they stay gone."""
    chance = random.Random(seed)
    storage = empty()
    long_block(storage)
    newest = START + 20 * DAY + chance.randint(0, 3 * HOUR)
    head = [(n, newest - minute * MINUTE) for minute in range(300, -1, -4) for n in range(6)]
    write(storage, head)
    every = [*LONG, *head]
    for _ in range(3):
        matchers = [chance.choice((job("a"), job("b"), number(chance.randint(0, 5)))) for _ in range(3)]
        rules = tuple(rule(each, chance.choice((0, HOUR, 3 * HOUR, DAY, 7 * DAY + 1, 15 * DAY))) for each in matchers)
        expire(storage, Retention(chance.choice((0, 10 * DAY)), rules=rules))

        def limit(n: int, rules: Sequence[RetentionRule] = rules) -> int:
            found = [each for each in rules if SERIES[n][each.matchers[0].name] == each.matchers[0].value]
            return found[0].limit(newest) if found else EVER

        every = [(n, ts) for n, ts in every if ts >= limit(n)]
        assert contents(storage) == expected(every)
        after = crashed(storage)
        assert contents(after) == expected(every), "neither a crash brings them back, nor what comes after it"
        after.compact()
        assert contents(after) == expected(every)
        after.close()
    storage.clean_tombstones()
    assert contents(storage) == expected(every)
    storage.close()


def test_late_samples_go() -> None:
    storage = empty()
    samples = [(n, START + 9 * HOUR) for n in range(4)]
    late = [(n, START + hour * HOUR) for hour in (1, 5) for n in range(4)]
    write(storage, samples)
    write(storage, late)
    expire(storage, Retention(rules=(rule(number(2), 0), rule(job("a"), 6 * HOUR))))
    kept = [*samples, *((n, ts) for n, ts in late if n != 0 or ts == START + 5 * HOUR)]
    for each in (storage, crashed(storage)):
        assert contents(each) == expected(kept)
        each.close()


def test_what_is_kept_longer_again_is_not_back() -> None:
    storage = empty()
    long_block(storage)
    write(storage, [(1, START + 20 * DAY)])
    for keep in (15 * DAY, 5 * DAY, 0, 15 * DAY):
        expire(storage, Retention(rules=(rule(job("a"), keep),)))
    kept = [(n, ts) for n, ts in LONG if n % 2 or ts >= START + 15 * DAY]
    assert contents(storage) == expected([*kept, (1, START + 20 * DAY)])
    storage.close()


def test_blocks_are_written_anew_a_few_times_on_the_way() -> None:
    storage = empty()
    samples = [(n, START + minute * MINUTE) for minute in range(0, 20 * 24 * 60, 60) for n in range(6)]
    add_block(storage, samples, START, START + 20 * DAY)
    maintenance, cleaning = storage._maintenance, storage._cleaning
    assert maintenance is not None
    largest = storage._blocks.every[0].bytes
    for hour in range(0, 22 * 24, 3):
        storage._head.max_ts = START + 20 * DAY + hour * HOUR  # as if a sample had come
        expire(storage, Retention(rules=(rule(job("a"), 20 * DAY), rule(number(1), 10 * DAY))))
        while maintenance.do(cleaning.clean_one).result(10):
            pass
        (block,) = storage._blocks.every
        assert cleaning._deleted_part(block) < 0.25
    assert 2 <= cleaning.cleaned <= 6
    assert len(block) == 2 and block.bytes < 0.5 * largest and not len(block.tombstones)
    assert set(contents(storage)) == {3, 5}
    storage.close()


def test_what_only_a_rule_keeps_becomes_large_blocks() -> None:
    storage = empty()
    maintenance = storage._maintenance
    assert maintenance is not None
    begin = START // (54 * HOUR) * 54 * HOUR
    samples = [(n, begin + hour * HOUR) for hour in range(0, 12 * 18, 6) for n in range(6)]
    for at in range(begin, begin + 12 * 18 * HOUR, 18 * HOUR):
        add_block(storage, [(n, ts) for n, ts in samples if at <= ts < at + 18 * HOUR], at, at + 18 * HOUR)
    newest = begin + 12 * 18 * HOUR
    write(storage, [(1, newest)])
    expire(storage, Retention(78 * HOUR, rules=(rule(job("b"), 365 * DAY),)))
    maintenance.expiry = storage._expiry
    while maintenance.do(maintenance._compact_once).result(10):
        pass
    hours = [(block.meta.maxt - block.meta.mint) // HOUR for block in storage._blocks.every]
    assert hours == [54, 54, *[18] * 6], "what is not so old and what does not fill a range stay as they were"
    end = newest - 78 * HOUR
    kept = [(n, ts) for n, ts in samples if n % 2 or begin + (ts - begin) // (18 * HOUR) * 18 * HOUR + 18 * HOUR > end]
    assert contents(storage) == expected([*kept, (1, newest)])
    storage.close()


def test_the_limit_of_size_holds_for_all(storage: Storage) -> None:
    expire(storage, Retention(rules=(rule(job("a"), 0),), size_bytes=1))
    assert contents(storage) == expected([(0, NEWEST)])
    assert storage.statistics().retention.size_retentions == 1


def test_the_limits_are_told(storage: Storage) -> None:
    expire(storage, Retention(2 * DAY, percentage=50))
    told = storage.statistics().retention
    assert (told.limit_ms, told.limit_bytes, told.time_retentions) == (2 * DAY, 32 << 20, 1)
    expire(storage, Retention(0, 1 << 30))
    assert storage.statistics().retention.limit_bytes == 1 << 30
