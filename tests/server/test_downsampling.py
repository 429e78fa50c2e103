"""A server with downsampling tiers: a year comes in, samples go once tiers have them, and a dashboard goes on."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from tests.client import Client
from tests.conftest import StartTsdb
from tests.processes import TSDB, wait_until

MINUTE, HOUR, DAY = 60, 3600, 86400
CONFIG = """
storage: {tsdb: {retention: {time: 7d}}}
downsampling:
  - {resolution: 1h, retention: 90d}
  - {resolution: 6h, retention: 400d, quantiles: [0.5]}
"""
JOBS, HOSTS = ("api", "db"), 2
PANELS: dict[str, dict[str, float | str]] = {
    "sum by (job) (rate(requests_total[{range}]))": {"api": 2.0, "db": 2.0},
    "avg by (job) (avg_over_time(load[{range}]))": {"api": 0.5, "db": 0.5},
    "max by (job) (max_over_time(load[{range}]))": {"api": 1.0, "db": 1.0},
    "sum by (job) (count_over_time(load[{range}]))": {"api": "count", "db": "count"},
    "min by (job) (last_over_time(load[{range}]))": {"api": 0.0, "db": 0.0},
}
INTERVAL = 15 * MINUTE


def ask(client: Client, kind: str, **parameters: Any) -> dict[str, Any]:
    text = urllib.parse.urlencode({key: str(value) for key, value in parameters.items()})
    answer: dict[str, Any] = client.get(f"/api/v1/{kind}?{text}").json()
    return answer


def year_of_samples(path: Path, now: int) -> None:
    """Counters that count seconds, and gauges that stay: of every quarter of an hour."""
    with path.open("w") as file:
        for name, kind in (("requests", "counter"), ("load", "gauge")):
            file.write(f"# TYPE {name} {kind}\n")
            for job in JOBS:
                for host in range(HOSTS):
                    labels = f'{name}{"_total" * (kind == "counter")}{{job="{job}",host="{host}"}}'
                    file.writelines(f"{labels} {at - now + 400 * DAY if kind == 'counter' else host} {at}\n"
                                    for at in range(now - 390 * DAY, now + 1, INTERVAL))
        file.write("# EOF\n")


@pytest.mark.timeout(120)
def test_a_year_on_a_dashboard(start_tsdb: StartTsdb, tmp_path: Path) -> None:
    now = int(time.time()) // INTERVAL * INTERVAL
    text, config = tmp_path / "year.om", tmp_path / "tsdb.yml"
    year_of_samples(text, now)
    config.write_text(CONFIG)
    done = subprocess.run([TSDB, "import", "openmetrics", text, "--data", tmp_path / "data"], capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    server = start_tsdb("--config", str(config))
    client = server.client

    def samples_of(at: int) -> list[Any]:
        found: list[Any] = ask(client, "query", query="count_over_time(load[1d])", time=at,
                               max_source_resolution="0s")["data"]["result"]
        return found

    wait_until(lambda: not samples_of(now - 40 * DAY), "old samples go")
    assert samples_of(now - 3 * DAY)
    used = set()
    for length, window, step in ((HOUR, "30m", 15 * MINUTE), (DAY, "1h", HOUR), (30 * DAY, "12h", 12 * HOUR),
                                 (365 * DAY, "7d", 7 * DAY)):
        end = now // step * step
        per_window = {"30m": 2, "1h": 4, "12h": 48, "7d": 672}[window]
        for panel, wanted in PANELS.items():
            answer = ask(client, "query_range", query=panel.replace("{range}", window), start=end - length, end=end,
                         step=step, stats="true")
            assert answer["status"] == "success", answer
            assert len(answer["data"]["result"]) == 2, (panel, window)
            for series in answer["data"]["result"]:
                values = [float(value) for _, value in series["values"]]
                value = wanted[series["metric"]["job"]]
                value = per_window * HOSTS if value == "count" else float(value)
                assert len(values) == length // step + 1
                # the newest window may not be over
                assert all(each == pytest.approx(value, rel=1e-9) for each in values[:-1]), (panel, window, values)
            tiers = answer["data"]["stats"].get("tiers", ["samples"])
            used.add((window, *tiers))
            if length > 7 * DAY:
                assert "6h" in tiers, (panel, window, answer["data"]["stats"])
            assert not answer.get("warnings") and not answer.get("infos"), answer.get("infos")
    assert any("samples" in tiers for window, *tiers in used)
    inexact = ask(client, "query", query="stddev_over_time(load[1h])", time=now - 50 * DAY + 100)
    assert any("downsampling tier 1h" in info for info in inexact["infos"]), json.dumps(inexact)
    names = ask(client, "label/host/values", start=now - 300 * DAY, end=now - 290 * DAY)
    assert names["data"] == ["0", "1"], "of which there are windows only"
    assert ask(client, "query", query="load", time=now, max_source_resolution="x")["errorType"] == "bad_data"
    explained = ask(client, "query", query="sum(rate(requests_total[7d]))", explain="true",
                    time=now // (6 * HOUR) * 6 * HOUR - 100 * DAY)
    assert "6h" in json.dumps(explained["data"]["explain"])
