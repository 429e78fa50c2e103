"""Many targets in one cheap process: bodies rendered ahead of time, each target at a loopback address of its own.

    python -m bench.scrape_targets --targets 400 --series 500 [--gzip]

Prints one line of JSON when it listens: the targets' addresses and the control port. There
GET / tells what was asked so far, and GET /arrivals when each target was (Unix s).
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import resource
import time
from array import array
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import uvloop
from numpy.typing import NDArray

from bench.peers.targets import free_port

BODIES = 16
"""Targets share so many different bodies."""
STEPS = 24
"""Scrapes until a target's values begin again (counters then start over)."""
LE = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf")
PATHS = ("/api/v1/items", "/api/v1/orders/{order_id}", "/api/v1/users/{user_id}/settings", "/login", "/healthz")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n%bContent-Length: %d\r\n\r\n"


class Family:
    """A metric family: its comment lines, and the text before each value."""

    def __init__(self, name: str, kind: str, series: list[str]) -> None:
        self.name, self.kind, self.series = name, kind, series
        self.comments = f"# HELP {name} {name.replace('_', ' ').capitalize()} since start.\n# TYPE {name} {kind}\n"


def families(series: int) -> list[Family]:
    """That many series: a third in histograms, most others in counters and gauges with labels, a few without."""
    out: list[Family] = []
    left = series
    while left:
        number = len(out)
        service = f'service="checkout",zone="eu-west-1{"abc"[number % 3]}"'
        if number % 8 == 0:
            names = [f'{{{service},method="POST",path="{PATHS[number // 8 % 5]}",le="{le}"}}' for le in LE]
            base = f"rpc_server_{number}_duration_seconds"
            lines = [f"{base}_bucket{labels}" for labels in names]
            plain = f'{{{service},method="POST",path="{PATHS[number // 8 % 5]}"}}'
            family = Family(base, "histogram", [*lines, f"{base}_sum{plain}", f"{base}_count{plain}"])
        elif number % 8 < 6:
            kind = "gauge" if number % 8 > 3 else "counter"
            base = f"worker_pool_{number}_{'queue_length' if kind == 'gauge' else 'jobs_total'}"
            family = Family(base, kind, [f'{base}{{{service},pool="pool-{i % 3}",state="state-{i}",code="20{i}"}}'
                                         for i in range(5)])
        else:
            base = f"process_runtime_{number}_{'bytes' if number % 2 else 'seconds_total'}"
            family = Family(base, "gauge" if number % 2 else "counter", [base])
        family.series = family.series[:left]
        left -= len(family.series)
        out.append(family)
    return out


def bodies(series: int, seed: int) -> list[bytes]:
    """The answers of one target, one after the other: two thirds of the values change from one to the next."""
    random = np.random.default_rng(seed)
    made = families(series)
    counts = random.integers(0, 1 << 24, series)
    moves = random.random(series) < 0.67
    speed = random.integers(1, 500, series)
    out = []
    for _ in range(STEPS):
        counts = counts + random.poisson(speed) * moves
        values = iter(_printed(made, counts, random))
        lines = []
        for family in made:
            lines.append(family.comments)
            lines += [f"{text} {next(values)}\n" for text in family.series]
        out.append("".join(lines).encode())
    return out


def _printed(made: list[Family], counts: NDArray[np.int64], random: np.random.Generator) -> list[str]:
    """Values as Go prints them: buckets add up, sums and seconds have fractions."""
    out: list[str] = []
    for family in made:
        own = counts[len(out) : len(out) + len(family.series)].tolist()
        if family.kind == "histogram":
            below = np.cumsum(own[:12]).tolist()
            out += [str(n) for n in below] + [repr(n * 0.0137) for n in own[12:13]] + [str(below[-1])] * (len(own) > 13)
        elif "seconds" in family.name:
            out += [f"{n / 100:.2f}" for n in own]
        elif family.kind == "gauge" and "bytes" in family.name:
            out += [f"{n * 4096:.6e}" for n in own]
        else:
            out += [str(n) for n in own]
    return out


class State:
    """The answers, and what was asked."""

    def __init__(self, targets: int, series: int, compressed: bool) -> None:
        plain = [bodies(series, seed) for seed in range(BODIES)]
        self.plain = [[HEAD % (b"", len(body)) + body for body in own] for own in plain]
        self.size = len(plain[0][0])
        self.gzip: list[list[bytes]] | None = None
        if compressed:
            packed = [[gzip.compress(body, 6) for body in own] for own in plain]
            self.gzip = [[HEAD % (b"Content-Encoding: gzip\r\n", len(body)) + body for body in own] for own in packed]
        self.arrivals = [array("d") for _ in range(targets)]
        self.scrapes = self.compressed = self.connections = 0

    def answer(self, target: int, request: bytes) -> bytes:
        arrivals = self.arrivals[target]
        step = (len(arrivals) + target) % STEPS
        arrivals.append(time.time())
        self.scrapes += 1
        if self.gzip is not None and b"gzip" in request:
            self.compressed += 1
            return self.gzip[target % BODIES][step]
        return self.plain[target % BODIES][step]

    def told(self) -> dict[str, Any]:
        return {"scrapes": self.scrapes, "compressed": self.compressed, "connections": self.connections,
                "targets_seen": sum(1 for own in self.arrivals if own), "cpu_s": time.process_time(),
                "body_bytes": self.size}


class Connection(asyncio.Protocol):
    """Keeps alive; a request is whatever ends in an empty line."""

    def __init__(self, state: State, numbers: dict[str, int]) -> None:
        self._state, self._numbers = state, numbers
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by name
        self._target = self._numbers[transport.get_extra_info("sockname")[0]]
        self._state.connections += 1

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._data.endswith(b"\r\n\r\n"):
            request, self._data = self._data, b""
            self._transport.write(self._state.answer(self._target, request))


async def control(state: State, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    path = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1]
    told: object = [own.tolist() for own in state.arrivals] if path == b"/arrivals" else state.told()
    body = json.dumps(told).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    await writer.drain()
    writer.close()


async def serve(state: State, ready: Callable[[dict[str, Any]], None]) -> None:
    hosts = [f"127.1.{i // 250}.{i % 250 + 1}" for i in range(len(state.arrivals))]
    numbers = {host: i for i, host in enumerate(hosts)}
    port, loop = free_port(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(state, numbers), hosts, port)
    own = await asyncio.start_server(lambda r, w: control(state, r, w), "127.0.0.1", 0)
    ready({"control": own.sockets[0].getsockname()[1], "targets": [f"{host}:{port}" for host in hosts],
           "body_bytes": state.size})
    async with server, own:
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=int, default=400)
    parser.add_argument("--series", type=int, default=500)
    parser.add_argument("--gzip", action="store_true", help="compress for those who ask for it")
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65_536)), hard))
    state = State(options.targets, options.series, options.gzip)
    uvloop.run(serve(state, lambda told: print(json.dumps(told), flush=True)))


if __name__ == "__main__":
    main()
