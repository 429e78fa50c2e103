"""The same config in the real Prometheus and in our scraper: the same targets, labels, URLs, and words for failures."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from scraper.scraper import Scraper
from tests.conftest import Start
from tests.processes import free_port, wait_until
from tests.scraper.fakes import Storage
from tests.targets import TargetServer
from tsdb import config as config_file
from tsdb.model.durations import format_duration

CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, external_labels: {{dc: here}}}}
scrape_configs:
- job_name: plain
  metrics_path: /text
  static_configs:
  - targets: ["{a}", "{b}"]
  - targets: ["{a}"]
    labels: {{env: prod, instance: named, __meta_found: "yes", __hidden: x, job: other, empty: ""}}
- job_name: params
  metrics_path: "/text?a=1 ü"
  params: {{q: [a, b], z: ["x y&ä"], none: []}}
  static_configs:
  - targets: ["{a}"]
    labels: {{__param_q: w, __param_n: v}}
- job_name: labels steer
  static_configs:
  - targets: ["{a}"]
    labels: {{__scheme__: http, __metrics_path__: text, __scrape_interval__: 900ms, __scrape_timeout__: 800ms}}
  - targets: ["{a}"]
    labels: {{__scrape_interval__: 0s}}
  - targets: ["{b}"]
    labels: {{__scrape_interval__: 1s, __scrape_timeout__: 2s}}
- job_name: rules
  metrics_path: /text
  keep_dropped_targets: 1
  static_configs:
  - targets: ["{a}", "{b}", "{c}", "{d}"]
    labels: {{team: Storage, __meta_zone: z1, a: "1"}}
  relabel_configs:
  - {{source_labels: [__address__], regex: "{c}|{d}", action: drop}}
  - {{action: labelmap, regex: __meta_(.+)}}
  - {{source_labels: [team], target_label: team, action: lowercase}}
  - {{source_labels: [__address__], target_label: shard, modulus: 8, action: hashmod}}
  - {{source_labels: [a, team], separator: "-", target_label: joined}}
  - {{action: labeldrop, regex: a}}
- job_name: too many
  metrics_path: /text
  target_limit: 1
  static_configs: [{{targets: ["{a}", "{b}"]}}]
- job_name: limited
  metrics_path: /text
  body_size_limit: 10B
  static_configs: [{{targets: ["{a}"]}}]
- job_name: nobody
  static_configs: [{{targets: ["127.0.0.1:1"]}}]
- job_name: untrusted
  scheme: https
  static_configs: [{{targets: ["{tls}"]}}]
- job_name: redirected
  metrics_path: /redirect
  follow_redirects: false
  static_configs: [{{targets: ["{a}"]}}]
"""

PATHS = ("/text", "/gzip", "/empty", "/hang", "/hang-in-body", "/cut", "/cut-chunked", "/404", "/500", "/broken-gzip",
         "/no-gzip", "/redirect", "/redirect-loop", "/redirect-nowhere", "/wrong-type", "/no-type", "/duplicates")
"""Behaviours of the target server, each a job."""

OURS = {
    "broken-gzip": "unexpected EOF",  # Go: flate: corrupt input
    "redirect-loop": "stopped after 10 redirects",  # with another URL in front
    "untrusted": "tls: failed to verify certificate: ",  # the reason in OpenSSL's words
}
"""Where the words differ: what ours have in common with Prometheus'."""


def test_targets_as_prometheus(start: Start, peer: Callable[[str], Path], tmp_path: Path) -> None:
    with TargetServer() as server:
        others = [server.listener().address for _ in range(3)]
        names = {"a": server.address, "tls": server.tls_address, **dict(zip("bcd", others, strict=True))}
        text = CONFIG.format(**names) + "".join(
            f'- {{job_name: {path[1:]}, metrics_path: {path}, static_configs: [{{targets: ["{server.address}"]}}]}}\n'
            for path in PATHS
        )
        file = tmp_path / "prometheus.yml"
        file.write_text(text)
        theirs = of_prometheus(start, peer, tmp_path, file)
        ours = asyncio.run(of_ours(file))
    assert sorted(ours) == sorted(theirs)
    for name, pool in theirs.items():
        for mine, its in zip(ours[name]["active"], pool["active"], strict=True):
            alike(name, mine, its)
        assert ours[name]["dropped_count"] == pool["dropped_count"], name
        assert len(ours[name]["dropped"]) == len(pool["dropped"]), name


def alike(name: str, mine: dict[str, Any], its: dict[str, Any]) -> None:
    errors = mine.pop("error"), its.pop("error")
    assert mine == its, name
    if name in OURS:
        assert OURS[name] in errors[0] and errors[1], name
    else:
        # where they come from is said behind some
        assert re.sub(r" on [\d.:]+", "", errors[1]) == errors[0], name


def of_prometheus(start: Start, peer: Callable[[str], Path], tmp_path: Path, file: Path) -> dict[str, Any]:
    port = free_port()
    process = start(
        [peer("prometheus"), f"--config.file={file}", f"--storage.tsdb.path={tmp_path / 'prometheus'}",
         f"--web.listen-address=127.0.0.1:{port}"], port,
    ).wait_ready()

    def all_scraped() -> bool:
        targets = process.client.data("targets")["activeTargets"]
        return bool(targets) and all(target["health"] != "unknown" for target in targets)

    wait_until(all_scraped, "all targets scraped")
    data = process.client.data("targets")
    return by_pool(
        [(target["scrapePool"], {
            "url": target["scrapeUrl"], "labels": target["labels"], "discovered": target["discoveredLabels"],
            "health": target["health"], "error": target["lastError"], "interval": target["scrapeInterval"],
            "timeout": target["scrapeTimeout"],
        }) for target in data["activeTargets"]],
        [(target["scrapePool"], target["discoveredLabels"]) for target in data["droppedTargets"]],
        data["droppedTargetCounts"],
    )


async def of_ours(file: Path) -> dict[str, Any]:
    config = config_file.load(file).config
    storage = Storage()
    with ThreadPoolExecutor(1) as executor:
        scraper = Scraper(storage.append, storage.secret, executor, user_agent="tsdb/test")
        await scraper.apply(scraper.prepare(config.global_, config.scrape_configs, file.parent))
        async with asyncio.timeout(30):
            await asyncio.sleep(0.5)
            while not all(target.health != "unknown" for pool in scraper.pools() for target in pool.active):
                await asyncio.sleep(0.05)
        pools = scraper.pools()
        made = by_pool(
            [(pool.name, {
                "url": target.url, "labels": dict(target.labels), "discovered": dict(target.discovered_labels),
                "health": target.health, "error": target.last_error, "interval": format_duration(target.interval_ms),
                "timeout": format_duration(target.timeout_ms),
            }) for pool in pools for target in pool.active],
            [(pool.name, dict(target.discovered_labels)) for pool in pools for target in pool.dropped],
            {pool.name: pool.dropped_count for pool in pools},
        )
        await scraper.stop()
    return made


def by_pool(active: list[tuple[str, dict[str, Any]]], dropped: list[tuple[str, dict[str, str]]], counts: dict[str, int],
            ) -> dict[str, Any]:
    return {
        name: {
            "active": sorted((target for pool, target in active if pool == name), key=lambda t: repr(sorted(
                (t["url"], *t["labels"].items(), *t["discovered"].items()), key=repr))),
            "dropped": [labels for pool, labels in dropped if pool == name],
            "dropped_count": count,
        }
        for name, count in counts.items()
    }
