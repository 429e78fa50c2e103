"""Batches to the storage's thread and verdicts back: none is lost, the loop is woken once for many."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

import numpy as np
import pytest
import uvloop

from scraper.submission import Submission
from tsdb.model.batch import Appended, Batch
from tsdb.model.errors import Unavailable

NONE = np.empty(0, np.uint8)
BATCH = Batch(NONE, NONE.view(np.uint64), NONE.view(np.uint32), NONE.view(np.uint32), NONE.view(np.uint32),
              NONE.view(np.int64), NONE.view(np.uint64))


class Storage:
    """Commits when it is told to, in a thread of its own."""

    def __init__(self) -> None:
        self.waiting: list[Future[Appended]] = []

    def submit(self, batch: Batch) -> Future[Appended]:
        self.waiting.append(Future())
        return self.waiting[-1]

    def commit(self, error: Exception | None = None) -> None:
        def work() -> None:
            for number, future in enumerate(self.waiting):
                if error is not None:
                    future.set_exception(error)
                else:
                    future.set_result(Appended(number, NONE))
            self.waiting = []

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()


def test_all_verdicts_of_a_commit_with_one_wake(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        storage = Storage()
        submission = Submission(storage.submit)
        wakes = []
        settle = submission._settle

        def counted() -> None:
            wakes.append(1)
            settle()

        monkeypatch.setattr(submission, "_settle", counted)
        for _ in range(3):
            tasks = [asyncio.create_task(submission(BATCH)) for _ in range(50)]
            await asyncio.sleep(0)
            storage.commit()
            assert [(await task).accepted for task in tasks] == list(range(50))
        assert len(wakes) == 3

    uvloop.run(go())


def test_errors_and_those_who_gave_up() -> None:
    async def go() -> None:
        storage = Storage()
        submission = Submission(storage.submit)
        tasks = [asyncio.create_task(submission(BATCH)) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        storage.commit(Unavailable("disk is full"))
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in done] == [Unavailable, asyncio.CancelledError, Unavailable]

    uvloop.run(go())


def test_a_verdict_after_the_loop() -> None:
    storage = Storage()

    async def go() -> None:
        task = asyncio.create_task(Submission(storage.submit)(BATCH))
        await asyncio.sleep(0)
        task.cancel()

    uvloop.run(go())
    storage.commit()
