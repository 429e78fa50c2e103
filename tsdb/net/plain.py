"""One kept connection to a server that is asked the same again and again, in plain HTTP/1.1.

For who asks much and often, as scraping does: of what such a request costs through aiohttp, two thirds are aiohttp's.
Whatever needs more (TLS, proxies, redirects, tokens) goes through `HttpClient`.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import aiohttp
from aiohappyeyeballs import start_connection
from yarl import URL

from tsdb.net.failures import RequestFailed, dial_failure, reason

_MOST_HEAD = 64 << 10
"""Bytes of status line and headers."""
_MOST_CHUNK_LINE = 4096
_HAPPY_EYEBALLS_S = 0.25
_STATUS = re.compile(rb"HTTP/1\.([01]) ([0-9]{3})(?: ([^\r\n]*))?")
_FIELDS = re.compile(
    rb"^(content-length|content-type|content-encoding|transfer-encoding|connection)[ \t]*:[ \t]*(.*?)[ \t]*\r?$",
    re.IGNORECASE | re.MULTILINE,
)
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;.*)?", re.DOTALL)


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


_HEAD, _LENGTH, _CHUNKED, _UNTIL_CLOSED = range(4)


class _Protocol(asyncio.Protocol):
    """Reads one answer after the other."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[PlainAnswer] | None = None
        self.usable = True
        """Open, and in between two answers."""
        self._begin(0)

    def _begin(self, most: int) -> None:
        self._most = most
        self._state = _HEAD
        self._rest = b""
        """Of the head, or of a chunk's line."""
        self._parts: list[bytes] = []
        self._size = 0
        self._left = 0
        """Bytes of the body, or of a chunk, to come."""
        self._in_chunk = False
        self._in_trailers = False
        self._keep = True
        self._answer = PlainAnswer(0, "", "", "", b"")

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

    @property
    def reading(self) -> bool:
        return self._state != _HEAD

    def abort(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is of no class of asyncio

    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._waiter.done():
            self.abort()  # nobody asked
            return
        try:
            while self._state == _HEAD:
                rest = self._read_head(data)
                if rest is None:
                    return
                data = rest
            if self._state == _CHUNKED:
                self._read_chunks(data)
            else:
                self._read_plain(data)
        except (_Malformed, aiohttp.ClientError) as problem:
            self._fail(problem)

    def connection_lost(self, problem: Exception | None) -> None:
        self.usable = False
        if self._waiter is None or self._waiter.done():
            return
        if self._state == _UNTIL_CLOSED and problem is None:
            self._finish()
        elif self._state != _HEAD:
            self._fail(aiohttp.ClientPayloadError("unexpected EOF"))
        elif self._rest:
            self._fail(_Malformed("that ends within its headers"))
        else:
            self._fail(_Closed(reason(problem) if problem is not None else "EOF"))

    def _read_head(self, data: bytes) -> bytes | None:
        """What is behind the head; None: more of it is to come."""
        data = self._rest + data
        end = data.find(b"\r\n\r\n")
        if not data.startswith(b"HTTP/1."[: len(data)]):
            raise _Malformed(_quoted(data[:40].split(b"\r\n")[0]))
        if end < 0 or end > _MOST_HEAD:
            if len(data) > _MOST_HEAD:
                raise _Malformed(f"with more than {_MOST_HEAD} bytes of headers")
            self._rest = data
            return None
        self._rest = b""
        status = _STATUS.match(data, 0, end)
        if status is None:
            raise _Malformed(_quoted(data[:40].split(b"\r\n")[0]))
        code = int(status[2])
        if 100 <= code < 200:
            return data[end + 4 :] or None
        fields = {name.lower(): value for name, value in _FIELDS.findall(data[:end])}
        self._answer.status = code
        self._answer.reason = (status[3] or b"").decode("latin-1")
        self._answer.content_type = fields.get(b"content-type", b"").decode("latin-1")
        self._answer.content_encoding = fields.get(b"content-encoding", b"").decode("latin-1")
        connection = fields.get(b"connection", b"").lower()
        self._keep = b"close" not in connection and (status[1] == b"1" or b"keep-alive" in connection)
        length = fields.get(b"content-length")
        if code != 200:
            self._keep = False
            self._finish()
            return None
        if fields.get(b"transfer-encoding", b"identity").lower() != b"identity":
            if fields[b"transfer-encoding"].lower() != b"chunked":
                raise _Malformed(f"with Transfer-Encoding {_quoted(fields[b'transfer-encoding'])}")
            self._state = _CHUNKED
        elif length is not None:
            if not length.isdigit() or len(length) > 15:
                raise _Malformed(f"with Content-Length {_quoted(length)}")
            self._state, self._left = _LENGTH, int(length)
            self._check_size(self._left)
        else:
            self._state, self._keep = _UNTIL_CLOSED, False
        return data[end + 4 :]

    def _read_plain(self, data: bytes) -> None:
        if self._state == _UNTIL_CLOSED:
            self._take(data)
            return
        if not data and self._left:
            return
        if len(data) > self._left:
            data, self._keep = data[: self._left], False  # it says more than it was asked
        self._left -= len(data)
        self._take(data)
        if not self._left:
            self._finish()

    def _read_chunks(self, data: bytes) -> None:
        data, at = self._rest + data, 0
        self._rest = b""
        while True:
            if self._left:
                part = data[at : at + self._left]
                self._take(part)
                at += len(part)
                self._left -= len(part)
                if self._left:
                    return
            end = data.find(b"\r\n", at)
            if end < 0:
                if len(data) - at > _MOST_CHUNK_LINE:
                    raise aiohttp.ClientPayloadError("malformed chunked encoding")
                self._rest = data[at:]
                return
            line, at = data[at:end], end + 2
            if self._in_trailers:
                if not line:
                    self._keep = self._keep and at == len(data)
                    self._finish()
                    return
            elif self._in_chunk:
                if line:
                    raise aiohttp.ClientPayloadError("malformed chunked encoding")
                self._in_chunk = False
            else:
                found = _CHUNK.fullmatch(line)
                if found is None:
                    raise aiohttp.ClientPayloadError("malformed chunked encoding")
                self._left = int(found[1], 16)
                self._check_size(self._size + self._left)
                self._in_chunk, self._in_trailers = self._left > 0, self._left == 0

    def _take(self, data: bytes) -> None:
        self._size += len(data)
        self._check_size(self._size)
        self._parts.append(data)

    def _check_size(self, size: int) -> None:
        if size >= self._most:
            raise AnswerTooLarge

    def _finish(self) -> None:
        answer, waiter = self._answer, self._waiter
        answer.body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        self.usable = self._keep
        if not self._keep:
            self.abort()
        if waiter is not None and not waiter.done():
            waiter.set_result(answer)

    def _fail(self, problem: Exception) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(problem)
        self.abort()


def _quoted(text: bytes) -> str:
    return '"' + text.decode("ascii", "backslashreplace").replace("\\", "\\\\").replace('"', '\\"') + '"'
