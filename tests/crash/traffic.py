"""Clients that write without a pause, in a time of their own that passes a few hours in every second.

The time begins years ago, so that it never comes near the clock, beyond which the server takes nothing.
"""

from __future__ import annotations

import functools
import http.client
import random
import struct
import threading
import time
from collections.abc import Callable, Iterator

import cramjam

from tests.client import REMOTE_WRITE_HEADERS
from tests.crash.model import STALE, Model, Request, Series
from tsdb.model.native_histograms import BOX

MINUTE = 60_000
HOUR = 60 * MINUTE
APART = 10 * MINUTE
"""Most that one client is ahead of another. So what is in flight is never too old."""
HOSTILE = (
    STALE, 0x7FF0000000000001, 0x7FF8000000000000, 0xFFF8000000000001, 0x7FFFFFFFFFFFFFFF, 0xFFFBFFFFFFFFFFFF,
    0x7FF0000000000000, 0xFFF0000000000000, 0x8000000000000000, 0, 1, 0x000FFFFFFFFFFFFF, 0x7FEFFFFFFFFFFFFF,
)


class Clock:
    """The time of the load. Clients move it forward, none further than `APART` beyond the slowest."""

    def __init__(self, start: int) -> None:
        self._changed = threading.Condition()
        self._times: dict[str, int] = {}
        self._start = start

    def join(self, client: str) -> int:
        with self._changed:
            return self._times.setdefault(client, self._start)

    def advance(self, client: str, step: int, stop: threading.Event) -> int:
        """The client's next time; waits for slower ones."""
        with self._changed:
            later = self._times[client] + step
            self._changed.wait_for(lambda: stop.is_set() or later <= min(self._times.values()) + APART)
            self._times[client] = later
            self._changed.notify_all()
            return later

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def latest(self) -> int:
        with self._changed:
            return max(self._times.values(), default=self._start)


Plan = Iterator[list[tuple[Series, int, int]]]


