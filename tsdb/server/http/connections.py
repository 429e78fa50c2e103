"""Connections: accepted up to a limit, with TLS where there is a context for it, one log line for many broken ones."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import StreamReader, http_exceptions, web

log = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT_S = 10.0
_HTTP = (b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO")
"""What a client that was to speak TLS is answered for, as by Go's server."""
_NO_TLS = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
_SETTLE_S = 0.05
_NO_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE_S = 1.0
"""How long nothing is accepted after the system had no room for a connection."""

Admit = Callable[[asyncio.BaseTransport], str]
"""Looks at a connection whose TLS handshake is done; why it is refused, empty: it is not."""


class Throttled:
    """A warning that anybody on the network can cause: one line in a while, which tells how many it stands for."""

    def __init__(self, message: str, every_s: float = 10.0) -> None:
        self._message = message
        self._every_s = every_s
        self._next = 0.0
        self._silent = 0

    def warn(self, **fields: object) -> None:
        now = time.monotonic()
        if now < self._next:
            self._silent += 1
            return
        more = {"more": self._silent} if self._silent else {}
        log.warning(self._message, extra={"fields": {**fields, **more}})
        self._next, self._silent = now + self._every_s, 0


class _Request(web.BaseRequest):
    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        """Called with what is about to be sent: aiohttp would tell its version and Python's to everybody."""
        del response.headers["Server"]


class Connection(web.RequestHandler):  # type: ignore[type-arg, misc, unused-ignore]
    """One client. Tells its acceptor when it ends, and logs one line about what a client breaks."""

    __slots__ = ("_acceptor", "_counted", "_refused", "body")

    def __init__(self, manager: web.Server, acceptor: Acceptor, **options: Any) -> None:
        super().__init__(manager, **options)
        self._acceptor = acceptor
        self._counted = True
        self._refused = False
        self.body: StreamReader | None = None
        """Of the request that is being handled, or was last."""

    def release(self) -> None:
        """It counts no longer; once is enough."""
        if self._counted:
            self._counted = False
            self._acceptor.ended()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        reason = self._acceptor.admit(transport) if self._acceptor.admit is not None else ""
        if reason:
            self._refused = True
            self._acceptor.refused.warn(remote=_remote(transport), err=reason)
            assert isinstance(transport, asyncio.Transport)
            transport.abort()
            return
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        problem = getattr(self._messages[-1][0], "exc", None) if self._messages else None
        if isinstance(problem, http_exceptions.HttpProcessingError):
            # aiohttp's parser in C would have whoever reads the body wait for the rest of it
            body = self._messages[-2][1] if len(self._messages) > 1 else self.body
            if body is not None and not body.is_eof():
                body.set_exception(web.RequestPayloadError(problem.message))

    def connection_lost(self, exc: BaseException | None) -> None:
        self.release()
        if not self._refused:
            super().connection_lost(exc)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        problem = kw.get("exc_info")
        if isinstance(problem, http_exceptions.HttpProcessingError | web.RequestPayloadError | ConnectionError):
            text = " ".join(str(problem).split()) or type(problem).__name__
            remote = _remote(self.transport) if self.transport is not None else ""
            self._acceptor.broken.warn(remote=remote, err=text[:200])
        else:
            super().log_exception(*args, **kw)


class Acceptor(web.Server):
    """Takes connections from listening sockets, at most `limit` at once (0: any number); who comes later waits in the
    system's queue. `context` gives the TLS context for the next connection; None: none is used."""

    def __init__(
        self, handler: Callable[[web.BaseRequest], Any], *, limit: int, context: Callable[[], ssl.SSLContext] | None,
        admit: Admit | None = None, **options: Any,
    ) -> None:
        super().__init__(handler, request_factory=self._request, handler_cancellation=True)
        self.admit = admit
        self.broken = Throttled("broken request")
        self.refused = Throttled("TLS connection refused")
        self.open = 0
        """Connections now."""
        self._limit = limit
        self._context = context
        self._options = options
        self._sockets: list[socket.socket] = []
        self._reading = False
        self._resuming: asyncio.TimerHandle | None = None
        self._handshakes: set[asyncio.Task[None]] = set()

    def start(self, sockets: Sequence[socket.socket]) -> None:
        """Accepts on these sockets, which are closed by `stop`."""
        for sock in sockets:
            sock.setblocking(False)
        self._sockets = list(sockets)
        self._resume()

    async def stop(self, timeout_s: float) -> None:
        """Closes the sockets, lets requests under way go on for a while, closes all connections."""
        self._pause()
        if self._resuming is not None:
            self._resuming.cancel()
        for sock in self._sockets:
            sock.close()
        self._sockets = []
        # connections accepted just now must reach their handlers before idle ones are closed
        await asyncio.sleep(_SETTLE_S)
        for task in self._handshakes:
            task.cancel()
        self.pre_shutdown()
        await self.shutdown(timeout_s)

    def __call__(self) -> Connection:
        return Connection(self, self, loop=self._loop, **self._options)

    def _request(
        self, message: Any, payload: StreamReader, protocol: web.RequestHandler, writer: Any,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        assert isinstance(protocol, Connection)
        protocol.body = payload
        return _Request(message, payload, protocol, writer, task, self._loop)

    def ended(self) -> None:
        """A connection is gone: there is room for another."""
        self.open -= 1
        if not self._reading and self._resuming is None:
            self._resume()

    def _resume(self) -> None:
        self._resuming = None
        self._reading = bool(self._sockets)
        for sock in self._sockets:
            self._loop.add_reader(sock, self._accept, sock)

    def _pause(self) -> None:
        self._reading = False
        for sock in self._sockets:
            self._loop.remove_reader(sock)

    def _accept(self, listening: socket.socket) -> None:
        while self._reading:
            if self._limit and self.open >= self._limit:
                self._pause()
                return
            try:
                sock, place = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as problem:
                if problem.errno not in _NO_RESOURCES:
                    raise
                log.error("no room for another connection", extra={"fields": {"err": problem.strerror}})
                self._pause()
                self._resuming = self._loop.call_later(_PAUSE_S, self._resume)
                return
            sock.setblocking(False)
            self.open += 1
            task = self._loop.create_task(self._begin(sock, _address(place)))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _begin(self, sock: socket.socket, remote: str) -> None:
        context = self._context() if self._context is not None else None
        connection = self()
        try:
            if context is None:
                await self._loop.connect_accepted_socket(lambda: connection, sock)
                return
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                first = await _peek(sock, len(_HTTP[0]))
            if first in _HTTP:
                sock.recv(1 << 16)  # closing a socket with unread bytes would take the answer back
                sock.send(_NO_TLS)
                raise ConnectionError("client sent an HTTP request to an HTTPS server")
            await self._loop.connect_accepted_socket(
                lambda: connection, sock, ssl=context, ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S
            )
        except (OSError, TimeoutError) as problem:  # ssl.SSLError is an OSError
            sock.close()
            connection.release()
            self.refused.warn(remote=remote, err=str(problem) or "no handshake in time")
        except BaseException:
            sock.close()
            connection.release()
            raise


async def _peek(sock: socket.socket, most: int) -> bytes:
    """The first bytes that come, which stay to be read."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(sock, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(sock)
    return sock.recv(most, socket.MSG_PEEK)


def _remote(transport: asyncio.BaseTransport) -> str:
    return _address(transport.get_extra_info("peername"))


def _address(name: object) -> str:
    if not isinstance(name, tuple):
        return ""
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
