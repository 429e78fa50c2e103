"""How a storage behaves."""

from __future__ import annotations

from dataclasses import dataclass, field

from tsdb.storage.head.limits import SeriesLimits
from tsdb.storage.tiers.rule import TierRule
from tsdb.storage.upkeep.retention import RetentionRule
from tsdb.wal import Sync


@dataclass(frozen=True, slots=True)
class StorageOptions:
    """How a storage behaves."""

    wal_sync: Sync = "interval"
    """When a commit is acknowledged: after fdatasync; after the write, with a timed fdatasync; after the write."""
    queue_samples: int = 2_000_000
    """Samples that may wait for the appender before batches are refused."""
    late_window_ms: int = 0
    """How much older than the newest sample of all those may be that come out of order; 0: none are taken."""
    retention_ms: int = 0
    """How long samples are kept, in whole windows; 0: for ever."""
    retention_bytes: int = 0
    """How much blocks, windows and log may take on disk together; 0: no limit."""
    retention_percentage: float = 0.0
    """The same as a part of the disk; holds instead of `retention_bytes` where it is not 0."""
    retention_rules: tuple[RetentionRule, ...] = ()
    """Series that are kept longer, or not so long. The first one that a series satisfies holds for it."""
    tiers: tuple[TierRule, ...] = ()
    """Downsampling tiers that are kept. Others that there are, are read, and kept for the retention that they had."""
    series_limits: SeriesLimits = field(default_factory=SeriesLimits)
    """Of new series."""
    max_exemplars: int = 100_000
    """How many are kept, of all series together; 0: none."""
