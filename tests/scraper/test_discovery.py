"""Discovery: static targets, and files that are written, replaced, broken and removed while they are watched."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from scraper.config import FileDiscovery, ScrapeConfig, StaticConfig
from scraper.discovery import MECHANISMS, discoverers
from scraper.discovery.file import FileTargets
from scraper.discovery.groups import TargetGroup
from scraper.discovery.parse import parse_json, parse_yaml
from scraper.discovery.statistics import DiscoveryStatistics
from tests.conftest import Start
from tests.processes import free_port, wait_until
from tsdb.model.errors import ConfigError
from tsdb.model.settings import Duration

Found = list[tuple[str, dict[str, str]]]
"""Addresses with labels."""

FILES: dict[str, tuple[str, Found | str]] = {
    # content, and what is in it, or a part of the error
    "plain.yml": ("- targets: ['a:1', b:2]\n  labels: {env: prod}\n- targets: [c:3]\n",
                  [("a:1", {"env": "prod"}), ("b:2", {"env": "prod"}), ("c:3", {})]),
    "plain.yaml": ("[{targets: [a:1]}]", [("a:1", {})]),
    "upper.YML": ("[{targets: [a:1]}]", [("a:1", {})]),
    "plain.json": ('[{"targets": ["a:1"], "labels": {"env": "prod"}}, {"targets": ["b:2"]}]',
                   [("a:1", {"env": "prod"}), ("b:2", {})]),
    "upper.JSON": ('[{"targets": ["a:1"]}]', [("a:1", {})]),
    ".hidden.yml": ("[{targets: [a:1]}]", [("a:1", {})]),
    "scalars.yml": ("- targets: [on, 1:30]\n  labels: {a: 1, b: true, c: null, d: 010, e: 1.10, f: yes}\n",
                    [(address, {"a": "1", "b": "true", "d": "010", "e": "1.10", "f": "yes"})
                     for address in ("on", "1:30")]),
    "any-label.yml": ('[{targets: [a:1], labels: {"a b.ü": x}}]', [("a:1", {"a b.ü": "x"})]),
    "filepath.yml": ("[{targets: [a:1], labels: {__meta_filepath: mine}}]", [("a:1", {})]),
    "empty.yml": ("", []),
    "comment.yml": ("# nothing\n", []),
    "none.json": ("[]", []),
    "null.json": ("null", []),
    "no-targets.yml": ("- labels: {a: b}\n- targets: []\n- {}\n- targets: null\n", []),
    "null-label.json": ('[{"targets": ["a:1"], "labels": {"a": null}}]', [("a:1", {})]),
    "alias.yml": ("- &a {targets: [a:1]}\n- *a\n", [("a:1", {}), ("a:1", {})]),
    "empty.json": ("", "not JSON"),
    "cut.json": ('[{"targets": ["a:1"]', "not JSON"),
    "cut.yml": ("- targets: ['a:1", "cut.yml:"),
    "null.yml": ("-\n", "nil target group item found"),
    "mapping.yml": ("targets: [a:1]", "must be a list"),
    "mapping.json": ('{"targets": ["a:1"]}', "must be a list"),
    "text.yml": ("- a:1", "must be a mapping"),
    "unknown.yml": ("- targets: [a:1]\n  nope: 1\n", 'unknown.yml:2:3: unknown field "nope"'),
    "unknown.json": ('[{"targets": ["a:1"], "nope": 1}]', 'unknown.json[0].nope: unknown field "nope"'),
    "twice.yml": ("- targets: [a:1]\n  targets: [b:1]\n", "stands twice"),
    "one.yml": ("- targets: a:1", "must be a list"),
    "number.json": ('[{"targets": ["a:1"], "labels": {"a": 1}}]', "number.json[0].labels.a: must be text"),
    "number-target.json": ('[{"targets": [1]}]', "must be text"),
    "nested.yml": ("- targets: [[a]]", "must be text"),
    "label-list.yml": ("- targets: [a]\n  labels: [b]\n", "must be a mapping"),
    "no-label-name.yml": ('- targets: [a]\n  labels: {"": b}\n', '"" is not a valid label name'),
    "two.yml": ("- targets: [a:1]\n---\n- targets: [b:1]\n", "document"),
    "binary.yml": ("\x00\x01", "binary.yml"),
}


def targets_of(groups: Sequence[TargetGroup]) -> Found:
    found = []
    for group in groups:
        for target in group.targets:
            labels = {**group.labels, **target}
            found.append((labels.pop("__address__"), {name: value for name, value in labels.items() if value}))
    return found


@pytest.mark.parametrize("name", FILES)
def test_content_of_files(name: str) -> None:
    content, expected = FILES[name]
    parse = parse_json if name.lower().endswith("json") else parse_yaml
    if isinstance(expected, str):
        with pytest.raises(ConfigError) as caught:
            parse(content.encode(), name, {})
        assert expected in str(caught.value)
        return
    groups = parse(content.encode(), name, {"__meta_filepath": name})
    assert targets_of(groups) == [(address, {**labels, "__meta_filepath": name}) for address, labels in expected]
    assert [group.source for group in groups] == [f"{name}:{number}" for number in range(len(groups))]


class Watched:
    """What a discoverer has published."""

    def __init__(self) -> None:
        self.published: list[list[TargetGroup]] = []
        self.groups: dict[str, TargetGroup] = {}

    def publish(self, groups: Sequence[TargetGroup]) -> None:
        self.published.append(list(groups))
        for group in groups:
            if group.targets:
                self.groups[group.source] = group
            else:
                self.groups.pop(group.source, None)

    @property
    def addresses(self) -> list[str]:
        return sorted(address for address, _ in targets_of(list(self.groups.values())))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.005)


@asynccontextmanager
async def watching(folder: Path, *patterns: str, statistics: DiscoveryStatistics | None = None,
                   refresh: str = "5m") -> AsyncIterator[Watched]:
    config = FileDiscovery(files=patterns, refresh_interval=Duration.of(refresh))
    discoverer = FileTargets(config, folder, "job", statistics or DiscoveryStatistics(), 0.005)
    watched = Watched()
    task = asyncio.create_task(discoverer.run(watched.publish))
    try:
        await watched.until(lambda: bool(watched.published))
        yield watched
    finally:
        assert not task.done(), task.exception()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def group(*addresses: str) -> str:
    return json.dumps([{"targets": list(addresses)}])


def put(path: Path, content: str) -> None:
    """In one step."""
    path.with_suffix(".new").write_text(content)
    path.with_suffix(".new").rename(path)


def test_static_targets() -> None:
    job = ScrapeConfig(job_name="x", static_configs=(
        StaticConfig(targets=("a:1", "b:2"), labels={"env": "prod"}), StaticConfig(targets=("c:3",)),
    ))

    async def go() -> None:
        discoverer, = discoverers(job, Path(), DiscoveryStatistics())
        watched = Watched()
        task = asyncio.create_task(discoverer.run(watched.publish))
        await watched.until(lambda: bool(watched.published))
        assert targets_of(list(watched.groups.values())) == [
            ("a:1", {"env": "prod"}), ("b:2", {"env": "prod"}), ("c:3", {})
        ]
        task.cancel()

    asyncio.run(go())


def test_discoverers_of_a_job() -> None:
    files = (FileDiscovery(files=("a.yml",)), FileDiscovery(files=("b.yml",)))
    job = ScrapeConfig(job_name="x", static_configs=(StaticConfig(targets=("a:1",)),), file_sd_configs=files)
    assert len(discoverers(job, Path(), DiscoveryStatistics())) == 3
    assert discoverers(ScrapeConfig(job_name="x"), Path(), DiscoveryStatistics()) == []
    assert set(MECHANISMS) <= set(ScrapeConfig.__struct_fields__)


def test_files_that_change(tmp_path: Path) -> None:
    statistics = DiscoveryStatistics()

    async def go() -> None:
        (tmp_path / "a.json").write_text(group("a:1"))
        async with watching(tmp_path, "*.json", "more/b.yml", statistics=statistics) as watched:
            assert watched.addresses == ["a:1"]
            assert watched.groups["a.json:0"].labels == {"__meta_filepath": "a.json"}
            put(tmp_path / "a.json", group("a:2", "a:3"))
            await watched.until(lambda: watched.addresses == ["a:2", "a:3"])
            (tmp_path / "a.json").write_text(group("a:4"))
            await watched.until(lambda: watched.addresses == ["a:4"])
            put(tmp_path / "c.json", group("c:1"))
            await watched.until(lambda: watched.addresses == ["a:4", "c:1"])
            (tmp_path / "more").mkdir()
            put(tmp_path / "more" / "b.yml", "[{targets: [b:1]}, {targets: [b:2]}]")
            await watched.until(lambda: watched.addresses == ["a:4", "b:1", "b:2", "c:1"])
            put(tmp_path / "more" / "b.yml", "[{targets: [b:1]}]")
            await watched.until(lambda: watched.addresses == ["a:4", "b:1", "c:1"])
            put(tmp_path / "more" / "b.yml", "[]")
            await watched.until(lambda: watched.addresses == ["a:4", "c:1"])
            assert set(statistics.file_modified_seconds()) == {"a.json", "c.json", "more/b.yml"}
            (tmp_path / "a.json").unlink()
            await watched.until(lambda: watched.addresses == ["c:1"])
            await watched.until(lambda: set(statistics.file_modified_seconds()) == {"c.json", "more/b.yml"})
            (tmp_path / "a.json").symlink_to("c.json")
            await watched.until(lambda: watched.addresses == ["c:1", "c:1"])
        assert statistics.file_modified_seconds() == {}
        assert statistics.file_read_errors == 0
        assert statistics.file_scan_seconds.read().count >= 8

    asyncio.run(go())


def test_only_what_has_changed_is_published(tmp_path: Path) -> None:
    async def go() -> None:
        two: list[dict[str, Any]] = [{"targets": ["a:1"]}, {"targets": ["a:2"]}]
        put(tmp_path / "a.json", json.dumps(two))
        put(tmp_path / "b.json", group("b:1"))
        async with watching(tmp_path, "*.json") as watched:
            two[1]["labels"] = {"x": "y"}
            put(tmp_path / "a.json", json.dumps(two))
            await watched.until(lambda: len(watched.published) > 1)
            assert [published.source for published in watched.published[1]] == ["a.json:1"]
            os.utime(tmp_path / "b.json", (1, 1))
            put(tmp_path / "c.json", group("c:1"))
            await watched.until(lambda: len(watched.published) > 2)
            assert [published.source for published in watched.published[2]] == ["c.json:0"]

    asyncio.run(go())


def test_a_broken_file_keeps_its_targets(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    statistics = DiscoveryStatistics()

    async def go() -> None:
        put(tmp_path / "a.json", group("a:1"))
        put(tmp_path / "b.json", "broken from the start")
        async with watching(tmp_path, "*.json", statistics=statistics) as watched:
            assert watched.addresses == ["a:1"]
            assert statistics.file_read_errors == 1
            put(tmp_path / "a.json", "[")
            await watched.until(lambda: statistics.file_read_errors == 2)
            await asyncio.sleep(0.05)
            assert statistics.file_read_errors == 2, "told once, not at every look"
            assert watched.addresses == ["a:1"]
            put(tmp_path / "b.json", group("b:1"))
            await watched.until(lambda: watched.addresses == ["a:1", "b:1"])
            put(tmp_path / "a.json", group("a:2"))
            await watched.until(lambda: watched.addresses == ["a:2", "b:1"])
            put(tmp_path / "a.json", "[")
            await watched.until(lambda: statistics.file_read_errors == 3)
            (tmp_path / "a.json").unlink()
            await watched.until(lambda: watched.addresses == ["b:1"])

    with caplog.at_level(logging.ERROR):
        asyncio.run(go())
    fields = [vars(record)["fields"] for record in caplog.records]
    assert [record["path"] for record in fields] == ["b.json", "a.json", "a.json"]
    assert fields[0]["err"].startswith("b.json: not JSON: ")
    assert fields[0]["job"] == "job"


def test_all_files_are_read_again_now_and_then(tmp_path: Path) -> None:
    statistics = DiscoveryStatistics()

    async def go() -> None:
        put(tmp_path / "a.json", "[")
        async with watching(tmp_path, "a.json", statistics=statistics, refresh="20ms"):
            async with asyncio.timeout(20):
                while statistics.file_read_errors < 3:
                    await asyncio.sleep(0.005)

    asyncio.run(go())


def test_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scraper.discovery.file._LARGEST", 100)
    statistics = DiscoveryStatistics()

    async def go() -> None:
        put(tmp_path / "a.json", group("a" * 200))
        async with watching(tmp_path, "a.json", statistics=statistics) as watched:
            assert watched.addresses == []
            assert statistics.file_read_errors == 1

    asyncio.run(go())


def test_the_event_loop_goes_on_while_many_targets_are_read(tmp_path: Path) -> None:
    async def go() -> None:
        content = yaml.dump([{"targets": [f"host-{number}:9100" for number in range(10_000)]}], Dumper=yaml.CSafeDumper)
        put(tmp_path / "a.yml", content)
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        ticking = asyncio.create_task(tick())
        async with watching(tmp_path, "a.yml") as watched:
            assert len(watched.addresses) == 10_000
        ticking.cancel()
        assert ticks > 10

    asyncio.run(go())


@pytest.mark.peer
def test_prometheus_finds_the_same(peer: Callable[[str], Path], start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "targets"
    folder.mkdir()
    for name, (content, _) in FILES.items():
        if name != "two.yml":  # of which Prometheus reads the first document and leaves out the rest
            (folder / name).write_text(content)
    patterns = [f"targets/*.{extension}" for extension in ("yml", "yaml", "json", "YML", "JSON")]
    apart = {"source_labels": ["__meta_filepath"], "target_label": "file"}  # equal targets are one
    config = {"scrape_configs": [
        {"job_name": "x", "file_sd_configs": [{"files": patterns}], "relabel_configs": [apart]}
    ]}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    server = start(
        [peer("prometheus"), f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
         f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"], port,
    ).wait_ready()

    def theirs() -> Found:
        found = []
        for target in server.client.data("targets")["activeTargets"]:
            labels = {name: value for name, value in target["discoveredLabels"].items()
                      if not name.startswith("__") or name == "__meta_filepath"}
            del labels["job"]
            labels["__meta_filepath"] = labels["__meta_filepath"].removeprefix(f"{tmp_path}/")
            found.append((target["discoveredLabels"]["__address__"], labels))
        return sorted(found, key=_order)

    async def ours() -> Found:
        async with watching(tmp_path, *patterns) as watched:
            return sorted(targets_of(list(watched.groups.values())), key=_order)

    expected = asyncio.run(ours())
    assert len(expected) > 15
    distinct = [found for number, found in enumerate(expected) if found not in expected[:number]]  # one target each
    wait_until(lambda: len(theirs()) >= len(distinct), "all targets are discovered")
    assert theirs() == distinct


def _order(found: tuple[str, dict[str, str]]) -> tuple[str, list[tuple[str, str]]]:
    return found[0], sorted(found[1].items())
