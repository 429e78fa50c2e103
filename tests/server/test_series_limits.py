"""Limits on series in a running server: what senders, scrapes, metrics and the log say of them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.behaviours import Answer
from tests.client import Client
from tests.conftest import StartTsdb
from tests.processes import wait_until
from tests.targets import TargetServer
from tsdb.cli import cli

CONFIG = """\
global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}
storage:
  limits: {limits}
scrape_configs:
- {{job_name: t, metrics_path: /limited, static_configs: [{{targets: ["{target}"]}}]}}
"""


def metrics(client: Client, name: str) -> dict[str, float]:
    """Values of a metric by their labels."""
    lines = client.get("/metrics").body.decode().splitlines()
    found = (line.removeprefix(name).rpartition(" ") for line in lines if line.startswith((f"{name}{{", f"{name} ")))
    return {labels: float(value) for labels, _, value in found}


def test_a_server_with_limits(start_tsdb: StartTsdb, tmp_path: Path) -> None:
    file = tmp_path / "tsdb.yml"
    with TargetServer() as targets:
        targets.behave("/limited", Answer("".join(f'paths{{path="/{n}"}} {n}\n' for n in range(50)) + "other 1\n"))

        def write_config(limits: str) -> None:
            file.write_text(CONFIG.format(limits=limits, target=targets.address))

        write_config("{max_series_per_metric: 20, max_label_values: {user: 3}}")
        server = start_tsdb("--config.file", str(file), "--web.enable-lifecycle")
        client = server.client
        wait_until(lambda: bool(client.query("other", time.time())), "a scrape")
        assert len(client.query("paths", time.time())) == 20, "the first of them, for good"
        assert client.query("up", time.time())[0]["value"][1] == "1", "the scrape did not fail"
        told = ('per-metric series limit exceeded: the metric "paths" has as many series as may be, and '
                "storage.limits.max_series_per_metric is 20: drop labels with many values, or raise the limit")
        wait_until(lambda: told in (target["lastError"] for target in client.data("targets")["activeTargets"]), told)
        assert metrics(client, "tsdb_target_scrapes_exceeded_series_limit_total")[""] >= 1

        now = time.time_ns() // 1_000_000
        answer = client.write([({"__name__": "m", "user": str(n)}, [(now, 1.0)]) for n in range(5)])
        assert answer.status == 400
        assert answer.body.decode().strip() == (
            f'2 of 5 samples rejected, 3 kept: label value limit exceeded: m{{user="3"}} at {now / 1000:.3f}, '
            f'm{{user="4"}} at {now / 1000:.3f} (2 series, 2 samples rejected): the label "user" has as many values as '
            'may be, and storage.limits.max_label_values["user"] is 3: leave the label out where its values have no '
            "bound, or raise the limit")
        again = client.write([({"__name__": "m", "user": str(n)}, [(now + 1, 1.0)]) for n in range(3)])
        assert again.status == 204, "series that are there go on"
        label = '{label="user",limit="max_label_values"}'
        assert metrics(client, "tsdb_series_limit")[label] == metrics(client, "tsdb_series_limit_used")[label] == 3
        assert metrics(client, "tsdb_series_limit_refused_samples_total")[label] == 2
        of_metric = '{label="",limit="max_series_per_metric"}'
        assert metrics(client, "tsdb_series_limit_refused_samples_total")[of_metric] >= 30
        assert metrics(client, "tsdb_ingest_rejected_samples_total")['{reason="label value limit exceeded"}'] == 2
        assert server.log.read_text().count("new series are refused: the metric") == 1

        url = f"http://127.0.0.1:{server.port}"
        printed = CliRunner().invoke(cli, ["analyze", "--url", url, "--limit", "1"]).output
        assert "Highest cardinality metric names:\nSERIES  NAME\n    20  paths\n" in printed
        assert "created and removed in the last hour:\nCREATED  REMOVED  METRIC\n     20        0  paths" in printed

        write_config("{max_series_per_metric: 60}")
        assert client.request("POST", "/-/reload").status == 200
        wait_until(lambda: len(client.query("paths", time.time())) == 50, "the new limit")
        wait_until(lambda: client.data("targets")["activeTargets"][0]["lastError"] == "", "nothing refused any more")
        assert client.write([({"__name__": "m", "user": "9"}, [(now, 1.0)])]).status == 204
        assert label not in metrics(client, "tsdb_series_limit")


@pytest.mark.parametrize(("limits", "message"), [
    ("{max_series: -1}", "storage.limits.max_series: must be an integer from 0"),
    ("{max_label_values: {user: many}}", "storage.limits.max_label_values.user: expected an integer"),
    ("{max_label_values: {'': 1}}", "max_label_values: a label has a name"),
])
def test_wrong_limits(tmp_path: Path, limits: str, message: str) -> None:
    from tsdb import config
    from tsdb.model.errors import ConfigError

    file = tmp_path / "tsdb.yml"
    file.write_text(CONFIG.format(limits=limits, target="localhost:1"))
    with pytest.raises(ConfigError, match=message):
        config.load(file)
