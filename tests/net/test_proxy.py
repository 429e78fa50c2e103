"""Proxies: which requests go through one, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
import uvloop
from yarl import URL

from tests.net.servers import client, proxying, server_tls, serving
from tsdb.model.errors import ConfigError
from tsdb.model.settings import Secret, Url
from tsdb.net.config import ProxyConfig, TlsConfig
from tsdb.net.proxy import NoProxy, ProxyChooser

NO_PROXY = [
    # of golang.org/x/net/http/httpproxy's tests
    ("", "localhost", "80", True), ("", "127.0.0.1", "80", True), ("", "127.0.0.2", "80", True),
    ("", "::1", "80", True),
    ("", "example.com", "80", False), ("", "[::2]", "80", False),
    ("*", "example.com", "80", True), ("x, *", "1.2.3.4", "1", True),
    ("barbaz.net", "barbaz.net", "80", True), ("barbaz.net", "www.barbaz.net", "80", True),
    ("barbaz.net", "foobarbaz.net", "80", False), ("barbaz.net", "BarBaz.Net", "80", True),
    (".barbaz.net", "barbaz.net", "80", False), (".barbaz.net", "www.barbaz.net", "80", True),
    ("*.barbaz.net", "barbaz.net", "80", False), ("*.barbaz.net", "a.www.barbaz.net", "80", True),
    ("baz.com:8080", "baz.com", "8080", True), ("baz.com:8080", "baz.com", "80", False),
    (".baz.com:8080", "x.baz.com", "8080", True), ("*.baz.com:8080", "x.baz.com", "80", False),
    ("192.168.1.1", "192.168.1.1", "80", True), ("192.168.1.1", "192.168.1.2", "80", False),
    ("192.168.1.1:81", "192.168.1.1", "81", True), ("192.168.1.1:81", "192.168.1.1", "80", False),
    ("192.168.0.0/16", "192.168.99.1", "80", True), ("192.168.0.0/16", "192.169.0.1", "80", False),
    ("192.168.0.7/16", "192.168.99.1", "80", True), ("2001:db8::/32", "2001:db8::52", "80", True),
    ("2001:db8::52", "2001:db8::52", "80", True), ("[2001:db8::52]:80", "2001:db8::52", "80", True),
    ("[2001:db8::52]:80", "2001:db8::52", "81", False), ("10.0.0.0/8", "ten.example", "80", False),
    ("a.b , c.d", "c.d", "1", True), (",,", "c.d", "1", False), (":80", "c.d", "80", False),
    ("bücher.example", "xn--bcher-kva.example", "80", True), ("xn--bcher-kva.example", "bücher.example", "80", True),
    ("300.0.0.0/8", "300.0.0.1", "80", False), ("10.0.0.0", "::ffff:10.0.0.0", "80", True),
]


@pytest.mark.parametrize(("text", "host", "port", "expected"), NO_PROXY)
def test_no_proxy(text: str, host: str, port: str, expected: bool) -> None:
    assert NoProxy(text).holds(host, port) is expected


def chosen(url: str, environment: dict[str, str] | None = None, **config: Any) -> str | None:
    proxy = ProxyChooser(ProxyConfig(**config), environment or {}).choose(URL(url))
    return None if proxy is None else str(proxy.url)


def test_choice() -> None:
    assert chosen("http://x/") is None
    assert chosen("http://x/", {"HTTP_PROXY": "http://p:1"}) is None, "the environment only where it is asked for"
    everywhere: dict[str, Any] = {"proxy_url": Url("http://p:1")}
    assert chosen("http://127.0.0.1/", **everywhere) == "http://p:1", "even for this host, as in Prometheus"
    assert chosen("https://x/", **everywhere) == "http://p:1"
    assert chosen("http://127.0.0.1/", no_proxy="x", **everywhere) is None
    assert chosen("https://x:443/", no_proxy="x:80", **everywhere) == "http://p:1"
    assert chosen("https://x/", no_proxy="x:443", **everywhere) is None
    environment = {"HTTP_PROXY": "http://a:1", "https_proxy": "b:2", "NO_PROXY": "none.example"}
    assert chosen("http://x/", environment, proxy_from_environment=True) == "http://a:1"
    assert chosen("https://x/", environment, proxy_from_environment=True) == "http://b:2"
    assert chosen("http://none.example/", environment, proxy_from_environment=True) is None
    assert chosen("https://x/", {"http_proxy": "http://a:1"}, proxy_from_environment=True) is None


@pytest.mark.parametrize("url", ["socks5://u:s3cret@p:1", "http://u:s3cret@[p", "http://u:s3cret@p:x"])
def test_wrong_proxy(url: str) -> None:
    with pytest.raises(ConfigError, match="proxy_url") as caught:
        ProxyChooser(ProxyConfig(proxy_url=Url(url)))
    assert "s3cret" not in str(caught.value)


def test_plain_requests(tmp_path: Path) -> None:
    async def go() -> None:
        async with serving() as site, proxying(site.port) as proxy:
            config = {"proxy_url": Url(f"http://ann:x@127.0.0.1:{proxy.port}"),
                      "proxy_connect_header": {"X-Connect": (Secret("c"),)}}
            async with client(tmp_path, **config) as subject:
                for _ in range(2):
                    async with subject.request("GET", "http://far.example/metrics?a=b") as answer:
                        assert await answer.text() == "hello"
            line, headers = proxy.asked[0]
            assert line == "GET http://far.example/metrics?a=b HTTP/1.1"
            assert headers["host"] == "far.example"
            assert headers["proxy-authorization"] == "Basic YW5uOng="
            assert "x-connect" not in headers
            assert [request.headers.get("Proxy-Authorization") for request in site.requests] == ["Basic YW5uOng="] * 2

    uvloop.run(go())


def test_connect(tmp_path: Path) -> None:
    authority = trustme.CA()
    tls = TlsConfig(ca=authority.cert_pem.bytes().decode())

    async def go() -> None:
        async with serving(server_tls(authority, "far.example")) as site, proxying(site.port) as proxy:
            config = {"proxy_url": Url(f"http://ann:x@127.0.0.1:{proxy.port}"), "bearer_token": Secret("abc"),
                      "proxy_connect_header": {"X-Connect": (Secret("c"),)}}
            async with client(tmp_path, tls_config=tls, **config) as subject:
                for _ in range(2):
                    async with subject.request("GET", "https://far.example/metrics") as answer:
                        assert await answer.text() == "hello"
                assert len(proxy.asked) == 1, "the connection is kept"
                line, headers = proxy.asked[0]
                assert line == "CONNECT far.example:443 HTTP/1.1"
                assert (headers["x-connect"], headers["proxy-authorization"]) == ("c", "Basic YW5uOng=")
                assert "authorization" not in headers, "which is for the host behind"
                assert site.headers["Authorization"] == "Bearer abc"
                assert "Proxy-Authorization" not in site.headers
                proxy.refuse = "407 Proxy Authentication Required"
                with pytest.raises(aiohttp.ClientError, match="proxy: 407 Proxy Auth") as caught:
                    await subject.request("GET", "https://other.example/").__aenter__()
                assert "abc" not in repr(caught.value)
                assert "ann:x" not in repr(caught.value)
            async with client(tmp_path, tls_config=tls, no_proxy="127.0.0.1", **config) as subject:
                with pytest.raises(aiohttp.ClientError, match=r"not valid for '127\.0\.0\.1'"):
                    await subject.request("GET", site.url()).__aenter__()

    uvloop.run(go())
