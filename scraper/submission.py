"""The way of batches from the event loop to the storage's thread, and of its verdicts back."""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from tsdb.model.batch import Appended, Batch

Submit = Callable[[Batch], "Future[Appended]"]
"""Queues a batch. Raises Unavailable."""


class Submission:
    """Callable as `scraper.loop.Append`, on the event loop on which it was made. However many batches a commit ends,
    the loop is woken once."""

    def __init__(self, submit: Submit) -> None:
        self._submit = submit
        self._loop = asyncio.get_running_loop()
        self._ended: deque[tuple[asyncio.Future[Appended], Future[Appended]]] = deque()
        self._woken = False

    async def __call__(self, batch: Batch) -> Appended:
        waiter: asyncio.Future[Appended] = self._loop.create_future()
        self._submit(batch).add_done_callback(functools.partial(self._end, waiter))
        return await waiter

    def _end(self, waiter: asyncio.Future[Appended], future: Future[Appended]) -> None:
        """In the storage's thread."""
        self._ended.append((waiter, future))
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._settle)
            except RuntimeError:
                self._ended.clear()  # the loop is closed: nobody waits

    def _settle(self) -> None:
        self._woken = False
        while self._ended:
            waiter, future = self._ended.popleft()
            if waiter.done():
                continue
            problem = future.exception()
            if problem is None:
                waiter.set_result(future.result())
            else:
                waiter.set_exception(problem)
