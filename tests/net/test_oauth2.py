"""OAuth 2.0: tokens are fetched once, kept, and fetched again."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import pytest
import trustme
import uvloop
from aiohttp import web

from tests.net.servers import Site, client, proxying, server_tls, serving
from tsdb.model.settings import Secret, Url
from tsdb.net.client import HttpClient
from tsdb.net.config import OAuth2, TlsConfig


class Tokens:
    """Behaviour of a token server."""

    def __init__(self, site: Site) -> None:
        self.site = site
        site.respond = self.respond
        self.fields: dict[str, Any] = {"token_type": "bearer", "expires_in": 3600}
        self.takes_header = True
        self.given = 0

    def respond(self, request: web.BaseRequest) -> web.Response:
        if not self.takes_header and "client_secret" not in self.site.bodies[-1]:
            return web.json_response({"error": "invalid_client", "error_description": "s3cret"}, status=401)
        self.given += 1
        return web.json_response({"access_token": f"t{self.given}"} | self.fields)


def oauth2(site: Site, **more: Any) -> dict[str, OAuth2]:
    return {"oauth2": OAuth2(client_id="me+", client_secret=Secret("s3 cret"), token_url=site.url("/token"), **more)}


async def ask(subject: HttpClient, site: Site) -> str:
    async with subject.request("GET", site.url()):
        return site.headers["Authorization"]


def test_one_token_for_all(tmp_path: Path) -> None:
    async def go() -> None:
        async with serving() as site, serving() as token_site:
            tokens = Tokens(token_site)
            config = oauth2(token_site, scopes=("a", "b"), endpoint_params={"audience": "x&y"})
            async with client(tmp_path, **config) as subject:
                assert await asyncio.gather(*(ask(subject, site) for _ in range(20))) == ["Bearer t1"] * 20
                assert await ask(subject, site) == "Bearer t1"
            assert tokens.given == 1
            request, = token_site.requests
            assert request.method == "POST"
            assert request.content_type == "application/x-www-form-urlencoded"
            assert base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")) == b"me%2B:s3+cret"
            assert parse_qs(token_site.bodies[0]) == {
                "grant_type": ["client_credentials"], "scope": ["a b"], "audience": ["x&y"]
            }

    uvloop.run(go())


def test_a_token_is_replaced_before_it_ends(tmp_path: Path) -> None:
    async def go() -> None:
        async with serving() as site, serving() as token_site:
            tokens = Tokens(token_site)
            async with client(tmp_path, **oauth2(token_site)) as subject:
                tokens.fields = {"token_type": "Custom", "expires_in": "10"}
                assert await ask(subject, site) == "Custom t1"
                tokens.fields = {"expires_in": 0}
                assert await ask(subject, site) == "Bearer t2"
                assert await ask(subject, site) == "Bearer t2", "it never ends"

    uvloop.run(go())


def test_id_and_secret_in_the_form_where_the_server_wants_that(tmp_path: Path) -> None:
    async def go() -> None:
        async with serving() as site, serving() as token_site:
            tokens = Tokens(token_site)
            tokens.takes_header = False
            tokens.fields = {"expires_in": 1}
            async with client(tmp_path, **oauth2(token_site)) as subject:
                assert await ask(subject, site) == "Bearer t1"
                assert len(token_site.requests) == 2
                assert parse_qs(token_site.bodies[1])["client_secret"] == ["s3 cret"]
                assert "Authorization" not in token_site.headers
                assert await ask(subject, site) == "Bearer t2"
                assert len(token_site.requests) == 3, "what the server wants is remembered"

    uvloop.run(go())


def _make(answer: Callable[[], web.Response], request: web.BaseRequest) -> web.Response:
    return answer()


def test_failures(tmp_path: Path) -> None:
    answers = {
        "401 Unauthorized: invalid_client": (401, '{"error": "invalid_client", "x": "s3 cret"}'),
        "500 Internal Server Error$": (500, "s3 cret"),
        "missing access_token": (200, "{}"),
        "holds a line end": (200, '{"access_token": "a\\nb"}'),
        "more than 1048576 bytes": (200, "x" * (1 << 21)),
    }

    async def go() -> None:
        async with serving() as site, serving() as token_site, client(tmp_path, **oauth2(token_site)) as subject:
            for message, (status, text) in answers.items():
                wrong = partial(web.Response, status=status, text=text, content_type="application/json")
                token_site.respond = partial(_make, wrong)
                results = await asyncio.gather(*(ask(subject, site) for _ in range(3)), return_exceptions=True)
                for result in results:
                    assert isinstance(result, aiohttp.ClientError)
                    assert "s3" not in repr(result)
                    with pytest.raises(aiohttp.ClientError, match=message):
                        raise result
            assert not site.requests
            Tokens(token_site)
            assert await ask(subject, site) == "Bearer t1", "the next request tries again"

    uvloop.run(go())


def test_a_request_that_gives_up_does_not_end_the_fetch(tmp_path: Path) -> None:
    async def go() -> None:
        async with serving() as site, serving() as token_site:
            Tokens(token_site)
            arrived, may_answer = asyncio.Event(), asyncio.Event()
            handle = token_site.handle

            async def slow(request: web.BaseRequest) -> web.StreamResponse:
                arrived.set()
                await may_answer.wait()
                return await handle(request)

            token_site.handle = slow  # type: ignore[method-assign]
            async with client(tmp_path, **oauth2(token_site)) as subject:
                first = asyncio.create_task(ask(subject, site))
                second = asyncio.create_task(ask(subject, site))
                await arrived.wait()
                first.cancel()
                may_answer.set()
                assert await second == "Bearer t1"

    uvloop.run(go())


def test_a_changed_secret_and_own_tls_and_proxy(tmp_path: Path) -> None:
    authority = trustme.CA()
    (tmp_path / "secret").write_text("one\n")

    async def go() -> None:
        async with (serving() as site, serving(server_tls(authority, "tokens.example")) as token_site,
                    proxying(token_site.port) as proxy):
            Tokens(token_site)
            config = OAuth2(
                client_id="me", client_secret_file="secret", token_url="https://tokens.example/",
                tls_config=TlsConfig(ca=authority.cert_pem.bytes().decode()),
                proxy_url=Url(f"http://127.0.0.1:{proxy.port}"),
            )
            async with client(tmp_path, oauth2=config) as subject:
                assert [await ask(subject, site) for _ in range(2)] == ["Bearer t1"] * 2
                (tmp_path / "secret").write_text("two\n")
                assert [await ask(subject, site) for _ in range(2)] == ["Bearer t2"] * 2
            sent = [base64.b64decode(request.headers["Authorization"][6:]) for request in token_site.requests]
            assert sent == [b"me:one", b"me:two"]
            assert proxy.asked[0][0] == "CONNECT tokens.example:443 HTTP/1.1"

    uvloop.run(go())
