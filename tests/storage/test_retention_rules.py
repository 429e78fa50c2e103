"""Retention by series: rules keep some shorter, some longer than all others."""

from __future__ import annotations

import math
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
    expected,
    job,
    number,
    write,
)
from tests.wal.simulated import SimulatedFileSystem
from tsdb.model.matchers import Matcher
from tsdb.storage import Storage
from tsdb.storage.upkeep.retention import Retention, RetentionRule

DAY = 24 * HOUR
BLOCKS = [START + day * DAY for day in range(5)]
"""Beginnings of blocks of two hours, one a day; the last one's newest sample is that of all."""
SHORT = [(n, BLOCKS[day] + i * 60_000) for day in range(5) for n in range(6) for i in range(4)]
NEWEST = BLOCKS[4] + 2 * HOUR


@pytest.fixture
def storage() -> Iterator[Storage]:
    opened = Storage.open(DATA, OPTIONS, fs=SimulatedFileSystem(capacity=64 << 20))
    assert opened._maintenance is not None
    opened._maintenance.cleaning = opened._maintenance.expiry = None  # until the test says so
    opened._maintenance._compact_at = math.inf
    opened._maintenance.do(lambda: None).result(10)
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


def test_a_block_is_looked_at_once_for_each_time(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    marked = []
    monkeypatch.setattr(storage._expiry, "_mark", lambda blocks: marked.append(len(blocks)))
    rules = (rule(job("a"), DAY),)
    expire(storage, Retention(3 * DAY, rules=rules))
    expire(storage, Retention(3 * DAY, rules=rules))
    write(storage, [(0, NEWEST + HOUR)])
    expire(storage, Retention(3 * DAY, rules=rules))
    assert marked == [2, 0, 0]
    write(storage, [(0, NEWEST + DAY)])
    expire(storage, Retention(3 * DAY, rules=rules))
    assert marked == [2, 0, 0, 1]


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
