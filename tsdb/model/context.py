"""Request context: what everything that may take long carries with it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from tsdb.model.errors import LimitExceeded, QueryCanceled, QueryTimeout


@dataclass(slots=True)
class Limits:
    """What one query may use."""

    max_samples: int = 50_000_000
    """Samples in memory at once, as Prometheus' --query.max-samples."""
    max_bytes: int = 4 << 30
    """Bytes of buffers and results."""


@dataclass(slots=True)
class Statistics:
    """What a query used."""

    samples_read: int = 0
    series_selected: int = 0
    tiles_read: int = 0
    peak_bytes: int = 0
    prepare_seconds: float = 0.0
    """Planning, and resolving the selectors."""
    sort_seconds: float = 0.0
    """Sorting the result."""


@dataclass(slots=True)
class RequestContext:
    """Principal, tenant, deadline, limits, cancel flag and statistics of one request. Shared by its threads."""

    deadline: float | None = None
    """`time.monotonic()` seconds; None: no deadline."""
    timeout_s: float = 120.0
    """What `deadline` was made from, for the message."""
    principal: str = ""
    tenant: str = ""
    query_id: str = ""
    threads: int = 1
    """How many threads may evaluate tiles at once."""
    limits: Limits = field(default_factory=Limits)
    statistics: Statistics = field(default_factory=Statistics)
    cancelled: threading.Event = field(default_factory=threading.Event)
    bytes_reserved: int = 0

    @classmethod
    def with_timeout(cls, seconds: float, threads: int = 1) -> RequestContext:
        return cls(deadline=time.monotonic() + seconds, timeout_s=seconds, threads=threads)

    def check(self) -> None:
        """Called between tiles. Raises QueryCanceled or QueryTimeout."""
        if self.cancelled.is_set():
            raise QueryCanceled("query was canceled")
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise QueryTimeout(f"query timed out after {self.timeout_s:g}s: narrow the range or raise the timeout")

    def reserve(self, size: int) -> None:
        """Accounts for a buffer of `size` bytes (negative: given back). Raises LimitExceeded over the budget."""
        self.bytes_reserved += size
        self.statistics.peak_bytes = max(self.statistics.peak_bytes, self.bytes_reserved)
        if self.bytes_reserved > self.limits.max_bytes:
            raise LimitExceeded(
                f"query needs more than {self.limits.max_bytes >> 20} MiB of memory: select fewer series or fewer steps"
            )
