"""Hot reload by itself: whole or not at all, one at a time, at every stage of a server's life."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tsdb.config import Config, parse
from tsdb.model.errors import ConfigError, NotReady
from tsdb.server.config_changes import taken_over
from tsdb.server.http.bodies import Memory
from tsdb.server.metrics import Metrics
from tsdb.server.reload import Apply, Reloader, checksum
from tsdb.server.services import Services

OLD = "global: {scrape_interval: 15s}"
NEW = "global: {scrape_interval: 30s}"


class Recorder:
    """A part that tells what was asked of it. Jobs called `broken` cannot be prepared."""

    def __init__(self) -> None:
        self.applied: list[Config] = []
        self.prepared: list[tuple[Config | None, Config]] = []
        self.gate: asyncio.Event | None = None

    def prepare(self, old: Config | None, new: Config) -> Apply | None:
        if any(job.job_name == "broken" for job in new.scrape_configs):
            raise ConfigError("job broken: no such CA file")
        self.prepared.append((old, new))

        async def apply() -> None:
            if self.gate is not None:
                await self.gate.wait()
            self.applied.append(new)

        return apply


class Served:
    """A reloader over a config in memory."""

    def __init__(self, text: str = OLD) -> None:
        self.text = text
        self.services = Services(parse(text), Metrics(), Memory(1))
        self.loads = 0
        self.reloader = Reloader(self.services, Path("/etc/tsdb.yml"), self.load)
        self.part = Recorder()
        self.reloader.add_part(self.part.prepare)

    def load(self) -> tuple[Config, Sequence[str]]:
        self.loads += 1
        return parse(self.text), ()

    def metric(self, name: str) -> float:
        value = self.services.metrics.registry.get_sample_value(f"prometheus_config_last_reload_{name}")
        assert value is not None
        return value


def run(work: Callable[[Served], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(work(Served()), 20)

    asyncio.run(bounded())


@pytest.fixture(autouse=True)
def _all_logs(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.INFO):
        yield


def test_a_new_config_replaces_the_old_one() -> None:
    async def work(served: Served) -> None:
        await served.reloader.start()
        assert served.part.prepared[0][0] is None and len(served.part.applied) == 1
        old, served.text = served.services.config, NEW
        await served.reloader.reload()
        assert served.services.config == parse(NEW) == served.part.applied[1]
        assert served.part.prepared[1] == (old, parse(NEW))
        assert served.metric("successful") == 1

    run(work)


def test_a_config_that_has_not_changed_touches_nothing() -> None:
    async def work(served: Served) -> None:
        await served.reloader.start()
        config, served.text = served.services.config, f"# a comment\n{OLD}"
        before = served.metric("success_timestamp_seconds")
        await asyncio.sleep(0.01)
        await served.reloader.reload()
        assert served.services.config is config and len(served.part.prepared) == 1
        assert served.metric("success_timestamp_seconds") > before

    run(work)


def test_a_part_that_could_not_begin_all_of_it_is_asked_again() -> None:
    async def work(served: Served) -> None:
        await served.reloader.start()
        served.reloader.incomplete = True
        await served.reloader.reload()
        assert len(served.part.prepared) == 2 == len(served.part.applied)

    run(work)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("global: {scrape_intervall: 15s}", 'unknown key "global.scrape_intervall": did you mean "scrape_interval"?'),
        ("global: [", "config:2:1:"),
        (NEW + "\nscrape_configs: [{job_name: broken}]", "job broken: no such CA file"),
    ],
)
def test_a_broken_config_changes_nothing(text: str, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    async def work(served: Served) -> None:
        other = Recorder()
        served.reloader.add_part(other.prepare)
        await served.reloader.start()
        config, before = served.services.config, served.metric("success_timestamp_seconds")
        served.text = text
        await asyncio.sleep(0.01)
        with pytest.raises(ConfigError) as caught:
            await served.reloader.reload()
        assert reason in str(caught.value) and "/etc/tsdb.yml" in str(caught.value)
        assert served.services.config is config
        assert len(served.part.applied) == len(other.applied) == 1
        assert served.metric("successful") == 0 and served.metric("success_timestamp_seconds") == before
        failed = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert [record.getMessage() for record in failed] == ["Error reloading config"]
        assert reason in str(failed[0].__dict__["fields"]["err"])
        served.text = OLD
        await served.reloader.reload()
        assert served.metric("successful") == 1 and served.metric("success_timestamp_seconds") > before

    run(work)


def test_a_mistake_of_ours_is_told_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def work(served: Served) -> None:
        await served.reloader.start()
        wrong: list[Exception] = [ZeroDivisionError("x")]

        def prepare(old: Config | None, new: Config) -> Apply | None:
            if wrong:
                raise wrong.pop()
            return None

        served.reloader.add_part(prepare)
        served.text = NEW
        with pytest.raises(ConfigError, match="internal error"):
            await served.reloader.reload()
        assert served.metric("successful") == 0 and served.services.config == parse(OLD)
        assert "ZeroDivisionError" in caplog.text
        await served.reloader.reload()
        assert served.services.config == parse(NEW)

    run(work)


def test_keys_that_need_a_restart_are_named_and_the_rest_is_applied(caplog: pytest.LogCaptureFixture) -> None:
    async def work(served: Served) -> None:
        await served.reloader.start()
        served.text = "global: {scrape_interval: 5s}\nserver: {listen: ':1'}\nstorage: {wal: {sync: commit}}"
        await served.reloader.reload()
        assert served.services.config == parse("global: {scrape_interval: 5s}")
        assert "need a restart" in caplog.text
        [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert record.__dict__["fields"]["keys"] == "storage.wal.sync, server.listen"
        await served.reloader.reload()
        assert served.loads == 2 and len(served.part.applied) == 2

    run(work)


def test_what_is_taken_over() -> None:
    running = parse("query: {timeout: 1m, max_concurrency: 3}\nserver: {max_body_size: 1MB}")
    wanted = parse("query: {timeout: 2s, max_concurrency: 4}\nscrape_configs: [{job_name: a}]")
    effective, pending = taken_over(running, wanted)
    assert effective == parse("query: {timeout: 2s, max_concurrency: 3}\nscrape_configs: [{job_name: a}]")
    assert pending == ["query.max_concurrency"]
    assert taken_over(wanted, wanted) == (wanted, [])


def test_two_at_once_are_one_after_the_other() -> None:
    """Whoever asks while one is under way gets what the file has then; many who ask share one reload."""

    async def work(served: Served) -> None:
        await served.reloader.start()
        served.part.gate = asyncio.Event()
        served.text = NEW
        first = asyncio.create_task(served.reloader.reload())
        while served.services.config != parse(NEW):
            await asyncio.sleep(0.001)
        served.text = "global: {scrape_interval: 45s}"
        later = [asyncio.create_task(served.reloader.reload()) for _ in range(50)]
        await asyncio.sleep(0.02)
        assert served.services.config == parse(NEW) and not first.done() and not any(task.done() for task in later)
        served.part.gate.set()
        await asyncio.gather(first, *later)
        assert served.services.config == parse(served.text)
        assert served.loads == 2 and len(served.part.applied) == 3

    run(work)


def test_while_the_server_starts() -> None:
    async def work(served: Served) -> None:
        served.reloader.request()
        asked = asyncio.create_task(served.reloader.reload())
        served.text = NEW
        await asyncio.sleep(0.02)
        assert served.loads == 0 and not served.part.prepared
        await served.reloader.start()
        await asked
        assert served.services.config == parse(NEW) and served.loads == 1

    run(work)


def test_while_the_server_stops() -> None:
    async def work(served: Served) -> None:
        await served.reloader.start()
        served.part.gate = asyncio.Event()
        served.text = NEW
        under_way = asyncio.create_task(served.reloader.reload())
        while served.services.config != parse(NEW):
            await asyncio.sleep(0.001)
        waiting = asyncio.create_task(served.reloader.reload())
        stopping = asyncio.create_task(served.reloader.stop())
        await asyncio.sleep(0.02)
        assert not stopping.done()
        served.part.gate.set()
        await asyncio.gather(under_way, stopping)
        assert served.part.applied[-1] == parse(NEW)
        with pytest.raises(NotReady, match="stopping"):
            await waiting
        with pytest.raises(NotReady):
            await served.reloader.reload()
        served.reloader.request()
        await asyncio.sleep(0)

    run(work)


def test_a_stop_before_the_server_is_open() -> None:
    async def work(served: Served) -> None:
        asked = asyncio.create_task(served.reloader.reload())
        await asyncio.sleep(0.01)
        await served.reloader.stop()
        with pytest.raises(NotReady):
            await asked
        assert served.loads == 0

    run(work)


def test_who_asked_and_left_does_not_take_the_reload_along() -> None:
    async def work(served: Served) -> None:
        await served.reloader.start()
        served.part.gate = asyncio.Event()
        served.text = NEW
        asked = asyncio.create_task(served.reloader.reload())
        while served.services.config != parse(NEW):
            await asyncio.sleep(0.001)
        asked.cancel()
        await asyncio.sleep(0)
        served.part.gate.set()
        await served.reloader.reload()
        assert served.part.applied[-1] == parse(NEW)

    run(work)


def test_without_a_config_file() -> None:
    async def work(served: Served) -> None:
        reloader = Reloader(served.services)
        await reloader.start()
        await reloader.reload()
        assert served.metric("successful") == 1

    run(work)


def test_changed_files_are_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def work(served: Served) -> None:
        file = tmp_path / "tsdb.yml"
        file.write_text(OLD)

        def load() -> tuple[Config, Sequence[str]]:
            served.loads += 1
            return parse(file.read_bytes()), ()

        reloader = Reloader(served.services, file, load)
        await reloader.start(watch_s=0.01)

        async def until(true: Callable[[], bool]) -> None:
            while not true():
                await asyncio.sleep(0.005)

        await asyncio.sleep(0.05)
        assert served.loads == 0
        file.write_text(NEW)
        await until(lambda: served.services.config == parse(NEW))
        assert "Configuration file change detected, reloading the configuration." in caplog.text
        file.write_text("x: 1")
        await until(lambda: served.metric("successful") == 0)
        file.write_text(NEW)
        await until(lambda: served.metric("successful") == 1)
        await reloader.stop()

    run(work)


def test_the_checksum_covers_the_files_that_are_named(tmp_path: Path) -> None:
    file = tmp_path / "tsdb.yml"
    assert checksum(file, ["r*.yml"]) is None
    file.write_text(OLD)
    seen = [checksum(file, ["r*.yml"])]
    for name, text in [("r1.yml", ""), ("r1.yml", "groups: []"), ("r2.yml", ""), ("other.yml", "x")]:
        (tmp_path / name).write_text(text)
        seen.append(checksum(file, ["r*.yml"]))
    assert None not in seen and len(set(seen)) == 4 and seen[-1] == seen[-2]
    assert checksum(file, [str(tmp_path / "r*.yml")]) == seen[-1]
