"""A cold start: scrapes wait for their kernels, and nobody waits for the scrapes."""

from __future__ import annotations

import asyncio
import threading

import pytest

from scraper import scraper
from scraper.target import Target
from tests.scraper.fakes import bench, job, settle


class CompilingKernel:
    """One that is not there until `done` is set."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.asked = threading.Event()
        self.loaded = False

    def load(self) -> None:
        self.asked.set()
        assert self.done.wait(30)
        self.loaded = True


def test_scrapes_begin_once_their_kernels_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = CompilingKernel()
    monkeypatch.setattr(scraper, "KERNELS", (kernel,))
    monkeypatch.setattr(Target, "offset_ms", lambda self, seed: 0)

    async def go() -> None:
        with bench() as b:
            b.targets.bodies["http://a/metrics"] = "x 1\n"
            await b.apply(job("a"))
            await asyncio.to_thread(kernel.asked.wait, 30)
            await b.clock.run_until(20_000)  # the event loop is free meanwhile
            assert b.storage.series == []
            assert b.scraper.pools()[0].active[0].health == "unknown"
            kernel.done.set()
            while not b.scraper.pools()[0].active[0].last_scrape_ms:
                await asyncio.sleep(0.01)
                await b.clock.run_until(40_000)
            await settle()
            assert {"up", "x"} <= {labels["__name__"] for labels in b.storage.series}
            await b.scraper.stop()

    asyncio.run(asyncio.wait_for(go(), 60))
