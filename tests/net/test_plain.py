"""A kept connection in plain HTTP/1.1: answers in any pieces, servers that misbehave, and when it is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from tests.processes import free_port
from tsdb.net.failures import RequestFailed
from tsdb.net.plain import AnswerTooLarge, PlainAnswer, PlainConnection, request_head

MOST = 1 << 20
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve) -> Any:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    url = URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/metrics?x=1")
    connection = PlainConnection(url)
    try:
        yield connection, request_head(url, {"Accept": "text/plain"})
    finally:
        connection.close()
        server.close()


def saying(*answers: Sequence[bytes], close: bool = False) -> Serve:
    """One answer for each request of a connection, in pieces."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            for piece in answer:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
        if not close:
            await reader.read()

    return serve


def ask(*answers: Sequence[bytes], close: bool = False, most: int = MOST, times: int = 1) -> list[PlainAnswer]:
    async def go() -> list[PlainAnswer]:
        async with serving(saying(*answers, close=close)) as (connection, head):
            async with asyncio.timeout(10):
                return [await connection.get(head, most) for _ in range(times)]

    return uvloop.run(go())


BODIES = {
    "length": OK + b"Content-Length: 4\r\n\r\na 1\n",
    "chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\na 1\r\n1;x=y\r\n\n\r\n0\r\n\r\n",
    "trailers": OK + b"TRANSFER-ENCODING: Chunked\r\n\r\n4\r\na 1\n\r\n0\r\nX: y\r\nZ: w\r\n\r\n",
    "trailers that say otherwise": OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\na 1\n\r\n0\r\nContent-Type: x\r\n\r\n",
    "empty headers": OK + b"X:\r\nContent-Length: 4 \r\nY: \r\n\r\na 1\n",
    "no reason": b"HTTP/1.1 200\r\nContent-Type: text/plain \r\nContent-Length: 4\r\n\r\na 1\n",
    "two heads": b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 4\r\n\r\na 1\n",
    "until closed": OK + b"\r\na 1\n",
    "http 1.0": b"HTTP/1.0 200 Fine\r\ncontent-type:text/plain\r\n\r\na 1\n",
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_bodies(name: str, piece: int) -> None:
    data = BODIES[name]
    pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
    [answer] = ask(pieces, close=name in ("until closed", "http 1.0"))
    assert (answer.status, answer.content_type, answer.body) == (200, "text/plain", b"a 1\n")


@given(st.data())
def test_chunks_in_any_pieces(data: st.DataObject) -> None:
    """The parser alone."""
    from tsdb.net.plain import _Protocol

    chunks = data.draw(st.lists(st.binary(min_size=1, max_size=300), max_size=8))
    wire = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    wire += b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=12)))

    async def go() -> bytes:
        class Transport:
            def write(self, head: bytes) -> None:
                for begin, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
                    if begin < end:
                        protocol.data_received(wire[begin:end])

            def abort(self) -> None:
                pass

        protocol = _Protocol()
        protocol.connection_made(Transport())  # type: ignore[arg-type]
        answer = await protocol.ask(b"", MOST)
        assert protocol.usable
        return answer.body

    assert asyncio.run(go()) == b"".join(chunks)


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (BODIES["length"], True),
        (BODIES["chunks"], True),
        (BODIES["trailers"], True),
        (OK + b"Content-Length: 4\r\nConnection: close\r\n\r\na 1\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\na 1\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\nConnection: Keep-Alive\r\n\r\na 1\n", True),
        (OK + b"Content-Length: 4\r\n\r\na 1\nmore", False),
        (OK + b"Content-Length: 4\r\n\r\na 1\nH", False),
        (BODIES["chunks"] + BODIES["chunks"], False),
        (b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nx", False),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone", False),
    ],
)
def test_which_connections_are_kept(answer: bytes, kept: bool) -> None:
    connections = []

    async def go() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.append(1)
            await saying([answer], [answer])(reader, writer)

        async with serving(serve) as (connection, head):
            for _ in range(2):
                await connection.get(head, MOST)

    uvloop.run(go())
    assert len(connections) == (1 if kept else 2)


