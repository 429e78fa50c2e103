"""From groups that discovery publishes to running loops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

import pytest

from scraper import job as job_module
from scraper import pool as pool_module
from scraper.discovery.groups import Publish, TargetGroup
from tests.scraper.fakes import Bench, bench, job, settle
from tsdb.relabel.config import RelabelConfig


class Mechanism:
    """Publishes what the test says."""

    def __init__(self) -> None:
        self.publish: Publish | None = None
        self.runs = 0
        self.ended = False

    async def run(self, publish: Publish) -> None:
        self.publish = publish
        self.runs += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.ended = True

    def found(self, *groups: TargetGroup) -> None:
        assert self.publish is not None
        self.publish(groups)


def group(source: str, *addresses: str, labels: Mapping[str, str] | None = None) -> TargetGroup:
    return TargetGroup(source, tuple({"__address__": address} for address in addresses), labels or {})


@pytest.fixture
def mechanisms(monkeypatch: pytest.MonkeyPatch) -> list[Mechanism]:
    """Of every job: two."""
    made = [Mechanism(), Mechanism()]
    monkeypatch.setattr(job_module, "discoverers", lambda *job: made)
    return made


def addresses(b: Bench) -> list[str]:
    return [url.removeprefix("http://").removesuffix("/metrics") for url in b.urls]


def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "SYNC_EVERY_S", 0.0)


async def soon() -> None:
    """Timers of the event loop that are due have run."""
    await asyncio.sleep(0.002)
    await settle()


def test_targets_come_and_go_with_their_groups(
    mechanisms: Sequence[Mechanism], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go() -> None:
        with bench() as b:
            no_waiting(monkeypatch)
            await b.apply(job(labels={}))
            one, two = mechanisms
            one.found(group("x", "a", "b"), group("y", "c"))
            assert addresses(b) == [], "the other one has not said anything yet"
            two.found(group("x", "d"))
            await soon()
            assert addresses(b) == ["a", "b", "c", "d"]
            one.found(group("x", "b"))
            await soon()
            assert addresses(b) == ["b", "c", "d"], "sources are of one mechanism"
            two.found(group("x"))
            one.found(group("z", "a"))
            await soon()
            assert addresses(b) == ["a", "b", "c"]
            await b.scraper.stop()
            assert one.ended and two.ended

    asyncio.run(go())


def test_groups_that_change_often_are_looked_at_every_five_seconds(
    mechanisms: Sequence[Mechanism], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go() -> None:
        with bench() as b:
            assert pool_module.SYNC_EVERY_S == 5
            monkeypatch.setattr(pool_module, "SYNC_EVERY_S", 0.2)
            await b.apply(job(labels={}))
            for mechanism in mechanisms:
                mechanism.found(group("x", "first"))
            await soon()
            assert addresses(b) == ["first"], "the first at once"
            began = asyncio.get_running_loop().time()
            for number in range(50):
                mechanisms[0].found(group("x", f"a{number}"))
                await asyncio.sleep(0)
            assert addresses(b) == ["first"]
            while addresses(b) == ["first"]:
                await asyncio.sleep(0.01)
            assert asyncio.get_running_loop().time() - began >= 0.15
            assert addresses(b) == ["a49", "first"]
            assert b.scraper.statistics.sync_seconds["j"].read().count == 2
            await b.scraper.stop()

    asyncio.run(go())


def test_a_silent_mechanism_is_waited_for_a_little(
    mechanisms: Sequence[Mechanism], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go() -> None:
        with bench() as b:
            monkeypatch.setattr(pool_module, "FIRST_WORD_S", 0.05)
            await b.apply(job(labels={}))
            mechanisms[0].found(group("x", "a"))
            await soon()
            assert addresses(b) == []
            while not addresses(b):
                await asyncio.sleep(0.01)
            assert addresses(b) == ["a"]
            await b.scraper.stop()

    asyncio.run(go())


def test_discovery_goes_on_over_a_reload(mechanisms: Sequence[Mechanism], monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        with bench() as b:
            no_waiting(monkeypatch)
            await b.apply(job(labels={}))
            for mechanism in mechanisms:
                mechanism.found(group("x", "a"))
            await soon()
            await b.apply(job(labels={}, metrics_path="/other"))
            assert b.urls == ["http://a/other"]
            assert [mechanism.runs for mechanism in mechanisms] == [1, 1]
            mechanisms[0].found(group("x", "b"))
            await soon()
            assert b.urls == ["http://a/other", "http://b/other"]
            await b.scraper.stop()

    asyncio.run(go())


def test_same_targets_are_scraped_once(mechanisms: Sequence[Mechanism], monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        with bench() as b:
            no_waiting(monkeypatch)
            await b.apply(job(labels={}))
            mechanisms[0].found(group("x", "a", "a"), group("y", "a", labels={"__meta_other": "1"}))
            mechanisms[1].found(group("x", "a", labels={"env": "prod"}))
            await soon()
            targets = b.scraper.pools()[0].active
            assert [(target.url, target.labels) for target in targets] == [
                ("http://a/metrics", {"instance": "a", "job": "j"}),
                ("http://a/metrics", {"env": "prod", "instance": "a", "job": "j"}),
            ]
            mechanisms[0].found(group("x"))
            await soon()
            assert len(b.scraper.pools()[0].active) == 2, "the one of the other group is the same target"
            assert b.scraper.pools()[0].active[0].discovered_labels["__meta_other"] == "1"
            await b.scraper.stop()

    asyncio.run(go())


@pytest.mark.parametrize(("keep", "kept"), [(0, ["a", "b", "c"]), (2, ["a", "b"])])
def test_dropped_targets(keep: int, kept: list[str], mechanisms: Sequence[Mechanism], monkeypatch: pytest.MonkeyPatch,
                         ) -> None:
    async def go() -> None:
        with bench() as b:
            no_waiting(monkeypatch)
            rule = RelabelConfig(source_labels=("__address__",), regex="[abc]", action="drop")
            await b.apply(job(labels={}, relabel_configs=(rule,), keep_dropped_targets=keep))
            mechanisms[0].found(group("x", "a", "b", "d"))
            mechanisms[1].found(group("x", "c"))
            await soon()
            pool = b.scraper.pools()[0]
            assert addresses(b) == ["d"]
            assert [target.discovered_labels["__address__"] for target in pool.dropped] == kept
            assert pool.dropped_count == 3
            await b.scraper.stop()

    asyncio.run(go())


def test_labels_that_make_no_target(
    mechanisms: Sequence[Mechanism], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def go() -> None:
        with bench() as b, caplog.at_level(logging.ERROR):
            no_waiting(monkeypatch)
            await b.apply(job(labels={}))
            mechanisms[0].found(TargetGroup("x", ({"__address__": "a"}, {"other": "b"}), {}))
            mechanisms[1].found()
            await soon()
            assert addresses(b) == ["a"]
            mechanisms[1].found(group("x", "c"))
            await soon()
            assert b.scraper.statistics.sync_failed == {"j": 2}
            assert [record.message for record in caplog.records] == ["Creating target failed"], "said once"
            assert caplog.records[0].fields["err"] == "instance 1 in group x: no address"  # type: ignore[attr-defined]
            await b.scraper.stop()

    asyncio.run(go())


def test_too_many_targets_all_fail(mechanisms: Sequence[Mechanism], monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        with bench() as b:
            no_waiting(monkeypatch)
            b.targets.bodies["http://a/metrics"] = "x 1\n"
            await b.apply(job(target_limit=2))
            mechanisms[0].found(group("x", "a", "b"))
            mechanisms[1].found()
            await soon()
            await b.clock.run_until(10_000)
            assert [target.health for target in b.scraper.pools()[0].active] == ["up", "up"]
            mechanisms[0].found(group("x", "a", "b", "c"))
            await soon()
            asked = len(b.targets.requests)
            await b.clock.run_until(20_000)
            assert len(b.targets.requests) == asked
            assert {(target.health, target.last_error) for target in b.scraper.pools()[0].active} == {
                ("down", "target_limit exceeded (number of targets: 3, limit: 2)")
            }
            assert b.storage.values("x", instance="a")[-1] == "stale"
            assert b.scraper.statistics.exceeded_target_limit == 1
            assert b.scraper.pools()[0].target_limit == 2
            mechanisms[0].found(group("x", "a"))
            await soon()
            await b.clock.run_until(30_000)
            assert b.scraper.pools()[0].active[0].health == "up"
            await b.scraper.stop()

    asyncio.run(go())


def test_many_targets(mechanisms: Sequence[Mechanism], monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        with bench() as b:
            no_waiting(monkeypatch)
            await b.apply(job(labels={}, interval=60_000))
            mechanisms[0].found(group("x", *(f"host{number}" for number in range(1000))))
            mechanisms[1].found()
            while len(b.urls) < 1000:
                await asyncio.sleep(0.01)
            await b.clock.run_until(30_000)
            assert 400 < len(b.targets.requests) < 620, "spread over the interval"
            await b.scraper.stop()

    asyncio.run(go())
