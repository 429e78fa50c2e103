"""The real VictoriaMetrics takes what we export, and what it exports comes in."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

import tsdb
from tests.conftest import Start, StartTsdb
from tests.exports.test_jsonl import parsed
from tests.processes import Process, free_port, wait_until
from tsdb.cli import cli

BEGIN = 1_700_006_400
TIMES = [BEGIN + 15 * step for step in range(1000)]
VALUES: dict[str, list[float]] = {
    "up": [float(step % 2) for step in range(1000)],
    "b.c": [math.sqrt(step) * 1000 // 1 / 1000 for step in range(1000)],
    "large_total": [3 * step + 1e9 for step in range(1000)],
}
"""VictoriaMetrics keeps about twelve digits."""


@pytest.mark.peer
@pytest.mark.slow
def test_there_and_back(peer: Callable[[str], Path], start: Start, start_tsdb: StartTsdb, tmp_path: Path) -> None:
    with tsdb.open(tmp_path / "data") as db:
        for name, values in VALUES.items():
            for job in ("api", 'q"\n'):
                db.append({"__name__": name, "job": job}, TIMES, values)
    ours = start_tsdb()
    port = free_port()
    theirs: Process = start([peer("victoria-metrics"), f"-storageDataPath={tmp_path / 'victoria'}",
                             f"-httpListenAddr=127.0.0.1:{port}", "-retentionPeriod=100y", "-search.latencyOffset=0s"],
                            port).wait_ready("/health")
    asked = {"match[]": '{__name__=~".+"}', "max_rows_per_line": "300"}
    exported = ours.client.get("/api/v1/export", asked)
    assert exported.status == 200
    assert theirs.client.request("POST", "/api/v1/import", exported.body).status in (200, 204)
    assert theirs.client.get("/internal/force_flush").status == 200
    wait_until(lambda: len(parsed(theirs.client.get("/api/v1/export", asked).body)) == 6, "all of it is there", 30)
    back = theirs.client.get("/api/v1/export", asked)
    assert back.headers["content-type"].partition(";")[0] == exported.headers["content-type"].partition(";")[0]
    assert parsed(back.body) == parsed(exported.body)
    for expr in ("sum by (job) (up)", 'max({__name__="large_total"})', 'count({__name__=~".+"})'):
        moment = BEGIN + 15 * 700
        assert answer(theirs, expr, moment) == answer(ours, expr, moment), expr
    file, copy = tmp_path / "theirs.jsonl", tmp_path / "copy"
    file.write_bytes(back.body)
    done = CliRunner().invoke(cli, ["import", "jsonl", "--data", str(copy), str(file)])
    assert done.exit_code == 0, done.output
    again = CliRunner().invoke(cli, ["export", "jsonl", "--data", str(copy)])
    assert parsed(again.stdout_bytes) == parsed(exported.body)


def answer(process: Process, expr: str, moment: int) -> list[tuple[dict[str, str], float]]:
    rows = process.client.query(expr, moment)
    return sorted(((row["metric"], float(row["value"][1])) for row in rows), key=repr)
