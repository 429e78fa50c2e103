"""From a request to an answer: route, ready, principal, body and form, handler, errors, compression, counting.

One function for all routes: aiohttp's own router and middleware cost a third of a small request.
"""

from __future__ import annotations

import asyncio
import html
import posixpath
import re
import time
import urllib.parse
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from itertools import chain
from typing import Any

import zstandard
from aiohttp import web

from tsdb.model.errors import NotReady, TsdbError
from tsdb.server.http.answer import Answer, Events, Part, failure, failure_of, text
from tsdb.server.http.bodies import BodyError, Held, read_body
from tsdb.server.http.cors import Cors
from tsdb.server.http.route import Request, Route
from tsdb.server.services import Phase, Services

_COMPRESS_FROM = 1024
_COMPRESS_INLINE = 32 << 10
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")

Form = dict[str, list[str]]


class Dispatcher:
    """Call it with each request."""

    def __init__(self, services: Services, routes: Sequence[Route]) -> None:
        self._services = services
        self._access = services.access
        self._cors = Cors(services.options.cors_origin)
        self._prefix = prefix = services.options.route_prefix
        self._plain: dict[str, dict[str, Route]] = {}
        self._names = {route.path: re.sub(r"\{(\w+)\}", r":\1", route.path) for route in routes}
        """Paths as Prometheus' metrics have them."""
        self._patterns: list[tuple[re.Pattern[str], dict[str, Route]]] = []
        patterns: dict[str, dict[str, Route]] = {}
        for route in routes:
            table = patterns if "{" in route.path else self._plain
            methods = table.setdefault(prefix + route.path, {})
            for method in route.methods:
                methods[method] = route
        for path, methods in patterns.items():
            self._patterns.append((re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)), methods))

    async def __call__(self, http: web.BaseRequest) -> web.StreamResponse:
        began = time.perf_counter()
        path, _, query = http.raw_path.partition("?")
        methods, path_values = self._find(path)
        route = methods.get(http.method)
        principal, refusal = "", None
        if self._access is not None:
            principal, refusal = await self._access.admit(http)
        if refusal is not None:
            answer = refusal
        elif route is None:
            answer = self._no_route(http, path, query, methods)
        else:
            answer = await self._handle(http, route, path_values, query, principal)
            if route.api:
                self._cors.add(answer.headers, http.headers.get("Origin"))
        if self._access is not None:
            self._access.add_headers(answer.headers)
        encoding = "" if route is None or not route.compressed else _encoding(http, answer)
        if answer.events is not None:
            response, size = await _send_events(http, answer, answer.events)
        elif answer.rest is not None:
            response, size = await self._stream(http, answer, encoding)
        else:
            if encoding:
                await self._compress(answer, encoding)
            response, size = _whole(answer), answer.size
        handler = self._names[route.path] if route else "other"
        self._services.metrics.observe_request(handler, answer.status, time.perf_counter() - began, size)
        return response

    def _find(self, path: str) -> tuple[Mapping[str, Route], Mapping[str, str]]:
        methods = self._plain.get(path)
        if methods is not None:
            return methods, {}
        for pattern, methods in self._patterns:
            if found := pattern.fullmatch(path):
                named = {name: urllib.parse.unquote(value, errors="surrogateescape")
                         for name, value in found.groupdict().items()}
                return methods, named
        return {}, {}

    def _no_route(self, http: web.BaseRequest, path: str, query: str, methods: Mapping[str, Route]) -> Answer:
        allowed = {"Allow": ", ".join(sorted([*methods, "OPTIONS"]))}
        if http.method == "OPTIONS" and path.startswith(f"{self._prefix}/api/v1/"):
            answer = Answer(204)
            self._cors.add(answer.headers, http.headers.get("Origin"))
            return answer
        if not methods:
            return self._redirect(http.method, path, query) or text(404, "404 page not found")
        if http.method == "OPTIONS":
            return Answer(200, headers=allowed)
        return text(405, "Method Not Allowed", allowed)

    def _redirect(self, method: str, path: str, query: str) -> Answer | None:
        """To the prefix of all routes, and from `//` and from a slash too many or too few, as Go's routers do it."""
        if path == "/" and self._prefix and method == "GET":
            return _moved(302, self._prefix, "")
        clean = posixpath.normpath(path).replace("//", "/", 1) if path.startswith("/") else path
        candidates = (clean, f"{clean}/") if path.endswith("/") or clean != path else (f"{clean}/",)
        target = next((place for place in candidates if method in self._find(place)[0]), None)
        if target is None or target == path:
            return None
        return _moved(301 if method == "GET" else 308, target, query)

    async def _handle(
        self, http: web.BaseRequest, route: Route, path_values: Mapping[str, str], query: str, principal: str
    ) -> Answer:
        services = self._services
        held = Held(services.memory)
        try:
            if route.needs_storage and services.phase is not Phase.READY:
                raise NotReady(f"tsdb is {services.phase.value}: {services.doing}")
            body = b""
            if http.method in ("POST", "PUT"):
                limits = services.config.server
                body = await read_body(http, held, int(limits.max_body_size), limits.read_seconds)
            form: Form = {}
            problem = ""
            if body and http.content_type == "application/x-www-form-urlencoded":
                problem = _parse_form(form, body.decode("utf-8", "replace"))
            if query:
                problem = _parse_form(form, query) or problem
            request = Request(http, route, path_values, form, problem, body, held, principal)
            return await route.handler(services, request)
        except NotReady as error:
            stopping = str(services.phase is Phase.STOPPING).lower()
            return text(503, str(error), {"Retry-After": "1", "X-Prometheus-Stopping": stopping})
        except TsdbError as error:
            return failure_of(error)
        except BodyError as error:
            return text(error.status, str(error))
        except asyncio.CancelledError:
            raise
        except Exception:
            services.log.exception("internal error", extra={"fields": {"path": route.path}})
            message = "internal error: the server's log has the details"
            return failure(500, "internal", message) if route.api else text(500, message)
        finally:
            held.release()

    async def _compress(self, answer: Answer, encoding: str) -> None:
        compressor = Compressor(encoding)
        if answer.size <= _COMPRESS_INLINE:
            answer.parts = compressor.all(answer.parts)
        else:
            loop = asyncio.get_running_loop()
            answer.parts = await loop.run_in_executor(self._services.chores, compressor.all, answer.parts)

    async def _stream(self, http: web.BaseRequest, answer: Answer, encoding: str) -> tuple[web.StreamResponse, int]:
        """Sends a large answer while it is made; the client's pace is the pace. The bytes sent. What fails now breaks
        off: the status is sent already."""
        source = answer.source
        problem: BaseException | None = None
        if source is None:
            return await _send_parts(http, answer, encoding, self._services.chores, lambda: None)
        try:
            return await _send_parts(http, answer, encoding, source.executor, source.seconds_left)
        except (TsdbError, TimeoutError) as broken:
            problem = broken
            reason = str(broken) or "the client did not read on in time"
            self._services.log.warning("an answer broke off", extra={"fields": {"path": http.path, "err": reason}})
            raise ConnectionResetError(f"{http.path}: {reason}") from None
        except BaseException as left:
            problem = left
            raise
        finally:
            source.end(problem)
            if problem is not None and http.transport is not None:
                http.transport.abort()  # who does not read on would keep what is written so far in memory


