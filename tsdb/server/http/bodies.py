"""Bodies of requests: received within limits of size, time and memory."""

from __future__ import annotations

import asyncio

from aiohttp import http_exceptions, web

from tsdb.model.errors import Unavailable


class BodyError(Exception):
    """A body that is not taken; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Memory:
    """What the requests of one server hold together, in bytes. For its event loop alone."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0


class Held:
    """What one request holds of it."""

    def __init__(self, memory: Memory, size: int = 0) -> None:
        self._memory = memory
        self._size = size

    def check(self, size: int) -> None:
        """Raises Unavailable where `size` bytes more would be too many. A request alone is under its own limits only:
        waiting would not make it smaller."""
        others = self._memory.held - self._size
        if others and self._memory.held + size > self._memory.most:
            raise Unavailable(
                f"requests under way hold {self._memory.held} bytes, {size} more are over the limit of "
                f"{self._memory.most} (server.max_bodies_size): send again later", retry_after=1,
            )

    def add(self, size: int) -> None:
        """Counts `size` bytes more, or raises Unavailable."""
        self.check(size)
        self._memory.held += size
        self._size += size

    def move(self) -> Held:
        """Hands all over to somebody who outlives the request."""
        size, self._size = self._size, 0
        return Held(self._memory, size)

    def release(self) -> None:
        self._memory.held -= self._size
        self._size = 0


async def read_body(http: web.BaseRequest, held: Held, most: int, seconds: float) -> bytes:
    """The body. Raises BodyError if it is larger than `most` bytes, broken or not there in `seconds`, and Unavailable.

    A client is refused by the length it declares, but holds only what it has sent: words keep nobody else out.
    """
    too_large = f"request body is larger than {most} bytes (server.max_body_size)"
    declared = http.content_length or 0
    if declared > most:
        raise BodyError(413, too_large)
    held.check(declared)
    if http.headers.get("Expect", "").lower() == "100-continue":
        await http.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        http.writer.output_size = 0
    parts: list[bytes] = []
    size = 0
    expiry = asyncio.get_running_loop().call_later(seconds, http.content.set_exception, TimeoutError())
    try:
        while part := await http.content.readany():
            size += len(part)
            if size > most:
                raise BodyError(413, too_large)
            held.add(len(part))
            parts.append(part)
    except TimeoutError:
        raise BodyError(408, f"request body did not arrive within {seconds:g} s") from None
    except (web.RequestPayloadError, http_exceptions.HttpProcessingError) as problem:
        shown = str(problem).encode("ascii", "backslashreplace").decode()
        raise BodyError(400, f"request body is broken: {' '.join(shown.split())[:200]}") from None
    finally:
        expiry.cancel()
    return parts[0] if len(parts) == 1 else b"".join(parts)
