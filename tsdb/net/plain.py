"""One kept connection to a server that is asked the same again and again, in plain HTTP/1.1.

For who asks much and often, as scraping does: of what such a request costs through aiohttp, two thirds are aiohttp's.
Whatever needs more (TLS, proxies, redirects, tokens) goes through `HttpClient`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import aiohttp
from aiohappyeyeballs import start_connection
from httptools import HttpParserCallbackError, HttpParserError, HttpResponseParser
from yarl import URL

from tsdb.net.failures import RequestFailed, dial_failure, reason

_MOST_OVERHEAD = 64 << 10
"""Bytes of a head, of what stands between two chunks, of trailers: as far as no body comes in the same read."""
_HAPPY_EYEBALLS_S = 0.25
_FIELDS = frozenset((b"content-length", b"content-type", b"content-encoding", b"transfer-encoding"))


class AnswerTooLarge(aiohttp.ClientError):
    """The body is over the limit that was given."""


class _Closed(Exception):
    """The server has closed the connection and said nothing. The text says how."""


@dataclass(slots=True)
class PlainAnswer:
    status: int
    reason: str
    content_type: str
    content_encoding: str
    body: bytes
    """As it was sent, compressed or not."""


def request_head(url: URL, headers: Mapping[str, str]) -> bytes:
    """A GET request as it is sent. Raises ValueError where URL or headers hold what a request cannot."""
    lines = [f"GET {url.raw_path_qs or '/'} HTTP/1.1", f"Host: {url.host_port_subcomponent}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if any("\r" in line or "\n" in line or "\0" in line for line in lines):
        raise ValueError("a line end in the URL or in a header")
    return "\r\n".join([*lines, "", ""]).encode()


class PlainConnection:
    """To the host of a URL; opened when it is needed. For one request at a time, on one event loop."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._protocol: _Protocol | None = None

    async def get(self, head: bytes, most: int) -> PlainAnswer:
        """The answer to a request that `request_head` made; a body of `most` bytes is too long. Once cancelled, the
        connection is closed.

        Bodies of answers other than 200 are not read: theirs is empty, and the connection is closed. Raises
        RequestFailed where there is no answer, AnswerTooLarge, and aiohttp.ClientPayloadError where the body ends too
        early or is no HTTP.
        """
        protocol = self._protocol
        reused = protocol is not None and protocol.usable
        try:
            if protocol is None or not reused:
                protocol = self._protocol = await self._connect()
            try:
                return await protocol.ask(head, most)
            except _Closed:
                if not reused:
                    raise
            protocol = self._protocol = await self._connect()
            return await protocol.ask(head, most)
        except _Closed as problem:
            raise RequestFailed("GET", self._url, str(problem)) from None
        except _Malformed as problem:
            raise RequestFailed("GET", self._url, f"malformed HTTP response {problem}") from None

    @property
    def reading(self) -> bool:
        """Whether the last request has, or had, got as far as the body of its answer."""
        return self._protocol is not None and self._protocol.reading

    def close(self) -> None:
        if self._protocol is not None:
            self._protocol.abort()
            self._protocol = None

    async def _connect(self) -> _Protocol:
        loop = asyncio.get_running_loop()
        host, port = self._url.host or "", self._url.port or 80
        try:
            places = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            sock = await start_connection(places, happy_eyeballs_delay=_HAPPY_EYEBALLS_S, loop=loop)
        except OSError as problem:
            raise RequestFailed("GET", self._url, dial_failure(host, port, problem)) from None
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            _, protocol = await loop.create_connection(_Protocol, sock=sock)
        except BaseException:
            sock.close()
            raise
        return protocol


class _Malformed(Exception):
    """What the server says is no HTTP."""


class _Stop(Exception):
    """The parser is to read no further."""


class _Protocol(asyncio.Protocol):
    """Reads one answer after the other; the parser calls the methods `on_…`."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[PlainAnswer] | None = None
        self.usable = True
        """Open, and in between two answers."""
        self._parser = HttpResponseParser(self)
        self._begin(0)

    def _begin(self, most: int) -> None:
        self._most = most
        self.reading = False
        """Whether the head of the answer is complete, and is of one whose body is read."""
        self._first = b""
        self._overhead = 0
        """Bytes since the last of the body."""
        self._parts: list[bytes] = []
        self._size = 0

    async def ask(self, head: bytes, most: int) -> PlainAnswer:
        assert self._transport is not None
        self._begin(most)
        self._waiter = asyncio.get_running_loop().create_future()
        self.usable = False
        self._transport.write(head)
        try:
            return await self._waiter
        except BaseException:
            self.abort()
            raise
        finally:
            self._waiter = None

    def abort(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is of no class of asyncio

    def data_received(self, data: bytes) -> None:
        if not self._first:
            self._first = data[:40]
        self._overhead += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserCallbackError as problem:
            self._fail(problem.__context__ or problem)
        except HttpParserError as problem:
            if self.reading:
                self._fail(aiohttp.ClientPayloadError("malformed chunked encoding"))
            else:
                line = self._first.decode("latin-1").splitlines()[0]
                self._fail(_Malformed(f"{_quoted(line)}: {problem}"))
        else:
            if self._overhead > _MOST_OVERHEAD:
                self._fail(_Malformed(f"with more than {_MOST_OVERHEAD} bytes of headers"))

    def connection_lost(self, problem: Exception | None) -> None:
        self.usable = False
        if self.reading and problem is None and self._until_closed:
            self._finish(False)
        elif self.reading:
            self._fail(aiohttp.ClientPayloadError("unexpected EOF"))
        elif self._first:
            self._fail(_Malformed("that ends within its headers"))
        else:
            self._fail(_Closed(reason(problem) if problem is not None else "EOF"))

    def on_message_begin(self) -> None:
        if self._waiter is None or self._waiter.done():
            raise _Stop  # it says more than it was asked
        self._words = ""
        self._fields: dict[bytes, str] = {}

    def on_status(self, words: bytes) -> None:
        self._words += words.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in _FIELDS and not self.reading:  # not those behind the body
            self._fields[name] = value.strip().decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            return  # the answer is to follow
        if status != 200:
            self._finish(False)
            raise _Stop
        coding, length = self._fields.get(b"transfer-encoding"), self._fields.get(b"content-length")
        if coding is not None and coding.lower() != "chunked":
            raise _Malformed(f"with Transfer-Encoding {_quoted(coding)}")
        self._until_closed = coding is None and length is None
        self._check_size(int(length or 0))
        self.reading = True

    def on_body(self, data: bytes) -> None:
        self._overhead = 0
        self._size += len(data)
        self._check_size(self._size)
        self._parts.append(data)

    def on_message_complete(self) -> None:
        if self.reading:
            self._finish(self._parser.should_keep_alive())

    def _check_size(self, size: int) -> None:
        if size >= self._most:
            raise AnswerTooLarge

    def _finish(self, keep: bool) -> None:
        status, content_type = self._parser.get_status_code(), self._fields.get(b"content-type", "")
        encoding = self._fields.get(b"content-encoding", "")
        answer = PlainAnswer(status, self._words, content_type, encoding, b"".join(self._parts))
        self._parts = []  # whoever asked has the body now, and it should be gone when they are done
        self.usable = keep
        if not keep:
            self.abort()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(answer)

    def _fail(self, problem: BaseException) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(problem)
        self.abort()


def _quoted(text: str) -> str:
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + text.encode("ascii", "backslashreplace").decode() + '"'
