"""A server on a disk of its own that fills up; run by `test_full_disk.py` where a small disk is mounted."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from tests.client import Client
from tests.processes import TSDB, Process, free_port

START = 1_790_000_000_000
SERIES = [{"__name__": "m", "job": "abcd"[n % 4], "n": str(n)} for n in range(400)]
MINUTE = 60_000


def write(client: Client, minute: int) -> int:
    chance = random.Random(minute)
    at = START + minute * MINUTE
    return client.write([(labels, [(at + k * 15_000, chance.random()) for k in range(4)]) for labels in SERIES]).status


def run(folder: Path) -> dict[str, object]:
    port = free_port()
    process = Process([TSDB, "serve", f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}",
                       "--web.enable-admin-api", "--storage.tsdb.retention.time=100y"], folder.parent / "log", port)
    try:
        client = process.wait_ready().client
        minute, refused = 0, 0
        while refused < 5 and minute < 10_000:
            minute += 1
            refused = refused + 1 if write(client, minute) == 503 else 0

        def admin(path: str) -> int:
            return client.request("POST", f"/api/v1/admin/tsdb/{path}").status

        def count(job: str) -> int:
            found = client.query(f'count(last_over_time(m{{job="{job}"}}[100y]))', START / 1000 + minute * 60)
            return int(found[0]["value"][1]) if found else 0

        before = count("a")
        statuses = [admin("delete_series?match[]=%7Bjob%3D~%22a|b%22%7D"), admin("clean_tombstones")]
        after = [count("a"), count("c")]
        return {"refused": refused, "before": before, "admin": statuses, "after": after,
                "then": [write(client, minute + n) for n in range(1, 4)]}
    finally:
        process.kill()


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]))))
