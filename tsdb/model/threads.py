"""Threads: their priorities, and work in one of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)


def lower_priority(nice: int) -> None:
    """Lets other threads go before the calling one, where the system knows priorities of threads (Linux).

    A thread whose priority is as low already, as in a process begun with `nice`, keeps it: raising it is forbidden to
    most users."""
    if sys.platform == "linux" and os.getpriority(os.PRIO_PROCESS, thread := threading.get_native_id()) < nice:
        os.setpriority(os.PRIO_PROCESS, thread, nice)


async def in_thread(name: str, work: Callable[[], T]) -> T:
    """Runs `work` in a daemon thread of its own: if the process has to end before it is done, it ends."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, problem: BaseException | None) -> None:
        if done.cancelled():
            return
        if problem is not None:
            done.set_exception(problem)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, problem = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - raised by who awaits
            problem = error
        try:
            loop.call_soon_threadsafe(settle, result, problem)
        except RuntimeError:
            log.debug("%s ended after the loop", name)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await done
