"""`tsdb import rules`, as a user runs it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.imports.test_rules import HOUR, START, Series, exposed
from tests.processes import Process, free_port
from tests.storage.batches import bits, make_batch, read
from tsdb.cli import cli
from tsdb.model.errors import ConfigError, DirectoryLocked, StorageError
from tsdb.storage import Storage

RULES = """
groups:
- name: g
  interval: 1m
  rules:
  - record: half:sum
    expr: sum(double) / 4
  - record: double
    expr: gauge * 2
  - alert: High
    expr: gauge > 3
"""


def run(*arguments: str | int | Path) -> Result:
    return CliRunner().invoke(cli, [str(each) for each in arguments])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three hours of two gauges that are 1 and 2, and rules beside them."""
    (tmp_path / "rules.yml").write_text(RULES)
    storage = Storage.open(tmp_path / "data")
    series = [{"__name__": "gauge", "instance": str(i)} for i in range(2)]
    for minute in range(0, 180, 30):
        samples = [(i, START + (minute + m) * 60_000, bits(i + 1.0)) for m in range(30) for i in range(2)]
        storage.submit(make_batch(storage.secret, series, samples)).result(10)
    storage.close()
    return tmp_path / "data"


def recorded(data: Path) -> dict[Series, list[tuple[int, float]]]:
    storage = Storage.open(data, read_only=True)
    try:
        found = read(storage)
    finally:
        storage.close()
    import struct

    return {labels: [(ts, struct.unpack("<d", struct.pack("<Q", value))[0]) for ts, value in samples]
            for labels, samples in found.items() if dict(labels)["__name__"] != "gauge"}


def test_new_rules_have_a_past(data: Path, tmp_path: Path) -> None:
    """A rule that reads what another one records, and stands before it, sees that."""
    before = recorded(data)
    argv = ("import", "rules", tmp_path / "rules.yml", "--data", data, "--start", START // 1000,
            "--end", START // 1000 + 2 * 3600)
    result = run(*argv)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "1 alerting rules are left out" in result.output
    assert "360 samples of 3 series were recorded by 2 rules" in result.output
    found = recorded(data)
    assert not before and len(found) == 3
    for labels, samples in found.items():
        wanted = 1.5 if dict(labels)["__name__"] == "half:sum" else 2 * (int(dict(labels)["instance"]) + 1)
        assert len(samples) == 120 and {value for _, value in samples} == {wanted}
        assert {later - ts for (ts, _), (later, _) in pairwise(samples)} == {60_000}
        assert START <= samples[0][0] < START + 60_000
    assert run(*argv).exit_code == 0
    assert recorded(data) == found, "once more changes nothing"


@pytest.mark.peer
def test_of_a_server(tmp_path: Path, data: Path, peer: Callable[[str], Path]) -> None:
    """A real Prometheus answers the queries, and ours keeps what they give."""
    import subprocess

    (tmp_path / "samples").write_text(exposed())
    (tmp_path / "prometheus.yml").write_text("")
    subprocess.run([peer("promtool"), "tsdb", "create-blocks-from", "openmetrics", tmp_path / "samples",
                    tmp_path / "theirs"], check=True, capture_output=True, timeout=60)
    port = free_port()
    prometheus = Process([peer("prometheus"), f"--config.file={tmp_path}/prometheus.yml",
                          f"--storage.tsdb.path={tmp_path}/theirs", "--storage.tsdb.retention.time=100y",
                          f"--web.listen-address=127.0.0.1:{port}"], tmp_path / "log", port)
    (tmp_path / "rules.yml").write_text("groups: [{name: g, rules: [{record: r, expr: 'sum by (path) (gauge)'}]}]")
    try:
        prometheus.wait_ready()
        result = run("import", "rules", tmp_path / "rules.yml", "--data", data, "--url", f"http://127.0.0.1:{port}",
                     "--start", START // 1000, "--end", START // 1000 + HOUR // 1000)
    finally:
        prometheus.kill()
    assert result.exit_code == 0, (result.output, result.exception)
    assert "120 samples of 2 series" in result.output
    assert {dict(labels)["path"] for labels in recorded(data)} == {"/a", "/b"}



def test_mistakes(tmp_path: Path, data: Path) -> None:
    rules, start = tmp_path / "rules.yml", ("--start", str(START // 1000), "--end", str(START // 1000 + 60))
    (tmp_path / "wrong.yml").write_text("groups:\n- name: g\n  rules: [{record: x, expr: 'up +'}]")
    (tmp_path / "alerts.yml").write_text("groups: [{name: g, rules: [{alert: x, expr: up}]}]")
    for arguments, kind, message in (
        ((tmp_path / "wrong.yml", "--data", data, *start), ConfigError, 'wrong.yml:3:23: rule "x": could not parse'),
        ((tmp_path / "none.yml", "--data", data, *start), ConfigError, "none.yml: the rule file cannot be read"),
        ((tmp_path / "alerts.yml", "--data", data, *start), ConfigError, "there are no recording rules"),
        ((rules, "--data", tmp_path, *start), StorageError, "is not a data directory of tsdb"),
        ((rules, "--data", data, "--start", "never"), ConfigError, '--start: "never" is no time'),
        ((rules, "--data", data, "--start", "-1h", "--end", "-2h"), ConfigError, "is before --start"),
    ):
        result = run("import", "rules", *arguments)
        assert isinstance(result.exception, kind) and message in str(result.exception), result
    storage = Storage.open(data)
    result = run("import", "rules", rules, "--data", data, *start)
    storage.close()
    assert isinstance(result.exception, DirectoryLocked) and "that no server has open" in str(result.exception)
