"""Hot reload of a running server with real targets: what stays goes on, what is new begins, what is gone ends."""

from __future__ import annotations

import asyncio
import functools
import math
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.behaviours import Answer, Exchange
from tests.client import Client
from tests.conftest import Start, StartTsdb
from tests.processes import TSDB, Process, free_port, wait_until
from tests.targets import TargetServer
from tsdb import config

INTERVAL_S = 0.5
FIRST = "global: {scrape_interval: 500ms, scrape_timeout: 500ms}\n"


@pytest.fixture
def targets() -> Iterator[TargetServer]:
    body = Answer("".join(f'm{{n="{n}"}} {n}\n' for n in range(50)))

    async def slow(exchange: Exchange) -> None:
        """So that reloads come in the middle of scrapes."""
        await asyncio.sleep(INTERVAL_S / 4)
        await body(exchange)

    with TargetServer() as server:
        server.behave("/stays", slow)
        for path in ("/changes", "/leaves", "/comes"):
            server.behave(path, body)
        yield server


def job(name: str, addresses: list[str], more: str = "") -> str:
    listed = ", ".join(repr(address) for address in addresses)
    return f"- {{job_name: {name}, metrics_path: /{name}, static_configs: [{{targets: [{listed}]}}]{more}}}\n"


def write(file: Path, *jobs: str) -> None:
    file.write_text(f"{FIRST}scrape_configs:\n{''.join(jobs)}")


def reloaded(client: Client) -> float:
    """When the config in use was read."""
    return metric(client, "prometheus_config_last_reload_success_timestamp_seconds")


def metric(client: Client, name: str) -> float:
    lines = client.get("/metrics").body.decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))


def hang_up(server: Process) -> None:
    """SIGHUP, and waits until its config is in use."""
    before = reloaded(server.client)
    server.signal(signal.SIGHUP)
    wait_until(lambda: reloaded(server.client) > before, "a reload")


def up(client: Client, name: str) -> dict[str, str]:
    """Value of `up` by instance."""
    found = client.query(f'up{{job="{name}"}}', time.time())
    return {each["metric"]["instance"]: each["value"][1] for each in found}


def all_up(client: Client, name: str, addresses: list[str]) -> bool:
    return up(client, name) == dict.fromkeys(addresses, "1")


def test_reloads_under_load(targets: TargetServer, start_tsdb: StartTsdb, tmp_path: Path) -> None:
    addresses = [targets.address, *(targets.listener().address for _ in range(3))]
    steady, a, b = addresses[:3], addresses[0], addresses[1]
    file = tmp_path / "prometheus.yml"
    write(file, job("stays", steady), job("changes", [a, b]), job("leaves", [a]))
    server = start_tsdb("--config.file", str(file), "--web.enable-lifecycle")
    client = server.client
    for name, expected in (("stays", steady), ("changes", [a, b]), ("leaves", [a])):
        wait_until(functools.partial(all_up, client, name, expected), name)
    begun = time.time()
    stop = threading.Event()
    asking = threading.Thread(target=ask, args=(client, stop))
    asking.start()
    try:
        for number in range(6):  # among them reloads that change nothing
            write(file, job("stays", steady), job("changes", [a, b][: 1 + number % 2]), job("comes", addresses[3:]))
            if number % 2:
                assert client.request("POST", "/-/reload").status == 200
            else:
                hang_up(server)
        write(file, job("stays", steady), job("changes", [a]), job("comes", addresses[3:]))
        hang_up(server)
        wait_until(lambda: up(client, "comes") == {addresses[3]: "1"}, "a job that was added")
        wait_until(lambda: up(client, "changes") == {a: "1"}, "stale markers of a target that is gone")
        wait_until(lambda: len(samples(client, "changes", a)) > 10, "some scrapes")
    finally:
        stop.set()
        asking.join(30)
    ended = time.time()
    for address in steady:
        # what the target saw is what is stored: no scrape was broken off, or its samples lost
        asked = [each for each in targets.requests("/stays") if each.address == address and each.at < ended - 1]
        stored = [ts for ts, _ in samples(client, "stays", address) if ts < ended - 1 + INTERVAL_S]
        assert len(asked) <= len(stored) <= len(asked) + 2
        # the schedule stays: times are the same within the interval
        phases = [ts % INTERVAL_S / INTERVAL_S * math.tau for ts in stored]
        center = math.atan2(sum(map(math.sin, phases)), sum(map(math.cos, phases)))
        assert sum(math.cos(phase - center) > 0.5 for phase in phases) > 0.6 * len(phases)
        # state stays: the series are new once
        added = values(client, f'scrape_series_added{{job="stays",instance="{address}"}}')
        assert [value for value in added if value] == [50.0]
        # no stale marker
        for name in ("up", 'm{n="7"', "scrape_duration_seconds"):
            selector = f'{name},job="stays",instance="{address}"}}' if "{" in name else (
                f'{name}{{job="stays",instance="{address}"}}')
            [series] = client.query_range(selector, begun, ended, INTERVAL_S / 2)
            assert len(series["values"]) == math.floor((ended - begun) / (INTERVAL_S / 2)) + 1, name
    # a job that is gone as a whole gets no markers, as in Prometheus
    assert up(client, "leaves") == {a: "1"}
    assert len(client.query(f'm{{job="changes",instance="{b}"}}', time.time())) == 0
    assert len(client.query(f'm{{job="changes",instance="{a}"}}', time.time())) == 50


