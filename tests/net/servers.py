"""Servers that a client is tried on: one that tells what it was asked, a proxy, one that gives tokens."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trustme
from aiohttp import web
from multidict import CIMultiDictProxy

from tests.processes import free_port
from tsdb.net.client import HttpClient
from tsdb.net.config import HttpClientConfig


class Site:
    """Answers everything, and remembers it."""

    def __init__(self, port: int, scheme: str) -> None:
        self.port = port
        self.scheme = scheme
        self.requests: list[web.BaseRequest] = []
        self.bodies: list[str] = []
        self.respond: Callable[[web.BaseRequest], web.Response] = lambda request: web.Response(text="hello")

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """Of the newest request."""
        return self.requests[-1].headers

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        self.bodies.append(await request.text())
        return self.respond(request)


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    site = Site(free_port(), "https" if tls else "http")
    server = web.Server(lambda request: site.handle(request))
    runner = web.ServerRunner(server, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", site.port, ssl_context=tls).start()
    try:
        yield site
    finally:
        await runner.cleanup()


class ForwardProxy:
    """A proxy of plain requests and of CONNECT. It leads everything to `target`, whatever its name."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.asked: list[tuple[str, dict[str, str]]] = []
        """First line, and headers with names in lower case, of each request or CONNECT."""
        self.refuse = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            line, *fields = head.decode().strip().split("\r\n")
            pairs = (field.split(": ", 1) for field in fields)
            self.asked.append((line, {name.lower(): value for name, value in pairs}))
            if self.refuse:
                writer.write(f"HTTP/1.1 {self.refuse}\r\nContent-Length: 0\r\n\r\n".encode())
            else:
                await self._forward(line, head, reader, writer)
        writer.close()

    async def _forward(
        self, line: str, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        their_reader, their_writer = await asyncio.open_connection("127.0.0.1", self.target)
        if line.startswith("CONNECT "):
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            their_writer.write(head)
        tasks = [asyncio.create_task(_copy(reader, their_writer)), asyncio.create_task(_copy(their_reader, writer))]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        their_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)


@asynccontextmanager
async def proxying(target: int) -> AsyncIterator[ForwardProxy]:
    proxy = ForwardProxy(target)
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()


@asynccontextmanager
async def client(folder: Path, **config: Any) -> AsyncIterator[HttpClient]:
    made = HttpClient(HttpClientConfig(**config), base=folder, user_agent="tests/1")
    try:
        yield made
    finally:
        await made.close()


def server_tls(authority: trustme.CA, *names: str, clients: trustme.CA | None = None, **more: Any) -> ssl.SSLContext:
    """With a certificate for `names`; `clients`: whose certificates it demands."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **more).configure_cert(context)
    if clients is not None:
        clients.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def pem(certificate: trustme.LeafCert) -> tuple[str, str]:
    """Certificates and key."""
    chain = "".join(blob.bytes().decode() for blob in certificate.cert_chain_pems)
    return chain, certificate.private_key_pem.bytes().decode()
