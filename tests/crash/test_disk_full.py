"""A server on a full disk: writes get 503 until there is room, deletes work, nothing that was acknowledged is lost."""

from __future__ import annotations

import random
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client import Client
from tests.conftest import Start
from tests.processes import TSDB, Process, free_port, wait_until

SERIES = 20
AT_ONCE = 50
STEP_MS = 10_000


class SmallDisk:
    """A tmpfs of 64 MiB in a mount namespace of its own, which a process holds open; a ballast takes most of it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        script = (f"mount -t tmpfs -o size=64m tmpfs '{folder}' && head -c 56M /dev/zero > '{folder}/ballast' "
                  "&& echo mounted && exec sleep 600")
        self._holder = subprocess.Popen(["unshare", "-rm", "sh", "-c", script], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"mounted\n":
            assert self._holder.stderr is not None
            pytest.skip(f"no small disk can be mounted here: {self._holder.stderr.read().decode()}")

    @property
    def inside(self) -> list[str | Path]:
        """How a program is started that sees the disk."""
        return ["nsenter", "--preserve-credentials", "-U", "-m", "-t", str(self._holder.pid), "--"]

    def drop_ballast(self) -> None:
        subprocess.run([*map(str, self.inside), "rm", str(self._folder / "ballast")], check=True, timeout=30)

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait(30)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    made = SmallDisk(tmp_path / "disk")
    yield made
    made.close()


def values(k: int) -> list[float]:
    """What request k says of each series: bits that cannot be compressed."""
    chance = random.Random(k)
    return [struct.unpack("<d", struct.pack("<Q", chance.getrandbits(62)))[0] for _ in range(SERIES * AT_ONCE)]


class Load:
    """Requests one after the other, each until it is acknowledged."""

    def __init__(self) -> None:
        self.base = 1_700_000_000_000
        self.acknowledged: list[int] = []
        self.next = 0

    def send(self, client: Client) -> int:
        """The next request, once; its status."""
        every = values(self.next)
        start = self.base + self.next * AT_ONCE * STEP_MS
        answer = client.write([
            ({"__name__": "full", "n": str(n)},
             [(start + i * STEP_MS, every[n * AT_ONCE + i]) for i in range(AT_ONCE)])
            for n in range(SERIES)
        ])
        if answer.status // 100 == 2:
            self.acknowledged.append(self.next)
            self.next += 1
        return answer.status

    def check(self, client: Client) -> None:
        """Everything that was acknowledged is there."""
        end = (self.base + self.next * AT_ONCE * STEP_MS) / 1000
        found = {}
        for n in range(SERIES):
            [row] = client.query(f'full{{n="{n}"}}[400d]', end)
            found[n] = {round(t * 1000): float(v) for t, v in row["values"]}
        for k in self.acknowledged:
            every = values(k)
            for n in range(SERIES):
                for i in range(AT_ONCE):
                    assert found[n].get(self.base + (k * AT_ONCE + i) * STEP_MS) == every[n * AT_ONCE + i]


def test_a_full_disk_refuses_writes_until_there_is_room(disk: SmallDisk, start: Start, tmp_path: Path) -> None:
    def serve() -> Process:
        port = free_port()
        data = tmp_path / "disk" / "data"
        return start([*disk.inside, TSDB, "serve", "--listen", f"127.0.0.1:{port}", "--data", data,
                      "--web.enable-admin-api", "--storage.tsdb.retention.time", "10y"], port).wait_ready()

    server = serve()
    load = Load()
    old = [({"__name__": "old", "n": str(n)}, [(load.base - 7_200_000 + i, float(i)) for i in range(100)])
           for n in range(10)]
    assert server.client.write(old).status // 100 == 2
    deadline = time.monotonic() + 90
    while (status := load.send(server.client)) != 503:
        assert status // 100 == 2
        assert time.monotonic() < deadline, "the disk does not become full"
    assert load.next > 10
    for _ in range(3):
        assert load.send(server.client) in (503, 204)
    load.check(server.client)

    answer = server.client.request("POST", "/api/v1/admin/tsdb/delete_series?match[]=old")
    assert answer.status == 204, answer.body
    assert server.client.query("old[400d]", (load.base + load.next * AT_ONCE * STEP_MS) / 1000) == []

    disk.drop_ballast()
    wait_until(lambda: load.send(server.client) // 100 == 2, "writes are taken again", 60)
    for _ in range(5):
        assert load.send(server.client) // 100 == 2
    server.kill()
    server = serve()
    load.check(server.client)
    assert server.client.query("old[400d]", (load.base + load.next * AT_ONCE * STEP_MS) / 1000) == []
    assert server.stop() == 0
