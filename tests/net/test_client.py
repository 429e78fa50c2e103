"""The HTTP client: headers, credentials, redirects, connections."""

from __future__ import annotations

import asyncio
import base64
import re
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvloop
from aiohttp import web

from tests.net.servers import client, serving
from tsdb.model.errors import ConfigError
from tsdb.model.settings import Secret
from tsdb.net.client import HttpClient
from tsdb.net.config import Authorization, BasicAuth, HttpClientConfig, HttpHeader
from tsdb.net.failures import RequestFailed, dial_failure, reason


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


FILES = {"user": "ann\n", "password": " p:ü \n", "token": "t0ken\n", "tenant": "blue\n"}

AUTHORIZATIONS: dict[str, tuple[dict[str, Any], str | None]] = {
    "none": ({}, None),
    "basic": ({"basic_auth": BasicAuth(username="ann", password=Secret("x"))}, basic("ann:x")),
    "basic without password": ({"basic_auth": BasicAuth(username="ann")}, basic("ann:")),
    "basic from files": ({"basic_auth": BasicAuth(username_file="user", password_file="password")}, basic("ann:p:ü")),
    "bearer": ({"authorization": Authorization(credentials=Secret("abc"))}, "Bearer abc"),
    "another scheme": ({"authorization": Authorization(type=" Token ", credentials=Secret("abc"))}, "Token abc"),
    "bearer from a file": ({"authorization": Authorization(credentials_file="token")}, "Bearer t0ken"),
    "older form": ({"bearer_token": Secret("abc")}, "Bearer abc"),
    "older form from a file": ({"bearer_token_file": "token"}, "Bearer t0ken"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("name", AUTHORIZATIONS)
def test_authorization(name: str, folder: Path) -> None:
    config, expected = AUTHORIZATIONS[name]

    async def go() -> None:
        async with serving() as site, client(folder, **config) as subject:
            for _ in range(2):
                async with subject.request("GET", site.url()) as answer:
                    assert await answer.text() == "hello"
                assert site.headers.getall("Authorization", [None]) == [expected]
            async with subject.request("GET", site.url(), headers={"authorization": "own"}):
                assert site.headers.getall("Authorization") == ["own"]
            async with subject.request("GET", f"http://u:p@127.0.0.1:{site.port}/"):
                assert site.headers.getall("Authorization") == [basic("u:p")]

    uvloop.run(go())


def test_files_are_read_for_each_request(folder: Path) -> None:
    config = {
        "authorization": Authorization(credentials_file="token"), "http_headers": {"x-t": HttpHeader(files=("tenant",))}
    }

    async def go() -> None:
        async with serving() as site, client(folder, **config) as subject:
            async with subject.request("GET", site.url()):
                assert (site.headers["Authorization"], site.headers["X-T"]) == ("Bearer t0ken", "blue")
            (folder / "token").write_text("newer")
            (folder / "tenant").write_text("green")
            async with subject.request("GET", site.url()):
                assert (site.headers["Authorization"], site.headers["X-T"]) == ("Bearer newer", "green")
            (folder / "token").unlink()
            message = (f"unable to read authorization credentials: unable to read file {folder}/token: "
                       f"open {folder}/token: no such file or directory")
            with pytest.raises(ConfigError, match=message):
                await subject.request("GET", site.url()).__aenter__()
            (folder / "token").write_text("ha\nX-Evil: 1")
            with pytest.raises(ConfigError, match=f"{folder}/token, authorization credentials, holds a line end"):
                await subject.request("GET", site.url()).__aenter__()
            (folder / "token").write_bytes(b"x" * (1 << 21))
            with pytest.raises(ConfigError, match=f"{folder}/token is larger than 1 MiB"):
                await subject.request("GET", site.url()).__aenter__()

    uvloop.run(go())


def test_a_secret_with_a_line_end_is_refused_without_showing_it(folder: Path) -> None:
    with pytest.raises(ConfigError, match="authorization credentials in the config holds a line end") as caught:
        HttpClient(HttpClientConfig(bearer_token=Secret("se\ncret")), base=folder, user_agent="x")
    assert "cret" not in str(caught.value)


def test_headers(folder: Path) -> None:
    config = {"x-tenant": HttpHeader(values=("a", "b"), secrets=(Secret("c"),), files=("tenant",))}

    async def go() -> None:
        async with serving() as site, client(folder, http_headers=config) as subject:
            async with subject.request("GET", site.url("/a%20b?x=%2F"), headers={"Accept": "text/plain"}):
                request = site.requests[-1]
                assert request.raw_path == "/a%20b?x=%2F"
                assert request.headers.getall("X-Tenant") == ["a", "b", "c", "blue"]
                assert {name.lower() for name in request.headers} == {"host", "user-agent", "accept", "x-tenant"}
                assert request.headers["User-Agent"] == "tests/1"
            async with subject.request("POST", site.url(), data=b"body"):
                assert site.bodies[-1] == "body"
                assert "Content-Type" not in site.headers

    uvloop.run(go())


def test_bodies_are_not_decompressed(folder: Path) -> None:
    async def go() -> None:
        async with serving() as site, client(folder) as subject:
            site.respond = lambda request: web.Response(body=b"\x1f\x8bno gzip", headers={"Content-Encoding": "gzip"})
            async with subject.request("GET", site.url()) as answer:
                assert await answer.read() == b"\x1f\x8bno gzip"

    uvloop.run(go())


def test_connections_are_kept(folder: Path) -> None:
    async def go() -> None:
        async with serving() as site, client(folder) as subject:
            site.respond = lambda request: web.Response(text="x" * 300_000)
            peers = set()
            for number in range(3):
                async with subject.request("GET", site.url()) as answer:
                    if number < 2:
                        await answer.read()
                transport = site.requests[-1].transport
                peers.add(transport and transport.get_extra_info("peername"))
            assert len(peers) == 1
            async with subject.request("GET", site.url()) as answer:
                assert len(await answer.read()) == 300_000, "a body left unread costs its connection, and no more"

    uvloop.run(go())


REDIRECTS = [
    (status, method, "GET" if method != "HEAD" and (status == 303 or (status < 303 and method == "POST")) else method)
    for status in (301, 302, 303, 307, 308) for method in ("GET", "HEAD", "POST")
]


@pytest.mark.parametrize(("status", "method", "then"), REDIRECTS)
def test_redirect(status: int, method: str, then: str, folder: Path) -> None:
    def respond(request: web.BaseRequest) -> web.Response:
        if request.path == "/a":
            return web.Response(status=status, headers={"Location": "b?c=%2F"})
        return web.Response(text="arrived")

    async def go() -> None:
        async with serving() as site, client(folder, bearer_token=Secret("abc")) as subject:
            site.respond = respond
            async with subject.request(method, site.url("/a"), data=b"x" if method == "POST" else None) as answer:
                assert answer.status == 200
            last = site.requests[-1]
            assert (last.method, last.raw_path) == (then, "/b?c=%2F")
            assert site.bodies[-1] == ("x" if then == "POST" else "")
            assert last.headers["Authorization"] == "Bearer abc"

    uvloop.run(go())


def _answer(answer: web.Response, request: web.BaseRequest) -> web.Response:
    return answer


def test_redirects_can_be_switched_off(folder: Path) -> None:
    async def go() -> None:
        async with serving() as site, client(folder, follow_redirects=False) as subject:
            site.respond = lambda request: web.Response(status=302, headers={"Location": "/b"})
            async with subject.request("GET", site.url()) as answer:
                assert answer.status == 302

    uvloop.run(go())


def test_redirects_end(folder: Path) -> None:
    async def go() -> None:
        async with serving() as site, client(folder) as subject:
            site.respond = lambda request: web.Response(status=302, headers={"Location": "/again"})
            with pytest.raises(aiohttp.ClientError, match="stopped after 10 redirects"):
                await subject.request("GET", site.url()).__aenter__()
            assert len(site.requests) == 10
            site.respond = lambda request: web.Response(status=302)
            async with subject.request("GET", site.url()) as answer:
                assert answer.status == 302, "it leads nowhere"
            for location in ("ftp://x/", "file:///etc/passwd", "http://[x/"):
                leading = web.Response(status=302, headers={"Location": location})
                site.respond = partial(_answer, leading)
                with pytest.raises(aiohttp.ClientError, match="redirected to what is no http or https URL"):
                    await subject.request("GET", site.url()).__aenter__()

    uvloop.run(go())


def test_credentials_do_not_go_to_another_host(folder: Path) -> None:
    config: dict[str, Any] = {
        "basic_auth": BasicAuth(username="ann", password=Secret("x")),
        "http_headers": {
            "X-Key": HttpHeader(secrets=(Secret("k"),), files=("tenant",)), "X-Open": HttpHeader(values=("o",))
        },
    }
    given = {"Cookie": "c", "X-Mine": "m"}

    async def go() -> None:
        async with serving() as here, serving() as there, client(folder, **config) as subject:
            here.respond = lambda request: (
                web.Response(status=302, headers={"Location": there.url(host="localhost")})
                if request.path == "/away" else web.Response(text="back")
            )
            there.respond = lambda request: web.Response(status=302, headers={"Location": here.url("/back")})
            async with subject.request("GET", here.url("/away"), headers=given) as answer:
                assert await answer.text() == "back"
            first, last = here.requests
            assert {"Authorization", "X-Key", "X-Open", "Cookie", "X-Mine"} <= set(first.headers)
            for request in (there.requests[0], last):
                assert not {"Authorization", "X-Key", "Cookie"} & set(request.headers)
                assert (request.headers["X-Open"], request.headers["X-Mine"]) == ("o", "m")
            assert there.headers["Host"] == f"localhost:{there.port}"

    uvloop.run(go())


def test_errors_do_not_show_passwords(folder: Path) -> None:
    async def go() -> None:
        async with serving() as site, client(folder, bearer_token=Secret("s3cret")) as subject:
            site.respond = lambda request: web.Response(status=302, headers={"Location": str(request.url)})
            urls = [f"http://ann:s3cret@127.0.0.1:{site.port}/", "http://ann:s3cret@127.0.0.1:1/", "ftp://ann:s3cret@x/",
                    "http://ann:s3cret@[x/"]
            for url in urls:
                with pytest.raises((aiohttp.ClientError, OSError)) as caught:
                    await subject.request("GET", url).__aenter__()
                assert "s3cret" not in f"{caught.value} {caught.value!r}"

            async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/9 what\r\n\r\n")
                writer.close()

            server = await asyncio.start_server(broken, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(aiohttp.ClientError) as caught:
                await subject.request("GET", f"http://127.0.0.1:{port}/").__aenter__()
            assert "s3cret" not in f"{caught.value} {caught.value!r}"
            server.close()

    uvloop.run(go())


def test_errors_say_what_prometheus_says(folder: Path) -> None:
    async def go() -> None:
        async with serving() as site, client(folder) as subject:

            async def error(url: str) -> str:
                with pytest.raises(aiohttp.ClientError) as caught:
                    async with subject.request("GET", url) as answer:
                        await answer.read()
                return str(caught.value) if isinstance(caught.value, RequestFailed) else reason(caught.value)

            refused = 'Get "http://127.0.0.1:1/a": dial tcp 127.0.0.1:1: connect: connection refused'
            assert await error("http://127.0.0.1:1/a") == refused
            resolved = r'Get "http://localhost:1/": dial tcp (127\.0\.0\.1|\[::1\]):1: connect: connection refused'
            assert re.fullmatch(resolved, await error("http://localhost:1/"))
            unknown = 'Get "http://nowhere.invalid/": dial tcp: lookup nowhere.invalid: '
            assert (await error("http://nowhere.invalid/")).startswith(unknown)
            site.respond = _hang_up
            assert await error(site.url()) == f'Get "{site.url()}": EOF'

    uvloop.run(go())


@pytest.mark.parametrize(
    ("problem", "place"),
    [
        (OSError(111, "Connect call failed ('10.0.0.1', 9090)"), "10.0.0.1:9090: connect: connection refused"),
        (OSError(111, "Connect call failed ('::1', 9090, 0, 0)"), "[::1]:9090: connect: connection refused"),
        (OSError(111, "Multiple exceptions: [Errno 111] Connect call failed ('::1', 9090, 0, 0), "
                      "[Errno 111] Connect call failed ('127.0.0.1', 9090)"),
         "[::1]:9090: connect: connection refused"),
        (OSError("Multiple exceptions: [Errno 113] Connect call failed ('10.0.0.1', 9090), [Errno 101] x"),
         "10.0.0.1:9090: connect: no route to host"),
        (OSError("Multiple exceptions: [Errno 101] x, [Errno 22] y"), "a:9090: connect: network is unreachable"),
        (OSError(101, "Network is unreachable"), "a:9090: connect: network is unreachable"),
    ],
)
def test_which_address_was_tried(problem: OSError, place: str) -> None:
    assert dial_failure("a", 9090, problem) == f"dial tcp {place}"


def _hang_up(request: web.BaseRequest) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()
