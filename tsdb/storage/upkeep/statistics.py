"""What the upkeep has done, and what blocks there are: for metrics."""

from __future__ import annotations

from dataclasses import dataclass, field

from tsdb.model.histogram import Histogram
from tsdb.model.summary import Summarized


def chunk_bytes() -> Histogram:
    """Buckets of all three are those of Prometheus."""
    return Histogram.exponential(32, 1.5, 12)


def chunk_samples() -> Histogram:
    return Histogram.exponential(4, 1.5, 12)


def chunk_ms() -> Histogram:
    return Histogram.exponential(100, 4, 10)


@dataclass(slots=True)
class UpkeepStatistics:
    """Counters are since the start."""

    blocks: int = 0
    blocks_bytes: int = 0
    blocks_made: int = 0
    """From windows, from late samples, and from other blocks."""
    truncations: int = 0
    """Times that windows which were over left the head."""
    truncations_failed: int = 0
    """Times that this failed; it was tried again."""
    log_truncations: int = 0
    """Times that a checkpoint was to take the place of the beginning of the log, and of earlier checkpoints."""
    log_truncations_failed: int = 0
    log_truncation_seconds: Summarized = field(default_factory=lambda: Summarized(0, 0.0, {}))
    cleaning_seconds: Histogram = field(default_factory=lambda: Histogram((), [0]))
    """How long it took to clean all blocks, each time that it was asked for."""
    compactions_triggered: int = 0
    compactions_failed: int = 0
    vertical_compactions: int = 0
    """Of blocks that overlapped."""
    compaction_seconds: Histogram = field(default_factory=lambda: Histogram.exponential(1, 2, 14))
    """How long making each block took."""
    compacting: bool = False
    """Now."""
    chunk_bytes: Histogram = field(default_factory=chunk_bytes)
    """Of chunks that were cut from the head."""
    chunk_samples: Histogram = field(default_factory=chunk_samples)
    chunk_ms: Histogram = field(default_factory=chunk_ms)
    """From the first to the last sample."""
