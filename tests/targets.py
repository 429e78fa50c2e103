"""A target to scrape that can do everything wrong: real sockets on loopback, behaviour by path.

    with TargetServer() as targets:
        targets.behave("/metrics", Answer("a 1\n"))
        …                                            # scrape http://127.0.0.1:{targets.port}/metrics
        targets.behave("/metrics", hang)
        targets.requests("/metrics")[-1].headers["accept"]

It begins with all of `tests.behaviours.BEHAVIOURS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Mapping
from pathlib import Path
from types import TracebackType

import trustme

from tests.behaviours import BEHAVIOURS, Answer, Behaviour, Exchange, Request


class Listener:
    """An address of the server, which can refuse connections and take them again. Its port stays its own meanwhile."""

    def __init__(self, server: TargetServer, tls: ssl.SSLContext | None = None) -> None:
        self._server, self._tls = server, tls
        self._socket = _bound(0)
        self.port = int(self._socket.getsockname()[1])
        self._listening: asyncio.Server | None = None
        self.accept()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def accept(self) -> None:
        """Takes connections."""
        self._server.run(self._open())

    def refuse(self) -> None:
        """Closes all its connections; new ones are refused."""
        self._server.run(self._close())

    async def _open(self) -> None:
        serve = self._server.serve_connection
        self._listening = await asyncio.start_server(serve, sock=self._socket, ssl=self._tls, limit=1 << 20)

    async def _close(self) -> None:
        assert self._listening is not None
        self._listening.close()
        self._server.drop(self.port)
        self._socket = _bound(self.port)


def _bound(port: int) -> socket.socket:
    """A socket that has the port, and refuses connections until it listens."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


class TargetServer:
    """Targets at one port, at an HTTPS port, and at as many more as are asked for; in a thread of its own."""

    def __init__(self, behaviours: Mapping[str, Behaviour] = BEHAVIOURS) -> None:
        self._behaviours = dict(behaviours)
        self._requests: list[Request] = []
        self._connections: dict[asyncio.Task[None], int] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="targets", daemon=True)
        self._authority = trustme.CA()

    def __enter__(self) -> TargetServer:
        self._thread.start()
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._authority.issue_cert("127.0.0.1").configure_cert(tls)
        self._main, self._secure = Listener(self), Listener(self, tls)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    @property
    def port(self) -> int:
        return self._main.port

    @property
    def address(self) -> str:
        return self._main.address

    @property
    def tls_address(self) -> str:
        """Its certificate is signed by an authority that only `write_authority` tells of."""
        return self._secure.address

    def write_authority(self, path: Path) -> None:
        """The certificate that clients have to trust at `tls_address`."""
        self._authority.cert_pem.write_to_path(path)

    def listener(self) -> Listener:
        """One more address for the same paths."""
        return Listener(self)

    def behave(self, path: str, behaviour: Behaviour) -> None:
        """From the next request on."""
        self._behaviours[path] = behaviour

    def requests(self, path: str | None = None) -> list[Request]:
        """What has been asked so far, of a path or of all."""
        return [request for request in list(self._requests) if path is None or request.path == path]

    def run(self, work: Awaitable[None]) -> None:
        """Does it in the server's thread and waits for it."""

        async def doing() -> None:
            await work

        asyncio.run_coroutine_threadsafe(doing(), self._loop).result(30)

    def drop(self, port: int) -> None:
        """Ends the connections of a port. In the server's thread."""
        for task, other in self._connections.items():
            if other == port:
                task.cancel()

    async def serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        host, port = writer.get_extra_info("sockname")
        self._connections[task] = port
        try:
            while True:
                request = parse_head(await reader.readuntil(b"\r\n\r\n"), f"{host}:{port}")
                self._requests.append(request)
                exchange = Exchange(request, writer)
                await self._behaviours.get(request.path, Answer("no such path\n", status=404))(exchange)
                if not exchange.keep_alive:
                    break
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            del self._connections[task]
            with contextlib.suppress(OSError):
                writer.close()

    async def _end(self) -> None:
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def parse_head(data: bytes, address: str) -> Request:
    first, *lines = data.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Request(method, target, headers, address, time.time())
