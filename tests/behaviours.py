"""What a target answers: as it should, or as badly as targets do in practice. `BEHAVIOURS` is the table of it."""

from __future__ import annotations

import asyncio
import functools
import gzip
import itertools
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"

Body = str | bytes | Callable[[], str | bytes]
"""Callable: made anew for each request."""


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    method: str
    target: str
    """Path and parameters, as sent."""
    headers: Mapping[str, str]
    """Names in lower case."""
    address: str
    """host:port that was connected to."""
    at: float
    """Unix time, s."""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


@dataclass
class Exchange:
    """A request, and the connection that waits for its answer."""

    request: Request
    writer: asyncio.StreamWriter
    keep_alive: bool = True
    """Whether the connection may carry another request."""

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


Behaviour = Callable[[Exchange], Awaitable[None]]


@dataclass(frozen=True)
class Answer:
    """An answer as HTTP wants it."""

    body: Body = b""
    content_type: str | None = TEXT
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    gzip: bool = False
    """Compress for clients that accept it."""
    chunked: bool = False
    keep_alive: bool = True

    async def __call__(self, exchange: Exchange) -> None:
        body = self.body() if callable(self.body) else self.body
        data = body.encode() if isinstance(body, str) else body
        headers = dict(self.headers)
        if self.content_type is not None:
            headers["Content-Type"] = self.content_type
        if self.gzip and "gzip" in exchange.request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            data = gzip.compress(data, 1)
        if not self.keep_alive:
            headers["Connection"] = "close"
            exchange.keep_alive = False
        if self.chunked:
            headers["Transfer-Encoding"] = "chunked"
            parts = [data[at : at + 1000] for at in range(0, len(data), 1000)]
            data = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in [*parts, b""])
        else:
            headers["Content-Length"] = str(len(data))
        await exchange.send(head(self.status, headers) + data)


def head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Whatever')}", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
    return "\r\n".join(lines).encode()


REASONS = {200: "OK", 302: "Found", 404: "Not Found", 500: "Internal Server Error", 503: "Service Unavailable"}


# ---------------------------------------------------------------- what goes wrong

async def hang(exchange: Exchange) -> None:
    """Never answers."""
    await asyncio.sleep(3600)


async def hang_in_body(exchange: Exchange) -> None:
    await exchange.send(head(200, {"Content-Type": TEXT, "Content-Length": "1000"}) + b"hangs 1\n")
    await asyncio.sleep(3600)


async def drip(exchange: Exchange) -> None:
    """A byte every 20 ms, for an hour: always something new, never the whole."""
    await exchange.send(head(200, {"Content-Type": TEXT}))
    for byte in itertools.islice(itertools.cycle(b"drips 1\n"), 180_000):
        await exchange.send(bytes((byte,)))
        await asyncio.sleep(0.02)


async def cut(exchange: Exchange) -> None:
    """Closes the connection in the middle of a body whose length it told."""
    await exchange.send(head(200, {"Content-Type": TEXT, "Content-Length": "1000"}) + b"is_cut 1\n")
    exchange.keep_alive = False


async def cut_chunked(exchange: Exchange) -> None:
    """Closes the connection between two chunks."""
    headers = {"Content-Type": TEXT, "Transfer-Encoding": "chunked"}
    await exchange.send(head(200, headers) + b"9\r\nis_cut 1\n\r\n")
    exchange.keep_alive = False


async def reset(exchange: Exchange) -> None:
    """Takes the request, then resets the connection."""
    linger = struct.pack("ii", 1, 0)
    exchange.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    exchange.keep_alive = False


async def no_http(exchange: Exchange) -> None:
    await exchange.send(b"220 mail.example.net ESMTP\r\n")
    exchange.keep_alive = False


async def closes_silently(exchange: Exchange) -> None:
    """A good answer that promises to keep the connection, which is closed a moment later."""
    await Answer("closes_silently 1\n")(exchange)
    exchange.keep_alive = False


