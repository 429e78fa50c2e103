"""What dashboards and alerts of Prometheus ask for and is not served, and why."""

from __future__ import annotations

from collections.abc import Mapping

_RULES, _ALERTS, _REMOTE = "comes with rules", "comes with alerting", "comes with remote_write"
_OLD = "Prometheus has not had it since 2.23"

ABSENT: Mapping[str, str] = {
    "kube_pod_container_info": "not a metric of Prometheus",
    "prometheus_notifications_alertmanagers_discovered": _ALERTS,
    "prometheus_notifications_errors_total": _ALERTS,
    "prometheus_notifications_queue_capacity": _ALERTS,
    "prometheus_notifications_queue_length": _ALERTS,
    "prometheus_notifications_sent_total": _ALERTS,
    "prometheus_remote_storage_dropped_samples_total": _OLD,
    "prometheus_remote_storage_enqueue_retries_total": _REMOTE,
    "prometheus_remote_storage_failed_samples_total": _OLD,
    "prometheus_remote_storage_highest_timestamp_in_seconds": _REMOTE,
    "prometheus_remote_storage_pending_samples": _OLD,
    "prometheus_remote_storage_queue_highest_sent_timestamp_seconds": _REMOTE,
    "prometheus_remote_storage_retried_samples_total": _OLD,
    "prometheus_remote_storage_samples_dropped_total": _REMOTE,
    "prometheus_remote_storage_samples_failed_total": _REMOTE,
    "prometheus_remote_storage_samples_in_total": _REMOTE,
    "prometheus_remote_storage_samples_pending": _REMOTE,
    "prometheus_remote_storage_samples_retried_total": _REMOTE,
    "prometheus_remote_storage_samples_total": _REMOTE,
    "prometheus_remote_storage_shard_capacity": _REMOTE,
    "prometheus_remote_storage_shards": _REMOTE,
    "prometheus_remote_storage_shards_desired": _REMOTE,
    "prometheus_remote_storage_shards_max": _REMOTE,
    "prometheus_remote_storage_shards_min": _REMOTE,
    "prometheus_remote_storage_succeeded_samples_total": _OLD,
    "prometheus_rule_evaluation_failures_total": _RULES,
    "prometheus_rule_group_iterations_missed_total": _RULES,
    "prometheus_rule_group_rules": _RULES,
    "prometheus_tsdb_clean_start": "the lock ends with the process: it does not tell how the last one ended",
    "prometheus_tsdb_compactions_skipped_total": "compaction cannot be turned off",
    "prometheus_tsdb_head_active_appenders": "one thread commits whole requests and scrapes: none is half done",
    "prometheus_tsdb_reloads_failures_total": "blocks are not loaded again",
    "prometheus_tsdb_reloads_total": "blocks are not loaded again",
    "prometheus_tsdb_sample_ooo_delta": "Prometheus 3.5 does not expose it either",
    "prometheus_tsdb_symbol_table_size_bytes": "symbols of blocks are mapped files, not kept in memory",
    "prometheus_wal_watcher_current_segment": _REMOTE,
}
"""By name. A metric that always said 0 of something that does not exist would be a lie, and no alert of the mixin needs
one: `PrometheusNotIngestingSamples` and the like ask for alternatives with ``or``."""
