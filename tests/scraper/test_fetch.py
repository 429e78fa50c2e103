"""Answers of real targets, good and bad; the words for what is wrong are Prometheus'."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import uvloop

from scraper import fetch as fetch_module
from scraper.config import GlobalConfig, ScrapeConfig
from scraper.fetch import BodyTooLarge, Fetcher, Inflate, ScrapeFailed, request_headers
from scraper.settings import JobSettings
from scraper.target import NoTarget, Target, make_target
from tests.behaviours import GOOD, TEXT, Answer, Exchange, redirect
from tests.processes import free_port
from tests.targets import TargetServer
from tsdb.net.client import HttpClient
from tsdb.relabel.rules import Relabeling


@pytest.fixture(scope="module")
def server() -> Iterator[TargetServer]:
    with TargetServer() as server:
        yield server


def get(address: str, path: str, limit: int = 0, timeout: str = "5s", **keys: Any) -> tuple[bytes, str]:
    """One scrape's answer."""
    config = ScrapeConfig(job_name="j", metrics_path=path, **keys)
    settings = JobSettings.of(GlobalConfig(), config, Path(), frozenset())
    target = make_target(settings, Relabeling(()), {"__address__": address, "__scrape_timeout__": timeout}, {})
    assert isinstance(target, Target)

    async def go() -> tuple[bytes, str]:
        client = HttpClient(config, base=Path(), user_agent="tsdb/1.2")
        headers = request_headers(target, settings.accept, config.enable_compression)
        with ThreadPoolExecutor(1) as executor:
            fetcher = Fetcher(target, executor)
            try:
                return await fetcher.fetch(client, headers, limit)
            finally:
                fetcher.close()
                await client.close()

    return uvloop.run(go())


@pytest.mark.parametrize("path", ["/text", "/gzip", "/chunked", "/closes", "/redirect"])
def test_good_answers(path: str, server: TargetServer) -> None:
    assert get(server.address, path) == (GOOD.encode(), TEXT)


def test_request_headers(server: TargetServer) -> None:
    get(server.address, "/text", timeout="2500ms")
    headers = server.requests("/text")[-1].headers
    assert headers["accept"].startswith("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,")
    assert (headers["accept-encoding"], headers["x-prometheus-scrape-timeout-seconds"]) == ("gzip", "2.5")
    assert headers["user-agent"] == "tsdb/1.2"
    get(server.address, "/gzip", enable_compression=False, timeout="1m")
    headers = server.requests("/gzip")[-1].headers
    assert (headers["accept-encoding"], headers["x-prometheus-scrape-timeout-seconds"]) == ("identity", "60")


@pytest.mark.parametrize(
    ("path", "keys", "error"),
    [
        ("/hang", {"timeout": "100ms"}, 'Get "http://{address}/hang": context deadline exceeded'),
        ("/hang-in-body", {"timeout": "100ms"}, "context deadline exceeded"),
        ("/drip", {"timeout": "100ms"}, "context deadline exceeded"),
        ("/cut", {}, "unexpected EOF"),
        ("/cut-chunked", {}, "unexpected EOF"),
        ("/reset", {}, 'Get "http://{address}/reset": '),
        ("/no-http", {}, 'Get "http://{address}/no-http": '),
        ("/404", {}, "server returned HTTP status 404 Not Found"),
        ("/500", {}, "server returned HTTP status 500 Internal Server Error"),
        ("/broken-gzip", {}, "unexpected EOF"),
        ("/no-gzip", {}, "gzip: invalid header"),
        ("/redirect-loop", {}, 'Get "http://{address}/redirect-loop": '),
        ("/redirect", {"follow_redirects": False}, "server returned HTTP status 302 Found"),
        ("/redirect-nowhere", {}, 'dial tcp 127.0.0.1:1: connect: connection refused'),
        ("/100-mb", {"limit": 1 << 20}, "body size limit exceeded"),
        ("/gzip-bomb", {"limit": 10 << 20}, "body size limit exceeded"),
    ],
)
def test_bad_answers(path: str, keys: dict[str, Any], error: str, server: TargetServer) -> None:
    with pytest.raises(ScrapeFailed) as caught:
        get(server.address, path, **keys)
    assert error.format(address=server.address) in str(caught.value)