@dataclass(frozen=True)
class Endless:
    """`size` bytes of comments and a sample; as gzip about a thousandth of it goes over the wire."""

    size: int
    gzip: bool = False

    async def __call__(self, exchange: Exchange) -> None:
        line = b"# " + b"x" * 1021 + b"\n"
        block = line * 1024
        headers = {"Content-Type": TEXT, "Transfer-Encoding": "chunked"}
        if self.gzip:
            headers["Content-Encoding"] = "gzip"
            blocks: Iterable[bytes] = [gzip.compress(block) * (self.size // len(block)), gzip.compress(b"endless 1\n")]
        else:
            blocks = itertools.chain(itertools.repeat(block, self.size // len(block)), [b"endless 1\n"])
        await exchange.send(head(200, headers))
        for part in blocks:
            await exchange.send(b"%x\r\n%b\r\n" % (len(part), part))
        await exchange.send(b"0\r\n\r\n")


def redirect(location: str) -> Answer:
    return Answer(status=302, headers={"Location": location})


def many(series: int) -> str:
    """A body of that many series, about 60 bytes each."""
    return "# TYPE many counter\n" + "".join(
        f'many{{shard="{i % 100}",path="/api/v1/items/{i}",code="200"}} {i * 7}\n' for i in range(series)
    )


def flapping(period: float, body: str, without: str) -> Callable[[], str]:
    """One body for `period` seconds, then the other, by the clock, so that all clients see the same."""
    return lambda: body if int(time.time() / period) % 2 == 0 else without


def going_back() -> str:
    """A series with times of its own, each a second older than the one before."""
    now = time.time()
    return f"going_back 1 {round((now - 2 * (now % 60)) * 1000)}\n"


# ---------------------------------------------------------------- Prometheus' protobuf

def protobuf(families: Iterable[tuple[str, str, int, Iterable[tuple[Mapping[str, str], float]]]]) -> bytes:
    """Length-delimited MetricFamily messages, each (name, help, type: 0 counter, 1 gauge, 3 untyped, metrics)."""
    out = b""
    for name, text, kind, metrics in families:
        value_field = {0: 3, 1: 2, 3: 5}[kind]
        message = _bytes(1, name.encode()) + _bytes(2, text.encode()) + b"\x18" + bytes((kind,))
        for labels, value in metrics:
            metric = b"".join(_bytes(1, _bytes(1, k.encode()) + _bytes(2, v.encode())) for k, v in labels.items())
            message += _bytes(4, metric + _bytes(value_field, b"\x09" + struct.pack("<d", value)))
        out += _varint(len(message)) + message
    return out


def _bytes(number: int, data: bytes) -> bytes:
    return bytes((number << 3 | 2,)) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes((number & 0x7F | 0x80,))
        number >>= 7
    return out + bytes((number,))


GOOD = (
    "# HELP good Is good.\n# TYPE good gauge\ngood 1\n"
    "# TYPE work_seconds_total counter\nwork_seconds_total{le=\"x\"} 2.5\n"
)
GOOD_OPENMETRICS = (
    "# HELP good Is good.\n# TYPE good gauge\ngood 1\n# TYPE work_seconds counter\n# UNIT work_seconds seconds\n"
    'work_seconds_total{le="x"} 2.5 # {trace_id="abc"} 1\nwork_seconds_created{le="x"} 1.7e9\n# EOF\n'
)
GOOD_PROTOBUF = protobuf([("good", "Is good.", 1, [({}, 1.0)]), ("work_seconds_total", "", 0, [({"le": "x"}, 2.5)])])

BEHAVIOURS: Mapping[str, Behaviour] = {
    "/text": Answer(GOOD),
    "/openmetrics": Answer(GOOD_OPENMETRICS, OPENMETRICS),
    "/protobuf": Answer(GOOD_PROTOBUF, PROTOBUF),
    "/gzip": Answer(GOOD, gzip=True),
    "/chunked": Answer(GOOD, chunked=True),
    "/closes": Answer(GOOD, keep_alive=False),
    "/closes-silently": closes_silently,
    "/empty": Answer(""),
    "/hang": hang,
    "/hang-in-body": hang_in_body,
    "/drip": drip,
    "/cut": cut,
    "/cut-chunked": cut_chunked,
    "/reset": reset,
    "/no-http": no_http,
    "/404": Answer("no such page\n", status=404),
    "/500": Answer("sorry\n", status=500),
    "/wrong-type": Answer("<p>good 1</p>", "text/html"),
    "/odd-type": Answer(GOOD, "application/x-metrics"),
    "/no-type": Answer(GOOD, None),
    "/100-mb": Endless(100 << 20),
    "/gzip-bomb": Endless(1 << 30, gzip=True),
    "/broken-gzip": Answer(gzip.compress(GOOD.encode())[:-12] + bytes(8), headers={"Content-Encoding": "gzip"}),
    "/no-gzip": Answer(GOOD, headers={"Content-Encoding": "gzip"}),
    "/redirect": redirect("/text"),
    "/redirect-loop": redirect("/redirect-loop"),
    "/redirect-nowhere": redirect("http://127.0.0.1:1/text"),
    "/invalid-utf8": Answer(b'good{name="\xff\xfe"} 1\n'),
    "/broken-line": Answer("good 1\ngood{ 2\nbetter 3\n"),
    "/broken-value": Answer("good 1\nbetter one\n"),
    "/no-newline": Answer("good 1\nbetter 2"),
    "/no-eof": Answer("# TYPE good gauge\ngood 1\n", OPENMETRICS),
    "/duplicates": Answer('good{a="1"} 1\ngood{a="1"} 2\nbetter 3\n'),
    "/own-times": Answer(lambda: f"own 1 {round(time.time() * 1000) - 5000}\nnot_own 1\n"),
    "/old-times": Answer("old 1 1000\nnot_old 1\n"),
    "/future-times": Answer(lambda: f"future 1 {round(time.time() * 1000) + 3_600_000}\nnot_future 1\n"),
    "/going-back": Answer(going_back),
    "/flapping": Answer(flapping(4, "flaps 1\nstays 1\n", "stays 1\n")),
    "/100k": Answer(functools.cache(lambda: many(100_000))),
}
