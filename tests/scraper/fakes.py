"""A clock that is moved by hand, targets without a network, and a storage that can be read: no test waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from yarl import URL

from scraper.config import GlobalConfig, ScrapeConfig, StaticConfig
from scraper.scraper import Scraper
from tsdb.ingest.exposition.scrape_series import KERNELS
from tsdb.kernels.hash_kernels import new_secret
from tsdb.model.batch import DUPLICATE, OUT_OF_ORDER, STALE_NAN, Appended, Batch, KnownRows
from tsdb.model.errors import ForgottenSeries
from tsdb.model.labels import canonical_key, labels_of_key
from tsdb.model.settings import Duration

STALE = "stale"
START = 1_700_000_000_000
"""Unix ms: a multiple of all intervals in the tests."""
TEXT = "text/plain; version=0.0.4"

Value = float | str
Samples = list[tuple[int, Value]]
"""(ms after START, value or `STALE`)"""


async def settle() -> None:
    """Everybody who can go on does so until he waits for the clock."""
    for _ in range(30):
        await asyncio.sleep(0)


class HandClock:
    """Begins a second before START."""

    def __init__(self) -> None:
        self.ms = START - 1000
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []

    def now(self) -> int:
        return self.ms

    def elapsed(self) -> float:
        return self.ms / 1000

    async def sleep_until(self, ms: int) -> None:
        if ms <= self.ms:
            await asyncio.sleep(0)
            return
        sleeper = ms, asyncio.get_running_loop().create_future()
        self._sleepers.append(sleeper)
        try:
            await sleeper[1]
        finally:
            self._sleepers.remove(sleeper)

    async def run_until(self, ms: int) -> None:
        """To `ms` after START, with all that happens on the way."""
        await settle()
        while due := [sleeper for sleeper in self._sleepers if sleeper[0] <= START + ms]:
            at, future = min(due, key=lambda sleeper: sleeper[0])
            self.ms = max(self.ms, at)
            future.set_result(None)
            await settle()
        self.ms = START + ms


class Storage:
    """Judges samples as the appender does, and keeps what it accepts."""

    def __init__(self) -> None:
        self.secret = new_secret()
        self.error: Exception | None = None
        self.batches: list[Batch] = []
        self.codes: list[np.ndarray[Any, np.dtype[np.uint8]]] = []
        self._slots: dict[bytes, int] = {}
        self._samples: list[list[tuple[int, int]]] = []
        self._refs: list[int] = []

    async def append(self, batch: Batch) -> Appended:
        await asyncio.sleep(0)
        self.batches.append(batch)
        if self.error is not None:
            raise self.error
        slots = []
        if batch.known is not None:
            for slot, ref in zip(batch.known.slot.tolist(), batch.known.ref.tolist(), strict=True):
                if self._refs[slot] != ref:
                    raise ForgottenSeries("a series has left the head")
                slots.append(slot)
        known = len(slots)
        for offset, length in zip(batch.row_offset.tolist(), batch.row_length.tolist(), strict=True):
            slots.append(self._slot(batch.keys[offset : offset + length].tobytes()))
        codes = np.zeros(batch.samples, np.uint8)
        for number, (row, ts, bits) in enumerate(
            zip(batch.sample_row.tolist(), batch.ts.tolist(), batch.values.tolist(), strict=True)
        ):
            samples = self._samples[slots[row]]
            if samples and ts < samples[-1][0]:
                codes[number] = OUT_OF_ORDER
            elif samples and ts == samples[-1][0]:
                codes[number] = 0 if bits == samples[-1][1] else DUPLICATE
            else:
                samples.append((ts, bits))
        self.codes.append(codes)
        new = np.array(slots[known:], np.int32)
        refs = np.array([self._refs[slot] for slot in slots[known:]], np.uint64)
        return Appended(int((codes == 0).sum()), codes, None if batch.known is None else KnownRows(new, refs))

    def forget(self) -> None:
        """All series leave the head; their samples stay readable."""
        self._refs = [ref + 1_000_000 for ref in self._refs]

    def samples(self, name: str, **labels: str) -> Samples:
        """Of the series, whose target labels may be left out: {job="j", instance="t"}."""
        key = canonical_key({"job": "j", "instance": "t", "__name__": name, **labels})
        slot = self._slots.get(key)
        if slot is None:
            return []
        return [(ts - START, STALE if bits == STALE_NAN else float(np.uint64(bits).view(np.float64)))
                for ts, bits in self._samples[slot]]

    def values(self, name: str, **labels: str) -> list[Value]:
        return [value for _, value in self.samples(name, **labels)]

    @property
    def series(self) -> list[dict[str, str]]:
        return [labels_of_key(key) for key in self._slots]

    def _slot(self, key: bytes) -> int:
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = len(self._samples)
            self._samples.append([])
            self._refs.append(slot + 1)
        return slot


Made = str | bytes | Exception
Body = Made | Callable[[], Awaitable[Made]]


@dataclass
class Targets:
    """What is answered, by URL."""

    bodies: dict[str, Body] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    requests: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    """URL and headers of each."""
    closed: int = 0

    def plain_headers(self, url: URL, given: Mapping[str, str]) -> None:
        """All goes through `request`."""

    def request(self, method: str, url: URL, *, headers: Mapping[str, str] | None = None, data: bytes | None = None
                ) -> _Answering:
        self.requests.append((str(url), headers or {}))
        return _Answering(self, str(url))

    async def close(self) -> None:
        self.closed += 1


class _Answering:
    def __init__(self, targets: Targets, url: str) -> None:
        self._targets = targets
        self._body = targets.bodies.get(url, "")
        self.status = targets.statuses.get(url, 200)
        self.reason = {200: "OK", 500: "Internal Server Error"}[self.status]
        self.headers = {"Content-Type": TEXT}
        self.content = self
        self._parts: list[bytes] = []

    async def __aenter__(self) -> _Answering:
        body = await self._body() if callable(self._body) else self._body
        if isinstance(body, Exception):
            raise body
        self._parts = [body.encode() if isinstance(body, str) else body]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None,
                        ) -> None:
        pass

    async def readany(self) -> bytes:
        return self._parts.pop() if self._parts else b""


class Bench:
    """A scraper with hand-made time, targets and storage."""

    def __init__(self, executor: ThreadPoolExecutor, features: frozenset[str] = frozenset()) -> None:
        self.clock = HandClock()
        self.storage = Storage()
        self.targets = Targets()
        self.scraper = Scraper(self.storage.append, self.storage.secret, executor, user_agent="tsdb/test",
                               features=features, clock=self.clock)

    async def apply(self, *jobs: ScrapeConfig, base: GlobalConfig | None = None, starting: bool = False) -> None:
        prepared = self.scraper.prepare(base or GlobalConfig(), jobs, Path(), starting=starting)
        for job in prepared.jobs.values():
            if job is not None:
                job.client = self.targets  # type: ignore[assignment]
        await self.scraper.apply(prepared)
        await settle()

    @property
    def urls(self) -> list[str]:
        """Of the active targets, sorted."""
        return sorted(target.url for pool in self.scraper.pools() for target in pool.active)


def job(*addresses: str, labels: Mapping[str, str] | None = None, interval: int = 10_000, **keys: Any) -> ScrapeConfig:
    """Job ``j``; its targets all are instance ``t`` unless `labels` say otherwise."""
    named = {"instance": "t"} if labels is None else dict(labels)
    keys.setdefault("static_configs", (StaticConfig(targets=addresses, labels=named),))
    return ScrapeConfig(**{"job_name": "j", "scrape_interval": Duration(interval), "scrape_timeout": Duration(interval),
                           **keys})


@contextmanager
def bench(**options: Any) -> Iterator[Bench]:
    for kernel in KERNELS:
        kernel.load()  # scrapes would wait for them, by a clock that nobody moves
    with ThreadPoolExecutor(1) as executor:
        yield Bench(executor, **options)
