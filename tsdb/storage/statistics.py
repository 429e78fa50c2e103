"""What a storage tells of itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from tsdb.model.summary import Summarized
from tsdb.storage.appender import HistogramCounters
from tsdb.storage.exemplars.circular import ExemplarStatistics
from tsdb.storage.head.limits import LimitState
from tsdb.storage.restart.opening import Opened
from tsdb.storage.tiers.upkeep import TierStatistics
from tsdb.storage.upkeep.expiry import RetentionStatistics
from tsdb.storage.upkeep.statistics import UpkeepStatistics
from tsdb.storage.uploads import UploadStatistics
from tsdb.wal import WalStatistics


@dataclass(slots=True)
class StorageStatistics:
    """Gauges, and counters since the start."""

    series: int
    series_made: int
    """Since the start, those of the log's replay included."""
    series_removed: int
    """Since the start."""
    collections: Summarized
    """How long they took, s."""
    symbols: int
    label_pairs: int
    windows: int
    chunks: int
    """Open and sealed ones."""
    chunks_opened: int
    """Since the start, those of the log's replay included."""
    chunks_removed: int
    """Since the start."""
    chunks_bytes: int
    """Of the sealed ones, and of histograms."""
    dropped_windows: int
    """Over the retention."""
    min_ts: int | None
    """Oldest sample of the head, about, ms; None: no sample."""
    max_ts: int | None
    """Newest one, ms."""
    lowest_ts: int | None
    """Oldest sample of all, about, ms."""
    samples: int
    """Samples applied since the start, those of the log's replay included."""
    samples_appended: int
    commits: int
    failed_commits: int
    rejected: dict[str, int]
    """By reason, `tsdb.model.batch.REASONS`."""
    wal: WalStatistics = field(repr=False)
    upkeep: UpkeepStatistics = field(repr=False)
    late_appended: int = 0
    """Late samples among `samples_appended`."""
    histograms: HistogramCounters = field(default_factory=HistogramCounters)
    late_stored: int = 0
    """Late samples that are not in blocks yet."""
    opening: Opened | None = None
    """How the head came back."""
    retention: RetentionStatistics = field(default_factory=RetentionStatistics)
    windows_damaged: int = 0
    """Of what was found damaged since the start: files of sealed chunks."""
    damaged: int = 0
    """Files and folders found damaged since the start."""
    damaged_known: int = 0
    """These, and what the folder `damaged` has from before."""
    mended: int = 0
    """Files that were damaged and are as they were again, since the start."""
    tiers: list[TierStatistics] = field(default_factory=list)
    limits: list[LimitState] = field(default_factory=list)
    exemplars: ExemplarStatistics = field(default_factory=ExemplarStatistics)
    uploads: UploadStatistics = field(default_factory=UploadStatistics)
