"""Answers: bytes with a status, and the two envelopes of Prometheus' API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Protocol

import orjson

from tsdb.model.errors import IngestError, QueryError, TsdbError, Unavailable

Part = bytes | memoryview

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"

AT_ONCE = 1 << 20
"""Bytes of an answer that are made before it begins."""

TRUNCATED = "results truncated due to limit"


class Events(Protocol):
    """Parts of an answer that come when something happens, until the client leaves."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def __anext__(self) -> bytes: ...

    def close(self) -> None: ...


class Source(Protocol):
    """Who makes the rest of an answer elsewhere than on the threads for chores, and for long."""

    @property
    def executor(self) -> Executor:
        """Where parts are made, one after the other."""
        ...

    def seconds_left(self) -> float | None:
        """How long the client may take for the next part; None: any time."""
        ...

    def end(self, problem: BaseException | None) -> None:
        """Nobody asks for parts any more: the last one is sent, or there is a problem, as that the client has left. A
        part may be under way. Called on the loop, once; does not wait."""
        ...


@dataclass(slots=True)
class Answer:
    status: int = 200
    parts: list[Part] = field(default_factory=list)
    content_type: str = TEXT
    headers: dict[str, str] = field(default_factory=dict)
    rest: Iterator[Part] | None = None
    """What comes behind `parts`, made part by part, each off the loop."""
    source: Source | None = None
    """Who makes `rest`. None: it costs little, and may stay unread."""
    events: Events | None = None
    """What comes behind `parts`, awaited; never compressed. Closed by who sends it, whatever happens."""

    @property
    def size(self) -> int:
        """Bytes of `parts`."""
        return sum(len(part) for part in self.parts)


def text(status: int, message: str, headers: dict[str, str] | None = None) -> Answer:
    """Plain text, a line."""
    headers = dict(headers or ())
    if status >= 400:
        headers["X-Content-Type-Options"] = "nosniff"
    return Answer(status, [f"{message}\n".encode()], TEXT, headers)


def success(data: Any, warnings: Iterable[str] = (), infos: Iterable[str] = ()) -> Answer:
    """The envelope around `data`, which orjson prints."""
    return success_parts([dumps(data)], warnings, infos)


def success_sorted(data: Any, *, escape: bool = True) -> Answer:
    """The envelope around `data` with the keys of objects in order, as Go prints maps. `escape`: safe inside HTML."""
    encoded = orjson.dumps(data, option=orjson.OPT_SORT_KEYS)
    return success_parts([html_safe(encoded) if escape else encoded])


def success_parts(data: Iterable[Part], warnings: Iterable[str] = (), infos: Iterable[str] = ()) -> Answer:
    """The envelope around `data`, which is JSON already. Of a large answer only the beginning is made now."""
    tail = b""
    for name, texts in (("warnings", list(warnings)), ("infos", list(infos))):
        if texts:
            tail += f',"{name}":'.encode() + dumps(texts)
    answer = Answer(200, [], JSON)
    parts = chain([b'{"status":"success","data":'], data, [tail + b"}"])
    size = 0
    for part in parts:
        answer.parts.append(part)
        size += len(part)
        if size >= AT_ONCE:
            answer.rest = parts
            break
    return answer


def failure(status: int, kind: str, message: str) -> Answer:
    """The envelope of an error; `kind` is Prometheus' errorType."""
    body = b'{"status":"error","errorType":' + dumps(kind) + b',"error":' + dumps(message) + b"}"
    return Answer(status, [body], JSON)


def failure_of(error: TsdbError) -> Answer:
    """The answer that an error of ours becomes: the envelope, or a line of text to who sends samples."""
    if isinstance(error, QueryError):
        return failure(error.status, error.kind, str(error))
    if isinstance(error, Unavailable):
        return text(503, str(error), {"Retry-After": str(error.retry_after)})
    if isinstance(error, IngestError):
        return text(error.status, str(error))
    return failure(500, "internal", str(error))


def rfc3339(ns: int | None) -> str:
    """A Unix time in ns as Go prints it in JSON: in UTC, without zeros at the end. None: Go's zero time, the year 1."""
    if ns is None:
        return "0001-01-01T00:00:00Z"
    seconds, fraction = divmod(ns, 1_000_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{fraction:09d}".rstrip("0").rstrip(".") + "Z"


def dumps(value: Any) -> bytes:
    """JSON as Go prints it: safe inside HTML."""
    return html_safe(orjson.dumps(value))


def html_safe(encoded: bytes) -> bytes:
    """JSON with what means something in HTML escaped."""
    for plain, escaped in _HTML:
        if plain in encoded:
            encoded = encoded.replace(plain, escaped)
    return encoded


_HTML = ((b"<", rb"\u003c"), (b">", rb"\u003e"), (b"&", rb"\u0026"), ("\u2028".encode(), rb"\u2028"),
         ("\u2029".encode(), rb"\u2029"))
