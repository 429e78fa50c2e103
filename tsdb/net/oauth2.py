"""Tokens by OAuth 2.0 client credentials, as golang.org/x/oauth2 gets them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote_plus, urlencode

import aiohttp

from tsdb.net.config import OAuth2
from tsdb.net.credentials import Text, basic_auth

_EARLY_S = 10.0
"""A token is replaced this long before it ends."""
_TIMEOUT_S = 30.0
_SCHEMES = {"bearer": "Bearer", "mac": "MAC", "basic": "Basic", "": "Bearer"}


@dataclass(frozen=True)
class Answer:
    status: int
    reason: str
    content_type: str
    body: bytes


Post = Callable[[str, dict[str, str], bytes], Awaitable[Answer]]
"""URL, headers, body. Raises what a client raises."""


class TokenSource:
    """One token for all requests, fetched when it is first needed, when it ends, and when the secret has changed."""

    def __init__(self, config: OAuth2, base: Path, post: Post, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is in seconds. Raises ConfigError for a secret that cannot be used."""
        self._config = config
        self._secret = Text("oauth2 client secret", config.client_secret, config.client_secret_file, base)
        self._post = post
        self._clock = clock
        self._header = ""
        self._until = 0.0
        """By `clock`; infinite where the server does not say."""
        self._used_secret: str | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._in_body: bool | None = None
        """Where the server takes id and secret; None: not known yet."""

    async def header(self) -> str:
        """The value of the header `Authorization`. Raises ConfigError, aiohttp.ClientError, OSError."""
        secret = self._secret.read()
        if not self._header or secret != self._used_secret or self._clock() >= self._until:
            if self._fetching is None or self._fetching.done():
                self._fetching = asyncio.create_task(self._fetch(secret), name="fetch an oauth2 token")
                self._fetching.add_done_callback(_seen)
            # shared, and not ended with the request that happened to need it first
            await asyncio.shield(self._fetching)
        return self._header

    async def close(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    async def _fetch(self, secret: str) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                answer = await self._ask(secret)
        except TimeoutError:
            raise aiohttp.ClientError(f"oauth2: cannot fetch token: no answer within {_TIMEOUT_S:g}s") from None
        scheme, token, seconds = _token(answer)
        self._header = f"{scheme} {token}"
        self._until = self._clock() + seconds - _EARLY_S if seconds else float("inf")
        self._used_secret = secret

    async def _ask(self, secret: str) -> Answer:
        """Id and secret go into the header; where the server does not take that, into the form."""
        form = {"grant_type": "client_credentials"}
        if self._config.scopes:
            form["scope"] = " ".join(self._config.scopes)
        form.update(self._config.endpoint_params)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        name = self._config.client_id
        for in_body in (False, True) if self._in_body is None else (self._in_body,):
            if in_body:
                more = {"client_id": name, **({"client_secret": secret} if secret else {})}
                answer = await self._post(self._config.token_url, headers, urlencode(form | more).encode())
            else:
                credentials = {"Authorization": basic_auth(quote_plus(name), quote_plus(secret))}
                answer = await self._post(self._config.token_url, headers | credentials, urlencode(form).encode())
            if 200 <= answer.status < 300:
                self._in_body = in_body
                return answer
        raise aiohttp.ClientError(f"oauth2: cannot fetch token: {answer.status} {answer.reason}{_error(answer)}")


def _fields(answer: Answer) -> dict[str, Any]:
    if answer.content_type in ("application/x-www-form-urlencoded", "text/plain"):
        return dict(parse_qsl(answer.body.decode(errors="replace")))
    try:
        fields = json.loads(answer.body)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _token(answer: Answer) -> tuple[str, str, float]:
    """Scheme, token, and seconds that it is good for, 0 where the server does not say."""
    fields = _fields(answer)
    token, kind, seconds = fields.get("access_token"), fields.get("token_type"), fields.get("expires_in")
    if fields.get("error"):
        raise aiohttp.ClientError(f"oauth2: cannot fetch token: {answer.status} {answer.reason}{_error(answer)}")
    if not isinstance(token, str) or not token:
        raise aiohttp.ClientError("oauth2: server response missing access_token")
    if any(char in token for char in "\r\n\0"):
        raise aiohttp.ClientError("oauth2: the server's access_token holds a line end")
    scheme = kind if isinstance(kind, str) else ""
    try:
        lasting = float(seconds or 0)
    except (TypeError, ValueError):
        lasting = 0.0
    return _SCHEMES.get(scheme.lower(), scheme), token, lasting if lasting > 0 else 0.0


def _error(answer: Answer) -> str:
    """What the server says is wrong, never its whole answer, which may repeat what it was sent."""
    error = _fields(answer).get("error")
    return f": {error}" if isinstance(error, str) and error.isascii() and len(error) < 100 else ""


def _seen(task: asyncio.Task[None]) -> None:
    """A failure is told to who waits; where nobody does any more, it is no news."""
    if not task.cancelled():
        task.exception()


