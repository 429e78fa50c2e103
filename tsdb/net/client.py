"""The HTTP client of everything that makes requests: auth, TLS, proxies and redirects as a config says, on aiohttp.

The cost of a request is mostly aiohttp's; what it does for each and nobody needs is switched off: cookies, timers,
tracing, headers of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from tsdb.net.config import HttpClientConfig
from tsdb.net.credentials import ConfiguredHeaders, basic_auth
from tsdb.net.failures import RequestFailed, reason
from tsdb.net.oauth2 import Answer, TokenSource
from tsdb.net.proxy import ProxyChooser
from tsdb.net.tls import ClientTls

_MOST_REQUESTS = 10
"""A request and its redirects, as in Go."""
_IDLE_S = 300
"""A connection that nothing was asked through for so long is closed: longer than between two scrapes."""
REDIRECTS = frozenset((301, 302, 303, 307, 308))
_SMALL = 2048
"""Bytes of a redirect's body that are worth reading to keep the connection."""
_LARGEST_TOKEN = 1 << 20
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
"""Callers have one for the whole."""


class HttpClient:
    """Makes requests as a config says. Used on one event loop; connections are kept for later requests.

    `base` is the folder that relative names of files are relative to. `limit`: most connections at a time, 0: no limit.
    Raises ConfigError for a config that cannot be used. Files that hold credentials are read for each request.
    """

    def __init__(self, config: HttpClientConfig, *, base: Path, user_agent: str, limit: int = 0) -> None:
        self.follows_redirects = config.follow_redirects
        self._limit = limit
        self._user_agent = {"User-Agent": user_agent}
        self._headers = ConfiguredHeaders(config, base)
        self._tls = ClientTls(config.tls_config, base)
        self._proxies = ProxyChooser(config)
        self._session: aiohttp.ClientSession | None = None
        self._token_client: HttpClient | None = None
        self._tokens: TokenSource | None = None
        oauth2 = config.oauth2
        if oauth2 is not None:
            of_tokens = HttpClientConfig(
                tls_config=oauth2.tls_config, proxy_url=oauth2.proxy_url, no_proxy=oauth2.no_proxy,
                proxy_from_environment=oauth2.proxy_from_environment, proxy_connect_header=oauth2.proxy_connect_header,
            )
            self._token_client = HttpClient(of_tokens, base=base, user_agent=user_agent)
            self._tokens = TokenSource(oauth2, base, self._token_client._post)

    def request(
        self, method: str, url: str | URL, *, headers: Mapping[str, str] | None = None, data: bytes | None = None
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """``async with client.request("GET", url) as answer``: the answer's body is to be read inside, and is as it was
        sent, compressed or not. A URL that is used again and again is best given as a yarl.URL.

        Entering raises RequestFailed, an aiohttp.ClientError (its text names the URL), or ConfigError: a file of the
        config cannot be read any more. Reading the body raises aiohttp.ClientError: `failures.reason` says why.
        """
        return _Exchange(self, method, url if isinstance(url, URL) else _parsed(url), headers, data)

    def plain_headers(self, url: URL, given: Mapping[str, str]) -> CIMultiDict[str] | None:
        """All headers of a request that needs nothing else: it may go through a `PlainConnection`. None where it needs
        TLS, a proxy or a token. Raises ConfigError as `request` does."""
        if url.scheme != "http" or self._tokens is not None or url.raw_user is not None:
            return None
        if self._proxies.choose(url) is not None:
            return None
        headers = self._headers.make(given, trusted=True)
        for name, value in self._user_agent.items():
            headers.setdefault(name, value)
        return headers

    async def close(self) -> None:
        """Ends all connections."""
        if self._tokens is not None:
            await self._tokens.close()
        if self._token_client is not None:
            await self._token_client.close()
        if self._session is not None:
            await self._session.close()

    async def send(
        self, method: str, url: URL, given: Mapping[str, str] | None, data: bytes | None
    ) -> aiohttp.ClientResponse:
        """The last answer of the request and its redirects. Who calls this releases it: `request` does."""
        first, trusted = url, True
        for _ in range(_MOST_REQUESTS):
            answer = await self._send_one(method, url, given, data, trusted)
            if answer.status not in REDIRECTS or not self.follows_redirects:
                return answer
            location = answer.headers.get("Location")
            if location is None:
                return answer
            await _finish(answer)
            url = _next(method, url, location)
            trusted = trusted and _same_host(first, url)
            if answer.status in (301, 302, 303) and method not in ("GET", "HEAD"):
                method, data = "GET", None
        raise RequestFailed(method, first, f"stopped after {_MOST_REQUESTS} redirects")

    async def _send_one(
        self, method: str, url: URL, given: Mapping[str, str] | None, data: bytes | None, trusted: bool
    ) -> aiohttp.ClientResponse:
        session = self._session or self._open()
        headers = self._headers.make(given, trusted=trusted)
        if trusted and self._tokens is not None and "Authorization" not in headers:
            headers["Authorization"] = await self._tokens.header()
        if url.raw_user is not None or url.raw_password is not None:
            headers["Authorization"] = basic_auth(url.user or "", url.password or "")
            url = url.with_user(None)
        proxy_url = proxy_headers = None
        proxy = self._proxies.choose(url)
        if proxy is not None:
            proxy_url = proxy.url
            if url.scheme == "https":
                proxy_headers = proxy.connect_headers
            elif proxy.authorization:
                headers["Proxy-Authorization"] = proxy.authorization
        try:
            return await session.request(
                method, url, headers=headers, data=data, allow_redirects=False, ssl=self._tls.context(),
                server_hostname=self._tls.server_name if url.scheme == "https" else None,
                proxy=proxy_url, proxy_headers=proxy_headers,
            )
        except (aiohttp.ClientError, OSError) as problem:
            if isinstance(problem, TimeoutError):
                raise
            raise RequestFailed(method, url, reason(problem)) from None

    def _open(self) -> aiohttp.ClientSession:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._limit, keepalive_timeout=_IDLE_S),
            headers=self._user_agent,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type"),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=_NO_TIMEOUT,
            auto_decompress=False,
            read_bufsize=1 << 18,
        )
        return self._session

    async def _post(self, url: str, headers: dict[str, str], body: bytes) -> Answer:
        async with self.request("POST", url, headers=headers, data=body) as answer:
            content = await answer.content.read(_LARGEST_TOKEN)
            while chunk := await answer.content.read(_LARGEST_TOKEN):
                content += chunk
                if len(content) > _LARGEST_TOKEN:
                    raise RequestFailed("POST", URL(url), f"an answer of more than {_LARGEST_TOKEN} bytes")
            return Answer(answer.status, answer.reason or "", answer.content_type, content)


