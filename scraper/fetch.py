"""One request to a target: its answer, decompressed, within time and size limits. Errors in Prometheus' words."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from concurrent.futures import Executor

import aiohttp

from scraper.target import Target
from tsdb.model.errors import TsdbError
from tsdb.model.settings import Bytes
from tsdb.net.client import HttpClient
from tsdb.net.failures import RequestFailed, reason

MAX_BODY_BYTES = 256 << 20
"""Largest answer of a job without `body_size_limit`: Prometheus takes what memory there is."""
_INLINE_COMPRESSED = 64 << 10
_INLINE_BYTES = 512 << 10
"""Up to these an answer is decompressed where it arrives: a thread and back costs more."""
_GZIP = 31
"""zlib's window bits for a gzip header."""


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


async def fetch(
    client: HttpClient, target: Target, headers: Mapping[str, str], limit: int, executor: Executor
) -> tuple[bytes, str]:
    """(body, Content-Type) of the target's answer. `limit` is the size in bytes that fails, 0: `MAX_BODY_BYTES`.

    Raises ScrapeFailed.
    """
    reading = False
    try:
        async with asyncio.timeout(target.timeout_ms / 1000):
            async with client.request("GET", target.endpoint, headers=headers) as answer:
                reading = True
                if answer.status != 200:
                    raise ScrapeFailed(f"server returned HTTP status {answer.status} {answer.reason}".rstrip())
                compressed = answer.headers.get("Content-Encoding") == "gzip"
                body = await _read(answer.content, limit, compressed)
            if compressed:
                body = await _decompressed(body, limit, executor)
            return body, answer.headers.get("Content-Type", "")
    except RequestFailed as problem:
        raise ScrapeFailed(str(problem)) from problem
    except (TimeoutError, aiohttp.ClientError, OSError, TsdbError) as problem:
        text = "context deadline exceeded" if isinstance(problem, TimeoutError) else reason(problem)
        raise ScrapeFailed(text if reading else f'Get "{target.url}": {text}') from problem


async def _read(content: aiohttp.StreamReader, limit: int, compressed: bool) -> bytes:
    most = limit or MAX_BODY_BYTES
    if compressed:
        most += (most >> 6) + 1024  # what cannot be compressed gets a little longer
    first = await content.readany()
    size, parts = len(first), [first]
    while parts[-1]:
        if size >= most:
            raise _too_large(limit)
        parts.append(await content.readany())
        size += len(parts[-1])
    return first if len(parts) == 2 else b"".join(parts)


async def _decompressed(body: bytes, limit: int, executor: Executor) -> bytes:
    inflate = Inflate(body, limit)
    if len(body) <= _INLINE_COMPRESSED and inflate.run(_INLINE_BYTES):
        return inflate.result()
    await asyncio.get_running_loop().run_in_executor(executor, inflate.run, None)
    return inflate.result()


class Inflate:
    """Decompresses gzip piece by piece, so that a bomb is noticed before it takes the memory."""

    def __init__(self, body: bytes, limit: int) -> None:
        self._limit = limit
        self._left = body
        self._object = zlib.decompressobj(_GZIP)
        self._parts: list[bytes] = []
        self._size = 0

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
                self._object = zlib.decompressobj(_GZIP)
            try:
                part = self._object.decompress(self._left, until - self._size)
            except zlib.error as problem:
                invalid = "invalid header" if "header" in str(problem) else "invalid checksum or data"
                raise ScrapeFailed(f"gzip: {invalid}") from problem
            self._left = self._object.unused_data if self._object.eof else self._object.unconsumed_tail
            if not part and not self._left and not self._object.eof:
                raise ScrapeFailed("unexpected EOF")
            self._parts.append(part)
            self._size += len(part)
        if self._size >= limit:
            raise _too_large(self._limit)
        return True

    def result(self) -> bytes:
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)


def _too_large(limit: int) -> BodyTooLarge:
    if limit:
        return BodyTooLarge("body size limit exceeded")
    return BodyTooLarge(f"body size limit exceeded: over {Bytes(MAX_BODY_BYTES)}; body_size_limit can allow more")
