"""Reading ahead: one thread makes what another one takes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterator[T], most: int) -> Generator[T, None, None]:
    """The items in their order, made by a thread of its own, at most `most` ahead. What making one raises is raised
    here in its place. Whoever stops early closes the iterator: then the thread has ended, too."""
    made: queue.Queue[T | None] = queue.Queue(most)
    stopped = threading.Event()
    problems: list[BaseException] = []

    def make() -> None:
        try:
            for item in items:
                made.put(item)
                if stopped.is_set():
                    return
        except BaseException as problem:  # noqa: BLE001 - raised below
            problems.append(problem)
        made.put(None)

    thread = threading.Thread(target=make, name="read-ahead", daemon=True)
    thread.start()
    try:
        while (item := made.get()) is not None:
            yield item
        if problems:
            raise problems[0]
    finally:
        stopped.set()
        while thread.is_alive():
            try:
                made.get(timeout=0.01)  # the thread may wait for room
            except queue.Empty:
                continue
        thread.join()
