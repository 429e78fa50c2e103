"""Self-monitoring: what the public dashboards and alerts ask for is there, and the real programs can read it."""

from __future__ import annotations

import math
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Start, StartTsdb
from tests.processes import Process, free_port, wait_until
from tests.server.conftest import Running
from tsdb.model.summary import AGE_S, MOST, Summary
from tsdb.server.metrics import reference
from tsdb.server.metrics.absent import ABSENT

MIXIN = {
    "kube_pod_container_info",
    "process_start_time_seconds",
    "prometheus_build_info",
    "prometheus_config_last_reload_successful",
    "prometheus_engine_queries",
    "prometheus_engine_queries_concurrent_max",
    "prometheus_engine_query_duration_seconds",
    "prometheus_notifications_alertmanagers_discovered",
    "prometheus_notifications_errors_total",
    "prometheus_notifications_queue_capacity",
    "prometheus_notifications_queue_length",
    "prometheus_notifications_sent_total",
    "prometheus_remote_storage_dropped_samples_total",
    "prometheus_remote_storage_enqueue_retries_total",
    "prometheus_remote_storage_failed_samples_total",
    "prometheus_remote_storage_highest_timestamp_in_seconds",
    "prometheus_remote_storage_pending_samples",
    "prometheus_remote_storage_queue_highest_sent_timestamp_seconds",
    "prometheus_remote_storage_retried_samples_total",
    "prometheus_remote_storage_samples_dropped_total",
    "prometheus_remote_storage_samples_failed_total",
    "prometheus_remote_storage_samples_in_total",
    "prometheus_remote_storage_samples_pending",
    "prometheus_remote_storage_samples_retried_total",
    "prometheus_remote_storage_samples_total",
    "prometheus_remote_storage_shard_capacity",
    "prometheus_remote_storage_shards",
    "prometheus_remote_storage_shards_desired",
    "prometheus_remote_storage_shards_max",
    "prometheus_remote_storage_shards_min",
    "prometheus_remote_storage_succeeded_samples_total",
    "prometheus_rule_evaluation_failures_total",
    "prometheus_rule_group_iterations_missed_total",
    "prometheus_rule_group_rules",
    "prometheus_sd_discovered_targets",
    "prometheus_sd_refresh_failures_total",
    "prometheus_target_interval_length_seconds",
    "prometheus_target_metadata_cache_entries",
    "prometheus_target_scrape_pool_exceeded_label_limits_total",
    "prometheus_target_scrape_pool_exceeded_target_limit_total",
    "prometheus_target_scrapes_exceeded_body_size_limit_total",
    "prometheus_target_scrapes_exceeded_sample_limit_total",
    "prometheus_target_scrapes_sample_duplicate_timestamp_total",
    "prometheus_target_scrapes_sample_out_of_bounds_total",
    "prometheus_target_scrapes_sample_out_of_order_total",
    "prometheus_target_sync_failed_total",
    "prometheus_target_sync_length_seconds",
    "prometheus_tsdb_clean_start",
    "prometheus_tsdb_compactions_failed_total",
    "prometheus_tsdb_head_chunks",
    "prometheus_tsdb_head_samples_appended_total",
    "prometheus_tsdb_head_series",
    "prometheus_tsdb_reloads_failures_total",
    "prometheus_tsdb_wal_segment_current",
    "prometheus_wal_watcher_current_segment",
}
"""All metrics in the alerts and dashboards of Prometheus' own mixin (documentation/prometheus-mixin), besides `up`."""

OF_ITS_TSDB = {
    "prometheus_tsdb_checkpoint_deletions_total",
    "prometheus_tsdb_compactions_skipped_total",
    "prometheus_tsdb_head_active_appenders",
    "prometheus_tsdb_head_chunks_removed_total",
    "prometheus_tsdb_mmap_chunk_corruptions_total",
    "prometheus_tsdb_reloads_total",
    "prometheus_tsdb_sample_ooo_delta",
    "prometheus_tsdb_symbol_table_size_bytes",
    "prometheus_tsdb_tombstone_cleanup_seconds",
    "prometheus_tsdb_wal_truncate_duration_seconds",
    "prometheus_tsdb_wal_truncations_failed_total",
    "prometheus_tsdb_wal_truncations_total",
}
"""What dashboards of its storage ask for besides."""

