"""A server inside the test's process, on a loop and a port of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvloop

from tests.client import Client
from tsdb.config import Config
from tsdb.flags import Flags
from tsdb.server.server import Open, Server, listen, open_storage

T = TypeVar("T")


class Running:
    """A started server; `open` makes it ready."""

    def __init__(self, config: Config, flags: Flags | None = None) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="test-server", daemon=True)
        self._thread.start()
        sock = listen("127.0.0.1:0")
        self.port = int(sock.getsockname()[1])
        self.client = Client(self.port)
        self.server = self._run(self._start(config, flags, sock))

    async def _start(self, config: Config, flags: Flags | None, sock: socket.socket) -> Server:
        server = Server(config, flags=flags)
        await server.start(sock)
        return server

    def open(self, open_database: Open) -> None:
        self._run(self.server.open(open_database))

    def stop(self) -> None:
        if self._thread.is_alive():
            self._run(self.server.stop())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(30)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)


Begin = Callable[..., Running]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """begin(config, flags) starts a server that is not ready yet."""
    started: list[Running] = []

    def start(config: Config | None = None, flags: Flags | None = None) -> Running:
        started.append(Running(config or Config(), flags))
        return started[-1]

    yield start
    for running in started:
        running.stop()


@pytest.fixture
def running(begin: Begin, tmp_path: Path) -> Running:
    """A ready server over an empty data directory."""
    made = begin()
    made.open(open_storage(tmp_path / "data", None))
    return made
