"""Time as the scrape loops see it; tests have one that they move by hand."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    def now(self) -> int:
        """Unix ms."""

    def elapsed(self) -> float:
        """Seconds since some moment; never goes back."""

    async def sleep_until(self, ms: int) -> None:
        """Returns about when it is `ms` (Unix ms)."""


class SystemClock:
    def now(self) -> int:
        return (time.time_ns() + 500_000) // 1_000_000

    def elapsed(self) -> float:
        return time.perf_counter()

    async def sleep_until(self, ms: int) -> None:
        await asyncio.sleep((ms * 1_000_000 - time.time_ns()) / 1e9)
