"""Which series end when: by markers, at which times, as Prometheus' scrape.go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import aiohttp
import pytest

from scraper.target import Target
from tests.scraper.fakes import STALE, Bench, Body, bench, job
from tsdb.model.errors import Unavailable

URL = "http://a/metrics"
FAILED = aiohttp.ServerDisconnectedError()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scrapes are at 0, 10,000, 20,000 …"""
    monkeypatch.setattr(Target, "offset_ms", lambda self, seed: 0)


async def scrape_all(b: Bench, bodies: Sequence[Body]) -> None:
    """One body for each scrape."""
    for number, body in enumerate(bodies):
        b.targets.bodies[URL] = body
        await b.clock.run_until(10_000 * number)


@pytest.mark.parametrize(
    ("bodies", "keys", "expected"),
    [
        (["x 1\n", "", "", "x 2\n"], {}, [(0, 1.0), (10_000, STALE), (30_000, 2.0)]),
        (["x 1\n", "y 1\n", "x 1\n"], {}, [(0, 1.0), (10_000, STALE), (20_000, 1.0)]),
        (["x 1\n", FAILED, FAILED, "x 2\n"], {}, [(0, 1.0), (10_000, STALE), (30_000, 2.0)]),
        (["x 1\n", "x 2\nbroken {\n", "x 3\n"], {}, [(0, 1.0), (10_000, STALE), (20_000, 3.0)]),
        ([FAILED, "x 1\n"], {}, [(10_000, 1.0)]),
        # own times: no markers, unless they are wanted or not honoured
        (["x 1 1700000000005\n", "", "x 2\n"], {}, [(5, 1.0), (20_000, 2.0)]),
        (["x 1 1700000000005\n", ""], {"track_timestamps_staleness": True}, [(5, 1.0), (10_000, STALE)]),
        (["x 1 1700000000005\n", ""], {"honor_timestamps": False}, [(0, 1.0), (10_000, STALE)]),
    ],
)
def test_series_of_a_target(bodies: list[Body], keys: dict[str, Any], expected: list[tuple[int, float | str]]) -> None:
    async def go() -> None:
        with bench() as b:
            await b.apply(job("a", **keys))
            await scrape_all(b, bodies)
            assert b.storage.samples("x") == expected
            await b.scraper.stop()

    asyncio.run(go())


def test_reports() -> None:
    async def go() -> None:
        with bench() as b:
            await b.apply(job("a", extra_scrape_metrics=True, sample_limit=7))
            await scrape_all(b, ["x 1\ny 1\n", "x 1\nz 1\n", FAILED, "", "x 1\nbroken {\n", "x 1\nz 1\n"])
            assert b.storage.values("up") == [1, 1, 0, 1, 0, 1]
            assert b.storage.values("scrape_samples_scraped")[:4] == [2, 2, 0, 0]
            assert b.storage.values("scrape_samples_post_metric_relabeling")[:4] == [2, 2, 0, 0]
            assert b.storage.values("scrape_series_added")[:4] == [2, 1, 0, 0]
            assert b.storage.values("scrape_timeout_seconds") == [10.0] * 6
            assert b.storage.values("scrape_sample_limit") == [7.0] * 6
            assert b.storage.values("scrape_body_size_bytes") == [8, 8, 0, 0, 13, 8]
            assert len(b.storage.values("scrape_duration_seconds")) == 6
            await b.scraper.stop()

    asyncio.run(go())


def test_an_answer_that_is_too_large() -> None:
    async def go() -> None:
        with bench() as b:
            await b.apply(job("a", extra_scrape_metrics=True, body_size_limit=8))
            await scrape_all(b, ["x 10\n", "x 12345\n"])
            assert b.storage.values("scrape_body_size_bytes") == [5, -1]
            assert b.storage.values("x") == [10, STALE]
            assert b.scraper.pools()[0].active[0].last_error == "body size limit exceeded"
            assert b.scraper.statistics.exceeded_body_size_limit == 1
            await b.scraper.stop()

    asyncio.run(go())


def test_no_markers_at_the_end_of_the_server_or_of_a_job() -> None:
    async def go() -> None:
        for end in ("stop", "no job"):
            with bench() as b:
                b.targets.bodies[URL] = "x 1\n"
                await b.apply(job("a"))
                await b.clock.run_until(12_000)
                await (b.scraper.stop() if end == "stop" else b.apply())
                await b.clock.run_until(100_000)
                assert b.storage.samples("x") == [(0, 1), (10_000, 1)]
                assert b.storage.values("up") == [1, 1]
                assert b.targets.closed == 1
                await b.scraper.stop()

    asyncio.run(go())


def test_a_target_that_is_gone_ends_at_its_first_missed_scrape() -> None:
    """The markers are written 1.1 intervals after it: the target might be back."""

    async def go() -> None:
        with bench() as b:
            b.targets.bodies[URL] = "x 1\n"
            await b.apply(job("a", "b"))
            await b.clock.run_until(12_000)
            await b.apply(job("b"))
            await b.clock.run_until(30_900)
            assert b.storage.samples("x") == [(0, 1), (10_000, 1)]
            await b.clock.run_until(31_100)
            assert b.storage.samples("x") == [(0, 1), (10_000, 1), (20_000, STALE)]
            await b.scraper.stop()

    asyncio.run(go())


