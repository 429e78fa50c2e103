"""When targets are scraped, and which time their samples get."""

from __future__ import annotations

import asyncio

import pytest

from scraper.loop import next_due
from scraper.target import Target
from tests.scraper.fakes import START, bench, job


@pytest.mark.parametrize(
    ("due", "now", "expected"),
    [
        (1000, 950, 1000),  # in time
        (1000, 1000, 1000),
        (1000, 1040, 1000),  # late: at once
        (1000, 1100, 1000),
        (1000, 1101, 1107),  # more than an interval late: some are skipped
        (1000, 2050, 2107),
        (1000, 850, 907),  # the clock was set back
    ],
)
def test_next_due(due: int, now: int, expected: int) -> None:
    assert next_due(due, now, 100, 7) == expected


def offset(monkeypatch: pytest.MonkeyPatch, ms: int) -> None:
    monkeypatch.setattr(Target, "offset_ms", lambda self, seed: ms)


def test_every_interval_at_the_targets_own_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        with bench() as b:
            b.targets.bodies["http://a/metrics"] = "x 1\n"
            offset(monkeypatch, 3210)
            await b.apply(job("a"))
            await b.clock.run_until(60_000)
            assert [ts for ts, _ in b.storage.samples("x")] == [3210 + 10_000 * tick for tick in range(6)]
            await b.scraper.stop()
            assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(go())


def test_the_offset_does_not_depend_on_the_start() -> None:
    async def go() -> None:
        times = []
        for begin in (0, 4321):
            with bench() as b:
                b.targets.bodies["http://a/metrics"] = "x 1\n"
                b.clock.ms += begin
                await b.apply(job("a"))
                await b.clock.run_until(40_000)
                times.append({(ts % 10_000) for ts, _ in b.storage.samples("x")})
                await b.scraper.stop()
        assert times[0] == times[1] and len(times[0]) == 1

    asyncio.run(go())


def test_slow_scrapes_skip_ticks_and_do_not_shift_the_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lengths of scrapes, one after the other: 3 s; 12 s, the next at once; 25 s, which skips."""

    async def go() -> None:
        with bench() as b:
            lengths = iter([3, 12, 0, 0, 25, 0, 0, 0, 0])

            async def slow() -> str:
                await b.clock.sleep_until(b.clock.now() + 1000 * next(lengths))
                return "x 1\n"

            b.targets.bodies["http://a/metrics"] = slow
            offset(monkeypatch, 0)
            await b.apply(job("a"))
            await b.clock.run_until(85_000)
            assert [ts for ts, _ in b.storage.samples("x")] == [0, 10_000, 22_000, 30_000, 40_000, 70_000, 80_000]
            await b.scraper.stop()

    asyncio.run(go())


@pytest.mark.parametrize(("late", "expected"), [(0, 0), (2, 0), (3, 3), (-2, 0), (-3, -3)])
def test_times_are_aligned_within_two_milliseconds(late: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        with bench() as b:
            b.targets.bodies["http://a/metrics"] = "x 1\n"
            offset(monkeypatch, 5000)
            sleep = b.clock.sleep_until

            async def late_sleep(ms: int) -> None:
                await sleep(ms + late)

            monkeypatch.setattr(b.clock, "sleep_until", late_sleep)
            await b.apply(job("a"))
            await b.clock.run_until(9000)
            assert b.storage.samples("x") == [(5000 + expected, 1.0)]
            await b.scraper.stop()

    asyncio.run(go())


def test_a_clock_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        with bench() as b:
            b.targets.bodies["http://a/metrics"] = "x 1\n"
            offset(monkeypatch, 1000)
            await b.apply(job("a"))
            await b.clock.run_until(11_000)
            b.clock.ms += 3_600_500  # while the loop sleeps
            await b.clock.run_until(3_640_000)
            assert [ts for ts, _ in b.storage.samples("x")] == [1000, 11_000, 3_611_500, 3_621_000, 3_631_000]
            await b.scraper.stop()

    asyncio.run(go())


def test_lengths_of_intervals_are_observed() -> None:
    async def go() -> None:
        with bench() as b:
            await b.apply(job("a"))
            await b.clock.run_until(35_000)
            seen = b.scraper.statistics.interval_seconds["10s"].read()
            assert (seen.count, seen.sum) == (len(b.targets.requests) - 1, 10.0 * (len(b.targets.requests) - 1))
            assert b.scraper.statistics.scrapes == len(b.targets.requests)
            await b.scraper.stop()
        assert START % 10_000 == 0

    asyncio.run(go())
