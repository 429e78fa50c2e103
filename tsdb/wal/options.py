"""What a log is told, and what it tells of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tsdb.model.summary import Summary

Sync = Literal["commit", "interval", "os"]


@dataclass(frozen=True, slots=True)
class WalOptions:
    """How a log behaves."""

    sync: Sync = "interval"
    """When a commit is acknowledged: after fdatasync; after the write, with a timed fdatasync; after the write."""
    sync_interval_s: float = 1.0
    """Between timed syncs in mode "interval"; 0: only when `Wal.sync` is called."""
    segment_bytes: int = 128 << 20
    """A segment that is longer is followed by a new one."""
    compression_level: int = 1
    """zstd's"""
    unsynced_bytes: int = 64 << 20
    """In mode "interval", an append that finds more than this not yet durable syncs first (they are kept in memory)."""


@dataclass(slots=True)
class WalStatistics:
    """Counters since `open`, and gauges."""

    segment: int = 0
    """Number of the newest segment."""
    segments: int = 0
    size_bytes: int = 0
    """All segments."""
    commits: int = 0
    appended_bytes: int = 0
    sync_seconds: Summary = field(default_factory=Summary)
    """How long each sync took, those that failed included."""
    sync_failures: int = 0
    write_failures: int = 0
    checkpoints: int = 0
    checkpoint_failures: int = 0
    checkpoint_bytes: int = 0
    dropped_segments: int = 0
    damaged: int = 0
    """Places found damaged at replay."""
    torn_bytes: int = 0
    """Cut from the end at replay."""
