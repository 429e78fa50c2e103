"""A server killed in the middle of a load has every sample that it acknowledged."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field

import pytest

from tests.client import Client
from tests.conftest import StartTsdb
from tests.processes import free_port

WRITERS = 4
SERIES = 50


@dataclass
class Writer:
    """Sends sample after sample of its own series, one request in flight, until the server is gone.

    Request k holds one sample of each series, with the value k, k milliseconds after `base`.
    """

    number: int
    base: int
    sent: int = 0
    acknowledged: set[int] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)

    def run(self, client: Client) -> None:
        while True:
            k = self.sent
            self.sent += 1
            series = [
                ({"__name__": "kill_sample", "writer": str(self.number), "series": str(i)}, [(self.base + k, float(k))])
                for i in range(SERIES)
            ]
            try:
                answer = client.write(series)
            except OSError:
                return
            if answer.status // 100 == 2:
                self.acknowledged.add(k)
            else:
                self.refused.append(f"{answer.status} {answer.body[:200]!r}")

    def missing(self, client: Client) -> list[str]:
        """What the server does not have, or has without having been sent, in words."""
        result = client.query(f'kill_sample{{writer="{self.number}"}}[1h]', (self.base + self.sent) / 1000 + 1)
        out = [] if len(result) == SERIES else [f"writer {self.number}: {len(result)} of {SERIES} series"]
        for row in result:
            times = {round(t * 1000) - self.base for t, _ in row["values"]}
            values = {int(v) for _, v in row["values"]}
            if lost := self.acknowledged - values:
                out.append(f"{row['metric']}: lost {len(lost)} acknowledged, such as {min(lost)} of {self.sent}")
            if values - set(range(self.sent)) or times != values:
                out.append(f"{row['metric']}: samples that nobody sent")
        return out


@pytest.mark.parametrize("rounds", [3, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_kill_9_loses_no_acknowledged_sample(rounds: int, start_tsdb: StartTsdb) -> None:
    chance = random.Random(rounds)
    base = round(time.time() * 1000) - 600_000
    writers = [Writer(number, base) for number in range(WRITERS)]
    port = free_port()
    for done in range(rounds):
        server = start_tsdb(port=port)
        if done:
            assert not [problem for writer in writers for problem in writer.missing(server.client)], f"round {done}"
        before = sum(len(writer.acknowledged) for writer in writers)
        threads = [threading.Thread(target=writer.run, args=(server.client,)) for writer in writers]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 30
        while sum(len(writer.acknowledged) for writer in writers) == before and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(chance.uniform(0.1, 1.0))
        server.kill()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        assert sum(len(writer.acknowledged) for writer in writers) > before, "nothing was acknowledged in this round"
    server = start_tsdb(port=port)
    assert not [problem for writer in writers for problem in writer.missing(server.client)]
    assert not [reason for writer in writers for reason in writer.refused]
    assert server.stop() == 0