class _Exchange:
    """A request and, while it is entered, its answer."""

    __slots__ = ("_answer", "_arguments", "_client")

    def __init__(
        self, client: HttpClient, method: str, url: URL, headers: Mapping[str, str] | None, data: bytes | None
    ) -> None:
        self._client = client
        self._arguments = method, url, headers, data

    async def __aenter__(self) -> aiohttp.ClientResponse:
        self._answer = await self._client.send(*self._arguments)
        return self._answer

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._answer.release()  # closes the connection where the body was not read to its end


def _parsed(text: str) -> URL:
    try:
        url = _url(text)
        if url.scheme in ("http", "https") and url.host:
            return url
    except ValueError:
        pass
    raise aiohttp.ClientError("not a URL of the form http://host/path or https://host/path")


def _url(text: str) -> URL:
    """What is encoded already stays as it is."""
    return URL(text, encoded=text.isascii() and " " not in text)


def _same_host(first: URL, url: URL) -> bool:
    """Whether credentials meant for one may go to the other: not to another host, nor in the clear if they were not."""
    return first.host == url.host and (url.scheme == "https" or first.scheme == "http")


def _next(method: str, url: URL, location: str) -> URL:
    try:
        target = url.join(_url(location))
        if target.scheme in ("http", "https") and target.host:
            return target
    except ValueError:
        pass
    raise RequestFailed(method, url, "redirected to what is no http or https URL")


async def _finish(answer: aiohttp.ClientResponse) -> None:
    """Reads a short body, so that the connection can be used again."""
    if (answer.content_length or 0) <= _SMALL:
        await answer.content.read(_SMALL)
    answer.release()