class Client:
    """Sends requests one after the other over one connection. What was not answered is sent again after a restart."""

    def __init__(self, name: str, model: Model, clock: Clock, step: int, plan: Callable[[Client], Plan],
                 seed: int) -> None:
        self.name = name
        self.model = model
        self.chance = random.Random(f"{seed} {name}")
        self.now = clock.join(name)
        self.refused: list[str] = []
        self.busy = 0
        """Answers that were 503."""
        self._clock = clock
        self._step = step
        self._unanswered: Request | None = None
        self._plan = plan(self)

    def run(self, port: int, stop: threading.Event) -> None:
        """Until the server is gone or `stop` is set."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            while not stop.is_set():
                request = self._unanswered
                if request is None:
                    self.now = self._clock.advance(self.name, self._step, stop)
                    request = Request(next(self._plan))
                if request.samples:
                    self._unanswered = request
                    self.model.sending(request)
                    self._send(connection, request)
                    while self._unanswered is not None and not stop.is_set():
                        self.busy += 1
                        time.sleep(0.05)
                        self._send(connection, request)
        except (OSError, http.client.HTTPException):
            pass  # the server is gone
        finally:
            connection.close()

    def again(self, samples: list[tuple[Series, int, int]]) -> list[tuple[Series, int, int]]:
        """Those of them that nothing has deleted."""
        return list(self.model.still_sure(samples).samples)

    def _send(self, connection: http.client.HTTPConnection, request: Request) -> None:
        connection.request("POST", "/api/v1/write", body(request), REMOTE_WRITE_HEADERS)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status // 100 == 2:
            self.model.accepted(request)
        elif answer.status == 503:
            return
        else:
            self.refused.append(f"{self.name} at {self.now}, newest {self.model.newest}: {answer.status} "
                                f"{text[:300].decode(errors='replace')}")
        self._unanswered = None


def body(request: Request) -> bytes:
    """A WriteRequest of remote_write 1.0, in snappy."""
    message = bytearray()
    by_series: dict[Series, bytearray] = {}
    for series, ts, value in request.samples:
        sample = b"\x09" + struct.pack("<Q", value) + b"\x10" + _varint(ts)
        by_series.setdefault(series, bytearray(series.key)).extend(b"\x12" + _varint(len(sample)) + sample)
    for encoded in by_series.values():
        message += b"\x0a" + _varint(len(encoded)) + encoded
    return bytes(cramjam.snappy.compress_raw(bytes(message)))


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def bits(value: float) -> int:
    return int.from_bytes(struct.pack("<d", value), "little")


def clients(model: Model, clock: Clock, late_ms: int, seed: int) -> list[Client]:
    """The load: one of each kind. Samples come up to `late_ms` behind their client's time, which with `APART` is less
    than the server allows."""
    kinds: list[tuple[str, int, Callable[[Client], Plan]]] = [
        ("steady", MINUTE, _steady),
        ("debug", 2 * MINUTE, _debug),
        ("hostile", 5 * MINUTE, _hostile),
        ("churn", 5 * MINUTE, _churn),
        ("late", 3 * MINUTE, functools.partial(_late, late_ms=late_ms)),
        ("backlog", 5 * MINUTE, _backlog),
    ]
    return [Client(name, model, clock, step, plan, seed) for name, step, plan in kinds]


def _steady(client: Client) -> Plan:
    """Counters and gauges, in order; now and then a request is sent twice."""
    model = client.model
    every = [model.add(Series({"__name__": f"crash_steady_{n % 2}", "job": "steady", "n": str(n)})) for n in range(8)]
    count = 0
    while True:
        count += client.chance.randint(0, 50)
        samples = [
            (series, client.now, bits(float(count) if n % 2 else client.chance.gauss(20, 3)))
            for n, series in enumerate(every)
        ]
        yield samples
        if client.chance.random() < 0.02:
            yield client.again(samples)


def _debug(client: Client) -> Plan:
    """Series that a retention rule keeps for two hours: it reaches into blocks and head."""
    labels = {"__name__": "crash_debug", "job": "debug"}
    every = [client.model.add(Series({**labels, "n": str(n)}, keep=2 * HOUR)) for n in range(4)]
    while True:
        yield [(series, client.now, bits(client.chance.random())) for series in every]


def _hostile(client: Client) -> Plan:
    """Any bits at uneven times: chunks are full after few samples."""
    labels = {"__name__": "crash_hostile", "job": "hostile"}
    every = [client.model.add(Series({**labels, "n": f"{n}\n\"ä"})) for n in range(8)]
    while True:
        yield [
            (series, client.now + 10_000 * k + client.chance.randint(0, 9_999),
             client.chance.choice(HOSTILE) if client.chance.random() < 0.3 else client.chance.randrange(BOX))
            for series in every if client.chance.random() < 0.8
            for k in range(client.chance.choice((1, 1, 10)))
        ]


def _churn(client: Client) -> Plan:
    """Series that live for three hours and end with a stale marker; some come again days later."""
    last: dict[int, list[Series]] = {}
    while True:
        number = client.now // (3 * HOUR)
        if number not in last:
            ended, last = last, {}
            if ended:
                yield [(series, client.now, STALE) for every in ended.values() for series in every]
            names = [
                {"__name__": f"crash_churn_{number}", "job": "churn", "pod": f"{number}-{n}"} for n in range(3)
            ] + [{"__name__": "crash_churn", "job": "churn", "pod": f"{number % 24}-{n}"} for n in range(3)]
            last = {number: [client.model.add(Series(labels)) for labels in names]}
            if ended:
                continue
        yield [(series, client.now, bits(float(client.chance.randint(0, 100)))) for series in last[number]]


def _late(client: Client, late_ms: int) -> Plan:
    """Samples that come late, in any order, some of them twice."""
    labels = {"__name__": "crash_late", "job": "late"}
    every = [client.model.add(Series({**labels, "n": str(n)}, late=True)) for n in range(4)]
    held: list[tuple[Series, int, int]] = []
    sent: list[tuple[Series, int, int]] = []
    while True:
        now: list[tuple[Series, int, int]] = []
        for series in every:
            sample = (series, client.now, client.chance.getrandbits(62))
            (held if client.chance.random() < 0.3 else now).append(sample)
        held.sort(key=lambda _: client.chance.random())
        ripe = [each for each in held if each[1] < client.now - late_ms + 4 * MINUTE or client.chance.random() < 0.1]
        held = [each for each in held if each not in ripe]
        if client.chance.random() < 0.2:
            ripe += client.again([each for each in sent if each[1] > client.now - late_ms][:3])
        yield now + ripe
        sent = (sent + ripe)[-20:]


def _backlog(client: Client) -> Plan:
    """Ten samples of each series at once, as an agent that catches up."""
    labels = {"__name__": "crash_backlog", "job": "backlog"}
    every = [client.model.add(Series({**labels, "n": str(n)})) for n in range(3)]
    value = 0.0
    while True:
        value += client.chance.choice((0, 0, 1, 0.5, 1e9, -3))
        yield [(series, client.now + k * 30_000, bits(value + k)) for series in every for k in range(10)]