async def _send_parts(http: web.BaseRequest, answer: Answer, encoding: str, executor: Executor,
                      seconds_left: Callable[[], float | None]) -> tuple[web.StreamResponse, int]:
    assert answer.rest is not None
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_type = answer.content_type
    await response.prepare(http)
    compressor = Compressor(encoding) if encoding else None
    parts = chain(answer.parts, answer.rest)
    loop = asyncio.get_running_loop()

    def make() -> Part | None:
        part = next(parts, None)
        if compressor is None:
            return part
        return compressor.flush() if part is None else compressor.add(part)

    sent = 0
    ended = False
    while not ended:
        part = await loop.run_in_executor(executor, make)
        ended = part is None or (compressor is not None and compressor.ended)
        if part:
            async with asyncio.timeout(seconds_left()):
                await response.write(part)
            sent += len(part)
    await response.write_eof()
    return response, sent


def _moved(status: int, path: str, query: str) -> Answer:
    place = f"{path}?{query}" if query else path
    word = {301: "Moved Permanently", 302: "Found", 308: "Permanent Redirect"}[status]
    body = f'<a href="{html.escape(place)}">{word}</a>.\n\n'.encode()
    return Answer(status, [body], "text/html; charset=utf-8", {"Location": place})


async def _send_events(http: web.BaseRequest, answer: Answer, events: Events) -> tuple[web.StreamResponse, int]:
    """Sends what comes until the client leaves or nothing more can come. The bytes sent."""
    try:
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        response.content_type = answer.content_type
        await response.prepare(http)
        sent = 0
        async for part in events:
            await response.write(part)
            sent += len(part)
        await response.write_eof()
    finally:
        events.close()
    return response, sent