def test_nobody_there() -> None:
    port = free_port()
    with pytest.raises(ScrapeFailed) as caught:
        get(f"127.0.0.1:{port}", "/metrics")
    assert str(caught.value) == (
        f'Get "http://127.0.0.1:{port}/metrics": dial tcp 127.0.0.1:{port}: connect: connection refused'
    )
    with pytest.raises(ScrapeFailed) as caught:
        get("nobody.invalid", "/metrics")
    assert str(caught.value) == 'Get "http://nobody.invalid/metrics": dial tcp: lookup nobody.invalid: no such host'


@pytest.mark.parametrize(
    "address", ["a b:80", "host:99999", ":80", "[::1", "a" * 70 + ".invalid", "..", "h\r\nX: y:80"]
)
def test_addresses_that_are_none(address: str) -> None:
    try:
        with pytest.raises(ScrapeFailed):
            get(address, "/metrics")
    except NoTarget:
        pass


def test_a_certificate_that_is_not_trusted(server: TargetServer) -> None:
    with pytest.raises(ScrapeFailed, match=r"tls: failed to verify certificate: "):
        get(server.tls_address, "/text", scheme="https")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(("limit", "taken"), [(0, True), (9, True), (8, False), (3, False)])
def test_the_limit_is_the_size_that_fails(limit: int, taken: bool, compressed: bool, server: TargetServer) -> None:
    server.behave("/eight", Answer("a 123456", gzip=compressed))
    if taken:
        assert get(server.address, "/eight", limit)[0] == b"a 123456"
    else:
        with pytest.raises(BodyTooLarge, match=r"^body size limit exceeded$"):
            get(server.address, "/eight", limit)


def test_without_a_limit_there_is_one(server: TargetServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_module, "MAX_BODY_BYTES", 4 << 20)
    for path in ("/100-mb", "/gzip-bomb"):
        with pytest.raises(BodyTooLarge) as caught:
            get(server.address, path)
        assert str(caught.value) == "body size limit exceeded: over 4MiB; body_size_limit can allow more"


@pytest.mark.parametrize("redirected", [False, True])
def test_connections_are_kept(redirected: bool, server: TargetServer) -> None:
    ports = []

    async def note(exchange: Exchange) -> None:
        ports.append(exchange.writer.get_extra_info("peername")[1])
        await Answer("a 1\n")(exchange)

    server.behave("/noted", note)
    server.behave("/elsewhere", redirect("/noted"))
    config = ScrapeConfig(job_name="j", metrics_path="/elsewhere" if redirected else "/noted")
    target = make_target(JobSettings.of(GlobalConfig(), config, Path(), frozenset()), Relabeling(()),
                         {"__address__": server.address}, {})
    assert isinstance(target, Target)

    async def go() -> None:
        client = HttpClient(config, base=Path(), user_agent="tsdb")
        with ThreadPoolExecutor(1) as executor:
            fetcher = Fetcher(target, executor)
            for _ in range(3):
                assert (await fetcher.fetch(client, {}, 0))[0] == b"a 1\n"
            fetcher.close()
        await client.close()

    uvloop.run(go())
    assert len(ports) == 3 and len(set(ports)) == 1


@pytest.mark.parametrize("most", [1, 1000, None])
def test_decompression_in_pieces(most: int | None) -> None:
    """Several members, as `cat a.gz b.gz` makes them, come out as one text."""
    noise = random.Random(1)
    parts = [bytes(noise.randrange(97, 101) for _ in range(size)) for size in (0, 1, 5000, 70_000 if most != 1 else 70)]
    inflate = Inflate(b"".join(map(gzip.compress, parts)), 0)
    calls = 1
    while not inflate.run(most):
        calls += 1
    assert inflate.result() == b"".join(parts)
    assert most is None or calls >= sum(map(len, parts)) // most


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "unexpected EOF"),
        (b"nope", "gzip: invalid header"),
        (gzip.compress(b"x" * 1000, mtime=0)[:-1], "unexpected EOF"),
        (gzip.compress(b"x" * 1000, mtime=0)[:15], "unexpected EOF"),
        (gzip.compress(b"x", mtime=0) + b"rest", "gzip: invalid header"),
        (gzip.compress(b"x" * 1000, mtime=0)[:-8] + bytes(8), "gzip: invalid checksum or data"),
        (zlib.compress(b"x"), "gzip: invalid header"),
    ],
)
def test_what_is_no_gzip(body: bytes, error: str) -> None:
    with pytest.raises(ScrapeFailed, match=f"^{error}$"):
        Inflate(body, 0).run(None)