def samples(client: Client, name: str, address: str) -> list[tuple[float, str]]:
    found = client.query(f'up{{job="{name}",instance="{address}"}}[5m]', time.time())
    return [(ts, value) for series in found for ts, value in series["values"]]


def values(client: Client, selector: str) -> list[float]:
    found = client.query(f"{selector}[5m]", time.time())
    return [float(value) for series in found for _, value in series["values"]]


def ask(client: Client, stop: threading.Event) -> None:
    while not stop.wait(0.02):
        client.query("sum by (job) (rate(m[1m]))", time.time())


def test_a_broken_file_and_its_end(targets: TargetServer, start_tsdb: StartTsdb, tmp_path: Path) -> None:
    file = tmp_path / "prometheus.yml"
    write(file, job("stays", [targets.address]))
    server = start_tsdb("--config.file", str(file), "--web.enable-lifecycle")
    client = server.client
    wait_until(lambda: up(client, "stays") == {targets.address: "1"}, "a scrape")
    before, shown = reloaded(client), client.data("status/config")
    broken = {
        "unknown key": job("stays", [targets.address], ", metrik_path: /x"),
        "no such CA": job("stays", [targets.address], ", scheme: https, tls_config: {ca_file: /no/such/ca.pem}"),
    }
    for reason, wrong in broken.items():
        write(file, job("comes", [targets.address]), wrong)
        answer = client.request("POST", "/-/reload")
        text = answer.body.decode()
        assert answer.status == 500 and text.startswith("failed to reload config: couldn't load configuration"), reason
        assert str(file) in text and ("metrik_path" in text or "/no/such/ca.pem" in text)
        assert metric(client, "prometheus_config_last_reload_successful") == 0
        assert reloaded(client) == before
        assert [each["text"] for each in client.data("notifications")] == ["Configuration reload has failed."]
        assert client.data("status/runtimeinfo")["reloadConfigSuccess"] is False
        assert client.data("status/config") == shown
    assert server.tail(20_000).count('msg="Error reloading config"') == 2
    assert not targets.requests("/comes")
    scraped = len(targets.requests("/stays"))
    wait_until(lambda: len(targets.requests("/stays")) > scraped + 1, "the old config to go on")
    write(file, job("stays", [targets.address]))
    server.signal(signal.SIGHUP)
    wait_until(lambda: metric(client, "prometheus_config_last_reload_successful") == 1, "a reload")
    assert reloaded(client) > before
    assert client.data("notifications") == []
    assert client.data("status/runtimeinfo")["reloadConfigSuccess"] is True