def test_a_connection_that_was_closed_meanwhile_is_opened_again() -> None:
    connections = []

    async def go() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.append(1)
            await saying([BODIES["length"]], close=True)(reader, writer)
            if len(connections) == 2:
                await reader.read(1)  # closes only when asked again

        async with serving(serve) as (connection, head):
            for pause in (0.05, 0, 0):
                assert (await connection.get(head, MOST)).body == b"a 1\n"
                await asyncio.sleep(pause)

    uvloop.run(go())
    assert len(connections) == 3


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (b"", RequestFailed, ": EOF"),
        (b"220 mail.example.net ESMTP\r\n", RequestFailed, 'malformed HTTP response "220 mail.example.net ESMTP"'),
        (b"HTTP/1.1 2x0\r\n\r\n", RequestFailed, 'malformed HTTP response "HTTP/1.1 2x0"'),
        (b"HTTP/1.1 200 OK\r\nContent-Le", RequestFailed, "that ends within its headers"),
        (OK + b"Content-Length: -1\r\n\r\n", RequestFailed, '"HTTP/1.1 200 OK": Invalid character in Content-Length'),
        (OK + b"Transfer-Encoding: gzip\r\n\r\n", RequestFailed, 'with Transfer-Encoding "gzip"'),
        (OK + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\na 1\n", RequestFailed, "Duplicate Content-Length"),
        (OK + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", RequestFailed, "can't be present with"),
        (b"HTTP/1.1 200 OK\nContent-Length: 4\n\na 1\n", RequestFailed, '"HTTP/1.1 200 OK": Missing expected CR'),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 3000, RequestFailed, "with more than 65536 bytes of headers"),
        (BODIES["chunks"][:-2] + b"X: x\r\n" * 100_000, RequestFailed, "with more than 65536 bytes of headers"),
        (OK + b"X: " + b"x" * 70_000, RequestFailed, "with more than 65536 bytes of headers"),
        (OK + b"Content-Length: 9\r\n\r\na 1\n", aiohttp.ClientPayloadError, "unexpected EOF"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\na 1\n", aiohttp.ClientPayloadError, "unexpected EOF"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", aiohttp.ClientPayloadError, "malformed chunked"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n-4\r\n", aiohttp.ClientPayloadError, "malformed chunked"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", aiohttp.ClientPayloadError, "malformed chunked"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 9000, aiohttp.ClientPayloadError, "malformed chunked"),
        (OK + b"Content-Length: 1000000000\r\n\r\n", AnswerTooLarge, ""),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nfffffff\r\n" + b"x" * MOST, AnswerTooLarge, ""),
        (OK + b"\r\n" + b"x" * (MOST + 1), AnswerTooLarge, ""),
    ],
)
def test_what_is_no_good_answer(answer: bytes, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        ask([answer], close=True)
    assert words in str(caught.value)


def test_the_limit_is_the_size_that_fails() -> None:
    for name in ("length", "chunks", "until closed"):
        assert ask([BODIES[name]], close=True, most=5)[0].body == b"a 1\n"
        with pytest.raises(AnswerTooLarge):
            ask([BODIES[name]], close=True, most=4)


def test_nobody_there_and_no_such_host() -> None:
    async def get(text: str) -> None:
        url = URL(text)
        await PlainConnection(url).get(request_head(url, {}), MOST)

    port = free_port()
    with pytest.raises(RequestFailed) as caught:
        uvloop.run(get(f"http://127.0.0.1:{port}/"))
    assert str(caught.value) == (
        f'Get "http://127.0.0.1:{port}/": dial tcp 127.0.0.1:{port}: connect: connection refused'
    )
    with pytest.raises(RequestFailed, match=rf"dial tcp (127\.0\.0\.1|\[::1\]):{port}: connect: connection refused"):
        uvloop.run(get(f"http://localhost:{port}/"))
    with pytest.raises(RequestFailed, match=r"dial tcp: lookup nobody\.invalid: no such host"):
        uvloop.run(get("http://nobody.invalid/"))


def test_a_request_that_is_given_up_leaves_no_answer_to_the_next() -> None:
    async def go() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            if not first.done():
                first.set_result(None)
                await asyncio.sleep(0.05)
                writer.write(OK + b"Content-Length: 3\r\n\r\nold")
            else:
                writer.write(OK + b"Content-Length: 3\r\n\r\nnew")
            await reader.read()

        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        async with serving(serve) as (connection, head):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await connection.get(head, MOST)
            assert (await connection.get(head, MOST)).body == b"new"

    uvloop.run(go())


def test_request_heads() -> None:
    url = URL("http://host:80/a%3Fb?q=x+y", encoded=True)
    assert request_head(url, {"Accept": "x"}) == b"GET /a%3Fb?q=x+y HTTP/1.1\r\nHost: host\r\nAccept: x\r\n\r\n"
    assert request_head(URL("http://[::1]:9"), {}) == b"GET / HTTP/1.1\r\nHost: [::1]:9\r\n\r\n"
    with pytest.raises(ValueError, match="line end"):
        request_head(url, {"X": "a\r\nY: b"})