WHEN_IT_HAPPENS = {"prometheus_sd_refresh_failures_total"}
"""No samples until a mechanism of discovery that polls has failed, as there."""

AS_IN_PROMETHEUS = {
    # its own names, which its linter does not like either
    "prometheus_tsdb_head_max_time", "prometheus_tsdb_head_min_time", "prometheus_tsdb_lowest_timestamp",
}
"""Metrics that promtool's linter may complain of, since Prometheus' own are so."""


@pytest.fixture
def itself(start_tsdb: StartTsdb, tmp_path: Path) -> Process:
    """A server that has scraped itself."""
    port = free_port()
    file = tmp_path / "itself.yml"
    (tmp_path / "targets.json").write_text('[{"targets": ["127.0.0.1:1", "127.0.0.1:2"]}]')
    file.write_text(
        "global: {scrape_interval: 300ms}\n"
        f"scrape_configs: [{{job_name: itself, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}},\n"
        "{job_name: files, file_sd_configs: [{files: [targets.json]}]}]\n"
    )
    server = start_tsdb("--config", str(file), port=port)
    wait_until(lambda: bool(server.client.query("scrape_samples_scraped > 50", time.time())), "a scrape of itself")
    server.client.query("sort(up)", time.time())
    return server


def exposed(process: Process) -> str:
    return process.client.get("/metrics").body.decode()


def families(text: str) -> dict[str, str]:
    return {line.split()[2]: line.split()[3] for line in text.splitlines() if line.startswith("# TYPE ")}


def test_what_is_served(itself: Process, peer: Callable[[str], Path]) -> None:
    """All that the mixin uses and exists, what users need of the process, and nothing that promtool complains of."""
    text = exposed(itself)
    shown = families(text)
    asked = MIXIN | OF_ITS_TSDB
    assert asked & set(shown) == asked - set(ABSENT) - WHEN_IT_HAPPENS
    assert set(ABSENT) <= asked and all(ABSENT.values()), "each with its reason"
    assert {name for name, *_ in reference()} >= WHEN_IT_HAPPENS
    documented = {(name, kind) for name, kind, _, _ in reference()}
    assert {each for each in shown.items() if each[0].startswith(("prometheus_", "tsdb_"))} <= documented
    for sample in (
        'prometheus_target_interval_length_seconds{interval="300ms",quantile="0.99"}',
        'prometheus_target_interval_length_seconds_sum{interval="300ms"}',
        'prometheus_target_interval_length_seconds_count{interval="300ms"}',
        'prometheus_target_sync_length_seconds_sum{scrape_job="itself"}',
        'prometheus_target_sync_failed_total{scrape_job="itself"}',
        'prometheus_target_metadata_cache_entries{scrape_job="itself"}',
        'prometheus_target_scrape_pool_targets{scrape_job="itself"} 1.0',
        'prometheus_sd_discovered_targets{config="itself",name="scrape"} 1.0',
        'prometheus_sd_received_updates_total{name="scrape"}',
        'prometheus_sd_discovered_targets{config="files",name="scrape"} 2.0',
        'prometheus_sd_file_mtime_seconds{filename="',
        'prometheus_tsdb_head_samples_appended_total{type="float"}',
        'prometheus_engine_query_duration_seconds{quantile="0.9",slice="inner_eval"}',
        'prometheus_engine_query_duration_seconds_count{slice="queue_time"}',
    ):
        assert f"\n{sample}" in text, sample
    slices = {line.split('slice="')[1].split('"')[0] for line in text.splitlines() if 'slice="' in line}
    assert slices == {"queue_time", "prepare_time", "inner_eval", "result_sort"}


    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_max_fds",
                 "process_start_time_seconds", "python_gc_collections_total", "python_info"):
        assert name in shown
    checked = subprocess.run([peer("promtool"), "check", "metrics"], input=text, capture_output=True, text=True,
                             timeout=60)
    complaints = (checked.stdout + checked.stderr).splitlines()
    assert not [line for line in complaints if line.split()[0] not in AS_IN_PROMETHEUS]


