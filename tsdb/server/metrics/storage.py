"""Metrics of storage."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tsdb.model.batch import OUT_OF_ORDER, REASONS, TOO_LATE, TOO_OLD
from tsdb.server.metrics.table import Row, Value

if TYPE_CHECKING:
    from tsdb.storage import StorageStatistics
    from tsdb.storage.tiers.upkeep import TierStatistics

_FLOAT, _HISTOGRAM = ("float",), ("histogram",)
"""Types of samples."""
_LIMIT = ("limit", "label")
_TIER = ("tier",)


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000


def _by_type(samples: Callable[[StorageStatistics], int], histograms: Callable[[StorageStatistics], int],
             ) -> Callable[[StorageStatistics], dict[tuple[str, ...], Value]]:
    """`histograms`: those among the samples."""
    return lambda s: {_FLOAT: samples(s) - histograms(s), _HISTOGRAM: histograms(s)}


def _rejected(code: int) -> Callable[[StorageStatistics], dict[tuple[str, ...], Value]]:
    reason = REASONS[code]
    return _by_type(lambda s: s.rejected[reason], lambda s: int(s.histograms.rejected[code]))


def _by_tier(what: Callable[[TierStatistics], Value]) -> Callable[[StorageStatistics], dict[tuple[str, ...], Value]]:
    return lambda s: {(tier.name,): what(tier) for tier in s.tiers}


STORAGE: tuple[Row[StorageStatistics], ...] = (
    Row("prometheus_tsdb_head_series", "gauge", "Series in the head.", lambda s: s.series),
    Row("prometheus_tsdb_head_series_created_total", "counter", "Series made, those of the log's replay included.",
        lambda s: s.series_made),
    Row("prometheus_tsdb_head_series_removed_total", "counter",
        "Series that left the head, all their samples being in blocks.", lambda s: s.series_removed),
    Row("tsdb_series_limit", "gauge", "Limits on series of `storage.limits`.",
        lambda s: {(each.limit, each.label): each.most for each in s.limits if each.most}, _LIMIT),
    Row("tsdb_series_limit_used", "gauge",
        "How much of such a limit is used: series that there are, those of the largest metric or job, values of the "
        "label that has the most.",
        lambda s: {(each.limit, each.label): each.used for each in s.limits if each.most}, _LIMIT),
    Row("tsdb_series_limit_refused_samples_total", "counter",
        "Samples refused since their series would have been over such a limit.",
        lambda s: {(each.limit, each.label): each.refused for each in s.limits}, _LIMIT),
    Row("prometheus_tsdb_head_gc_duration_seconds", "summary", "How long it took to take such series out.",
        lambda s: s.collections),
    Row("prometheus_tsdb_head_chunks", "gauge", "Chunks, open and sealed.", lambda s: s.chunks),
    Row("prometheus_tsdb_head_chunks_created_total", "counter",
        "Chunks begun, those of the log's replay included.", lambda s: s.chunks_opened),
    Row("prometheus_tsdb_head_chunks_removed_total", "counter", "Sealed chunks that left the head.",
        lambda s: s.chunks_removed),
    Row("prometheus_tsdb_mmap_chunk_corruptions_total", "counter", "Files of sealed chunks that were found damaged.",
        lambda s: s.windows_damaged),
    Row("prometheus_tsdb_head_chunks_storage_size_bytes", "gauge", "Bytes of the files of sealed chunks.",
        lambda s: s.chunks_bytes),
    Row("prometheus_tsdb_head_samples_appended_total", "counter", "Samples appended.",
        _by_type(lambda s: s.samples_appended, lambda s: s.histograms.samples), ("type",)),
    Row("prometheus_tsdb_out_of_order_samples_total", "counter", "Samples rejected as out of order.",
        _rejected(OUT_OF_ORDER), ("type",)),
    Row("prometheus_tsdb_out_of_bound_samples_total", "counter", "Samples rejected as out of bounds.",
        _rejected(TOO_OLD), ("type",)),
    Row("prometheus_tsdb_too_old_samples_total", "counter",
        "Samples rejected as older than the window for samples out of order.",
        _rejected(TOO_LATE), ("type",)),
    Row("prometheus_tsdb_head_out_of_order_samples_appended_total", "counter",
        "Samples out of order that were appended.",
        _by_type(lambda s: s.late_appended, lambda s: s.histograms.late), ("type",)),
    Row("tsdb_late_samples", "gauge", "Samples out of order, or older than the head, that are not in blocks yet.",
        lambda s: s.late_stored),
    Row("prometheus_tsdb_exemplar_exemplars_in_storage", "gauge", "Exemplars that are kept now.",
        lambda s: s.exemplars.stored),
    Row("prometheus_tsdb_exemplar_series_with_exemplars_in_storage", "gauge", "Series that have some.",
        lambda s: s.exemplars.series),
    Row("prometheus_tsdb_exemplar_last_exemplars_timestamp_seconds", "gauge",
        "Time of the exemplar that goes next, usually the oldest.", lambda s: (s.exemplars.oldest_ts or 0) / 1000),
    Row("prometheus_tsdb_exemplar_max_exemplars", "gauge", "How many exemplars may be kept.",
        lambda s: s.exemplars.most),
    Row("prometheus_tsdb_exemplar_exemplars_appended_total", "counter", "Exemplars taken.",
        lambda s: s.exemplars.appended),
    Row("prometheus_tsdb_exemplar_out_of_order_exemplars_total", "counter",
        "Exemplars refused as older than the newest one of their series.", lambda s: s.exemplars.out_of_order),
    Row("prometheus_tsdb_head_min_time", "gauge", "Oldest time in the head, ms.", lambda s: s.min_ts),
    Row("prometheus_tsdb_head_min_time_seconds", "gauge", "Oldest time in the head.", lambda s: _seconds(s.min_ts)),
    Row("prometheus_tsdb_head_max_time", "gauge", "Newest time in the head, ms.", lambda s: s.max_ts),
    Row("prometheus_tsdb_head_max_time_seconds", "gauge", "Newest time in the head.", lambda s: _seconds(s.max_ts)),
    Row("prometheus_tsdb_lowest_timestamp", "gauge", "Oldest time in the database, ms.", lambda s: s.lowest_ts),
    Row("prometheus_tsdb_lowest_timestamp_seconds", "gauge", "Oldest time in the database.",
        lambda s: _seconds(s.lowest_ts)),
    Row("prometheus_tsdb_head_truncations_total", "counter",
        "Times that two-hour windows left the head: sealed, synced, and cut into blocks.",
        lambda s: s.upkeep.truncations),
    Row("prometheus_tsdb_head_truncations_failed_total", "counter",
        "Times that this failed, and was tried again.", lambda s: s.upkeep.truncations_failed),
    Row("prometheus_tsdb_wal_segment_current", "gauge", "Number of the WAL segment being written.",
        lambda s: s.wal.segment),
    Row("prometheus_tsdb_wal_storage_size_bytes", "gauge", "Size of the WAL.", lambda s: s.wal.size_bytes),
    Row("prometheus_tsdb_wal_writes_failed_total", "counter", "Failed writes to the WAL.",
        lambda s: s.wal.write_failures),
    Row("prometheus_tsdb_wal_corruptions_total", "counter", "Damaged places found in the WAL.",
        lambda s: s.wal.damaged),
    Row("prometheus_tsdb_data_replay_duration_seconds", "gauge",
        "How long it took at the start to load the head that a clean stop had saved, or to replay the log.",
        lambda s: s.opening.seconds if s.opening is not None else None),
    Row("tsdb_data_replay_samples", "gauge", "Samples that the start replayed from the log: none after a clean stop.",
        lambda s: s.opening.samples if s.opening is not None else None),
    Row("prometheus_tsdb_wal_fsync_duration_seconds", "summary", "How long syncs of the WAL to disk took.",
        lambda s: s.wal.sync_seconds.read()),
    Row("prometheus_tsdb_checkpoint_creations_total", "counter", "Checkpoints written.", lambda s: s.wal.checkpoints),
    Row("prometheus_tsdb_checkpoint_creations_failed_total", "counter", "Checkpoints that failed.",
        lambda s: s.wal.checkpoint_failures),
    Row("prometheus_tsdb_checkpoint_deletions_total", "counter",
        "Times that earlier checkpoints were to go: whenever the WAL was truncated.",
        lambda s: s.upkeep.log_truncations),
    Row("prometheus_tsdb_wal_truncations_total", "counter", "Times that the WAL was to be truncated.",
        lambda s: s.upkeep.log_truncations),
    Row("prometheus_tsdb_wal_truncations_failed_total", "counter", "Times that this failed.",
        lambda s: s.upkeep.log_truncations_failed),
    Row("prometheus_tsdb_wal_truncate_duration_seconds", "summary",
        "How long it took to truncate the WAL, its checkpoint included.", lambda s: s.upkeep.log_truncation_seconds),
    Row("prometheus_tsdb_tombstone_cleanup_seconds", "histogram",
        "How long it took to clean all blocks of what was deleted, when it was asked for.",
        lambda s: s.upkeep.cleaning_seconds),
    Row("prometheus_tsdb_compactions_total", "counter",
        "Blocks made: of two hours of the head, of samples out of order, of other blocks.",
        lambda s: s.upkeep.blocks_made),
    Row("prometheus_tsdb_compactions_triggered_total", "counter", "Times that blocks were to be compacted.",
        lambda s: s.upkeep.compactions_triggered),
    Row("prometheus_tsdb_compactions_failed_total", "counter", "Times that this failed; the blocks stay as they are.",
        lambda s: s.upkeep.compactions_failed),
    Row("prometheus_tsdb_vertical_compactions_total", "counter", "Compactions of blocks that overlapped.",
        lambda s: s.upkeep.vertical_compactions),
    Row("prometheus_tsdb_compaction_duration_seconds", "histogram", "How long compactions took.",
        lambda s: s.upkeep.compaction_seconds),
    Row("prometheus_tsdb_compaction_populating_block", "gauge", "1 while blocks are compacted, else 0.",
        lambda s: s.upkeep.compacting),
    Row("prometheus_tsdb_compaction_chunk_size_bytes", "histogram", "Sizes of chunks when they are cut into a block.",
        lambda s: s.upkeep.chunk_bytes),
    Row("prometheus_tsdb_compaction_chunk_samples", "histogram", "Samples of chunks when they are cut into a block.",
        lambda s: s.upkeep.chunk_samples),
    Row("prometheus_tsdb_compaction_chunk_range_seconds", "histogram",
        "Times that chunks span when they are cut into a block, in ms, as Prometheus observes them.",
        lambda s: s.upkeep.chunk_ms),
    Row("prometheus_tsdb_blocks_loaded", "gauge", "Blocks that there are.", lambda s: s.upkeep.blocks),
    Row("prometheus_tsdb_storage_blocks_bytes", "gauge", "Bytes of all blocks.", lambda s: s.upkeep.blocks_bytes),
    Row("prometheus_tsdb_retention_limit_bytes", "gauge", "How much may be kept; 0: no limit.",
        lambda s: s.retention.limit_bytes),
    Row("prometheus_tsdb_retention_limit_seconds", "gauge", "How long samples are kept; 0: for ever.",
        lambda s: s.retention.limit_ms / 1000),
    Row("prometheus_tsdb_time_retentions_total", "counter", "Times that blocks were dropped for their age.",
        lambda s: s.retention.time_retentions),
    Row("prometheus_tsdb_size_retentions_total", "counter", "Times that blocks were dropped for their size.",
        lambda s: s.retention.size_retentions),
    Row("tsdb_wal_sync_failures_total", "counter", "Syncs of the WAL that failed.", lambda s: s.wal.sync_failures),
    Row("tsdb_wal_appended_bytes_total", "counter", "Bytes appended to the WAL.", lambda s: s.wal.appended_bytes),
    Row("tsdb_commits_total", "counter", "Group commits.", lambda s: s.commits),
    Row("tsdb_commits_failed_total", "counter", "Group commits that failed.", lambda s: s.failed_commits),
    Row("tsdb_symbols", "gauge", "Distinct label names and values.", lambda s: s.symbols),
    Row("tsdb_label_pairs", "gauge", "Distinct pairs of label name and value.", lambda s: s.label_pairs),
    Row("tsdb_damaged_files_total", "counter",
        "Files and blocks found damaged since the start: set aside in the folder damaged, or left out in part.",
        lambda s: s.damaged),
    Row("tsdb_damaged_files", "gauge",
        "These, and what the folder damaged has from before: samples may be missing until it is cleared.",
        lambda s: s.damaged_known),
    Row("tsdb_mended_files_total", "counter",
        "Damaged files that are as they were again, because what was damaged follows from the rest of them.",
        lambda s: s.mended),
    Row("tsdb_chunk_windows", "gauge", "Two-hour files of sealed chunks.", lambda s: s.windows),
    Row("tsdb_chunk_windows_dropped_total", "counter", "Two-hour files that were over the retention.",
        lambda s: s.dropped_windows),
    Row("tsdb_uploads", "gauge", "Blocks that are being uploaded, or looked at.", lambda s: s.uploads.under_way),
    Row("tsdb_uploads_bytes", "gauge", "Bytes of these so far.", lambda s: s.uploads.staged_bytes),
    Row("tsdb_uploaded_blocks_total", "counter", "Blocks that were uploaded and taken.", lambda s: s.uploads.blocks),
    Row("tsdb_uploaded_bytes_total", "counter", "Bytes of files of blocks that were received.",
        lambda s: s.uploads.bytes),
    Row("tsdb_upload_failures_total", "counter", "Blocks that were uploaded and were not in order.",
        lambda s: s.uploads.failed),
    Row("tsdb_downsampling_blocks", "gauge", "Blocks of a downsampling tier.",
        _by_tier(lambda tier: tier.blocks), _TIER),
    Row("tsdb_downsampling_blocks_bytes", "gauge", "Bytes of these.",
        _by_tier(lambda tier: tier.bytes), _TIER),
    Row("tsdb_downsampling_lag_seconds", "gauge",
        "How much later samples are in blocks than the windows of a tier: two days at the most, as a rule.",
        _by_tier(lambda tier: tier.lag_ms / 1000), _TIER),
    Row("tsdb_downsampling_built_spans_total", "counter", "Spans of a day or more whose windows were built.",
        _by_tier(lambda tier: tier.built), _TIER),
    Row("tsdb_downsampling_rebuilt_spans_total", "counter",
        "Those that were built anew, for late samples or deletes.",
        _by_tier(lambda tier: tier.built_anew), _TIER),
    Row("tsdb_downsampling_built_values_total", "counter", "Values of fields of windows that were built.",
        _by_tier(lambda tier: tier.values), _TIER),
    Row("tsdb_downsampling_build_seconds_total", "counter", "How long building took.",
        _by_tier(lambda tier: tier.seconds), _TIER),
    Row("tsdb_downsampling_failures_total", "counter", "Times that a span could not be built.",
        _by_tier(lambda tier: tier.failed), _TIER),
    Row("tsdb_downsampling_compactions_total", "counter", "Times that blocks of a tier became one.",
        _by_tier(lambda tier: tier.merged), _TIER),
)
