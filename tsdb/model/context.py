"""Request context: what everything that may take long carries with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import LimitExceeded, QueryCanceled, QueryTimeout


@dataclass(slots=True)
class Limits:
    """What one query may use. Messages name the config keys that set them."""

    max_samples: int = 50_000_000
    """Samples in memory at once, as Prometheus' --query.max-samples."""
    max_series: int = 0
    """Series that its selectors find, all together; 0: any number."""
    max_bytes: int = 4 << 30
    """Bytes of buffers and results at once."""


@dataclass(slots=True)
class Statistics:
    """What a query used."""

    samples_read: int = 0
    series_selected: int = 0
    tiles_read: int = 0
    peak_samples: int = 0
    """The most that were held at once."""
    peak_bytes: int = 0
    by_step: NDArray[np.int64] | None = None
    """i64[steps]: samples that each step saw, as Prometheus counts them, one that two steps see twice. None: nobody
    wants to know."""
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
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def with_timeout(cls, seconds: float, threads: int = 1) -> RequestContext:
        return cls(deadline=time.monotonic() + seconds, timeout_s=seconds, threads=threads)

    def check(self) -> None:
        """Called between tiles. Raises QueryCanceled or QueryTimeout."""
        if self.cancelled.is_set():
            raise QueryCanceled("query was canceled in query execution")
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise self.timed_out("query execution")

    def timed_out(self, where: str) -> QueryTimeout:
        """The error of a query whose time is over."""
        return QueryTimeout(f"query timed out in {where}: it took longer than {self.timeout_s:g}s; narrow the range, "
                            "or raise the timeout (parameter timeout, query.timeout)")

    def reserve(self, size: int) -> None:
        """Accounts for a buffer of `size` bytes (negative: given back), before it is made. Raises LimitExceeded over
        the budget; the buffer does not count then."""
        with self._lock:
            reserved = self.bytes_reserved + size
            if size > 0 and reserved > self.limits.max_bytes:
                raise LimitExceeded(
                    f"query needs more than {self.limits.max_bytes / (1 << 20):.4g} MiB of memory (query.max_memory): "
                    "select fewer series, a shorter range or a longer step, or raise the limit"
                )
            self.bytes_reserved = reserved
            self.statistics.peak_bytes = max(self.statistics.peak_bytes, reserved)

    @contextmanager
    def reserved(self, size: int) -> Iterator[None]:
        """`reserve` for as long as its ``with`` lasts."""
        self.reserve(size)
        try:
            yield
        finally:
            self.reserve(-size)

    def count_samples(self, samples: NDArray[np.int64], steps: slice = slice(None)) -> None:
        """Adds samples i64[steps] that these steps of the query saw to `statistics.by_step`; of one step, that all of
        them see."""
        with self._lock:
            if self.statistics.by_step is not None:
                self.statistics.by_step[steps] += samples

    def select(self, series: int) -> None:
        """Counts series that a selector has found, before anything is made for each. Raises LimitExceeded over
        `limits.max_series`."""
        self.statistics.series_selected += series
        most = self.limits.max_series
        if 0 < most < self.statistics.series_selected:
            raise LimitExceeded(f"query selects {self.statistics.series_selected} series, more than {most} "
                                "(query.max_series): narrow its selectors, or raise the limit")