PROTOCOLS = ("OpenMetricsText1.0.0", "OpenMetricsText0.0.1", "PrometheusText0.0.4", "PrometheusText1.0.0")


def test_the_real_prometheus_scrapes_us(itself: Process, start: Start, peer: Callable[[str], Path], tmp_path: Path,
                                        ) -> None:
    """In every format that it asks for."""
    port, file = free_port(), tmp_path / "prometheus.yml"
    found_by = f"static_configs: [{{targets: ['127.0.0.1:{itself.port}']}}]"
    jobs = [f"{{job_name: {name}, scrape_protocols: [{name}], {found_by}}}" for name in PROTOCOLS]
    file.write_text(f"global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\nscrape_configs: [{', '.join(jobs)}]\n")
    prometheus = start([peer("prometheus"), f"--config.file={file}", f"--storage.tsdb.path={tmp_path}/prometheus",
                        f"--web.listen-address=127.0.0.1:{port}"], port).wait_ready()

    def targets() -> dict[str, tuple[str, str]]:
        found = prometheus.client.data("targets")["activeTargets"]
        scraped = [each for each in found if each["health"] != "unknown"]
        return {each["scrapePool"]: (each["health"], each["lastError"]) for each in scraped}

    wait_until(lambda: len(targets()) == len(PROTOCOLS), "scrapes")
    assert targets() == dict.fromkeys(PROTOCOLS, ("up", ""))
    metadata = prometheus.client.data("metadata")
    assert metadata["prometheus_target_interval_length_seconds"][0]["type"] == "summary"
    samples = [line for line in exposed(itself).splitlines() if not line.startswith("#")]
    for seen in prometheus.client.query("scrape_samples_scraped", time.time()):
        assert abs(float(seen["value"][1]) - len(samples)) < 40  # handlers that were called meanwhile


def test_two_servers_in_one_process(running: Running, begin: Callable[[], Running]) -> None:
    other = begin()
    for _ in range(3):
        running.client.get("/-/healthy")
    line = 'prometheus_http_requests_total{code="200",handler="/-/healthy"} 3.0'
    assert line in running.client.get("/metrics").body.decode()
    assert line not in other.client.get("/metrics").body.decode()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_summary_without_observations() -> None:
    found = Summary((0.5, 0.9)).read()
    assert (found.count, found.sum) == (0, 0.0) and all(map(math.isnan, found.quantiles.values()))


@pytest.mark.parametrize("count", [1, 2, 7, 1000, MOST, MOST + 1, 3 * MOST + 5])
def test_quantiles_are_observations_at_their_rank(count: int) -> None:
    draw = random.Random(count)
    values = [draw.random() for _ in range(count)]
    summary = Summary((0.0, 0.01, 0.5, 0.99, 1.0))
    for value in values:
        summary.observe(value)
    found = summary.read()
    assert found.count == count and found.sum == pytest.approx(sum(values), rel=1e-12)
    kept = sorted(values[-MOST:])
    assert found.quantiles == {
        q: kept[max(0, math.ceil(np.float64(q) * len(kept)) - 1)] for q in (0.0, 0.01, 0.5, 0.99, 1.0)
    }


def test_old_observations_leave_the_quantiles_but_not_the_sum() -> None:
    clock = Clock()
    summary = Summary((0.5,), clock)
    summary.observe(100.0)
    clock.now += AGE_S / 2
    summary.observe(1.0)
    clock.now += AGE_S / 2 + 1
    found = summary.read()
    assert (found.count, found.sum, found.quantiles) == (2, 101.0, {0.5: 1.0})
    clock.now += AGE_S
    assert math.isnan(summary.read().quantiles[0.5])