def _parse_form(form: Form, encoded: str) -> str:
    """Adds the parameters to `form`; what was wrong, as Prometheus says it. Wrong pairs are left out."""
    problem = ""
    for pair in encoded.split("&"):
        if not pair:
            continue
        if ";" in pair:
            problem = problem or "invalid semicolon separator in query"
            continue
        if "%" in pair and (bad := _BAD_ESCAPE.search(pair)):
            problem = problem or f'invalid URL escape "{pair[bad.start():bad.start() + 3]}"'
            continue
        name, _, value = pair.partition("=")
        unquoted = urllib.parse.unquote_plus(name, errors="replace")
        form.setdefault(unquoted, []).append(urllib.parse.unquote_plus(value, errors="replace"))
    return problem


def _encoding(http: web.BaseRequest, answer: Answer) -> str:
    """How the answer is compressed; empty: not at all. Sets its headers."""
    if answer.rest is None and answer.size < _COMPRESS_FROM:
        return ""
    encoding = _accepted(http.headers.get("Accept-Encoding", ""))
    if encoding:
        answer.headers["Content-Encoding"] = encoding
        vary = answer.headers.get("Vary")
        answer.headers["Vary"] = f"{vary}, Accept-Encoding" if vary else "Accept-Encoding"
    return encoding


def _accepted(header: str) -> str:
    """The best encoding that the client takes; empty: none."""
    if not header:
        return ""
    offers = {}
    for offer in header.split(","):
        name, _, quality = offer.partition(";")
        offers[name.strip().lower()] = quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return next((name for name in ("zstd", "gzip") if offers.get(name)), "")


class Compressor:
    """One gzip or zstd stream, at the fastest level."""

    def __init__(self, encoding: str) -> None:
        self._stream: Any = (
            zstandard.ZstdCompressor(level=1).compressobj()
            if encoding == "zstd"
            else zlib.compressobj(1, zlib.DEFLATED, 31)
        )
        self.ended = False

    def add(self, part: Part) -> bytes:
        compressed: bytes = self._stream.compress(part)
        return compressed

    def flush(self) -> bytes:
        self.ended = True
        rest: bytes = self._stream.flush()
        return rest

    def all(self, parts: Sequence[Part]) -> list[Part]:
        made = [self.add(part) for part in parts]
        return [part for part in (*made, self.flush()) if part]


def _whole(answer: Answer) -> web.StreamResponse:
    if answer.status == 204:
        return web.Response(status=204, headers=answer.headers)
    answer.headers["Content-Type"] = answer.content_type
    return web.Response(status=answer.status, headers=answer.headers, body=b"".join(answer.parts))
