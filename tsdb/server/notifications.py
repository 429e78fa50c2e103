"""Notices to who operates the server: what is wrong now (a reload that failed), as a list and as they come and go."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tsdb.server.http.answer import Answer, dumps, rfc3339, success

if TYPE_CHECKING:
    from tsdb.server.http.route import Request
    from tsdb.server.services import Services

STARTING_UP = "tsdb is starting and replaying the write-ahead log (WAL)."
SHUTTING_DOWN = "tsdb is shutting down and gracefully stopping all operations."
LONGEST_QUEUE = 10
"""Notifications that wait for a subscriber who does not read; further ones are dropped."""


@dataclass(frozen=True, slots=True)
class Notification:
    text: str
    date_ns: int
    """Unix time of the last `add`."""
    active: bool = True

    def shape(self) -> dict[str, object]:
        return {"text": self.text, "date": rfc3339(self.date_ns), "active": self.active}


class Subscriber:
    """Gets what changes, on the event loop it was made on, as server-sent events."""

    def __init__(self, owner: Notifications) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Notification | None] = asyncio.Queue(LONGEST_QUEUE)
        self._owner = owner

    def tell(self, notification: Notification | None) -> None:
        """From any thread. None: nothing more will come."""
        with contextlib.suppress(RuntimeError):  # the loop has ended, and the subscriber with it
            self._loop.call_soon_threadsafe(self._put, notification)

    def _put(self, notification: Notification | None) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self._queue.put_nowait(notification)

    def __aiter__(self) -> Subscriber:
        return self

    async def __anext__(self) -> bytes:
        notification = await self._queue.get()
        if notification is None:
            raise StopAsyncIteration
        return b"data: " + dumps(notification.shape()) + b"\n\n"

    def close(self) -> None:
        self._owner.unsubscribe(self)


class Notifications:
    """All notifications of one server; thread-safe."""

    def __init__(self) -> None:
        self._closed = False
        self._lock = threading.Lock()
        self._active: dict[str, Notification] = {}
        self._subscribers: set[Subscriber] = set()

    def add(self, text: str) -> None:
        """It holds now; again: with a new date."""
        with self._lock:
            self._active[text] = Notification(text, time.time_ns())
            self._tell(self._active[text])

    def remove(self, text: str) -> None:
        """It holds no more. Unknown ones are no error."""
        with self._lock:
            found = self._active.pop(text, None)
            if found is not None:
                self._tell(replace(found, active=False))

    def change(self, told: list[str], texts: Sequence[str]) -> None:
        """What one part of the server has told of (which becomes `texts`) holds no more, unless it is among them."""
        for text in told:
            if text not in texts:
                self.remove(text)
        for text in texts:
            if text not in told:
                self.add(text)
        told[:] = texts

    def active(self) -> list[Notification]:
        """The oldest first."""
        with self._lock:
            return list(self._active.values())

    def subscribe(self, most: int) -> Subscriber | None:
        """A subscriber that is told of the active ones first; None where there are `most` already. Close it."""
        with self._lock:
            if self._closed or len(self._subscribers) >= most:
                return None
            subscriber = Subscriber(self)
            self._subscribers.add(subscriber)
            for notification in self._active.values():
                subscriber.tell(notification)
        return subscriber

    def unsubscribe(self, subscriber: Subscriber) -> None:
        with self._lock:
            self._subscribers.discard(subscriber)

    def close(self) -> None:
        """Lets all subscribers go: the server stops."""
        with self._lock:
            self._closed = True
            for subscriber in self._subscribers:
                subscriber.tell(None)

    @property
    def subscribers(self) -> int:
        return len(self._subscribers)

    def _tell(self, notification: Notification) -> None:
        for subscriber in self._subscribers:
            subscriber.tell(notification)


async def notifications(services: Services, request: Request) -> Answer:
    return success([notification.shape() for notification in services.notifications.active()])


async def notifications_live(services: Services, request: Request) -> Answer:
    """Server-sent events, one for each notification that comes, changes or goes; 204 where enough clients listen."""
    subscriber = services.notifications.subscribe(services.options.max_notifications_subscribers)
    if subscriber is None:
        return Answer(204)
    return Answer(content_type="text/event-stream", headers={"Cache-Control": "no-cache"}, events=subscriber)
