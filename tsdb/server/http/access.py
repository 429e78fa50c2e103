"""Who is let in where there is a ``--web.config.file``: rate limit, basic auth, headers of every answer.

As exporter-toolkit does it: all paths alike, /-/healthy too; a password is compared with its bcrypt hash, one at a time
and off the event loop, and an unknown user's with another hash, so that time tells nothing; what was compared once is
remembered.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import secrets
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from tsdb.server.http.answer import Answer, text
from tsdb.server.http.web_config import WebConfig, WebConfigFile, refused_names

_NOBODY = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"
"""What unknown users' passwords are compared with, and never found right."""
_MOST_REMEMBERED = 1000
_LONGEST_PASSWORD = 72
"""Bytes that bcrypt looks at."""


class Access:
    """Of one server; for its event loop."""

    def __init__(self, file: WebConfigFile) -> None:
        self.file = file
        self._secret = secrets.token_bytes(32)
        self._verdicts: dict[bytes, bool] = {}
        self._bcrypt = ThreadPoolExecutor(1, "bcrypt")
        self._tokens = 0.0
        self._counted = float("-inf")

    def close(self) -> None:
        self._bcrypt.shutdown(wait=False, cancel_futures=True)

    async def admit(self, http: web.BaseRequest) -> tuple[str, Answer | None]:
        """(principal, None), or what the request is refused with."""
        config = self.file.current().config
        if config.rate_limit.interval and not self._has_token(config):
            return "", text(429, "Too Many Requests", {"X-Content-Type-Options": "nosniff"})
        if not config.basic_auth_users:
            return "", None
        given = _credentials(http.headers.get("Authorization", ""))
        if given is not None:
            user, password = given
            hashed = config.basic_auth_users.get(user)
            known = await self._matches(user, hashed or _NOBODY, password)
            if known and hashed is not None:
                return user, None
        return "", text(401, "Unauthorized", {"WWW-Authenticate": "Basic", "X-Content-Type-Options": "nosniff"})

    def add_headers(self, headers: dict[str, str]) -> None:
        """The configured ones, where the answer has none of that name."""
        for name, value in self.file.current().config.http_server_config.headers.items():
            if value:
                headers.setdefault(name, value)

    def context(self) -> ssl.SSLContext:
        """For the next connection. Only where TLS is on, which the file cannot change while the server runs."""
        context = self.file.current().tls
        assert context is not None
        return context

    def refused_client(self, transport: asyncio.BaseTransport) -> str:
        """Why a connection is refused for its client's certificate; empty: it is not."""
        return refused_names(self.file.current().config.tls_server_config, transport.get_extra_info("peercert"))

    async def _matches(self, user: str, hashed: str, password: bytes) -> bool:
        digest = hashlib.blake2b(key=self._secret)
        for part in (user.encode("utf-8", "surrogateescape"), hashed.encode(), password):
            digest.update(len(part).to_bytes(8, "big") + part)
        place = digest.digest()
        verdict = self._verdicts.get(place)
        if verdict is None:
            loop = asyncio.get_running_loop()
            verdict = await loop.run_in_executor(self._bcrypt, _check_password, password, hashed.encode())
            if len(self._verdicts) >= _MOST_REMEMBERED:
                del self._verdicts[next(iter(self._verdicts))]
            self._verdicts[place] = verdict
        return verdict

    def _has_token(self, config: WebConfig) -> bool:
        limit = config.rate_limit
        now = time.monotonic()
        new = (now - self._counted) / limit.interval.seconds
        self._tokens = min(float(limit.burst), self._tokens + new)
        self._counted = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def _credentials(header: str) -> tuple[str, bytes] | None:
    """(user, password) of a header for basic auth."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    user, colon, password = decoded.partition(b":")
    return (user.decode("utf-8", "surrogateescape"), password) if colon else None


def _check_password(password: bytes, hashed: bytes) -> bool:
    import bcrypt  # only for who has users

    try:
        return bcrypt.checkpw(password[:_LONGEST_PASSWORD], hashed)
    except ValueError:
        return False
