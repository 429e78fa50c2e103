"""One request to a target: its answer, decompressed, within time and size limits. Errors in Prometheus' words."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import Executor

import aiohttp
from isal import isal_zlib

from scraper.target import Target
from tsdb.model.errors import TsdbError
from tsdb.model.settings import Bytes
from tsdb.net.client import REDIRECTS, HttpClient
from tsdb.net.failures import RequestFailed, reason
from tsdb.net.plain import AnswerTooLarge, PlainConnection, request_head

MAX_BODY_BYTES = 256 << 20
"""Largest answer of a job without `body_size_limit`: Prometheus takes what memory there is."""
_INLINE_COMPRESSED = 64 << 10
_INLINE_BYTES = 512 << 10
"""Up to these an answer is decompressed where it arrives: a thread and back costs more."""
_GZIP = 31
"""zlib's window bits for a gzip header."""
_MAGIC = b"\x1f\x8b\x08"


class ScrapeFailed(Exception):
    """A target did not answer, or not with what can be read."""


class BodyTooLarge(ScrapeFailed):
    """The answer is over the limit of its size."""


def request_headers(target: Target, accept: str, compression: bool) -> dict[str, str]:
    seconds = f"{target.timeout_ms / 1000:.3f}".rstrip("0").rstrip(".")
    return {
        "Accept": accept,
        "Accept-Encoding": "gzip" if compression else "identity",
        "X-Prometheus-Scrape-Timeout-Seconds": seconds,
    }


class Fetcher:
    """Asks one target, mostly over a connection of its own."""

    def __init__(self, target: Target, executor: Executor) -> None:
        self._target = target
        self._executor = executor
        self._connection = PlainConnection(target.endpoint)
        self._headers: Mapping[str, str] | None = None
        """What `_head` was made of."""
        self._head = b""
        self._redirected = False

    def close(self) -> None:
        self._connection.close()

    async def fetch(self, client: HttpClient, headers: Mapping[str, str], limit: int) -> tuple[bytes, str]:
        """(body, Content-Type) of the target's answer. `limit` is the size in bytes that fails, 0: `MAX_BODY_BYTES`.

        Raises ScrapeFailed.
        """
        self._reading = False
        try:
            async with asyncio.timeout(self._target.timeout_ms / 1000):
                body, content_type, compressed = await self._ask(client, headers, limit)
                if compressed:
                    body = await self._decompressed(body, limit)
                elif len(body) >= (limit or MAX_BODY_BYTES):
                    raise AnswerTooLarge
                return body, content_type
        except RequestFailed as problem:
            raise ScrapeFailed(str(problem)) from problem
        except AnswerTooLarge:
            raise _too_large(limit) from None
        except (TimeoutError, aiohttp.ClientError, OSError, TsdbError, ValueError) as problem:
            text = "context deadline exceeded" if isinstance(problem, TimeoutError) else reason(problem)
            reading = self._reading or self._connection.reading
            raise ScrapeFailed(text if reading else f'Get "{self._target.url}": {text}') from problem

    async def _ask(self, client: HttpClient, headers: Mapping[str, str], limit: int) -> tuple[bytes, str, bool]:
        """Body, Content-Type, whether the body is compressed."""
        url = self._target.endpoint
        plain = None if self._redirected else client.plain_headers(url, headers)
        if plain is not None:
            if plain != self._headers:
                self._head, self._headers = request_head(url, plain), plain
            answer = await self._connection.get(self._head, _most(limit))
            if answer.status == 200:
                return answer.body, answer.content_type, answer.content_encoding == "gzip"
            if answer.status not in REDIRECTS or not client.follows_redirects:
                raise _wrong_status(answer.status, answer.reason)
            self._redirected = True
        async with client.request("GET", url, headers=headers) as response:
            self._reading = True
            if response.status != 200:
                raise _wrong_status(response.status, response.reason)
            body = await _read(response.content, limit)
            compressed = response.headers.get("Content-Encoding") == "gzip"
            return body, response.headers.get("Content-Type", ""), compressed

    async def _decompressed(self, body: bytes, limit: int) -> bytes:
        inflate = Inflate(body, limit)
        if len(body) <= _INLINE_COMPRESSED and inflate.run(_INLINE_BYTES):
            return inflate.result()
        await asyncio.get_running_loop().run_in_executor(self._executor, inflate.run, None)
        return inflate.result()


def _wrong_status(status: int, words: str | None) -> ScrapeFailed:
    return ScrapeFailed(f"server returned HTTP status {status} {words or ''}".rstrip())


def _most(limit: int) -> int:
    """What may come over the wire: what cannot be compressed gets a little longer."""
    most = limit or MAX_BODY_BYTES
    return most + (most >> 6) + 1024


async def _read(content: aiohttp.StreamReader, limit: int) -> bytes:
    first = await content.readany()
    size, parts = len(first), [first]
    while parts[-1]:
        if size >= _most(limit):
            raise AnswerTooLarge
        parts.append(await content.readany())
        size += len(parts[-1])
    return first if len(parts) == 2 else b"".join(parts)


class Inflate:
    """Decompresses gzip piece by piece, so that a bomb is noticed before it takes the memory."""

    def __init__(self, body: bytes, limit: int) -> None:
        self._limit = limit
        self._left = body
        self._parts: list[bytes] = []
        self._size = 0
        self._begin()

    def run(self, most: int | None) -> bool:
        """Up to `most` bytes more; None: all. True at the end. Raises ScrapeFailed."""
        limit = self._limit or MAX_BODY_BYTES
        until = limit if most is None else min(limit, self._size + most)
        while self._left or not self._object.eof:
            if self._size >= limit:
                raise _too_large(self._limit)
            if self._size >= until:
                return False
            if self._object.eof:
                self._begin()
            try:
                part = self._object.decompress(self._left, until - self._size)
            except isal_zlib.IsalError as problem:  # type: ignore[misc]  # its stub has it as an instance
                raise ScrapeFailed("gzip: invalid checksum or data") from problem
            self._left = self._object.unused_data if self._object.eof else self._object.unconsumed_tail
            if not part and not self._left and not self._object.eof:
                raise ScrapeFailed("unexpected EOF")
            self._parts.append(part)
            self._size += len(part)
        if self._size >= limit:
            raise _too_large(self._limit)
        return True

    def _begin(self) -> None:
        """The next of several members, as ``cat a.gz b.gz`` makes them."""
        if not self._left.startswith(_MAGIC[: len(self._left)]):
            raise ScrapeFailed("gzip: invalid header")
        self._object = isal_zlib.decompressobj(_GZIP)

    def result(self) -> bytes:
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)


def _too_large(limit: int) -> BodyTooLarge:
    if limit:
        return BodyTooLarge("body size limit exceeded")
    return BodyTooLarge(f"body size limit exceeded: over {Bytes(MAX_BODY_BYTES)}; body_size_limit can allow more")