def test_a_job_that_could_not_begin_holds_up_no_reload(
    targets: TargetServer, start_tsdb: StartTsdb, tmp_path: Path
) -> None:
    file, log = tmp_path / "prometheus.yml", tmp_path / "later" / "failures.log"
    late = job("stays", [targets.address], f", scrape_failure_log_file: {log}")
    write(file, job("changes", [targets.address]), late)
    client = start_tsdb("--config.file", str(file), "--web.enable-lifecycle").client
    for count, name in enumerate(("changes", "comes"), 1):
        write(file, job(name, [targets.address]), late)
        assert client.request("POST", "/-/reload").status == 200
        wait_until(lambda name=name: up(client, name) == {targets.address: "1"}, "a scrape")  # type: ignore[misc]
        [notice] = client.data("notifications")
        assert notice["text"].startswith('Scrape job "stays" is left out: ') and str(log) in notice["text"]
        assert client.data("scrape_pools") == {"scrapePools": [name]}
        assert metric(client, "prometheus_target_scrape_pools_failed_total") == count + 1
    log.parent.mkdir()
    assert client.request("POST", "/-/reload").status == 200
    wait_until(lambda: up(client, "stays") == {targets.address: "1"}, "the job that was left out")
    assert client.data("notifications") == []


def test_limits_of_queries_follow_and_the_rest_is_named(start_tsdb: StartTsdb, tmp_path: Path) -> None:
    file = tmp_path / "tsdb.yml"
    file.write_text("global: {evaluation_interval: 1m}")
    server = start_tsdb("--config.file", str(file), "--query.max-samples=1000")
    client = server.client

    def steps() -> str:
        found: str = client.query("count_over_time(vector(1)[10m:])", 1_700_000_000)[0]["value"][1]
        return found

    assert steps() == "10"
    assert client.data("status/config")["yaml"] == config.shown(config.load(file).config), "no flags"
    file.write_text("global: {evaluation_interval: 2m}\nserver: {listen: ':1', max_body_size: 10B}\n"
                    "query: {max_samples: 5}\nstorage: {wal: {sync: os}, tsdb: {retention: {time: 3d}}}")
    hang_up(server)
    assert steps() == "5"
    [line] = [line for line in server.tail().splitlines() if "changed keys that need a restart to take effect" in line]
    assert line.endswith(" keys=storage.wal.sync")
    flags = client.data("status/flags")
    assert flags["query.max-samples"] == "1000" and flags["storage.tsdb.retention.time"] == "3d"
    own = yaml.safe_load(client.data("status/config")["yaml"])
    assert own["query"] == {"max_samples": 5}, "as the file says, the flag holds"
    assert (own["server"], own["storage"]) == ({"max_body_size": "10B"}, {"tsdb": {"retention": {"time": "3d"}}})
    refused = client.request("POST", "/api/v1/query", b"query=1&time=1700000000", {
        "Content-Type": "application/x-www-form-urlencoded"})
    assert refused.status == 413


def test_files_that_change_are_noticed(targets: TargetServer, start_tsdb: StartTsdb, tmp_path: Path) -> None:
    file, more = tmp_path / "prometheus.yml", tmp_path / "more.yml"
    more.write_text(f"scrape_configs:\n{job('stays', [targets.address])}")
    file.write_text(f"{FIRST}scrape_config_files: [more.yml]")
    server = start_tsdb("--config.file", str(file), "--enable-feature=auto-reload-config",
                        "--config.auto-reload-interval=1s")
    wait_until(lambda: up(server.client, "stays") == {targets.address: "1"}, "a scrape")
    more.write_text(f"scrape_configs:\n{job('stays', [targets.address])}{job('comes', [targets.address])}")
    wait_until(lambda: up(server.client, "comes") == {targets.address: "1"}, "a job of a file that was changed")
    assert "Configuration file change detected" in server.tail()


def test_signals_before_it_is_ready_and_while_it_stops(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "tsdb.yml"
    file.write_text(FIRST)
    port = free_port()
    server = start([TSDB, "serve", "--config.file", file, "--listen", f"127.0.0.1:{port}", "--data", tmp_path / "data"],
                   port)
    wait_until(lambda: "msg=starting" in server.tail(), "its first line")
    file.write_text("global: {evaluation_interval: 7s}")
    server.signal(signal.SIGHUP)
    server.wait_ready()
    wait_until(lambda: "Completed loading" in server.tail(), "the reload that was asked for")
    assert "evaluation_interval: 7s" in server.client.data("status/config")["yaml"]
    for _ in range(20):
        server.signal(signal.SIGHUP)
    for _ in range(2):  # to the process and to its group, as `timeout` sends it
        server.signal(signal.SIGTERM)
    for _ in range(20):
        server.signal(signal.SIGHUP)
    wait_until(lambda: not server.running, "its end")
    assert server.stop() == 0
    assert "Traceback" not in server.tail()
