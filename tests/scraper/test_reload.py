"""A new config in a running scraper: what goes on, what begins anew."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import msgspec
import pytest

from scraper.config import GlobalConfig, ScrapeConfig, StaticConfig
from scraper.target import Target
from tests.scraper.fakes import STALE, Bench, bench, job, settle
from tsdb.model.errors import ConfigError
from tsdb.model.settings import Duration
from tsdb.relabel.config import RelabelConfig

URL = "http://a/metrics"
DROP_Y = (RelabelConfig(source_labels=("__name__",), regex="y", action="drop"),)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Target, "offset_ms", lambda self, seed: 0)


def task_of(b: Bench, url: str) -> asyncio.Task[object]:
    return next(task for task in asyncio.all_tasks() if task.get_name() == f"scrape of {url}")


@pytest.mark.parametrize(
    ("keys", "same_loop", "added"),
    [
        ({}, True, [2, 0, 0, 0]),
        ({"honor_timestamps": False}, True, [2, 0, 0, 0]),
        ({"scrape_failure_log_file": ""}, True, [2, 0, 0, 0]),
        ({"scrape_protocols": ("PrometheusText0.0.4",)}, True, [2, 0, 0, 0]),
        ({"relabel_configs": (RelabelConfig(target_label="__tmp", replacement=""),)}, True, [2, 0, 0, 0]),
        # series are made in another way: all are new
        ({"honor_labels": True}, True, [2, 0, 2, 0]),
        ({"extra_scrape_metrics": True}, True, [2, 0, 2, 0]),
        # another target
        ({"metrics_path": "/metrics", "scrape_timeout": Duration(9000)}, False, [2, 0, 2, 0]),
    ],
)
def test_a_job_that_changes(keys: dict[str, object], same_loop: bool, added: list[float]) -> None:
    async def go() -> None:
        with bench() as b:
            b.targets.bodies[URL] = "x 1\ny 1\n"
            await b.apply(job("a"))
            await b.clock.run_until(12_000)
            status = b.scraper.pools()[0].active[0]
            await b.apply(msgspec.structs.replace(job("a"), **keys))
            assert b.scraper.statistics.pool_reloads == (1 if keys and keys != {"scrape_failure_log_file": ""} else 0)
            again = b.scraper.pools()[0].active[0]
            assert (again is status) == same_loop
            assert again.health == ("up" if same_loop else "unknown")
            await b.clock.run_until(39_000)
            assert b.storage.samples("x") == [(0, 1), (10_000, 1), (20_000, 1), (30_000, 1)]
            assert b.storage.values("scrape_series_added") == added
            await b.clock.run_until(100_000)
            assert STALE not in b.storage.values("x") and STALE not in b.storage.values("up")
            await b.scraper.stop()
            assert b.targets.closed == b.scraper.statistics.pool_reloads + 1

    asyncio.run(go())


def test_series_that_a_new_rule_drops_end() -> None:
    async def go() -> None:
        with bench() as b:
            b.targets.bodies[URL] = "x 1\ny 1\n"
            await b.apply(job("a"))
            await b.clock.run_until(12_000)
            await b.apply(job("a", metric_relabel_configs=DROP_Y))
            await b.clock.run_until(60_000)
            assert b.storage.samples("y") == [(0, 1), (10_000, 1), (20_000, STALE)]
            assert STALE not in b.storage.values("x") and len(b.storage.values("x")) == 7
            await b.scraper.stop()

    asyncio.run(go())


def test_another_interval_is_another_target() -> None:
    async def go() -> None:
        with bench() as b:
            b.targets.bodies[URL] = "x 1\n"
            await b.apply(job("a"))
            await b.clock.run_until(12_000)
            await b.apply(job("a", interval=5000))
            await b.clock.run_until(26_000)
            assert [ts for ts, _ in b.storage.samples("x")] == [0, 10_000, 15_000, 20_000, 25_000]
            assert b.scraper.pools()[0].active[0].interval_ms == 5000
            await b.clock.run_until(60_000)
            assert STALE not in b.storage.values("x")
            await b.scraper.stop()

    asyncio.run(go())


def test_a_scrape_under_way_ends_with_the_settings_that_it_began_with() -> None:
    async def go() -> None:
        with bench() as b:
            async def slow() -> str:
                await b.clock.sleep_until(b.clock.now() + 3000)
                return "x 1 1700000000005\n"

            b.targets.bodies[URL] = slow
            await b.apply(job("a"))
            await b.clock.run_until(1000)
            await b.apply(job("a", honor_timestamps=False))
            assert b.targets.closed == 0, "its connection is still needed"
            await b.clock.run_until(5000)
            assert b.targets.closed == 1
            await b.clock.run_until(15_000)
            assert b.storage.samples("x") == [(5, 1), (10_000, 1)]
            await b.scraper.stop()

    asyncio.run(go())


def test_targets_of_a_changed_list() -> None:
    async def go() -> None:
        with bench() as b:
            await b.apply(job("a", "b"), job("c", job_name="other"))
            loops = {url: task_of(b, url) for url in b.urls}
            await b.clock.run_until(1000)
            await b.apply(job("b", "d"), job("c", job_name="other"))
            assert b.urls == ["http://b/metrics", "http://c/metrics", "http://d/metrics"]
            for url in ("http://b/metrics", "http://c/metrics"):
                assert task_of(b, url) is loops[url] and not loops[url].done()
            assert [pool.name for pool in b.scraper.pools()] == ["j", "other"]
            await b.apply(job("c", job_name="other"))
            assert b.urls == ["http://c/metrics"]
            assert (b.scraper.statistics.pools, b.scraper.statistics.pool_reloads) == (2, 1)
            assert set(b.scraper.statistics.sync_seconds) == {"other"}
            await b.scraper.stop()

    asyncio.run(go())


def test_what_a_global_section_changes_reaches_the_jobs() -> None:
    async def go() -> None:
        with bench() as b:
            silent = ScrapeConfig(job_name="j", static_configs=(StaticConfig(targets=("a",)),))
            await b.apply(silent, base=GlobalConfig(scrape_interval=Duration(30_000)))
            assert b.scraper.pools()[0].active[0].interval_ms == 30_000
            await b.apply(silent, base=GlobalConfig(scrape_interval=Duration(30_000), rule_query_offset=Duration(1)))
            assert b.scraper.statistics.pool_reloads == 0
            await b.apply(silent, base=GlobalConfig(scrape_interval=Duration(20_000)))
            assert b.scraper.pools()[0].active[0].interval_ms == 20_000
            await b.scraper.stop()

    asyncio.run(go())


@pytest.mark.parametrize(
    "keys",
    [
        {"relabel_configs": (RelabelConfig(regex="("),)},
        {"metric_relabel_configs": (RelabelConfig(action="hashmod", target_label="x"),)},
        {"scrape_failure_log_file": "/no/such/folder/file"},
    ],
)
def test_a_config_that_cannot_be_used_changes_nothing(keys: dict[str, object]) -> None:
    async def go() -> None:
        with bench() as b:
            await b.apply(job("a"))
            with pytest.raises(ConfigError, match=r'^scrape job "broken": '):
                await b.apply(job("b"), msgspec.structs.replace(job("c"), job_name="broken", **keys))
            assert b.urls == [URL]
            await b.scraper.stop()

    asyncio.run(go())


def test_at_the_start_a_job_that_cannot_be_built_stops_no_other(tmp_path: Path) -> None:
    async def go() -> None:
        with bench() as b:
            late = job("b", job_name="late", scrape_failure_log_file=str(tmp_path / "x" / "y"))
            broken = msgspec.structs.replace(late, scrape_failure_log_file=str(tmp_path / "z" / "y"))
            statistics = b.scraper.statistics

            def pools() -> list[str]:
                return [pool.name for pool in b.scraper.pools()]

            await b.apply(job("a"), late, starting=True)
            assert pools() == ["j"]
            assert (statistics.pools, statistics.pools_failed) == (2, 1)
            await b.apply(job("c"), late)
            assert pools() == ["j"], "it is left out already: others may change"
            assert b.urls == ["http://c/metrics"]
            assert (statistics.pools, statistics.pools_failed) == (3, 2)
            with pytest.raises(ConfigError, match=r'^scrape job "late": '):
                await b.apply(job("a"), broken)
            with pytest.raises(ConfigError, match=r'^scrape job "other": '):
                await b.apply(job("a"), msgspec.structs.replace(late, job_name="other"))
            (tmp_path / "x").mkdir()
            await b.apply(job("c"), late)
            assert pools() == ["j", "late"]
            assert (statistics.pools, statistics.pools_failed) == (4, 2)
            with pytest.raises(ConfigError, match=r'^scrape job "late": '):
                await b.apply(job("a"), broken)
            assert b.urls == ["http://b/metrics", "http://c/metrics"], "a job that runs fails the reload as a whole"
            await b.scraper.stop()

    asyncio.run(go())


def test_failed_scrapes_are_logged_to_a_file(tmp_path: Path) -> None:
    async def go() -> None:
        with bench() as b:
            file = tmp_path / "failures.log"
            b.targets.bodies[URL] = aiohttp.ServerDisconnectedError()
            await b.apply(job("a", scrape_failure_log_file=str(file)))
            await b.clock.run_until(10_000)
            lines = [json.loads(line) for line in file.read_text().splitlines()]
            assert len(lines) == 2
            assert set(lines[0]) == {"time", "level", "source", "msg", "job_name", "target"}
            assert (lines[0]["level"], lines[0]["job_name"], lines[0]["target"]) == ("ERROR", "j", URL)
            assert lines[0]["msg"] == b.scraper.pools()[0].active[0].last_error == f'Get "{URL}": EOF'
            await b.apply(job("a"))
            await b.clock.run_until(30_000)
            assert len(file.read_text().splitlines()) == 2
            await b.scraper.stop()

    asyncio.run(go())


def test_applied_twice_and_stopped_without_ever_running() -> None:
    async def go() -> None:
        with ThreadPoolExecutor(1) as executor:
            b = Bench(executor)
            await b.scraper.stop()
            await b.apply()
            await b.apply()
            assert b.scraper.pools() == []
            await b.scraper.stop()
            await settle()

    asyncio.run(go())