def test_reports_of_a_target_that_is_gone_end_too() -> None:
    async def go() -> None:
        with bench() as b:
            labels = {"instance": "a"}
            b.targets.bodies[URL] = "x 1\n"
            await b.apply(job("a", labels=labels, extra_scrape_metrics=True))
            await b.clock.run_until(12_000)
            await b.apply(job("b", extra_scrape_metrics=True))
            await b.clock.run_until(50_000)
            reports = {labels["__name__"] for labels in b.storage.series if labels["instance"] == "a"} - {"x"}
            assert len(reports) == 8
            for name in reports:
                assert b.storage.samples(name, instance="a")[-1] == (20_000, STALE), name
            await b.scraper.stop()

    asyncio.run(go())


def test_a_target_that_was_never_scraped_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        with bench() as b:
            monkeypatch.setattr(Target, "offset_ms", lambda self, seed: 5000)
            await b.apply(job("a", labels={"instance": "a"}))
            await b.apply(job("b"))
            await b.clock.run_until(50_000)
            assert all(labels["instance"] == "t" for labels in b.storage.series)
            await b.scraper.stop()

    asyncio.run(go())


def test_a_target_that_comes_back_goes_on() -> None:
    """Markers of what came back are older than its new samples and refused; what did not come back ends."""

    async def go() -> None:
        with bench() as b:
            b.targets.bodies[URL] = "x 1\ny 1\n"
            await b.apply(job("a"))
            await b.clock.run_until(12_000)
            await b.apply(job("b", labels={}))
            await b.clock.run_until(14_000)
            b.targets.bodies[URL] = "x 2\n"
            await b.apply(job("a"))
            await b.clock.run_until(65_000)
            assert b.storage.samples("x") == [(0, 1), (10_000, 1), *((at, 2) for at in range(20_000, 70_000, 10_000))]
            assert b.storage.samples("y") == [(0, 1), (10_000, 1), (20_000, STALE)]
            assert STALE not in b.storage.values("up")
            statistics = b.scraper.statistics
            assert (statistics.out_of_order, statistics.duplicate_timestamp) == (0, 0)
            await b.scraper.stop()

    asyncio.run(go())


def test_a_scrape_under_way_when_the_target_goes_is_taken() -> None:
    async def go() -> None:
        with bench() as b:
            async def slow() -> str:
                await b.clock.sleep_until(b.clock.now() + 3000)
                return "x 1\n"

            b.targets.bodies[URL] = slow
            await b.apply(job("a"))
            await b.clock.run_until(1000)
            await b.apply(job("b", labels={}))
            await b.clock.run_until(50_000)
            assert b.storage.samples("x") == [(0, 1), (10_000, STALE)]
            await b.scraper.stop()

    asyncio.run(go())


def test_a_storage_that_cannot_take_it_now(caplog: pytest.LogCaptureFixture) -> None:
    """The samples are lost, said once; the scrape itself was fine."""

    async def go() -> None:
        with bench() as b, caplog.at_level(logging.WARNING):
            await b.apply(job("a"))
            b.targets.bodies[URL] = "x 1\n"
            b.storage.error = Unavailable("disk is full")
            await b.clock.run_until(20_000)
            status = b.scraper.pools()[0].active[0]
            assert (status.health, status.last_error) == ("up", "the samples could not be stored: disk is full")
            assert b.scraper.statistics.scrapes_lost == 3
            assert [record.message for record in caplog.records] == ["scrape commit failed"]
            b.storage.error = None
            await b.clock.run_until(30_000)
            assert (b.storage.samples("x"), status.last_error) == ([(30_000, 1)], "")
            await b.scraper.stop()

    asyncio.run(go())


def test_series_that_left_the_head_are_sent_with_keys() -> None:
    async def go() -> None:
        with bench() as b:
            await b.apply(job("a"))
            await scrape_all(b, ["x 1\ny 1\n", "x 2\ny 2\n"])
            b.storage.forget()
            b.targets.bodies[URL] = "x 3\n"
            await b.clock.run_until(20_000)
            b.storage.forget()
            b.targets.bodies[URL] = FAILED
            await b.clock.run_until(30_000)
            b.targets.bodies[URL] = "x 4\n"
            await b.clock.run_until(50_000)
            assert [value for value in b.storage.values("x") if value != STALE] == [1, 2, 3, 4, 4]
            assert b.storage.values("up") == [1, 1, 1, 0, 1, 1]
            assert b.scraper.statistics.scrapes_lost == 0
            await b.scraper.stop()

    asyncio.run(go())


def test_rejected_samples_are_counted_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    async def go() -> None:
        with bench() as b, caplog.at_level(logging.WARNING):
            await b.apply(job("a"))
            at = 1_700_000_000_000
            await scrape_all(b, [f"x 1 {at + 5}\ny 1\n", f"x 1 {at + 3}\ny 2\ny 3\nz 1 {at}\nz 2 {at - 1}\n"])
            statistics = b.scraper.statistics
            assert (statistics.out_of_order, statistics.duplicate_timestamp) == (2, 1)
            said = [(record.message, getattr(record, "fields", {})) for record in caplog.records]
            name = {"scrape_pool": "j", "target": URL}
            assert said == [
                ("Error on ingesting out-of-order samples", {**name, "num_dropped": 2}),
                ("Error on ingesting samples with different value but same timestamp", {**name, "num_dropped": 1}),
            ]
            assert b.scraper.pools()[0].active[0].health == "up"
            assert b.storage.values("scrape_samples_scraped") == [2, 5]
            await b.scraper.stop()

    asyncio.run(go())
